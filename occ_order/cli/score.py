r"""Score an order_results.json against the ground truth of a data set; needs no model.

    occ-order score --gt COCO_amodal_val2014.json --format cocoa \
        --predictions output/inference/order_results.json

Reads COCOA, KINS (2019 and 2020), InstaOrder (with --instances), COCOA-cls / D2SA files,
photographs with measured order, COCO with order.csv, labelme folders, results, Label Studio and
CVAT. Predictions are assigned to images by image id, or else by file name. Scores are in percent;
"-" means undefined for these data, explained in the notes below the table.
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
    """Add the arguments of the command."""
    parser.add_argument(
        "--gt", required=True, type=existing, metavar="FILE", help="ground-truth JSON file"
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=Choices("occ_order.formats.table", "scorable"),
        metavar="FORMAT",
        help="format of the ground truth: %(choices)s",
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
    parser.add_argument("--split", choices=("train", "val"), help="photos: split; default: both")
    parser.add_argument(
        "--images", metavar="DIR", help="image folder, for formats without image sizes"
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
        help="how to match predictions and ground truth: by mask IoU (default), or by instance id, "
        "for orders predicted on input masks",
    )
    parser.add_argument("--iou", type=float, default=0.5, help="threshold of --match iou")
    parser.add_argument("--class-agnostic", action="store_true", help="ignore classes")
    parser.add_argument("--things", action="store_true", help="ignore COCOA's stuff regions")
    parser.add_argument(
        "--gt-edges",
        choices=("touching", "all"),
        default="touching",
        help="ground-truth pairs evaluated in the OAIR curve",
    )
    add_engine_options(parser.add_argument_group("many machines"))
    add_check(parser, check)
    parser.set_defaults(work="occ_order.commands.score")


def check(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of arguments, or None."""
    formats = importlib.import_module("occ_order.formats.table").FORMATS
    if (formats[options.format].inputs == 2) != (options.instances is not None):
        return "--instances belongs to --format instaorder, which needs it"
    if options.split is not None and options.format != "photos":
        return "--split belongs to --format photos"
    return check_engine(options)
