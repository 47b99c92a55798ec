"""Input of the completion network: a square crop (view) of the masks around an instance.

The view contains the instance and its possible occluders within reach, since an occluded region can
only be behind these. Views are area averages of masks of full resolution, in training and at test
time.

Shapes: N instances, H x W pixels, S the side of a view in cells. A square is int64 ``x, y, side``:
its upper left pixel and its side in pixels of the image. It may extend beyond the image, which is
padded with 0.
"""

from __future__ import annotations

import cv2
import numpy as np

from occ_order import masks as mask_tools

CHANNELS = 5
"""Channels of a view: instance, possible occluders, other instances, image, convex hull."""

LEAST_WEIGHT = 0.1
"""Minimum occlusion probability of a possible occluder."""


def view_square(
    box: np.ndarray, hiding: np.ndarray, *, reach: float = 3.0, margin: float = 1.1
) -> np.ndarray:
    """Compute the square around an instance and its possible occluders.

    Args:
        box: (4,), x0, y0, x1, y1 of the instance's modal mask, ends exclusive.
        hiding: (M, 4), boxes of the possible occluders.
        reach: occluders are clipped to a square of this side around the instance, relative to the
            longer side of its box.
        margin: side of the result, relative to the longer side of its contents.

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
    """Return the rows and columns of an image of shape (H, W) inside a square."""
    x, y, side = (int(value) for value in square)
    height, width = shape
    return (
        slice(min(max(y, 0), height), min(max(y + side, 0), height)),
        slice(min(max(x, 0), width), min(max(x + side, 0), width)),
    )


def _places(square: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a square inside an image of shape (H, W)."""
    rows, columns = shown(square, shape)
    x, y, _ = (int(value) for value in square)
    return slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)


def crop(mask: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """Compute the fraction of each cell of a view that a mask covers.

    Args:
        mask: bool or uint8 0/1 (H, W).
        square: x, y, side.
        size: S.

    Returns:
        float32 (S, S) in [0, 1].
    """
    return _cells(mask[shown(square, mask.shape)], square, mask.shape, size)


def _cells(part: np.ndarray, square: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Compute `crop` of a mask, given its part inside the square (see `shown`)."""
    side = int(square[2])
    if not part.any():  # shortcuts for constant parts, which take most of the time in large images
        return np.zeros((size, size), np.float32)
    if part.shape == (side, side) and part.all():
        return np.ones((size, size), np.float32)
    whole = np.zeros((side, side), np.float32)
    whole[_places(square, shape)] = part
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.minimum(cv2.resize(whole, (size, size), interpolation=way), 1)  # clip rounding errors


def paste(values: np.ndarray, square: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a view to the pixels of the image, by bilinear interpolation.

    Args:
        values: float32 (S, S).
        square: x, y, side.
        shape: H, W.

    Returns:
        float32, for the rows and columns of the image inside the square (`shown`).
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
        index: index of the instance.
        weights: (N,) in [0, 1], probability that each instance occludes it; 0 = impossible.
        square: x, y, side.
        size: S.

    Returns:
        float32 (`CHANNELS`, S, S) in [0, 1]: the instance; the maximum over its possible occluders
        of weight times mask; the other instances; the inside of the image; the convex hull of the
        instance.
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
    """Return which boxes (N, 4) intersect another box, or are less than `gap` pixels from it.

    Returns:
        bool (N,).
    """
    boxes, box = np.asarray(boxes, float).reshape(-1, 4), np.asarray(box, float)
    near = np.all(boxes[:, :2] < box[2:] + gap, axis=1)
    return near & np.all(boxes[:, 2:] > box[:2] - gap, axis=1)
