"""Settings of `occ_order.modeling`: pairwise."""

from __future__ import annotations

from fvcore.common.config import CfgNode


def add_pairwise_config(cfg: CfgNode) -> None:
    """Adds the settings of this subject to `cfg`."""
