"""What a user calls first: a photograph, and masks if there are any, to instances with their order.

Nothing that needs PyTorch is imported before a model that needs it is asked for.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import model_zoo
from occ_order.instances import OrderedInstances

if TYPE_CHECKING:
    from occ_order.engine.predictor import OrderPredictor
    from occ_order.lite import LitePredictor

BACKENDS = ("auto", "onnx", "torch")


@functools.lru_cache(maxsize=4)
def predictor(
    name: str = model_zoo.ORDERS_MASKS, *, device: str = "cpu", backend: str = "auto"
) -> OrderPredictor | LitePredictor:
    """Return what predicts with a model of the zoo, the same one when asked again.

    Args:
        name: one of `occ_order.model_zoo.names()`.
        device: "cpu" or "cuda".
        backend: "torch"; "onnx", for models with a graph, on the CPU; "auto" takes "onnx" where
            that is possible and ONNX Runtime is installed. Both say the same.

    Raises:
        ImportError: what the backend needs is not installed.
        ValueError: no such backend or model; a model without a graph, or another device, and
            "onnx".
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend == "onnx" and device != "cpu":
        raise ValueError(f"the backend 'onnx' runs on the CPU, got the device {device!r}")
    able = "graph" in model_zoo.row(name) and device == "cpu"
    installed = importlib.util.find_spec("onnxruntime") is not None
    if backend == "onnx" or (backend == "auto" and able and installed):
        from occ_order.lite import LitePredictor  # noqa: PLC0415

        return LitePredictor.from_zoo(name)
    try:
        from occ_order.engine.predictor import OrderPredictor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name!r} needs {error.name}: see INSTALL.md; the order of given masks needs "
            'ONNX Runtime alone: pip install "occ_order[lite]"'
        ) from error
    return OrderPredictor.from_zoo(name, device=device)


def predict(
    photo: np.ndarray | str | os.PathLike[str],
    masks: Any = None,
    *,
    model: str | None = None,
    detector: str | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> OrderedInstances:
    """Order the instances of one photograph. Models stay in memory between calls.

    Args:
        photo: uint8 (H, W, 3) RGB, or a file.
        masks: whatever :mod:`occ_order.formats.given` knows: an array (N, H, W), a label map, a
            file, what another library found; None finds instances.
        model: name in the zoo of the model that orders. Default: with masks or a detector,
            `model_zoo.ORDERS_MASKS`; else one that finds instances and orders them.
        detector: name in the zoo of the model that finds the instances which `model` orders.
        device: "cpu" or "cuda".
        backend: as `predictor`.

    Raises:
        ValueError: as `OrderPredictor` and `predictor`; a detector and masks; no such model.
        FileNotFoundError: there is no such file.
        ImportError: what the backend needs is not installed.
    """
    if detector is not None and masks is not None:
        raise ValueError("a detector finds instances and masks name them: give one of them")
    chosen = {"device": device, "backend": backend}
    if detector is not None:
        masks = predictor(detector, **chosen)(photo)
    name = model or (model_zoo.FINDS_INSTANCES if masks is None else model_zoo.ORDERS_MASKS)
    return predictor(name, **chosen)(photo, masks)
