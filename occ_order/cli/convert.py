"""Convert a data set from one annotation format to another.

    occ-order convert --from labelme --input my_folder --to instaorder --output out
    occ-order convert --from cocoa --input cocoa.json --images photos --to results --output out

Formats and the files written to OUTPUT:

    labelme     a folder of labelme files, images copied beside them, and order.csv
    coco        instances.json (COCO) and order.csv; lossless
    cocoa       cocoa.json        needs amodal masks and a known occlusion order
    cocoa_cls   cocoa_cls.json    needs amodal masks; COCOA-cls and D2SA
    kins        kins2020.json     needs amodal masks and a known occlusion order
    instaorder  instaorder.json and instances.json
    results     order_results.json, for the viewer, the layers and the graphs

With --copy-images and OUTPUT = $DETECTRON2_DATASETS/own/NAME/SPLIT the data can be trained on as
own_NAME_SPLIT_FORMAT: datasets/OWN_DATA.md.

The written files are read again and compared with the input. Information that the format cannot
store is listed as "lost". If the files would contradict the input, they are not kept and the exit
status is 2, unless --allow-changes is given.
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
        help="copy the images to OUTPUT/images (labelme: always copied beside the JSON files)",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="keep the files even if they contradict the input",
    )
    parser.add_argument(
        "--assume-whole",
        action="store_true",
        help="use the visible mask as amodal mask where none is given",
    )
    parser.add_argument(
        "--assume-none",
        action="store_true",
        help="write pairs of unknown occlusion as pairs without occlusion",
    )
    parser.set_defaults(work="occ_order.commands.convert")
