"""Orientation of boundary pixels, and their one-to-one matching to the ground truth.

The protocol of DOC and DOOBNet: matches up to a fraction of the image diagonal, with minimum total
cost. Maps with four channels are ordered left, right, top, bottom and refer to the occluder.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_OUTLIER_COST = 100.0
# Only breaks ties between equally short matchings; even thousands sum to less than one pixel.
_WRONG_ORIENTATION_COST = 1e-6
_HALF_TURN_TOLERANCE = 1e-6


def occluder_theta(orientation: np.ndarray) -> np.ndarray:
    """Compute the direction of the boundary with the occluder on its left (supplement 1.4).

    The larger of left and right and the larger of top and bottom form the normal ``(h, v)`` from
    the occluder to the occluded region; the boundary direction is a quarter turn before it. Equal
    opposite channels cancel. x points right and y down, so a boundary that occludes to its right
    points up in the image, theta = -pi / 2.

    Args:
        orientation: float (4, ...), left, right, top, bottom; up to scale.

    Returns:
        float64 (...) radians in (-pi, pi]; NaN if all four cancel.

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
    """Test whether two boundary directions differ by at most a quarter turn.

    Args:
        theta_gt: radians, NaN = no direction (an object one pixel wide): always True.
        theta_pred: radians, same shape; NaN is True only where `theta_gt` is NaN too.

    Returns:
        bool array.
    """
    # Comparisons with NaN are False, so predictions without direction need no special case.
    near = np.cos(theta_gt - theta_pred) >= -_HALF_TURN_TOLERANCE
    return near | np.isnan(theta_gt)


class Candidates(NamedTuple):
    """All pairs of points within the maximum distance, sorted by predicted point."""

    gt: np.ndarray  # intp (E,)
    pred: np.ndarray  # intp (E,), ascending
    cost: np.ndarray  # float64 (E,), positive
    right: np.ndarray  # bool (E,), orientations agree
    outlier: float  # cost of leaving a point unmatched


def match_points(
    gt_points: np.ndarray, pred_points: np.ndarray, *, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match boundary pixels one-to-one with minimum total cost.

    The cost of a pair is its distance, which must not exceed `max_distance`; that of an unmatched
    pixel is 100 times `max_distance`. Thus the number of matches is maximised first, then their
    total distance is minimised.

    Args:
        gt_points: (G, 2) coordinates, pixels.
        pred_points: (P, 2).
        max_distance: maximum distance of a match, in pixels.

    Returns:
        ``(gt_index, pred_index)``: intp (M,) each, the matches by ascending `pred_index`.

    Raises:
        ValueError: points are not (n, 2), or `max_distance` is negative or not finite.
    """
    if not (np.isfinite(max_distance) and max_distance >= 0):
        raise ValueError(f"max_distance must be finite and >= 0, got {max_distance}")
    gt_points, pred_points = _check_points(gt_points), _check_points(pred_points)
    nothing = np.full(len(gt_points), np.nan), np.full(len(pred_points), np.nan)
    candidates = candidate_pairs(gt_points, pred_points, *nothing, max_distance)
    edges = assign(candidates, len(gt_points), len(pred_points))
    edges = edges[np.argsort(candidates.pred[edges], kind="stable")]
    return candidates.gt[edges], candidates.pred[edges]


def candidate_pairs(
    gt_points: np.ndarray,
    pred_points: np.ndarray,
    gt_theta: np.ndarray,
    pred_theta: np.ndarray,
    max_distance: float,
) -> Candidates:
    """Find all pairs of points within a distance, and the cost of matching them.

    Args:
        gt_points: float64 (N, 2), in pixels.
        pred_points: float64 (M, 2).
        gt_theta: float (N,), direction in radians (see `occluder_theta`); NaN matches any.
        pred_theta: float (M,).
        max_distance: in pixels.
    """
    # Imported here, because these imports take longer than those of the rest of the package.
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
    # Add a constant, because the solver treats weight 0 as a missing edge. Every row of the problem
    # has exactly one partner, so constants do not change the optimal solution.
    cost = 1.0 + distance + _WRONG_ORIENTATION_COST * ~right
    return Candidates(gt, pred, cost, right, 1.0 + _OUTLIER_COST * max(max_distance, 1.0))


def assign(candidates: Candidates, num_gt: int, num_pred: int) -> np.ndarray:
    """Compute the best matching of all ground-truth points with the first `num_pred` points.

    Each connected component of the candidate graph is solved separately, because the cost of the
    solver is quadratic in the size of the component.

    Returns:
        intp (M,), indices of edges in `candidates`.
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


def _assign_component(candidates: Candidates, edges: np.ndarray) -> np.ndarray:
    """Compute the best matching in a connected component; return bool (len(edges),)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, num_rows = _renumber(candidates.pred[edges])
    cols, num_cols = _renumber(candidates.gt[edges])
    if num_rows > num_cols:
        # The solver adds row by row, and a row without a free partner searches its whole
        # neighbourhood before it fails. Few rows do, if the smaller side forms the rows.
        rows, num_rows, cols, num_cols = cols, num_cols, rows, num_rows
    # A private column for each row at the outlier cost guarantees a full matching. Unmatched
    # columns have no cost; as each match involves one row and one column, this is equivalent to a
    # cost on both sides.
    private = np.arange(num_rows)
    cost = np.concatenate([candidates.cost[edges], np.full(num_rows, candidates.outlier)])
    matrix = csr_matrix(
        (cost, (np.concatenate([rows, private]), np.concatenate([cols, num_cols + private]))),
        shape=(num_rows, num_cols + num_rows),
    )
    partner = min_weight_full_bipartite_matching(matrix)[1]
    return partner[rows] == cols


def _renumber(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Renumber points to 0..n-1 in the same order; return them and n."""
    used = np.zeros(points.max() + 1, dtype=bool)
    used[points] = True
    return (np.cumsum(used) - 1)[points], int(used.sum())


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be (n, 2), got shape {points.shape}")
    return points
