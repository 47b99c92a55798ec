"""Settings of `occ_order.modeling`: order_head."""

from __future__ import annotations

from fvcore.common.config import CfgNode


def add_order_head_config(cfg: CfgNode) -> None:
    """Adds the settings of this subject to `cfg`."""
