"""Export of sem-dist maps for other programs, as float32 NPZ or 16-bit PNG.

The package itself stores levels and probabilities; `occ_order.targets.layering` explains why.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from occ_order.files import atomic_writer

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

PNG_STEPS = 256
"""Steps of a 16-bit PNG per unit of M."""

PNG_ZERO = 128
"""M is stored as ``floor((M + PNG_ZERO) * PNG_STEPS)``."""


def save_sem_dist(path: str | os.PathLike[str], values: np.ndarray) -> None:
    """Write sem-dist maps ``M = C - L`` of the objects of an image.

    A PNG contains the maps of N objects stacked vertically, so its height is N * H. Values are
    rounded down: rounded up, a confidence of 0.999 would become 1, i.e. 0 at the next nearer level.

    Args:
        path: name.npz (array "sem_dist" (N, H, W) float32) or name.png (uint16).
        values: float (N, H, W), as of `occ_order.targets.sem_dist`.

    Raises:
        ValueError: another suffix, not three axes, or values outside (-128, 1).
    """
    path, values = Path(path), np.asarray(values, np.float32)
    if values.ndim != 3:
        raise ValueError(f"sem-dist maps must be (N, H, W), got shape {values.shape}")
    if values.size and not (values.min() > -PNG_ZERO and values.max() < 1):
        raise ValueError(f"sem-dist maps must lie in (-{PNG_ZERO}, 1) and not be NaN")
    if path.suffix not in (".npz", ".png"):
        raise ValueError(f"a sem-dist file must end in .npz or .png, got {path.name!r}")
    with atomic_writer(path, "wb", sync=False) as file:
        if path.suffix == ".npz":
            np.savez_compressed(file, sem_dist=values)
        else:
            file.write(_as_png(values))


def _as_png(values: np.ndarray) -> bytes:
    """Encode as PNG; N = 0 is encoded as one row of zeros, since a PNG cannot be empty."""
    encoded = np.zeros((1, max(values.shape[2], 1)), np.uint16)
    if values.size:
        stacked = values.reshape(-1, values.shape[2]).astype(float)
        encoded = np.floor((stacked + PNG_ZERO) * PNG_STEPS).astype(np.uint16)
    done, data = cv2.imencode(".png", encoded)
    assert done
    return data.tobytes()


def load_sem_dist(path: str | os.PathLike[str], *, height: int | None = None) -> np.ndarray:
    """Read sem-dist maps written by `save_sem_dist`.

    Args:
        path: name.npz or name.png.
        height: H, needed for a PNG to separate the objects.

    Returns:
        float32 (N, H, W); from a PNG at most 1 / 256 below the written values, at the same level.

    Raises:
        ValueError: an invalid file, or `height` is missing or does not divide the image height.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    content = np.fromfile(path, np.uint8)
    encoded = None
    if content[:8].tobytes() == PNG_SIGNATURE:  # OpenCV would read other formats by this name
        encoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if encoded is None or encoded.dtype != np.uint16 or encoded.ndim != 2:
        raise ValueError(f"{path}: not a 16-bit grey PNG")
    if height is None or height < 1:
        raise ValueError(f"{path}: a PNG needs the height of one map, got {height}")
    if len(encoded) == 1 and not encoded.any():
        return np.zeros((0, height, encoded.shape[1]), np.float32)
    if len(encoded) % height:
        raise ValueError(f"{path}: {len(encoded)} rows do not hold maps of {height} rows")
    values = encoded.astype(np.float32) / PNG_STEPS - PNG_ZERO
    return values.reshape(-1, height, encoded.shape[1])


def _read_npz(path: Path) -> np.ndarray:
    """Return the array "sem_dist"; never objects, which would be pickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values = np.asarray(file["sem_dist"])
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy has many ways to say that a file is damaged
        raise ValueError(f"{path}: no array 'sem_dist' that can be read ({error})") from None
    if values.ndim != 3 or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: 'sem_dist' must be numbers with three axes, got {values.dtype} {values.shape}"
        )
    return values.astype(np.float32)
