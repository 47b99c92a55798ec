"""Synthetic occluders: masks pasted in front of instances, so that the occluded region is known.

The mask of the instance need not be amodal: the network learns to recover only the region that the
pasted mask covers (partial completion, Zhan et al., CVPR 2020, Section 3.1).
"""

from __future__ import annotations

import cv2
import numpy as np

SIZES = (0.4, 2.2)
"""Range of an occluder's size (square root of its area) relative to that of the instance."""

HIDDEN = (0.03, 0.85)
"""Range of the fraction of an instance that an occluder may cover."""

TRIES = 12
MOST_PIXELS = 2048  # maximum side of an occluder in pixels


def placed_occluder(
    target: np.ndarray, shape: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Scale and place an occluder at random so that it covers a part of an instance.

    Args:
        target: bool (H, W), mask of the instance, not empty.
        shape: uint8 0/1 (h, w), mask of the occluder, cropped to its box, not empty.
        rng: random generator.

    Returns:
        bool (H, W); None if no try covers a fraction in the range `HIDDEN`.
    """
    area = int(target.sum())
    ys, xs = np.nonzero(target)
    for _ in range(TRIES):
        scaled = _scaled(shape, area, rng)
        # Align a random pixel of the occluder with a random pixel of the target. Rows near the top
        # of the occluder are more likely, since objects that stand in front extend further down.
        pixel, own = rng.integers(len(ys)), rng.uniform(0, 1, 2) ** (1.5, 1.0) * scaled.shape
        mask = _moved(scaled, target.shape, ys[pixel] - int(own[0]), xs[pixel] - int(own[1]))
        if HIDDEN[0] <= np.count_nonzero(mask & target) / area <= HIDDEN[1]:
            return mask
    return None


def _scaled(shape: np.ndarray, area: int, rng: np.random.Generator) -> np.ndarray:
    """Resize a shape to a random size, and flip it with probability 1/2."""
    size = np.exp(rng.uniform(*np.log(SIZES))) * np.sqrt(area / max(int(shape.sum()), 1))
    size = min(size, MOST_PIXELS / max(shape.shape))
    height, width = (max(1, round(side * size)) for side in shape.shape)
    scaled = cv2.resize(shape * np.uint8(255), (width, height), interpolation=cv2.INTER_LINEAR)
    return (scaled[:, ::-1] if rng.random() < 0.5 else scaled) > 127


def _moved(mask: np.ndarray, size: tuple[int, int], top: int, left: int) -> np.ndarray:
    """Return a bool array of shape `size` with the mask at (top, left), clipped to it."""
    result = np.zeros(size, bool)
    rows = slice(max(top, 0), max(min(top + mask.shape[0], size[0]), 0))
    columns = slice(max(left, 0), max(min(left + mask.shape[1], size[1]), 0))
    part = result[rows, columns]
    if part.size:
        y, x = rows.start - top, columns.start - left
        part[...] = mask[y : y + part.shape[0], x : x + part.shape[1]]
    return result
