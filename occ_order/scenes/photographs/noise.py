"""Simulated errors of masks by annotators and detectors."""

from __future__ import annotations

import cv2
import numpy as np


def annotator_noise(
    masks: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0
) -> np.ndarray:
    """Add simulated errors of annotators and detectors to modal masks, as data augmentation.

    Each mask may be dilated or eroded by up to three pixels, shifted, or approximated by a polygon,
    so that neighbours get gaps and overlaps of a few pixels. Some masks are not changed.

    Args:
        masks: bool (N, H, W).
        rng: random generator.
        strength: scale of the errors; 0 = none, 1 = default.

    Returns:
        bool (N, H, W); a mask never becomes empty, and changes at most about six pixels (times
        ``strength``) from its outline.
    """
    result = np.array(masks, dtype=bool)
    if strength <= 0:
        return result
    for mask in result:
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            continue
        columns = np.flatnonzero(mask.any(axis=0))
        pad = 2 + int(np.ceil(6 * strength))
        view = np.s_[
            max(rows[0] - pad, 0) : rows[-1] + pad + 1,
            max(columns[0] - pad, 0) : columns[-1] + pad + 1,
        ]
        mask[view] = _one(mask[view].view(np.uint8), rng, strength).astype(bool)
    return result


def _one(mask: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add errors to one cropped mask, uint8 0 or 1; errors scale with the size of the mask."""
    largest = strength * min(3.0, 0.06 * float(np.sqrt(mask.sum())))
    kind, amount, dy, dx = rng.random(), rng.random(), *rng.uniform(-1.0, 1.0, 2)
    changed = mask
    if kind < 0.3:
        changed = _polygon(changed, 0.3 + 0.7 * amount * largest)
    if 0.15 < kind < 0.75:
        radius = round(amount * largest)
        operation = cv2.dilate if rng.random() < 0.5 else cv2.erode
        if radius > 0:
            size = 2 * radius + 1
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
            changed = operation(changed, kernel)
    if kind > 0.6:
        shift = np.array([[1, 0, round(dx * largest)], [0, 1, round(dy * largest)]], np.float32)
        changed = cv2.warpAffine(changed, shift, changed.shape[::-1], flags=cv2.INTER_NEAREST)
    return changed if changed.any() else mask


def _polygon(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """Approximate the outline by polygons, up to ``tolerance`` pixels."""
    outlines, _ = cv2.findContours(mask.copy(), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(outline, tolerance, True) for outline in outlines]
    result = np.zeros_like(mask)
    cv2.fillPoly(result, [part for part in simple if len(part) > 2], 1)
    return result
