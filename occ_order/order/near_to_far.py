"""Ranking of the instances of an image from far to near, from occlusion and depth order.

The occlusion order takes precedence; the depth order ranks instances that it does not order. An
instance without a relation in either order has no rank.
"""

from __future__ import annotations

import numpy as np

from occ_order.order.encoding import CLOSER, EQUAL, UNKNOWN, check_depth, check_occlusion
from occ_order.order.graph import group_labels, reachability, relative_depth


def nearness(
    occlusion: np.ndarray | None, depth: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the instances from far to near.

    An occluder is always nearer than its occludees, except on a cycle, whose instances share one
    rank. Without a depth order, ranks follow `relative_depth`. With one, instances are ranked by
    depth, and where the two orders contradict each other, the occluder is raised above the
    occludee.

    Args:
        occlusion: (N, N) occlusion matrix, or None.
        depth: (N, N) depth matrix, or None.

    Returns:
        ranks, int64 (N,): 0 = farthest, larger = nearer, consecutive among the known instances, 0
        for the others; known, bool (N,): True for instances with a relation in either order.

    Raises:
        ValueError: neither order is given, their sizes differ, or one is not a valid order matrix.
    """
    if occlusion is not None and depth is not None and len(occlusion) != len(depth):
        raise ValueError(f"occlusion has {len(occlusion)} instances, depth {len(depth)}")
    front = None if occlusion is None else check_occlusion(occlusion)
    if depth is not None:
        depth, _, _ = check_depth(depth)
        place, known = _depth_ranks(depth), _related(depth != UNKNOWN)
        if front is not None:
            place, known = _raised(place, front), known | _related(front == 1)
    elif front is not None:
        place, known = relative_depth(front), _related(front == 1)
    else:
        raise ValueError("nearness needs an occlusion order or a depth order; there is neither")
    ranks = np.zeros(len(place), np.int64)
    ranks[known] = np.unique(place[known], return_inverse=True)[1]
    return ranks, known


def _related(pairs: np.ndarray) -> np.ndarray:
    """Return bool (N,): instances with a True off-diagonal entry in their row or column."""
    pairs = pairs & ~np.eye(len(pairs), dtype=bool)
    return np.logical_or(pairs.any(0), pairs.any(1))


def _depth_ranks(depth: np.ndarray) -> np.ndarray:
    """Rank the instances by depth, int64 (N,), larger = nearer.

    The score of an instance is the number of farther minus the number of nearer instances in the
    transitive closure. A predicted order may be cyclic (a before b, b before c, c before a); all
    instances of a cycle have the same score there and are ranked by their direct relations.
    """
    closer, equal = depth == CLOSER, depth == EQUAL
    before = reachability((closer | equal).astype(np.int8))
    by_all = before.sum(1) - before.sum(0)
    together = group_labels((closer | equal).astype(np.int8))
    inside = closer & (together[:, None] == together[None, :])
    contradictory = np.isin(together, together[inside.any(1)])
    alone = np.where(contradictory, closer.sum(1) - closer.sum(0), 0)
    order = np.stack([by_all, alone], 1)
    return np.unique(order, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _raised(place: np.ndarray, occlusion: np.ndarray) -> np.ndarray:
    """Return `place` with occluders raised above their occludees; a cycle shares one place."""
    group = group_labels(occlusion)
    raised = np.zeros(group.max(initial=-1) + 1, np.int64)
    np.maximum.at(raised, group, place)
    front, back = group[np.argwhere(occlusion == 1).T]
    front, back = front[front != back], back[front != back]
    # From the farthest group to the nearest, so that the occludees of a group are already final.
    from_behind = group[np.argsort(relative_depth(occlusion), kind="stable")]
    for number in dict.fromkeys(from_behind.tolist()):
        raised[number] = max([raised[number], *(raised[back[front == number]] + 1)])
    return raised[group]
