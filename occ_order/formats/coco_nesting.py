"""Readers and writers for the COCO layout: `images`, `annotations`, `categories`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from occ_order.files import DataError, growing_json, join_path, relative_name
from occ_order.formats.checks import Report, entries, field
from occ_order.formats.stored_json import StoredList, read_stored

logger = logging.getLogger(__name__)


def read_images(
    data: dict, image_root: str | os.PathLike, report: Report
) -> dict[int, dict[str, Any]]:
    """Read the `images` list of a COCO-style file: image id -> record without annotations."""
    records: dict[int, dict[str, Any]] = {}
    for index, image in entries(data, "images", report):
        with report.at(f"image {image.get('id', f'number {index}')}"):
            image_id = field(image, "id", "an integer")
            if image_id in records:
                raise ValueError("the image id is used twice")
            records[image_id] = {
                "file_name": join_path(image_root, field(image, "file_name", "a string")),
                "image_id": image_id,
                "height": field(image, "height", "a positive integer"),
                "width": field(image, "width", "a positive integer"),
                "annotations": [],
            }
    return records


def parse_categories(data: dict, report: Report) -> list[dict[str, Any]]:
    """Read the `categories` list of a COCO-style file: [{"id", "name"}] sorted by id."""
    names: dict[int, str] = {}
    for index, category in entries(data, "categories", report):
        with report.at(f"categories[{index}]"):
            category_id = field(category, "id", "an integer")
            if category_id in names:
                raise ValueError(f"category id {category_id} is used twice")
            names[category_id] = str(category.get("name", category_id))
    if not names and data.get("annotations"):
        report.add("'categories' must not be empty")
    return [{"id": key, "name": names[key]} for key in sorted(names)]


def read_categories(json_file: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the categories of a COCO-style file.

    Returns:
        [{"id": int, "name": str}] sorted by id. For a COCOA file, which has none, the single class
        "object" with id 1.

    Raises:
        ValueError: names the file and the wrong entry.
    """
    data, report = read_stored(json_file, "annotations"), Report(json_file)
    if "categories" not in data and is_cocoa(data):
        return [{"id": 1, "name": "object"}]
    with report.at("categories"):
        categories = parse_categories(data, report)
    return categories


def is_cocoa(data: dict) -> bool:
    """Return whether parsed JSON has the COCOA layout (one annotation per image with regions)."""
    annotations = data.get("annotations")
    nested = isinstance(annotations, list | StoredList) and (
        not annotations or (isinstance(annotations[0], dict) and "regions" in annotations[0])
    )
    return "regions" in data or (nested and "images" in data and "categories" not in data)


def category_of(annotation: dict, known: set[int]) -> int:
    """Return the category id of an annotation.

    Raises:
        ValueError: it is not among the categories of the file.
    """
    category_id = field(annotation, "category_id", "an integer")
    if category_id not in known:
        raise ValueError(f"category_id {category_id} is not among the {len(known)} categories")
    return category_id


def image_of(annotation: dict, records: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the record that an annotation belongs to.

    Raises:
        ValueError: its image is not in the file.
    """
    image_id = field(annotation, "image_id", "an integer")
    if image_id not in records:
        raise ValueError(f"image_id {image_id} is not among the {len(records)} images")
    return records[image_id]


def read_annotations(
    data: dict,
    records: dict[int, dict[str, Any]],
    report: Report,
    read: Callable[[dict, dict[str, Any]], tuple[dict[str, Any], Any]],
) -> dict[int, list[Any]]:
    """Read the flat `annotations` list of a COCO-style file into its records.

    Args:
        data: the parsed file.
        records: image id -> record; annotations are appended in the order of the file, and images
            with an invalid annotation are removed.
        report: collects the errors.
        read: (annotation, its record) -> (annotation of the record, a value from which the order of
            the image is computed).

    Returns:
        Image id -> the second values of `read`, in the order of its annotations.
    """
    extras: dict[int, list[Any]] = {image_id: [] for image_id in records}
    seen: set[int] = set()
    bad: set[int] = set()
    for index, annotation in entries(data, "annotations", report):
        before, image_id = report.count, annotation.get("image_id", "(none)")
        number = annotation.get("id", f"number {index}")
        with report.at(f"image {image_id}"), report.at(f"annotation {number}"):
            record = image_of(annotation, records)
            if field(annotation, "id", "an integer") in seen:
                raise ValueError("the annotation id is used twice")
            seen.add(number)
            result, extra = read(annotation, record)
            record["annotations"].append(result)
            extras[image_id].append(extra)
        if report.count > before and isinstance(image_id, int):
            bad.add(image_id)
    for image_id in bad & records.keys():
        del records[image_id]
    return extras


@contextmanager
def growing_coco(
    path: str | os.PathLike,
    categories: Sequence[Mapping[str, Any]],
    image_root: str | os.PathLike | None,
) -> Iterator[Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], None]]:
    """Write a COCO-style file image by image; see `growing_json`.

    Args:
        path: the file.
        categories: [{"id", "name"}], all that are used.
        image_root: file names are written relative to this folder; None writes them as they are.

    Yields:
        A function that adds an image: (record, its annotations in the layout of the file). It
        raises ValueError if the id of the image or of an annotation of the record was used before,
        or a category id is not in `categories`.
    """
    report, known = Report(path), {category["id"] for category in categories}
    images: set[int] = set()
    seen: set[int] = set()
    listed = [{"id": int(c["id"]), "name": str(c["name"])} for c in categories]

    def add_image(record: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> None:
        with report.at(f"image {record['image_id']}"):
            add("images", image_entry(record, image_root, images))
            for annotation in record["annotations"]:
                with report.at(f"annotation {annotation['id']}"):
                    category_of(annotation, known)
                    if annotation["id"] in seen:
                        raise ValueError("the annotation id is used twice")
                    seen.add(annotation["id"])
            for annotation in annotations:
                add("annotations", annotation)

    content = {"images": [], "annotations": [], "categories": listed}
    with growing_json(path, content) as add:
        yield add_image


def save_images(
    path: str | os.PathLike,
    records: Iterable[dict[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    image_root: str | os.PathLike | None,
    written: Callable[[dict[str, Any], Report], list[dict[str, Any]]],
) -> None:
    """Write records as a COCO-style file.

    Args:
        path, categories, image_root: see `growing_coco`.
        records: the records.
        written: (record, report at the place of the image) -> its annotations in the layout of the
            file.

    Raises:
        ValueError: names the image and annotation that cannot be written.
    """
    report = Report(path)
    with growing_coco(path, categories, image_root) as add_image:
        for record in records:
            with report.at(f"image {record['image_id']}"):
                add_image(record, written(record, report))


def image_entry(
    record: Mapping[str, Any], image_root: str | os.PathLike | None, seen: set[int]
) -> dict[str, Any]:
    """Return an entry of the `images` list of a COCO-style file.

    Args:
        record: the record.
        image_root: see `growing_coco`.
        seen: ids of the images before; the one of the record is added.

    Raises:
        ValueError: the image id is used twice, or the file is not inside `image_root`.
    """
    if record["image_id"] in seen:
        raise ValueError("the image id is used twice")
    seen.add(record["image_id"])
    return {
        "id": int(record["image_id"]),
        "file_name": relative_name(record["file_name"], image_root),
        "height": int(record["height"]),
        "width": int(record["width"]),
    }


def without_crowds(path: str | os.PathLike, entries: Sequence[dict]) -> list[dict]:
    """Remove crowd annotations and log their number.

    Raises:
        ValueError: see `tell_crowds`.
    """
    single = [entry for entry in entries if entry.get("iscrowd") != 1]
    tell_crowds(path, len(entries) - len(single), len(entries))
    return single


def tell_crowds(
    path: str | os.PathLike, crowds: int, total: int, *, level: int = logging.WARNING
) -> None:
    """Log the number of crowd annotations that are left out, at a level.

    Raises:
        ValueError: all annotations are crowds, which rather indicates brush masks of CVAT.
    """
    if crowds and crowds == total:
        raise DataError(
            f"{os.fspath(path)}: all {total} annotations have 'iscrowd' 1, as CVAT marks "
            "masks that are drawn with a brush; if they are single objects, keep crowds "
            "(--keep-crowds, keep_crowds=True)"
        )
    if crowds:
        logger.log(
            level,
            "%s: %d crowd annotations ('iscrowd' 1) left out; --keep-crowds takes them",
            path,
            crowds,
        )
