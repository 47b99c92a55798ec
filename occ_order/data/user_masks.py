"""Masks of one picture as users have them: a JSON file, a label map, or a folder of mask pictures.

=====================  ==========================================================================
``masks.json``         COCO instances (of one or several pictures), a COCO results list,
                       ``order_results.json``, or a labelme file
``labels.png``         each value (or colour) but 0 (black) is an instance
``folder/``            one PNG file for each instance, nonzero (or not transparent) = inside; sorted
                       as people count: ``2.png`` before ``10.png``
=====================  ==========================================================================

Masks are visible parts. Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order import masks
from occ_order.data.datasets.checks import DataError, finite, show
from occ_order.data.datasets.files import parse_json
from occ_order.data.datasets.image_files import opened
from occ_order.data.safe_paths import resolve_inside

MOST_LABELS = 1000
"""Distinct values of a label map; a picture with more is taken for a photograph."""

_LOSSY = ("JPEG", "WEBP", "MPO")


@dataclass
class UserMasks:
    """Masks of one picture with what the file says about them.

    Attributes:
        masks: bool (N, H, W), visible parts; they may overlap.
        ids: N ids: of the file, values of the label map, or 1 .. N.
        category_ids: N category ids; 1 where the file has none.
        names: N names; "" where the file has none.
        scores: N scores; 1 where the file has none.
    """

    masks: np.ndarray
    ids: list[int]
    category_ids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.masks)
        self.category_ids = self.category_ids or [1] * n
        self.names = self.names or [""] * n
        self.scores = self.scores or [1.0] * n

    def __len__(self) -> int:
        return len(self.masks)


def load_masks(
    path: str | os.PathLike,
    image_size: tuple[int, int],
    *,
    image_name: str | None = None,
    allow_empty: bool = False,
) -> UserMasks:
    """Reads the masks of one picture.

    Args:
        path: file or folder; see the head of this module.
        image_size: (H, W) of the picture.
        image_name: file name of the picture, to find it in a JSON file about several; matched as a
            whole, else by its last part, else without its ending.
        allow_empty: keep masks that cover no pixel, which are otherwise refused.

    Returns:
        The masks. A JSON file without instances gives none.

    Raises:
        ValueError: names the file and the mask: not such a file, another size than the picture, a
            damaged mask, an empty one, or a picture that the file does not have.
        OSError: the file cannot be read, or there is none.
    """
    path, size = Path(path), (int(image_size[0]), int(image_size[1]))
    if path.is_dir():
        found = _from_folder(path, size)
    elif path.suffix.lower() == ".json":
        found = _from_json(path, size, image_name)
    else:
        found = _from_label_map(path, size)
    empty = np.flatnonzero(~found.masks.any(axis=(1, 2)))
    if len(empty) and not allow_empty:
        raise DataError(f"{path}: mask {found.ids[empty[0]]} covers no pixel")
    return found


def masks_file(path: str | os.PathLike, picture: str | os.PathLike) -> Path:
    """The file or folder with the masks of one picture.

    Args:
        path: what :func:`load_masks` takes, or a folder that has such a thing for each of several
            pictures, named like the picture: ``cup/``, ``cup.json`` or ``cup.png``.
        picture: the picture's file.
    """
    path, stem = Path(path), Path(picture).stem
    if path.is_dir():
        for name in (stem, f"{stem}.json", f"{stem}.png"):
            if (path / name).exists():
                return path / name
    return path


# --- pictures ------------------------------------------------------------------------------


def _open(path: Path, size: tuple[int, int]) -> Image.Image:
    """A picture of masks: readable, lossless, of the right size."""
    try:
        with opened(path) as picture:
            picture.load()
    except ValueError as error:
        raise DataError(str(error)) from None
    if picture.format in _LOSSY:
        raise DataError(f"{path}: {picture.format} blurs the edges of masks; save them as PNG")
    if picture.size != size[::-1]:
        raise DataError(
            f"{path}: has height and width {picture.size[::-1]}, but the picture has {size}"
        )
    return picture


def _values(picture: Image.Image) -> np.ndarray:
    """Integer (H, W): the labels of a picture, 0 where nothing is."""
    if picture.mode in ("RGB", "RGBA"):
        channels = np.asarray(picture).astype(np.int64)
        values = channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]
        return np.where(channels[..., 3] > 0, values, 0) if picture.mode == "RGBA" else values
    if picture.mode in ("LA", "PA"):
        return np.asarray(picture)[..., 0].astype(np.int64) * (np.asarray(picture)[..., 1] > 0)
    return np.asarray(picture).astype(np.int64)


def _from_label_map(path: Path, size: tuple[int, int]) -> UserMasks:
    values = _values(_open(path, size))
    labels = np.unique(values)
    labels = labels[labels != 0]
    if len(labels) > MOST_LABELS:
        raise DataError(
            f"{path}: {len(labels):,} different values; a label map has one for each instance. "
            "Is this a photograph?"
        )
    stack = np.zeros((len(labels), *size), bool)
    for k, label in enumerate(labels):
        stack[k] = values == label
    return UserMasks(stack, labels.tolist())


def _from_folder(folder: Path, size: tuple[int, int]) -> UserMasks:
    names = [p.name for p in folder.iterdir() if p.suffix.lower() == ".png"]
    if not names:
        raise FileNotFoundError(f"no masks (*.png) in {folder}")
    names.sort(key=_as_counted)
    stack = np.zeros((len(names), *size), bool)
    for k, name in enumerate(names):
        picture = _open(resolve_inside(folder, name), size)
        if picture.mode in ("RGBA", "LA", "PA") and (np.asarray(picture)[..., -1] < 255).any():
            stack[k] = np.asarray(picture)[..., -1] > 0
        else:
            stack[k] = _values(picture) != 0
    stems = [Path(name).stem for name in names]
    return UserMasks(stack, list(range(1, len(names) + 1)), names=stems)


def _as_counted(name: str) -> list[tuple[int, int, str]]:
    """Sorting key by which "2.png" stands before "10.png"."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


# --- JSON ----------------------------------------------------------------------------------


def _from_json(path: Path, size: tuple[int, int], image_name: str | None) -> UserMasks:
    data = parse_json(path)
    if isinstance(data, list):
        return _from_entries(path, size, data, {}, "entry")
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a list or an object, got {type(data).__name__}")
    if "shapes" in data:
        return _from_labelme(path, size)
    images = data.get("images")
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise DataError(
            f"{path}: expected COCO instances ('images', 'annotations'), a COCO results list, "
            f"order_results.json or labelme ('shapes'), got the keys {show(sorted(data))}"
        )
    image = _image_named(path, images, image_name)
    if "instances" in image:
        return _from_entries(path, size, _objects(path, image, "instances"), {}, "instance")
    categories = _objects(path, data, "categories")
    names = {c["id"]: str(c.get("name", "")) for c in categories if type(c.get("id")) is int}
    number = image.get("id")
    entries = [a for a in _objects(path, data, "annotations") if a.get("image_id") == number]
    stated = (image.get("height", size[0]), image.get("width", size[1]))
    if stated != size:
        raise DataError(
            f"{path}: image {number!r} has height and width {stated}, but the picture has {size}"
        )
    single = [entry for entry in entries if entry.get("iscrowd") != 1]
    return _from_entries(path, size, single, names, "annotation")


def _objects(path: Path, data: Mapping[str, Any], key: str) -> list[dict]:
    items = data.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: {key!r} must be a list of objects, got {show(items)}")
    return items


def _image_named(path: Path, images: list[dict], name: str | None) -> dict:
    """The image that a name stands for; a file about one picture needs no name."""
    if not images:
        raise DataError(f"{path}: there is no image in it")
    if name is None:
        if len(images) > 1:
            raise DataError(f"{path}: {len(images)} images; name the one that is meant")
        return images[0]
    keys = [lambda text: text, os.path.basename, lambda text: Path(text).stem]
    for key in keys:
        found = [i for i in images if key(_image_name(i)) == key(name.replace("\\", "/"))]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{path}: {len(found)} images are called {key(name)!r}")
    if len(images) == 1 and not _image_name(images[0]):
        return images[0]
    known = [_image_name(image) for image in images]
    raise DataError(f"{path}: no image is called {name!r}; there are {show(known)}")


def _image_name(image: Mapping[str, Any]) -> str:
    return str(image.get("file_name", image.get("image_id", "")))


def _from_entries(
    path: Path,
    size: tuple[int, int],
    entries: Sequence[Any],
    category_names: Mapping[Any, str],
    word: str,
) -> UserMasks:
    """Annotations, instances of results, or entries of a COCO results list."""
    stack = np.zeros((len(entries), *size), bool)
    found = UserMasks(stack, [])
    found.category_ids, found.names, found.scores = [], [], []
    images = [entry.get("image_id") for entry in entries if isinstance(entry, dict)]
    if any(image != images[0] for image in images):
        raise DataError(f"{path}: results of several images; only those of one are wanted")
    for k, entry in enumerate(entries):
        if not isinstance(entry, dict) or "segmentation" not in entry:
            raise DataError(f"{path}: {word} {k} must have a 'segmentation', got {show(entry)}")
        number, category, score = (
            entry.get(key, default)
            for key, default in (("id", k + 1), ("category_id", 1), ("score", 1.0))
        )
        where = f"{path}: {word} {show(number)}"
        stack[k] = masks.decode(entry["segmentation"], *size, name=where)
        types = type(number) in (int, str), type(category) is int, type(score) in (int, float)
        if not all(types) or not finite([score]):
            found_here = show((number, category, score))
            raise DataError(f"{where}: wrong id, category_id or score: {found_here}")
        found.ids.append(number)
        found.category_ids.append(category)
        name = entry.get("name") or entry.get("category") or category_names.get(category, "")
        found.names.append(str(name))
        found.scores.append(float(score))
    return found


def _from_labelme(path: Path, size: tuple[int, int]) -> UserMasks:
    from occ_order.data.converters.labelme import read_shapes

    names, stack = read_shapes(path, size)
    known = sorted(set(names))
    return UserMasks(
        stack,
        list(range(1, len(names) + 1)),
        category_ids=[known.index(name) + 1 for name in names],
        names=names,
    )
