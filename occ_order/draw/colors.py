"""Colours of all drawings: directions, instances, relative depth and edge verdicts.

They are distinguishable with colour vision deficiency: the hues follow the palette of Okabe and
Ito, and edge verdicts also differ in line style.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from occ_order.targets.oriented_boundary import DIRECTIONS

DIRECTION_COLORS = np.array(
    [(0, 98, 200), (226, 88, 0), (0, 148, 92), (170, 40, 160)], dtype=np.uint8
)
"""uint8 (4, 3): left blue, right orange, top green, bottom purple (rows follow DIRECTIONS)."""

OOSIS_DIRECTION_COLORS = np.array(
    [(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0)], dtype=np.uint8
)
"""uint8 (4, 3): left cyan, right magenta, top yellow, bottom black, as in Fig. 4 of OOSIS."""

DIRECTION_PALETTES = {"default": DIRECTION_COLORS, "oosis": OOSIS_DIRECTION_COLORS}
"""Colours of the four directions by name."""

assert all(len(colors) == len(DIRECTIONS) for colors in DIRECTION_PALETTES.values())

EDGE_STYLES: dict[str, dict[str, Any]] = {
    "correct": {"color": "#0062c8", "linestyle": "-", "text": "right"},
    "wrong": {"color": "#e25800", "linestyle": (0, (4, 2)), "text": "wrong"},
    "missed": {"color": "#6e7680", "linestyle": (0, (1, 1.6)), "text": "missed"},
}
"""Verdict on a ground-truth edge -> line style: solid blue, dashed orange, dotted grey."""

CYCLE_COLOR = "#e25800"
"""Colour of arrows inside a cycle of an order graph."""

BACKGROUND_COLOR = (226, 229, 233)
"""Colour of pixels without instance, in maps that are drawn without the image."""

UNKNOWN_COLOR = (150, 154, 160)
"""Colour of instances without known order, in maps of relative depth."""


@lru_cache(maxsize=8)
def _palette(count: int) -> np.ndarray:
    """Choose colours greedily, each as far as possible from the previous ones in CIELAB."""
    steps = np.linspace(30, 245, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 1, 3)
    lab = cv2.cvtColor(grid.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, 0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > 42) & (lab[:, 0] < 84) & (chroma > 34) & (chroma < 72)
    grid, lab = grid[usable, 0], lab[usable]
    first = np.array([[30, 120, 200]], np.float32)[None] / 255
    start = cv2.cvtColor(first, cv2.COLOR_RGB2LAB)[0, 0]
    chosen = [int(np.linalg.norm(lab - start, axis=1).argmin())]
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return grid[chosen]


def instance_colors(count: int) -> np.ndarray:
    """Return distinct colours; the colour of an index does not depend on the count.

    Args:
        count: number of instances, >= 0. From the 100th on, colours repeat.

    Returns:
        uint8 (count, 3) RGB.
    """
    return _palette(100)[np.arange(count) % 100]


def depth_colors(levels: int) -> np.ndarray:
    """Return a sequential colour scale: light yellow is nearest, dark blue farthest.

    Args:
        levels: number of colours, >= 0.

    Returns:
        uint8 (levels, 3), row 0 = nearest.
    """
    positions = np.linspace(0.95, 0.08, levels) if levels > 1 else np.full(levels, 0.95)
    return np.rint(colormaps["plasma"](positions)[:, :3] * 255).astype(np.uint8)


def direction_colors(palette: str = "default") -> np.ndarray:
    """Return the colours of left, right, top and bottom, uint8 (4, 3).

    Raises:
        ValueError: unknown palette.
    """
    if palette not in DIRECTION_PALETTES:
        raise ValueError(f"palette must be one of {sorted(DIRECTION_PALETTES)}, got {palette!r}")
    return DIRECTION_PALETTES[palette]


def blend_directions(weights: np.ndarray, *, palette: str = "default") -> np.ndarray:
    """Compute the weighted mean of the direction colours.

    Args:
        weights: (4, ...) >= 0, weight of each direction; normalized to sum 1.
        palette: a key of `DIRECTION_PALETTES`.

    Returns:
        uint8 (..., 3); white where no direction is active.

    Raises:
        ValueError: unknown palette.
    """
    colors = direction_colors(palette)
    weights = np.asarray(weights, np.float64)
    total = weights.sum(0)
    mixed = np.moveaxis(weights, 0, -1) @ colors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = np.where(total[..., None] > 0, mixed / total[..., None], 255.0)
    return np.rint(mixed).astype(np.uint8)
