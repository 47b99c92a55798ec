"""Construction of the evaluators of a data set.

`cfg.TEST.EVALUATORS` lists names in `EVALUATOR_REGISTRY`; if it is empty, the defaults of the data
set's format are used (`occ_order.formats.table`). Importing this module registers all evaluators.
"""

from __future__ import annotations

import os

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from occ_order import model_zoo
from occ_order.config import load_cfg
from occ_order.engine.overlap import OverlappingEvaluators
from occ_order.formats.table import FORMATS
from occ_order.methods.common import input_masks_evaluator, results
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY
from occ_order.methods.completion import evaluator as completion
from occ_order.methods.instadepth import evaluators as disparity
from occ_order.methods.oosis import boundary_evaluator, coverage_evaluator, oair_evaluator
from occ_order.methods.order_head import evaluator as holistic
from occ_order.methods.sln.evaluator import AmodalEvaluator
from occ_order.methods.sln.order_net import OrderNetOnFound


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: str | os.PathLike[str] | None = None
) -> DatasetEvaluators:
    """Build the evaluators of a data set.

    Args:
        cfg: config with TEST.EVALUATORS and the keys of the evaluators.
        dataset_name: name of a registered data set.
        output_dir: output folder; None = `inference` in OUTPUT_DIR, with a subfolder for each data
            set if DATASETS.TEST names several.

    Raises:
        KeyError: unknown evaluator.
        ValueError: TEST.EVALUATORS is empty and the data set's format has no default.
    """
    if output_dir is None:
        several = len(cfg.DATASETS.TEST) > 1
        output_dir = os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name if several else "")
    names = cfg.TEST.EVALUATORS
    if not names:
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
        names = FORMATS[kind].evaluators if kind in FORMATS else ()
        if not names:
            raise ValueError(
                f"data set {dataset_name!r} has the evaluator_type {kind!r}, for which there is no "
                f"default: name some of {sorted(EVALUATOR_REGISTRY._obj_map)} in TEST.EVALUATORS"
            )
    folder = os.fspath(output_dir)
    return OverlappingEvaluators([_built(name, cfg, dataset_name, folder) for name in names])


def _built(name: str, cfg: CfgNode, dataset_name: str, folder: str) -> DatasetEvaluator:
    kind = EVALUATOR_REGISTRY.get(name)
    if kind is not AmodalEvaluator:
        return kind(cfg, dataset_name, folder)
    nets = {
        net: _order_net(load_cfg(file, ["MODEL.WEIGHTS", weights]))
        for net, file, weights in cfg.TEST.AMODAL.ORDER_NETS
    }
    return AmodalEvaluator(cfg, dataset_name, folder, nets)


def _order_net(cfg: CfgNode) -> OrderNetOnFound:
    """Build a network with weights that orders the instances found by the evaluated one."""
    return OrderNetOnFound(model_zoo.build(cfg), cfg)


__all__ = [
    "EVALUATOR_REGISTRY",
    "AmodalEvaluator",
    "boundary_evaluator",
    "build_evaluator",
    "completion",
    "coverage_evaluator",
    "disparity",
    "holistic",
    "input_masks_evaluator",
    "oair_evaluator",
    "results",
]
