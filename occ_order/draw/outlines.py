"""Outlines of masks as SVG paths. Needs NumPy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np

from occ_order import masks

OUTLINE_ERROR = 0.7
"""Maximum distance in pixels between the simplified and the exact outline."""


def mask_path(mask: np.ndarray) -> str:
    """Convert a mask to the "d" attribute of an SVG path, to be filled with the even-odd rule.

    Args:
        mask: (H, W), nonzero = inside.

    Returns:
        Path in pixels, pixel (0, 0) covers the square from 0 to 1; "" for an empty mask. Its
        distance to the exact outline is at most :data:`OUTLINE_ERROR` plus half a pixel.
    """
    small = masks.as_bool(mask, 2).astype(np.uint8)
    # OpenCV's contours run through pixel centres: at twice the resolution the error is a quarter
    # pixel, and a single pixel has a non-empty contour.
    large = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 2 * OUTLINE_ERROR, True).reshape(-1, 2)
        if len(points) < 3:
            x, y, width, height = cv2.boundingRect(contour)
            points = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
            points = points + (x, y)
        corners = (points + 0.5) / 2
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in corners.tolist()) + "Z")
    return "".join(parts)
