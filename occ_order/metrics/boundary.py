"""Scores of occlusion boundaries with orientation (POR), the protocol of DOC and DOOBNet.

Used by "Occlusion-Ordered Semantic Instance Segmentation", Table 3 and supplement 1.4. Four-channel
maps are ordered left, right, top, bottom and speak about the occluder (see
`occ_order.targets.oriented_boundary`). Scores are fractions in [0, 1].

Shape shorthand: ``I`` images, ``T`` thresholds, ``H, W`` image size.

The boundary probability is thinned once (`edge_nms`). At every threshold the remaining pixels are
matched one to one with the ground-truth boundary pixels (`match_points`), which gives four counts
an image and threshold (`boundary_counts`); they are pooled and turned into scores at the end
(`boundary_summary`), so processes can count apart and concatenate.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

MAX_DISTANCE = 0.0075
"""Largest distance of a matched pair, as a share of the image diagonal."""

COUNT_COLUMNS = ("matched", "oriented", "gt", "pred")
"""Last axis of the counts: matched pairs, those of them with the right orientation, ground-truth
pixels, predicted pixels. Matching is one to one, so "matched" serves recall and precision."""

_OUTLIER_COST = 100.0
# Decides between equally short matchings only: thousands of them stay below one pixel.
_WRONG_ORIENTATION_COST = 1e-6
_HALF_TURN_TOLERANCE = 1e-6

BoundaryMaps = tuple[np.ndarray, np.ndarray]


# ------------------------------------------------------------------------------------ thinning


def edge_nms(
    prob: np.ndarray,
    *,
    min_prob: float = 0.0,
    margin: float = 1.01,
    border: int = 5,
) -> np.ndarray:
    """Thins a boundary probability map across the direction of its ridges.

    The non-maximum suppression of structured edge detection (Dollar & Zitnick) that the boundary
    evaluations of DOC and DOOBNet use: the normal of a ridge comes from second derivatives of the
    map smoothed by a triangle filter of radius 4, and a pixel is dropped if `margin` times its
    value is smaller than the bilinearly interpolated value one pixel away on either side.

    Args:
        prob: float (H, W) in [0, 1].
        min_prob: pixels below are dropped without a look; raises speed, not results, when all
            later thresholds are at least this high.
        margin: ties and differences below 1 % survive with the default.
        border: values in this many rows and columns along the image border are scaled down by
            0, 1/border, 2/border, ... counted from the border, as the original does against
            spurious responses there. 0 leaves them.

    Returns:
        float32 (H, W): 0 where dropped.

    Raises:
        ValueError: not (H, W), NaN, or values outside [0, 1].
    """
    prob = _check_prob(prob, "prob", 2)
    height, width = prob.shape
    thinned = np.zeros_like(prob)
    rows, cols = np.nonzero((prob > 0) & (prob >= min_prob))
    if len(rows) == 0:
        return thinned
    angle = _ridge_normal(prob, rows, cols)
    dx, dy = np.cos(angle), np.sin(angle)
    value = prob[rows, cols]
    keep = np.ones(len(rows), dtype=bool)
    for side in (-1, 1):
        keep &= margin * value >= _bilinear(prob, rows + side * dy, cols + side * dx)
    thinned[rows[keep], cols[keep]] = value[keep]
    if border:
        thinned *= _border_ramp(height, border)[:, None]
        thinned *= _border_ramp(width, border)[None, :]
    return thinned


def _ridge_normal(prob: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Angle of the direction across the ridge at some pixels, radians in [0, pi)."""
    kernel = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / 25
    smooth = cv2.sepFilter2D(prob, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    d_dx, d_dy = _derivative(smooth, 1), _derivative(smooth, 0)
    dxx, dxy, dyy = (
        derivative[rows, cols]
        for derivative in (_derivative(d_dx, 1), _derivative(d_dx, 0), _derivative(d_dy, 0))
    )
    # The sign of a vanishing mixed derivative counts as +1: 0 would turn the normal of an exactly
    # horizontal ridge by 90 degrees.
    sign = np.where(dxy > 0, -1, 1)
    return np.mod(np.arctan(dyy * sign / (dxx + np.float32(1e-5))), np.pi)


def _derivative(values: np.ndarray, axis: int) -> np.ndarray:
    """Central differences, one-sided at the border; 0 along an axis of length 1."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def _bilinear(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolated values at real coordinates, clamped to just inside the image."""
    height, width = values.shape
    y, x = np.clip(y, 0, max(height - 1.001, 0)), np.clip(x, 0, max(width - 1.001, 0))
    y0, x0 = y.astype(np.intp), x.astype(np.intp)
    y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
    wy, wx = y - y0, x - x0
    top = values[y0, x0] * (1 - wx) + values[y0, x1] * wx
    bottom = values[y1, x0] * (1 - wx) + values[y1, x1] * wx
    return top * (1 - wy) + bottom * wy


def _border_ramp(length: int, border: int) -> np.ndarray:
    """float32 (length,): 0, 1/s, ... s/s, 1 ... and mirrored, s at most half the length."""
    size = min(border, length // 2)
    position = np.arange(length)
    distance = np.minimum(position, length - 1 - position)
    return (
        np.minimum(distance / max(size, 1), 1.0).astype(np.float32)
        if size
        else np.ones(length, dtype=np.float32)
    )


# --------------------------------------------------------------------------------- orientation


def occluder_theta(orientation: np.ndarray) -> np.ndarray:
    """Direction of the boundary, with the occluder on its left (supplement 1.4).

    Of left and right the larger counts, likewise of top and bottom; that gives the normal
    ``(h, v)`` from the occluder to what it occludes, and the boundary runs a quarter turn before
    it. Equal opposite channels cancel. x points right and y down, so a boundary that occludes to
    its right runs up in the picture, theta = -pi / 2.

    Args:
        orientation: float (4, ...), left, right, top, bottom; any common scale.

    Returns:
        float64 (...) radians in (-pi, pi]; NaN where all four cancel and there is no direction.

    Raises:
        ValueError: the first axis is not 4.
    """
    orientation = np.asarray(orientation, dtype=np.float64)
    if orientation.ndim < 1 or orientation.shape[0] != 4:
        raise ValueError(f"orientation must be (4, ...), got shape {orientation.shape}")
    left, right, top, bottom = orientation
    h = np.where(right > left, right, np.where(left > right, -left, 0.0))
    v = np.where(bottom > top, bottom, np.where(top > bottom, -top, 0.0))
    theta = np.arctan2(v, h) - np.pi / 2
    theta = np.where(theta <= -np.pi, theta + 2 * np.pi, theta)
    return np.where((h == 0) & (v == 0), np.nan, theta)


def same_orientation(theta_gt: np.ndarray, theta_pred: np.ndarray) -> np.ndarray:
    """Do two boundary directions differ by at most a quarter turn?

    Args:
        theta_gt: radians, NaN = no direction (an object one pixel wide): everything is right.
        theta_pred: radians, same shape; NaN is right only where `theta_gt` is NaN too.

    Returns:
        bool array.
    """
    # NaN compares false, so an undirected prediction fails here by itself.
    near = np.cos(theta_gt - theta_pred) >= -_HALF_TURN_TOLERANCE
    return near | np.isnan(theta_gt)


# ------------------------------------------------------------------------------------ matching


class _Candidates(NamedTuple):
    """All pairs within reach, sorted by predicted point."""

    gt: np.ndarray  # intp (E,)
    pred: np.ndarray  # intp (E,), ascending
    cost: np.ndarray  # float64 (E,), positive
    right: np.ndarray  # bool (E,), orientations agree
    outlier: float  # cost of leaving a point unmatched


def match_points(
    gt_points: np.ndarray, pred_points: np.ndarray, *, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one correspondence of boundary pixels with the smallest total cost.

    A pair costs its distance and must not be farther apart than `max_distance`; a pixel left over
    costs 100 times `max_distance`, so as many pairs as possible are made and among the ways to do
    that the shortest is taken.

    Args:
        gt_points: (G, 2) coordinates, pixels.
        pred_points: (P, 2).
        max_distance: pixels.

    Returns:
        ``(gt_index, pred_index)``: intp (M,) each, the matched pairs by ascending `pred_index`.

    Raises:
        ValueError: points are not (n, 2), or `max_distance` is negative or not finite.
    """
    if not (np.isfinite(max_distance) and max_distance >= 0):
        raise ValueError(f"max_distance must be finite and >= 0, got {max_distance}")
    gt_points, pred_points = _check_points(gt_points), _check_points(pred_points)
    nothing = np.full(len(gt_points), np.nan), np.full(len(pred_points), np.nan)
    candidates = _candidates(gt_points, pred_points, *nothing, max_distance)
    edges = _assign(candidates, len(gt_points), len(pred_points))
    edges = edges[np.argsort(candidates.pred[edges], kind="stable")]
    return candidates.gt[edges], candidates.pred[edges]


def _candidates(
    gt_points: np.ndarray,
    pred_points: np.ndarray,
    gt_theta: np.ndarray,
    pred_theta: np.ndarray,
    max_distance: float,
) -> _Candidates:
    # Imported here: together they take longer than the rest of this package.
    from scipy.spatial import cKDTree

    if len(gt_points) and len(pred_points):
        found = cKDTree(pred_points).sparse_distance_matrix(
            cKDTree(gt_points), max_distance, output_type="ndarray"
        )
        found = found[np.lexsort((found["j"], found["i"]))]
        pred, gt, distance = found["i"], found["j"], found["v"]
    else:
        pred, gt, distance = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    right = same_orientation(gt_theta[gt], pred_theta[pred])
    # A constant is added because the solver takes weight 0 for "no edge". Every row of the
    # problem gets exactly one partner, so constants do not change which solution is best.
    cost = 1.0 + distance + _WRONG_ORIENTATION_COST * ~right
    return _Candidates(gt, pred, cost, right, 1.0 + _OUTLIER_COST * max(max_distance, 1.0))


def _assign(candidates: _Candidates, num_gt: int, num_pred: int) -> np.ndarray:
    """Edges of the best matching of all ground-truth points with the first `num_pred` points.

    Solved one connected component of the candidate graph at a time: the solver's searches cost
    the square of what they can reach.

    Returns:
        intp (M,) indices of edges in `candidates`.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    num_edges = int(np.searchsorted(candidates.pred, num_pred))
    if num_edges == 0:
        return np.zeros(0, np.intp)
    pred, gt = candidates.pred[:num_edges], candidates.gt[:num_edges]
    num_nodes = num_pred + num_gt
    graph = csr_matrix(
        (np.ones(num_edges, np.int8), (pred, num_pred + gt)), shape=(num_nodes, num_nodes)
    )
    component = connected_components(graph, directed=False)[1][pred]
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    chosen = [part[_assign_component(candidates, part)] for part in parts]
    return np.concatenate(chosen)


def _assign_component(candidates: _Candidates, edges: np.ndarray) -> np.ndarray:
    """bool (len(edges),): the edges of the best matching among some that form a component."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, num_rows = _renumber(candidates.pred[edges])
    cols, num_cols = _renumber(candidates.gt[edges])
    if num_rows > num_cols:
        # The solver adds row after row, and a row that finds no free partner searches everything
        # within reach before it gives up. With the smaller side as rows, few do.
        rows, num_rows, cols, num_cols = cols, num_cols, rows, num_rows
    # Every row may also take a private column at the outlier cost, which makes a full matching
    # exist. Leaving a column out is free, but as pairs come and go together, that is the same
    # problem as one with a cost on both sides.
    private = np.arange(num_rows)
    cost = np.concatenate([candidates.cost[edges], np.full(num_rows, candidates.outlier)])
    matrix = csr_matrix(
        (cost, (np.concatenate([rows, private]), np.concatenate([cols, num_cols + private]))),
        shape=(num_rows, num_cols + num_rows),
    )
    partner = min_weight_full_bipartite_matching(matrix)[1]
    return partner[rows] == cols


def _renumber(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Point numbers squeezed to 0..n-1 in the same order, and n."""
    used = np.zeros(points.max() + 1, dtype=bool)
    used[points] = True
    return (np.cumsum(used) - 1)[points], int(used.sum())


# ----------------------------------------------------------------------------- counts and scores


def boundary_counts(
    gt: BoundaryMaps,
    pred: BoundaryMaps,
    *,
    thresholds: int | np.ndarray = 99,
    max_distance: float = MAX_DISTANCE,
    thin: bool = True,
    border: int = 5,
) -> np.ndarray:
    """Matched and unmatched boundary pixels of one image at every threshold.

    Args:
        gt: ``(boundary, orientation)``, bool (H, W) and float (4, H, W), as
            `occ_order.targets.oriented_boundary` returns them.
        pred: ``(boundary_prob, orientation_prob)``, float (H, W) in [0, 1] and float (4, H, W);
            orientation matters up to scale only.
        thresholds: T evenly spaced values k / (T + 1), or the ascending values themselves. A
            pixel counts if its thinned probability is at least the threshold.
        max_distance: share of the image diagonal.
        thin: apply `edge_nms`; False for maps that are thin already.
        border: border ramp of `edge_nms`.

    Returns:
        int64 (T, 4), columns as `COUNT_COLUMNS`.

    Raises:
        ValueError: shapes that do not fit, NaN, probabilities outside [0, 1], thresholds that are
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
    # Every threshold takes the first few of these points, so distances are computed once.
    candidates = _candidates(
        np.stack(gt_at, axis=1),
        np.stack(pred_at, axis=1),
        occluder_theta(orientation[(slice(None), *gt_at)]),
        occluder_theta(pred_orientation[(slice(None), *pred_at)]),
        max_distance * float(np.hypot(*boundary.shape)),
    )
    num_pred = np.searchsorted(-value.astype(np.float64), -thresholds, side="right")
    counts = np.zeros((len(thresholds), 4), dtype=np.int64)
    for row, num in enumerate(num_pred):
        if row and num == num_pred[row - 1]:
            counts[row] = counts[row - 1]
            continue
        edges = _assign(candidates, len(gt_at[0]), int(num))
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
    """POR and boundary scores of a data set: ODS, OIS, AP (supplement 1.4, Table 3).

    Args:
        gt: per image ``(boundary, orientation)``, bool (H, W) and float (4, H, W).
        pred: per image ``(boundary_prob, orientation_prob)``, float (H, W) and (4, H, W).
        thresholds: how many evenly spaced thresholds (99; DOC used 33), or the values.
        max_distance: share of the image diagonal within which pixels may be matched.
        thin: apply `edge_nms` to the predicted probability.
        border: width of the border ramp of `edge_nms`. Boundary pixels closer to the image border
            lose probability, on the border itself all of it; 0 turns this off.

    Returns:
        As `boundary_summary`.

    Raises:
        ValueError: lists of different lengths, or an image that `boundary_counts` refuses (its
            index is named).
    """
    if len(gt) != len(pred):
        raise ValueError(f"{len(gt)} ground-truth images but {len(pred)} predictions")
    values = threshold_values(thresholds)
    counts = np.zeros((len(gt), len(values), 4), dtype=np.int64)
    for index, (truth, guess) in enumerate(zip(gt, pred, strict=True)):
        try:
            counts[index] = boundary_counts(
                truth,
                guess,
                thresholds=values,
                max_distance=max_distance,
                thin=thin,
                border=border,
            )
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return boundary_summary(counts, thresholds=values)


def boundary_curves(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Pooled curves over the thresholds, for plots.

    Args:
        counts: int (I, T, 4), `boundary_counts` of all images stacked.

    Returns:
        float64 (T,) each: "recall" = matched / gt; "precision" = oriented / pred (POR);
        "boundary_precision" = matched / pred; "orientation" = oriented / matched. NaN where the
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
    """Scores from counts, which processes can compute apart and concatenate along images.

    With R = matched / gt in all of them, precision is oriented / pred for POR and matched / pred
    for the boundary alone (prefix ``boundary_``); F = 2 P R / (P + R).

    - ``ods``: largest F of the pooled counts over one threshold for the whole data set, linearly
      interpolated in 100 steps between neighbouring thresholds.
    - ``ois``: F of the pooled counts when every image takes its own best threshold (of several
      equally good ones, such as in images without ground truth, the one with fewest predictions).
    - ``ap``: mean of the linearly interpolated precision at recall 0, .01, ..., 1; 0 beyond the
      largest recall reached, and below the smallest one the precision there.
    - ``ap_doc``: the same as the published evaluation code computes it, for comparison with
      published tables: recalls below the smallest one count 0 as well, the sum is divided by 100
      (so a perfect curve gives 1.01), and a curve of a single recall value gives 0.
    - ``aor``: oriented / matched at the threshold with the best boundary F.

    Args:
        counts: int (I, T, 4), columns as `COUNT_COLUMNS`.
        thresholds: what the counts were made with; adds ``ods_threshold``, the threshold at the
            ``ods``, for users who need one.

    Returns:
        "ods", "ois", "ap", "ap_doc", "boundary_ods", "boundary_ois", "boundary_ap",
        "boundary_ap_doc", "aor" and, if asked for, "ods_threshold". All NaN where no image has a
        ground-truth boundary; 0 where there is one and nothing is predicted ("aor" is then NaN).

    Raises:
        ValueError: `counts` is not (I, T, 4), or T differs from the number of thresholds.
    """
    counts = _check_counts(counts)
    values = None if thresholds is None else threshold_values(thresholds)
    if values is not None and len(values) != counts.shape[1]:
        raise ValueError(f"{len(values)} thresholds but counts of {counts.shape[1]}")
    scores = {}
    for prefix, hit in (("", 1), ("boundary_", 0)):
        triple = counts[..., [0, 2, hit, 3]]
        f, position = _best_dataset_f(triple.sum(axis=0))
        scores[f"{prefix}ods"] = f
        scores[f"{prefix}ois"] = _best_image_f(triple)
        ap, ap_doc = _average_precision(triple.sum(axis=0))
        scores[f"{prefix}ap"], scores[f"{prefix}ap_doc"] = ap, ap_doc
        if prefix == "" and values is not None:
            scores["ods_threshold"] = float(np.interp(position, np.arange(len(values)), values))
    has_gt = counts[..., 2].any()
    curves = boundary_curves(counts)
    best = int(np.argmax(_f_measure(counts[..., [0, 2, 0, 3]].sum(axis=0))))
    scores["aor"] = float(curves["orientation"][best])
    return {name: float(score) if has_gt else float("nan") for name, score in scores.items()}


def threshold_values(thresholds: int | np.ndarray) -> np.ndarray:
    """Thresholds as an array: ``k / (T + 1)``, k = 1..T, for a number T.

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


# The functions below take counts whose last axis is (recall hits, gt, precision hits, pred).


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _recall_precision(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undefined ratios count 0, as in the published evaluation."""
    counts = np.asarray(counts, dtype=np.float64)
    recall = counts[..., 0] / np.maximum(counts[..., 1], 1)
    return recall, counts[..., 2] / np.maximum(counts[..., 3], 1)


def _f_of(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).eps)


def _f_measure(counts: np.ndarray) -> np.ndarray:
    return _f_of(*_recall_precision(counts))


def _best_dataset_f(counts: np.ndarray) -> tuple[float, float]:
    """Best interpolated F over the thresholds, and where (in units of the threshold index)."""
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


def _best_image_f(counts: np.ndarray) -> float:
    """F of the pooled counts when each image uses its own best threshold."""
    if len(counts) == 0:
        return float("nan")
    f = _f_measure(counts)
    best = f.shape[1] - 1 - np.argmax(f[:, ::-1], axis=1)
    return float(_f_measure(counts[np.arange(len(counts)), best].sum(axis=0)))


def _average_precision(counts: np.ndarray) -> tuple[float, float]:
    """(`ap`, `ap_doc`) of pooled counts (T, 4)."""
    grid = np.linspace(0, 1, 101)
    recall, precision = _recall_precision(counts)
    recall_doc, first = np.unique(recall, return_index=True)
    ap_doc = 0.0
    if len(recall_doc) > 1:
        ap_doc = np.interp(grid, recall_doc, precision[first], left=0, right=0).sum() / 100
    # Where nothing is predicted precision has no value, not the value 0.
    predicted = counts[:, 3] > 0
    if not predicted.any():
        return 0.0, ap_doc
    recall, first = np.unique(recall[predicted], return_index=True)
    ap = np.interp(grid, recall, precision[predicted][first], right=0).mean()
    return float(ap), float(ap_doc)


# ------------------------------------------------------------------------------------- checking


def _check_counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[1] == 0 or counts.shape[2] != 4:
        raise ValueError(f"counts must be (I, T, 4) with T >= 1, got shape {counts.shape}")
    return counts


def _check_prob(prob: np.ndarray, name: str, ndim: int) -> np.ndarray:
    prob = np.asarray(prob)
    if prob.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {prob.shape}")
    prob = prob.astype(np.float32, copy=False)
    if prob.size and not (prob.min() >= 0 and prob.max() <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1] and not be NaN")
    return prob


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
    prob, orientation = _check_prob(pred[0], "boundary_prob", 2), np.asarray(pred[1])
    if prob.shape != shape or orientation.shape != (4, *shape):
        raise ValueError(
            f"prediction must be {shape} and {(4, *shape)} as the ground truth, "
            f"got {prob.shape} and {orientation.shape}"
        )
    if np.isnan(orientation).any():
        raise ValueError("orientation_prob must not be NaN")
    return prob, orientation


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be (n, 2), got shape {points.shape}")
    return points
