"""What somebody has given on the page so far: a photograph, masks of files, clicked outlines.

Coordinates are (x, y) in pixels: "shown" ones count on the image that the page shows, which is no
larger than `SIDE`, all others on the photograph. Needs no Gradio.
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
"""Longest side of the image that the page shows, in pixels."""

REACH = 10.0
"""Shown pixels from its first corner within which a click closes an outline."""

_LINE, _RIM = (255, 255, 255), (0, 0, 0)

Outline = tuple[tuple[float, float], ...]
"""Corners of a polygon."""


@dataclass(frozen=True)
class Work:
    """A photograph and its masks. Each function below returns a new one.

    Attributes:
        photo: the file.
        pixels: uint8 (H, W, 3) RGB.
        given: instances of the files of masks; None = there are none.
        outlines: closed polygons, an instance each.
        corners: of the polygon that is not closed yet.
        notes: what the reader of the masks left out.
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
        """Shown pixels for each pixel of the photograph, at most 1."""
        return min(1.0, SIDE / max(self.size))


def open_photo(file: Path) -> Work:
    """Return a photograph without masks.

    Raises:
        ValueError: the file is no image, or a damaged one.
        FileNotFoundError: there is no such file.
    """
    with _plain_names(file.parent):
        return Work(file, as_image(file))


def with_masks(work: Work, files: Sequence[Path]) -> Work:
    """Return the same with the masks of files in place of those of earlier files.

    Args:
        work: of one photograph.
        files: none; one that `occ_order.formats.user_masks` reads; or several PNG files, a mask
            each.

    Raises:
        ValueError: no masks, or masks of another size; names the file.
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
    """Yield a file, or a folder with several of them for as long as they are read."""
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
    """Return message with files by their names, without a folder that their owner does not know."""
    return text.replace(f"{folder}{os.sep}", "")


@contextmanager
def _plain_names(folder: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(_plain(str(error), folder)) from error


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what readers log as warnings."""
    handler, logger = _Lines(), logging.getLogger("occ_order")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


# --- outlines ------------------------------------------------------------------------------


def clicked(work: Work, x: float, y: float) -> Work:
    """Return the same with one more corner; a click on the first corner closes the outline.

    Args:
        work: of one photograph.
        x, y: where, in shown pixels.

    Raises:
        ValueError: as `closed`.
    """
    if len(work.corners) > 2:
        first = np.array(work.corners[0]) * work.scale
        if np.hypot(*(first - (x, y))) <= REACH:
            return closed(work)
    # The middle of a shown pixel is the middle of what it stands for.
    corner = ((x + 0.5) / work.scale, (y + 0.5) / work.scale)
    return replace(work, corners=(*work.corners, corner))


def closed(work: Work) -> Work:
    """Return the same with the begun outline as an instance.

    Raises:
        ValueError: it has fewer than three corners, or no pixel in it.
    """
    if len(work.corners) < 3:
        raise ValueError(f"an outline has three corners or more, this one has {len(work.corners)}")
    if not _filled(work.corners, work.size).any():
        raise ValueError("there is no pixel in this outline; take it back and click further apart")
    return replace(work, outlines=(*work.outlines, work.corners), corners=())


def taken_back(work: Work) -> Work:
    """Return the same without the last corner; where no outline is begun, without the last one."""
    if work.corners:
        return replace(work, corners=work.corners[:-1])
    return replace(work, outlines=work.outlines[:-1])


def _filled(outline: Outline, size: tuple[int, int]) -> np.ndarray:
    """bool (H, W) inside an outline."""
    return mask_codec.decode([[number for corner in outline for number in corner]], *size)


# --- instances -----------------------------------------------------------------------------


def instances(work: Work) -> OrderedInstances | None:
    """Return the masks of the files, then the outlined ones; None where there are neither.

    Ids of outlined instances count on from the largest number among the others.

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
    """Return the photograph with its masks and outlines, uint8 (h, w, 3), for the page."""
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
