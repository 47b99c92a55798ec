"""Preprocessing of images as in Detectron2."""

from __future__ import annotations

import numpy as np
from PIL import Image


def check_image(image: np.ndarray) -> np.ndarray:
    """Validate an image.

    Raises:
        ValueError: it is not uint8 (H, W, 3), or empty.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return image


def resized_shape(shape: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Return height and width after Detectron2's ResizeShortestEdge."""
    height, width = shape
    scale = shortest / min(height, width)
    sides: tuple[float, float]
    sides = (shortest, scale * width) if height < width else (scale * height, shortest)
    if max(sides) > longest:
        scale = longest / max(sides)
        sides = (sides[0] * scale, sides[1] * scale)
    return int(sides[0] + 0.5), int(sides[1] + 0.5)


def network_image(
    image: np.ndarray,
    size: tuple[int, int],
    *,
    channels: str,
    mean: tuple[float, float, float],
    divisibility: int,
) -> np.ndarray:
    """Resize and pad an image for a network.

    Args:
        image: uint8 (H, W, 3), RGB.
        size: height and width after resizing.
        channels: "RGB" or "BGR".
        mean: padding value of each channel, on the bottom and right.
        divisibility: the sides of the result are multiples of this.

    Returns:
        float32 (1, 3, h, w), 0 .. 255.
    """
    pixels = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    if channels == "BGR":
        pixels = pixels[..., ::-1]
    sides = [side + -side % divisibility for side in size]
    result = np.empty((1, 3, *sides), np.float32)
    result[:] = np.array(mean, np.float32)[:, None, None]
    result[0, :, : size[0], : size[1]] = pixels.transpose(2, 0, 1)
    return result
