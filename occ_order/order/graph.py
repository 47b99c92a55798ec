"""The occlusion order as a directed graph: paths, cycles, layers, relative depth, decycling.

A node is an instance; there is an edge i -> j iff ``occ[i, j] = 1`` ("i occludes j", definition in
:mod:`occ_order.order.encoding`). A pair that is not annotated (-1) has no edge. The diagonal must
be 0: an instance cannot occlude itself. No function changes its input, and none assumes a graph
without cycles. A *group* is a strongly connected component: instances that occlude each other,
directly or along a directed cycle. The instances of a group share one layer.

Groups and layers take time linear in the number of edges. :func:`reachability` multiplies dense
matrices, O(N^3 log N), and the number of :func:`simple_cycles` can be exponential in N.
:func:`strong_labels` and :func:`chain_lengths` take a sparse graph instead of an occlusion matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from occ_order.order.encoding import check_occlusion

if TYPE_CHECKING:
    import networkx


def reachability(occ: np.ndarray) -> np.ndarray:
    """Compute the transitive closure: which instance has a directed path to which.

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
    """Return whether there is a directed path of at least one edge from instance i to instance j.

    ``has_path(occ, i, i)`` is True iff i lies on a cycle. For many pairs use :func:`reachability`.

    Args:
        occ: (N, N) occlusion matrix.
        i: first node of the path, 0-based.
        j: last node of the path, 0-based.

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
    """Label the strongly connected components (groups).

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,): equal for instances with a path to each other; numbered from 0 in the order of
        their lowest member. An instance on no cycle is a group of its own.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return strong_labels(_graph(occ))


def connected_labels(occ: np.ndarray) -> np.ndarray:
    """Label the weakly connected components: connected when edge directions are ignored.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,): equal within a component; numbered from 0 in the order of the lowest member.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return _component_labels(_graph(occ), "weak")


def groups(occ: np.ndarray) -> list[list[int]]:
    """Return the strongly connected components (groups); every instance is in exactly one.

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
    """Return the strongly connected components of two or more instances.

    Every directed cycle lies inside one of them, and there are at most N / 2;
    :func:`simple_cycles` enumerates the cycles themselves, of which there can be many more.

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
    """Enumerate directed cycles that visit no instance twice, at most ``limit`` of them.

    Their number can grow exponentially with N, hence the limit.

    Args:
        occ: (N, N) occlusion matrix.
        limit: largest number of cycles returned.

    Returns:
        Lists ``[a, b, c]`` meaning a -> b -> c -> a, each starting at its lowest instance, sorted.
        If there are more than ``limit``, which ones are returned is unspecified but
        deterministic.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or ``limit`` is negative.
        ImportError: see `graph_library`.
    """
    if limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}")
    found = islice(graph_library().simple_cycles(to_networkx(occ)), limit)
    starts = ((cycle, cycle.index(min(cycle))) for cycle in found)
    return sorted(cycle[start:] + cycle[:start] for cycle, start in starts)


def instances_in_cycles(occ: np.ndarray) -> np.ndarray:
    """Mark the instances that lie on a directed cycle; mutual occlusion is a cycle of two.

    Their share over a data set is the "% instances in cycles" of the OOSIS paper.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        bool (N,), True for an instance on at least one cycle.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.

    Examples:
        >>> instances_in_cycles(np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0]]))  # 0 and 1: a cycle
        array([ True,  True, False])
    """
    labels = group_labels(occ)
    return np.bincount(labels)[labels] > 1


def layers(occ: np.ndarray) -> np.ndarray:
    """Compute the layer of each instance: 0 = nearest, no instance occludes it.

    The layer is the number of edges on the longest path that ends in the instance, in the acyclic
    graph of the groups (the condensation), so the instances of a group share one layer.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,); smaller for an occluder than for what it occludes, unless they share a group.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.

    Examples:
        >>> layers(np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]))  # a cup, a saucer, a table
        array([0, 1, 2])
    """
    return _levels(_graph(occ))


def relative_depth(occ: np.ndarray) -> np.ndarray:
    """Compute the relative depth of each instance, larger = nearer: the labels of the OOSIS paper.

    It is 1 + the number of edges on the longest path that starts in the instance, in the acyclic
    graph of the groups: 1 for an instance that occludes no other; the background is 0.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (N,) >= 1; larger for an occluder than for what it occludes, unless they share a
        group.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.

    Examples:
        >>> relative_depth(np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]))  # a cup, a saucer, a table
        array([3, 2, 1])
    """
    return _levels(_graph(occ, backwards=True)) + 1


def break_cycles(occ: np.ndarray, *, rng: np.random.Generator | int) -> np.ndarray:
    """Remove cycles at random: while there is a directed cycle, delete a random one of its edges.

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
    ahead = [np.flatnonzero(row == 1).tolist()[::-1] for row in occ]  # successors not visited yet
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
                _cut(occ, ahead, path, place, int(rng.integers(place[j], len(path))))
    return occ


def resolve_cycles(occ: np.ndarray, probability: np.ndarray | None = None) -> np.ndarray:
    """Remove the least probable occlusions from the cycles, greedily.

    The edges within a group are visited in descending probability (ties by row, then column), and
    an edge is kept unless it closes a cycle with the edges kept before. So each removed edge closes
    a cycle of edges at least as probable, and restoring any one of them would close a cycle again.
    Mutual occlusion is a cycle of two. Edges between groups lie on no cycle and are all kept.

    Args:
        occ: (N, N) occlusion matrix; not changed.
        probability: float (N, N) that the row occludes the column; None = all equal.

    Returns:
        int8 (N, N) without cycles: ``occ`` with some 1 turned to 0, each of them on a cycle. -1
        entries stay.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix, or ``probability`` has another shape or is
            not finite where an instance occludes another.
    """
    occ = check_occlusion(occ).copy()
    chance = np.ones(occ.shape) if probability is None else np.asarray(probability, np.float64)
    if chance.shape != occ.shape or not np.isfinite(chance[occ == 1]).all():
        raise ValueError(f"probability must be finite and {occ.shape}, got {chance.shape}")
    labels = group_labels(occ)
    rows, columns = np.nonzero((occ == 1) & (labels[:, None] == labels))
    leads = np.eye(len(occ), dtype=bool)  # leads[i, j]: the kept edges have a path i -> j
    for k in np.argsort(-chance[rows, columns], kind="stable"):
        i, j = rows[k], columns[k]
        if leads[j, i]:
            occ[i, j] = 0
        else:
            leads |= leads[:, i, None] & leads[j]
    return occ


def graph_library() -> ModuleType:
    """Return networkx.

    Raises:
        ImportError: it is not installed; says what to install.
    """
    try:
        import networkx
    except ImportError as error:
        raise ImportError('this needs networkx: pip install "occ_order[report]"') from error
    return networkx


def to_networkx(
    occ: np.ndarray, *, attributes: Sequence[Mapping[str, Any]] | None = None
) -> networkx.DiGraph:
    """Convert to a ``networkx.DiGraph`` with nodes 0 .. N-1 and an edge from each occluder.

    Args:
        occ: (N, N) occlusion matrix.
        attributes: N mappings of node attributes, optional.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix, or there are not N attribute mappings.
        ImportError: see `graph_library`.
    """
    edges = _edges(occ)
    if attributes is not None and len(attributes) != len(edges):
        raise ValueError(f"got {len(attributes)} attributes for {len(edges)} instances")
    graph = graph_library().DiGraph()
    for i in range(len(edges)):
        graph.add_node(i, **(attributes[i] if attributes is not None else {}))
    graph.add_edges_from(np.argwhere(edges).tolist())
    return graph


def _edges(occ: np.ndarray) -> np.ndarray:
    """Return bool (N, N), True where the row occludes the column."""
    return check_occlusion(occ) == 1


def _closure(edges: np.ndarray) -> np.ndarray:
    """Return bool (N, N), True where there is a path of one or more edges from row to column."""
    reach = edges
    while True:
        # Each product doubles the path length. float32, since bool products do not use BLAS.
        step = reach.astype(np.float32)
        longer = reach | (step @ step > 0)
        if (longer == reach).all():
            return reach
        reach = longer


def strong_labels(graph: csr_array) -> np.ndarray:
    """Label the strongly connected components of a sparse graph.

    Args:
        graph: (N, N), an entry for each edge from its row to its column.

    Returns:
        int64 (N,): equal for nodes with a path to each other; numbered from 0 in the order of the
        lowest member.
    """
    return _component_labels(graph, "strong")


def chain_lengths(graph: csr_array) -> np.ndarray:
    """Compute the length of the longest path that ends in each node of a sparse acyclic graph.

    Visits the nodes in topological order (Kahn's algorithm), one layer at a time.

    Args:
        graph: (N, N), an entry for each edge from its row to its column.

    Returns:
        int64 (N,), number of edges on the path; 0 for a node without incoming edges.

    Raises:
        ValueError: there is a cycle.
    """
    heads, span = graph.indices, graph.indptr
    waiting = np.bincount(heads, minlength=graph.shape[0])  # edges from unsettled nodes
    lengths = np.full(len(waiting), -1, dtype=np.int64)
    ready, length = np.flatnonzero(waiting == 0), 0
    while len(ready):
        lengths[ready] = length
        # A node is ready once its last predecessor has a length, which is the largest of them all.
        met = np.concatenate([heads[span[node] : span[node + 1]] for node in ready])
        np.subtract.at(waiting, met, 1)
        ready, length = np.unique(met[waiting[met] == 0]), length + 1
    if (lengths < 0).any():
        raise ValueError(f"node {np.argmin(lengths)} is on a cycle or behind one")
    return lengths


def _graph(occ: np.ndarray, *, backwards: bool = False) -> csr_array:
    """Return sparse float64 (N, N), 1 where row occludes column; transposed if ``backwards``."""
    edges = _edges(occ)
    if backwards:
        edges = np.ascontiguousarray(edges.T)
    # Same as csr_array(edges) but several times as fast: that one makes 64-bit indices and bool
    # values, which csgraph converts to 32-bit indices and float64.
    span = np.concatenate([[0], np.cumsum(np.count_nonzero(edges, axis=1))])
    number = np.int32 if span[-1] < 2**31 else np.int64
    columns = np.broadcast_to(np.arange(len(edges), dtype=number), edges.shape)
    heads = columns[edges]
    return csr_array((np.ones(len(heads)), heads, span.astype(number)), shape=edges.shape)


def _component_labels(graph: csr_array, connection: str) -> np.ndarray:
    """Label the "weak" or "strong" components, int64 (N,), in the order of the lowest member."""
    if graph.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    found = connected_components(graph, connection=connection)[1]
    _, first, place = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[place]


def _levels(graph: csr_array) -> np.ndarray:
    """Return int64 (N,): edges between groups on the longest path that ends in a node's group."""
    labels = strong_labels(graph)
    num = labels.max(initial=-1) + 1
    if num == len(labels):  # no cycle
        return chain_lengths(graph)
    tails, heads = (labels[ends] for ends in graph.nonzero())
    between = tails != heads
    pairs = (tails[between], heads[between])
    return chain_lengths(csr_array((np.ones(len(pairs[0]), bool), pairs), shape=(num, num)))[labels]


def _cut(
    occ: np.ndarray, ahead: list[list[int]], path: list[int], place: dict[int, int], at: int
) -> None:
    """Delete the edge that leaves ``path[at]`` and backtrack the depth-first search to that node.

    The nodes after ``path[at]`` become unvisited again, not finished, and may be visited later.
    Their remaining edges in ``ahead`` suffice then: those already removed lead to finished nodes.

    Args:
        occ: (N, N) occlusion matrix, changed in place.
        ahead: for each node the successors not visited yet, last one next; changed in place.
        path: nodes from the root of the search to the current node; changed in place.
        place: index in ``path`` of each node on it; changed in place.
        at: index in ``path`` of the node whose outgoing edge is deleted.
    """
    i = path[at]
    occ[i, ahead[i].pop()] = 0
    for j in path[at + 1 :]:
        del place[j]
    del path[at + 1 :]
