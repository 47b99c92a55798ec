"""Occlusions that follow from the masks alone: an object that stands on another one.

The mask of a cup on a table is surrounded by the table below and on both sides, so the cup occludes
the table. Depth cameras measure no discontinuity where the two touch, so orders derived from
measured depth lack such pairs.
"""

from __future__ import annotations

import math

import numpy as np

from occ_order import masks

LOW = 0.3
"""Lower part of an instance that is tested, as a fraction of its height."""

SURROUNDED = 0.7
"""Minimum fraction of the rim around that part covered by the other instance."""

ON_EACH_SIDE = 0.5
"""Minimum fraction covered below, on the left and on the right, each on its own."""


def set_into(modal: np.ndarray, *, radius: int | None = None) -> np.ndarray:
    """Return which instances are surrounded by another one at their lower part.

    The rim of the lower part consists of the pixels outside the instance at a distance of at most
    `radius`. The other instance has to cover most of it below and on both sides.

    Args:
        modal: bool (N, H, W).
        radius: width of the rim in pixels; None = 1 % of the image diagonal, at least 2, because
            annotated masks leave gaps.

    Returns:
        bool (N, N): ``[i, j]`` True if i is surrounded by j and so occludes it; never mutual.

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
    """Return bool (N,): which instances surround the lower part of instance `k`."""
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
    if not sizes.all():  # the rim is cut off at the image border
        return np.zeros(len(modal), bool)
    filled = np.array([part[:, side].sum(axis=1) for side in sides])
    enough = (filled >= ON_EACH_SIDE * sizes[:, None]).all(axis=0)
    return enough & (filled.sum(axis=0) >= SURROUNDED * sizes.sum())
