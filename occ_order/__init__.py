"""Occlusion and depth order of the instances in a photograph, as a Detectron2 extension.

    result = occ_order.predict("photo.jpg", masks)   # or without masks: it finds the instances
    print(result)

Importing the package itself imports nothing else: the names below are looked up when they are used.
The parts that need only arrays (:mod:`occ_order.order`, :mod:`occ_order.metrics`,
:mod:`occ_order.crf`, :mod:`occ_order.targets`, :mod:`occ_order.masks`, :mod:`occ_order.scenes`)
stay usable without PyTorch and Detectron2.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from occ_order import crf, instances, masks, metrics, model_zoo, order, scenes, targets
    from occ_order.engine.predictor import OrderPredictor
    from occ_order.front import predict, predictor
    from occ_order.instances import OrderedInstances, load, load_all

__version__ = "0.2.0"

_MODULES = ("crf", "instances", "masks", "metrics", "model_zoo", "order", "scenes", "targets")
_MEMBERS = {
    "OrderPredictor": "occ_order.engine.predictor",
    "OrderedInstances": "occ_order.instances",
    "load": "occ_order.instances",
    "load_all": "occ_order.instances",
    "predict": "occ_order.front",
    "predictor": "occ_order.front",
}

__all__ = [
    "OrderPredictor",
    "OrderedInstances",
    "__version__",
    "crf",
    "instances",
    "load",
    "load_all",
    "masks",
    "metrics",
    "model_zoo",
    "order",
    "predict",
    "predictor",
    "scenes",
    "targets",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"occ_order.{name}")
    if name in _MEMBERS:
        return getattr(importlib.import_module(_MEMBERS[name]), name)
    raise AttributeError(f"module 'occ_order' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
