"""The models that were really trained, by name: settings, weights and what they scored.

    from occ_order import model_zoo
    model = model_zoo.get("NAME")             # on the CPU, ready to predict
    cfg = model_zoo.get_cfg("NAME")

`zoo.json` is the list; MODEL_ZOO.md is written from it by `occ-order zoo write`. The list and the
files can be asked for without PyTorch.
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
    """Import what needs PyTorch when it is asked for (PEP 562)."""
    if name in ("build", "get", "get_cfg", "save_checkpoint"):
        return getattr(importlib.import_module("occ_order.model_zoo.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
