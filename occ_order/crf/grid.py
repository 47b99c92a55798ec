"""Jump moves by a compiled minimum cut on an implicit grid: :class:`GridJumps`.

The moves and labels equal those of :class:`occ_order.crf.maxflow.PyMaxflowJumps` bit for bit, at a
tenth of the time. The minimum cut with the fewest (or most) moved pixels is unique, so that all
exact solvers return the same. Design:

* There is no graph object: a pixel has the residual capacities of its four incoming arcs and an
  excess (terminal capacity), in padded arrays (layout: :mod:`._kernels.layout`).
* Only a sink tree is grown, from the pixels whose move lowers the energy (demands, connected to the
  sink); it stops at pixels whose move raises it (supplies, connected to the source). Background far
  from any instance is never visited, and the final tree is the sink side of the cut: the pixels
  that move.
* Before the first tree, flow is pushed along rows and columns (:mod:`._kernels.sweep`). The rest is
  pushed down the tree level by level, so that merging paths are augmented together.
* After a jump, capacities are updated only at pixels that moved; elsewhere the flow is reused.
  Each bound keeps its own flow across jumps with the other bound.
* A search reads only the arc bits (one byte) and the node (one word) of a pixel.

A labelling without violated ordered pairs is called *feasible*.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from occ_order.crf._kernels.compile import COMPILED
from occ_order.crf._kernels.layout import Moved, Weights
from occ_order.crf.energy import SCALE, Problem, check_labels
from occ_order.crf.moves import BOUNDS
from occ_order.crf.workspace import Flow, pool

# In modular jumps, searches from the sink and from the source alternate, since it is unknown in
# advance which of them has fewer orphans. A search is stopped once its trees have lost PATIENCE
# times the number of pixels; this budget doubles with each pair of searches.
PATIENCE = 1
NO_LIMIT = 2**62


@dataclass
class _Ahead:
    """First jump of the alternating solver, a by-product of :meth:`GridJumps.published`.

    The published solver uses the smallest minimum cut, the alternating one the largest, both from
    background and with the constant bound. Their first cuts differ by few ties, so the flow of the
    second published jump is a good initialisation of the second alternating jump.

    Attributes:
        largest: bool (H, W), pixels raised by the first alternating jump; None = there are no
            ties, and ``smallest`` is the same.
        change: change of energy by that jump, <= 0, in units of 1 / SCALE.
        smallest: bool (H, W), pixels raised by the first published jump.
        flow: whether the second flow of the workspace is a copy of that of the second published
            jump.
    """

    largest: np.ndarray | None = None
    change: int = 0
    smallest: np.ndarray | None = None
    flow: bool = False


class GridJumps:
    """Jump moves of one CRF; the interface of :class:`occ_order.crf.maxflow.PyMaxflowJumps`.

    Flow is 32-bit while no hard arc (one that forbids a labelling) carries more than 2**28. Each
    push is checked; on overflow the jump is repeated in 64 bits. The capacities of other arcs and
    of the terminals are below 2**28 by the limit on the weights. Thus the excess of a pixel, at
    most its terminal capacity plus the flow of its four arcs, stays below 2**31.

    Objects are independent: each thread can use its own.

    Args:
        problem: the CRF.

    Raises:
        ImportError: numba is not installed.
    """

    def __init__(self, problem: Problem) -> None:
        if not COMPILED:
            raise ImportError('backend="grid" needs numba: pip install "occ_order[crf]"')
        from occ_order.crf._kernels import arcs, flow, fusion, sweep

        self._arcs, self._flow = arcs, flow
        self._fusion, self._sweeps = fusion, sweep
        self._unary = np.ascontiguousarray(problem.unary, np.int32)
        self._costs = (problem.smoothness, problem.occlusion)
        self._workspace = work = pool.borrow(self._unary.shape)
        weakref.finalize(self, pool.give_back, work).atexit = False
        self._set_weights()
        arcs.pack_pairs(problem.pairs, self._grid)
        work.reset()
        work.image[...] = 0
        self._active: Flow | None = None  # the flow that ``node`` and the roots belong to
        self._num_active = self._num_roots = 0
        self._ahead: _Ahead | None = None

    @property
    def _in_use(self) -> Flow:
        """Flow to which ``node`` and the roots belong; there must be one."""
        assert self._active is not None
        return self._active

    @property
    def labels(self) -> np.ndarray:
        """int32 (H, W), a copy of the current labelling."""
        return self._workspace.image.copy()

    def restart(self, labels: np.ndarray) -> None:
        """Continue from feasible ``labels`` int32 (H, W); the flows are updated and reused."""
        self._ahead = None
        self._relabel(self._workspace.propose(check_labels(labels, self._unary.shape)))

    def _relabel(self, labels: np.ndarray) -> None:
        """Implement :meth:`restart` for flat padded labels."""
        work = self._workspace
        for flow in work.flows:
            if flow.bound:
                modular = flow.bound == "modular"
                self._arcs.relabel(labels, self._grid, flow.residual, modular, work.spare)
        work.labels[:] = labels
        self._active = None

    def published(self, limit: int) -> np.ndarray:
        """Compute the paper's solution: at most ``limit`` smallest jumps with the constant bound.

        Must be called on a new solver, with all labels background (0); they are background again
        afterwards. If the next move is the largest jump with the constant bound, its result and
        most of the flow of the jump after it are reused: see :class:`_Ahead`.

        Returns:
            Labels int32 (H, W).
        """
        work = self._workspace
        first, second = work.flows
        ahead: _Ahead | None = None
        for taken in range(limit):
            if not self._solve("constant"):
                self._widen()
                work.image[...] = 0
                return self.published(limit)
            if taken == 0:
                ahead = self._look_ahead()
            elif taken == 1 and ahead is not None:
                for source, copy in zip(first.residual, second.residual, strict=True):
                    copy[...] = source
                ahead.flow = True
            change = self._take_cut()
            if taken == 0 and ahead is not None:
                ahead.smallest = work.image > 0
                if ahead.largest is None:
                    ahead.change = change
            if not change:
                break
        labels = self.labels
        first.bound = None
        work.image[...] = 0
        self._active = None
        self._ahead = ahead
        return labels

    def _look_ahead(self) -> _Ahead:
        """Compute the largest minimum cut and its change of energy, if there are ties."""
        work = self._workspace
        if not self._add_ties():
            return _Ahead()
        largest = np.empty(work.shape, bool)
        self._arcs.draw_moved(self._grid, largest)
        change = self._arcs.energy_change(self._list_moved(), self._grid)
        self._flow.drop_ties(work.node)
        return _Ahead(largest, min(change, 0))

    def jump(self, bound: str, *, largest: bool = False) -> int:
        """Raise the labels of the smallest (or largest) set of pixels that minimises the bound.

        Args:
            bound: "constant" or "modular" (see :mod:`occ_order.crf.moves`).
            largest: use the largest such set instead of the smallest.

        Returns:
            The exact change of energy (not of the bound), in units of 1 / SCALE, <= 0. If it would
            not be negative, the labels are left unchanged and 0 is returned.

        Raises:
            ValueError: unknown bound.
        """
        if bound not in BOUNDS:
            raise ValueError(f"bound: got {bound!r}, expected one of {BOUNDS}")
        ahead, self._ahead = self._ahead, None
        if ahead and largest and bound == "constant":
            return self._go_ahead(ahead)
        if not self._solve(bound):
            self._widen()
            return self.jump(bound, largest=largest)
        return self._take_cut(self._add_ties() if largest else 0)

    def _go_ahead(self, ahead: _Ahead) -> int:
        """Make the jump computed by :meth:`published`; return its change of energy."""
        work = self._workspace
        if ahead.change:
            work.image[...] = ahead.smallest
            if ahead.flow:
                work.flows[1].bound = "constant"
            if ahead.largest is not None:
                self._relabel(work.propose(ahead.largest))
        return ahead.change

    def _add_ties(self) -> int:
        """Mark the pixels that only the largest minimum cut moves; return their number."""
        return self._flow.add_ties(self._grid, self._in_use.residual.arcs, self._workspace.queue)

    def _take_cut(self, num_ties: int = 0) -> int:
        """Raise the labels of tree and ties if that lowers the energy; return as :meth:`jump`."""
        k, work = self._arcs, self._workspace
        self._num_active = self._num_roots = 0
        if not num_ties and work.pending[self._flow.NUM_ROOTS] == 0:
            return 0
        moved, tr_cap = self._list_moved(), self._in_use.residual.tr_cap
        change = k.energy_change(moved, self._grid)
        if change >= 0:
            k.free_nodes(moved, tr_cap, work.node)
            return 0
        for flow in work.flows:
            if flow.bound:
                k.rewrite(moved, self._grid, flow.residual, flow.bound == "modular")
        self._num_active = self._num_roots = k.raise_labels(moved, self._grid, tr_cap, work.queue)
        return change

    def _list_moved(self) -> Moved:
        """List the pixels that move, in the memory of the next search."""
        work = self._workspace
        moved = Moved(work.spare, work.waiting)
        num_runs, num_rim = self._arcs.list_moved(self._grid, moved)
        return Moved(moved.runs[:num_runs], moved.rim[:num_rim])

    def fuse(self, proposal: np.ndarray) -> int:
        """Fuse the labels with a proposal: each pixel keeps its label or takes the proposed one.

        Args:
            proposal: int32 (H, W), feasible.

        Returns:
            As :meth:`jump`.
        """
        proposal = np.ascontiguousarray(check_labels(proposal, self._unary.shape))
        self._ahead = None
        k, work = self._fusion, self._workspace
        flow = self._spare_flow("constant")
        flow.bound = None
        flat = work.propose(proposal)
        k.initialise_fusion(self._grid, flat, flow.residual, work.spare)
        self._active = flow
        self._find_roots(1)
        if not self._maximise_flow(self._flow.FORWARD):
            self._widen()
            return self.fuse(proposal)
        self._active = None
        change = k.fusion_change(self._grid, proposal)
        if change >= 0:
            return 0
        flat[:] = work.labels  # overwritten by the flow
        k.take_proposal(self._grid, proposal, flat)
        self._relabel(flat)
        return change

    def _set_weights(self) -> None:
        """Set the capacity of hard arcs for the dtype of the flow, and the record of the CRF."""
        bits = 64 if self._workspace.wide else 32
        weights = Weights(*self._costs, hard=1 << (bits - 3), limit=1 << (bits - 4))
        self._grid = self._workspace.grid(self._unary, weights)

    def _widen(self) -> None:
        """Change to 64-bit flow; all flows are reset."""
        assert not self._workspace.wide
        self._workspace.set_type(np.int64)
        self._set_weights()
        self._active = None

    def _spare_flow(self, bound: str) -> Flow:
        """Return the flow of ``bound``; otherwise an unused one, or the second."""
        first, second = self._workspace.flows
        for flow in (first, second):
            if flow.bound == bound:
                return flow
        return second if first.bound else first

    def _solve(self, bound: str) -> bool:
        """Compute the maximum flow of the jump from the current labels; False on overflow."""
        work = self._workspace
        flow = self._spare_flow(bound)
        modular = bound == "modular"
        if flow.bound is None:
            self._initialise(flow, modular)
            flow.bound = bound
        if self._active is not flow:
            self._active = flow
            self._find_roots(1)
        if not modular:
            return self._maximise_flow(self._flow.FORWARD)
        budget = PATIENCE * work.size
        while True:
            if not self._maximise_flow(self._flow.FORWARD, budget):
                return False
            if self._outcome == self._flow.DONE:
                return True
            self._find_roots(-1)
            if not self._maximise_flow(self._flow.REVERSE, budget):
                return False
            self._find_roots(1)
            budget = 2 * budget + 1

    def _initialise(self, flow: Flow, modular: bool) -> None:
        """Write capacities of a jump from the current labels; push flow along rows and columns."""
        work = self._workspace
        wanted = work.lost.view(np.int32)
        self._sweeps.initialise(self._grid, flow.residual, modular, work.spare, wanted)

    def _find_roots(self, sign: int) -> None:
        """Initialise all nodes and list the roots; sign 1: demands, -1: supplies."""
        tr_cap, active = self._in_use.residual.tr_cap, self._workspace.queue
        self._num_active, self._num_roots = self._arcs.find_roots(self._grid, tr_cap, active, sign)

    def _maximise_flow(self, way: int, budget: int = NO_LIMIT) -> bool:
        """Run :func:`._kernels.flow.maximise_flow`; return False on overflow."""
        work = self._workspace
        self._outcome = self._flow.maximise_flow(
            work.search(self._in_use.residual, self._grid.weights.limit, way),
            work.queue,
            self._num_active,
            self._num_roots,
            work.spare,
            budget,
        )
        return self._outcome != self._flow.OVERFLOWN


def warm_up() -> None:
    """Compile every kernel for 32-bit and 64-bit flow, or load it from numba's cache.

    Compilation takes about half a minute.
    """
    unary = np.full((6, 8), SCALE, np.int32)
    unary[1:5, 1:7] = -SCALE
    occludes = np.zeros((4, 6, 8), bool)
    occludes[1, 2:4, 3] = True
    for wide in (False, True):
        solver = GridJumps(Problem(unary, occludes, 2, 2))
        if wide:
            solver._widen()
        layers = solver.published(2)
        for bound in BOUNDS:
            solver.jump(bound, largest=True)
        solver.restart(np.zeros_like(layers))
        solver.fuse(layers)
