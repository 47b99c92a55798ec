"""Print statistics of the orders of a data set, and plot them (InstaOrder, Fig. 4 and 5).

    occ-order stats instaorder_2017_val --plot statistics.png

The data set is a registered one (datasets/README.md), below $DETECTRON2_DATASETS.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("dataset", help="name of a registered data set")
    parser.add_argument("--limit", type=int, help="use the first LIMIT images only")
    parser.add_argument("--no-masks", action="store_true", help="do not decode masks (faster)")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write all statistics as JSON")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="plot the statistics as PNG")
    parser.set_defaults(work="occ_order.commands.stats")
