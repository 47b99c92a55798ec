"""State of the page: a photograph, masks read from files, and outlines drawn by clicks.

Coordinates are (x, y) in pixels of the photograph, or, where called "shown", of the displayed
image, whose longest side is at most `SIDE`. Does not import Gradio.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from occ_order import masks as mask_codec
from occ_order.files import as_image
from occ_order.formats.user_masks import load_masks
from occ_order.instances import OrderedInstances

SIDE = 1280
"""Maximum longest side of the displayed image, in pixels."""

REACH = 10.0
"""Maximum distance in shown pixels from the first corner at which a click closes an outline."""

_LINE, _RIM = (255, 255, 255), (0, 0, 0)

Outline = tuple[tuple[float, float], ...]
"""Polygon as a tuple of (x, y) corners."""


@dataclass(frozen=True)
class Work:
    """Immutable state of the page: a photograph and its masks.

    Attributes:
        photo: path of the photograph.
        pixels: uint8 (H, W, 3) RGB.
        given: instances read from mask files; None = no files.
        outlines: closed polygons, one per instance.
        corners: corners of the polygon being drawn.
        notes: warnings of the mask reader, such as about skipped parts.
    """

    photo: Path
    pixels: np.ndarray
    given: OrderedInstances | None = None
    outlines: tuple[Outline, ...] = ()
    corners: Outline = ()
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photograph."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def scale(self) -> float:
        """Scale of the displayed image relative to the photograph, at most 1."""
        return min(1.0, SIDE / max(self.size))


def open_photo(file: Path) -> Work:
    """Return a new state with a photograph and no masks.

    Raises:
        ValueError: the file is not an image or is damaged.
        FileNotFoundError: the file does not exist.
    """
    with _plain_names(file.parent):
        return Work(file, as_image(file))


def with_masks(work: Work, files: Sequence[Path]) -> Work:
    """Return the state with the masks of `files`, which replace those of earlier files.

    Args:
        work: state of the page.
        files: empty; one file that `occ_order.formats.user_masks` reads; or several PNG files with
            one mask each.

    Raises:
        ValueError: not a mask file, or masks of another size; names the file.
    """
    if not files:
        return replace(work, given=None, notes=())
    with _one_place(files) as place:
        folder = place if place.is_dir() else place.parent
        with _warnings() as notes, _plain_names(folder):
            given = load_masks(place, work.size, image_name=work.photo.name)
        return replace(work, given=given, notes=tuple(_plain(note, folder) for note in notes))


@contextmanager
def _one_place(files: Sequence[Path]) -> Iterator[Path]:
    """Yield the only file, or a temporary folder with copies of several files."""
    if len(files) == 1:
        yield files[0]
        return
    if others := [file.name for file in files if file.suffix.lower() != ".png"]:
        raise ValueError(
            f"several files of masks are PNG images, one for each instance; got {others[0]} among "
            f"{len(files)} files"
        )
    if len({file.name for file in files}) < len(files):
        raise ValueError("two files of masks have the same name")
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        for file in files:
            shutil.copy(file, folder)
        yield Path(folder)


def _plain(text: str, folder: Path) -> str:
    """Return a message without the path of the upload folder, which means nothing to the user."""
    return text.replace(f"{folder}{os.sep}", "")


@contextmanager
def _plain_names(folder: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(_plain(str(error), folder)) from error


class _Lines(logging.Handler):
    """Logging handler that stores warnings in a list."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yield a list that collects the warnings logged by readers."""
    handler, logger = _Lines(), logging.getLogger("occ_order")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


# --- outlines ------------------------------------------------------------------------------


def clicked(work: Work, x: float, y: float) -> Work:
    """Return the state with one more corner; a click on the first corner closes the outline.

    Args:
        work: state of the page.
        x, y: position of the click in shown pixels.

    Raises:
        ValueError: as `closed`.
    """
    if len(work.corners) > 2:
        first = np.array(work.corners[0]) * work.scale
        if np.hypot(*(first - (x, y))) <= REACH:
            return closed(work)
    # + 0.5: the centre of a shown pixel maps to the centre of the area it covers.
    corner = ((x + 0.5) / work.scale, (y + 0.5) / work.scale)
    return replace(work, corners=(*work.corners, corner))


def closed(work: Work) -> Work:
    """Return the state with the outline being drawn closed, as an instance.

    Raises:
        ValueError: the outline has fewer than three corners, or encloses no pixel.
    """
    if len(work.corners) < 3:
        raise ValueError(f"an outline has three corners or more, this one has {len(work.corners)}")
    if not _filled(work.corners, work.size).any():
        raise ValueError("there is no pixel in this outline; take it back and click further apart")
    return replace(work, outlines=(*work.outlines, work.corners), corners=())


def taken_back(work: Work) -> Work:
    """Return the state without the last corner, or, if there is none, without the last outline."""
    if work.corners:
        return replace(work, corners=work.corners[:-1])
    return replace(work, outlines=work.outlines[:-1])


def _filled(outline: Outline, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of an outline as bool (H, W)."""
    return mask_codec.decode([[number for corner in outline for number in corner]], *size)


# --- instances -----------------------------------------------------------------------------


def instances(work: Work) -> OrderedInstances | None:
    """Return the instances of the mask files, then the outlined ones; None if there are none.

    Ids of outlined instances continue from the largest integer id of the others.

    Raises:
        ValueError: an outline is not closed.
    """
    if work.corners:
        raise ValueError("an outline is not closed: close it, or take its corners back")
    given = work.given
    if not work.outlines:
        return given
    drawn = np.stack([_filled(outline, work.size) for outline in work.outlines])
    if given is None:
        return OrderedInstances(work.photo.stem, work.size, drawn, file_name=work.photo.name)
    count, number = len(drawn), max([0, *(i for i in given.ids if isinstance(i, int))])
    ids = (*given.ids, *range(number + 1, number + count + 1))
    names = None if given.names is None else (*given.names, *[""] * count)
    return OrderedInstances(
        given.image_id,
        work.size,
        np.concatenate([given.modal, drawn]),
        classes=np.append(given.classes, np.ones(count, np.int64)),
        names=names,
        scores=np.append(given.scores, np.ones(count)),
        ids=ids,
        file_name=work.photo.name,
    )


def shown(work: Work) -> np.ndarray:
    """Return the displayed image: photograph with masks and outlines, uint8 (h, w, 3) RGB."""
    from occ_order.draw.maps import draw_instances

    size = tuple(max(1, round(side * work.scale)) for side in work.size[::-1])
    small = cv2.resize(work.pixels, size, interpolation=cv2.INTER_AREA)
    found = instances(replace(work, corners=()))
    if found is not None:
        grey = found.modal.astype(np.uint8)
        stack = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in grey]
        modal = np.array(stack, bool).reshape(-1, *small.shape[:2])
        small = draw_instances(small, modal, labels=[str(i) for i in found.ids])
    corners = np.array(work.corners, float).reshape(-1, 2) * work.scale
    points = np.round(corners - 0.5).astype(np.int32)
    for color, width in ((_RIM, 4), (_LINE, 2)):
        cv2.polylines(small, [points], False, color, width, cv2.LINE_AA)
        for point in points.tolist():
            cv2.circle(small, point, width + 2, color, -1, cv2.LINE_AA)
    return small
