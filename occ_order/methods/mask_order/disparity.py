"""Disparity of an image from the map of log depth that MaskOrderNet predicts, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRIDE = 4
"""Pixels of the network's input in a cell of the map."""

LIMIT = 30.0
"""Largest absolute log depth, so that disparities are finite and positive."""


def disparity_map(log_depth: np.ndarray, inner: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Return the disparity, exp(-log depth), of an image.

    Args:
        log_depth: float32 (h, w), cells of `STRIDE` pixels of the network's padded input.
        inner: height and width of the network's input without padding.
        size: H, W of the image.

    Returns:
        float32 (H, W), larger = nearer, up to a factor.
    """
    rows, columns = (
        cell_weights(length, side, STRIDE) for length, side in zip(size, inner, strict=True)
    )
    cells = log_depth[: rows.shape[1], : columns.shape[1]]
    near = np.exp(-np.clip(cells, -LIMIT, LIMIT))
    return rows @ near @ columns.T


def cell_weights(length: int, inner: int, stride: int) -> np.ndarray:
    """Return the weights that interpolate a map of cells to an image along one axis.

    Bilinear interpolation between the centres of cells; beyond the outermost centre, the outermost
    cell.

    Args:
        length: number of pixels of the image.
        inner: number of pixels of the network's input, without padding.
        stride: pixels of the network's input in a cell.

    Returns:
        float32 (length, C), C = `inner` / `stride`, rounded up; the sum of each row is 1.
    """
    cells = -(-inner // stride)
    centre = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(inner / length)
    at = np.clip(centre / np.float32(stride) - np.float32(0.5), 0, cells - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(cells, dtype=np.float32)), 0)
