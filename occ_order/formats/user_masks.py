"""Masks of one image as users have them: a JSON file, a label map, or a folder of mask images.

=====================  ==========================================================================
``masks.json``         COCO instances (of one or several images), a COCO results list,
                       ``order_results.json``, or a labelme file
``labels.png``         each value (or colour) but 0 (black) and the void rim is an instance
``folder/``            one PNG file for each instance, nonzero (or not transparent) = inside; sorted
                       as people count: ``2.png`` before ``10.png``
=====================  ==========================================================================

Masks are visible parts. Of the amodal formats that look like COCO (COCOA-cls, D2SA, KINS) the key
of the visible part is taken: `VISIBLE_KEYS`.

Void, which belongs to no instance, is the largest value (255, or 65535 of 16 bits) of a label map
whose other values count 1, 2, 3, ..., and VOC's colour (224, 224, 192). A mask image of several
grey levels is soft: half of the largest possible value and more is inside. Both are logged.

Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order import masks
from occ_order.files import DataError, opened, parse_json, resolve_inside, show
from occ_order.formats.checks import Report, finite, settle_problems, size_mismatch
from occ_order.formats.coco_nesting import without_crowds
from occ_order.formats.mask_fields import checked_mask
from occ_order.instances import OrderedInstances

MOST_LABELS = 1000
"""Distinct values of a label map; an image with more is taken for a photograph."""

VISIBLE_KEYS = ("visible_mask", "inmodal_seg", "i_segm", "segmentation")
"""Keys of the visible part, the first that an annotation has: of COCOA-cls and D2SA where something
is hidden, of KINS 2019 and 2020, and of every other format."""

VOID_COLOUR = (224, 224, 192)
"""Of the rims of objects in images of Pascal VOC."""

UNNAMED = ""
"""Id of an image that its file of masks does not name."""

_LOSSY = ("JPEG", "WEBP", "MPO")

logger = logging.getLogger(__name__)


def load_masks(
    path: str | os.PathLike,
    image_size: tuple[int, int],
    *,
    image_name: str | None = None,
    allow_empty: bool = False,
    keep_crowds: bool = False,
    skip_damaged: bool = False,
) -> OrderedInstances:
    """Read the masks of one image.

    Args:
        path: file or folder; see the head of this module.
        image_size: (H, W) of the image.
        image_name: file name of the image, to find it in a JSON file about several; matched as a
            whole, else by its last part, else without its ending.
        allow_empty: keep masks that cover no pixel, which are otherwise refused.
        keep_crowds: also take annotations with `iscrowd` 1, which CVAT gives to every mask that is
            drawn with a brush; they are otherwise left out and counted in the log.
        skip_damaged: leave out entries of a JSON file that cannot be read, and masks that cover no
            pixel, and count them in the log.

    Returns:
        The instances, without an order: masks are visible parts; ids are those of the file, values
        of the label map, or 1 .. N; classes and scores 1 where the file has none. `image_id` is
        that of the file, else the stem of `image_name`. A JSON file without instances gives none.

    Raises:
        ValueError: names the file and every mask that is wrong: not such a file, another size than
            the image, a damaged mask, an empty one, nothing but crowds, or an image that the
            file does not have.
        OSError: the file cannot be read, or there is none.
    """
    path, size = Path(path), (int(image_size[0]), int(image_size[1]))
    if path.is_dir():
        found = _from_folder(path, size)
    elif path.suffix.lower() == ".json":
        found = _from_json(path, size, image_name, keep_crowds, skip_damaged)
    else:
        found = _from_label_map(path, size)
    if found.image_id == UNNAMED:
        found = found.replace(image_id=Path(image_name or path).stem)
    if allow_empty:
        return found
    filled = found.modal.any(axis=(1, 2))
    empty = [f"{path}: mask {found.ids[k]} covers no pixel" for k in np.flatnonzero(~filled)]
    settle_problems(path, empty, skip_damaged)
    return found[filled]


def masks_file(path: str | os.PathLike, pixels: str | os.PathLike) -> Path:
    """The file or folder with the masks of one image.

    Args:
        path: what :func:`load_masks` takes, or a folder that has such a thing for each of several
            images, named like the image: ``cup/``, ``cup.json`` or ``cup.png``.
        pixels: the image's file.
    """
    path, stem = Path(path), Path(pixels).stem
    if path.is_dir():
        for name in (stem, f"{stem}.json", f"{stem}.png"):
            if (path / name).exists():
                return path / name
    return path


# --- images ------------------------------------------------------------------------------


def _open(path: Path, size: tuple[int, int]) -> Image.Image:
    """An image of masks: readable, lossless, of the right size."""
    try:
        with opened(path) as pixels:
            pixels.load()
    except ValueError as error:
        raise DataError(str(error)) from None
    if pixels.format in _LOSSY:
        raise DataError(f"{path}: {pixels.format} blurs the edges of masks; save them as PNG")
    if pixels.mode == "F":
        raise DataError(f"{path}: pixels are floats; save masks with whole numbers")
    if pixels.size != size[::-1]:
        raise DataError(f"{path}: {size_mismatch(pixels.size[::-1], size)}")
    return pixels


def _values(pixels: Image.Image) -> np.ndarray:
    """Integer (H, W): the labels of an image, 0 where nothing is."""
    if pixels.mode in ("RGB", "RGBA"):
        channels = np.asarray(pixels).astype(np.int64)
        values = channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]
        return np.where(channels[..., 3] > 0, values, 0) if pixels.mode == "RGBA" else values
    if pixels.mode in ("LA", "PA"):
        return np.asarray(pixels)[..., 0].astype(np.int64) * (np.asarray(pixels)[..., 1] > 0)
    return np.asarray(pixels).astype(np.int64)


def _from_label_map(path: Path, size: tuple[int, int]) -> OrderedInstances:
    pixels = _open(path, size)
    values = _values(pixels)
    labels = np.unique(values)
    labels = labels[labels != 0]
    void = _void_of(pixels, labels)
    if void is not None:
        logger.warning("%s: the value %d is void, no instance", path, void)
        labels = labels[labels != void]
    if len(labels) > MOST_LABELS:
        raise DataError(
            f"{path}: {len(labels):,} different values; a label map has one for each instance. "
            "Is this a photograph?"
        )
    stack = np.zeros((len(labels), *size), bool)
    for k, label in enumerate(labels):
        stack[k] = values == label
    return OrderedInstances(UNNAMED, size, stack, ids=tuple(labels.tolist()))


def _void_of(pixels: Image.Image, labels: np.ndarray) -> int | None:
    """The value of a label map that stands for no instance, if there is one."""
    if pixels.mode in ("RGB", "RGBA"):
        red, green, blue = VOID_COLOUR
        void = red + 256 * green + 65536 * blue
        return void if len(labels) > 1 and void in labels else None
    void = 65535 if pixels.mode.startswith("I") else 255
    others = labels[labels != void]
    counted = len(others) > 0 and (others == np.arange(1, len(others) + 1)).all()
    return void if void in labels and counted and len(others) < void - 1 else None


def _inside(path: Path, pixels: Image.Image) -> np.ndarray:
    """bool (H, W): an image of one mask; its transparency counts where there is any."""
    values, most = _values(pixels), 65535 if pixels.mode.startswith("I") else 255
    if pixels.mode in ("RGBA", "LA", "PA") and (np.asarray(pixels)[..., -1] < 255).any():
        values = np.asarray(pixels)[..., -1]
    elif pixels.mode in ("RGB", "RGBA"):  # grey levels of colours; a colour is no level
        channels = np.asarray(pixels)[..., :3]
        grey = (channels[..., :1] == channels).all()
        values = channels[..., 0] if grey else values != 0
    elif pixels.mode in ("P", "1"):  # a number in a palette is no level
        values = values != 0
    levels = np.unique(values[values > 0])
    if len(levels) < 2:
        return values > 0
    if levels[-1] < most / 2:
        raise DataError(
            f"{path}: has {len(levels)} grey levels up to {levels[-1]} of {most}; a mask has one, "
            f"or is soft, with {most // 2 + 1} and more inside"
        )
    logger.warning("%s: a soft mask of %d levels, half and more is inside", path, len(levels))
    return values > most / 2


def _from_folder(folder: Path, size: tuple[int, int]) -> OrderedInstances:
    files = [p for p in folder.iterdir() if p.suffix.lower() == ".png"]
    names = [p.name for p in files if not p.name.startswith(".")]
    if not names:
        raise FileNotFoundError(f"no masks (*.png) in {folder}")
    names.sort(key=_as_counted)
    stack = np.zeros((len(names), *size), bool)
    for k, name in enumerate(names):
        path = resolve_inside(folder, name)
        stack[k] = _inside(path, _open(path, size))
    stems = [Path(name).stem for name in names]
    return OrderedInstances(UNNAMED, size, stack, names=tuple(stems))


def _as_counted(name: str) -> list[tuple[int, int, str]]:
    """Sorting key by which "2.png" stands before "10.png"."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


# --- JSON ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _parsed(path: Path, stamp: tuple[int, int]) -> Any:
    """A JSON file, parsed once for all images that it is about; `stamp` tells its states apart."""
    return parse_json(path)


def _from_json(
    path: Path, size: tuple[int, int], image_name: str | None, keep_crowds: bool, skip: bool
) -> OrderedInstances:
    status = path.stat()
    data = _parsed(path, (status.st_mtime_ns, status.st_size))
    if isinstance(data, list):
        numbers = {_id_or_none(entry, "image_id") for entry in data}
        number = numbers.pop() if len(numbers) == 1 else None
        return _from_entries(path, size, data, {}, "entry", skip, number)
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a list or an object, got {type(data).__name__}")
    if "shapes" in data:
        return _from_labelme(path, size, skip)
    images = data.get("images")
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise DataError(
            f"{path}: expected COCO instances ('images', 'annotations'), a COCO results list, "
            f"order_results.json or labelme ('shapes'), got the keys {show(sorted(data))}"
        )
    image = _image_named(path, images, image_name)
    if "instances" in image:
        entries, number = _objects(path, image, "instances"), _id_or_none(image, "image_id")
        return _from_entries(path, size, entries, {}, "instance", skip, number)
    categories = _objects(path, data, "categories")
    names = {c["id"]: str(c.get("name", "")) for c in categories if type(c.get("id")) is int}
    number = image.get("id")
    entries = [a for a in _objects(path, data, "annotations") if a.get("image_id") == number]
    stated = (image.get("height", size[0]), image.get("width", size[1]))
    if stated != size:
        raise DataError(f"{path}: image {number!r} {size_mismatch(stated, size)}")
    if not keep_crowds:
        entries = without_crowds(path, entries)
    number = _id_or_none(image, "id")
    return _from_entries(path, size, entries, names, "annotation", skip, number)


def _id_or_none(entry: Any, key: str) -> int | str | None:
    """The id of an image, where it is one."""
    number = entry.get(key) if isinstance(entry, dict) else None
    return number if type(number) is int or (isinstance(number, str) and number) else None


def _objects(path: Path, data: Mapping[str, Any], key: str) -> list[dict]:
    items = data.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: {key!r} must be a list of objects, got {show(items)}")
    return items


def _image_named(path: Path, images: list[dict], name: str | None) -> dict:
    """The image that a name stands for; a file about one image needs no name."""
    if not images:
        raise DataError(f"{path}: there is no image in it")
    if name is None:
        if len(images) > 1:
            raise DataError(f"{path}: {len(images)} images; name the one that is meant")
        return images[0]
    keys = [lambda text: text, os.path.basename, lambda text: Path(text).stem]
    for key in keys:
        found = [i for i in images if key(_slashes(_image_name(i))) == key(_slashes(name))]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{path}: {len(found)} images are called {key(name)!r}")
    if len(images) == 1 and not _image_name(images[0]):
        return images[0]
    known = [_image_name(image) for image in images]
    raise DataError(f"{path}: no image is called {name!r}; there are {show(known)}")


def _slashes(name: str) -> str:
    """A name that is only compared, never opened, may have been written on Windows."""
    return name.replace("\\", "/")


def _image_name(image: Mapping[str, Any]) -> str:
    return str(image.get("file_name", image.get("image_id", "")))


def _from_entries(
    path: Path,
    size: tuple[int, int],
    entries: Sequence[Any],
    category_names: Mapping[Any, str],
    word: str,
    skip: bool,
    image_id: int | str | None,
) -> OrderedInstances:
    """Annotations, instances of results, or entries of a COCO results list."""
    images = [entry.get("image_id") for entry in entries if isinstance(entry, dict)]
    if any(image != images[0] for image in images):
        raise DataError(f"{path}: results of several images; only those of one are wanted")
    stack = np.zeros((len(entries), *size), bool)
    problems: list[str] = []
    report = Report(path, problems)
    found: list[tuple[Any, ...]] = []
    seen: set[int | str] = set()
    for k, entry in enumerate(entries):
        number = entry.get("id", k + 1) if isinstance(entry, dict) else k + 1
        with report.at(f"{word} {show(number)}"):
            said = _said(entry, number, category_names)
            if number in seen:
                raise ValueError("its id stands there twice")
            seen.add(number)
            key = next(key for key in VISIBLE_KEYS if key in entry)
            stack[k] = masks.decode(checked_mask(entry, key, *size), *size)
            found.append((k, *said))
    settle_problems(path, problems, skip)
    columns = zip(*found, strict=True) if found else ((), (), (), (), ())
    places, ids, categories, names, scores = columns
    return OrderedInstances(
        UNNAMED if image_id is None else image_id,
        size,
        stack[list(places)],
        ids=ids,
        classes=np.array(categories, np.int64),
        names=names if any(names) else None,
        scores=np.array(scores, np.float64),
    )


def _said(
    entry: Any, number: Any, category_names: Mapping[Any, str]
) -> tuple[int | str, int, str, float]:
    """Id, category id, name and score of an entry."""
    if not isinstance(entry, dict) or not any(key in entry for key in VISIBLE_KEYS):
        raise ValueError(f"must have a 'segmentation', got {show(entry)}")
    category, score = entry.get("category_id", 1), entry.get("score", 1.0)
    types = type(number) in (int, str), type(category) is int, type(score) in (int, float)
    if not all(types) or not finite([score]) or abs(category) >= 2**63:
        raise ValueError(f"wrong id, category_id or score: {show((number, category, score))}")
    name = entry.get("name") or entry.get("category") or category_names.get(category, "")
    return number, category, str(name), float(score)


def _from_labelme(path: Path, size: tuple[int, int], skip: bool) -> OrderedInstances:
    from occ_order.formats.labelme import read_shapes

    names, stack = read_shapes(path, size, skip_damaged=skip)
    known = sorted(set(names))
    classes = np.array([known.index(name) + 1 for name in names], np.int64)
    return OrderedInstances(UNNAMED, size, stack, classes=classes, names=tuple(names))
