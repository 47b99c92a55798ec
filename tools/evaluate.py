"""Scores an order_results.json against the ground truth of a data set; needs no model.

Example:
    python tools/evaluate.py --gt COCO_amodal_val2014.json --format cocoa \
        --predictions output/inference/order_results.json

Reads COCOA, KINS (2019 and 2020), InstaOrder (with --instances), COCOA-cls / D2SA files and
photographs with measured order.
Numbers are percent; "-" is undefined for these data, and the notes below the table say why.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from occ_order.files import atomic_writer
from occ_order.formats.table import FORMATS, with_order
from occ_order.metrics.report import evaluate_results, format_report, without_nan
from occ_order.order.io import load_results


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", required=True, help="ground-truth JSON file")
    parser.add_argument(
        "--format", required=True, choices=with_order(), help="what kind of file it is"
    )
    parser.add_argument("--predictions", required=True, help="order_results.json")
    parser.add_argument("--instances", help="COCO instances JSON that an InstaOrder file refers to")
    parser.add_argument("--split", choices=("train", "val"), help="of photographs; default: both")
    parser.add_argument(
        "--images", default=".", help="folder of the photographs; they are not opened"
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
    options = parser.parse_args(arguments)
    if (FORMATS[options.format].inputs == 2) != (options.instances is not None):
        parser.error("--instances belongs to --format instaorder, which needs it")
    if options.split is not None and options.format != "photos":
        parser.error("--split belongs to --format photos")
    return options


def load_ground_truth(options: argparse.Namespace) -> list[dict]:
    """Reads the records of the chosen format.

    Args:
        options: of `parse_arguments`.

    Returns:
        Records.

    Raises:
        ValueError: the file is not of that format, or an entry of it is damaged.
    """
    files = [options.gt] if options.instances is None else [options.gt, options.instances]
    split = {} if options.split is None else {"split": options.split}
    return FORMATS[options.format].load(*files, options.images, **split)


def write_report(path: Path, report: dict) -> None:
    """Write a report, without NaN, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_writer(path, make_folder=False) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where a file cannot be read or does not fit.
    """
    options = parse_arguments(arguments)
    try:
        report = evaluate_results(
            load_ground_truth(options),
            load_results(options.predictions),
            match=options.match,
            iou_threshold=options.iou,
            class_agnostic=options.class_agnostic,
            gt_edges=options.gt_edges,
            things_only=options.things,
        )
        if options.json:
            write_report(Path(options.json), without_nan(report))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(format_report(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
