"""Model zoo: configs, weights and scores of trained models, by name.

    from occ_order import model_zoo
    model = model_zoo.get("NAME")             # on the CPU, in evaluation mode
    cfg = model_zoo.get_cfg("NAME")

Models are listed in `zoo.json`, from which `occ-order zoo write` generates MODEL_ZOO.md. The list
and the files are accessible without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from occ_order.model_zoo.zoo import (
    COMPLETES_MASKS,
    FINDS_INSTANCES,
    OPTIONAL_KEYS,
    ORDERS_MASKS,
    ROW_KEYS,
    checkpoint_file,
    config_file,
    graph_file,
    introduce,
    names,
    row,
    rows,
    settings_file,
)

if TYPE_CHECKING:
    from occ_order.model_zoo.models import build, get, get_cfg, save_checkpoint

__all__ = [
    "COMPLETES_MASKS",
    "FINDS_INSTANCES",
    "OPTIONAL_KEYS",
    "ORDERS_MASKS",
    "ROW_KEYS",
    "build",
    "checkpoint_file",
    "config_file",
    "get",
    "get_cfg",
    "graph_file",
    "introduce",
    "names",
    "row",
    "rows",
    "save_checkpoint",
    "settings_file",
]


def __getattr__(name: str) -> Any:
    """Import attributes that need PyTorch on first access (PEP 562)."""
    if name in ("build", "get", "get_cfg", "save_checkpoint"):
        return getattr(importlib.import_module("occ_order.model_zoo.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
