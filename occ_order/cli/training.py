"""Arguments of training and evaluation: those of Detectron2, without importing it."""

from __future__ import annotations

import argparse
import os

from occ_order.cli.common import existing


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of Detectron2's `default_argument_parser` and --allow-unsafe-pickle.

    Without --resume and --eval-only, which only one of the two verbs has.
    """
    parser.add_argument(
        "--config-file", default="", type=existing, metavar="FILE", help="configuration (YAML)"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="number of GPUs of each machine")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="rank of this machine")
    port = 2**15 + 2**14 + hash(os.getuid() if hasattr(os, "getuid") else 1) % 2**14
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{port}",
        help="URL to initialize distributed training, see PyTorch's documentation of distributed",
    )
    parser.add_argument(
        "--allow-unsafe-pickle",
        action="store_true",
        help="load checkpoints with pickled Python objects, which can execute arbitrary code",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="settings that override the configuration, at the end of the command",
    )
