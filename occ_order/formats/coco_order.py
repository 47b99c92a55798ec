"""COCO instances with an order table beside them: two files, both easy to write.

``instances.json`` is an ordinary COCO instances file (masks of visible parts). The table
(:mod:`~occ_order.formats.order_table`) names images by their id and instances by their
annotation id. Three keys of an annotation go beyond COCO and may be absent: `amodal_segmentation`
(the whole mask), `name` (free text), `is_stuff` (0 or 1). Crowd annotations are left out, unless
they are to be kept.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from occ_order import masks
from occ_order.files import DataError, read_json, show, write_json
from occ_order.formats.checks import Report, field, listed, settle_problems
from occ_order.formats.coco_nesting import (
    category_of,
    new_coco,
    parse_categories,
    read_annotations,
    read_images,
    without_crowds,
)
from occ_order.formats.mask_fields import checked_mask, mask_box, xywh
from occ_order.formats.order_table import (
    Row,
    matrices_of,
    read_order_table,
    rows_of,
    write_order_table,
)

logger = logging.getLogger(__name__)


def load_coco_order(
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    order_csv: str | os.PathLike | None = None,
    *,
    keep_crowds: bool = False,
    skip_damaged: bool = False,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read COCO instances, with their order if there is a table.

    Args:
        instances_json: file of the layout of `instances_val2017.json`.
        image_root: folder that the file names are relative to.
        order_csv: the table; None leaves the orders out.
        keep_crowds: also take annotations with `iscrowd` 1, which CVAT gives to every mask that is
            drawn with a brush.
        skip_damaged: leave out annotations whose mask or category is wrong, with what the table
            says of them, and count them in the log.
        problems: None to raise, after reading all, one error about all annotations that are wrong;
            a list to collect messages in (images with an error are then left out).

    Returns:
        One record per image of the file, with the orders that the table says of it. Boxes are those
        of the masks.

    Raises:
        ValueError: names file, image and every annotation that is wrong, or the line of the table.
    """
    data, report = read_json(instances_json), Report(instances_json, problems)
    records = read_images(data, image_root, report)
    known = {category["id"] for category in parse_categories(data, report)}
    if not keep_crowds:
        kept = without_crowds(instances_json, listed(data, "annotations"))
        data = {**data, "annotations": kept}
    found: list[str] = []
    left_out = _read_all(data, records, Report(instances_json, found), known, skip_damaged)
    if problems is None:
        settle_problems(instances_json, found, skip_damaged)
    else:
        problems += found
    empty = [a["id"] for r in records.values() for a in r["annotations"] if not any(a["bbox"])]
    if empty:
        logger.warning(
            "%s: %d annotations cover no pixel: %s", instances_json, len(empty), show(empty)
        )
    if order_csv is not None:
        _add_orders(records, order_csv, left_out)
    return list(records.values())


def _read_all(
    data: dict, records: dict[int, dict[str, Any]], report: Report, known: set[int], skip: bool
) -> set[str]:
    """Fill the records; returns the ids of the annotations that were left out, as words."""
    left_out: set[str] = set()

    def read(annotation: dict, record: dict[str, Any]) -> tuple[dict[str, Any] | None, None]:
        try:
            return _read_annotation(annotation, record, known), None
        except ValueError as error:
            if not skip:
                raise
            report.add(error)
            left_out.add(str(annotation["id"]))
            return None, None

    read_annotations(data, records, report, read, keep_images=skip)
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


def _add_orders(
    records: dict[int, dict[str, Any]], order_csv: str | os.PathLike, left_out: set[str]
) -> None:
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

        rows = [row for row in rows if not {row.first, row.second} & left_out]
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
