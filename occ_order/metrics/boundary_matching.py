"""Orientation of boundary pixels, and their one-to-one matching with the ground truth.

The protocol of DOC and DOOBNet: distances up to a share of the image diagonal, least total cost.
Four-channel maps are ordered left, right, top, bottom and speak about the occluder.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_OUTLIER_COST = 100.0
# Decides between equally short matchings only: thousands of them stay below one pixel.
_WRONG_ORIENTATION_COST = 1e-6
_HALF_TURN_TOLERANCE = 1e-6


def occluder_theta(orientation: np.ndarray) -> np.ndarray:
    """Direction of the boundary, with the occluder on its left (supplement 1.4).

    Of left and right the larger counts, likewise of top and bottom; that gives the normal
    ``(h, v)`` from the occluder to what it occludes, and the boundary runs a quarter turn before
    it. Equal opposite channels cancel. x points right and y down, so a boundary that occludes to
    its right runs up in the image, theta = -pi / 2.

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


class Candidates(NamedTuple):
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
    """Find pairs of points within a distance, and the cost of matching each.

    Args:
        gt_points: float64 (N, 2), in pixels.
        pred_points: float64 (M, 2).
        gt_theta: float (N,), orientation in radians (see `occluder_theta`); NaN accepts any.
        pred_theta: float (M,).
        max_distance: in pixels.
    """
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
    return Candidates(gt, pred, cost, right, 1.0 + _OUTLIER_COST * max(max_distance, 1.0))


def assign(candidates: Candidates, num_gt: int, num_pred: int) -> np.ndarray:
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


def _assign_component(candidates: Candidates, edges: np.ndarray) -> np.ndarray:
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


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be (n, 2), got shape {points.shape}")
    return points
