"""Outlines that tools draw, as polygons [x, y, x, y, ...] in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from occ_order.files import show
from occ_order.formats.checks import finite

CORNERS = 64
"""Corners of the polygon that stands for a circle or an ellipse."""


def numbers(values: Any, count: int | None = None) -> list[float]:
    """Check a list of finite numbers and return it as floats.

    Args:
        values: the parsed value to check.
        count: expected length; None = any.

    Raises:
        ValueError: not a list of finite numbers, or another length.
    """
    if not isinstance(values, list | tuple) or not set(map(type, values)) <= {int, float}:
        raise ValueError(f"expected numbers, got {show(values)}")
    if not finite(list(values)) or (count is not None and len(values) != count):
        wanted = "" if count is None else f"{count} "
        raise ValueError(f"expected {wanted}finite numbers, got {show(values)}")
    return [float(value) for value in values]


def polygon(xs: Sequence[float], ys: Sequence[float]) -> list[list[float]]:
    """Return a polygon with the given vertices, as `occ_order.masks.decode` takes it.

    Raises:
        ValueError: fewer than three corners, or not as many x as y.
    """
    if len(xs) != len(ys):
        raise ValueError(f"a polygon has {len(xs)} x and {len(ys)} y coordinates")
    if len(xs) < 3:
        raise ValueError(f"a polygon needs three or more points, got {len(xs)}")
    return [np.array([xs, ys], float).T.ravel().tolist()]


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> list[list[float]]:
    """Return a rotated ellipse as a polygon.

    Args:
        x, y: centre.
        radius_x, radius_y: semi-axes.
        angle: rotation in degrees, clockwise in the image.
    """
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    rim = np.stack([radius_x * np.cos(turn), radius_y * np.sin(turn)], axis=1)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return [(rim @ np.array([[cos, sin], [-sin, cos]]) + (x, y)).ravel().tolist()]
