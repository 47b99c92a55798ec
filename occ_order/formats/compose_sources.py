"""Reading of photographs with masks as sources for composed photographs.

Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from occ_order.files import DataError, image_size, read_json
from occ_order.formats import load_photos, read_categories, read_photo_categories
from occ_order.formats.checks import Report
from occ_order.formats.coco_nesting import (
    category_of,
    parse_categories,
    read_annotations,
    read_images,
)
from occ_order.formats.mask_fields import checked_mask
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.masks import encode

HELD_OUT = 10
"""In sources without splits, every n-th photograph is for validation."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

Records = dict[str, list[dict[str, Any]]]


def read_sources(
    paths: Sequence[str | os.PathLike],
    split: str | None,
    *,
    images: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    assume_whole: bool = False,
) -> Records:
    """Read photographs with masks.

    Args:
        paths: each one of

            * a folder with ``annotations.json`` (`occ_order.formats.photos`), or a folder of
              such folders;
            * a COCO instances file;
            * a folder of photographs, with the masks of each as `occ_order.formats.user_masks`
              reads them: a labelme or COCO file, a label map or a folder of masks, named like it.
        split: "train", "val", or None for both. It is defined in ``annotations.json``; of other
            photographs, sorted by name, every ``HELD_OUT``-th is for validation.
        images: folder that the file names of COCO files are relative to; None = folder of the file.
        masks: folder (or file) with the masks of folders of photographs; None = the same folder.
        assume_whole: assume that all objects are unoccluded.

    Returns:
        Name of the source -> records, whose annotations have "name" and, for whole objects,
        "amodal_segmentation".

    Raises:
        ValueError: invalid data; names the file.
        OSError: a file does not exist, or a photograph has no masks.
    """
    result: Records = {}
    for path in map(Path, paths):
        for name, records in _read(path, split, images, masks):
            if name in result:
                raise DataError(f"{path}: there are two sources of the name {name!r}")
            for record in records if assume_whole else ():
                _assume_whole(record)
            result[name] = records
    return result


def read_names(
    paths: Sequence[str | os.PathLike], *, masks: str | os.PathLike | None = None
) -> list[str]:
    """Return the class names of all sources and splits, sorted; arguments as in `read_sources`."""
    names: set[str] = set()
    for path in map(Path, paths):
        if path.suffix.lower() == ".json":
            names.update(category["name"] for category in read_categories(path))
        elif folders := _folders(path):
            for folder in folders:
                file = folder / "annotations.json"
                names.update(category["name"] for category in read_photo_categories(file))
        else:
            records = _read_photographs(path, masks or path)
            names.update(one["name"] for record in records for one in record["annotations"])
    return sorted(names)


def _read(
    path: Path,
    split: str | None,
    images: str | os.PathLike | None,
    masks: str | os.PathLike | None,
) -> list[tuple[str, list[dict[str, Any]]]]:
    if folders := _folders(path):
        return [(folder.name, _read_folder(folder, split)) for folder in folders]
    if path.suffix.lower() == ".json":
        records = _read_coco(path, images or path.parent)
    else:
        records = _read_photographs(path, masks or path)
    records.sort(key=lambda record: record["file_name"])
    chosen = [
        record
        for k, record in enumerate(records)
        if split is None or (split == "val") == (k % HELD_OUT == HELD_OUT - 1)
    ]
    return [(path.stem, chosen)]


def _folders(path: Path) -> list[Path]:
    """Return the folders with an ``annotations.json``: the path itself, or those in it."""
    folders = [path] if (path / "annotations.json").is_file() else sorted(path.glob("*/"))
    return [folder for folder in folders if (folder / "annotations.json").is_file()]


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


def _read_folder(folder: Path, split: str | None) -> list[dict[str, Any]]:
    file = folder / "annotations.json"
    names = {c["id"]: c["name"] for c in read_photo_categories(file)}
    records = load_photos(file, folder, split=split)
    for record in records:
        for annotation in record["annotations"]:
            annotation["name"] = names[annotation["category_id"]]
            if "complete" in annotation:
                annotation.setdefault("amodal_segmentation", annotation["segmentation"])
    return records


# --- photographs with masks of any kind -----------------------------------------------------


def _read_photographs(folder: Path, masks: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the photographs of a folder. A PNG with the name of a photograph is its label map."""
    files = [file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(
            f"{folder}: expected a COCO instances file, a folder of photographs, or one with an "
            "annotations.json in it or in its folders; found "
            + ("no photograph" if folder.is_dir() else "no such folder")
        )
    stems = {file.stem for file in files if file.suffix.lower() != ".png"}
    files = [file for file in files if file.suffix.lower() != ".png" or file.stem not in stems]
    return [_read_image(file, number, Path(masks)) for number, file in enumerate(files, start=1)]


def _read_image(file: Path, number: int, masks: Path) -> dict[str, Any]:
    width, height = image_size(file)
    path = masks_file(masks, file)
    found = load_masks(path, (height, width), image_name=file.name)
    named = path.is_file()  # file names of masks in a folder are no class names
    annotations = [
        {
            "id": key,
            "segmentation": encode(mask),
            "name": (found.names[k] if named and found.names else "") or "object",
            "is_stuff": 0,
        }
        for k, (key, mask) in enumerate(zip(found.ids, found.modal, strict=True))
    ]
    return {
        "file_name": str(file),
        "image_id": number,
        "height": height,
        "width": width,
        "annotations": annotations,
    }
