"""Thinning of an edge map by non-maximum suppression, as the boundary benchmarks do it.

The edge NMS of Dollar's edge detector, which DOC, DOOBNet and P2ORM apply before they score a
boundary.
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
    """Thin a boundary probability map across the direction of its ridges.

    The non-maximum suppression of structured edge detection (Dollar & Zitnick) that the boundary
    evaluations of DOC and DOOBNet use: the normal of a ridge comes from second derivatives of the
    map smoothed by a triangle filter of radius 4, and a pixel is dropped if `margin` times its
    value is smaller than the bilinearly interpolated value one pixel away on either side.

    Args:
        prob: float (H, W) in [0, 1].
        min_prob: pixels below are dropped without a look; raises speed, not results, when all
            later thresholds are at least this high.
        margin: ties and differences below 1 % survive with the default.
        border: values in this many rows and columns along the image border are scaled down by
            0, 1/border, 2/border, ... counted from the border, as the original does against
            spurious responses there. 0 leaves them.

    Returns:
        float32 (H, W): 0 where dropped.

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
    """Angle of the direction across the ridge at some pixels, radians in [0, pi)."""
    kernel = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / 25
    smooth = cv2.sepFilter2D(prob, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    d_dx, d_dy = _derivative(smooth, 1), _derivative(smooth, 0)
    dxx, dxy, dyy = (
        derivative[rows, cols]
        for derivative in (_derivative(d_dx, 1), _derivative(d_dx, 0), _derivative(d_dy, 0))
    )
    # The sign of a vanishing mixed derivative counts as +1: 0 would turn the normal of an exactly
    # horizontal ridge by 90 degrees.
    sign = np.where(dxy > 0, -1, 1)
    return np.mod(np.arctan(dyy * sign / (dxx + np.float32(1e-5))), np.pi)


def _derivative(values: np.ndarray, axis: int) -> np.ndarray:
    """Central differences, one-sided at the border; 0 along an axis of length 1."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def _bilinear(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolated values at real coordinates, clamped to just inside the image."""
    height, width = values.shape
    y, x = np.clip(y, 0, max(height - 1.001, 0)), np.clip(x, 0, max(width - 1.001, 0))
    y0, x0 = y.astype(np.intp), x.astype(np.intp)
    y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
    wy, wx = y - y0, x - x0
    top = values[y0, x0] * (1 - wx) + values[y0, x1] * wx
    bottom = values[y1, x0] * (1 - wx) + values[y1, x1] * wx
    return top * (1 - wy) + bottom * wy


def _border_ramp(length: int, border: int) -> np.ndarray:
    """float32 (length,): 0, 1/s, ... s/s, 1 ... and mirrored, s at most half the length."""
    size = min(border, length // 2)
    position = np.arange(length)
    distance = np.minimum(position, length - 1 - position)
    return (
        np.minimum(distance / max(size, 1), 1.0).astype(np.float32)
        if size
        else np.ones(length, dtype=np.float32)
    )


def check_prob(prob: np.ndarray, name: str, ndim: int) -> np.ndarray:
    """``prob`` as float32 with ``ndim`` axes; raise ValueError outside [0, 1] or for NaN."""
    prob = np.asarray(prob)
    if prob.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {prob.shape}")
    prob = prob.astype(np.float32, copy=False)
    if prob.size and not (prob.min() >= 0 and prob.max() <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1] and not be NaN")
    return prob
