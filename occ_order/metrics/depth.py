"""Depth metrics: KITTI errors, scale-and-shift alignment, and the ordinal pairs of DIW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from occ_order.metrics.matrices import mean_or_nan
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums

DEPTH_ERRORS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "d1", "d2", "d3", "silog")


def disparity_to_depth(disparity: np.ndarray) -> np.ndarray:
    """Convert a disparity map of unknown scale to relative depth, as published for KITTI.

    depth = 1 / ((disparity - min) / max + 1e-3). The result has no unit: it has to be scaled to
    the median of the ground truth before computing errors.

    Args:
        disparity: (H, W), larger = nearer.

    Returns:
        float64 (H, W), larger = farther.

    Raises:
        ValueError: not (H, W), empty, not finite, or no positive value.
    """
    disparity = np.asarray(disparity, float)
    if disparity.ndim != 2 or disparity.size == 0:
        raise ValueError(f"disparity must have shape (H, W), got {disparity.shape}")
    if not np.isfinite(disparity).all() or disparity.max() <= 0:
        raise ValueError("disparity must be finite and positive somewhere")
    return 1.0 / ((disparity - disparity.min()) / disparity.max() + 1e-3)


def depth_errors(
    gt: np.ndarray,
    pred: np.ndarray,
    *,
    scale: str = "median",
    min_depth: float = 1e-3,
    max_depth: float = 80.0,
) -> dict[str, float]:
    """Compute the KITTI depth errors of an image.

    Over the pixels with min_depth <= gt <= max_depth, after scaling the prediction by
    median(gt) / median(pred) and clipping it to [min_depth, max_depth]; with e = pred - gt and
    l = ln pred - ln gt: abs_rel = mean |e| / gt, sq_rel = mean e^2 / gt, rmse = sqrt mean e^2,
    rmse_log = sqrt mean l^2, silog = sqrt(mean l^2 - (mean l)^2) (not times 100), and d1, d2, d3 =
    fraction of pixels with max(pred / gt, gt / pred) < 1.25, 1.25^2, 1.25^3.

    Args:
        gt: (H, W) metres, 0 = no measurement; cropped (`occ_order.formats.kitti_depth.kb_crop`)
            if required by the benchmark.
        pred: (H, W), larger = farther; metres, or any unit with scale "median".
        scale: "median" or "none".
        min_depth: metres.
        max_depth: metres.

    Returns:
        The eight errors of `DEPTH_ERRORS`; all NaN without valid pixels.

    Raises:
        ValueError: different shapes (both are printed), not two-dimensional, prediction not finite
            or with a non-positive median, unknown scale, limits not 0 < min < max.
    """
    gt, pred = np.asarray(gt, float), np.asarray(pred, float)
    if gt.ndim != 2 or gt.shape != pred.shape:
        raise ValueError(f"gt {gt.shape} and pred {pred.shape} must have one shape (H, W)")
    if scale not in ("median", "none"):
        raise ValueError(f"scale must be 'median' or 'none', got {scale!r}")
    if not 0 < min_depth < max_depth:
        raise ValueError(f"need 0 < min_depth < max_depth, got {min_depth} and {max_depth}")
    valid = (gt >= min_depth) & (gt <= max_depth)
    if not valid.any():
        return dict.fromkeys(DEPTH_ERRORS, float("nan"))
    gt, pred = gt[valid], pred[valid]
    if not np.isfinite(pred).all():
        raise ValueError("pred is not finite at a pixel with ground truth")
    if scale == "median":
        if np.median(pred) <= 0:
            raise ValueError(f"median of pred is {np.median(pred)}: expected positive depths")
        pred = pred * (np.median(gt) / np.median(pred))
    return _errors(gt, np.clip(pred, min_depth, max_depth))


def _errors(gt: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    """Compute `DEPTH_ERRORS` of two vectors of positive depths."""
    error, log_error = pred - gt, np.log(pred) - np.log(gt)
    worst = np.maximum(pred / gt, gt / pred)
    values = (
        (np.abs(error) / gt).mean(),
        (error**2 / gt).mean(),
        np.sqrt((error**2).mean()),
        np.sqrt((log_error**2).mean()),
        *((worst < 1.25**power).mean() for power in (1, 2, 3)),
        np.sqrt(max((log_error**2).mean() - log_error.mean() ** 2, 0.0)),
    )
    return {name: float(value) for name, value in zip(DEPTH_ERRORS, values, strict=True)}


def mean_depth_errors(images) -> dict[str, float]:
    """Average the errors of several images.

    Args:
        images: list of results of `depth_errors`.

    Returns:
        The same keys; images with NaN are ignored; NaN if there are no others.
    """
    images = list(images)
    return {name: mean_or_nan([image[name] for image in images]) for name in DEPTH_ERRORS}


def align_scale_shift(pred: np.ndarray, target: np.ndarray, *, mask=None) -> tuple[float, float]:
    """Compute the least-squares scale s and shift t with s * pred + t close to target.

    The usual alignment for the evaluation of relative depth: for a predicted disparity, the target
    is 1 / depth.

    Args:
        pred: (H, W).
        target: (H, W).
        mask: bool (H, W), valid pixels; None = all.

    Returns:
        (s, t). (0, mean of the target) if the prediction is constant; NaN without pixels.

    Raises:
        ValueError: different shapes (all are printed), or a non-finite value in the mask.
    """
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    mask = np.ones(pred.shape, bool) if mask is None else np.asarray(mask, bool)
    if not pred.shape == target.shape == mask.shape:
        raise ValueError(
            f"pred {pred.shape}, target {target.shape} and mask {mask.shape} must have one shape"
        )
    pred, target = pred[mask], target[mask]
    if pred.size == 0:
        return float("nan"), float("nan")
    if not (np.isfinite(pred).all() and np.isfinite(target).all()):
        raise ValueError("pred and target must be finite inside the mask")
    centred = pred - pred.mean()
    power = (centred**2).sum()
    scale = (centred * (target - target.mean())).sum() / power if power > 0 else 0.0
    return float(scale), float(target.mean() - scale * pred.mean())


def aligned_depth(
    disparity: np.ndarray, gt: np.ndarray, *, min_depth: float = 1e-3, max_depth: float = 80.0
) -> np.ndarray:
    """Compute metric depth from a disparity map of unknown scale and shift by alignment.

    Scale and shift are those of `align_scale_shift` to 1 / gt, over the pixels with
    min_depth <= gt <= max_depth. A negative scale, which would invert the order of depths, is
    replaced by 0, which results in a constant map.

    Args:
        disparity: (H, W), larger = nearer.
        gt: (H, W) metres, 0 = no measurement.
        min_depth, max_depth: metres; the result is clipped to them.

    Returns:
        float64 (H, W) metres; NaN without valid pixels.

    Raises:
        ValueError: different shapes, or a disparity that is not finite.
    """
    disparity, gt = np.asarray(disparity, float), np.asarray(gt, float)
    valid = _valid(disparity, gt, min_depth, max_depth)
    inverse = np.divide(1.0, gt, out=np.zeros_like(gt), where=valid)
    scale, shift = align_scale_shift(disparity, inverse, mask=valid)
    if scale < 0:
        scale, shift = 0.0, inverse[valid].mean()
    return 1.0 / np.clip(scale * disparity + shift, 1.0 / max_depth, 1.0 / min_depth)


def disparity_correlation(
    disparity: np.ndarray, gt: np.ndarray, *, min_depth: float = 1e-3, max_depth: float = 80.0
) -> float:
    """Compute Pearson's correlation of a disparity map with 1 / gt over the valid pixels.

    Args:
        disparity: (H, W), larger = nearer.
        gt: (H, W) metres, 0 = no measurement.
        min_depth, max_depth: metres.

    Returns:
        In [-1, 1]; 0 for a constant map, NaN if the ground truth is constant or has no valid pixel.

    Raises:
        ValueError: different shapes, or a disparity that is not finite.
    """
    disparity, gt = np.asarray(disparity, float), np.asarray(gt, float)
    valid = _valid(disparity, gt, min_depth, max_depth)
    if not valid.any():
        return float("nan")
    pred, truth = (values - values.mean() for values in (disparity[valid], 1.0 / gt[valid]))
    if not truth.any():
        return float("nan")
    power = np.sqrt((pred**2).sum() * (truth**2).sum())
    return float((pred * truth).sum() / power) if power > 0 else 0.0


def _valid(pred: np.ndarray, gt: np.ndarray, min_depth: float, max_depth: float) -> np.ndarray:
    """Return bool (H, W): pixels with ground truth; raise ValueError for different shapes."""
    if gt.ndim != 2 or gt.shape != pred.shape:
        raise ValueError(f"gt {gt.shape} and pred {pred.shape} must have one shape (H, W)")
    if not np.isfinite(pred).all():
        raise ValueError("disparity has values that are not finite")
    return (gt >= min_depth) & (gt <= max_depth)


def diw_relation(disparity: np.ndarray, point_a, point_b, *, size=None) -> str:
    """Determine which of two points of a disparity map is nearer.

    Args:
        disparity: (h, w), larger = nearer.
        point_a: (y, x), 0-based, in the image.
        point_b: (y, x).
        size: (H, W) of the image; a disparity map of another size is resized bilinearly.

    Returns:
        "<" if A is nearer, ">" otherwise (also for equal disparities).

    Raises:
        ValueError: not (h, w), or a point outside the image.
    """
    disparity = np.asarray(disparity, np.float32)
    if disparity.ndim != 2 or disparity.size == 0:
        raise ValueError(f"disparity must have shape (h, w), got {disparity.shape}")
    if size is not None and tuple(size) != disparity.shape:
        disparity = cv2.resize(disparity, (int(size[1]), int(size[0])))
    for name, (y, x) in (("A", point_a), ("B", point_b)):
        if not (0 <= y < disparity.shape[0] and 0 <= x < disparity.shape[1]):
            raise ValueError(f"point {name} (y {y}, x {x}) lies outside {disparity.shape}")
    (ya, xa), (yb, xb) = point_a, point_b
    return "<" if disparity[int(ya), int(xa)] > disparity[int(yb), int(xb)] else ">"


def diw_whdr(gt, pred) -> float:
    """Compute the disagreement rate of Depth in the Wild: percentage of wrong relations.

    Args:
        gt: list of "<" (A nearer) or ">".
        pred: list of the same, from `diw_relation`.

    Returns:
        Percent; NaN without pairs.

    Raises:
        ValueError: lists of different lengths, or another character.
    """
    gt, pred = list(gt), list(pred)
    if len(gt) != len(pred):
        raise ValueError(f"{len(gt)} relations and {len(pred)} predictions")
    unknown = set(gt + pred) - {"<", ">"}
    if unknown:
        raise ValueError(f"relations must be '<' or '>', got {sorted(map(str, unknown))}")
    return 100.0 * mean_or_nan([a != b for a, b in zip(gt, pred, strict=True)])


class DepthMapScorer(Scorer[dict[str, Any]]):
    """Disparity maps vs. measured depth over a data set.

    Args:
        max_depth: metres; see :func:`depth_errors`.
    """

    def __init__(self, *, max_depth: float = 80.0) -> None:
        super().__init__(max_depth=max_depth)

    def empty(self) -> dict[str, Any]:
        """Return the state: sums of the errors of the images."""
        sizes = {"median": len(DEPTH_ERRORS), "aligned": len(DEPTH_ERRORS), "correlation": 1}
        return {name: ExactSums(size) for name, size in sizes.items()}

    def row(self, truth: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
        """Return the errors of an image.

        Args:
            truth: (H, W) metres, 0 = no measurement.
            prediction: (H, W) disparity, larger = nearer, up to scale.

        Raises:
            ValueError: as :func:`depth_errors` and :func:`aligned_depth`.
        """
        truth, disparity = np.asarray(truth, float), np.asarray(prediction, float)
        # A map of zeros cannot be converted to depth; use the same depth everywhere.
        flat = disparity.size and disparity.max() <= 0
        relative = np.ones_like(truth) if flat else disparity_to_depth(disparity)
        aligned = aligned_depth(disparity, truth, **self.options)
        return {
            "median": depth_errors(truth, relative, **self.options),
            "aligned": depth_errors(truth, aligned, scale="none", **self.options),
            "correlation": disparity_correlation(disparity, truth, **self.options),
        }

    def add(self, row: dict[str, Any]) -> None:
        """Add the errors of an image."""
        for name in ("median", "aligned"):
            self.state[name].add([row[name][error] for error in DEPTH_ERRORS])
        self.state["correlation"].add([row["correlation"]])

    def compute(self) -> dict[str, Any]:
        """Return means over the images with valid pixels.

        Returns:
            {"median": errors after scaling to the median of the ground truth, as published for
            KITTI, "aligned": errors after least-squares scale and shift of the disparity,
            "correlation": with 1 / depth}; see `DEPTH_ERRORS` for the errors.
        """
        means = {name: sums.means().tolist() for name, sums in self.state.items()}
        return {
            "median": dict(zip(DEPTH_ERRORS, means["median"], strict=True)),
            "aligned": dict(zip(DEPTH_ERRORS, means["aligned"], strict=True)),
            "correlation": means["correlation"][0],
        }


class DIWScorer(Scorer[tuple[str, str]]):
    """Relations of the two points in each image of Depth in the Wild."""

    def empty(self) -> dict[str, Any]:
        """Return the state: numbers of correct and wrong relations."""
        return {"counts": np.zeros(2, np.int64)}

    def row(self, truth: Mapping[str, Any], prediction: np.ndarray) -> tuple[str, str]:
        """Return the ground-truth and the predicted relation of an image.

        Args:
            truth: "relation", and "point_a" and "point_b", (y, x).
            prediction: (H, W) disparity, larger = nearer.
        """
        points = truth["point_a"], truth["point_b"]
        return truth["relation"], diw_relation(prediction, *points)

    def add(self, row: tuple[str, str]) -> None:
        """Add the relations of an image.

        Raises:
            ValueError: as :func:`diw_whdr`.
        """
        truth, said = row
        wrong = diw_whdr([truth], [said]) > 0
        self.state["counts"] += (not wrong, wrong)

    def compute(self) -> dict[str, float]:
        """Return {"correct", "wrong"}: number of images, and "whdr": percentage of wrong ones."""
        correct, wrong = self.state["counts"].tolist()
        rate = 100.0 * (wrong / (correct + wrong)) if correct + wrong else float("nan")
        return {"correct": float(correct), "wrong": float(wrong), "whdr": rate}
