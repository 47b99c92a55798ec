"""Say what the orders of a data set are like: a table, and a drawing (InstaOrder's Figures 4, 5).

    occ-order stats instaorder_2017_val --plot statistics.png

The data set is any registered one (datasets/README.md), below $DETECTRON2_DATASETS.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("dataset", help="registered name")
    parser.add_argument("--limit", type=int, help="look at the first so many images only")
    parser.add_argument("--no-masks", action="store_true", help="do not decode masks (faster)")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write all numbers there")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="write a PNG there")
    parser.set_defaults(work="occ_order.commands.stats")
