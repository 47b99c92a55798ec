"""Training and evaluation as a command: `tools/train_net.py`, `occ-order train` and `eval`."""

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
from occ_order.engine.checkpoint import OrderCheckpointer
from occ_order.engine.checkpoint.files import UNSAFE_FLAG
from occ_order.engine.output import check_output_folder
from occ_order.engine.quick_scenes import make_quick_scenes
from occ_order.engine.trainer import Trainer
from occ_order.files import folder_lock

WANDB = "LOGGING.WANDB_PROJECT"


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's arguments, and the one that lets checkpoints run code."""
    parser = default_argument_parser()
    parser.add_argument(
        UNSAFE_FLAG,
        action="store_true",
        help="load checkpoints that hold Python objects; they can run any command",
    )
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """Return a run's frozen settings; make its folder, its log and, where needed, quick scenes.

    Args:
        args: of `argument_parser`, or of Detectron2's `default_argument_parser`.

    Raises:
        ValueError: the config file is refused (`occ_order.config.load_cfg`), or it and not the
            command line asks for data to be sent to Weights & Biases.
        OSError: the output folder cannot be written.
    """
    cfg = load_cfg(args.config_file, args.opts)
    if cfg.LOGGING.WANDB_PROJECT and WANDB not in args.opts:
        raise ValueError(
            f"{args.config_file}: {WANDB} is {cfg.LOGGING.WANDB_PROJECT!r}: a config file sends "
            f"nothing to other machines; ask for it on the command line: {WANDB} NAME"
        )
    cfg.freeze()
    check_output_folder(cfg.OUTPUT_DIR)
    default_setup(cfg, args)
    make_quick_scenes(cfg)
    return cfg


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Trains, or evaluates with `--eval-only`; checks TEST.EXPECTED_RESULTS where they are given.

    Returns:
        What the evaluators say.

    Raises:
        OSError: another training writes to the output folder.
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
    """Parse a command line and start as many processes as it asks for.

    Args:
        arguments: as sys.argv[1:].
        config_file: what is used where the command line has no `--config-file`.
    """
    parser = argument_parser()
    parser.set_defaults(config_file=config_file)
    start(parser.parse_args(arguments))


def start(args: argparse.Namespace) -> None:
    """Start as many processes as the arguments ask for.

    Args:
        args: of `argument_parser`, or of `occ-order train` and `occ-order eval`.
    """
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
