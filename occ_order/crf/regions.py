"""Moves on whole regions, beyond the paper: what single jumps cannot reach.

A jump changes labels by one and sees pairs of neighbouring labels through a bound, so it leaves
strips and ties behind. Two better views of the same energy help it out, neither of which can raise
it:

* :func:`closed_region_layers` proposes the answer that the occlusion pairs give where they close
  around the instances: cut the foreground along them, layer the pieces. The solver *fuses* it with
  the current labels by one minimum cut (:func:`occ_order.crf.moves.fusion_problem`).
* :func:`search_regions` changes the label of one connected component at a time, taking along the
  components that must stay in front of it, with the exact energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.crf.energy import Problem
from occ_order.crf.instances import components
from occ_order.order.graph import chain_lengths, strong_labels


@dataclass(frozen=True)
class RegionGraph:
    """Regions that touch, in compressed rows: row r is ``neighbour[start[r] : start[r + 1]]``.

    Attributes:
        start: int64 (R + 1,).
        neighbour: int64 (E,), region on the other side; every contact stands in both rows.
        length: int64 (E,), pairs of pixels in contact.
        front: int64 (E,), pairs of O in which this region occludes that neighbour.
        behind: int64 (E,), pairs of O in which that neighbour occludes this region.
        unary: int64 (R,), cost of a positive label minus cost of label 0, over the region.
    """

    start: np.ndarray
    neighbour: np.ndarray
    length: np.ndarray
    front: np.ndarray
    behind: np.ndarray
    unary: np.ndarray


def region_graph(problem: Problem, ids: np.ndarray) -> RegionGraph:
    """Graph of the regions ``ids`` int32 (H, W), numbered from 0 without gaps."""
    from occ_order.crf._kernels.components import region_contacts, sum_by_region

    num = int(ids.max(initial=-1)) + 1
    start, columns = region_contacts(ids, np.ascontiguousarray(problem.occludes), num, 0)
    neighbour, length, front, behind = columns
    return RegionGraph(
        start, neighbour, length, front, behind, sum_by_region(ids, problem.unary, num)
    )


def closed_region_layers(problem: Problem) -> np.ndarray:
    """Labels of the foreground pieces between occlusion pairs, by the longest path behind each.

    Exact where the boundaries are closed; where they leak, pieces of several instances come out
    as one. The labels need not be feasible: see :func:`take_where_feasible`.

    Returns:
        int32 (H, W), 0 where background is the likelier.
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
    """Edges on the longest path that starts at each node, after dropping weak edges of cycles.

    While there is a cycle, every strongly connected group loses its weakest edge (all of them, on a
    tie).

    Args:
        num: number of nodes.
        front: int (E,), tails of the edges; back: int (E,), heads; weight: int (E,).
        back: heads.
        weight: strength of each edge.

    Returns:
        int64 (num,), 0 where no edge leaves a node.
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
    """Return the proposal, with the current labels kept around every pair of O that it violates.

    Args:
        problem: the CRF.
        labels: int32 (H, W), feasible.
        proposal: int32 (H, W).

    Returns:
        int32 (H, W), feasible. Keeping a pixel can violate its other pairs, hence the loop; it ends
        because ``labels`` is feasible.
    """
    from occ_order.crf._kernels.components import revert_violations

    proposal = proposal.copy()
    revert_violations(problem.pairs, np.ascontiguousarray(labels), proposal)
    return proposal


def search_regions(problem: Problem, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Better labels for the connected components of ``labels``, by exact local search.

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
