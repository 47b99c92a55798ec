"""Masks as annotators and detectors make them."""

from __future__ import annotations

import cv2
import numpy as np


def annotator_noise(
    masks: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0
) -> np.ndarray:
    """Modal masks with the faults that people and detectors make, for training on the fly.

    Each mask may be grown or shrunk by up to three pixels, shifted by one or two, or replaced by a
    polygon of few corners; so neighbours get gaps and overlaps of a few pixels. Some masks stay as
    they are.

    Args:
        masks: bool (N, H, W).
        rng: draws the faults.
        strength: 0 changes nothing; 1 is usual; larger = more and larger faults.

    Returns:
        bool (N, H, W); a mask never vanishes and never gets pixels farther than some six from its
        own (times ``strength``).
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
    """One mask, uint8 0 or 1, tightly cut out; faults are smaller where the mask is small."""
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
    """Return the outline with as few corners as ``tolerance`` pixels allow."""
    outlines, _ = cv2.findContours(mask.copy(), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(outline, tolerance, True) for outline in outlines]
    result = np.zeros_like(mask)
    cv2.fillPoly(result, [part for part in simple if len(part) > 2], 1)
    return result
