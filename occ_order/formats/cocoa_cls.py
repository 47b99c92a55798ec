"""COCOA-cls and D2SA: amodal instances with classes in the COCO layout (Follmann et al., 2019).

Files `COCO_amodal_{train,val}2014_with_classes.json`,
`D2S_amodal_{training_rot0,augmented,validation}.json` and the class-agnostic
`COCO_amodal_*2014_detectron_no_stuff.json`. Annotation keys: `id, image_id, category_id, bbox`
(amodal, [x, y, width, height]), `segmentation` (AMODAL, polygons or RLE), and optionally
`visible_mask`, `invisible_mask` (RLE), `occlude_rate` and `occl_depth`.

- Without `visible_mask` the modal mask equals the amodal mask.
- `iscrowd` is ignored and set to 0, since rows of a matrix must not be dropped as crowds.
- COCOA-cls has no order. D2SA ranks the objects of an image by `occl_depth` (smaller = in front),
  which defines the order of overlapping objects.
- D2SA masks have the size stated in `images`, which is not always that of the image file (some are
  padded); the validator compares the two if it is given the images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import read_json
from occ_order.formats.checks import Report, field
from occ_order.formats.coco_nesting import (
    category_of,
    parse_categories,
    read_annotations,
    read_images,
    save_images,
)
from occ_order.formats.mask_fields import (
    amodal_overlaps,
    as_rle,
    checked_mask,
    mask_box,
    modal_and_amodal,
    read_rate,
    xywh,
    xyxy,
)
from occ_order.order import layers, occlusion_from_kins


def load_cocoa_cls(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a COCOA-cls or D2SA file.

    Modal masks that differ from the amodal mask are decoded to compute their boxes; for other masks
    only the format is checked.

    Args:
        json_file: a file as described in the module docstring.
        image_root: folder that the file names are relative to.
        problems: None to raise at the first error; a list to collect messages in.

    Returns:
        One record per image. "occlusion" is present iff every annotation of the image has
        `occl_depth`: of two objects with overlapping amodal masks, the one with the smaller value
        occludes the other; equal values are unknown (-1).

    Raises:
        ValueError: names file, image id and annotation id of the first error.
    """
    data = read_json(json_file)
    report = Report(json_file, problems)
    records = read_images(data, image_root, report)
    known = {category["id"] for category in parse_categories(data, report)}

    def read(annotation: dict, record: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        depth = field(annotation, "occl_depth", "an integer", None)
        return _read_annotation(annotation, record, known), depth

    depths = read_annotations(data, records, report, read)
    for image_id, record in records.items():
        rank = depths[image_id]
        if rank and None not in rank:
            with report.at(f"image {image_id}"):
                record["occlusion"] = _occlusion_from_depths(rank, record)
    return list(records.values())


def _occlusion_from_depths(depths: list[int], record: dict[str, Any]) -> np.ndarray:
    everything = np.ones((len(depths), len(depths)), bool)
    related = amodal_overlaps(record, everything)
    one_cluster = np.zeros(len(depths), np.int64)
    ranks = np.array(depths) - min(depths) + 1
    return occlusion_from_kins(one_cluster, ranks, related=related)


def _read_annotation(annotation: dict, record: dict[str, Any], known: set[int]) -> dict[str, Any]:
    size = record["height"], record["width"]
    amodal = checked_mask(annotation, "segmentation", *size)
    box = xyxy(annotation, "bbox")
    result = {
        "id": annotation["id"],
        "category_id": category_of(annotation, known),
        "bbox": list(box),
        "segmentation": amodal,
        "amodal_segmentation": amodal,
        "amodal_bbox": box,
        "iscrowd": 0,
    }
    if "visible_mask" in annotation:
        visible = checked_mask(annotation, "visible_mask", *size)
        result["segmentation"] = visible
        result["bbox"] = mask_box(visible, *size, name="visible_mask")
    if "occlude_rate" in annotation:
        result["occlude_rate"] = read_rate(annotation)
    return result


def save_cocoa_cls(
    records: Iterable[dict[str, Any]],
    json_file: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as a COCOA-cls file; if they have occlusion, with D2SA's `occl_depth`.

    `occl_depth` is 0 for the front layer and one more for each layer of objects in front. It cannot
    express mutual occlusion: such pairs share a layer and are read back as -1.

    Args:
        records: every annotation needs "amodal_segmentation".
        json_file: file to write.
        categories: [{"id": int, "name": str}], all that the records use.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image and annotation that cannot be written.
    """
    save_images(json_file, records, categories, image_root, _written_annotations)


def _written_annotations(record: dict[str, Any], report: Report) -> list[dict[str, Any]]:
    depths = layers(record["occlusion"]) if "occlusion" in record else None
    written = []
    for k, annotation in enumerate(record["annotations"]):
        with report.at(f"annotation {annotation['id']}"):
            entry = _written_annotation(annotation, record)
            written.append(entry if depths is None else {**entry, "occl_depth": int(depths[k])})
    return written


def _written_annotation(annotation: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    size = record["height"], record["width"]
    modal, amodal = modal_and_amodal(annotation, *size)
    hidden = amodal & ~modal
    rate = int(hidden.sum()) / int(amodal.sum())
    written = {
        "id": annotation["id"],
        "image_id": record["image_id"],
        "category_id": annotation["category_id"],
        "iscrowd": 0,
        "segmentation": annotation["amodal_segmentation"],
        "area": float(amodal.sum()),
        "bbox": xywh(annotation.get("amodal_bbox", masks.bounding_box(amodal))),
        "visible_mask": as_rle(annotation["segmentation"], *size),
        "occlude_rate": annotation.get("occlude_rate", rate),
    }
    if hidden.any():
        written["invisible_mask"] = masks.encode(hidden)
    return written
