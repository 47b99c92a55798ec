"""Train a network with Detectron2, on one machine or several.

    occ-order train --config-file configs/quick_schedules/oosis_instant_test.yaml
    occ-order train --config-file C --num-gpus 8 SOLVER.IMS_PER_BATCH 16
    occ-order train --config-file C --resume

Without a GPU, add MODEL.DEVICE cpu. Same as tools/train_net.py.
"""

from __future__ import annotations

import argparse

from occ_order.cli.training import add_training_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_training_options(parser)
    parser.add_argument(
        "--resume", action="store_true", help="resume from the last checkpoint in OUTPUT_DIR"
    )
    parser.set_defaults(work="occ_order.commands.train", eval_only=False)
