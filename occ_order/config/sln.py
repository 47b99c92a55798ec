"""Settings of `occ_order.modeling`: sln."""

from __future__ import annotations

from fvcore.common.config import CfgNode


def add_sln_config(cfg: CfgNode) -> None:
    """Adds the settings of this subject to `cfg`."""
