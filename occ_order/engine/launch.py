"""Command-line training and evaluation: `tools/train_net.py`, `occ-order train` and `eval`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from occ_order.config import load_cfg
from occ_order.config.files import WANDB
from occ_order.engine.checkpoint import OrderCheckpointer
from occ_order.engine.checkpoint.files import UNSAFE_FLAG
from occ_order.engine.output import check_output_folder
from occ_order.engine.quick_scenes import make_quick_scenes
from occ_order.engine.trainer import Trainer
from occ_order.files import folder_lock


def argument_parser() -> argparse.ArgumentParser:
    """Return Detectron2's argument parser with an additional flag for unsafe checkpoints."""
    parser = default_argument_parser()
    parser.add_argument(
        UNSAFE_FLAG,
        action="store_true",
        help="load checkpoints with Python objects, which can run any command",
    )
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """Return the frozen config of a run; create its folder, log and, if needed, quick scenes.

    Args:
        args: result of `argument_parser`, or of Detectron2's `default_argument_parser`.

    Raises:
        ValueError: invalid config file (`occ_order.config.load_cfg`), or Weights & Biases is
            enabled in the config file instead of on the command line.
        OSError: the output folder cannot be written.
    """
    cfg = load_cfg(args.config_file, args.opts)
    if cfg.LOGGING.WANDB_PROJECT and WANDB not in args.opts:
        raise ValueError(
            f"{args.config_file}: {WANDB} is {cfg.LOGGING.WANDB_PROJECT!r}: a config file must "
            f"not send data to other machines; set it on the command line: {WANDB} NAME"
        )
    cfg.freeze()
    check_output_folder(cfg.OUTPUT_DIR)
    default_setup(cfg, args)
    make_quick_scenes(cfg)
    return cfg


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Train, or evaluate with `--eval-only`; check TEST.EXPECTED_RESULTS if set.

    Returns:
        Results of the evaluators.

    Raises:
        OSError: another training is writing to the output folder.
    """
    cfg = setup(args)
    unsafe = getattr(args, "allow_unsafe_pickle", False)
    if not args.eval_only:
        with folder_lock(cfg.OUTPUT_DIR) if comm.is_main_process() else nullcontext():
            trainer = Trainer(cfg, allow_unsafe_pickle=unsafe)
            trainer.resume_or_load(resume=args.resume)
            return trainer.train()
    model = Trainer.build_model(cfg)
    checkpointer = OrderCheckpointer(
        model, save_dir=cfg.OUTPUT_DIR, strict=True, allow_unsafe_pickle=unsafe
    )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def run(arguments: Sequence[str] | None = None, *, config_file: str = "") -> None:
    """Parse a command line and start the requested number of processes.

    Args:
        arguments: as sys.argv[1:].
        config_file: default of `--config-file`.
    """
    parser = argument_parser()
    parser.set_defaults(config_file=config_file)
    start(parser.parse_args(arguments))


def start(args: argparse.Namespace) -> None:
    """Start the requested number of processes.

    Args:
        args: result of `argument_parser`, or of `occ-order train` and `occ-order eval`.
    """
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
