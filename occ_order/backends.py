"""Predictors of model zoo models with the installed backend.

PyTorch is imported only when a model that needs it is loaded.
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
    """Return the predictor of a model zoo model; cached.

    Args:
        name: one of `occ_order.model_zoo.names()`.
        device: "cpu" or "cuda".
        backend: "torch"; "onnx", for models with an ONNX graph, on the CPU; "auto" = "onnx" if
            possible and ONNX Runtime is installed. Results are the same.

    Raises:
        ImportError: a library of the backend is not installed.
        ValueError: unknown backend or model; "onnx" with a model without graph or another
            device.
    """
    if _by_onnx(name, device, backend):
        from occ_order.lite import from_zoo

        return from_zoo(name)
    try:
        from occ_order.engine.predictor import OrderPredictor
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name!r} needs {error.name}: see INSTALL.md; ordering input masks needs only "
            'ONNX Runtime: pip install "occ_order[lite]"'
        ) from error
    return OrderPredictor.from_zoo(name, device=device)


@functools.lru_cache(maxsize=2)
def completer(*, device: str = "cpu", backend: str = "auto") -> Callable[..., OrderedInstances]:
    """Return a function that adds amodal masks to instances with known order; cached.

    It has the option `beyond_frame` of `occ_order.methods.completion.amodal.completed`.

    Args:
        device, backend: see `predictor`.

    Raises:
        ImportError: a library of the backend is not installed.
        ValueError: unknown backend; "onnx" with a device other than the CPU.
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
    """Return whether to run a model with ONNX Runtime.

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
    """Return whether packages are installed, without importing them."""
    return all(importlib.util.find_spec(name) is not None for name in names)
