"""Photographs with masks to compose from, as records whose annotations have names of classes.

Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from occ_order.data.datasets import load_photos, read_categories, read_photo_categories
from occ_order.data.datasets.checks import DataError, Report
from occ_order.data.datasets.coco_nesting import (
    category_of,
    parse_categories,
    read_annotations,
    read_images,
)
from occ_order.data.datasets.files import read_json
from occ_order.data.datasets.mask_fields import checked_mask

HELD_OUT = 10
"""Of COCO files every tenth photograph is for validation."""

Records = dict[str, list[dict[str, Any]]]


def read_sources(
    paths: Sequence[str | os.PathLike],
    split: str,
    *,
    images: str | os.PathLike | None = None,
    assume_whole: bool = False,
) -> Records:
    """Read photographs with masks.

    Args:
        paths: each a folder with ``annotations.json`` (`occ_order.data.datasets.photos`), a folder
            of such folders, or a COCO instances file.
        split: "train" or "val". COCO files do not say it: of every ``HELD_OUT`` photographs, in the
            order of their names, the last one is for validation.
        images: folder that the file names of COCO files are relative to; None = the file's own.
        assume_whole: every object is whole, whatever the file says.

    Returns:
        name of the source -> records, with "name" in annotations and "amodal_segmentation" where
        an object is whole.

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    result: Records = {}
    for path in map(Path, paths):
        for name, records in _read(path, images, split):
            if name in result:
                raise DataError(f"{path}: there are two sources of the name {name!r}")
            for record in records if assume_whole else ():
                _assume_whole(record)
            result[name] = records
    return result


def read_names(paths: Sequence[str | os.PathLike]) -> list[str]:
    """The class names of all sources and splits, sorted.

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    names: set[str] = set()
    for path in map(Path, paths):
        if path.suffix.lower() == ".json":
            names.update(category["name"] for category in read_categories(path))
        else:
            for folder in _folders(path):
                file = folder / "annotations.json"
                names.update(category["name"] for category in read_photo_categories(file))
    return sorted(names)


def _read(
    path: Path, images: str | os.PathLike | None, split: str
) -> list[tuple[str, list[dict[str, Any]]]]:
    if path.suffix.lower() == ".json":
        records = sorted(_read_coco(path, images or path.parent), key=lambda r: r["file_name"])
        held = records[HELD_OUT - 1 :: HELD_OUT]
        return [(path.stem, held if split == "val" else _without(records))]
    return [(folder.name, _read_folder(folder, split)) for folder in _folders(path)]


def _without(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for k, r in enumerate(records) if k % HELD_OUT != HELD_OUT - 1]


def _folders(path: Path) -> list[Path]:
    folders = [path] if (path / "annotations.json").is_file() else sorted(path.glob("*/"))
    found = [folder for folder in folders if (folder / "annotations.json").is_file()]
    if not found:
        raise DataError(
            f"{path}: neither a JSON file nor a folder with an annotations.json in it or in one of "
            "its folders"
        )
    return found


def _assume_whole(record: dict[str, Any]) -> None:
    for annotation in record["annotations"]:
        if not annotation.get("is_stuff"):
            annotation.setdefault("amodal_segmentation", annotation["segmentation"])


# --- COCO -----------------------------------------------------------------------------------


def _read_coco(path: Path, image_root: str | os.PathLike) -> list[dict[str, Any]]:
    data, report = read_json(path), Report(path)
    records = read_images(data, image_root, report)
    names = {c["id"]: c["name"] for c in parse_categories(data, report)}

    def read(annotation: dict, record: dict[str, Any]) -> tuple[dict[str, Any], None]:
        size = record["height"], record["width"]
        category = category_of(annotation, set(names))
        result = {
            "id": annotation["id"],
            "category_id": category,
            "segmentation": checked_mask(annotation, "segmentation", *size),
            "name": names[category],
            "is_stuff": annotation.get("is_stuff", 0),
        }
        if "amodal_segmentation" in annotation:
            result["amodal_segmentation"] = checked_mask(annotation, "amodal_segmentation", *size)
        return result, None

    kept = [a for a in data.get("annotations", []) if a.get("iscrowd") != 1]
    read_annotations({**data, "annotations": kept}, records, report, read)
    return list(records.values())


# --- photographs with order ---------------------------------------------------------------


def _read_folder(folder: Path, split: str) -> list[dict[str, Any]]:
    file = folder / "annotations.json"
    names = {c["id"]: c["name"] for c in read_photo_categories(file)}
    records = load_photos(file, folder, split=split)
    for record in records:
        for annotation in record["annotations"]:
            annotation["name"] = names[annotation["category_id"]]
            if "complete" in annotation:
                annotation.setdefault("amodal_segmentation", annotation["segmentation"])
    return records
