"""The occlusion order as a directed graph: paths, cycles, layers, relative depth, decycling.

A node is an instance; there is an edge i -> j iff ``occ[i, j] = 1`` ("i occludes j", definition in
:mod:`occ_order.order.encoding`). A pair that is not annotated (-1) is no edge. An instance that
occludes itself is refused. No function changes its input, and none assumes that the graph is free
of cycles: instances that occlude each other, directly or round a cycle, form a *group* (a strongly
connected component) and share one layer.

Written for up to a few hundred instances; dense matrices throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order.order.encoding import check_occlusion

if TYPE_CHECKING:
    import networkx


def reachability(occ: np.ndarray) -> np.ndarray:
    """Which instance leads to which along one or more occlusion edges.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        bool (N, N): ``[i, j]`` iff there is a directed path of at least one edge from i to j. The
        diagonal is True exactly for instances in a cycle.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return _closure(_edges(occ))


def has_path(occ: np.ndarray, i: int, j: int) -> bool:
    """Whether a directed path of at least one edge leads from instance i to instance j.

    ``has_path(occ, i, i)`` asks whether i is in a cycle. For many pairs use :func:`reachability`.

    Args:
        occ: (N, N) occlusion matrix.
        i: start, 0-based.
        j: end, 0-based.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or an index is out of range.
    """
    edges = _edges(occ)
    for k in (i, j):
        if not 0 <= k < len(edges):
            raise ValueError(f"instance {k} is out of range for {len(edges)} instances")
    reached = edges[i].copy()
    frontier = reached
    while frontier.any() and not reached[j]:
        frontier = edges[frontier].any(axis=0) & ~reached
        reached |= frontier
    return bool(reached[j])


def group_labels(occ: np.ndarray) -> np.ndarray:
    """Strongly connected groups as labels.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,): equal for instances that lead to each other; groups counted from 0 in the order
        of their lowest member. An instance in no cycle is a group of its own.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return _group_labels(_edges(occ))


def connected_labels(occ: np.ndarray) -> np.ndarray:
    """Parts of the graph that hang together when directions are ignored, as labels.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,), counted from 0 in the order of the lowest member.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    edges = _edges(occ)
    return _labels(_closure(edges | edges.T | np.eye(len(edges), dtype=bool)))


def groups(occ: np.ndarray) -> list[list[int]]:
    """Strongly connected groups as lists: every instance stands in exactly one.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        Lists of instances, each ascending, ordered by their lowest member.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    labels = group_labels(occ)
    result: list[list[int]] = [[] for _ in range(labels.max(initial=-1) + 1)]
    for i, label in enumerate(labels):
        result[label].append(i)
    return result


def cycles(occ: np.ndarray) -> list[list[int]]:
    """The groups of two or more instances: where the order contradicts itself, and all of it.

    A complete summary of bounded size; :func:`simple_cycles` walks the single cycles inside.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        Lists of instances, each ascending, ordered by their lowest member; empty for a DAG. Mutual
        occlusion of two instances is a group of two.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return [group for group in groups(occ) if len(group) > 1]


def simple_cycles(occ: np.ndarray, *, limit: int = 100) -> list[list[int]]:
    """Single directed cycles that visit no instance twice, at most ``limit`` of them.

    Their number can grow exponentially with N, hence the limit.

    Args:
        occ: (N, N) occlusion matrix.
        limit: stop after this many.

    Returns:
        Lists ``[a, b, c]`` meaning a -> b -> c -> a, each starting at its lowest instance, sorted.
        Which ones are found, if there are more than ``limit``, is unspecified but repeatable.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or ``limit`` is negative.
    """
    if limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}")
    import networkx as nx

    found = islice(nx.simple_cycles(to_networkx(occ)), limit)
    starts = ((cycle, cycle.index(min(cycle))) for cycle in found)
    return sorted(cycle[start:] + cycle[:start] for cycle, start in starts)


def instances_in_cycles(occ: np.ndarray) -> np.ndarray:
    """Which instances are in some cycle; mutual occlusion counts as a cycle of two.

    Their share over a data set is the "% instances in cycles" of the OOSIS paper.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        bool (N,).

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return np.diagonal(_closure(_edges(occ))).copy()


def layers(occ: np.ndarray) -> np.ndarray:
    """Layer of each instance, 0 = nearest: nothing occludes it.

    The layer is the length of the longest chain of occluders in front, counted in groups; a group
    shares one layer.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,); smaller for an occluder than for what it occludes, unless they share a group.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return _longest_chain(_edges(occ))


def relative_depth(occ: np.ndarray) -> np.ndarray:
    """Relative depth of each instance, larger = nearer: the labels of the OOSIS paper.

    One more than the length of the longest chain of occludees behind, counted in groups, so that
    an instance that occludes no other has 1 and the background has 0.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,) >= 1; larger for an occluder than for what it occludes, unless they share a
        group.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return _longest_chain(_edges(occ).T) + 1


def break_cycles(occ: np.ndarray, *, rng: np.random.Generator | int) -> np.ndarray:
    """Random decycling: while there is a directed cycle, delete a random one of its edges.

    Cycles are found by depth-first search in the order of the instances; the edge is drawn
    uniformly from the cycle (OOSIS paper, comparison of pairwise methods). Results vary with the
    seed: report the mean of several.

    Args:
        occ: (N, N) occlusion matrix; not changed.
        rng: numpy generator, or an integer seed for one.

    Returns:
        int8 (N, N) without cycles: ``occ`` with some 1 turned to 0, each of them on a cycle. -1
        entries stay.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix, or ``rng`` is None.
    """
    if rng is None:
        raise ValueError("rng must be a numpy Generator or an integer seed")
    rng = np.random.default_rng(rng)
    occ = check_occlusion(occ).copy()
    ahead = [np.flatnonzero(row == 1).tolist()[::-1] for row in occ]  # edges still to walk
    done = np.zeros(len(occ), dtype=bool)
    for root in range(len(occ)):
        path, place = ([], {}) if done[root] else ([root], {root: 0})
        while path:
            i = path[-1]
            if not ahead[i]:
                done[i] = True
                del place[path.pop()]
                continue
            j = ahead[i][-1]
            if done[j]:
                ahead[i].pop()
            elif j not in place:
                place[j] = len(path)
                path.append(j)
            else:
                _cut(occ, ahead, path, place, rng.integers(place[j], len(path)))
    return occ


def to_networkx(
    occ: np.ndarray, *, attributes: Sequence[Mapping[str, Any]] | None = None
) -> networkx.DiGraph:
    """The graph as a ``networkx.DiGraph`` with nodes 0 .. N-1.

    Args:
        occ: (N, N) occlusion matrix.
        attributes: N mappings of node attributes, optional.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix, or there are not N attribute mappings.
    """
    import networkx as nx

    edges = _edges(occ)
    if attributes is not None and len(attributes) != len(edges):
        raise ValueError(f"got {len(attributes)} attributes for {len(edges)} instances")
    graph = nx.DiGraph()
    for i in range(len(edges)):
        graph.add_node(i, **(attributes[i] if attributes is not None else {}))
    graph.add_edges_from(np.argwhere(edges).tolist())
    return graph


def _edges(occ: np.ndarray) -> np.ndarray:
    """bool (N, N), True where the row occludes the column."""
    return check_occlusion(occ) == 1


def _closure(edges: np.ndarray) -> np.ndarray:
    """bool (N, N), True where a path of one or more edges leads from row to column."""
    reach = edges
    while True:
        # Doubling the length of the paths; float32 because numpy multiplies bool without BLAS.
        step = reach.astype(np.float32)
        longer = reach | (step @ step > 0)
        if (longer == reach).all():
            return reach
        reach = longer


def _labels(same: np.ndarray) -> np.ndarray:
    """int64 (N,) labels of the classes of an equivalence (N, N), ordered by lowest member."""
    if len(same) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(same.argmax(axis=1), return_inverse=True)[1].astype(np.int64)


def _group_labels(edges: np.ndarray) -> np.ndarray:
    reach = _closure(edges)
    return _labels(reach & reach.T | np.eye(len(edges), dtype=bool))


def _longest_chain(edges: np.ndarray) -> np.ndarray:
    """int64 (N,): edges on the longest path that ends in the node's group, between groups only."""
    labels = _group_labels(edges)
    num_groups = labels.max(initial=-1) + 1
    between = np.zeros((num_groups, num_groups), dtype=bool)
    i, j = np.nonzero(edges)
    between[labels[i], labels[j]] = True
    np.fill_diagonal(between, False)
    level = np.zeros(num_groups, dtype=np.int64)
    waiting = between.sum(axis=0)  # occluders whose level is not settled yet
    ready = np.flatnonzero(waiting == 0)
    while len(ready):
        level_behind = between[ready] * (level[ready, None] + 1)
        level = np.maximum(level, level_behind.max(axis=0))
        waiting = waiting - between[ready].sum(axis=0)
        waiting[ready] = -1
        ready = np.flatnonzero(waiting == 0)
    return level[labels]


def _cut(
    occ: np.ndarray, ahead: list[list[int]], path: list[int], place: dict[int, int], at: int
) -> None:
    """Delete the edge that leaves ``path[at]`` and take the walk back to that node.

    Nodes behind the cut are forgotten, not finished: they are walked again when next met. What
    they have left in ``ahead`` is enough, since the rest led to finished nodes.
    """
    i = path[at]
    occ[i, ahead[i].pop()] = 0
    for j in path[at + 1 :]:
        del place[j]
    del path[at + 1 :]
