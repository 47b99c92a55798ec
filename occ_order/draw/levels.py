"""Drawing of visibility levels: number of objects that occlude each pixel of an amodal mask.

Shape shorthand: ``N`` objects, ``H, W`` image size. Levels are those of
`occ_order.targets.visibility_levels`: -1 outside the amodal mask, 0 visible, l occluded by l
objects. With a confidence C they form the sem-dist map ``M = C - L`` of SLN (Eq. 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from occ_order.draw.canvas import (
    INK,
    MUTED,
    PAPER,
    check_image,
    check_masks,
    enlarge,
    fade,
    join,
    text_width,
    write,
)
from occ_order.draw.colors import BACKGROUND_COLOR, depth_colors
from occ_order.draw.maps import swatches
from occ_order.masks import bounding_box, resize_nearest
from occ_order.targets import split_sem_dist

LEVEL_NAMES = ("visible", "hidden behind 1", "hidden behind 2", "hidden behind 3 or more")
"""Names of the four colours of levels; the last one is for all deeper levels."""

LEVEL_COLORS = depth_colors(len(LEVEL_NAMES))
"""uint8 (4, 3): light yellow = visible, darker with each object in front."""

_GAP = 12

_LITTLE = 0.02
"""Maximum occluded fraction of an object without a tile; inexact outlines overlap slightly."""

_MARGIN = 0.12
"""Margin around an object, relative to the longer side of its box."""


def draw_levels(
    image: np.ndarray,
    levels: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    most: int = 12,
    width: int = 1000,
    side: int = 180,
) -> np.ndarray:
    """Draw the levels of each partly occluded object in a tile, over the faded image.

    Of too many objects, those with the most occluded pixels are drawn. The number of omitted
    objects and a legend are shown below.

    Args:
        image: image (H, W, 3).
        levels: integer (N, H, W).
        confidence: float (N, H, W) in [0, 1], C, drawn as opacity; None = 1.
        names: N names, shown after the numbers 1..N.
        most: maximum number of tiles.
        width: target width in pixels.
        side: side of a tile's image in pixels.

    Raises:
        ValueError: incompatible shapes, or levels that are not integers.
    """
    image, levels = check_image(image), np.asarray(levels)
    if levels.ndim != 3 or levels.dtype.kind not in "iu":
        raise ValueError(f"levels must be integer (N, H, W), got {levels.dtype} {levels.shape}")
    check_masks(levels >= 0, image.shape[:2])
    sure = (levels >= 0).astype(np.float32) if confidence is None else np.asarray(confidence)
    if sure.shape != levels.shape:
        raise ValueError(f"confidence has shape {sure.shape}, levels {levels.shape}")
    hidden, whole = (levels > 0).sum(axis=(1, 2)), (levels >= 0).sum(axis=(1, 2))
    hidden = np.where(hidden > _LITTLE * whole, hidden, 0)
    shown = sorted(np.argsort(-hidden, kind="stable")[:most].tolist())
    numbers = [str(k + 1) for k in range(len(levels))]
    words = [" ".join(pair) for pair in zip(numbers, names, strict=True)] if names else numbers
    tiles = [_tile(image, levels[k], sure[k], words[k], side) for k in shown if hidden[k]]
    columns = max(1, (width + _GAP) // (side + _GAP))
    rows = [
        join(tiles[start : start + columns], gap=_GAP) for start in range(0, len(tiles), columns)
    ]
    legend = level_legend(int(levels.max(initial=0)), max([380, *(row.shape[1] for row in rows)]))
    return join([*rows, _left_out(hidden, len(tiles)), legend], axis=0, gap=10)


def draw_sem_dist(image: np.ndarray, sem_dist: np.ndarray, **options: Any) -> np.ndarray:
    """Draw predicted sem-dist maps with `draw_levels`.

    Args:
        image: image (H, W, 3).
        sem_dist: float (N, H, W), M = C - L.
        options: arguments of `draw_levels`.
    """
    confidence, levels = split_sem_dist(np.asarray(sem_dist, np.float32))
    levels = np.where(confidence > 0.5, levels, -1)
    return draw_levels(image, levels, confidence=confidence, **options)


def _tile(
    image: np.ndarray, levels: np.ndarray, sure: np.ndarray, heading: str, side: int
) -> np.ndarray:
    """Draw one object and its surroundings in a square of `side` pixels, with a heading."""
    x0, y0, x1, y1 = bounding_box(levels >= 0)
    height, width = image.shape[:2]
    half = (0.5 + _MARGIN) * max(x1 - x0, y1 - y0)
    rows = slice(max(0, round((y0 + y1) / 2 - half)), min(height, round((y0 + y1) / 2 + half)))
    columns = slice(max(0, round((x0 + x1) / 2 - half)), min(width, round((x0 + x1) / 2 + half)))
    part = levels[rows, columns]
    factor = side / max(part.shape)
    size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    ground = cv2.resize(image[rows, columns], size, interpolation=smooth)
    ground = fade(ground, 0.55).astype(np.float32)
    part = resize_nearest(part.astype(np.int16), size[::-1])
    sure = cv2.resize(sure[rows, columns].astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    opacity = np.where(part >= 0, 0.2 + 0.55 * sure, 0)[..., None]
    colors = LEVEL_COLORS[np.clip(part, 0, len(LEVEL_COLORS) - 1)]
    drawn = np.rint(ground * (1 - opacity) + colors * opacity).astype(np.uint8)
    inside = (part >= 0).astype(np.uint8)
    outline, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outline, -1, INK, 1, cv2.LINE_AA)
    square = np.full((side, side, 3), PAPER, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = drawn
    head = _line(_shortened(heading, side, 15), side, size=15, bold=True)
    return join([head, square], axis=0, gap=2)


def _shortened(text: str, width: int, size: int) -> str:
    """Truncate a text with an ellipsis to fit in `width` pixels."""
    if text_width(text, size) <= width - 4:
        return text
    while text and text_width(f"{text}…", size) > width - 4:
        text = text[:-1]
    return f"{text}…"


def _line(text: str, width: int, *, size: int = 14, bold: bool = False) -> np.ndarray:
    drawing = np.full((22, max(width, text_width(text, size) + 4), 3), PAPER, np.uint8)
    write(drawing, text, (2, 11), size=size, bold=bold, color=INK if bold else MUTED)
    return drawing


def _left_out(hidden: np.ndarray, tiles: int) -> np.ndarray:
    """Draw a line about the objects without a tile; an empty image if all have one."""
    visible, more = int((hidden == 0).sum()), int((hidden > 0).sum()) - tiles
    words = [f"{more} more have hidden parts"] if more else []
    if visible:
        noun = "object is" if visible == 1 else "objects are"
        words.append(f"{visible} {noun} wholly visible, or all but {100 * _LITTLE:.0f} %")
    if not len(hidden):
        words.append("no object")
    return _line("; ".join(words), 0) if words else np.zeros((0, 1, 3), np.uint8)


def level_legend(deepest: int, width: int) -> np.ndarray:
    """Draw a legend of the colours of levels.

    Args:
        deepest: last level to list; 0 and 1 always are.
        width: target width in pixels.
    """
    count = max(2, deepest + 1)
    return swatches(list(zip(LEVEL_NAMES, LEVEL_COLORS, strict=True))[:count], width)


def overlap_colors(count: int) -> np.ndarray:
    """Return the colours of 1 to `count` objects at a pixel, light to dark.

    Args:
        count: number of colours; those from the fifth on are equal.

    Returns:
        uint8 (count, 3).
    """
    positions = np.minimum(0.25 + 0.18 * np.arange(count), 0.97)
    return np.rint(colormaps["YlGnBu"](positions)[:, :3] * 255).astype(np.uint8)


def draw_overlaps(
    amodal: np.ndarray, *, scale: int = 1, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Draw the number of amodal masks at each pixel (the layers of SLN's GLM), with a legend.

    Args:
        amodal: bool (N, H, W), amodal masks.
        scale: integer scale factor.
        size: (H, W), needed only for N = 0.
    """
    count = check_masks(amodal, size).sum(axis=0)
    highest = max(1, int(count.max(initial=0)))
    colors = overlap_colors(highest)
    table = np.vstack([[BACKGROUND_COLOR], colors]).astype(np.uint8)
    flat = enlarge(table[count], scale, smooth=False)
    words = ["1 object", *(f"{k} one behind the other" for k in range(2, highest + 1))]
    entries = [("none", BACKGROUND_COLOR), *zip(words, colors, strict=True)]
    return join([flat, swatches(entries, flat.shape[1])], axis=0, gap=6)
