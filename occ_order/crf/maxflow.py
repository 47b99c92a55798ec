"""Minimum cut of one binary move by PyMaxflow; the only file that imports it (GPL).

The readable reference of :mod:`occ_order.crf.grid`, with identical results.
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
            'the CRF needs numba: pip install "occ_order[crf]"; or, for its reference solver '
            '(backend="pymaxflow"), PyMaxflow, which is GPL: pip install "occ_order[reference]"'
        ) from error
    return maxflow


def minimum_cut(unary: np.ndarray, arcs: np.ndarray, *, largest: bool = False) -> np.ndarray:
    """Minimise ``sum_p unary_p y_p + sum_d sum_p arcs_{d,p} y_p (1 - y_q)`` over binary y.

    ``q`` is the neighbour of p in direction d (left, right, top, bottom). The minimisers form a
    lattice, so the smallest and the largest set {y = 1} are unique and the same for all exact
    algorithms.

    Args:
        unary: int (H, W).
        arcs: int (4, H, W), >= 0; arcs to the outside of the image are ignored.
        largest: return the largest minimising set instead of the smallest.

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
    # PyMaxflow assigns a node to the sink side iff it can still reach the sink: the smallest sink
    # side of all minimum cuts. So {y = 1} is the sink side for the smallest set, and the source
    # side for the largest set, i.e. the complement of the smallest {y = 0}.
    cost = (-unary if largest else unary).astype(np.int64)
    graph.add_grid_tedges(nodes, np.maximum(cost, 0), np.maximum(-cost, 0))
    left, right, top, bottom = arcs.astype(np.int64)
    for p, q, p_only, q_only in (
        (nodes[:, :-1], nodes[:, 1:], right[:, :-1], left[:, 1:]),
        (nodes[:-1], nodes[1:], bottom[:-1], top[1:]),
    ):
        # An edge is cut if its tail is on the source side and its head on the sink side.
        forward, backward = (p_only, q_only) if largest else (q_only, p_only)
        graph.add_edges(p.ravel(), q.ravel(), forward.ravel(), backward.ravel())
    graph.maxflow()
    sink_side = graph.get_grid_segments(nodes)
    return ~sink_side if largest else sink_side


class PyMaxflowJumps:
    """Jump moves of one CRF, each a minimum cut of the graph of :mod:`.moves`.

    Attributes:
        labels: int32 (H, W), the current labelling; read-only, use :meth:`restart`.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.labels = np.zeros(problem.unary.shape, np.int32)

    def restart(self, labels: np.ndarray) -> None:
        """Continue from feasible ``labels`` int32 (H, W) (no pair of O violated)."""
        self.labels = np.array(labels, np.int32)

    def published(self, limit: int) -> np.ndarray:
        """Return labels int32 (H, W) after at most ``limit`` smallest jumps, constant bound.

        The solver must start from background; it continues from the result.
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
            The exact change of energy, in units of 1 / SCALE, <= 0. The jump is made only if it is
            negative; otherwise the labels are left unchanged and 0 is returned.
        """
        moved = minimum_cut(*jump_problem(self._problem, self.labels, bound), largest=largest)
        return self._take(self.labels + moved)

    def fuse(self, proposal: np.ndarray) -> int:
        """Fuse the labels with feasible ``proposal`` int32 (H, W); return as :meth:`jump`."""
        taken = minimum_cut(*fusion_problem(self._problem, self.labels, proposal))
        return self._take(np.where(taken, proposal, self.labels))

    def _take(self, labels: np.ndarray) -> int:
        change = scaled_energy(self._problem, labels) - scaled_energy(self._problem, self.labels)
        if change >= 0:
            return 0
        self.labels = labels
        return change
