"""Image helpers: checking, resizing, joining, labelling and encoding.

Shape shorthand: ``H, W`` size of the input image in pixels, ``N`` instances. An *image* is always
uint8 (H, W, 3) in RGB order; a *point* is (x, y) in pixels, (0, 0) = centre of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from occ_order.masks import bounding_box

INK = (28, 32, 38)
"""Colour of text and lines on white."""

PAPER = (255, 255, 255)
"""Background of every figure, opaque so that it is legible on light and dark pages."""

MUTED = (110, 118, 128)
"""Colour of secondary text and less important relations."""


def check_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    """Check an image and return it as a contiguous RGB array; grey images are converted.

    Args:
        image: uint8 (H, W, 3) RGB or uint8 (H, W).
        name: name of the image in error messages.

    Raises:
        ValueError: any other shape or dtype (alpha channels must be dropped by the caller).
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"{name} must be uint8 of shape (H, W, 3) in RGB or (H, W), "
            f"got {image.dtype} {image.shape}"
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image)


def check_masks(masks: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Check masks and return them as a bool (N, H, W) array.

    Args:
        masks: (N, H, W), any dtype, nonzero = inside.
        size: expected (H, W), if known.

    Raises:
        ValueError: not three dimensions, or another size than `size`.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), got {masks.shape}")
    if size is not None and masks.shape[1:] != tuple(size):
        raise ValueError(f"masks are {masks.shape[1:]} but the image is {tuple(size)} (H, W)")
    return masks.astype(bool, copy=False)


def enlarge(image: np.ndarray, scale: int, *, smooth: bool = True) -> np.ndarray:
    """Enlarge an image by an integer factor.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        scale: factor >= 1.
        smooth: cubic interpolation; otherwise nearest neighbour.

    Returns:
        (H * scale, W * scale[, C]), same dtype.

    Raises:
        ValueError: `scale` below 1.
    """
    if scale < 1:
        raise ValueError(f"scale must be a whole number >= 1, got {scale}")
    if scale == 1:
        return image.copy()
    if image.size == 0:  # OpenCV does not support empty arrays
        return np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
    flag = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=flag)


def enlarge_mask(mask: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge a bool (H, W) mask with a smoothed outline to bool (H * scale, W * scale).

    Returns the mask itself if `scale` is 1.
    """
    if scale == 1:
        return mask
    if mask.size == 0:
        return np.repeat(np.repeat(mask, scale, axis=0), scale, axis=1)
    soft = cv2.resize(
        mask.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR
    )
    return soft > 0.5


def display_scale(height: int, width: int, *, target: int = 640) -> int:
    """Return the integer factor that scales the longer side closest to `target` pixels."""
    longest = max(height, width)
    return max(1, round(target / longest)) if longest else 1


def fade(image: np.ndarray, amount: float = 0.75, *, toward: Sequence[int] = PAPER) -> np.ndarray:
    """Convert an image to grey and blend it with `toward`, as a background for coloured lines.

    Args:
        image: image (H, W, 3).
        amount: 0 = grey image, 1 = plain colour.
        toward: RGB colour.

    Returns:
        image (H, W, 3).
    """
    if image.size == 0:
        return image.copy()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    mixed = grey * (1 - amount) + np.asarray(toward, np.float32) * amount
    return np.rint(mixed).astype(np.uint8)


@lru_cache(maxsize=32)
def font(size: int, bold: bool = True) -> ImageFont.FreeTypeFont:
    """Return the DejaVu Sans font of matplotlib, so that no system font is needed."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def label_points(masks: np.ndarray) -> np.ndarray:
    """Return the label position of each mask: the point farthest from its outline.

    Unlike the centroid, it is always inside, also for a ring or a disconnected mask.

    Args:
        masks: bool (N, H, W).

    Returns:
        float64 (N, 2), (x, y) in pixels; NaN for an empty mask.
    """
    points = np.full((len(masks), 2), np.nan)
    for point, mask in zip(points, check_masks(masks), strict=True):
        if mask.any():
            left, top, right, bottom = bounding_box(mask).astype(int).tolist()
            padded = np.pad(mask[top:bottom, left:right], 1).astype(np.uint8)
            depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            point[:] = left + x - 1, top + y - 1
    return points


def draw_labels(
    drawing: np.ndarray,
    texts: Sequence[str],
    points: np.ndarray,
    colors: np.ndarray,
    *,
    size: int | Sequence[int] = 15,
) -> np.ndarray:
    """Draw short labels on rounded boxes, centred on their points and kept inside the image.

    Args:
        drawing: (H, W, 3); not modified.
        texts: N strings; empty ones are skipped.
        points: (N, 2), (x, y); rows with NaN are skipped.
        colors: uint8 (N, 3), colours of the boxes; the text is black or white.
        size: font size in pixels, one for all or N.

    Returns:
        A new image.
    """
    canvas = Image.fromarray(drawing)
    if not drawing.size:
        return drawing.copy()
    draw = ImageDraw.Draw(canvas)
    sizes = np.broadcast_to(size, len(texts)).tolist()
    for text, point, color, high in zip(texts, points, colors, sizes, strict=True):
        if not text or not np.isfinite(point).all():
            continue
        face = font(high)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=face)
        half = np.array([(right - left) / 2 + high * 0.4, (bottom - top) / 2 + high * 0.3])
        half[0] = max(half[0], half[1])
        limit = np.array([canvas.width - 1, canvas.height - 1])
        centre = np.clip(
            point, np.minimum(half + 1, limit / 2), np.maximum(limit - half, limit / 2)
        )
        plate = [*(centre - half), *(centre + half)]
        draw.rounded_rectangle(plate, radius=half[1], fill=tuple(color), outline=PAPER, width=2)
        start = centre - [(left + right) / 2, (top + bottom) / 2]
        draw.text(tuple(start), text, font=face, fill=text_color(color))
    return np.asarray(canvas).copy()


def text_color(background: Sequence[int]) -> tuple[int, int, int]:
    """Return `INK` or `PAPER` as text colour on an RGB background (WCAG relative luminance)."""
    linear = (np.asarray(background, np.float64) / 255) ** 2.2
    return INK if linear @ (0.2126, 0.7152, 0.0722) > 0.3 else PAPER


def text_width(text: str, size: int, *, bold: bool = True) -> int:
    """Return the width of one line of text in pixels."""
    return int(np.ceil(font(size, bold).getlength(text)))


def write(
    drawing: np.ndarray,
    text: str,
    point: Sequence[float],
    *,
    size: int = 15,
    color: Sequence[int] = INK,
    bold: bool = False,
    anchor: str = "lm",
) -> None:
    """Draw one line of text, in place.

    Args:
        drawing: (H, W, 3), modified.
        text: one line.
        point: (x, y) of the anchor.
        size: font size in pixels.
        color: RGB.
        bold: bold font.
        anchor: text anchor of Pillow, "lm" = left middle, "mm" = centred.
    """
    canvas = Image.fromarray(drawing)
    draw = ImageDraw.Draw(canvas)
    x, y = point
    draw.text((x, y), text, font=font(size, bold), fill=tuple(color), anchor=anchor)
    drawing[...] = np.asarray(canvas)


def join(
    images: Sequence[np.ndarray],
    *,
    axis: int = 1,
    gap: int = 12,
    background: Sequence[int] = PAPER,
) -> np.ndarray:
    """Concatenate images of different sizes horizontally (axis 1) or vertically (axis 0), centred.

    Args:
        images: images of any sizes; an empty list returns a (0, 0, 3) image.
        axis: 1 = from left to right, 0 = from top to bottom.
        gap: pixels between them.
        background: RGB of the background.
    """
    if not images:
        return np.zeros((0, 0, 3), np.uint8)
    across = 1 - axis
    size = [0, 0]
    size[axis] = sum(p.shape[axis] for p in images) + gap * (len(images) - 1)
    size[across] = max(p.shape[across] for p in images)
    result = np.full((*size, 3), background, np.uint8)
    at = 0
    for drawing in images:
        start = [0, 0]
        start[axis], start[across] = at, (size[across] - drawing.shape[across]) // 2
        height, width = drawing.shape[:2]
        result[start[0] : start[0] + height, start[1] : start[1] + width] = drawing
        at += drawing.shape[axis] + gap
    return result


def new_figure(width: float, height: float) -> Figure:
    """Return a matplotlib figure of width x height pixels, without display or global state."""
    return Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")


def figure_image(figure: Figure, *, sharpness: float = 1.0) -> np.ndarray:
    """Render a figure to an image.

    Args:
        figure: a figure of `new_figure`.
        sharpness: image pixels per figure pixel, such as 2 for high-resolution screens.

    Returns:
        image (about height * sharpness, width * sharpness, 3).
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(100 * sharpness)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png_bytes(drawing: np.ndarray, *, colors: int | None = None) -> bytes:
    """Encode an image as PNG.

    Args:
        drawing: (H, W, 3), H and W at least 1.
        colors: quantize to a palette of at most this many colours (<= 256), for small files.

    Returns:
        The file's bytes; deterministic.

    Raises:
        ValueError: an empty image, or an invalid dtype or shape.
    """
    drawing = _check_encodable(drawing)
    if colors is None:
        return cv2.imencode(".png", drawing[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[
            1
        ].tobytes()
    from io import BytesIO

    buffer = BytesIO()
    reduced = Image.fromarray(drawing).quantize(colors, dither=Image.Dither.FLOYDSTEINBERG)
    reduced.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def jpeg_bytes(drawing: np.ndarray, *, quality: int = 88) -> bytes:
    """Encode an image as JPEG, for photographs and overlays on them.

    Raises:
        ValueError: an empty image, or an invalid dtype or shape.
    """
    drawing = _check_encodable(drawing)
    return cv2.imencode(".jpg", drawing[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def _check_encodable(drawing: np.ndarray) -> np.ndarray:
    drawing = check_image(drawing, "image")
    if not drawing.size:
        raise ValueError(f"cannot encode an empty image of shape {drawing.shape}")
    return drawing
