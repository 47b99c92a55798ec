"""Input masks of one image: a file of a labelling tool, a label map, or a folder.

=====================  ==========================================================================
``masks.json``         COCO instances, COCO panoptic, COCOA, COCOA-cls, KINS, Label Studio, VIA or
                       ``order_results.json`` (of one or several images), a COCO results list,
                       labelme, or SA-1B
``masks.xml``          CVAT for images
``masks.txt``          YOLO's segments
``masks.npy, .npz``    arrays of NumPy
``labels.png``         label map: each value (or colour) except 0 (black) and void is an instance
``folder/``            one PNG file per instance, nonzero (or not transparent) = inside; in natural
                       order: ``2.png`` before ``10.png``
=====================  ==========================================================================

The formats are the rows of :mod:`occ_order.formats.table` with `pages`. Masks are modal. A warning
is logged for a file without instances of the image.

Void pixels, which belong to no instance, are those of the value 255 (or 65535) in a label map whose
other values are numbers (`arrays.void_of`), and of VOC's colour (224, 224, 192). A mask image with
several grey levels is soft: values of at least half of the maximum are inside. Both are logged.

Needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from occ_order.files import DataError, opened, parse_json, resolve_inside
from occ_order.formats.arrays import void_of
from occ_order.formats.checks import settle_problems, size_mismatch
from occ_order.formats.pages import UNNAMED, Page, Tolerance, page_named
from occ_order.formats.table import FORMATS, pages_of_file, pages_of_json
from occ_order.instances import OrderedInstances

MOST_LABELS = 1000
"""Maximum number of labels in a label map; images with more values are taken for photographs."""

VOID_COLOUR = (224, 224, 192)
"""RGB of the void label (object boundaries) in Pascal VOC."""

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
        path: file or folder; see the module docstring.
        image_size: (H, W) of the image.
        image_name: file name of the image, to find it in a file with several images; matched in
            full, else by its last part, else without extension.
        allow_empty: keep empty masks, which otherwise raise an error.
        keep_crowds: also read annotations with `iscrowd` 1, as CVAT marks brush masks; otherwise
            they are skipped, and their number is logged.
        skip_damaged: skip entries that cannot be read and empty masks, and log their number.

    Returns:
        The instances with modal masks; ids are those of the file, values of the label map, or
        1 .. N; classes and scores are 1 if the file has none; with an order if a Label Studio or
        CVAT file has one. `image_id` is that of the file, else the stem of `image_name`. Without
        any instances a warning is logged.

    Raises:
        ValueError: an unknown format, another size than the image, damaged or empty masks, only
            crowds, or an image that is not in the file; names the file and all invalid masks.
        OSError: the file does not exist or cannot be read.
    """
    path, size = Path(path), (int(image_size[0]), int(image_size[1]))
    pages = None if path.is_dir() else pages_of(path)
    if path.is_dir():
        found = _from_folder(path, size)
    elif pages is None:
        found = _from_label_map(path, size)
    else:
        page = page_named(path, pages, image_name)
        found = read_page(path, page, size, Tolerance(keep_crowds, skip_damaged))
    if found.image_id == UNNAMED:
        found = found.replace(image_id=Path(image_name or path).stem)
    filled = np.ones(len(found), bool) if allow_empty else found.modal.any(axis=(1, 2))
    empty = [f"{path}: mask {found.ids[k]} covers no pixel" for k in np.flatnonzero(~filled)]
    settle_problems(path, empty, skip_damaged)
    if not filled.any():
        logger.warning("%s: no instances of image %s", path, found.image_id)
    return found[filled]


def read_page(
    path: str | os.PathLike, page: Page, size: tuple[int, int], tolerance: Tolerance
) -> OrderedInstances:
    """Read the instances of a page, with the id of its image.

    Raises:
        ValueError: the page has another image size, or see `Page.read`; names the file.
    """
    if page.size not in (None, size):
        where = "" if page.image_id == UNNAMED else f"image {page.image_id!r} "
        raise DataError(f"{path}: {where}{size_mismatch(page.size, size)}")
    return page.read(size, tolerance).replace(image_id=page.image_id)


def pages_of(path: Path) -> list[Page] | None:
    """Return the pages of a file; None for an image file, which may be a label map.

    Raises:
        ValueError: an unknown format; names the file.
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _pages(path, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=1)
def _pages(path: Path, stamp: tuple[int, int]) -> list[Page] | None:
    """Return the pages of a file, cached; None for an image file.

    `stamp` changes with the file, so that a modified file is read again.
    """
    if path.suffix.lower() == ".json":
        return pages_of_json(path, parse_json(path))
    return pages_of_file(path)


def masks_file(path: str | os.PathLike, pixels: str | os.PathLike) -> Path:
    """Return the file or folder with the masks of one image.

    Args:
        path: a file or folder for :func:`load_masks`, or a folder with one of these per image,
            named like the image: ``cup/``, ``cup.json``, ``cup.txt``, ``cup.npy`` or ``cup.png``.
        pixels: path of the image.

    Raises:
        ValueError: it is a symbolic link to the outside of the folder.
    """
    path, stem = Path(path), Path(pixels).stem
    if path.is_dir():
        others = {end for row in FORMATS.values() if row.pages for end in row.endings}
        first = ["", ".json", ".png"]  # text and XML beside an image may be something else
        for ending in [*first, *sorted(others - set(first))]:
            if (path / f"{stem}{ending}").exists():
                return resolve_inside(path, f"{stem}{ending}")
    return path


# --- images ------------------------------------------------------------------------------


def _open(path: Path, size: tuple[int, int]) -> Image.Image:
    """Open a mask image, and check that it is lossless and of the right size."""
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
    """Return the labels of an image, integer (H, W), 0 = background."""
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
    """Return the void value of a label map, if there is one."""
    if pixels.mode in ("RGB", "RGBA"):
        red, green, blue = VOID_COLOUR
        void = red + 256 * green + 65536 * blue
        return void if len(labels) > 1 and void in labels else None
    return void_of(labels)


def _inside(path: Path, pixels: Image.Image) -> np.ndarray:
    """Return the mask of an image, bool (H, W); from its alpha channel if not opaque."""
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
    """Return a key for natural sorting: "2.png" before "10.png"."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]
