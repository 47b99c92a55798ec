"""The models that were really trained, by name: settings, weights and what they scored.

    from occ_order import model_zoo
    model = model_zoo.get("NAME")             # on the CPU, ready to predict
    cfg = model_zoo.get_cfg("NAME")

`zoo.json` is the list; MODEL_ZOO.md is written from it by `occ-order zoo write`.
"""

from occ_order.model_zoo.zoo import (
    FINDS_INSTANCES,
    ORDERS_MASKS,
    ROW_KEYS,
    build,
    checkpoint_file,
    config_file,
    get,
    get_cfg,
    names,
    row,
    rows,
    save_checkpoint,
    settings_file,
)

__all__ = [
    "FINDS_INSTANCES",
    "ORDERS_MASKS",
    "ROW_KEYS",
    "build",
    "checkpoint_file",
    "config_file",
    "get",
    "get_cfg",
    "names",
    "row",
    "rows",
    "save_checkpoint",
    "settings_file",
]
