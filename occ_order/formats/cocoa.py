"""COCOA: amodal regions and depth constraints of COCO 2014 images (`COCO_amodal_*2014.json`).

The file has `images` and `annotations`; one annotation holds all regions of one image:

    {"id": 377, "image_id": 188819, "size": 2, "author": "...", "url": "...",
     "depth_constraint": "1-2",
     "regions": [{"segmentation": [x, y, ...], "name": "phone ", "area": 90138, "isStuff": 0,
                  "occlude_rate": 0.34, "order": 2, "visible_mask": RLE, "invisible_mask": RLE}]}

- `segmentation` is ONE flat polygon, the amodal mask. `visible_mask` and `invisible_mask` exist
  only for occluded regions; without them the modal mask equals the amodal mask.
- "a-b" in `depth_constraint`: the region at position a (1-based) of `regions` occludes the one at
  b. `order` (1 = front) usually equals the position but may have gaps, so it is not used as an
  index.
- Regions have no id; in records it is `annotation id * 1000 + order`.
- There are no categories: every region has class 1, "object"; its name is free text.
- A fully occluded region keeps its row; its "bbox" is [0, 0, 0, 0].
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import growing_json, image_size, read_json, show
from occ_order.formats.checks import Report, entries, field, listed
from occ_order.formats.coco_nesting import image_entry, image_of, read_images
from occ_order.formats.mask_fields import (
    as_polygons,
    as_rle,
    checked_mask,
    mask_box,
    modal_and_amodal,
    polygon_from_mask,
    read_rate,
)
from occ_order.formats.pages import UNNAMED, Found, Page, Tolerance, gathered
from occ_order.instances import OrderedInstances
from occ_order.order import (
    layers,
    occlusion_from_depth_constraint,
    occlusion_to_depth_constraint,
)

logger = logging.getLogger(__name__)

REGIONS_PER_ANNOTATION = 1000
"""Region ids are `annotation id * REGIONS_PER_ANNOTATION + order`."""


def load_cocoa(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    max_occlude_rate: float | None = None,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a COCOA file.

    Every mask is decoded, since the file has no boxes. Of several annotations of one image (by
    several annotators) the first is used.

    Args:
        json_file: `COCO_amodal_{train,val,test}2014.json`, or a single annotation (an object with
            `regions`). For the latter the image is searched in `image_root` by the last part of its
            `url` and by the name of the JSON file.
        image_root: folder that the file names are relative to.
        max_occlude_rate: ignore pairs whose occluded region has a larger `occlude_rate`;
            InstaOrder's published reader uses 0.95. None keeps all pairs.
        problems: None to raise at the first error; a list to collect messages in.

    Returns:
        One record per image, in the order of `images`, also for images without regions. "occlusion"
        is the depth constraint; where that key is missing, region i occludes j iff its `order` is
        smaller and the amodal masks overlap. Annotations have "amodal_segmentation", "amodal_bbox",
        "is_stuff" and, where the file says so, "occlude_rate" and "name" (stripped of blanks).

    Raises:
        ValueError: names file, image id, annotation id and region of the first error.
    """
    data = read_json(json_file)
    report = Report(json_file, problems)
    if "regions" in data:
        data = _as_file(data, json_file, image_root, report)
    records = read_images(data, image_root, report)
    annotated: set[int] = set()
    numbers: set[int] = set()
    bad: set[int] = set()
    repeated = 0
    for index, entry in entries(data, "annotations", report):
        before, image_id = report.count, entry.get("image_id", "(none)")
        number = entry.get("id", f"number {index}")
        with report.at(f"image {image_id}"), report.at(f"annotation {number}"):
            record = image_of(entry, records)
            if field(entry, "id", "an integer") in numbers:
                raise ValueError("the annotation id is used twice")
            numbers.add(number)
            if image_id in annotated:
                repeated += 1
            else:
                annotated.add(image_id)
                record.update(_read_entry(entry, record, max_occlude_rate, report))
        if report.count > before and isinstance(image_id, int):
            bad.add(image_id)
    if repeated:
        logger.warning("%s: %d more annotations of the same images left out", json_file, repeated)
    empty = {"occlusion": np.zeros((0, 0), np.int8)}
    return [{**empty, **record} for number, record in records.items() if number not in bad]


def _read_entry(
    entry: dict, record: dict[str, Any], max_rate: float | None, report: Report
) -> dict[str, Any]:
    """Return "annotations" and "occlusion" of one image."""
    regions: list[dict[str, Any]] = []
    orders: list[int] = []
    before = report.count
    for index, region in entries(entry, "regions", report):
        with report.at(f"region {index + 1}"):
            regions.append(_read_region(region, entry["id"], record["height"], record["width"]))
            orders.append(region["order"])
            if orders.count(region["order"]) > 1:
                raise ValueError(f"'order' {region['order']} is used twice")
    if report.count > before:
        return {}
    if "depth_constraint" in entry:
        text = field(entry, "depth_constraint", "a string")
        occlusion = occlusion_from_depth_constraint(text, len(entry["regions"]))
    else:
        occlusion = _occlusion_from_order(regions, orders, record["height"], record["width"])
    if max_rate is not None:
        rates = np.array([region.get("occlude_rate", 0.0) for region in regions])
        occlusion[:, rates > max_rate] = 0
    return {"annotations": regions, "occlusion": occlusion}


def _read_region(region: dict, annotation_id: int, height: int, width: int) -> dict[str, Any]:
    order = field(region, "order", "a positive integer")
    if order >= REGIONS_PER_ANNOTATION:
        raise ValueError(f"'order' must be below {REGIONS_PER_ANNOTATION}, got {order}")
    amodal = checked_mask(region, "segmentation", height, width)
    modal = amodal
    if "visible_mask" in region:
        modal = checked_mask(region, "visible_mask", height, width)
    amodal_box = mask_box(amodal, height, width, name="segmentation")
    result = {
        "id": annotation_id * REGIONS_PER_ANNOTATION + order,
        "category_id": 1,
        "bbox": (
            list(amodal_box)
            if modal is amodal
            else mask_box(modal, height, width, name="visible_mask")
        ),
        "segmentation": modal,
        "amodal_segmentation": amodal,
        "amodal_bbox": amodal_box,
        "iscrowd": 0,
        "is_stuff": field(region, "isStuff", "0 or 1", 0),
    }
    if "occlude_rate" in region:
        result["occlude_rate"] = read_rate(region)
    if name := field(region, "name", "a string", "").strip():
        result["name"] = name
    return result


def cocoa_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the images of a COCOA file or of a single annotation as pages of modal masks.

    Ids are those of `load_cocoa`; of several annotations of one image the first is used.

    Raises:
        ValueError: an invalid entry of the list of images; names the file.
    """
    entries_by_image: dict[Any, dict[str, Any]] = {}
    if "regions" in data:
        return [_cocoa_page(path, data, "", data.get("image_id"), None)]
    for entry in listed(data, "annotations"):
        if type(entry.get("image_id")) is int:
            entries_by_image.setdefault(entry["image_id"], entry)
    images = read_images(data, "", Report(path)).values()
    return [
        _cocoa_page(
            path,
            entries_by_image.get(image["image_id"], {"regions": []}),
            image["file_name"],
            image["image_id"],
            (image["height"], image["width"]),
        )
        for image in images
    ]


def _cocoa_page(
    path: Path, entry: dict[str, Any], name: str, image_id: Any, size: tuple[int, int] | None
) -> Page:
    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        with Report(path).at(f"image {image_id}"):
            regions = field(entry, "regions", "a list")
            number = field(entry, "id", "an integer", 0)

        def region(k: int) -> Found:
            if not isinstance(regions[k], dict):
                raise ValueError(f"must be an object, got {show(regions[k])}")
            found = _read_region({"order": k + 1, **regions[k]}, number, *size)
            return Found(found["id"], found["segmentation"], 1, found.get("name", ""))

        places = [f"image {image_id}: region {k + 1}" for k in range(len(regions))]
        entries = [(place, functools.partial(region, k)) for k, place in enumerate(places)]
        return gathered(path, size, entries, tolerance)

    return Page(name, read, image_id if type(image_id) is int else UNNAMED, size)


def _occlusion_from_order(
    regions: list[dict[str, Any]], orders: list[int], height: int, width: int
) -> np.ndarray:
    amodal = masks.decode_all([r["amodal_segmentation"] for r in regions], height, width)
    rank = np.array(orders)
    in_front = rank[:, None] < rank[None]
    return (masks.overlap_areas(amodal, amodal, pairs=in_front) > 0).astype(np.int8)


def _as_file(
    entry: dict, json_file: str | os.PathLike, image_root: str | os.PathLike, report: Report
) -> dict[str, Any]:
    """Convert a single annotation to the layout of a complete file."""
    with report.at():
        image_id = field(entry, "image_id", "an integer")
        stem = os.path.splitext(os.path.basename(json_file))[0]
        wanted = [f"{stem}{suffix}" for suffix in (".jpg", ".png", ".jpeg")]
        wanted.append(str(entry.get("url", "")).rsplit("/", 1)[-1])
        names = [name for name in wanted if name and os.path.isfile(os.path.join(image_root, name))]
        if not names:
            raise ValueError(
                f"a single annotation needs its image: none of {wanted} is in {image_root}"
            )
        width, height = image_size(os.path.join(image_root, names[0]))
        image = {"id": image_id, "file_name": names[0], "height": height, "width": width}
        return {"images": [image], "annotations": [entry]}
    return {"images": [], "annotations": []}


def save_cocoa(
    records: Iterable[dict[str, Any]],
    json_file: str | os.PathLike,
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as a COCOA file.

    Regions are written front to back, as in the published files, so annotations are reordered where
    an occluder comes after its occludee. A bidirectional pair is written as "a-b,b-a". Amodal masks
    are converted to one polygon that rasterises to the same pixels. Category ids are lost.

    Region ids are kept if they are `k * 1000 + order` with one k per image and increasing `order`
    (as from `load_cocoa`); otherwise the annotation id is the image id and regions are numbered
    from 1.

    Args:
        records: every annotation needs "amodal_segmentation", every record "occlusion".
        json_file: file to write.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image (and annotation) that cannot be written: no amodal mask, an
            empty one, visible pixels outside the amodal mask, no occlusion, or pairs that are not
            annotated.
    """
    report = Report(json_file)
    images: set[int] = set()
    written: set[int] = set()
    with growing_json(json_file, {"images": [], "annotations": []}) as add:
        for record in records:
            with report.at(f"image {record['image_id']}"):
                add("images", image_entry(record, image_root, images))
                entry = _written_entry(record, report)
                if entry["id"] in written:
                    raise ValueError(f"two images would have the annotation id {entry['id']}")
                written.add(entry["id"])
                add("annotations", entry)


def _written_entry(record: dict[str, Any], report: Report) -> dict[str, Any]:
    if "occlusion" not in record:
        raise ValueError("COCOA cannot hold an image without occlusion order")
    occlusion = np.asarray(record["occlusion"])
    ranks = front_to_back(occlusion)
    occlusion = occlusion[np.ix_(ranks, ranks)]
    annotations = [record["annotations"][k] for k in ranks]
    number, orders = _numbers([a["id"] for a in annotations], record["image_id"])
    regions = []
    for annotation, order in zip(annotations, orders, strict=True):
        with report.at(f"annotation {annotation['id']}"):
            regions.append(_written_region(annotation, order, record["height"], record["width"]))
    return {
        "author": "occ_order",
        "url": "",
        "regions": regions,
        "image_id": int(record["image_id"]),
        "id": number,
        "size": len(regions),
        "depth_constraint": occlusion_to_depth_constraint(occlusion),
    }


def front_to_back(occlusion: np.ndarray) -> np.ndarray:
    """Return a permutation that sorts occluders before their occludees, int (N,).

    The members of a cycle are adjacent. The identity if the instances are already sorted.
    """
    behind = (occlusion == 1) & (occlusion.T != 1)
    if not np.tril(behind).any():
        return np.arange(len(occlusion))
    return np.argsort(layers(occlusion), kind="stable")


def _numbers(ids: list[int], image_id: int) -> tuple[int, list[int]]:
    """Return the annotation id and the `order` of each region."""
    number = ids[0] // REGIONS_PER_ANNOTATION if ids else image_id
    orders = [region_id - number * REGIONS_PER_ANNOTATION for region_id in ids]
    limits = [0, *orders, REGIONS_PER_ANNOTATION]
    if all(a < b for a, b in itertools.pairwise(limits)):
        return int(number), [int(order) for order in orders]
    return int(image_id), list(range(1, len(ids) + 1))


def _written_region(
    annotation: dict[str, Any], order: int, height: int, width: int
) -> dict[str, Any]:
    modal, amodal = modal_and_amodal(annotation, height, width)
    area, hidden = int(amodal.sum()), amodal & ~modal
    polygons = as_polygons(annotation["amodal_segmentation"], height, width)
    region = {
        "segmentation": polygons[0] if len(polygons) == 1 else polygon_from_mask(amodal),
        "name": annotation.get("name", ""),
        "area": area,
        "isStuff": int(annotation.get("is_stuff", 0)),
        "occlude_rate": annotation.get("occlude_rate", int(hidden.sum()) / area) or 0,
        "order": order,
    }
    if hidden.any():
        visible = annotation["segmentation"]
        region["visible_mask"] = as_rle(visible, height, width)
        region["invisible_mask"] = masks.encode(hidden)
    return region
