"""InstaOrder: occlusion and depth order of COCO 2017 instances (Lee & Park, CVPR 2022, Section 3).

Two files make one data set. `InstaOrder_{train,val}2017.json` has one entry per image:

    {"image_id": 872, "instance_ids": [COCO annotation ids],
     "occlusion": [{"order": "0<1", "count": 2}, {"order": "0<2 & 2<0", "count": 3}],
     "depth": [{"order": "0<1", "count": 2, "overlap": true}, {"order": "1=2", ...}]}

and `instances_{train,val}2017.json` is that of COCO. The numbers in the order strings are positions
in `instance_ids`, so the annotations of a record are exactly these ids in this order; other
annotations of the image are left out. Entries are looked up by image id.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from occ_order import masks
from occ_order.files import growing_json, show
from occ_order.formats.checks import Report, entries, field, is_integer
from occ_order.formats.coco_nesting import (
    category_of,
    growing_coco,
    image_of,
    parse_categories,
    read_images,
)
from occ_order.formats.mask_fields import checked_mask, xywh, xyxy
from occ_order.formats.stored_json import StoredList, read_stored
from occ_order.order import (
    depth_from_instaorder,
    depth_to_instaorder,
    occlusion_count_from_instaorder,
    occlusion_from_instaorder,
    occlusion_to_instaorder,
)


def load_instaorder(
    order_json: str | os.PathLike,
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read InstaOrder with the COCO instances that it refers to.

    The format of masks is checked (size, counts, coordinates), but they are not decoded, so that
    loading 100,000 images takes little more than parsing. `occ-order validate` decodes them.

    Args:
        order_json: `InstaOrder_{train,val}2017.json` or a file of the same layout.
        instances_json: the COCO instances file of the same images.
        image_root: folder that the file names are relative to.
        problems: None = raise the first error; a list = collect messages (entries with an error are
            then left out).

    Returns:
        Records in the order of `order_json`, with "occlusion", "occlusion_count" (number of
        annotators asked about each occluding pair) and, if the entry has depth, "depth", "overlap"
        and "count". An entry needs at least one of the two lists. "bbox" is COCO's box, category
        ids are COCO's (1 to 90).

    Raises:
        ValueError: names file, image id and annotation id or order string of the first error.
    """
    return list(iterate_instaorder(order_json, instances_json, image_root, problems=problems))


def iterate_instaorder(
    order_json: str | os.PathLike,
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    problems: list[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the records of `load_instaorder`; both files are read entry by entry.

    Arguments and errors are those of `load_instaorder`.
    """
    report = Report(order_json, problems)
    data = read_stored(order_json, "annotations")
    instances = _InstancesFile(instances_json, image_root, problems)
    seen: set[int] = set()
    for index, entry in entries(data, "annotations", report):
        before = report.count
        with report.at(f"image {entry.get('image_id', f'number {index}')}"):
            record = _read_entry(entry, instances)
            if record["image_id"] in seen:
                raise ValueError("the image has two entries")
            if report.count == before:
                seen.add(record["image_id"])
                yield record


def _read_entry(entry: dict, instances: _InstancesFile) -> dict[str, Any]:
    image = image_of(entry, instances.images)
    ids = field(entry, "instance_ids", "a list")
    if len(set(map(str, ids))) != len(ids):
        raise ValueError(f"'instance_ids' has an id twice: {show(ids)}")
    record = {**image, "annotations": [instances.read(number, image) for number in ids]}
    if "occlusion" not in entry and "depth" not in entry:
        raise ValueError("the entry has neither 'occlusion' nor 'depth'")
    if "occlusion" in entry:
        items = field(entry, "occlusion", "a list")
        record["occlusion"] = occlusion_from_instaorder(items, len(ids))
        record["occlusion_count"] = occlusion_count_from_instaorder(items, len(ids))
    if "depth" in entry:
        items = field(entry, "depth", "a list")
        depth, overlap, count = depth_from_instaorder(items, len(ids))
        record.update(depth=depth, overlap=overlap, count=count)
    return record


class _InstancesFile:
    """COCO instances by annotation id; validated lazily when they are read."""

    def __init__(
        self,
        path: str | os.PathLike,
        image_root: str | os.PathLike,
        problems: list[str] | None,
    ) -> None:
        data = read_stored(path, "annotations")
        self.report = Report(path, problems)
        self.images = read_images(data, image_root, self.report)
        categories = parse_categories(data, self.report)
        self.category_ids = {category["id"] for category in categories}
        self._annotations = data.get("annotations")
        places: dict[int, int] = {}
        if isinstance(self._annotations, StoredList):
            ids = self._annotations.ids
            places = {number: k for k, number in enumerate(ids) if is_integer(number)}
        complete = places and len(places) == len(ids)
        self._places = places if complete else self._found(data)

    def _found(self, data: dict[str, Any]) -> dict[int, int]:
        """Return the index of each annotation by its id, and report what is wrong with ids."""
        places: dict[int, int] = {}
        for index, annotation in entries(data, "annotations", self.report):
            number = annotation.get("id", f"number {index}")
            with self.report.at(f"annotation {number}"):
                if field(annotation, "id", "an integer") in places:
                    raise ValueError("the annotation id is used twice")
                places[number] = index
        return places

    def read(self, number: object, image: dict[str, Any]) -> dict[str, Any]:
        """Return annotation `number` of `image` as an annotation of a record."""
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"'instance_ids' must hold integers, got {show(number)}")
        if number not in self._places:
            raise ValueError(f"instance id {number} is not an annotation of the instances file")
        assert self._annotations is not None  # a list in which the number was found
        annotation, result = self._annotations[self._places[number]], {}
        with self.report.at(f"image {image['image_id']}"), self.report.at(f"annotation {number}"):
            if field(annotation, "image_id", "an integer") != image["image_id"]:
                raise ValueError(
                    f"belongs to image {annotation['image_id']}, "
                    f"but the order file lists it for image {image['image_id']}"
                )
            size = image["height"], image["width"]
            result = {
                "id": number,
                "category_id": category_of(annotation, self.category_ids),
                "bbox": xyxy(annotation, "bbox"),
                "segmentation": checked_mask(annotation, "segmentation", *size),
                "iscrowd": 0,  # data loaders must not drop rows of the matrices as crowds
            }
        return result


def save_instaorder(
    records: Iterable[dict[str, Any]],
    order_json: str | os.PathLike,
    instances_json: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as an InstaOrder file and the COCO instances file that it refers to.

    Amodal masks, "is_stuff", "occlude_rate" and "name" are not supported by these formats and are
    lost. Masks keep their encoding (RLE or polygons), boxes are written as [x, y, width, height].

    Args:
        records: image ids and annotation ids must be unique. "occlusion_count", int (N, N), is the
            number of annotators asked about each occluding pair, -1 = unknown; default: 2.
        order_json: file to write, in the layout of `InstaOrder_val2017.json`.
        instances_json: file to write, in the layout of `instances_val2017.json`.
        categories: [{"id": int, "name": str}], all that the records use.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image and annotation that cannot be written.
    """
    report = Report(order_json)
    with (
        growing_json(order_json, {"annotations": []}) as add_entry,
        growing_coco(instances_json, categories, image_root) as add_image,
    ):
        for record in records:
            with report.at(f"image {record['image_id']}"):
                add_entry("annotations", _written_entry(record))
                add_image(record, [_written_instance(a, record) for a in record["annotations"]])


def _written_entry(record: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "image_id": record["image_id"],
        "instance_ids": [annotation["id"] for annotation in record["annotations"]],
    }
    if "occlusion" in record:
        asked = record.get("occlusion_count", 2)
        entry["occlusion"] = occlusion_to_instaorder(record["occlusion"], count=asked)
    if "depth" in record:
        matrices = (record[key] for key in ("depth", "overlap", "count"))
        entry["depth"] = depth_to_instaorder(*matrices)
    return entry


def _written_instance(annotation: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    name, size = f"annotation {annotation['id']}", (record["height"], record["width"])
    area, _ = masks.area_and_box(annotation["segmentation"], *size, name=name)
    return {
        "id": annotation["id"],
        "image_id": record["image_id"],
        "category_id": annotation["category_id"],
        "segmentation": annotation["segmentation"],
        "area": float(area),
        "bbox": xywh(annotation["bbox"]),
        "iscrowd": 0,
    }
