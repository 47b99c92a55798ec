"""Photographs with masks to compose from: a folder of sources, or COCO instances.

A folder of sources has one folder for each, with the photographs and an ``annotations.json``::

    {"images":      [{"id", "file", "width", "height", "split": "train" or "val"}],
     "instances":   [{"id", "image_id", "category", "modal": RLE, "stuff"?: 1, "complete"?: str}],
     "occlusion":   [[image_id, front_id, back_id, provenance]],
     "no_occlusion"?: [[image_id, id, id]],
     "depth_order": [[image_id, near_id, far_id, provenance]]}

``complete`` says that an object is whole. Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.data.datasets.checks import DataError, Report, entries, field
from occ_order.data.datasets.coco_nesting import (
    category_of,
    parse_categories,
    read_annotations,
    read_images,
)
from occ_order.data.datasets.files import join_path, read_json
from occ_order.data.datasets.mask_fields import checked_mask

HELD_OUT = 10
"""Of sources without splits, every photograph whose position is HELD_OUT - 1 modulo HELD_OUT is
for validation."""

Records = dict[str, list[dict[str, Any]]]


def read_sources(
    paths: Sequence[str | os.PathLike],
    *,
    images: str | os.PathLike | None = None,
    assume_whole: bool = False,
) -> dict[str, Records]:
    """Read photographs with masks.

    Args:
        paths: each a folder with ``annotations.json``, a folder of such folders, or a COCO
            instances file.
        images: folder that the file names of COCO files are relative to; None = the file's own.
        assume_whole: take every mask of an object that touches no border for the whole object.

    Returns:
        split ("train", "val") -> name of the source -> records.

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    result: dict[str, Records] = {"train": {}, "val": {}}
    for path in map(Path, paths):
        for name, records in _read(path, images):
            if name in result["train"]:
                raise DataError(f"{path}: there are two sources of the name {name!r}")
            for record in records if assume_whole else ():
                _assume_whole(record)
            for split, part in _splits(records).items():
                result[split][name] = part
    return result


def _read(path: Path, images: str | os.PathLike | None) -> list[tuple[str, list[dict[str, Any]]]]:
    if path.suffix.lower() == ".json":
        return [(path.stem, _read_coco(path, images or path.parent))]
    folders = [path] if (path / "annotations.json").is_file() else sorted(path.glob("*/"))
    found = [folder for folder in folders if (folder / "annotations.json").is_file()]
    if not found:
        raise DataError(
            f"{path}: neither a JSON file nor a folder with an annotations.json in it or in one of "
            "its folders"
        )
    return [(f.name, read_annotations_json(f / "annotations.json", f)) for f in found]


def _splits(records: list[dict[str, Any]]) -> Records:
    """Photographs by split; those without one are dealt out by their sorted names."""
    free = sorted((r for r in records if "split" not in r), key=lambda r: r["file_name"])
    held = {id(record) for record in free[HELD_OUT - 1 :: HELD_OUT]}
    split = {id(r): r.get("split", "val" if id(r) in held else "train") for r in records}
    return {name: [r for r in records if split[id(r)] == name] for name in ("train", "val")}


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


# --- folders --------------------------------------------------------------------------------


def read_annotations_json(
    file: str | os.PathLike, image_root: str | os.PathLike
) -> list[dict[str, Any]]:
    """Read one file of the layout above; pairs that are not listed are -1, not annotated.

    Args:
        file: ``annotations.json`` of a source, or ``photos_train.json`` of composed photographs.
        image_root: folder that the file names are relative to.

    Returns:
        One record per image, with "name" in annotations and "split".

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    data, report = read_json(file), Report(file)
    records: dict[int, dict[str, Any]] = {}
    for _, entry in entries(data, "images", report):
        with report.at(f"image {entry.get('id')}"):
            record = {
                "file_name": join_path(image_root, field(entry, "file", "a string")),
                "image_id": field(entry, "id", "an integer"),
                "height": field(entry, "height", "a positive integer"),
                "width": field(entry, "width", "a positive integer"),
                "annotations": [],
            }
            if "split" in entry:
                record["split"] = field(entry, "split", "a string")
            records[record["image_id"]] = record
    for _, entry in entries(data, "instances", report):
        with report.at(f"instance {entry.get('id')}"):
            record = records[field(entry, "image_id", "an integer")]
            record["annotations"].append(_instance(entry, record))
    for record in records.values():
        n = len(record["annotations"])
        for key in ("occlusion", "depth", "overlap"):
            record[key] = np.full((n, n), -1, np.int8)
        np.fill_diagonal(record["occlusion"], 0)
    _add_pairs(records, data)
    return list(records.values())


def _instance(entry: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    size = record["height"], record["width"]
    modal = checked_mask(entry, "modal", *size)
    annotation = {
        "id": field(entry, "id", "an integer"),
        "segmentation": modal,
        "name": field(entry, "category", "a string"),
        "is_stuff": entry.get("stuff", 0),
    }
    if entry.get("amodal") is not None:
        annotation["amodal_segmentation"] = checked_mask(entry, "amodal", *size)
    elif entry.get("complete"):
        annotation["amodal_segmentation"] = modal
    return annotation


def _add_pairs(records: dict[int, dict[str, Any]], data: dict[str, Any]) -> None:
    """Measured pairs; those that a rule made ("weak...") are left out."""
    place = {
        number: {a["id"]: k for k, a in enumerate(record["annotations"])}
        for number, record in records.items()
    }
    for image, front, back, provenance, *_ in data.get("occlusion", ()):
        if not provenance.startswith("weak"):
            i, j = place[image][front], place[image][back]
            occlusion = records[image]["occlusion"]
            occlusion[i, j] = 1
            if occlusion[j, i] == -1:  # else the two occlude each other
                occlusion[j, i] = 0
    for image, first, second in data.get("no_occlusion", ()):
        i, j = place[image][first], place[image][second]
        records[image]["occlusion"][i, j] = records[image]["occlusion"][j, i] = 0
    for image, near, far, provenance, *_ in data.get("depth_order", ()):
        if not provenance.startswith("weak"):
            i, j = place[image][near], place[image][far]
            records[image]["depth"][i, j], records[image]["depth"][j, i] = 1, 0
            ranges = int(provenance.endswith("overlap"))
            records[image]["overlap"][i, j] = records[image]["overlap"][j, i] = ranges
