"""Weighted coverage of ground-truth instances (Baselizadeh et al., section 4, "WC")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from occ_order.metrics.matching import iou_from_counts, overlap_counts
from occ_order.metrics.matrices import image_pairs, mean_or_nan
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums


def weighted_coverage(gt_masks, pred_masks, *, normalizer: str = "instances") -> float:
    """Compute the weighted coverage of instances by their best predictions.

    WC = 1/n sum_i |r_i| max_j IoU(r_i, s_j), over the ground-truth instances r_i and the
    predictions s_j of one image. Classes and scores are ignored, and the background is not a
    region. A prediction may be the best one of several instances.

    Args:
        gt_masks: (G, H, W), bool or 0/1.
        pred_masks: (P, H, W), bool or 0/1.
        normalizer: n. "instances" (default): sum_i |r_i|, so that perfect masks result in 1.
            "pixels": H * W, so that images are weighted by the area of their instances.

    Returns:
        Fraction in [0, 1]; NaN without a ground-truth pixel, 0 without predictions.

    Raises:
        ValueError: unknown normalizer, stacks that are not (N, H, W), different image sizes (both
            shapes are printed), values other than 0 and 1.

    Examples:
        >>> truth = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 1]]], bool)
        >>> found = np.array([[[1, 1, 0, 0]]], bool)
        >>> round(weighted_coverage(truth, found), 3)  # 3 of 4 pixels, covered by two thirds
        0.5
    """
    shared, pred_area, gt_area = overlap_counts(pred_masks, gt_masks)
    num_pixels = int(np.prod(np.shape(gt_masks)[1:]))
    iou = iou_from_counts(shared, pred_area, gt_area)
    return weighted_coverage_from_iou(iou, gt_area, num_pixels=num_pixels, normalizer=normalizer)


def weighted_coverage_from_iou(
    iou: np.ndarray, gt_area: np.ndarray, *, num_pixels: int, normalizer: str = "instances"
) -> float:
    """Compute `weighted_coverage` from a known IoU matrix.

    Args:
        iou: (P, G).
        gt_area: (G,) pixels.
        num_pixels: H * W, n with normalizer "pixels".
        normalizer: "instances" or "pixels".

    Returns:
        As `weighted_coverage`.

    Raises:
        ValueError: unknown normalizer.
    """
    if normalizer not in ("instances", "pixels"):
        raise ValueError(f"normalizer must be 'instances' or 'pixels', got {normalizer!r}")
    area = np.asarray(gt_area, float)
    if area.sum() == 0:
        return float("nan")
    best = np.asarray(iou, float).max(0, initial=0.0)
    total = area.sum() if normalizer == "instances" else num_pixels
    return float((area * best).sum() / total)


def mean_weighted_coverage(gt_images, pred_images, *, normalizer: str = "instances") -> float:
    """Compute the mean of `weighted_coverage` over the images of a data set.

    Args:
        gt_images: iterable of (G, H, W) mask stacks.
        pred_images: iterable of (P, H, W) mask stacks, same length and order.
        normalizer: "instances" or "pixels".

    Returns:
        Fraction in [0, 1]; images without ground truth are ignored; NaN if there are no others.

    Raises:
        ValueError: as `weighted_coverage`, or iterables of different lengths.
    """
    values = [
        weighted_coverage(gt, pred, normalizer=normalizer)
        for _, (gt, pred) in image_pairs(gt_images, pred_images)
    ]
    return mean_or_nan(values)


class CoverageScorer(Scorer[tuple[float, float]]):
    """Weighted coverage over a data set."""

    def empty(self) -> dict[str, Any]:
        """Return the state: sums of the coverages of the images."""
        return {"coverage": ExactSums(2)}

    def row(
        self,
        truth: Mapping[str, Any],
        prediction: Mapping[str, Any],
        *,
        iou: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """Return the coverage of an image, normalised by the instances and by all pixels.

        Args:
            truth: "masks", (G, H, W).
            prediction: "masks", (P, H, W).
            iou: (P, G), if known.

        Raises:
            ValueError: as `weighted_coverage`.
        """
        gt_masks = np.asarray(truth["masks"])
        if iou is None:
            overlap = overlap_counts(prediction["masks"], gt_masks)
            iou, gt_area = iou_from_counts(*overlap), overlap[2]
        else:
            gt_area = gt_masks.sum((1, 2))
        options = {"num_pixels": int(np.prod(gt_masks.shape[1:]))}
        by_instances, by_pixels = (
            weighted_coverage_from_iou(iou, gt_area, normalizer=normalizer, **options)
            for normalizer in ("instances", "pixels")
        )
        return by_instances, by_pixels

    def add(self, row: tuple[float, float]) -> None:
        """Add the coverages of an image."""
        self.state["coverage"].add(row)

    def compute(self) -> dict[str, float]:
        """Return {"weighted", "weighted_all_pixels"}: means over the images, percent.

        Images without ground truth are ignored; NaN if there are no others.
        """
        by_instances, by_pixels = self.state["coverage"].means().tolist()
        return {"weighted": 100.0 * by_instances, "weighted_all_pixels": 100.0 * by_pixels}
