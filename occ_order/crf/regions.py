"""Moves of whole regions, an extension of the paper that escapes local minima of jumps.

A jump changes labels by one and approximates pairs of adjacent labels by a bound, so that strips
and ties remain. Two other moves, which never increase the energy, improve the result:

* :func:`closed_region_layers` proposes the labelling implied by occlusion pairs that are closed
  around
  instances: split the foreground along them and layer the pieces. The solver *fuses* it with the
  current labels by one minimum cut (:func:`occ_order.crf.moves.fusion_problem`).
* :func:`search_regions` changes the label of one connected component at a time, together with the
  components that must stay in front of it, using the exact energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.crf.energy import Problem
from occ_order.crf.instances import components
from occ_order.order.graph import chain_lengths, strong_labels


@dataclass(frozen=True)
class RegionGraph:
    """Adjacency of regions in CSR format: row r is ``neighbour[start[r] : start[r + 1]]``.

    Attributes:
        start: int64 (R + 1,).
        neighbour: int64 (E,), adjacent region; every contact is in both rows.
        length: int64 (E,), number of adjacent pixel pairs.
        front: int64 (E,), pairs of O in which the row's region occludes the neighbour.
        behind: int64 (E,), pairs of O in which the neighbour occludes the row's region.
        unary: int64 (R,), cost of a positive label minus cost of label 0, summed over the region.
    """

    start: np.ndarray
    neighbour: np.ndarray
    length: np.ndarray
    front: np.ndarray
    behind: np.ndarray
    unary: np.ndarray


def region_graph(problem: Problem, ids: np.ndarray) -> RegionGraph:
    """Build the graph of the regions ``ids`` int32 (H, W), numbered consecutively from 0."""
    from occ_order.crf._kernels.components import region_contacts, sum_by_region

    num = int(ids.max(initial=-1)) + 1
    start, columns = region_contacts(ids, np.ascontiguousarray(problem.occludes), num, 0)
    neighbour, length, front, behind = columns
    return RegionGraph(
        start, neighbour, length, front, behind, sum_by_region(ids, problem.unary, num)
    )


def closed_region_layers(problem: Problem) -> np.ndarray:
    """Label the foreground pieces between occlusion pairs by the longest path behind each.

    Exact if boundaries are closed; if they have gaps, several instances become one piece. The
    labels need not be feasible: see :func:`take_where_feasible`.

    Returns:
        int32 (H, W), 0 where background is more probable.
    """
    from occ_order.crf._kernels.components import region_contacts, spread_by_region

    ids = components(np.zeros_like(problem.unary), problem.unary < 0, problem.occludes)
    num = int(ids.max(initial=-1)) + 1
    occludes = np.ascontiguousarray(problem.occludes)
    start, (neighbour, _, front, behind) = region_contacts(ids, occludes, num, 1)
    row = np.repeat(np.arange(num), np.diff(start))
    net = front - behind
    use = net > 0
    layers = longest_paths(num, row[use], neighbour[use], net[use]) + 1
    layers[:1] = 0
    return spread_by_region(ids, layers)


def longest_paths(num: int, front: np.ndarray, back: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Compute the longest path from each node, after removing weak edges of cycles.

    While there are cycles, every strongly connected component loses its weakest edge (all of them
    on a tie).

    Args:
        num: number of nodes.
        front: int (E,), tails of the edges.
        back: int (E,), heads of the edges.
        weight: int (E,), strengths of the edges.

    Returns:
        int64 (num,), number of edges; 0 for nodes without outgoing edges.
    """
    from scipy.sparse import csr_array

    while True:
        group = strong_labels(csr_array((weight, (front, back)), shape=(num, num)))
        inner = group[front] == group[back]
        if not inner.any():
            break
        weakest = np.full(num, np.iinfo(np.int64).max)
        np.minimum.at(weakest, group[front][inner], weight[inner])
        keep = ~(inner & (weight == weakest[group[front]]))
        front, back, weight = front[keep], back[keep], weight[keep]
    return chain_lengths(csr_array((weight, (back, front)), shape=(num, num)))


def take_where_feasible(problem: Problem, labels: np.ndarray, proposal: np.ndarray) -> np.ndarray:
    """Return the proposal, with the current labels around every pair of O that it violates.

    Args:
        problem: the CRF.
        labels: int32 (H, W), feasible.
        proposal: int32 (H, W).

    Returns:
        int32 (H, W), feasible. Restoring a pixel can violate its other pairs, hence the loop; it
        terminates because ``labels`` is feasible.
    """
    from occ_order.crf._kernels.components import revert_violations

    proposal = proposal.copy()
    revert_violations(problem.pairs, np.ascontiguousarray(labels), proposal)
    return proposal


def search_regions(problem: Problem, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Improve the labels of connected components by exact local search.

    Args:
        problem: the CRF.
        labels: int32 (H, W), feasible.

    Returns:
        int32 (H, W), feasible, and the change of energy in units of 1 / SCALE, <= 0.
    """
    from occ_order.crf._kernels.components import spread_by_region, value_by_region
    from occ_order.crf._kernels.regions import Contacts, search

    if labels.size == 0:
        return labels, 0
    ids = components(labels, np.ones(labels.shape, bool))
    ids -= 1
    graph = region_graph(problem, ids)
    region_labels = value_by_region(ids, labels, len(graph.unary))
    contacts = Contacts(
        graph.start,
        graph.neighbour,
        smooth=graph.length * problem.smoothness,
        front=graph.front * problem.occlusion,
        behind=graph.behind * problem.occlusion,
        unary=graph.unary,
    )
    change = search(contacts, region_labels)
    if not change:
        return labels, 0
    return spread_by_region(ids, region_labels), change
