"""COCO instances with an order table beside them: two files, both easy to write.

``instances.json`` is an ordinary COCO instances file (masks of visible parts). The table
(:mod:`~occ_order.data.converters.order_table`) names images by their id and instances by their
annotation id. Three keys of an annotation go beyond COCO and may be absent: `amodal_segmentation`
(the whole mask), `name` (free text), `is_stuff` (0 or 1). Crowd annotations are left out.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from occ_order import masks
from occ_order.data.converters.order_table import (
    Row,
    matrices_of,
    read_order_table,
    rows_of,
    write_order_table,
)
from occ_order.data.datasets.checks import DataError, Report, field, listed
from occ_order.data.datasets.coco_nesting import (
    category_of,
    new_coco,
    parse_categories,
    read_annotations,
    read_images,
)
from occ_order.data.datasets.files import read_json, write_json
from occ_order.data.datasets.mask_fields import checked_mask, mask_box, xywh

logger = logging.getLogger(__name__)


def load_coco_order(
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    order_csv: str | os.PathLike | None = None,
) -> list[dict[str, Any]]:
    """Reads COCO instances, with their order if there is a table.

    Args:
        instances_json: file of the layout of `instances_val2017.json`.
        image_root: folder that the file names are relative to.
        order_csv: the table; None leaves the orders out.

    Returns:
        One record per image of the file, with the orders that the table says of it. Boxes are those
        of the masks.

    Raises:
        ValueError: names file, image and annotation, or the line of the table.
    """
    data, report = read_json(instances_json), Report(instances_json)
    records = read_images(data, image_root, report)
    known = {category["id"] for category in parse_categories(data, report)}
    crowds = sum(entry.get("iscrowd") == 1 for entry in listed(data, "annotations"))
    if crowds:
        logger.warning("%s: %d crowd annotations left out", instances_json, crowds)
        kept = [e for e in listed(data, "annotations") if e.get("iscrowd") != 1]
        data = {**data, "annotations": kept}

    def read(annotation: dict, record: dict[str, Any]) -> tuple[dict[str, Any], None]:
        return _read_annotation(annotation, record, known), None

    read_annotations(data, records, report, read)
    if order_csv is not None:
        _add_orders(records, order_csv)
    return list(records.values())


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


def _add_orders(records: dict[int, dict[str, Any]], order_csv: str | os.PathLike) -> None:
    by_word = {str(image_id): record for image_id, record in records.items()}
    for word, rows in read_order_table(order_csv).items():
        if word not in by_word:
            raise DataError(f"{rows[0].place}: no image has the id {word!r}")
        record = by_word[word]
        places = {str(a["id"]): k for k, a in enumerate(record["annotations"])}

        def index_of(name: str, places: dict[str, int] = places, word: str = word) -> int:
            if name not in places:
                raise ValueError(f"image {word} has no annotation with the id {name!r}")
            return places[name]

        record.update(matrices_of(rows, len(places), index_of))


def save_coco_order(
    records: list[dict[str, Any]],
    instances_json: str | os.PathLike,
    order_csv: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Writes records as COCO instances and an order table. Nothing of a record is lost.

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
    coco = new_coco(records, categories, report, image_root)
    rows: list[Row] = []
    for record in records:
        word = str(record["image_id"])
        rows += rows_of(record, word, [str(a["id"]) for a in record["annotations"]])
        with report.at(f"image {word}"):
            coco["annotations"] += [_written(a, record) for a in record["annotations"]]
    write_json(instances_json, coco)
    write_order_table(order_csv, rows)


def _written(annotation: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    size, name = (record["height"], record["width"]), f"annotation {annotation['id']}"
    mask = masks.decode(annotation["segmentation"], *size, name=name)
    extra = ("amodal_segmentation", "name", "is_stuff")
    return {
        "id": annotation["id"],
        "image_id": record["image_id"],
        "category_id": annotation["category_id"],
        "segmentation": annotation["segmentation"],
        "area": float(mask.sum()),
        "bbox": xywh(masks.bounding_box(mask).tolist()),
        "iscrowd": 0,
        **{key: annotation[key] for key in extra if key in annotation},
    }
