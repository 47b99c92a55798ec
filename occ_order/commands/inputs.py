"""Images and videos given on the command line."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from occ_order.files import list_images, read_bytes
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.instances import OrderedInstances

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Input:
    """One image to predict on.

    Attributes:
        name: unique name, used for the folder of its results.
        file: path of the image or video; masks are looked up by it.
        file_name: path relative to the given folder, with forward slashes.
        image: uint8 (H, W, 3) RGB; None = still to be read from `file`.
        error: reason why the image cannot be read; "" = no error.
    """

    name: str
    file: Path
    file_name: str
    image: np.ndarray | None = None
    error: str = ""


def find_inputs(patterns: Sequence[str]) -> list[tuple[Path, str]]:
    """Expand files, folders and globs to a list of (path, name).

    Names of files in a folder are relative to it; all others are the last part of the path.

    Raises:
        FileNotFoundError: a pattern matches nothing.
    """
    files: list[tuple[Path, str]] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = [(path / name, name) for name in list_images(path)]
        elif path.is_file():
            found = [(path, path.name)]
        else:
            found = [
                (Path(name), Path(name).name) for name in sorted(glob.glob(pattern, recursive=True))
            ]
        if not found:
            raise FileNotFoundError(f"{pattern}: no such file, no image in it, no match")
        files += found
    return files


def masks_of(one: Input, image: np.ndarray, options: argparse.Namespace) -> OrderedInstances:
    """Return the user's masks of one image."""
    return load_masks(
        masks_file(options.masks, one.file),
        image.shape[:2],
        image_name=one.file_name,
        keep_crowds=options.keep_crowds,
        skip_damaged=options.skip_damaged,
    )


def images_of(files: Sequence[tuple[Path, str]], every: int) -> Iterator[Input]:
    """Yield images, and every `every`-th frame of videos, under unique names."""
    seen: dict[str, int] = {}
    for file, file_name in files:
        seen[file.stem] = seen.get(file.stem, 0) + 1
        name = file.stem if seen[file.stem] == 1 else f"{file.stem}_{seen[file.stem]}"
        if file.suffix.lower() in VIDEOS:
            yield from frames(file, name, every)
        else:
            yield Input(name, file, file_name)


def count_images(files: Sequence[tuple[Path, str]]) -> int | None:
    """Return the number of images that `images_of` yields; None if there are videos."""
    return None if any(file.suffix.lower() in VIDEOS for file, _ in files) else len(files)


def frames(file: Path, name: str, every: int) -> Iterator[Input]:
    """Yield every `every`-th frame of a video, or one input with an error if it is unreadable."""
    if not is_video(file):
        yield Input(name, file, file.name, error="not a video that can be read")
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
            yield Input(name, file, file.name, error="not a video that can be read")
    finally:
        video.release()


def is_video(file: Path) -> bool:
    """Return whether a file has the signature of AVI, Matroska or MP4.

    OpenCV does not check the extension, and would also open HLS playlists, which refer to other
    files and URLs.
    """
    start = read_bytes(file, 12)
    return start.startswith((b"RIFF", b"\x1a\x45\xdf\xa3")) or start[4:8] == b"ftyp"
