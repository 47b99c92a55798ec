"""Settings of `occ_order.modeling`: oosis."""

from __future__ import annotations

from fvcore.common.config import CfgNode


def add_oosis_config(cfg: CfgNode) -> None:
    """Adds the settings of this subject to `cfg`."""
