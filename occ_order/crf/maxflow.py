"""Minimum cut of one binary move by PyMaxflow, the only file that imports it (GPL).

The readable reference for :mod:`occ_order.crf.grid`, with bit-equal answers.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from occ_order.crf.energy import Problem, scaled_energy
from occ_order.crf.moves import fusion_problem, jump_problem


def library() -> ModuleType:
    """Return PyMaxflow.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import maxflow
    except ImportError as error:
        raise ImportError(
            'backend="pymaxflow" needs PyMaxflow: pip install PyMaxflow (or use backend="grid")'
        ) from error
    return maxflow


def minimum_cut(unary: np.ndarray, arcs: np.ndarray, *, largest: bool = False) -> np.ndarray:
    """Minimiser y of ``sum_p unary_p y_p + sum_d sum_p arcs_{d,p} y_p (1 - y_q)``.

    ``q`` is the neighbour of p in direction d (left, right, top, bottom). Minimisers form a
    lattice, so the smallest and the largest set {y = 1} are unique and the same for every exact
    algorithm.

    Args:
        unary: int (H, W).
        arcs: int (4, H, W), >= 0; what leaves the image is ignored.
        largest: the largest minimising set instead of the smallest.

    Returns:
        bool (H, W).

    Raises:
        ImportError: PyMaxflow is not installed.
    """
    maxflow = library()
    if unary.size == 0:
        return np.zeros(unary.shape, bool)
    graph = maxflow.Graph[int](unary.size, 2 * unary.size)
    nodes = graph.add_grid_nodes(unary.shape)
    # PyMaxflow puts a node on the sink side iff it still reaches the sink: the smallest sink side
    # of all minimum cuts. So {y = 1} is the sink side for the smallest set, and for the largest
    # the source side, i.e. the complement of the smallest {y = 0}.
    cost = (-unary if largest else unary).astype(np.int64)
    graph.add_grid_tedges(nodes, np.maximum(cost, 0), np.maximum(-cost, 0))
    left, right, top, bottom = arcs.astype(np.int64)
    for p, q, p_only, q_only in (
        (nodes[:, :-1], nodes[:, 1:], right[:, :-1], left[:, 1:]),
        (nodes[:-1], nodes[1:], bottom[:-1], top[1:]),
    ):
        # An edge is cut when its tail is on the source and its head on the sink side.
        forward, backward = (p_only, q_only) if largest else (q_only, p_only)
        graph.add_edges(p.ravel(), q.ravel(), forward.ravel(), backward.ravel())
    graph.maxflow()
    sink_side = graph.get_grid_segments(nodes)
    return ~sink_side if largest else sink_side


class PyMaxflowJumps:
    """Jump moves of one CRF, each a minimum cut of the graph that :mod:`.moves` describes.

    Attributes:
        labels: int32 (H, W), the current labelling; change it by :meth:`restart` only.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.labels = np.zeros(problem.unary.shape, np.int32)

    def restart(self, labels: np.ndarray) -> None:
        """Go on from ``labels`` int32 (H, W), feasible (no pair of O violated)."""
        self.labels = np.array(labels, np.int32)

    def published(self, limit: int) -> np.ndarray:
        """Labels int32 (H, W) after at most ``limit`` smallest jumps with the constant bound.

        For a solver that starts from background only; it goes on from there.
        """
        for _ in range(limit):
            if not self.jump("constant"):
                break
        labels = self.labels
        self.labels = np.zeros_like(labels)
        return labels

    def jump(self, bound: str, *, largest: bool = False) -> int:
        """Raise the pixels of the smallest (or largest) set that minimises the bound.

        Returns:
            The exact change of energy, in units of 1 / SCALE, <= 0. The jump is taken only where
            it is negative; otherwise the labels stay as they are and the answer is 0.
        """
        moved = minimum_cut(*jump_problem(self._problem, self.labels, bound), largest=largest)
        return self._take(self.labels + moved)

    def fuse(self, proposal: np.ndarray) -> int:
        """Fuse the labels with ``proposal`` int32 (H, W), feasible; returns as :meth:`jump`."""
        taken = minimum_cut(*fusion_problem(self._problem, self.labels, proposal))
        return self._take(np.where(taken, proposal, self.labels))

    def _take(self, labels: np.ndarray) -> int:
        change = scaled_energy(self._problem, labels) - scaled_energy(self._problem, self.labels)
        if change >= 0:
            return 0
        self.labels = labels
        return change
