"""Say what is wrong with a data file, entry by entry.

    occ-order validate FILE [--format F] [--images DIR] [--instances FILE]
    occ-order validate NAME          (a registered data set; needs Detectron2)

Every problem is one line that names file, image and annotation; reading goes on after it. Lines
that start with "note:" are worth knowing but no errors. The exit status is 1 if there was an error.
Checked are the structure and the order (all of the file), then masks, areas and hidden shares
pixel by pixel and, with --images, that the images are there and as large as stated; --limit N does
the latter two for the first N images only.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import Choices, existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("data", metavar="NAME|FILE", help="registered data set, or a data file")
    parser.add_argument(
        "--format",
        choices=Choices("occ_order.formats.table", "checkable"),
        metavar="FORMAT",
        help="default: told by the keys of the file; one of %(choices)s",
    )
    parser.add_argument(
        "--images", type=existing, metavar="DIR", help="folder of the images: look at them too"
    )
    parser.add_argument(
        "--instances", type=existing, metavar="FILE", help="InstaOrder: the COCO instances file"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="pixels of the first N images only")
    parser.set_defaults(work="occ_order.commands.validate")
