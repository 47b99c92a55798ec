"""COCO panoptic: a JSON file and a folder of PNG files, one for each image.

    {"images": [{"id", "file_name", "height", "width"}],
     "annotations": [{"image_id": 7, "file_name": "000000000007.png",
                      "segments_info": [{"id": 3226956, "category_id": 1, "iscrowd": 0}]}],
     "categories": [{"id", "name", "isthing"}]}

A segment's id is R + 256 G + 65536 B of its pixels. The PNG files are in the folder with the name
of the JSON file (`panoptic_val2017/` beside `panoptic_val2017.json`), or beside it.

Things are instances. Stuff segments and, by default, crowds are skipped, and their number is
logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.files import DataError, opened, resolve_inside, show
from occ_order.formats.checks import Report, field, listed
from occ_order.formats.coco_nesting import without_crowds
from occ_order.formats.pages import UNNAMED, Found, Page, Tolerance, gathered
from occ_order.instances import OrderedInstances

logger = logging.getLogger(__name__)


def is_panoptic(data: dict[str, Any], keys: set[str]) -> bool:
    """Return whether parsed JSON has this layout, by the keys of its annotations."""
    return bool(data) and "segments_info" in keys


def panoptic_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the annotated images of a panoptic file as pages."""
    images = {i["id"]: i for i in listed(data, "images") if type(i.get("id")) is int}
    classes = {c["id"]: c for c in listed(data, "categories") if type(c.get("id")) is int}
    return [_page(path, entry, images, classes) for entry in listed(data, "annotations")]


def _page(
    path: Path,
    entry: dict[str, Any],
    images: Mapping[int, dict[str, Any]],
    classes: Mapping[int, dict[str, Any]],
) -> Page:
    number = entry.get("image_id")
    image = images.get(number, {}) if type(number) is int else {}

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        report = Report(path)
        with report.at(f"image {number}"):
            infos = field(entry, "segments_info", "a list")
            ids = segment_ids(_file_of(path, entry), size)
            if not all(isinstance(info, dict) for info in infos):
                raise ValueError(f"'segments_info' must be a list of objects, got {show(infos)}")
            chosen = _things(path, number, infos, classes)
            if not tolerance.keep_crowds:
                chosen = without_crowds(path, chosen)

        def segment(info: dict[str, Any]) -> Found:
            key, kind = (field(info, name, "an integer") for name in ("id", "category_id"))
            mask = ids == key
            if not mask.any():
                raise ValueError(f"{entry['file_name']} has no pixel of it")
            name, score = classes.get(kind, {}).get("name", ""), info.get("score", 1.0)
            score = field({"score": score}, "score", "a finite number")
            return Found(key, mask, kind, str(name), float(score))

        places = [f"image {number}: segment {show(info.get('id'))}" for info in chosen]
        reads = [lambda info=info: segment(info) for info in chosen]
        return gathered(path, size, zip(places, reads, strict=True), tolerance)

    size = (image["height"], image["width"]) if {"height", "width"} <= image.keys() else None
    stem = Path(str(entry.get("file_name", ""))).stem
    name = str(image.get("file_name") or stem)
    key = number if type(number) is int or isinstance(number, str) else UNNAMED
    return Page(name, read, key, size)


def _things(
    path: Path, number: Any, infos: list[dict[str, Any]], classes: Mapping[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the thing segments, and log the number of stuff segments."""
    stuff = [number for number, known in classes.items() if not known.get("isthing", 1)]
    found = [info for info in infos if info.get("isthing", info.get("category_id") not in stuff)]
    if len(found) < len(infos):
        left_out = len(infos) - len(found)
        logger.warning("%s: image %s: %d segments of stuff left out", path, number, left_out)
    return found


def _file_of(path: Path, entry: Mapping[str, Any]) -> Path:
    """Return the PNG file of an image: in the folder named like the JSON file, or beside it."""
    name = field(dict(entry), "file_name", "a string")
    folders = [path.with_suffix(""), path.parent]
    found = [resolve_inside(folder, name) for folder in folders if folder.is_dir()]
    for file in found:
        if file.is_file():
            return file
    raise ValueError(f"there is no {name!r} in {folders[0]} or {folders[1]}")


def segment_ids(file: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the segment id of each pixel from a PNG file, int64 (H, W).

    Raises:
        ValueError: damaged, not a PNG, or of another size; names the file.
    """
    with opened(file, formats=("PNG",)) as image:
        colours = np.asarray(image.convert("RGB"), np.int64)
    if colours.shape[:2] != size:
        raise DataError(f"{file}: is {colours.shape[:2]}, expected {size}")
    return colours @ np.array([1, 256, 65536])
