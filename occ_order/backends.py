"""What predicts with a model of the zoo, on the backend that is installed.

Nothing that needs PyTorch is imported before a model that needs it is asked for.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING

from occ_order import model_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from occ_order.engine.predictor import OrderPredictor
    from occ_order.instances import OrderedInstances
    from occ_order.lite import LitePredictor, LiteSegmenter

BACKENDS = ("auto", "onnx", "torch")


@functools.lru_cache(maxsize=4)
def predictor(
    name: str = model_zoo.ORDERS_MASKS, *, device: str = "cpu", backend: str = "auto"
) -> OrderPredictor | LitePredictor | LiteSegmenter:
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
    if _by_onnx(name, device, backend):
        from occ_order.lite import from_zoo

        return from_zoo(name)
    try:
        from occ_order.engine.predictor import OrderPredictor
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name!r} needs {error.name}: see INSTALL.md; the order of given masks needs "
            'ONNX Runtime alone: pip install "occ_order[lite]"'
        ) from error
    return OrderPredictor.from_zoo(name, device=device)


@functools.lru_cache(maxsize=2)
def completer(
    *, device: str = "cpu", backend: str = "auto"
) -> Callable[[OrderedInstances], OrderedInstances]:
    """Return what completes instances whose order is known, the same one when asked again.

    Args:
        device, backend: as of `predictor`.

    Raises:
        ImportError: what the backend needs is not installed.
        ValueError: no such backend; another device than the CPU, and "onnx".
    """
    from occ_order.methods.completion.amodal import completed

    name = model_zoo.COMPLETES_MASKS
    if _by_onnx(name, device, backend):
        from occ_order.lite import Graph, MaskCompleter

        return functools.partial(
            completed, completer=MaskCompleter(Graph(model_zoo.graph_file(name)))
        )
    try:
        return functools.partial(completed, completer=model_zoo.get(name, device=device))
    except ModuleNotFoundError as error:
        raise ImportError(f"amodal masks need {error.name}: see INSTALL.md") from error


def _by_onnx(name: str, device: str, backend: str) -> bool:
    """Return whether ONNX Runtime runs a model of the zoo.

    Raises:
        ValueError: as `predictor`.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend == "onnx" and device != "cpu":
        raise ValueError(f"the backend 'onnx' runs on the CPU, got the device {device!r}")
    able = "graph" in model_zoo.row(name) and device == "cpu"
    return backend == "onnx" or (backend == "auto" and able and installed("onnxruntime"))


def installed(*names: str) -> bool:
    """Return whether all of some packages can be imported; none is."""
    return all(importlib.util.find_spec(name) is not None for name in names)
