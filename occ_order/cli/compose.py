"""Compose images from objects cut out of photographs, in layers, with exact order.

    occ-order compose instances.json --output DIR --train 1000
    occ-order compose my_photos --masks labels --output DIR --train 1000 --val 100

Sources are COCO instances files, folders of photographs with masks, folders with an
annotations.json, or folders of these. Writes the same files as `occ-order scenes`, except depth
maps and the DIW and KITTI files, and in addition

    annotations/photos_{split}.json     all instances and pairs, with unknown values marked

The other files contain only the instances with all the values that the format requires.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import Choices, existing
from occ_order.cli.scenes import add_data_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "sources", nargs="+", type=existing, metavar="SOURCE", help="files or folders; see above"
    )
    parser.add_argument(
        "--images",
        type=existing,
        metavar="DIR",
        help="folder of the photographs of COCO files (default: that of the file)",
    )
    parser.add_argument(
        "--masks",
        type=existing,
        metavar="PATH",
        help="masks of folders of photographs, as for `occ-order predict --masks` (default: beside "
        "each photograph)",
    )
    parser.add_argument(
        "--assume-whole",
        action="store_true",
        help="assume that no object in the photographs is occluded",
    )
    parser.add_argument("--long-side", type=int, default=480, help="longer side in pixels")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=Choices("occ_order.formats.write_composed", "composed_formats"),
        metavar="FORMAT",
        help="annotation files to write, of %(choices)s (default: all); only photos has all "
        "instances and pairs",
    )
    add_data_options(parser, "photographs")
