"""Drawing oriented occlusion boundaries.

A boundary pixel belongs to the occluder; its colour is the direction in which the occludee lies. So
the left edge of the nearer object has the colour of "left".
"""

from __future__ import annotations

import cv2
import numpy as np

from occ_order.draw.canvas import INK, PAPER, check_image, enlarge, fade, join, text_width, write
from occ_order.draw.colors import blend_directions, direction_colors
from occ_order.targets.oriented_boundary import DIRECTIONS


def draw_oriented_boundary(
    occludes: np.ndarray,
    image: np.ndarray | None = None,
    *,
    scale: int = 1,
    thickness: float = 3.0,
    legend: bool = False,
    palette: str = "default",
) -> np.ndarray:
    """Draw an oriented boundary in four colours, over the faded image or on white.

    Boundaries are one pixel wide and are thickened for display. A pixel with two active directions
    (a corner) gets the mean of their colours.

    Args:
        occludes: bool or float (4, H, W), directions left, right, top, bottom; floats are weights
            >= 0 (orientation E, or probabilities b * e).
        image: image (H, W, 3) of the same size, or None for a white background.
        scale: integer scale factor.
        thickness: width of the lines in pixels of the enlarged image.
        legend: add `boundary_legend` on the right.
        palette: "default", or "oosis" for the colours of that paper's figures.

    Returns:
        image (H * scale, W * scale, 3), wider with the legend.

    Raises:
        ValueError: wrong shape, NaN or negative weights, an image of another size, or an unknown
            palette.
    """
    weights = _check_weights(occludes)
    height, width = weights.shape[1:]
    if image is None:
        ground = np.full((height * scale, width * scale, 3), PAPER, np.uint8)
    else:
        image = check_image(image)
        if image.shape[:2] != (height, width):
            raise ValueError(
                f"the boundary is {(height, width)} but the image is {image.shape[:2]} (H, W)"
            )
        ground = fade(enlarge(image, scale), 0.8)
    drawing = _paint_lines(ground, weights, scale, thickness, palette)
    if legend:
        height = min(drawing.shape[0], 190)
        drawing = join([drawing, boundary_legend(height, palette=palette)])
    return drawing


def _check_weights(occludes: np.ndarray) -> np.ndarray:
    weights = np.asarray(occludes, np.float32)
    if weights.ndim != 3 or weights.shape[0] != len(DIRECTIONS):
        raise ValueError(f"occludes must have shape (4, H, W), got {weights.shape}")
    if weights.size and not weights.min() >= 0:
        raise ValueError("occludes must not hold NaN or negative weights")
    return weights


def _paint_lines(
    ground: np.ndarray, weights: np.ndarray, scale: int, thickness: float, palette: str
) -> np.ndarray:
    """Colour every pixel within thickness / 2 of a line like the nearest pixel of the line."""
    active = weights.sum(0) > 0
    if not active.any():
        return ground
    colors = enlarge(blend_directions(weights, palette=palette), scale, smooth=False)
    lines = enlarge(active.astype(np.uint8), scale, smooth=False)
    distance, nearest = cv2.distanceTransformWithLabels(
        1 - lines, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((nearest.max() + 1, 3), np.uint8)
    on_line = lines > 0
    by_label[nearest[on_line]] = colors[on_line]
    # The line is already `scale` pixels wide; the opacity falls off over one more pixel.
    reach = max(thickness - scale, 0.0) / 2
    opacity = np.clip(reach + 1.0 - distance, 0.0, 1.0)[..., None]
    mixed = ground * (1 - opacity) + by_label[nearest] * opacity
    return np.rint(mixed).astype(np.uint8)


def boundary_legend(height: int = 190, *, palette: str = "default") -> np.ndarray:
    """Draw a legend of the four colours: the oriented boundary of a square.

    Args:
        height: height in pixels.
        palette: see `draw_oriented_boundary`.

    Returns:
        image (height, about height, 3).
    """
    size = max(9, height // 13)
    side = max(text_width(name, size) for name in DIRECTIONS)
    width = height + max(0, 2 * side - height // 2)
    drawing = np.full((height, width, 3), PAPER, np.uint8)
    half, line = height // 4, max(3, height // 32)
    cx, cy = width // 2, height // 2
    corners = {
        "left": ((cx - half, cy - half), (cx - half, cy + half)),
        "right": ((cx + half, cy - half), (cx + half, cy + half)),
        "top": ((cx - half, cy - half), (cx + half, cy - half)),
        "bottom": ((cx - half, cy + half), (cx + half, cy + half)),
    }
    colors = direction_colors(palette).tolist()
    for name, color in zip(DIRECTIONS, colors, strict=True):
        cv2.line(drawing, *corners[name], color, line, cv2.LINE_AA)
    away = half + line + size * 0.4
    anchors = {
        "left": ((cx - away, cy), "rm"),
        "right": ((cx + away, cy), "lm"),
        "top": ((cx, cy - away - size * 0.4), "mm"),
        "bottom": ((cx, cy + away + size * 0.5), "mm"),
    }
    for name, color in zip(DIRECTIONS, colors, strict=True):
        point, anchor = anchors[name]
        write(drawing, name, point, size=size, color=color, bold=True, anchor=anchor)
    for row, text in enumerate(("object", "in front")):
        write(drawing, text, (cx, cy + (row - 0.5) * size * 1.2), size=size, color=INK, anchor="mm")
    return drawing
