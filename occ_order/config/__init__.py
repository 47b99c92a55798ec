"""Config of this package: Detectron2's keys and additional ones."""

from __future__ import annotations

import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_defaults

from occ_order.config.files import check_config_file, check_settings, check_sources
from occ_order.methods.common.config import add_common_config
from occ_order.methods.completion.config import add_completion_config
from occ_order.methods.instadepth.config import add_disparity_config
from occ_order.methods.instaorder.config import add_pairwise_config
from occ_order.methods.mask_order.config import add_mask_order_config
from occ_order.methods.oosis.config import add_oosis_config
from occ_order.methods.order_head.config import add_order_head_config
from occ_order.methods.segmenter.config import add_segmenter_config
from occ_order.methods.sln.config import add_sln_config

__all__ = ["add_occ_order_config", "check_settings", "get_cfg", "introduce", "load_cfg"]


def add_occ_order_config(cfg: CfgNode) -> None:
    """Add all config keys of this package to Detectron2's `cfg`, in place."""
    for add in (
        add_common_config,
        add_oosis_config,
        add_pairwise_config,
        add_order_head_config,
        add_mask_order_config,
        add_disparity_config,
        add_sln_config,
        add_segmenter_config,
        add_completion_config,
    ):
        add(cfg)


def get_cfg() -> CfgNode:
    """Return a new copy of the default config, Detectron2's with the keys of this package."""
    cfg = detectron2_defaults()
    add_occ_order_config(cfg)
    return cfg


def load_cfg(
    file: str | os.PathLike[str], opts: Sequence[str] = (), *, foreign: bool = False
) -> CfgNode:
    """Return the default config updated by a YAML file and then by `opts` (KEY VALUE ...).

    Args:
        file: the YAML file.
        opts: overrides.
        foreign: also accept unknown keys: those of another project, whose installed code reads
            them.

    YAML tags that would execute code are rejected, and so is a `_BASE_` that does not exist, is a
    URL, or is circular. Precomputed proposals, which are pickles, are always rejected. URLs other
    than Detectron2's own (`detectron2://`) are accepted only in `opts`.

    Raises:
        ValueError: the file or a value is rejected, or a key of the file or of `opts` is unknown.
    """
    check_config_file(file)
    cfg = get_cfg()
    if foreign:
        cfg.set_new_allowed(True)
    try:
        cfg.merge_from_file(os.fspath(file), allow_unsafe=False)
        cfg.merge_from_list(list(opts))
        check_settings(cfg)
        check_sources(cfg, opts)
    except (ValueError, KeyError, AssertionError) as error:  # of CfgNode the last two, too
        raise ValueError(f"{os.fspath(file)}: {error.args[0]}") from None
    if foreign:
        cfg.set_new_allowed(False)
    return cfg


def introduce(file: str | os.PathLike[str], cfg: CfgNode) -> str:
    """Describe a config in a phrase: its name, weights and training data."""
    if not cfg.MODEL.WEIGHTS:
        return f"{os.fspath(file)} (without weights: no learned parameters)"
    data = " and ".join(cfg.DATASETS.TRAIN) or "unknown data"
    return f"{os.fspath(file)} (weights {cfg.MODEL.WEIGHTS}; trained on {data}, by its config)"
