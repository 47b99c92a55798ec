"""Test-time augmentation: the detections of an image and of its mirror image become one set.

Each detection is a box, a score and a small mask inside the box, so what is averaged are a few
numbers. Not in a paper: Detectron2's own test-time augmentation adds the detections of both images
before non-maximum suppression, where they compete by score; here they agree. What one of the images
shows alone has half of its score.

Shapes: N instances, M x M mask of a box. Boxes are ``x0, y0, x1, y1`` in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SAME = 0.6
"""IoU of boxes above which detections of the two images are the same instance."""

DUPLICATE = 0.5
"""IoU of boxes above which a detection is a duplicate of a better one."""


class Boxed(NamedTuple):
    """Detections of one image."""

    boxes: np.ndarray
    """float32 (N, 4)."""
    scores: np.ndarray
    """float32 (N,)."""
    masks: np.ndarray
    """float32 (N, M, M), probabilities inside the box."""


def mirrored(found: Boxed, width: float) -> Boxed:
    """Mirror detections from left to right, in an image of `width` pixels."""
    x0, y0, x1, y1 = found.boxes.T
    return Boxed(
        np.stack([width - x1, y0, width - x0, y1], 1), found.scores, found.masks[:, :, ::-1]
    )


def merged(first: Boxed, second: Boxed, *, most: int = 100) -> Boxed:
    """Merge the detections of an image and those of its mirror image, which are mirrored back.

    By descending score, a detection takes the best one of the other image that is left and whose
    box has an IoU above `SAME` with it. Box and mask are their means, weighted by the scores; the
    score is the mean, 0 for an image without it. Those of either image with an IoU above
    `DUPLICATE` with the better of both are dropped.

    Args:
        first, second: detections of both; `most` is at least the number of either.
        most: maximum number of results.

    Returns:
        Detections by descending score.
    """
    boxes, scores, masks = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    image = np.repeat([0, 1], [len(first.scores), len(second.scores)])
    order = np.argsort(-scores, kind="stable")
    overlap = box_iou(boxes, boxes)
    free = np.ones(len(order), bool)
    weights = np.zeros((0, len(order)), np.float32)
    rows = []
    for best in order:
        if not free[best]:
            continue
        row = np.zeros(len(order), np.float32)
        row[best] = scores[best]
        other = order[free[order] & (image[order] != image[best]) & (overlap[best, order] > SAME)]
        row[other[:1]] = scores[other[:1]]
        free &= overlap[best] <= DUPLICATE
        free[best] = False
        rows.append(row)
    if rows:
        weights = np.stack(rows)
    total = weights.sum(1)
    ranked = np.argsort(-total, kind="stable")[:most]
    weights, total = weights[ranked], total[ranked]
    share = weights / np.maximum(total, np.finfo(np.float32).tiny)[:, None]
    return Boxed(share @ boxes, total / 2, np.tensordot(share, masks, 1))


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the IoU of boxes (N, 4) and (K, 4), float (N, K); 0 for two empty ones."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
