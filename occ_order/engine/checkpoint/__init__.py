"""Checkpoints: safe loading, atomic writing, exact resumption, conversion of other weights."""

from occ_order.engine.checkpoint.checkpointer import OrderCheckpointer
from occ_order.engine.checkpoint.files import (
    CheckpointError,
    as_half,
    read_checkpoint,
    write_checkpoint,
)
from occ_order.engine.checkpoint.random_state import (
    kept_random_state,
    random_state,
    seeded,
    set_random_state,
)

__all__ = [
    "CheckpointError",
    "OrderCheckpointer",
    "as_half",
    "kept_random_state",
    "random_state",
    "read_checkpoint",
    "seeded",
    "set_random_state",
    "write_checkpoint",
]
