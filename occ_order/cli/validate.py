"""Check a data file and list its errors, entry by entry.

    occ-order validate FILE [--format F] [--images DIR] [--instances FILE]
    occ-order validate NAME          (a registered data set; needs Detectron2)

Each error is one line that names file, image and annotation, and reading continues after it. Lines
that start with "note:" are no errors. The exit status is 1 if there was an error. The structure and
the order of the whole file are checked, then masks, areas and occlusion ratios pixel by pixel, and,
with --images, that the images exist and have the stated size; --limit N restricts the latter two to
the first N images.
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
        help="one of %(choices)s; default: recognized by the keys of the file",
    )
    parser.add_argument(
        "--images", type=existing, metavar="DIR", help="image folder: check the image files, too"
    )
    parser.add_argument(
        "--instances", type=existing, metavar="FILE", help="InstaOrder: the COCO instances file"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="check masks of the first N images")
    parser.set_defaults(work="occ_order.commands.validate")
