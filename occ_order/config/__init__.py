"""Settings: Detectron2's, and ours beside them."""

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
    """Add every setting of this package to Detectron2's `cfg`, in place."""
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
    """Return a new copy of the defaults: Detectron2's and ours."""
    cfg = detectron2_defaults()
    add_occ_order_config(cfg)
    return cfg


def load_cfg(
    file: str | os.PathLike[str], opts: Sequence[str] = (), *, foreign: bool = False
) -> CfgNode:
    """Return the defaults, changed by a YAML file and then by `opts` (KEY VALUE KEY VALUE ...).

    Args:
        file: the YAML file.
        opts: settings on top.
        foreign: take settings that nobody here knows as well: those of another project, whose code
            is installed and reads them.

    YAML tags that would run code are refused, and so is a `_BASE_` that is missing, an address, or
    in a circle. Precomputed proposals, which are pickles, are refused wherever they are named; an
    address other than Detectron2's own (`detectron2://`) is taken from `opts` alone.

    Raises:
        ValueError: the file or a setting is refused.
        KeyError: the file or `opts` name a setting that does not exist.
    """
    check_config_file(file)
    cfg = get_cfg()
    if foreign:
        cfg.set_new_allowed(True)
    cfg.merge_from_file(os.fspath(file), allow_unsafe=False)
    cfg.merge_from_list(list(opts))
    if foreign:
        cfg.set_new_allowed(False)
    try:
        check_settings(cfg)
        check_sources(cfg, opts)
    except ValueError as error:
        raise ValueError(f"{os.fspath(file)}: {error}") from None
    return cfg


def introduce(file: str | os.PathLike[str], cfg: CfgNode) -> str:
    """Return the name of a configuration, its weights and what it is trained on, as a phrase."""
    if not cfg.MODEL.WEIGHTS:
        return f"{os.fspath(file)} (without weights: nothing in it is learned)"
    data = " and ".join(cfg.DATASETS.TRAIN) or "what its author says"
    return f"{os.fspath(file)} (weights {cfg.MODEL.WEIGHTS}; trained on {data}, by its settings)"
