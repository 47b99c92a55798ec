"""Pictures from disk as arrays, whatever they are stored as. NumPy and Pillow only."""

from __future__ import annotations

import os

import numpy as np
from PIL import ImageOps

from occ_order.files import opened


def load_picture(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as it is meant to be seen.

    The rotation that a camera noted (EXIF) is applied. 16-bit grey is divided by 256; grey is
    repeated; what is transparent shows its colour, without the transparency. Of several frames or
    pages the first counts.

    Args:
        path: a file in one of `occ_order.files.FORMATS`.

    Returns:
        uint8 (H, W, 3) RGB, H and W at least 1.

    Raises:
        ValueError: names the file: missing, no picture, or damaged; pixels that are floats or
            beyond 16 bits, or 16-bit pixels that use 12 bits or fewer, which would become black.
    """
    try:
        with opened(path) as file:
            picture = ImageOps.exif_transpose(file)
            picture.load()
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: no such picture") from None
    if picture.mode == "F":
        raise ValueError(f"{os.fspath(path)}: its pixels are floats; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        grey = (_sixteen_bits(np.asarray(picture), path) // 256).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(picture.convert("RGB")).copy()


def _sixteen_bits(values: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """The values, if they use the range of 16 bits."""
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise ValueError(
            f"{os.fspath(path)}: its pixels go from {least} to {most}; save it with 8 or 16 bits"
        )
    if 0 < most < 4096:
        raise ValueError(
            f"{os.fspath(path)}: has 16 bits, but its largest value is {most}, as of a camera of "
            "12 bits; multiply the values so that white is 65535"
        )
    return values
