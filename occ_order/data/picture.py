"""Pictures from disk as arrays, whatever they are stored as. NumPy and Pillow only."""

from __future__ import annotations

import os

import numpy as np
from PIL import ImageOps

from occ_order.data.datasets.image_files import opened


def load_picture(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as it is meant to be seen.

    The rotation that a camera noted (EXIF) is applied. 16-bit grey is divided by 256; grey is
    repeated; what is transparent shows its colour, without the transparency.

    Args:
        path: a file in one of `image_files.FORMATS`.

    Returns:
        uint8 (H, W, 3) RGB, H and W at least 1.

    Raises:
        ValueError: names the file: missing, no picture, or damaged.
    """
    try:
        with opened(path) as file:
            picture = ImageOps.exif_transpose(file)
            picture.load()
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: no such picture") from None
    if picture.mode.startswith("I"):
        grey = np.clip(np.asarray(picture).astype(np.int64) // 256, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(picture.convert("RGB")).copy()
