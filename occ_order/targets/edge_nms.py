"""Non-maximum suppression of edge maps, as in boundary benchmarks.

The edge NMS of Dollar's edge detector, which DOC, DOOBNet and P2ORM apply before evaluating
boundaries.
"""

from __future__ import annotations

import cv2
import numpy as np


def edge_nms(
    prob: np.ndarray,
    *,
    min_prob: float = 0.0,
    margin: float = 1.01,
    border: int = 5,
) -> np.ndarray:
    """Apply non-maximum suppression to a boundary probability map.

    The non-maximum suppression of structured edge detection (Dollar & Zitnick) in the boundary
    evaluations of DOC and DOOBNet: the normal of a ridge is computed from second derivatives of the
    map smoothed by a triangle filter of radius 4, and a pixel is suppressed if `margin` times its
    value is smaller than the bilinearly interpolated value at a distance of one pixel on either
    side.

    Args:
        prob: float (H, W) in [0, 1].
        min_prob: pixels below are suppressed without a test; faster, without effect on the result
            if all later thresholds are at least this high.
        margin: with the default, ties and differences below 1 % are kept.
        border: values in this many rows and columns along the image border are multiplied by
            0, 1/border, 2/border, ... from the border, as in the original, to suppress spurious
            responses there. 0 = off.

    Returns:
        float32 (H, W): 0 where suppressed.

    Raises:
        ValueError: not (H, W), NaN, or values outside [0, 1].
    """
    prob = check_prob(prob, "prob", 2)
    height, width = prob.shape
    thinned = np.zeros_like(prob)
    rows, cols = np.nonzero((prob > 0) & (prob >= min_prob))
    if len(rows) == 0:
        return thinned
    angle = _ridge_normal(prob, rows, cols)
    dx, dy = np.cos(angle), np.sin(angle)
    value = prob[rows, cols]
    keep = np.ones(len(rows), dtype=bool)
    for side in (-1, 1):
        keep &= margin * value >= _bilinear(prob, rows + side * dy, cols + side * dx)
    thinned[rows[keep], cols[keep]] = value[keep]
    if border:
        thinned *= _border_ramp(height, border)[:, None]
        thinned *= _border_ramp(width, border)[None, :]
    return thinned


def _ridge_normal(prob: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return the angle of the ridge normal at some pixels, radians in [0, pi)."""
    kernel = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / 25
    smooth = cv2.sepFilter2D(prob, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    d_dx, d_dy = _derivative(smooth, 1), _derivative(smooth, 0)
    dxx, dxy, dyy = (
        derivative[rows, cols]
        for derivative in (_derivative(d_dx, 1), _derivative(d_dx, 0), _derivative(d_dy, 0))
    )
    # The sign of a zero mixed derivative is +1: with 0, the normal of an exactly horizontal ridge
    # would be rotated by 90 degrees.
    sign = np.where(dxy > 0, -1, 1)
    return np.mod(np.arctan(dyy * sign / (dxx + np.float32(1e-5))), np.pi)


def _derivative(values: np.ndarray, axis: int) -> np.ndarray:
    """Return central differences, one-sided at the border; 0 along an axis of length 1."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def _bilinear(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate values at real coordinates, clamped to the inside of the image."""
    height, width = values.shape
    y, x = np.clip(y, 0, max(height - 1.001, 0)), np.clip(x, 0, max(width - 1.001, 0))
    y0, x0 = y.astype(np.intp), x.astype(np.intp)
    y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
    wy, wx = y - y0, x - x0
    top = values[y0, x0] * (1 - wx) + values[y0, x1] * wx
    bottom = values[y1, x0] * (1 - wx) + values[y1, x1] * wx
    return top * (1 - wy) + bottom * wy


def _border_ramp(length: int, border: int) -> np.ndarray:
    """Return float32 (length,): 0, 1/s, ... s/s, 1 ... and mirrored; s <= length / 2."""
    size = min(border, length // 2)
    position = np.arange(length)
    distance = np.minimum(position, length - 1 - position)
    return (
        np.minimum(distance / max(size, 1), 1.0).astype(np.float32)
        if size
        else np.ones(length, dtype=np.float32)
    )


def check_prob(prob: np.ndarray, name: str, ndim: int) -> np.ndarray:
    """Return ``prob`` as float32 with ``ndim`` axes; raise ValueError outside [0, 1] or for NaN."""
    prob = np.asarray(prob)
    if prob.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {prob.shape}")
    prob = prob.astype(np.float32, copy=False)
    if prob.size and not (prob.min() >= 0 and prob.max() <= 1):  # also False for NaN
        raise ValueError(f"{name} must lie in [0, 1] and not be NaN")
    return prob
