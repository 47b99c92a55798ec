"""Drawing of amodal masks: occluded regions over the image, and layer by layer.

Shape shorthand: ``N`` instances, ``H, W`` image size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from occ_order.draw.canvas import (
    INK,
    MUTED,
    PAPER,
    check_image,
    check_masks,
    draw_labels,
    enlarge_mask,
    fade,
    join,
    label_points,
    text_width,
    write,
)
from occ_order.draw.maps import draw_instances, draw_outline, labels_and_colors
from occ_order.masks import bounding_box, resize_nearest

THIN, DENSE = (2, 9), (4, 8)
"""Stripes (width, period) in pixels: over the image, and on white."""
MOST_LAYERS = 15
"""Maximum number of tiles of :func:`draw_layers`; the last one has all remaining layers."""

_GAP = 12


def draw_amodal(
    image: np.ndarray,
    modal: np.ndarray,
    amodal: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    colors: np.ndarray | None = None,
    scale: int = 1,
    label_size: int | Sequence[int] = 15,
) -> np.ndarray:
    """Draw instances with striped occluded regions and the outlines of their amodal masks.

    Args:
        image: (H, W, 3).
        modal: bool (N, H, W), modal masks.
        amodal: bool (N, H, W), amodal masks.
        labels: N labels; default "1".."N".
        colors: uint8 (N, 3); default `instance_colors`.
        scale: integer scale factor.
        label_size: font size of the labels in pixels, one for all or N.

    Returns:
        image (H * scale, W * scale, 3).
    """
    labels, colors = labels_and_colors(len(modal), labels, colors)
    drawn = draw_instances(
        image, modal, labels=[""] * len(modal), colors=colors, opacity=0.3, scale=scale
    )
    for k, color in enumerate(colors):
        _draw_hidden(drawn, enlarge_mask(amodal[k] & ~modal[k], scale), color, k, THIN)
        draw_outline(drawn, enlarge_mask(amodal[k], scale), color)
    points = _label_points(modal, amodal) * scale + (scale - 1) / 2
    return draw_labels(drawn, labels, points, colors, size=label_size)


def _draw_hidden(
    drawn: np.ndarray, hidden: np.ndarray, color: np.ndarray, k: int, stripes: tuple[int, int]
) -> None:
    """Draw stripes in place, at alternating angles so that overlapping regions are visible."""
    left, top, right, bottom = bounding_box(hidden).astype(int).tolist()
    rows, columns = np.arange(top, bottom)[:, None], np.arange(left, right)
    along = rows + columns if k % 2 else rows - columns
    wide, period = stripes
    window = np.s_[top:bottom, left:right]
    drawn[window][hidden[window] & (along % period < wide)] = color


def _label_points(modal: np.ndarray, amodal: np.ndarray) -> np.ndarray:
    """Return label points in the modal masks, or in the amodal mask if fully occluded, (N, 2)."""
    points = label_points(modal)
    unseen = np.isnan(points[:, 0])
    points[unseen] = label_points(amodal[unseen])
    return points


def draw_layers(
    image: np.ndarray,
    modal: np.ndarray,
    layer: np.ndarray,
    *,
    amodal: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    colors: np.ndarray | None = None,
    side: int = 300,
) -> np.ndarray:
    """Draw the instances of each layer in a tile, from front to back.

    Visible regions show the image, occluded regions are striped.

    Args:
        image: (H, W, 3).
        modal: bool (N, H, W), modal masks.
        layer: int (N,), 0 = nearest.
        amodal: bool (N, H, W), amodal masks; None = modal masks only.
        labels: N labels; default "1".."N".
        colors: uint8 (N, 3); default `instance_colors`.
        side: longer side of a tile in pixels.

    Returns:
        Image; with more than `MOST_LAYERS` layers, the last tile has all remaining ones.

    Raises:
        ValueError: incompatible shapes.
    """
    image = check_image(image)
    modal = check_masks(modal, image.shape[:2])
    labels, colors = labels_and_colors(len(modal), labels, colors)
    if np.shape(layer) != (len(modal),):
        raise ValueError(f"layer must have shape ({len(modal)},), got {np.shape(layer)}")
    factor = side / max(image.shape[:2])
    size = max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))
    flag = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, size[::-1], interpolation=flag)
    seen = np.array([resize_nearest(m, size) for m in modal], bool).reshape(-1, *size)
    whole = seen
    if amodal is not None:
        amodal = check_masks(amodal, image.shape[:2])
        whole = np.array([resize_nearest(m, size) for m in amodal], bool).reshape(-1, *size)
    numbers = np.unique(layer)
    tiles = []
    for place, number in enumerate(numbers[:MOST_LAYERS]):
        last = place == MOST_LAYERS - 1 and len(numbers) > MOST_LAYERS
        chosen = np.flatnonzero(layer >= number if last else layer == number)
        tile = _layer_tile(small, seen, whole, chosen, labels, colors)
        words = f"layer {place + 1}" + (f" to {len(numbers)}" if last else "")
        tiles.append(join([_heading(words, tile.shape[1]), tile], axis=0, gap=2))
    if not tiles:
        return join([_heading("no instances", max(size[1], 160))])
    columns = min(4, math.ceil(math.sqrt(len(tiles))))
    rows = [join(tiles[k : k + columns], gap=_GAP) for k in range(0, len(tiles), columns)]
    return join(rows, axis=0, gap=_GAP)


def _layer_tile(
    image: np.ndarray,
    modal: np.ndarray,
    amodal: np.ndarray,
    chosen: np.ndarray,
    labels: Sequence[str],
    colors: np.ndarray,
) -> np.ndarray:
    drawn = fade(image, 0.88)
    for k in chosen:
        drawn[modal[k]] = image[modal[k]]
    for k in chosen:
        _draw_hidden(drawn, amodal[k] & ~modal[k], colors[k], int(k), DENSE)
        draw_outline(drawn, amodal[k] | modal[k], colors[k])
    points = _label_points(modal[chosen], amodal[chosen])
    return draw_labels(drawn, [labels[k] for k in chosen], points, colors[chosen], size=13)


def _heading(words: str, width: int) -> np.ndarray:
    head = np.full((20, max(width, text_width(words, 13) + 4), 3), PAPER, np.uint8)
    write(head, words, (2, 10), size=13, color=MUTED if words == "no instances" else INK)
    return head
