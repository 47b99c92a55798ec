r"""Score an order_results.json against the ground truth of a data set; needs no model.

    occ-order score --gt COCO_amodal_val2014.json --format cocoa \
        --predictions output/inference/order_results.json

Reads COCOA, KINS (2019 and 2020), InstaOrder (with --instances), COCOA-cls / D2SA files,
photographs with measured order, COCO with order.csv, labelme folders, results, Label Studio and
CVAT. A prediction belongs to the image with its id, or else to the one with its file name. Numbers
are percent; "-" is undefined for these data, and the notes below the table say why.
"""

from __future__ import annotations

import argparse
import importlib

from occ_order.cli.common import (
    Choices,
    add_check,
    add_engine_options,
    check_engine,
    existing,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "--gt", required=True, type=existing, metavar="FILE", help="ground-truth JSON file"
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=Choices("occ_order.formats.table", "scorable"),
        metavar="FORMAT",
        help="what kind of file it is: %(choices)s",
    )
    parser.add_argument(
        "--predictions", required=True, type=existing, metavar="FILE", help="order_results.json"
    )
    parser.add_argument(
        "--instances",
        type=existing,
        metavar="FILE",
        help="COCO instances JSON that an InstaOrder file refers to",
    )
    parser.add_argument("--split", choices=("train", "val"), help="of photographs; default: both")
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images, for formats that do not tell sizes"
    )
    parser.add_argument(
        "--json",
        metavar="OUT",
        help='write {"scalars": percent, "curves": fractions, "counts", "notes"}; undefined '
        "numbers (NaN) become null",
    )
    parser.add_argument(
        "--match",
        choices=("iou", "id"),
        default="iou",
        help="which prediction stands for an annotation: the best mask (default), or the one with "
        "the same id, for orders predicted on given masks",
    )
    parser.add_argument("--iou", type=float, default=0.5, help="threshold of --match iou")
    parser.add_argument("--class-agnostic", action="store_true", help="ignore classes")
    parser.add_argument("--things", action="store_true", help="leave COCOA's stuff regions out")
    parser.add_argument(
        "--gt-edges",
        choices=("touching", "all"),
        default="touching",
        help="annotated pairs that the OAIR curve counts",
    )
    add_engine_options(parser.add_argument_group("many machines"))
    add_check(parser, check)
    parser.set_defaults(work="occ_order.commands.score")


def check(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the arguments together."""
    formats = importlib.import_module("occ_order.formats.table").FORMATS
    if (formats[options.format].inputs == 2) != (options.instances is not None):
        return "--instances belongs to --format instaorder, which needs it"
    if options.split is not None and options.format != "photos":
        return "--split belongs to --format photos"
    return check_engine(options)
