"""Input of the completion network: a square crop (view) of the masks around an instance.

The view contains the instance and its possible occluders within reach: an occluded region can only
be behind these. Views are area averages of masks of full resolution, in training and at test time.

Shapes: N instances, H x W pixels, S the side of a view. A square is int64 ``x, y, side``: its
upper left pixel and its side in pixels of the image. Beyond the image everything is 0.
"""

from __future__ import annotations

import cv2
import numpy as np

from occ_order import masks as mask_tools

CHANNELS = 5
"""Maps of a view: the instance, what may hide it, other instances, the image, the convex hull."""

LEAST_WEIGHT = 0.1
"""Chance to hide something below which an instance counts as one that cannot."""


def view_square(
    box: np.ndarray, hiding: np.ndarray, *, reach: float = 3.0, margin: float = 1.1
) -> np.ndarray:
    """Return the square that shows an instance and what may hide it.

    Args:
        box: (4,), x0, y0, x1, y1 of the instance's modal mask, ends exclusive.
        hiding: (M, 4), boxes of the instances that may hide a part of it.
        reach: side of the square around the instance, in longer sides of its box, beyond which
            nothing is looked at.
        margin: side of the result in longer sides of what it has to show.

    Returns:
        int64 (3,): x, y, side.
    """
    low, high = np.asarray(box[:2], float), np.asarray(box[2:], float)
    centre, half = (low + high) / 2, reach * (high - low).max() / 2
    boxes = np.asarray(hiding, float).reshape(-1, 4)
    lows = np.maximum(boxes[:, :2], centre - half)
    highs = np.minimum(boxes[:, 2:], centre + half)
    inside = (lows < highs).all(1)
    low = np.vstack([low, lows[inside]]).min(0)
    high = np.vstack([high, highs[inside]]).max(0)
    side = max(int(np.ceil(margin * (high - low).max())), 1)
    corner = np.floor((low + high - side) / 2).astype(np.int64)
    return np.array([*corner, side], dtype=np.int64)


def shown(square: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and the columns of an image of H x W pixels that a square shows."""
    x, y, side = (int(value) for value in square)
    height, width = shape
    return (
        slice(min(max(y, 0), height), min(max(y + side, 0), height)),
        slice(min(max(x, 0), width), min(max(x + side, 0), width)),
    )


def _places(square: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and the columns of a square that lie in an image of H x W pixels."""
    rows, columns = shown(square, shape)
    x, y, _ = (int(value) for value in square)
    return slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)


def crop(mask: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """Return how much of each cell of a view a mask fills.

    Args:
        mask: bool or uint8 0/1 (H, W).
        square: x, y, side.
        size: S.

    Returns:
        float32 (S, S) in [0, 1].
    """
    return _cells(mask[shown(square, mask.shape)], square, mask.shape, size)


def _cells(part: np.ndarray, square: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Return `crop` of a mask whose values where the square shows the image are `part`."""
    side = int(square[2])
    if not part.any():  # in large images these two are most of what a view takes
        return np.zeros((size, size), np.float32)
    if part.shape == (side, side) and part.all():
        return np.ones((size, size), np.float32)
    whole = np.zeros((side, side), np.float32)
    whole[_places(square, shape)] = part
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.minimum(cv2.resize(whole, (size, size), interpolation=way), 1)  # not by rounding


def paste(values: np.ndarray, square: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the values of a view in the image, by bilinear interpolation.

    Args:
        values: float32 (S, S).
        square: x, y, side.
        shape: H, W.

    Returns:
        float32, of the rows and columns of the image that the square shows (`shown`).
    """
    side = int(square[2])
    rows, columns = shown(square, shape)
    if rows.start == rows.stop or columns.start == columns.stop:
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    large = cv2.resize(values, (side, side), interpolation=cv2.INTER_LINEAR)
    return large[_places(square, shape)]


def mask_view(
    modal: np.ndarray,
    boxes: np.ndarray,
    index: int,
    weights: np.ndarray,
    square: np.ndarray,
    size: int,
) -> np.ndarray:
    """Crop the masks around one instance to the input of the network.

    Args:
        modal: bool (N, H, W).
        boxes: (N, 4), x0, y0, x1, y1 around each.
        index: which of them is shown.
        weights: (N,) in [0, 1], how likely each hides a part of it; 0 for those that cannot.
        square: x, y, side.
        size: S.

    Returns:
        float32 (`CHANNELS`, S, S) in [0, 1]: the instance; the largest weight of what is there of
        those that may hide it; the other instances; the image; the instance's convex hull.
    """
    own, shape = modal[index], modal.shape[1:]
    hiding = np.zeros((size, size), np.float32)
    where = shown(square, shape)
    others = np.zeros(own[where].shape, bool)
    for k in np.flatnonzero(meets(boxes, np.array([*square[:2], *(square[:2] + square[2])]))):
        if k == index:
            continue
        if weights[k] > 0:
            np.maximum(hiding, float(weights[k]) * crop(modal[k], square, size), out=hiding)
        else:
            others |= modal[k][where]
    image = np.ones(others.shape, bool)
    hull = mask_tools.convex_hull(own)[where]
    seen = (_cells(part, square, shape, size) for part in (others, image, hull))
    return np.stack([crop(own, square, size), hiding, *seen])


def meets(boxes: np.ndarray, box: np.ndarray, *, gap: float = 0.0) -> np.ndarray:
    """Return which boxes (N, 4) have pixels in common with another one, or come as near as `gap`.

    Returns:
        bool (N,).
    """
    boxes, box = np.asarray(boxes, float).reshape(-1, 4), np.asarray(box, float)
    near = np.all(boxes[:, :2] < box[2:] + gap, axis=1)
    return near & np.all(boxes[:, 2:] > box[:2] - gap, axis=1)
