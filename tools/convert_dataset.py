#!/usr/bin/env python
"""Convert a data set from one format to another.

    python tools/convert_dataset.py --from labelme --input my_folder --to instaorder --output out
    python tools/convert_dataset.py --from cocoa --input cocoa.json --images pics --to results --output out

Formats and the files that OUTPUT gets:

    labelme     a folder of labelme files, pictures copied beside them, and order.csv
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
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys

from occ_order.formats.command_line import add_input_options, read_input
from occ_order.formats.convert import check_pictures, convert, copy_pictures
from occ_order.formats.table import convertible


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
    add_input_options(parser)
    parser.add_argument("--to", required=True, choices=convertible(), help="format to write")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--copy-images",
        action="store_true",
        help="copy the pictures to OUTPUT/images (labelme: they are copied beside their files)",
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
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read, written or kept.
    """
    options = parse_arguments(arguments)
    try:
        data = read_input(options)
        check_pictures(data)
        if options.copy_images:
            data = copy_pictures(data, options.output)
        files, differences = convert(
            data,
            options.to,
            options.output,
            allow_changes=options.allow_changes,
            assume_whole=options.assume_whole,
            assume_none=options.assume_none,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in differences.lines():
        print(line, file=sys.stderr)
    count = sum(len(record["annotations"]) for record in data.records)
    shown = ", ".join(str(path) for path in files[-2:])
    print(f"{len(data.records):,} images, {count:,} instances -> {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
