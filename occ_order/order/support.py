"""Occlusions that follow from the masks alone: one instance is set into another.

A cup that stands on a table is surrounded by it below and on both sides, and hides a part of it.
Depth cameras see no step where the two touch, so lists of measured orders leave such pairs out.
"""

from __future__ import annotations

import math

import numpy as np

from occ_order import masks

LOW = 0.3
"""Share of an instance's height, from its lower edge, that has to be set into another."""

SURROUNDED = 0.7
"""Share of the rim of that part which the other one has to fill."""

ON_EACH_SIDE = 0.5
"""The same below, on the left and on the right, each apart."""


def set_into(modal: np.ndarray, *, radius: int | None = None) -> np.ndarray:
    """Return which instances have their lower part set into which others.

    The rim of the lower part is looked at: pixels outside the instance, at most `radius` away. The
    other instance has to fill most of it below and on both sides.

    Args:
        modal: bool (N, H, W).
        radius: in pixels; None = 1 % of the diagonal, at least 2: annotation leaves gaps.

    Returns:
        bool (N, N): ``[i, j]`` where i is set into j, and so occludes it; never both ways.

    Raises:
        ValueError: another shape than (N, H, W).
    """
    modal = masks.as_bool(modal, 3)
    number, height, width = modal.shape
    if radius is None:
        radius = max(2, round(0.01 * math.hypot(height, width)))
    result = np.zeros((number, number), bool)
    for k in range(number):
        if modal[k].any():
            result[k] = _surrounding(modal, k, radius)
    np.fill_diagonal(result, False)
    return result & ~result.T


def _surrounding(modal: np.ndarray, k: int, radius: int) -> np.ndarray:
    """Return bool (N,): which instances instance `k` is set into."""
    x0, y0, x1, y1 = masks.bounding_box(modal[k]).astype(int)
    top = y1 - max(1, math.ceil(LOW * (y1 - y0)))
    rows = slice(max(0, top - radius), y1 + radius)
    columns = slice(max(0, x0 - radius), x1 + radius)
    part = modal[:, rows, columns]
    rim = masks.dilated(part[k], radius) & ~part[k]
    rim[: top - rows.start] = False
    at = np.indices(rim.shape)
    below = at[0] + rows.start >= y1
    left = (2 * (at[1] + columns.start) < x0 + x1) & ~below
    sides = [rim & below, rim & left, rim & ~below & ~left]
    sizes = np.array([side.sum() for side in sides])
    if not sizes.all():  # at an edge of the image
        return np.zeros(len(modal), bool)
    filled = np.array([part[:, side].sum(axis=1) for side in sides])
    enough = (filled >= ON_EACH_SIDE * sizes[:, None]).all(axis=0)
    return enough & (filled.sum(axis=0) >= SURROUNDED * sizes.sum())
