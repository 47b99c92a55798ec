"""Reading of the data set or results given by command line options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from occ_order.files import list_images
from occ_order.formats.convert import DataSet, read_dataset
from occ_order.formats.results import image_of, read_names, results_of
from occ_order.order import load_results


def read_input(options: argparse.Namespace, *, stream: bool = False) -> DataSet:
    """Read the data set given by the options of `occ_order.cli.common.add_input_options`.

    Args:
        options: the options.
        stream: see `read_dataset`.

    Raises:
        ValueError: names file and entry of what is wrong.
        OSError: a file cannot be read.
    """
    classes = options.classes
    return read_dataset(
        options.format,
        options.input,
        images=options.images,
        instances=options.instances,
        order=options.order,
        classes=None if classes is None else [name.strip() for name in classes.split(",")],
        whole=options.whole,
        names_from=options.names_from,
        keep_crowds=options.keep_crowds,
        skip_damaged=options.skip_damaged,
        stream=stream,
    )


# --- results -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundResults:
    """Results of one image with its image file and ground truth.

    Attributes:
        image: dict of one image (:mod:`occ_order.order.io`), with a "file_name".
        path: path of the image file.
        truth: ground truth in the same form, or None.
        class_names: category id -> name, as far as known.
    """

    image: dict[str, Any]
    path: Path
    truth: dict[str, Any] | None
    class_names: dict[int, str]


def find_results(path: str) -> Path:
    """Find ``order_results.json``: the path itself, in a folder, or in its ``inference`` folder.

    Raises:
        FileNotFoundError: there is none in the folder.
    """
    place = Path(path)
    if not place.is_dir():
        return place
    for candidate in (place / "order_results.json", place / "inference" / "order_results.json"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no order_results.json in {place} or {place / 'inference'}")


def found_results(options: argparse.Namespace) -> Sequence[FoundResults]:
    """Read the results given by the options of `occ_order.cli.common.add_results_options`.

    Image files are found by the names of ``--names-from``, by the ground truth, by the "file_name"
    of the results, or by the image id in the file name.

    Raises:
        ValueError: invalid data; names file and image.
        OSError: a file cannot be read.
    """
    images = load_results(find_results(options.results))[: options.limit]
    file_names, categories = read_names(options.names_from)
    truth, gt_categories = {}, []
    if options.gt:
        data = read_dataset(
            options.gt_format, options.gt, images=options.images, instances=options.instances
        )
        truth = {record["image_id"]: record for record in data.records}
        gt_categories = data.categories
        file_names = file_names or {
            number: Path(record["file_name"]).relative_to(options.images).as_posix()
            for number, record in truth.items()
        }
    class_names = {c["id"]: str(c["name"]) for c in categories or gt_categories}
    image_files, found = list_images(options.images), []
    for image in images:
        path = image_of(image, options.images, file_names=file_names, image_files=image_files)
        record = truth.get(image["image_id"])
        annotated = None if record is None else results_of(record, gt_categories)
        image = {"file_name": path.name, **image}
        found.append(FoundResults(image, path, annotated, class_names))
    return found
