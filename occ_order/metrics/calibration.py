"""Calibration of detection scores as probabilities that detections are correct.

A detection is correct if it is matched one-to-one, in descending order of score, to a ground-truth
instance of the same image with an IoU above a threshold (`match_greedy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import minimize
from scipy.special import expit, logit

from occ_order.metrics.matching import mask_iou, match_greedy
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ImageRecords

LIMIT = 1e-6
"""Scores are clipped to this distance from 0 and 1 before the logit."""


def calibration_scores(
    gt: Sequence[Mapping[str, Any]], pred: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Compute the calibration of the scores of all detections of a data set.

    Args:
        gt: images with "masks" and "classes" (N,) integers, see `class_scores`; with other
            "image_id" than their positions, these decide which half of the cross-validation they
            are in.
        pred: the same images in the same order with "masks", "classes" and "scores" in [0, 1].

    Returns:
        "ece", the expected calibration error, percent; "threshold", the score threshold with the
        best F1, and that "f1", percent; "platt_scale" and "platt_shift" of `fit_platt`, NaN if
        undefined; "ece_platt", percent, the error after Platt scaling with two-fold
        cross-validation.
    """
    scorer = CalibrationScorer()
    for k, (truth, found) in enumerate(zip(gt, pred, strict=True)):
        scorer.update({"image_id": k, **truth}, found)
    return scorer.compute()


class CalibrationScorer(Scorer[tuple[ImageRecords, int]]):
    """Calibration of the scores of the detections of a data set.

    The error after Platt scaling needs all detections: 13 bytes of each are kept.

    Args:
        class_agnostic: also match instances of different classes.
    """

    def __init__(self, *, class_agnostic: bool = False) -> None:
        super().__init__(class_agnostic=class_agnostic)

    def empty(self) -> dict[str, Any]:
        """Return the state: records of detections, and the number of ground-truth instances."""
        fields = [("score", np.float64), ("right", np.bool_)]
        return {"images": ImageRecords(detections=fields), "num_gt": np.zeros(1, np.int64)}

    def row(
        self, truth: Mapping[str, Any], prediction: Mapping[str, Any]
    ) -> tuple[ImageRecords, int]:
        """Return the detections of an image, and the number of ground-truth instances.

        Args:
            truth: "image_id", "masks" (N, H, W) or N run-length encodings, and "classes" (N,).
            prediction: "masks", "classes" and "scores" in [0, 1].
        """
        agnostic = self.options["class_agnostic"]
        classes = {"pred_classes": prediction["classes"], "gt_classes": truth["classes"]}
        matched = match_greedy(
            _iou(prediction["masks"], truth["masks"]),
            prediction["scores"],
            **({} if agnostic else classes),
        )
        found = self.empty()["images"]
        detections = {"score": prediction["scores"], "right": matched >= 0}
        found.add(truth["image_id"], detections=detections)
        return found, len(truth["masks"])

    def add(self, row: tuple[ImageRecords, int]) -> None:
        """Add the detections of an image."""
        self.state["images"] += row[0]
        self.state["num_gt"] += row[1]

    def compute(self) -> dict[str, float]:
        """Compute :func:`calibration_scores` of all images."""
        detections = self.state["images"].sorted("detections")
        scores, right = detections["score"], detections["right"]
        half = detections["image"] % 2
        threshold, f1 = best_f1(scores, right, int(self.state["num_gt"][0]))
        scale, shift = _platt_or_nan(scores, right)
        crossed = np.full(len(scores), np.nan)
        for part in (0, 1):
            fitted = _platt_or_nan(scores[half != part], right[half != part])
            crossed[half == part] = platt_scaled(scores[half == part], *fitted)
        unknown = np.isnan(crossed).any()
        left = float("nan") if unknown else expected_calibration_error(crossed, right)
        return {
            "ece": 100 * expected_calibration_error(scores, right),
            "ece_platt": 100 * left,
            "threshold": threshold,
            "f1": 100 * f1,
            "platt_scale": scale,
            "platt_shift": shift,
        }


def _iou(found: Sequence[dict] | np.ndarray, truth: Sequence[dict] | np.ndarray) -> np.ndarray:
    if isinstance(found, np.ndarray):
        return mask_iou(found, truth)
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return np.asarray(mask_utils.iou(list(found), list(truth), [0] * len(truth)))


def _platt_or_nan(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    if right.all() or not right.any():
        return float("nan"), float("nan")
    return fit_platt(scores, right)


def expected_calibration_error(scores, right, *, bins: int = 10) -> float:
    """Compute the expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017).

    Scores are divided into bins of equal width; the error is the mean, weighted by the number of
    detections, of the absolute difference between mean score and accuracy of each bin.

    Args:
        scores: (P,) in [0, 1].
        right: bool (P,).
        bins: number of bins.

    Returns:
        Fraction in [0, 1]; NaN without detections.

    Raises:
        ValueError: scores outside [0, 1], or different shapes.
    """
    scores, right = _checked(scores, right)
    if not len(scores):
        return float("nan")
    place = np.minimum((scores * bins).astype(int), bins - 1)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (scores, right)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(scores))


def fit_platt(scores, right) -> tuple[float, float]:
    """Fit the scale and shift of Platt scaling (Platt, 1999) by maximum likelihood.

    The calibrated score is expit(scale * logit(score) + shift). Platt's smoothed targets keep the
    parameters finite if the scores separate the classes perfectly.

    Args:
        scores: (P,) in [0, 1].
        right: bool (P,), with both values.

    Returns:
        scale, shift.

    Raises:
        ValueError: as `expected_calibration_error`, or all values of `right` are equal.
    """
    scores, right = _checked(scores, right)
    positive = int(right.sum())
    if not 0 < positive < len(right):
        raise ValueError(
            f"calibration needs right and wrong detections, got {positive} right of {len(right)}"
        )
    x = logit(np.clip(scores, LIMIT, 1 - LIMIT))
    high, low = (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2)
    target = np.where(right, high, low)

    def loss(parameters):
        z = parameters[0] * x + parameters[1]
        value = (np.logaddexp(0, z) - target * z).mean()
        error = expit(z) - target
        return value, np.array([(error * x).mean(), error.mean()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return float(found.x[0]), float(found.x[1])


def platt_scaled(scores, scale: float, shift: float) -> np.ndarray:
    """Apply Platt scaling: return float (P,) expit(scale * logit(score) + shift)."""
    x = logit(np.clip(np.asarray(scores, float), LIMIT, 1 - LIMIT))
    return expit(scale * x + shift)


def best_f1(scores, right, num_gt: int) -> tuple[float, float]:
    """Find the score threshold with the best F1.

    Args:
        scores: (P,); detections with at least the threshold are kept.
        right: bool (P,).
        num_gt: number of ground-truth instances, matched or not.

    Returns:
        The threshold, one of the scores, and F1 as a fraction; NaN and 0 without correct
        detections.
    """
    scores, right = _checked(scores, right)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    if not len(hits) or not hits[-1]:
        return float("nan"), 0.0
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + num_gt)
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # keep all of equal scores
    best = int(np.argmax(np.where(last, f1, -1)))
    return float(scores[order][best]), float(f1[best])


def _checked(scores, right) -> tuple[np.ndarray, np.ndarray]:
    scores, right = np.asarray(scores, float), np.asarray(right, bool)
    if scores.ndim != 1 or scores.shape != right.shape:
        raise ValueError(f"scores and right must be (P,), got {scores.shape} and {right.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    return scores, right
