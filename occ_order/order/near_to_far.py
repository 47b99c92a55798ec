"""One scale from far to near for all instances of an image, from whatever orders are known.

N instances. The occlusion order decides; the depth order ranks what it leaves open. An instance
that neither order relates to another has no place on the scale.
"""

from __future__ import annotations

import numpy as np

from occ_order.order.encoding import CLOSER, EQUAL, UNKNOWN, check_depth, check_occlusion
from occ_order.order.graph import group_labels, reachability, relative_depth


def nearness(
    occlusion: np.ndarray | None, depth: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each instance from far to near.

    An occluder is always nearer than what it occludes, unless the two lie on a cycle, whose
    instances share one place. Without a depth order, places are in the order of `relative_depth`.
    With one, instances are ranked by depth, and an occluder is raised above what it occludes where
    the two orders contradict each other.

    Args:
        occlusion: (N, N) occlusion matrix, or None.
        depth: (N, N) depth matrix, or None.

    Returns:
        int64 (N,), 0 = farthest, larger = nearer, without gaps among the known instances, 0 for
        the others; bool (N,), True where an order says something of the instance.

    Raises:
        ValueError: neither order is given, they are not of one size, or one is no such matrix.
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
    """bool (N,): instances of which a pair of two different ones is True, in either direction."""
    pairs = pairs & ~np.eye(len(pairs), dtype=bool)
    return np.logical_or(pairs.any(0), pairs.any(1))


def _depth_ranks(depth: np.ndarray) -> np.ndarray:
    """int64 (N,), larger = nearer.

    By the number of instances that are farther, less that of those that are nearer, directly or by
    way of others. A predicted order may contradict itself (a before b, b before c, c before a), so
    that all of these are before each other: they are told apart by their own pairs alone.
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
    """int64 (N,): `place` with occluders raised above what they occlude; a cycle shares a place."""
    group = group_labels(occlusion)
    raised = np.zeros(group.max(initial=-1) + 1, np.int64)
    np.maximum.at(raised, group, place)
    front, back = group[np.argwhere(occlusion == 1).T]
    front, back = front[front != back], back[front != back]
    # From the farthest group on, so that what a group occludes has its final place already.
    from_behind = group[np.argsort(relative_depth(occlusion), kind="stable")]
    for number in dict.fromkeys(from_behind.tolist()):
        raised[number] = max([raised[number], *(raised[back[front == number]] + 1)])
    return raised[group]
