"""The command `tools/train_net.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from occ_order.config import load_cfg
from occ_order.engine.quick_scenes import make_quick_scenes
from occ_order.engine.trainer import Trainer


def setup(args: argparse.Namespace) -> CfgNode:
    """Settings of a run, frozen; makes the output folder, the log and, where needed, quick scenes.

    Args:
        args: of Detectron2's `default_argument_parser`.
    """
    cfg = load_cfg(args.config_file, args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    make_quick_scenes(cfg)
    return cfg


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Trains, or evaluates with `--eval-only`; checks TEST.EXPECTED_RESULTS where they are given.

    Returns:
        What the evaluators say.
    """
    cfg = setup(args)
    if not args.eval_only:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = Trainer.build_model(cfg)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def run(arguments: Sequence[str] | None = None) -> None:
    """Parses a command line and starts as many processes as it asks for."""
    args = default_argument_parser().parse_args(arguments)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
