"""Images and videos given on the command line, local or remote."""

from __future__ import annotations

import argparse
import glob
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from occ_order.commands.stores import SHARDS, Place, is_address, listed, read
from occ_order.files import as_image, list_images, read_bytes, read_text, sha256_of
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.instances import OrderedInstances

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


LIST = ".txt"
"""Extension of a list of inputs, one per line."""


@dataclass(frozen=True)
class Input:
    """One image to predict on.

    Attributes:
        name: unique name, used for the folder of its results.
        file: path of the image or video; masks are looked up by it.
        file_name: path relative to the given folder, with forward slashes.
        image: uint8 (H, W, 3) RGB; None = still to be read from `content` or `file`.
        error: reason why the image cannot be read; None = no error.
        place: where the image is stored, if not in a local file of its own.
        content: bytes of the image file, once they are read from `place`.
    """

    name: str
    file: Path
    file_name: str
    image: np.ndarray | None = None
    error: Exception | None = None
    place: Place | None = None
    content: bytes | None = None

    @property
    def is_video(self) -> bool:
        """Whether the file is a video by its extension, whose frames are the images."""
        return self.place is None and self.file.suffix.lower() in VIDEOS

    @property
    def size(self) -> int:
        """Size in bytes of the image, or of the file that contains it; 0 if unknown."""
        if self.place is not None:
            return self.place.size
        return os.path.getsize(self.file) if self.file.exists() else 0

    def pixels(self) -> np.ndarray:
        """Return the image, uint8 (H, W, 3) RGB.

        Raises:
            ValueError: the file is not an image.
            OSError: it cannot be read.
        """
        if self.error is not None:
            raise self.error
        if self.image is not None:
            return self.image
        return as_image(self.file, content=self.content)

    def sha256(self) -> str:
        """Return the digest of the image file."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        return sha256_of(self.file)


def find_inputs(patterns: Sequence[str], column: str = "") -> list[Input]:
    """Expand the arguments of the command line to images and videos, in their order.

    Args:
        patterns: files, folders, globs, URLs, tar and Parquet files, and lists (.txt) of all these,
            one per line, relative to the list. In a folder without images, its tar and Parquet
            files are used.
        column: column of Parquet files that holds the images; "" = one of the usual names.

    Raises:
        FileNotFoundError: a pattern matches nothing.
        ImportError, OSError, ValueError: see :func:`occ_order.commands.stores.listed`.
    """
    found: list[Input] = []
    seen: dict[str, int] = {}
    for file, file_name, place in _files(patterns, column):
        seen[file.stem] = seen.get(file.stem, 0) + 1
        name = file.stem if seen[file.stem] == 1 else f"{file.stem}_{seen[file.stem]}"
        found.append(Input(name, file, file_name, place=place))
    return found


def _files(
    patterns: Sequence[str], column: str, folder: str = ""
) -> Iterator[tuple[Path, str, Place | None]]:
    """Yield the files that match patterns, their names, and their places if not local.

    Names are relative to a given folder; otherwise they are the last part of the path.
    """
    for pattern in patterns:
        if is_address(pattern) or pattern.lower().endswith(SHARDS):
            yield from _stored(
                pattern if is_address(pattern) else str(Path(folder, pattern)), column
            )
            continue
        path = Path(folder, pattern)
        if path.is_dir():
            yield from _in_folder(path, column)
        elif path.is_file() and path.suffix.lower() == LIST and not folder:
            lines = [line.strip() for line in read_text(path).splitlines()]
            yield from _files([line for line in lines if line], column, str(path.parent))
        elif path.is_file():
            yield path, path.name, None
        else:
            matches = sorted(glob.glob(str(path), recursive=True))
            if not matches:
                raise FileNotFoundError(f"{pattern}: no such file, and nothing matches it")
            yield from ((Path(name), Path(name).name, None) for name in matches)


def _in_folder(folder: Path, column: str) -> Iterator[tuple[Path, str, Place | None]]:
    names = list_images(folder)
    yield from ((folder / name, name, None) for name in names)
    if not names:
        shards = [str(file) for file in sorted(folder.iterdir()) if file.suffix.lower() in SHARDS]
        if not shards:
            raise FileNotFoundError(f"{folder}: there is no image in it")
        for shard in shards:
            yield from _stored(shard, column)


def _stored(source: str, column: str) -> Iterator[tuple[Path, str, Place | None]]:
    for name, place in listed(source, column):
        if isinstance(place, Place):
            yield Path(name), name, place
        else:
            yield Path(place), name, None


def masks_of(one: Input, image: np.ndarray, options: argparse.Namespace) -> OrderedInstances:
    """Return the input masks of an image."""
    return load_masks(
        masks_file(options.masks, one.file),
        image.shape[:2],
        image_name=one.file_name,
        keep_crowds=options.keep_crowds,
        skip_damaged=options.skip_damaged,
    )


def images_of(inputs: Iterable[Input], every: int = 1) -> Iterator[Input]:
    """Yield images, with remote ones read, and every `every`-th frame of videos."""
    for unit, ones in itertools.groupby(inputs, key=lambda one: one.place and one.place.unit):
        if unit is not None:
            yield from _fetched(list(ones))
            continue
        for one in ones:
            if one.is_video:
                yield from frames(one.file, one.name, every)
            else:
                yield one


def _fetched(inputs: Sequence[Input]) -> Iterator[Input]:
    """Yield images of one file or URL with their bytes, or with an error."""
    done = 0
    try:
        for found in read([one.place for one in inputs if one.place is not None]):
            if isinstance(found, bytes):
                yield replace(inputs[done], content=found)
            else:
                yield replace(inputs[done], error=found)
            done += 1
    except (ImportError, OSError, ValueError) as error:
        yield from (replace(one, error=error) for one in inputs[done:])


def count_images(inputs: Sequence[Input]) -> int | None:
    """Return the number of images of `images_of`; None if there are videos."""
    return None if any(one.is_video for one in inputs) else len(inputs)


def frames(file: Path, name: str, every: int) -> Iterator[Input]:
    """Yield every `every`-th frame of a video, or one input with an error if it is unreadable."""
    if not is_video(file):
        yield Input(name, file, file.name, error=ValueError("not a video that can be read"))
        return
    video = cv2.VideoCapture(str(file))
    try:
        index = 0
        while True:
            there, image = video.read()
            if not there:
                break
            if index % every == 0:
                yield Input(
                    f"{name}_{index:06d}",
                    file,
                    file.name,
                    np.ascontiguousarray(image[..., ::-1]),
                )
            index += 1
        if index == 0:
            yield Input(name, file, file.name, error=ValueError("not a video that can be read"))
    finally:
        video.release()


def is_video(file: Path) -> bool:
    """Return whether a file has the signature of AVI, Matroska or MP4.

    OpenCV does not check the extension, and would also open HLS playlists, which refer to other
    files and URLs.
    """
    start = read_bytes(file, 12)
    return start.startswith((b"RIFF", b"\x1a\x45\xdf\xa3")) or start[4:8] == b"ftyp"
