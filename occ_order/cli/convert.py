"""Convert a data set from one format to another.

    occ-order convert --from labelme --input my_folder --to instaorder --output out
    occ-order convert --from cocoa --input cocoa.json --images photos --to results --output out

Formats and the files that OUTPUT gets:

    labelme     a folder of labelme files, images copied beside them, and order.csv
    coco        instances.json (COCO) and order.csv; keeps everything
    cocoa       cocoa.json        needs whole masks and a known occlusion order
    cocoa_cls   cocoa_cls.json    needs whole masks; COCOA-cls and D2SA
    kins        kins2020.json     needs whole masks and a known occlusion order
    instaorder  instaorder.json and instances.json
    results     order_results.json, for the viewer, the layers and the graphs

With --copy-images and OUTPUT = $DETECTRON2_DATASETS/own/NAME/SPLIT the data can be trained on as
own_NAME_SPLIT_FORMAT: datasets/OWN_DATA.md.

The written files are read again and compared with what went in. What the format has no place for is
listed as "lost". Where the files would say something *else* than the data, nothing is kept and the
exit status is 2, unless --allow-changes is given.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import Choices, add_input_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_input_options(parser)
    parser.add_argument(
        "--to",
        required=True,
        choices=Choices("occ_order.formats.table", "convertible"),
        metavar="FORMAT",
        help="format to write: %(choices)s",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--copy-images",
        action="store_true",
        help="copy the images to OUTPUT/images (labelme: they are copied beside their files)",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="keep the files even where they say something else than the data",
    )
    parser.add_argument(
        "--assume-whole",
        action="store_true",
        help="take the visible part for the whole where no whole mask is given",
    )
    parser.add_argument(
        "--assume-none",
        action="store_true",
        help="write pairs of unknown occlusion as pairs that do not occlude",
    )
    parser.set_defaults(work="occ_order.commands.convert")
