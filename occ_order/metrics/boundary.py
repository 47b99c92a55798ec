"""Evaluation of oriented occlusion boundaries (POR), the protocol of DOC and DOOBNet.

Used by "Occlusion-Ordered Semantic Instance Segmentation", Table 3 and supplement 1.4. Maps with
four channels are ordered left, right, top, bottom and refer to the occluder (see
`occ_order.targets.oriented_boundary`). Scores are fractions in [0, 1].

Shapes: ``I`` images, ``T`` thresholds, ``H, W`` image size.

Non-maximum suppression is applied once to the boundary probability (`edge_nms`). At every
threshold, the remaining pixels are matched one-to-one to ground-truth boundary pixels
(`match_points`), which results in four counts per image and threshold (`boundary_counts`). Scores
are computed from the pooled counts (`boundary_summary`), so that images can be evaluated in
parallel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order.metrics.boundary_matching import assign, candidate_pairs, occluder_theta
from occ_order.metrics.scorer import Scorer
from occ_order.targets.edge_nms import check_prob, edge_nms

MAX_DISTANCE = 0.0075
"""Maximum distance of a match, as a fraction of the image diagonal."""

COUNT_COLUMNS = ("matched", "oriented", "gt", "pred")
"""Last axis of the counts: matches, matches with correct orientation, ground-truth pixels and
predicted pixels. Since matching is one-to-one, "matched" applies to both recall and precision."""


BoundaryMaps = tuple[np.ndarray, np.ndarray]


def boundary_counts(
    gt: BoundaryMaps,
    pred: BoundaryMaps,
    *,
    thresholds: int | np.ndarray = 99,
    max_distance: float = MAX_DISTANCE,
    thin: bool = True,
    border: int = 5,
) -> np.ndarray:
    """Count matched and unmatched boundary pixels of an image at every threshold.

    Args:
        gt: ``(boundary, orientation)``, bool (H, W) and float (4, H, W), as
            `occ_order.targets.oriented_boundary` returns them.
        pred: ``(boundary_prob, orientation_prob)``, float (H, W) in [0, 1] and float (4, H, W);
            only the ratio of orientation channels matters.
        thresholds: T for the evenly spaced values k / (T + 1), or the ascending values. A pixel
            counts if its probability after non-maximum suppression reaches the threshold.
        max_distance: maximum distance of a match, as a fraction of the image diagonal.
        thin: apply `edge_nms`; False for maps that are thin already.
        border: width of the border ramp of `edge_nms`.

    Returns:
        int64 (T, 4), columns as `COUNT_COLUMNS`.

    Raises:
        ValueError: inconsistent shapes, NaN, probabilities outside [0, 1], thresholds that are
            not ascending in (0, 1].
    """
    thresholds = threshold_values(thresholds)
    boundary, orientation = _check_gt(gt)
    prob, pred_orientation = _check_pred(pred, boundary.shape)
    if thin:
        prob = edge_nms(prob, min_prob=thresholds[0], border=border)
    gt_at, pred_at = np.nonzero(boundary), np.nonzero(prob >= thresholds[0])
    value = prob[pred_at]
    descending = np.argsort(-value, kind="stable")
    value, pred_at = value[descending], tuple(index[descending] for index in pred_at)
    # The points of each threshold are a prefix of these points: compute distances only once.
    candidates = candidate_pairs(
        np.stack(gt_at, axis=1),
        np.stack(pred_at, axis=1),
        occluder_theta(orientation[:, gt_at[0], gt_at[1]]),
        occluder_theta(pred_orientation[:, pred_at[0], pred_at[1]]),
        max_distance * float(np.hypot(*boundary.shape)),
    )
    num_pred = np.searchsorted(-value.astype(np.float64), -thresholds, side="right")
    counts = np.zeros((len(thresholds), 4), dtype=np.int64)
    for row, num in enumerate(num_pred):
        if row and num == num_pred[row - 1]:
            counts[row] = counts[row - 1]
            continue
        edges = assign(candidates, len(gt_at[0]), int(num))
        counts[row] = len(edges), candidates.right[edges].sum(), len(gt_at[0]), num
    return counts


def boundary_scores(
    gt: list[BoundaryMaps],
    pred: list[BoundaryMaps],
    *,
    thresholds: int | np.ndarray = 99,
    max_distance: float = MAX_DISTANCE,
    thin: bool = True,
    border: int = 5,
) -> dict[str, float]:
    """Compute POR and boundary scores of a data set: ODS, OIS, AP (supplement 1.4, Table 3).

    Args:
        gt: ``(boundary, orientation)`` of each image, bool (H, W) and float (4, H, W).
        pred: ``(boundary_prob, orientation_prob)`` of each image, float (H, W) and (4, H, W).
        thresholds: number of evenly spaced thresholds (99; DOC used 33), or their values.
        max_distance: maximum distance of a match, as a fraction of the image diagonal.
        thin: apply `edge_nms` to the predicted probability.
        border: width of the border ramp of `edge_nms`, which reduces the probability near the
            image border, to 0 on the border itself; 0 turns it off.

    Returns:
        As `boundary_summary`.

    Raises:
        ValueError: lists of different lengths, or an error of `boundary_counts`, with the index
            of the image.
    """
    if len(gt) != len(pred):
        raise ValueError(f"{len(gt)} ground-truth images but {len(pred)} predictions")
    scorer = BoundaryScorer(
        thresholds=thresholds, max_distance=max_distance, thin=thin, border=border
    )
    for index, (truth, guess) in enumerate(zip(gt, pred, strict=True)):
        try:
            scorer.update(truth, guess)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return scorer.compute()


class BoundaryScorer(Scorer[np.ndarray]):
    """POR and boundary scores of a data set.

    Args:
        thresholds: see :func:`boundary_counts`.
        options: options of :func:`boundary_counts`: max_distance, thin, border.
    """

    def __init__(self, *, thresholds: int | np.ndarray = 99, **options: Any) -> None:
        super().__init__(thresholds=threshold_values(thresholds).tolist(), **options)

    @property
    def thresholds(self) -> np.ndarray:
        """The thresholds, float64 (T,)."""
        return np.array(self.options["thresholds"])

    def empty(self) -> dict[str, Any]:
        """Return the state: counts at each threshold, and at the best one of each image."""
        shape = len(self.options["thresholds"]), len(COUNT_COLUMNS)
        return {"pooled": np.zeros(shape, np.int64), "best": np.zeros((2, 4), np.int64)}

    def row(self, truth: BoundaryMaps, prediction: BoundaryMaps) -> np.ndarray:
        """Return the :func:`boundary_counts` of one image."""
        return boundary_counts(truth, prediction, **self.options)

    def add(self, row: np.ndarray) -> None:
        """Add the counts of an image, int64 (T, 4)."""
        self.state["pooled"] += row
        self.state["best"] += _best_counts(row[None])

    def curves(self) -> dict[str, np.ndarray]:
        """Return the :func:`boundary_curves` of all images."""
        return boundary_curves(self.state["pooled"][None])

    def compute(self) -> dict[str, float]:
        """Compute the fractions of :func:`boundary_summary`."""
        return _summary(self.state["pooled"], self.state["best"], self.thresholds)


def boundary_curves(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute pooled curves over the thresholds, for plots.

    Args:
        counts: int (I, T, 4), `boundary_counts` of all images stacked.

    Returns:
        float64 (T,) each: "recall" = matched / gt; "precision" = oriented / pred (POR);
        "boundary_precision" = matched / pred; "orientation" = oriented / matched. NaN if the
        denominator is 0.

    Raises:
        ValueError: `counts` is not (I, T, 4).
    """
    matched, oriented, num_gt, num_pred = _check_counts(counts).sum(axis=0).T
    return {
        "recall": _ratio(matched, num_gt),
        "precision": _ratio(oriented, num_pred),
        "boundary_precision": _ratio(matched, num_pred),
        "orientation": _ratio(oriented, matched),
    }


def boundary_summary(
    counts: np.ndarray, *, thresholds: int | np.ndarray | None = None
) -> dict[str, float]:
    """Compute scores from counts, which can be computed in parallel and concatenated.

    Recall is R = matched / gt. Precision P is oriented / pred for POR and matched / pred for the
    boundary without orientation (prefix ``boundary_``); F = 2 P R / (P + R).

    - ``ods``: maximum F of the pooled counts with one threshold for the whole data set, with 100
      steps of linear interpolation between adjacent thresholds.
    - ``ois``: F of the pooled counts with the best threshold of each image (ties, such as in images
      without ground truth: the threshold with the fewest predictions).
    - ``ap``: mean of the linearly interpolated precision at recall 0, .01, ..., 1; 0 above the
      largest recall, and constant below the smallest one.
    - ``ap_doc``: AP of the published evaluation code, for comparison with published tables: recalls
      below the smallest one also count 0, the sum is divided by 100 (so a perfect curve results in
      1.01), and a curve with a single recall value results in 0.
    - ``aor``: oriented / matched at the threshold with the best boundary F.

    Args:
        counts: int (I, T, 4), columns as `COUNT_COLUMNS`.
        thresholds: thresholds of the counts; adds ``ods_threshold``, the threshold of ``ods``, to
            the result.

    Returns:
        "ods", "ois", "ap", "ap_doc", "boundary_ods", "boundary_ois", "boundary_ap",
        "boundary_ap_doc", "aor" and, with `thresholds`, "ods_threshold". All are NaN without any
        ground-truth boundary, and 0 without any predicted one ("aor" is then NaN).

    Raises:
        ValueError: `counts` is not (I, T, 4), or T differs from the number of thresholds.
    """
    counts = _check_counts(counts)
    values = None if thresholds is None else threshold_values(thresholds)
    if values is not None and len(values) != counts.shape[1]:
        raise ValueError(f"{len(values)} thresholds but counts of {counts.shape[1]}")
    return _summary(counts.sum(axis=0), _best_counts(counts), values)


def _summary(pooled: np.ndarray, best: np.ndarray, values: np.ndarray | None) -> dict[str, float]:
    """Compute `boundary_summary` from the counts of all images (T, 4) and `_best_counts`."""
    scores = {}
    for prefix, columns, chosen in zip(("", "boundary_"), _RECALL_PRECISION, best, strict=True):
        triple = pooled[:, columns]
        f, position = _best_dataset_f(triple)
        scores[f"{prefix}ods"] = f
        scores[f"{prefix}ois"] = float(_f_measure(chosen))
        ap, ap_doc = _average_precision(triple)
        scores[f"{prefix}ap"], scores[f"{prefix}ap_doc"] = ap, ap_doc
        if prefix == "" and values is not None:
            scores["ods_threshold"] = float(np.interp(position, np.arange(len(values)), values))
    has_gt = pooled[:, 2].any()
    place = int(np.argmax(_f_measure(pooled[:, _RECALL_PRECISION[1]])))
    scores["aor"] = float(boundary_curves(pooled[None])["orientation"][place])
    return {name: float(score) if has_gt else float("nan") for name, score in scores.items()}


def threshold_values(thresholds: int | np.ndarray) -> np.ndarray:
    """Return thresholds as an array: ``k / (T + 1)``, k = 1..T, for a number T.

    Args:
        thresholds: number of thresholds, or ascending values in (0, 1].

    Returns:
        float64 (T,).

    Raises:
        ValueError: no threshold, or values that are not strictly ascending in (0, 1].
    """
    if isinstance(thresholds, int | np.integer):
        if thresholds < 1:
            raise ValueError(f"at least one threshold is needed, got {thresholds}")
        return np.arange(1, thresholds + 1) / (thresholds + 1)
    values = np.asarray(thresholds, dtype=np.float64)
    inside = values.ndim == 1 and values.size and values[0] > 0 and values[-1] <= 1
    if not inside or not (np.diff(values) > 0).all():
        raise ValueError(f"thresholds must be strictly ascending in (0, 1], got {values}")
    return values


_RECALL_PRECISION = ([0, 2, 1, 3], [0, 2, 0, 3])
"""Columns of the counts of POR and of the boundary without orientation, so that the last axis is
(recall hits, gt, precision hits, pred), as the functions below take it."""


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _recall_precision(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision; undefined ratios are 0, as in the published evaluation."""
    counts = np.asarray(counts, dtype=np.float64)
    recall = counts[..., 0] / np.maximum(counts[..., 1], 1)
    return recall, counts[..., 2] / np.maximum(counts[..., 3], 1)


def _f_of(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).eps)


def _f_measure(counts: np.ndarray) -> np.ndarray:
    return _f_of(*_recall_precision(counts))


def _best_dataset_f(counts: np.ndarray) -> tuple[float, float]:
    """Return the maximum interpolated F over the thresholds and its (fractional) index."""
    recall, precision = _recall_precision(counts)
    if len(recall) == 1:
        return float(_f_of(recall, precision)[0]), 0.0
    step = np.linspace(0, 1, 100)
    f = _f_of(
        recall[1:, None] * step + recall[:-1, None] * (1 - step),
        precision[1:, None] * step + precision[:-1, None] * (1 - step),
    )
    best = np.unravel_index(np.argmax(f), f.shape)
    return float(f[best]), float(best[0] + step[best[1]])


def _best_counts(counts: np.ndarray) -> np.ndarray:
    """Sum the counts (I, T, 4) of the images, each at its threshold with the best F.

    Returns:
        int64 (2, 4): with the best POR F, with the best F without orientation; last axis as
        `_RECALL_PRECISION`.
    """
    sums = []
    for columns in _RECALL_PRECISION:
        of_kind = counts[..., columns]
        # Of equal values the last one, which has the fewest predictions.
        best = counts.shape[1] - 1 - np.argmax(_f_measure(of_kind)[:, ::-1], axis=1)
        sums.append(of_kind[np.arange(len(counts)), best].sum(axis=0))
    return np.stack(sums)


def _average_precision(counts: np.ndarray) -> tuple[float, float]:
    """Return `ap` and `ap_doc` of pooled counts (T, 4)."""
    grid = np.linspace(0, 1, 101)
    recall, precision = _recall_precision(counts)
    recall_doc, first = np.unique(recall, return_index=True)
    ap_doc = 0.0
    if len(recall_doc) > 1:
        ap_doc = np.interp(grid, recall_doc, precision[first], left=0, right=0).sum() / 100
    # Without predictions, precision is undefined rather than 0.
    predicted = counts[:, 3] > 0
    if not predicted.any():
        return 0.0, ap_doc
    recall, first = np.unique(recall[predicted], return_index=True)
    ap = np.interp(grid, recall, precision[predicted][first], right=0).mean()
    return float(ap), float(ap_doc)


def _check_counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[1] == 0 or counts.shape[2] != 4:
        raise ValueError(f"counts must be (I, T, 4) with T >= 1, got shape {counts.shape}")
    return counts


def _check_gt(gt: BoundaryMaps) -> BoundaryMaps:
    boundary, orientation = (np.asarray(part) for part in gt)
    if boundary.dtype != np.bool_ or boundary.ndim != 2:
        raise ValueError(
            f"ground-truth boundary must be bool (H, W), got {boundary.dtype} {boundary.shape}"
        )
    if orientation.shape != (4, *boundary.shape):
        raise ValueError(
            f"ground-truth orientation must be {(4, *boundary.shape)}, got {orientation.shape}"
        )
    return boundary, orientation


def _check_pred(pred: BoundaryMaps, shape: tuple[int, ...]) -> BoundaryMaps:
    prob, orientation = check_prob(pred[0], "boundary_prob", 2), np.asarray(pred[1])
    if prob.shape != shape or orientation.shape != (4, *shape):
        raise ValueError(
            f"prediction must be {shape} and {(4, *shape)} as the ground truth, "
            f"got {prob.shape} and {orientation.shape}"
        )
    if np.isnan(orientation).any():
        raise ValueError("orientation_prob must not be NaN")
    return prob, orientation
