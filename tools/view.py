#!/usr/bin/env python
"""Look through results in a browser: one HTML file that needs no server and no network.

    python tools/view.py --results output/inference --images pictures --output view.html
    python tools/view.py --results order_results.json --images pictures --output view.html \
        --gt cocoa.json --gt-format cocoa

Point at an instance to see what it hides and what hides it; slide through the layers; switch between
visible parts and whole objects; compare with annotation. Pictures are found by the "file_name" of
the results, by the annotation, or by the image id in their name.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from occ_order.data.converters import READABLE, read_dataset
from occ_order.data.converters.results import read_names, results_of
from occ_order.data.picture import load_picture
from occ_order.data.safe_paths import list_pictures, picture_of
from occ_order.order import load_results
from occ_order.visualization.viewer import save_viewer, viewer_image


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
    parser.add_argument(
        "--results", required=True, metavar="PATH", help="order_results.json, or a folder with it"
    )
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--output", default="view.html", help="page to write")
    parser.add_argument("--title", default="Who is in front of whom?", help="heading of the page")
    parser.add_argument("--gt", metavar="PATH", help="annotation to compare with")
    parser.add_argument("--gt-format", choices=READABLE, help="its format")
    parser.add_argument("--instances", metavar="FILE", help="instaorder: the COCO instances file")
    parser.add_argument(
        "--names-from", metavar="FILE", help="COCO-style file with file names and classes"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images only")
    parser.add_argument(
        "--max-side", type=int, default=1280, help="pictures are made no larger than this"
    )
    options = parser.parse_args(arguments)
    if (options.gt is None) != (options.gt_format is None):
        parser.error("--gt and --gt-format belong together")
    return options


def find_results(path: str) -> Path:
    """``order_results.json`` itself, in a folder, or in its ``inference`` folder."""
    place = Path(path)
    if not place.is_dir():
        return place
    found = [place / name for name in ("order_results.json", "inference/order_results.json")]
    for candidate in found:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no order_results.json in {place} or {place / 'inference'}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read or does not fit.
    """
    options = parse_arguments(arguments)
    try:
        images = load_results(find_results(options.results))[: options.limit]
        file_names, categories = read_names(options.names_from)
        truth = {}
        if options.gt:
            data = read_dataset(
                options.gt_format, options.gt, images=options.images, instances=options.instances
            )
            categories = categories or data.categories
            truth = {record["image_id"]: record for record in data.records}
            known = {image["image_id"]: image["file_name"] for image in map(dict, data.records)}
            root = Path(options.images)
            file_names = file_names or {
                number: Path(name).relative_to(root).as_posix() for number, name in known.items()
            }
        class_names = {category["id"]: category["name"] for category in categories or ()}
        pictures = list_pictures(options.images)
        pages = []
        for image in tqdm(images, unit="image", disable=None):
            path = picture_of(image, options.images, file_names=file_names, pictures=pictures)
            record = truth.get(image["image_id"])
            pages.append(
                viewer_image(
                    {"file_name": path.name, **image},
                    load_picture(path),
                    truth=None if record is None else results_of(record, data.categories),
                    class_names=class_names,
                    max_side=options.max_side,
                )
            )
        save_viewer(options.output, pages, title=options.title)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = Path(options.output).stat().st_size / 1e6
    print(f"{len(pages):,} images, {size:.1f} MB: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
