"""Conversion between ``order_results.json`` and data set records.

Verified predictions can be used as ground truth, and ground truth in the viewer, layers and graphs.
Three keys are used in addition to the format: "file_name" of an image (relative to the image
folder), "category" (class name) and "name" of an instance. Scores and probabilities of ground truth
are 1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import DataError, list_images, read_json, relative_name, resolve_inside, show
from occ_order.formats.checks import Report, field
from occ_order.formats.coco_nesting import is_cocoa, read_categories, read_images
from occ_order.formats.coco_order import entries_of
from occ_order.formats.pages import (
    PER_IMAGE,
    UNNAMED,
    Page,
    Tolerance,
    gathered,
    integer_ids,
)
from occ_order.instances import OrderedInstances
from occ_order.order import UNKNOWN
from occ_order.order.io import load_results, matrices, results_image, save_results

Categories = list[dict[str, Any]]

logger = logging.getLogger(__name__)


def read_names(
    path: str | os.PathLike | None,
) -> tuple[dict[int | str, str] | None, Categories | None]:
    """Read file names and classes, which results do not contain, from a COCO-style file.

    Args:
        path: any file with COCO's list of images; None returns (None, None).

    Returns:
        Image id -> file name; categories [{"id", "name"}], None for a COCOA file.

    Raises:
        ValueError: names file and entry of what is wrong.
    """
    if path is None:
        return None, None
    data = read_json(path)
    images = read_images(data, "", Report(path))
    file_names: dict[int | str, str] = {
        image_id: record["file_name"] for image_id, record in images.items()
    }
    return file_names, None if is_cocoa(data) else read_categories(path)


def load_results_records(
    path: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
    file_names: Mapping[int | str, str] | None = None,
) -> tuple[list[dict[str, Any]], Categories]:
    """Read ``order_results.json`` as records.

    String image ids are replaced by 1, 2, ...; in that case, or if instance ids are strings,
    instance ids are replaced by image id * 1000 + 1, ...; this is logged.

    Args:
        path: the file.
        image_root: image folder; see :func:`image_of`.
        categories: [{"id", "name"}]; None = the "category" names in the file, and "class 3" for
            others.
        file_names: image id -> file name.

    Returns:
        Records and categories. Annotations keep "score", which no data set format has.

    Raises:
        ValueError: names the file and image: not the format, an image that is not there, a category
            without a name.
    """
    images, report = load_results(path), Report(path)
    image_files = list_images(image_root)
    with report.at():
        chosen = categories or _named_categories(images)
    known = {category["id"] for category in chosen}
    records = []
    for image, numbered in zip(images, _with_integer_ids(path, images), strict=True):
        with report.at():  # which image it is stands in the message
            pixels = image_of(image, image_root, file_names=file_names, image_files=image_files)
        with report.at(f"image {image['image_id']}"):
            records.append(_record(numbered, str(pixels), known, report))
    return records, chosen


def results_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the images of an ``order_results.json`` with their masks as pages.

    Raises:
        ValueError: names the file; an image without a list of instances.
    """
    found = []
    for image in data["images"]:
        number, items = image.get("image_id"), image.get("instances")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError(f"{path}: 'instances' must be a list of objects, got {show(items)}")

        def read(
            size: tuple[int, int], tolerance: Tolerance, items: list[Any] = items
        ) -> OrderedInstances:
            return gathered(path, size, entries_of(items, "instance", size), tolerance)

        known = type(number) is int or isinstance(number, str)
        size = (image["height"], image["width"]) if {"height", "width"} <= image.keys() else None
        name = str(image.get("file_name", ""))
        found.append(Page(name, read, number if known else UNNAMED, size))
    return found


def _with_integer_ids(
    path: str | os.PathLike, images: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the images with integer ids; images with integer ids are not changed."""
    numbers = integer_ids([image["image_id"] for image in images])
    ids = [[instance["id"] for instance in image["instances"]] for image in images]
    kept = numbers == [image["image_id"] for image in images]
    if kept and all(isinstance(one, int) for row in ids for one in row):
        return list(images)
    logger.warning(
        "%s: ids that are texts are numbered anew, %s", path, "of instances" if kept else "of all"
    )
    return [
        {
            **image,
            "image_id": number,
            "instances": [
                {**instance, "id": number * PER_IMAGE + k}
                for k, instance in enumerate(image["instances"], start=1)
            ],
        }
        for image, number in zip(images, numbers, strict=True)
    ]


def _named_categories(images: Sequence[Mapping[str, Any]]) -> Categories:
    names: dict[int, str] = {}
    for image in images:
        for instance in image["instances"]:
            number = instance["category_id"]
            default = names.get(number, f"class {number}")
            name = field(instance, "category", "a string", default)
            if names.get(number, name) not in (name, f"class {number}"):
                raise DataError(f"category {number} is called both {names[number]!r} and {name!r}")
            names[number] = name
    return [{"id": number, "name": names[number]} for number in sorted(names)]


def _record(
    image: Mapping[str, Any], pixels: str, known: set[int], report: Report
) -> dict[str, Any]:
    size = image["height"], image["width"]
    annotations = []
    for instance in image["instances"]:
        if instance["category_id"] not in known:
            raise ValueError(f"category_id {instance['category_id']} is not among {sorted(known)}")
        modal = masks.decode(instance["segmentation"], *size)
        annotation = {
            "id": instance["id"],
            "category_id": instance["category_id"],
            "bbox": masks.bounding_box(modal).tolist(),
            "segmentation": instance["segmentation"],
            "iscrowd": 0,
            "score": instance["score"],
        }
        if "amodal_segmentation" in instance:
            amodal = masks.decode(instance["amodal_segmentation"], *size)
            annotation["amodal_segmentation"] = instance["amodal_segmentation"]
            annotation["amodal_bbox"] = masks.bounding_box(amodal).tolist()
        with report.at(f"instance {instance['id']}"):
            for key, kind in (("name", "a string"), ("is_stuff", "0 or 1")):
                if key in instance:
                    annotation[key] = field(instance, key, kind)
        annotations.append(annotation)
    occlusion, depth, overlap = matrices(image)
    orders = {"occlusion": occlusion, "depth": depth, "overlap": overlap}
    if depth is not None:
        orders["count"] = np.full(depth.shape, UNKNOWN, np.int16)
    return {
        "file_name": pixels,
        "image_id": image["image_id"],
        "height": size[0],
        "width": size[1],
        "annotations": annotations,
        **{key: matrix for key, matrix in orders.items() if matrix is not None},
    }


def results_of(
    record: Mapping[str, Any],
    categories: Categories | tuple[()] = (),
    *,
    image_root: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Convert a record to an image of ``order_results.json``.

    Args:
        record: with category ids of the file.
        categories: [{"id", "name"}]; may be incomplete.
        image_root: the file name is written relative to this folder; None = not changed.

    Returns:
        Dict of the image, with layers, relative depth and cycles if there is an occlusion order.

    Raises:
        ValueError: names the image and annotation of a mask that cannot be decoded.
    """
    annotations, size = record["annotations"], (record["height"], record["width"])
    where = f"image {record['image_id']}: annotation"
    names = [f"{where} {annotation['id']}" for annotation in annotations]
    whole = [annotation.get("amodal_segmentation") for annotation in annotations]
    image = results_image(
        image_id=record["image_id"],
        height=size[0],
        width=size[1],
        modal=masks.decode_all([a["segmentation"] for a in annotations], *size, names=names),
        classes=[annotation["category_id"] for annotation in annotations],
        scores=[annotation.get("score", 1.0) for annotation in annotations],
        ids=[annotation["id"] for annotation in annotations],
        occlusion=record.get("occlusion"),
        depth=record.get("depth"),
        overlap=record.get("overlap"),
    )
    classes = {category["id"]: str(category["name"]) for category in categories}
    for instance, annotation, mask in zip(image["instances"], annotations, whole, strict=True):
        if mask is not None:
            instance["amodal_segmentation"] = masks.encode(masks.decode(mask, *size))
        if annotation["category_id"] in classes:
            instance["category"] = classes[annotation["category_id"]]
        instance.update({k: annotation[k] for k in ("name", "is_stuff") if k in annotation})
    image["file_name"] = relative_name(record["file_name"], image_root)
    return image


def ordered_record(
    record: Mapping[str, Any],
    categories: Categories,
    *,
    image_root: str | os.PathLike | None = None,
) -> OrderedInstances:
    """Convert a record to `OrderedInstances` with class names.

    Args:
        record, categories, image_root: see `results_of`.

    Raises:
        ValueError: see `results_of`.
    """
    image = results_of(record, categories, image_root=image_root)
    for instance in image["instances"]:
        instance.pop("name", None)
    return OrderedInstances.from_dict(image)


def save_results_records(
    records: Iterable[dict[str, Any]],
    path: str | os.PathLike,
    categories: Categories,
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as ``order_results.json``. Counts of the depth order are lost.

    Args:
        records: image ids must be unique.
        path: file to write; its folder is created if missing.
        categories: [{"id", "name"}].
        image_root: as in :func:`results_of`.

    Raises:
        ValueError: names the image that cannot be written.
    """
    images = [results_of(record, categories, image_root=image_root) for record in records]
    os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)
    save_results(path, images)


def image_of(
    image: Mapping[str, Any],
    folder: str | os.PathLike,
    *,
    file_names: Mapping[int | str, str] | None = None,
    image_files: Iterable[str] | None = None,
) -> Path:
    """Find the image file of one image of ``order_results.json``.

    The first that exists of: the name in ``file_names``, "file_name" of the image, and a file whose
    name without extension is the image id (with COCO's leading zeros).

    Args:
        image: dict with "image_id".
        folder: image folder.
        file_names: image id -> file name relative to the folder, for instance of a COCO file.
        image_files: names in the folder, from :func:`list_images`, to list them only once.

    Returns:
        Path of an existing file.

    Raises:
        ValueError: the name leaves the folder, several files match the id, or there is none.
    """
    image_id = image["image_id"]
    name = (file_names or {}).get(image_id) or image.get("file_name")
    if name is None:
        name = _named_by_id(image_id, list_images(folder) if image_files is None else image_files)
    if not isinstance(name, str):
        raise ValueError(f"image {image_id!r}: no image in {folder} is named after the image id")
    path = resolve_inside(folder, name)
    if not path.is_file():
        raise ValueError(f"image {image_id!r}: no such image: {path}")
    return path


def _named_by_id(image_id: int | str, image_files: Iterable[str]) -> str | None:
    wanted = str(image_id)
    found = []
    for name in image_files:
        stem = Path(name).stem
        number = stem.rsplit("_", 1)[-1]  # COCO_val2014_000000000042
        if stem == wanted or (number.isdecimal() and str(int(number)) == wanted):
            found.append(name)
    if len(found) > 1:
        raise ValueError(f"image {image_id!r}: several images bear its id: {found[:3]}")
    return found[0] if found else None
