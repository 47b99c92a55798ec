"""KINS: amodal instances in KITTI images (Qi et al., CVPR 2019), files of 2019 and of 2020.

Both are nested like COCO and belong to `training/image_2` and `testing/image_2`. Their keys differ:

| | 2019: `instances_{train,val}.json` | 2020: `update_{train,test}_2020.json` |
|---|---|---|
| amodal | `segmentation`, `bbox` | `a_segm`, `a_bbox`, `a_area` |
| visible | `inmodal_seg`, `inmodal_bbox` | `i_segm`, `i_bbox`, `i_area` |
| order | none | `oco_id` cluster, `ico_id` layer in the cluster |
| classes | ids 1, 2, 4, 5, 6, 7, 8 | also 3 (rider) |

The order of 2019 files is derived from the masks (`occ_order.order.occlusion_from_masks`). In 2020
files a smaller layer is nearer; layers also order pairs that do not overlap, so only pairs with
overlapping amodal masks are occlusions. The contiguous class ids of the two versions differ: do not
mix their registrations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import read_json
from occ_order.formats.checks import Report, each_listed, field
from occ_order.formats.coco_nesting import (
    category_of,
    parse_categories,
    read_annotations,
    read_images,
    save_images,
)
from occ_order.formats.mask_fields import (
    amodal_overlaps,
    as_polygons,
    as_rle,
    checked_mask,
    modal_and_amodal,
    xywh,
    xyxy,
)
from occ_order.order import occlusion_from_kins, occlusion_from_masks, occlusion_to_kins

KEYS_2019 = {
    "modal": "inmodal_seg",
    "modal_box": "inmodal_bbox",
    "amodal": "segmentation",
    "amodal_box": "bbox",
}
KEYS_2020 = {
    "modal": "i_segm",
    "modal_box": "i_bbox",
    "amodal": "a_segm",
    "amodal_box": "a_bbox",
}


def load_kins(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    with_order: bool = True,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a KINS file of either version, detected by the keys of its annotations.

    The format of masks is checked; to compute the order, masks are also decoded: all masks of a
    2019 file, the amodal masks of overlapping boxes in one cluster of a 2020 file.

    Args:
        json_file: `instances_{train,val}.json` or `update_{train,test}_2020.json`.
        image_root: folder that the file names are relative to.
        with_order: False leaves "occlusion" out and reads much faster.
        problems: None to raise at the first error; a list to collect messages in.

    Returns:
        One record per image of the file. "bbox" is the modal box of the file.

    Raises:
        ValueError: names file, image id and annotation id of the first error.
    """
    data = read_json(json_file)
    report = Report(json_file, problems)
    records = read_images(data, image_root, report)
    known = {category["id"] for category in parse_categories(data, report)}
    new = is_2020(data)

    def read(annotation: dict, record: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        result = _read_annotation(annotation, record, known, KEYS_2020 if new else KEYS_2019)
        return result, _read_layer(annotation) if new and with_order else None

    layers = read_annotations(data, records, report, read)
    for image_id, record in list(records.items()) if with_order else []:
        before = report.count
        with report.at(f"image {image_id}"):
            if new:
                record["occlusion"] = _occlusion_2020(layers[image_id], record)
            else:
                record["occlusion"] = _occlusion_2019(record)
        if report.count > before:
            del records[image_id]
    return list(records.values())


def is_2020(data: dict) -> bool:
    """Return whether the annotations of a parsed file have the keys of the 2020 files."""
    for annotation in each_listed(data, "annotations"):
        if "a_segm" in annotation or "i_segm" in annotation:
            return True
        if "inmodal_seg" in annotation:
            return False
    return False


def _read_annotation(
    annotation: dict, record: dict[str, Any], known: set[int], keys: dict[str, str]
) -> dict[str, Any]:
    size = record["height"], record["width"]
    return {
        "id": annotation["id"],
        "category_id": category_of(annotation, known),
        "bbox": xyxy(annotation, keys["modal_box"]),
        "segmentation": checked_mask(annotation, keys["modal"], *size),
        "amodal_segmentation": checked_mask(annotation, keys["amodal"], *size),
        "amodal_bbox": xyxy(annotation, keys["amodal_box"]),
        "iscrowd": 0,
    }


def _read_layer(annotation: dict) -> tuple[int, int]:
    cluster = field(annotation, "oco_id", "an integer")
    layer = field(annotation, "ico_id", "an integer")
    if layer < 0:
        raise ValueError(f"'ico_id' must be >= 0, got {layer}")
    return cluster, layer


def _occlusion_2020(layers: list[tuple[int, int]], record: dict[str, Any]) -> np.ndarray:
    clusters, ranks = np.array(layers, np.int64).reshape(-1, 2).T
    together = (clusters[:, None] == clusters) & (ranks[:, None] > 0) & (ranks > 0)
    related = amodal_overlaps(record, together)
    return occlusion_from_kins(clusters, ranks, related=related)


def _occlusion_2019(record: dict[str, Any]) -> np.ndarray:
    annotations, size = record["annotations"], (record["height"], record["width"])
    names = [f"annotation {annotation['id']}" for annotation in annotations]
    modal, amodal = (
        masks.decode_all([annotation[key] for annotation in annotations], *size, names=names)
        for key in ("segmentation", "amodal_segmentation")
    )
    return occlusion_from_masks(modal, amodal)


def save_kins(
    records: Iterable[dict[str, Any]],
    json_file: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records with the keys of the 2020 files.

    As in the published files, amodal masks are written as polygons, which rasterise to the same
    pixels, and modal masks as compressed RLE. Clusters are numbered within each image. Layers
    cannot express mutual occlusion: such pairs share a layer and are read back as -1.

    Args:
        records: every annotation needs "amodal_segmentation", every record "occlusion".
        json_file: file to write.
        categories: [{"id": int, "name": str}], all that the records use.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image and annotation that cannot be written.
    """
    save_images(json_file, records, categories, image_root, _written_annotations)


def _written_annotations(record: dict[str, Any], report: Report) -> list[dict[str, Any]]:
    if "occlusion" not in record:
        raise ValueError("KINS 2020 cannot hold an image without occlusion order")
    places = zip(*occlusion_to_kins(record["occlusion"]), strict=True)
    written = []
    for annotation, (cluster, rank) in zip(record["annotations"], places, strict=True):
        with report.at(f"annotation {annotation['id']}"):
            entry = _written_annotation(annotation, record)
            written.append({**entry, "oco_id": int(cluster), "ico_id": int(rank)})
    return written


def _written_annotation(annotation: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    size = record["height"], record["width"]
    modal, amodal = modal_and_amodal(annotation, *size)
    box = annotation.get("amodal_bbox", masks.bounding_box(amodal))
    return {
        "id": annotation["id"],
        "image_id": record["image_id"],
        "category_id": annotation["category_id"],
        "iscrowd": 0,
        "a_segm": as_polygons(annotation["amodal_segmentation"], *size),
        "a_bbox": xywh(box),
        "a_area": int(amodal.sum()),
        "i_segm": as_rle(annotation["segmentation"], *size),
        "i_bbox": xywh(annotation["bbox"]),
        "i_area": int(modal.sum()),
    }
