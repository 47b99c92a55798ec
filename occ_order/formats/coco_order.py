"""COCO instances with an order table (CSV).

Also COCO instances as masks only (`coco_pages`; this includes COCOA-cls, D2SA and KINS, which have
the same layout), lists of COCO results (`results_list_page`), and conversion of a result to a COCO
file (`to_coco`).

``instances.json`` is a standard COCO instances file with modal masks. The table
(:mod:`~occ_order.formats.order_table`) refers to images and instances by their ids. Annotations may
have three additional keys: `amodal_segmentation` (the amodal mask), `name` (free text), `is_stuff`
(0 or 1). Crowd annotations are left out by default.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from occ_order import masks
from occ_order.files import DataError, show
from occ_order.formats.checks import Report, entries, field, finite, settle_problems
from occ_order.formats.coco_nesting import (
    category_of,
    growing_coco,
    image_of,
    parse_categories,
    read_images,
    tell_crowds,
    without_crowds,
)
from occ_order.formats.mask_fields import checked_mask, mask_box, xywh
from occ_order.formats.order_table import (
    Row,
    growing_order_table,
    matrices_of,
    read_order_table,
    rows_of,
)
from occ_order.formats.pages import UNNAMED, Found, Page, Tolerance, gathered, integer_ids
from occ_order.formats.stored_json import read_stored
from occ_order.instances import OrderedInstances

VISIBLE_KEYS = ("visible_mask", "inmodal_seg", "i_segm", "segmentation")
"""Keys of the modal mask, in order of precedence: COCOA-cls and D2SA (occluded instances), KINS
2019, KINS 2020, and all other formats."""

AMODAL_FORMATS = {
    "visible_mask": "cocoa_cls",
    "invisible_mask": "cocoa_cls",
    "inmodal_seg": "kins",
    "i_segm": "kins",
}
"""Key of an annotation -> format in which the mask that other formats call modal is amodal."""

SCORE_KEYS = ("score", "predicted_iou")
"""Keys of the score of an annotation, the first that it has; the second is Segment Anything's."""

logger = logging.getLogger(__name__)


def load_coco_order(
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    order_csv: str | os.PathLike | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Return the records of `iterate_coco_order`, with the same arguments and errors."""
    return list(iterate_coco_order(instances_json, image_root, order_csv, **options))


def iterate_coco_order(
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    order_csv: str | os.PathLike | None = None,
    *,
    keep_crowds: bool = False,
    skip_damaged: bool = False,
    problems: list[str] | None = None,
    level: int = logging.WARNING,
) -> Iterator[dict[str, Any]]:
    """Read COCO instances, with their order if there is a table, image by image.

    Annotations are parsed when they are read; only the table is held in memory.

    Args:
        instances_json: file of the layout of `instances_val2017.json`.
        image_root: folder that the file names are relative to.
        order_csv: the table; None leaves the orders out.
        keep_crowds: also read annotations with `iscrowd` 1, as CVAT marks brush masks.
        skip_damaged: skip annotations with an invalid mask or category, and their rows of the
            table, and log their number.
        problems: None = raise one error about all invalid annotations after reading the file; a
            list = collect messages (images with an error are then left out).
        level: at which is logged what is left out or covers no pixel.

    Yields:
        One record per image of the file, with the orders of the table. Boxes are computed from the
        masks.

    Raises:
        ValueError: invalid data; names file, image and annotations, or the line of the table. Also
            a file of an amodal format, whose `segmentation` is not the modal mask.
    """
    data, report = read_stored(instances_json, "annotations"), Report(instances_json, problems)
    records = read_images(data, image_root, report)
    known = {category["id"] for category in parse_categories(data, report)}
    orders = {} if order_csv is None else read_order_table(order_csv)
    unknown = orders.keys() - {str(image_id) for image_id in records}
    if unknown:
        word = min(unknown)
        raise DataError(f"{orders[word][0].place}: no image has the id {word!r}")
    found: list[str] = []
    collected = Report(instances_json, found)
    places, damaged = _places(instances_json, data, records, collected, keep_crowds, level)
    empty: list[int] = []
    for image_id in list(records):
        record = records.pop(image_id)
        annotations = [data["annotations"][k] for k in places.pop(image_id)]
        left_out = _read_all(annotations, record, collected, known)
        empty += [a["id"] for a in record["annotations"] if not any(a["bbox"])]
        if skip_damaged or not (left_out or image_id in damaged):
            _add_orders(record, orders.pop(str(image_id), []), left_out)
            yield record
    if problems is None:
        settle_problems(instances_json, found, skip_damaged, level=level)
    else:
        problems += found
    if empty:
        logger.log(
            level, "%s: %d annotations cover no pixel: %s", instances_json, len(empty), show(empty)
        )


def _places(
    path: str | os.PathLike,
    data: dict,
    records: Mapping[int, Any],
    report: Report,
    keep_crowds: bool,
    level: int,
) -> tuple[dict[int, array[int]], set[Any]]:
    """Return the indices of the annotations of each image, and the images with invalid ids."""
    places = {image_id: array("q") for image_id in records}
    damaged: set[Any] = set()
    seen: set[int] = set()
    crowds = total = 0
    for index, annotation in entries(data, "annotations", report, []):
        total += 1
        _check_modal(path, annotation)
        if annotation.get("iscrowd") == 1 and not keep_crowds:
            crowds += 1
            continue
        before, image_id = report.count, annotation.get("image_id", "(none)")
        number = annotation.get("id", f"number {index}")
        with report.at(f"image {image_id}"), report.at(f"annotation {number}"):
            image_of(annotation, records)
            if field(annotation, "id", "an integer") in seen:
                raise ValueError("the annotation id is used twice")
            seen.add(number)
            places[image_id].append(index)
        if report.count > before and isinstance(image_id, int):
            damaged.add(image_id)
    tell_crowds(path, crowds, total, level=level)
    return places, damaged


def _check_modal(path: str | os.PathLike, annotation: dict) -> None:
    """Check that `segmentation` is the modal mask, not the amodal mask as in `AMODAL_FORMATS`."""
    for key, format in AMODAL_FORMATS.items():
        if key in annotation:
            raise DataError(
                f"{os.fspath(path)}: annotation {show(annotation.get('id'))} has {key!r}, so "
                f"'segmentation' is an amodal mask; read the file in the format {format}"
            )


def _read_all(
    annotations: Sequence[dict], record: dict[str, Any], report: Report, known: set[int]
) -> set[str]:
    """Read the annotations of an image into its record; return the ids of invalid ones."""
    left_out: set[str] = set()
    for annotation in annotations:
        before, number = report.count, annotation["id"]
        with report.at(f"image {record['image_id']}"), report.at(f"annotation {number}"):
            record["annotations"].append(_read_annotation(annotation, record, known))
        if report.count > before:
            left_out.add(str(number))
    return left_out


def _read_annotation(annotation: dict, record: dict[str, Any], known: set[int]) -> dict[str, Any]:
    size = record["height"], record["width"]
    result = {
        "id": annotation["id"],
        "category_id": category_of(annotation, known),
        "segmentation": checked_mask(annotation, "segmentation", *size),
        "iscrowd": 0,
    }
    result["bbox"] = mask_box(result["segmentation"], *size, name="segmentation")
    if "amodal_segmentation" in annotation:
        amodal = checked_mask(annotation, "amodal_segmentation", *size)
        result["amodal_segmentation"] = amodal
        result["amodal_bbox"] = mask_box(amodal, *size, name="amodal_segmentation")
    if "is_stuff" in annotation:
        result["is_stuff"] = field(annotation, "is_stuff", "0 or 1")
    if "name" in annotation:
        result["name"] = field(annotation, "name", "a string")
    return result


def _add_orders(record: dict[str, Any], rows: Sequence[Row], left_out: set[str]) -> None:
    places = {str(a["id"]): k for k, a in enumerate(record["annotations"])}

    def index_of(name: str) -> int:
        if name not in places:
            raise ValueError(f"image {record['image_id']} has no annotation with the id {name!r}")
        return places[name]

    rows = [row for row in rows if not {row.first, row.second} & left_out]
    record.update(matrices_of(rows, len(places), index_of))


def save_coco_order(
    records: Iterable[dict[str, Any]],
    instances_json: str | os.PathLike,
    order_csv: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as COCO instances and an order table, without loss.

    Args:
        records: image ids and annotation ids must be unique.
        instances_json: file to write.
        order_csv: table to write.
        categories: [{"id": int, "name": str}], all that the records use.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image and annotation that cannot be written.
    """
    report = Report(instances_json)
    with (
        growing_order_table(order_csv) as add_rows,
        growing_coco(instances_json, categories, image_root) as add_image,
    ):
        for record in records:
            word = str(record["image_id"])
            add_rows(rows_of(record, word, [str(a["id"]) for a in record["annotations"]]))
            with report.at(f"image {word}"):
                add_image(record, [_written(a, record) for a in record["annotations"]])


def _written(annotation: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    size, name = (record["height"], record["width"]), f"annotation {annotation['id']}"
    mask = annotation["segmentation"]
    area, box = masks.area_and_box(mask, *size, name=name)
    extra = ("amodal_segmentation", "name", "is_stuff")
    return {
        "id": annotation["id"],
        "image_id": record["image_id"],
        "category_id": annotation["category_id"],
        "segmentation": mask,
        "area": float(area),
        "bbox": xywh(box.tolist()),
        "iscrowd": 0,
        **{key: annotation[key] for key in extra if key in annotation},
    }


# --- masks alone -------------------------------------------------------------------------


def coco_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the images of a COCO instances file as pages.

    Raises:
        ValueError: its lists are not lists of objects; names the file.
    """
    images, categories = _objects(path, data, "images"), _objects(path, data, "categories")
    names = {c["id"]: str(c.get("name", "")) for c in categories if type(c.get("id")) is int}
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in _objects(path, data, "annotations"):
        number = annotation.get("image_id")
        by_image.setdefault(number if _is_id(number) else None, []).append(annotation)
    return [_coco_page(path, image, by_image, names) for image in images]


def _coco_page(
    path: Path,
    image: dict[str, Any],
    by_image: Mapping[Any, list[dict[str, Any]]],
    names: Mapping[Any, str],
) -> Page:
    number = image.get("id") if _is_id(image.get("id")) else None
    annotations = by_image.get(number, [])

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        kept = annotations if tolerance.keep_crowds else without_crowds(path, annotations)
        return gathered(path, size, entries_of(kept, "annotation", size, names), tolerance)

    size = (image["height"], image["width"]) if {"height", "width"} <= image.keys() else None
    name = str(image.get("file_name", ""))
    return Page(name, read, UNNAMED if number is None else number, size)


def results_list_page(path: Path, data: list[Any]) -> list[Page]:
    """Return a list of COCO or Segment Anything results of one image as a page."""
    numbers = [entry.get("image_id") for entry in data if isinstance(entry, dict)]

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        if any(number != numbers[0] for number in numbers):
            raise DataError(f"{path}: results of several images; only those of one are wanted")
        return gathered(path, size, entries_of(data, "entry", size), tolerance)

    number = numbers[0] if numbers and _is_id(numbers[0]) else UNNAMED
    return [Page("", read, number)]


def _is_id(value: object) -> TypeGuard[int | str]:
    return type(value) is int or (isinstance(value, str) and value != "")


def _objects(path: Path, data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = data.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: {key!r} must be a list of objects, got {show(items)}")
    return items


def entries_of(
    entries: Sequence[Any],
    word: str,
    size: tuple[int, int],
    names: Mapping[Any, str] | None = None,
) -> list[tuple[str, Callable[[], Found]]]:
    """Convert COCO annotations or results to the entries that `pages.gathered` takes.

    Args:
        entries: objects with one of `VISIBLE_KEYS`; numbered from 1 if they have no "id".
        word: name of an entry in messages.
        size: (H, W) of the image.
        names: category id -> class name.
    """
    found: list[tuple[str, Callable[[], Found]]] = []
    for k, entry in enumerate(entries, start=1):
        number = entry.get("id", k) if isinstance(entry, dict) else k

        def read(entry: Any = entry, number: Any = number) -> Found:
            return _found(entry, number, size, names or {})

        found.append((f"{word} {show(number)}", read))
    return found


def _found(entry: Any, number: Any, size: tuple[int, int], names: Mapping[Any, str]) -> Found:
    if not isinstance(entry, dict) or not any(key in entry for key in VISIBLE_KEYS):
        raise ValueError(f"must have a 'segmentation', got {show(entry)}")
    score = next((entry[key] for key in SCORE_KEYS if key in entry), 1.0)
    category = entry.get("category_id", 1)
    types = type(number) in (int, str), type(category) is int, type(score) in (int, float)
    if not all(types) or not finite([score]) or abs(category) >= 2**63:
        raise ValueError(f"wrong id, category_id or score: {show((number, category, score))}")
    name = entry.get("name") or entry.get("category") or names.get(category, "")
    key = next(key for key in VISIBLE_KEYS if key in entry)
    return Found(number, checked_mask(entry, key, *size), category, str(name), float(score))


# --- a result as a COCO file -------------------------------------------------------------


def to_coco(result: OrderedInstances) -> dict[str, Any]:
    """Convert a result to a COCO instances file; see `OrderedInstances.to_coco`.

    Raises:
        ValueError: the id of an instance is not an integer, as COCO requires.
    """
    for number in result.ids:
        if not isinstance(number, int | np.integer):
            raise ValueError(
                f"ids of COCO are integers, got {number!r}; number the instances: "
                "result.replace(ids=None)"
            )
    (number,), (height, width) = integer_ids([result.image_id]), result.size
    name = result.file_name or f"{result.image_id}.png"
    image = {"id": number, "file_name": name, "height": height, "width": width}
    named = dict(zip(result.classes.tolist(), result.names or (), strict=False))
    categories = [
        {"id": kind, "name": named.get(kind) or f"class {kind}"}
        for kind in sorted(set(result.classes.tolist()))
    ]
    annotations = [_annotation_of(result, k, number) for k in range(len(result))]
    return {"images": [image], "annotations": annotations, "categories": categories}


def _annotation_of(result: OrderedInstances, k: int, image_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = map(int, masks.bounding_box(result.modal[k]))
    entry = {
        "id": int(result.ids[k]),
        "image_id": image_id,
        "category_id": int(result.classes[k]),
        "segmentation": masks.encode(result.modal[k]),
        "area": int(result.modal[k].sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": float(result.scores[k]),
    }
    if result.amodal is not None:
        entry["amodal_segmentation"] = masks.encode(result.amodal[k])
    return entry
