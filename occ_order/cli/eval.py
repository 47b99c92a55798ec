"""Evaluate a network on the data sets of its configuration (DATASETS.TEST).

    occ-order eval --config-file C MODEL.WEIGHTS model_final.pth

Scores are printed and written to OUTPUT_DIR/inference. Without a GPU, add MODEL.DEVICE cpu. Same
as tools/train_net.py --eval-only.
"""

from __future__ import annotations

import argparse

from occ_order.cli.training import add_training_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_training_options(parser)
    parser.set_defaults(work="occ_order.commands.train", eval_only=True, resume=False)
