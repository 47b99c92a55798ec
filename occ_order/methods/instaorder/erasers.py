"""Training samples of PCNet-M: a target mask and an eraser that occludes a part of it.

Zhan et al. (CVPR 2020), Section 3.1. All masks are uint8 (S, S) crops, 1 inside.
"""

from __future__ import annotations

import numpy as np

MIN_OVERLAP = 0.4
"""Minimum fraction of the target's box that the eraser's box should cover."""
ERASED = (0.001, 0.9)
"""Range of the erased fraction of the target for an accepted eraser."""
TRIES = 100


def place_eraser(
    target: np.ndarray, eraser: np.ndarray, rng: np.random.Generator, *, tries: int = TRIES
) -> np.ndarray:
    """Translate an eraser so that it erases a reasonable fraction of a target.

    The overlap of two boxes of the target's size, which determines the distance of the centres of
    the eraser's and the target's box, is drawn from U(0.4, 1). The last try is kept if all fail.

    Args:
        target: uint8 (S, S), not empty.
        eraser: uint8 (S, S), not empty.
        rng: source of randomness.
        tries: maximum number of tries.

    Returns:
        uint8 (S, S), the translated eraser, clipped at the border.
    """
    (left, top, width, height), area = _box(target), int(target.sum())
    other = _box(eraser)
    start = left + width / 2 - other[0] - other[2] / 2, top + height / 2 - other[1] - other[3] / 2
    moved = eraser
    for _ in range(tries):
        dx, dy = _displacement(rng)
        moved = shifted(eraser, round(start[0] + dx * width), round(start[1] + dy * height))
        if ERASED[0] <= int((moved & target).sum()) / area < ERASED[1]:
            break
    return moved


def _displacement(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a shift in box sizes with (1 - |dx|) (1 - |dy|) ~ U(0.4, 1)."""
    overlap = rng.uniform(MIN_OVERLAP, 1)
    dx = rng.uniform(0, 1 - overlap)
    dy = 1 - overlap / (1 - dx)
    if rng.random() < 0.5:
        dx, dy = dy, dx
    return dx * rng.choice([-1, 1]), dy * rng.choice([-1, 1])


def shifted(mask: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Translate a mask by whole pixels, filled with 0.

    Args:
        mask: (H, W).
        dx, dy: shift in pixels to the right and down.
    """
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) >= width or abs(dy) >= height:
        return moved
    rows = slice(max(dy, 0), height + min(dy, 0)), slice(max(-dy, 0), height + min(-dy, 0))
    columns = slice(max(dx, 0), width + min(dx, 0)), slice(max(-dx, 0), width + min(-dx, 0))
    moved[rows[0], columns[0]] = mask[rows[1], columns[1]]
    return moved


def completion_sample(target: np.ndarray, eraser: np.ndarray, *, erase: bool) -> np.ndarray:
    """Build a training sample: input and target.

    Case 1: the eraser removes a part of the target mask, which the network has to recover. Case 2:
    the target mask is complete and adjacent to the eraser, which teaches the network not to
    extend a mask into every neighbour.

    Args:
        target: uint8 (S, S).
        eraser: uint8 (S, S).
        erase: True for case 1.

    Returns:
        uint8 (3, S, S): erased mask, eraser, target.
    """
    if erase:
        return np.stack([target & ~eraser & 1, eraser, target])
    return np.stack([target, eraser & ~target & 1, target])


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the box of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
