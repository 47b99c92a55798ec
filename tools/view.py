#!/usr/bin/env python
"""Look through results in a browser: an HTML file that needs no server and no network.

    python tools/view.py --results output/inference --images pictures --output view.html
    python tools/view.py --results order_results.json --images pictures --output view.html \
        --gt cocoa.json --gt-format cocoa

Of more than 200 images, each lies in a file of its own in a folder beside the page (view_files),
which opens at once and reads them one by one.

Point at an instance to see what it hides and what hides it; slide through the layers; switch between
visible parts and whole objects; compare with annotation. Pictures are found by the "file_name" of
the results, by the annotation, or by the image id in their name.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from occ_order.apps.viewer import MOST_INSIDE, save_viewer, viewer_image
from occ_order.files import load_image
from occ_order.formats.command_line import add_results_options, check_results_options, found_results


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
    add_results_options(parser)
    parser.add_argument("--output", default="view.html", help="page to write")
    parser.add_argument("--title", default="Who is in front of whom?", help="heading of the page")
    parser.add_argument(
        "--max-side", type=int, default=1280, help="pictures are made no larger than this"
    )
    options = parser.parse_args(arguments)
    check_results_options(parser, options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read or does not fit.
    """
    options = parse_arguments(arguments)
    try:
        pages = (
            viewer_image(
                found.image,
                load_image(found.path),
                truth=found.truth,
                class_names=found.class_names,
                max_side=options.max_side,
            )
            for found in tqdm(found_results(options), unit="image", disable=None)
        )
        count = save_viewer(options.output, pages, title=options.title)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = Path(options.output).stat().st_size / 1e6
    beside = f", and a folder of {count:,} files beside it" if count > MOST_INSIDE else ""
    print(f"{count:,} images, {size:.1f} MB: {options.output}{beside}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
