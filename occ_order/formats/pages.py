"""Pages: the masks of one image in a file, and code shared by the formats of labelling tools.

Labelling tools write one file for many images, or one per image. In both cases the module of the
format returns a list of :class:`Page`, one per image, whose masks are decoded lazily:

    pages(path, data) -> list[Page]     # data: the parsed JSON; None for files that are not JSON

:func:`gathered` converts the entries of a page to :class:`OrderedInstances` and collects errors.
:func:`records_of` converts pages to a data set.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from occ_order import masks
from occ_order.files import DataError, image_size, list_images, resolve_inside, show
from occ_order.formats.checks import Report, settle_problems, size_mismatch
from occ_order.instances import OrderedInstances

logger = logging.getLogger(__name__)

UNNAMED = ""
"""Id of an image that its file of masks does not name."""

PER_IMAGE = 1000
"""Ids of annotations are image id * 1000 + place, where a file has none that are unique in it."""


class Tolerance(NamedTuple):
    """Whether to keep crowds or skip damaged entries; see `user_masks.load_masks`."""

    keep_crowds: bool = False
    skip_damaged: bool = False


@dataclass(frozen=True)
class Found:
    """One instance in a file.

    Attributes:
        id: integer or string.
        segmentation: bool (H, W), or a segmentation for `occ_order.masks.decode`.
        category_id: integer.
        name: name of its class or of the instance; "" = none.
        score: finite number.
    """

    id: int | str
    segmentation: Any
    category_id: int = 1
    name: str = ""
    score: float = 1.0


@dataclass(frozen=True)
class Page:
    """The instances of one image in a file.

    Attributes:
        file_name: file name of the image in the file; "" = not stated.
        read: ((H, W) of the image, Tolerance) -> the instances, with an order if the file has one.
            Raises a ValueError that names the file and all invalid entries.
        image_id: id of the image; `UNNAMED` = not stated.
        size: (H, W) of the image stated in the file; None = not stated.
    """

    file_name: str
    read: Callable[[tuple[int, int], Tolerance], OrderedInstances]
    image_id: int | str = UNNAMED
    size: tuple[Any, Any] | None = None


def gathered(
    path: str | os.PathLike,
    size: tuple[int, int],
    entries: Iterable[tuple[str, Callable[[], Found]]],
    tolerance: Tolerance,
) -> OrderedInstances:
    """Read the instances of a page, without an order.

    Args:
        path: the file, for messages.
        size: (H, W) of the image.
        entries: (location, such as "annotation 3", function that reads it) of each instance.
        tolerance: whether to skip damaged entries and log their number.

    Raises:
        ValueError: invalid entries; names the file and all of them.
    """
    problems: list[str] = []
    report, found = Report(path, problems), []
    seen: set[int | str] = set()
    for place, read in entries:
        with report.at(place):
            one = read()
            if one.id in seen:
                raise ValueError("its id stands there twice")
            seen.add(one.id)
            found.append((one, _mask(one.segmentation, size)))
    settle_problems(path, problems, tolerance.skip_damaged)
    names = tuple(one.name for one, _ in found)
    return OrderedInstances(
        UNNAMED,
        size,
        np.array([mask for _, mask in found], bool).reshape(-1, *size),
        ids=tuple(one.id for one, _ in found),
        classes=np.array([one.category_id for one, _ in found], np.int64),
        names=names if any(names) else None,
        scores=np.array([one.score for one, _ in found], np.float64),
    )


def _mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    if not isinstance(segmentation, np.ndarray):
        return masks.decode(segmentation, *size)
    if segmentation.shape != size:
        raise ValueError(size_mismatch(segmentation.shape, size))
    return segmentation


def numbered(labels: Iterable[str]) -> dict[str, int]:
    """Assign category ids to labels, from 1 in alphabetical order."""
    return {label: k for k, label in enumerate(sorted(set(labels)), start=1)}


def number_or_text(word: str) -> int | str:
    """Convert an id in text form to an integer if possible."""
    return int(word) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", word) else word


# --- one page of several -----------------------------------------------------------------


def page_named(path: str | os.PathLike, pages: Sequence[Page], name: str | None) -> Page:
    """Return the page of an image; `name` may be None if there is one page only.

    Args:
        path: the file, for messages.
        pages: pages of the file.
        name: file name of the image; matched in full, else by its last part, else without
            extension.

    Raises:
        ValueError: no page matches, or several do.
    """
    path = os.fspath(path)
    if not pages:
        raise DataError(f"{path}: there is no image in it")
    if name is None:
        if len(pages) > 1:
            raise DataError(f"{path}: {len(pages)} images; name the one that is meant")
        return pages[0]
    for key in (str, os.path.basename, lambda text: Path(text).stem):
        found = [p for p in pages if key(_slashes(_called(p))) == key(_slashes(name))]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{path}: {len(found)} images are called {key(name)!r}")
    if len(pages) == 1 and not pages[0].file_name:
        return pages[0]
    known = [_called(page) for page in pages]
    raise DataError(f"{path}: no image is called {name!r}; there are {show(known)}")


def _slashes(name: str) -> str:
    """Return a name with forward slashes; names are compared only, and may come from Windows."""
    return name.replace("\\", "/")


def _called(page: Page) -> str:
    return page.file_name or str(page.image_id)


# --- data sets ---------------------------------------------------------------------------


def records_of(
    path: str | os.PathLike,
    pages: Sequence[Page],
    image_root: str | os.PathLike,
    tolerance: Tolerance,
    *,
    classes: Sequence[str] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Convert pages to records and categories, see `occ_order.formats`.

    Image ids that are not integers, or not unique, are replaced by 1, 2, ..., instance ids by
    image id * 1000 + 1, ... Classes without a name are named "class 3".

    Args:
        path: the file or folder, for messages.
        pages: its pages.
        image_root: image folder, searched recursively by file name.
        tolerance: see `Page.read`.
        classes: class names in the order of their ids, from 1; None keeps the ids.

    Raises:
        ValueError: invalid data, a missing image, or one with two pages; names all files and
            entries.
    """
    listed, names = list_images(image_root), {}
    read: dict[Path, OrderedInstances] = {}
    problems: list[str] = []
    for page in pages:
        try:
            file, found = _read_page(path, page, image_root, listed, tolerance)
            if file in read:
                raise DataError(
                    f"{os.fspath(path)}: {file}: the masks of this image stand there twice"
                )
        except DataError as error:
            problems += str(error).splitlines()
            continue
        read[file] = found
        for k, number in enumerate(found.classes.tolist()):
            names[number] = (found.names[k] if found.names else "") or f"class {number}"
    settle_problems(path, problems, tolerance.skip_damaged and bool(read))
    kinds = {n: n for n in names} if classes is None else _ids_of(path, names, classes)
    numbers = integer_ids([found.image_id for found in read.values()])
    kept = all(_integers(found.ids) for found in read.values())
    every = [number for found in read.values() for number in found.ids]
    kept = kept and len(set(every)) == len(every)
    records = [
        _record(str(file), found, number, kinds, kept)
        for number, (file, found) in zip(numbers, read.items(), strict=True)
    ]
    if classes is None:
        return records, [{"id": number, "name": names[number]} for number in sorted(names)]
    return records, [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]


def _read_page(
    path: str | os.PathLike,
    page: Page,
    image_root: str | os.PathLike,
    listed: Sequence[str],
    tolerance: Tolerance,
) -> tuple[Path, OrderedInstances]:
    """Return the image of a page and its instances.

    Raises:
        DataError: invalid entries, a missing image, or one of another size.
    """
    where = f"image {_called(page)}"
    with Report(path).at(where):
        file = _image_file(page, image_root, listed)
        width, height = image_size(file)
        if page.size not in (None, (height, width)):
            raise ValueError(size_mismatch(page.size, (height, width)))
        found = page.read((height, width), tolerance)
    empty = [number for number, mask in zip(found.ids, found.modal, strict=True) if not mask.any()]
    if empty:
        logger.warning("%s: %s: masks that cover no pixel: %s", path, where, show(empty))
    return file, found.replace(image_id=page.image_id)


def _ids_of(
    path: str | os.PathLike, names: Mapping[int, str], classes: Sequence[str]
) -> dict[int, int]:
    """Map the class ids of the file to the given class names."""
    wanted = {name: k for k, name in enumerate(classes, start=1)}
    for name in names.values():
        if name not in wanted:
            raise DataError(f"{os.fspath(path)}: label {name!r} is not among {list(classes)}")
    return {number: wanted[name] for number, name in names.items()}


def _integers(values: Sequence[int | str]) -> bool:
    return all(isinstance(value, int | np.integer) for value in values)


def integer_ids(numbers: Sequence[int | str]) -> list[int]:
    """Return image ids, or 1, 2, ... if they are not unique integers."""
    if _integers(numbers) and len(set(numbers)) == len(numbers):
        return [int(number) for number in numbers]
    return list(range(1, len(numbers) + 1))


def _image_file(page: Page, root: str | os.PathLike, listed: Sequence[str]) -> Path:
    """Return the image of a page, by its name, else the only one with the same last part."""
    name = _slashes(_called(page))
    last, stem = os.path.basename(name), Path(name).stem
    for wanted in (
        [entry for entry in listed if entry == name],
        [entry for entry in listed if os.path.basename(entry) == last],
        [entry for entry in listed if Path(entry).stem in (last, stem)],
    ):
        if len(wanted) == 1:
            return resolve_inside(root, wanted[0])
        if wanted:
            raise ValueError(f"several images in {os.fspath(root)} may be meant: {show(wanted)}")
    raise ValueError(f"there is no such image in {os.fspath(root)}")


def size_of_image(page: Page, image_root: str | os.PathLike) -> tuple[int, int]:
    """Return (H, W) of the image of a page.

    Raises:
        ValueError: names the image; it is not in the folder, or damaged.
    """
    with Report(image_root).at(f"image {_called(page)}"):
        width, height = image_size(_image_file(page, image_root, list_images(image_root)))
    return height, width


def _record(
    file: str, found: OrderedInstances, number: int, kinds: Mapping[int, int], kept: bool
) -> dict[str, Any]:
    annotations = [
        {
            "id": int(found.ids[k]) if kept else number * PER_IMAGE + k + 1,
            "category_id": kinds[int(found.classes[k])],
            "bbox": masks.bounding_box(mask).tolist(),
            "segmentation": masks.encode(mask),
            "iscrowd": 0,
            "score": float(found.scores[k]),
        }
        for k, mask in enumerate(found.modal)
    ]
    orders = {key: getattr(found, key) for key in ("occlusion", "depth", "overlap", "count")}
    return {
        "file_name": file,
        "image_id": number,
        "height": found.size[0],
        "width": found.size[1],
        "annotations": annotations,
        **{key: matrix for key, matrix in orders.items() if matrix is not None},
    }
