"""Disparity maps as files: 16-bit grey values and a colour visualisation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from occ_order.files import save_png

NEAR, FAR = 0.95, 0.08  # range of the colour map, as in `occ_order.draw.colors.depth_colors`
_TABLE = np.rint(colormaps["plasma"](np.linspace(FAR, NEAR, 256))[:, :3] * 255).astype(np.uint8)


def spread(disparity: np.ndarray) -> np.ndarray:
    """Normalize a disparity map to [0, 1]: 0 = farthest pixel, 1 = nearest.

    Args:
        disparity: float (H, W), larger = nearer.

    Returns:
        float64 (H, W); zeros for a constant map.

    Raises:
        ValueError: not (H, W), or not finite.
    """
    values = np.asarray(disparity, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"disparity must be finite and of shape (H, W), got {values.shape}")
    if not values.size:
        return values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def draw_disparity(disparity: np.ndarray) -> np.ndarray:
    """Draw a disparity map in colours: light yellow is nearest, dark blue farthest.

    Args:
        disparity: float (H, W), larger = nearer.

    Returns:
        image, uint8 (H, W, 3) RGB.

    Raises:
        ValueError: see `spread`.
    """
    return _TABLE[np.rint(spread(disparity) * 255).astype(np.uint8)]


def save_disparity(stem: str | os.PathLike, disparity: np.ndarray) -> tuple[Path, Path]:
    """Write `stem.png` (16-bit grey, 0 farthest to 65535 nearest) and `stem_color.png`.

    The grey values are disparities up to scale and offset, like the predictions.

    Args:
        stem: path without extension; its folder is created.
        disparity: float (H, W), at least one pixel.

    Returns:
        The two paths.

    Raises:
        ValueError: see `spread`; or an empty map, which PNG does not support.
    """
    grey = np.rint(spread(disparity) * 65535).astype(np.uint16)
    if not grey.size:
        raise ValueError(f"{stem}: an empty disparity map ({grey.shape}) cannot be written")
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}_color.png")
    for path, image in zip(paths, (grey, draw_disparity(disparity)), strict=True):
        save_png(path, image)
    return paths
