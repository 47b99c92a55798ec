"""Generate synthetic scenes and write them in the formats of the real data sets.

    occ-order scenes --output datasets/scenes --train 1000 --val 200 --seed 1
    occ-order scenes --output datasets/scenes_plain --train 2400 --val 200 --plain
    occ-order scenes --seed 1 --contact-sheet sheet.png --statistics 200

Files in OUTPUT, for each split:

    {split}/images/000001.png            8-bit RGB (.jpg with --jpeg QUALITY)
    {split}/depth/000001.png             16-bit, KITTI style: round(depth * 256)
    annotations/instances_{split}.json   COCO instances (modal masks)
    annotations/instaorder_{split}.json  InstaOrder: occlusion, depth, overlap, count
    annotations/cocoa_{split}.json       COCOA: regions front to back, depth_constraint
    annotations/cocoa_cls_{split}.json   COCOA-cls / D2SA style, with occl_depth
    annotations/kins2020_{split}.json    KINS 2020 keys
    annotations/diw_{split}.csv          one point pair per image
    annotations/kitti_{split}.txt        image, depth map and focal length
    scenes.json                          parameters, content hash and statistics

Limits of the formats: KINS and `occl_depth` store one layer per instance, so two instances that
occlude each other (or a cycle of three) share a layer, and the pair is read back as -1, unknown.
COCO and InstaOrder contain no amodal masks. InstaOrder lists the instances in random order, the
others from front to back; ids are the same in all files.

A second call with the same parameters does nothing, or finishes an interrupted one. A folder with
other parameters or other files is an error.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import Choices, add_check, at_least_one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_data_options(parser, "scenes")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument(
        "--size-range",
        type=int,
        nargs=2,
        metavar=("LO", "HI"),
        help="sample H and W of each image from this range",
    )
    parser.add_argument("--instances", type=int, nargs=2, default=(3, 10), metavar=("LO", "HI"))
    parser.add_argument(
        "--classes",
        nargs="+",
        choices=Choices("occ_order.scenes", "CLASSES"),
        metavar="CLASS",
        help="of %(choices)s (default: all)",
    )
    parser.add_argument(
        "--interlocked",
        type=float,
        default=0.18,
        help="probability of an interlocked pair per placement",
    )
    parser.add_argument(
        "--cyclic", type=float, default=0.0, help="probability of a cycle of three per image"
    )
    parser.add_argument(
        "--texture", type=float, default=1.0, help="contrast of all patterns; 0 = plain colours"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="few compact objects without patterns; overrides --instances, --classes, "
        "--interlocked and --texture",
    )
    parser.set_defaults(sources=None)


def add_data_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the arguments that generated scenes and composed photographs share."""
    parser.add_argument("--output", metavar="DIR", help="folder to write")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="training images")
    parser.add_argument("--val", type=int, default=0, metavar="N", help="validation images")
    parser.add_argument("--seed", type=int, default=0, help="random seed; output is reproducible")
    parser.add_argument("--jpeg", type=int, metavar="QUALITY", help="JPEG images instead of PNG")
    parser.add_argument("--workers", type=at_least_one, default=1, help="processes")
    parser.add_argument("--contact-sheet", metavar="FILE", help=f"write a sheet of training {what}")
    parser.add_argument("--sheet-scenes", type=int, default=12, metavar="N")
    parser.add_argument(
        "--statistics",
        type=int,
        default=0,
        metavar="N",
        help=f"print statistics of N training {what}",
    )
    add_check(parser, check)
    parser.set_defaults(work="occ_order.commands.scenes")


def check(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of arguments, or None."""
    if not (options.output or options.contact_sheet or options.statistics):
        return "nothing to do: give --output, --contact-sheet or --statistics"
    return None
