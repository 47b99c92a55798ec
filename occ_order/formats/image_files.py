"""Image files, opened in a few formats only.

Pillow knows dozens of formats, and some of its readers start programs (EPS runs Ghostscript), raise
whatever they like, or are hardly ever used. So every image is opened here, in one of `FORMATS`
only, and any error of a decoder is a damaged file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, by Pillow's names."""

MAX_PER_BYTE = 10_000
"""Pixels that a byte of a large file can stand for: a blank PNG of one bit has 8,256 at most."""

LARGE = 2**24
"""Pixels from which on `MAX_PER_BYTE` counts; smaller images cost little."""


@contextmanager
def opened(
    source: str | os.PathLike | BinaryIO,
    name: str | None = None,
    *,
    formats: tuple[str, ...] = FORMATS,
) -> Iterator[Image.Image]:
    """Open an image, not yet decoded; what goes wrong in the block is the file's fault.

    Args:
        source: a file, or its content.
        name: what messages call it; by default its path.
        formats: Pillow's names of the formats that are wanted.

    Raises:
        ValueError: names the file: another format, damaged, more pixels than Pillow allows
            (`PIL.Image.MAX_IMAGE_PIXELS` twice: 179 million), or so many for so few bytes that the
            file cannot hold them; a folder or a device.
        FileNotFoundError: there is no such file.
    """
    name = os.fspath(source) if name is None else name
    if not hasattr(source, "read") and not os.path.isfile(source):
        if not os.path.lexists(source):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        raise ValueError(f"{name}: not a readable image: no file, but a folder or device")
    try:
        with Image.open(source, formats=formats) as image:
            _check_size(image, source)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not a readable image: no {', '.join(formats)} file") from None
    except Exception as error:  # the decoders raise nearly everything
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name}: not a readable image: {reason}") from None


def _check_size(image: Image.Image, source: str | os.PathLike | BinaryIO) -> None:
    if hasattr(source, "read"):
        place = source.tell()
        size = source.seek(0, os.SEEK_END)
        source.seek(place)
    else:
        size = os.path.getsize(source)
    pixels = image.width * image.height
    if pixels > LARGE and pixels > MAX_PER_BYTE * size:
        raise ValueError(f"it claims {image.width} x {image.height} pixels in {size} bytes")
