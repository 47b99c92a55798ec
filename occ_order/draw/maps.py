"""Drawing of instances, class maps and relative depth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from occ_order.draw.canvas import (
    INK,
    PAPER,
    check_image,
    check_masks,
    draw_labels,
    enlarge,
    enlarge_mask,
    join,
    label_points,
    text_width,
    write,
)
from occ_order.draw.colors import (
    BACKGROUND_COLOR,
    UNKNOWN_COLOR,
    depth_colors,
    instance_colors,
)


def draw_instances(
    image: np.ndarray,
    masks: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    colors: np.ndarray | None = None,
    opacity: float = 0.5,
    scale: int = 1,
    label_size: int | Sequence[int] = 15,
) -> np.ndarray:
    """Draw instances over the image, in distinct colours with outlines and labels.

    Args:
        image: image (H, W, 3).
        masks: bool (N, H, W); where masks overlap, the smaller one is painted on top.
        labels: N labels; default "1".."N"; "" = no label.
        colors: uint8 (N, 3); default `instance_colors`.
        opacity: opacity of the masks, 0 = outline only, 1 = flat colour.
        scale: integer scale factor.
        label_size: font size in pixels of the enlarged image, one for all or N.

    Returns:
        image (H * scale, W * scale, 3).

    Raises:
        ValueError: shapes that do not fit together.
    """
    image = check_image(image)
    masks = check_masks(masks, image.shape[:2])
    labels, colors = labels_and_colors(len(masks), labels, colors)
    drawing = enlarge(image, scale)
    if not drawing.size:
        return drawing
    large = [enlarge_mask(mask, scale) for mask in masks]
    order = sorted(range(len(large)), key=lambda k: -np.count_nonzero(large[k]))
    tint = drawing.copy()
    for k in order:
        tint[large[k]] = colors[k]
    # Pixels outside of all masks are the same in both.
    drawing = cv2.addWeighted(drawing, 1 - opacity, tint, opacity, 0)
    for k in order:
        draw_outline(drawing, large[k], colors[k])
    points = label_points(masks) * scale + (scale - 1) / 2
    return draw_labels(drawing, labels, points, colors, size=label_size)


def draw_outline(drawing: np.ndarray, mask: np.ndarray, color: Sequence[int]) -> None:
    """Draw the outline of one mask, a coloured line on a white one, in place.

    Args:
        drawing: (H, W, 3), modified.
        mask: bool (H, W).
        color: RGB.
    """
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    ink = tuple(int(c) for c in color)
    cv2.drawContours(drawing, outline, -1, PAPER, 3, cv2.LINE_AA)
    cv2.drawContours(drawing, outline, -1, ink, 1, cv2.LINE_AA)


def draw_semantic(
    semantic: np.ndarray,
    *,
    image: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    colors: np.ndarray | None = None,
    opacity: float = 0.75,
    scale: int = 1,
) -> np.ndarray:
    """Draw a class map, with a legend of the classes that occur.

    Args:
        semantic: integer (H, W), 0 = background, c >= 1 = class c, negative or 255 = void.
        image: image (H, W, 3) to blend with, or None for flat colours.
        names: names[c - 1] of class c; None = no legend.
        colors: uint8 (C, 3), colors[c - 1] of class c; default `instance_colors`.
        opacity: opacity of the colours over the image.
        scale: integer scale factor.

    Returns:
        Image (H * scale, W * scale, 3), taller with a legend.

    Raises:
        ValueError: not a 2-D integer map, another size than the image, a class without a colour.
    """
    semantic = np.asarray(semantic)
    if semantic.ndim != 2 or semantic.dtype.kind not in "biu":
        raise ValueError(f"semantic must be integer (H, W), got {semantic.dtype} {semantic.shape}")
    semantic = semantic.astype(np.int64)
    semantic[(semantic < 0) | (semantic == 255)] = -1
    highest = int(semantic.max(initial=0))
    colors = instance_colors(highest) if colors is None else np.asarray(colors, np.uint8)
    if len(colors) < highest:
        raise ValueError(f"class {highest} occurs, but only {len(colors)} colours were given")
    table = np.vstack([[BACKGROUND_COLOR], colors[:highest], [(90, 90, 90)]]).astype(np.uint8)
    flat = enlarge(table[semantic], scale, smooth=False)
    if image is not None:
        image = check_image(image)
        check_masks(semantic[None] > 0, image.shape[:2])
        photo = enlarge(image, scale).astype(np.float32)
        flat = np.rint(photo * (1 - opacity) + flat * opacity).astype(np.uint8)
    if names is None:
        return flat
    present = [c for c in range(1, highest + 1) if (semantic == c).any()]
    entries = [("background", BACKGROUND_COLOR)] + [
        (names[c - 1] if c <= len(names) else f"class {c}", tuple(table[c])) for c in present
    ]
    return join([flat, swatches(entries, flat.shape[1])], axis=0, gap=6)


def draw_relative_depth(
    masks: np.ndarray,
    relative_depth: np.ndarray,
    *,
    scale: int = 1,
    size: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    legend: bool = True,
    label_size: int | Sequence[int] = 15,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a map of relative depth: nearest instance bright, farthest dark.

    Colours are comparable only between instances connected by a chain of occlusions: equal colours
    do not mean equal depth.

    Args:
        masks: bool (N, H, W); where masks overlap, the nearer one is painted on top.
        relative_depth: integer (N,), larger = nearer (order.relative_depth, or labels of the CRF).
        scale: integer scale factor.
        size: (H, W), needed only for N = 0.
        labels: N labels; None = no labels.
        legend: add a legend of the colours from near to far below.
        label_size: font size in pixels, one for all or N.
        known: bool (N,), False for instances without known order, drawn in grey; None = all known.

    Returns:
        Image (H * scale, W * scale, 3), taller with a legend.

    Raises:
        ValueError: shapes that do not fit together.
    """
    masks, depth = check_masks(masks, size), np.asarray(relative_depth)
    if depth.shape != (len(masks),):
        raise ValueError(f"relative_depth must have shape ({len(masks)},), got {depth.shape}")
    known = np.ones(len(masks), bool) if known is None else np.asarray(known, bool)
    if known.shape != depth.shape:
        raise ValueError(f"known must have shape {depth.shape}, got {known.shape}")
    levels = np.unique(depth[known])[::-1]
    colors = np.full((len(masks), 3), UNKNOWN_COLOR, np.uint8)
    colors[known] = depth_colors(len(levels))[np.searchsorted(-levels, -depth[known])]
    height, width = masks.shape[1:]
    drawing = np.full((height * scale, width * scale, 3), BACKGROUND_COLOR, np.uint8)
    for k in np.lexsort((depth, known)):
        large = enlarge_mask(masks[k], scale)
        drawing[large] = colors[k]
        outline, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawing, outline, -1, PAPER, 1, cv2.LINE_AA)
    if labels is not None:
        points = label_points(masks) * scale + (scale - 1) / 2
        drawing = draw_labels(drawing, labels, points, colors, size=label_size)
    if not legend:
        return drawing
    row = depth_legend(len(levels), drawing.shape[1], unknown=not known.all())
    return join([drawing, row], axis=0, gap=6)


def depth_legend(levels: int, width: int = 420, *, unknown: bool = False) -> np.ndarray:
    """Draw a legend of the depth colours from "near" to "far", and of the background.

    Args:
        levels: number of depth levels.
        width: target width in pixels.
        unknown: whether to include the grey of instances without known order.

    Returns:
        Image (26, width, 3), wider if it does not fit.
    """
    size = 14
    words = {"near": text_width("near", size), "far": text_width("far", size)}
    patches = [("background", BACKGROUND_COLOR)]
    patches += [("no order known", UNKNOWN_COLOR)] if unknown else []
    rest = sum(text_width(name, size) + 40 for name, _ in patches)
    fixed = words["near"] + words["far"] + rest + 44
    width = max(width, fixed + 8 * max(levels, 1))
    drawing = np.full((26, width, 3), PAPER, np.uint8)
    at = words["near"] + 10
    bar = width - fixed
    write(drawing, "near", (2, 13), size=size, color=INK)
    edges = np.linspace(at, at + bar, max(levels, 1) + 1).round().astype(int)
    for color, start, stop in zip(depth_colors(levels), edges[:-1], edges[1:], strict=False):
        drawing[5:21, start : max(stop - 1, start + 1)] = color
    write(drawing, "far", (at + bar + 8, 13), size=size, color=INK)
    at += bar + words["far"] + 26
    for name, color in patches:
        drawing[5:21, at : at + 18] = color
        write(drawing, name, (at + 24, 13), size=size, color=INK)
        at += text_width(name, size) + 40
    return drawing


def swatches(entries: Sequence[tuple[str, Sequence[int]]], width: int) -> np.ndarray:
    """Draw a legend of colour squares and names, wrapped to the width.

    Args:
        entries: (name, RGB) pairs.
        width: target width in pixels.

    Returns:
        Image (24 * lines, width, 3), wider if a single entry does not fit.
    """
    size, line = 14, 24
    need = [text_width(name, size) + 40 for name, _ in entries]
    width = max([width, *need])
    places, x, row = [], 0, 0
    for want in need:
        if x and x + want > width:
            x, row = 0, row + 1
        places.append((x, row))
        x += want
    drawing = np.full((line * (row + 1), width, 3), PAPER, np.uint8)
    for (name, color), (x, row) in zip(entries, places, strict=True):
        y = row * line
        drawing[y + 5 : y + 19, x + 2 : x + 18] = color
        write(drawing, name, (x + 24, y + 12), size=size, color=INK)
    return drawing


def labels_and_colors(
    count: int, labels: Sequence[str] | None, colors: np.ndarray | None
) -> tuple[list[str], np.ndarray]:
    """Check labels and colours of `count` instances, or return the defaults 1, 2, ...

    Raises:
        ValueError: another number of labels or colours.
    """
    labels = [str(k + 1) for k in range(count)] if labels is None else [str(t) for t in labels]
    colors = instance_colors(count) if colors is None else np.asarray(colors, np.uint8)
    if len(labels) != count or colors.shape != (count, 3):
        raise ValueError(
            f"{count} masks need {count} labels and colours of shape ({count}, 3), "
            f"got {len(labels)} labels and colours {colors.shape}"
        )
    return labels, colors
