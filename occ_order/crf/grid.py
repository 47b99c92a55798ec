"""Jump moves by a compiled minimum cut on the implicit grid: :class:`GridJumps`.

The same moves as :class:`occ_order.crf.maxflow.PyMaxflowJumps` with bit-equal labels, an order of
magnitude faster. The minimiser with the fewest (or most) pixels is unique, so any exact solver
finds the same. What makes this one fast:

* Nothing is built: four arc capacities and one terminal value per pixel, in one padded array.
* One search tree, grown from the pixels that gain by moving, stops at those that lose. Background
  far from any instance is never visited, and the final tree is the move itself.
* Most flow is sent along rows and columns before any path is searched.
* A jump changes the energy function only where pixels moved; everywhere else the flow stays.
"""

from __future__ import annotations

import threading
import weakref

import numpy as np

from occ_order.crf._compile import COMPILED
from occ_order.crf.energy import Problem, check_labels
from occ_order.crf.moves import BOUNDS

# Label of the pad pixels: more than one away from every label, so that no arc leads to them.
PAD_LABEL = -(2**30)


class _Workspace:
    """Arrays of one image size, 57 bytes a pixel (see :mod:`._grid_kernels` for the layout).

    Attributes:
        shape: (H, W).
        stride: distance of vertical neighbours; odd, lest columns compete for the same cache lines.
        size: number of pixels, pads included.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        height, width = shape
        self.shape = shape
        self.stride = (width + 1) | 1
        self.size = (height + 2) * self.stride + 1
        self.labels = np.full(self.size, PAD_LABEL, np.int32)
        self.pairs = np.zeros(self.size, np.uint8)
        self.node = np.zeros(self.size, np.int32)
        self.chain = np.full(self.size, -1, np.int32)
        self.pending = np.array([0, 0, 0, -1])
        self.heads = np.empty(self.size + 3, np.int32)
        self.queue = np.empty(self.size + 1, np.int32)
        self.spare = np.empty(self.size + 1, np.int32)
        self.waiting = np.empty(self.size, np.int32)
        self.lost = np.empty(2 * self.size, np.int32)
        self.set_type(np.int32)

    def renew_stamps(self) -> None:
        """Start the stamps in ``chain`` again before they could leave 32 bits."""
        if self.pending[-1] < -(2**30):
            self.chain[:] = self.pending[-1] = -1

    def set_type(self, dtype: type) -> None:
        """Allocate the arrays that hold amounts of flow."""
        self.inc = np.zeros(4 * self.size, dtype)
        self.excess = np.zeros(self.size, dtype)

    @property
    def image(self) -> np.ndarray:
        """View int32 (H, W) of the labels without the pads."""
        height, width = self.shape
        rows = self.labels[self.stride : self.stride * (height + 1)].reshape(height, self.stride)
        return rows[:, 1 : width + 1]


class _Pool:
    """Keeps the workspace used last: touching fresh memory takes as long as a small solve."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the collector may return a workspace at any time
        self._idle: _Workspace | None = None

    def borrow(self, shape: tuple[int, int]) -> _Workspace:
        with self._lock:
            workspace, self._idle = self._idle, None
        if workspace is None or workspace.shape != shape or workspace.inc.dtype != np.int32:
            workspace = _Workspace(shape)
        return workspace

    def give_back(self, workspace: _Workspace) -> None:
        with self._lock:
            self._idle = workspace

    def clear(self) -> None:
        with self._lock:
            self._idle = None


_pool = _Pool()


def workspace_bytes(shape: tuple[int, int]) -> int:
    """Size of the solver's arrays for an image (H, W); the input and the answer come on top."""
    arrays = vars(_Workspace(shape)).values()
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def release_memory() -> None:
    """Free the arrays kept for the next image of the same size."""
    _pool.clear()


class GridJumps:
    """Jump moves of one CRF; the interface of :class:`occ_order.crf.maxflow.PyMaxflowJumps`.

    Amounts of flow are 32-bit while no hard arc (the one that forbids a labelling) carries more
    than 2**28; each push is checked, and the solver starts again in 64 bits if one would. Other
    arcs and the terminal values stay below 2**28 by the limit on the weights, so the excess of a
    pixel, its terminal value and what its four arcs carry, stays below 2**31.

    Objects are independent: threads may use one each.

    Args:
        problem: the CRF.

    Raises:
        ImportError: numba is not installed.
    """

    def __init__(self, problem: Problem) -> None:
        if not COMPILED:
            raise ImportError(
                'backend="grid" needs numba: pip install numba (or use backend="pymaxflow")'
            )
        from occ_order.crf import _grid_kernels

        self._kernels = _grid_kernels
        self._unary = np.ascontiguousarray(problem.unary, np.int32)
        self._costs = (problem.smoothness, problem.occlusion)
        self._workspace = work = _pool.borrow(self._unary.shape)
        weakref.finalize(self, _pool.give_back, work).atexit = False
        _grid_kernels.pack_pairs(*_bytes_and_words(problem.occludes), work.pairs, work.stride)
        self._set_hard_weight()
        work.renew_stamps()
        work.image[...] = 0
        self._bound: str | None = None
        self._num_roots = 0

    @property
    def labels(self) -> np.ndarray:
        """int32 (H, W), a copy of the current labelling."""
        return self._workspace.image.copy()

    def restart(self, labels: np.ndarray) -> None:
        """Go on from ``labels`` int32 (H, W), feasible (no pair of O violated)."""
        self._workspace.image[...] = check_labels(labels, self._unary.shape)
        self._bound = None

    def jump(self, bound: str, *, largest: bool = False) -> int:
        """Raise the pixels of the smallest (or largest) set that minimises the bound.

        Args:
            bound: "constant" or "modular" (see :mod:`occ_order.crf.moves`).
            largest: the largest such set instead of the smallest.

        Returns:
            The exact change of energy, in units of 1 / SCALE, <= 0. The jump is taken only where
            it is negative; otherwise the labels stay as they are and the answer is 0.
        """
        if bound not in BOUNDS:
            raise ValueError(f"bound: got {bound!r}, expected one of {BOUNDS}")
        k, work = self._kernels, self._workspace
        self._set_bound(bound)
        if not self._maximise_flow():
            self._widen()
            return self.jump(bound, largest=largest)
        self._num_roots = 0
        if largest:
            k.add_ties(work.shape, work.stride, work.inc, work.excess, work.node, work.queue)
        moved = work.spare
        count = k.list_moved(work.node, moved)
        change = k.energy_change(
            moved,
            count,
            self._unary,
            work.stride,
            work.labels,
            work.pairs,
            self._weights,
            work.node,
        )
        if change >= 0:
            work.node[:] = 0
            return 0
        self._num_roots = k.apply_move(
            moved,
            count,
            work.stride,
            work.labels,
            work.pairs,
            self._weights,
            bound == "modular",
            work.inc,
            work.excess,
            work.node,
            work.queue,
        )
        return change

    def fuse(self, proposal: np.ndarray) -> int:
        """Take ``proposal`` int32 (H, W), feasible, where that is good; answer as :meth:`jump`."""
        proposal = np.ascontiguousarray(check_labels(proposal, self._unary.shape))
        k, work = self._kernels, self._workspace
        self._bound = None
        work.node[:] = 0
        k.initialise_fusion(
            self._unary,
            work.stride,
            work.labels,
            proposal,
            work.pairs,
            self._weights,
            work.inc,
            work.excess,
        )
        self._sweep()
        self._num_roots = k.find_roots(work.shape, work.stride, work.excess, work.node, work.queue)
        if not self._maximise_flow():
            self._widen()
            return self.fuse(proposal)
        moved = work.spare
        count = k.list_moved(work.node, moved)
        change = k.fusion_change(
            moved,
            count,
            self._unary,
            work.stride,
            work.labels,
            proposal,
            work.pairs,
            self._weights,
            work.node,
        )
        if change >= 0:
            return 0
        k.take_proposal(moved, count, work.stride, work.labels, proposal)
        return change

    def _set_hard_weight(self) -> None:
        bits = 8 * self._workspace.inc.itemsize
        self._weights = (*self._costs, 1 << (bits - 3))
        self._limit = 1 << (bits - 4)  # what a hard arc must have left

    def _widen(self) -> None:
        assert self._workspace.inc.dtype == np.int32
        self._workspace.set_type(np.int64)
        self._set_hard_weight()
        self._bound = None

    def _set_bound(self, bound: str) -> None:
        """Bring costs, arcs and the list of pixels with a demand to the jump from these labels."""
        k, work = self._kernels, self._workspace
        if self._bound == bound:
            return
        state = (work.labels, work.pairs, self._weights)
        if self._bound is None:
            work.node[:] = 0
            k.initialise(
                self._unary,
                work.stride,
                work.labels,
                not work.image.any(),
                work.pairs,
                self._weights,
                bound == "modular",
                work.inc,
                work.excess,
            )
            self._sweep()
            self._num_roots = k.find_roots(
                work.shape, work.stride, work.excess, work.node, work.queue
            )
        else:
            self._num_roots = k.renew(
                work.shape,
                work.stride,
                *state,
                self._bound == "modular",
                bound == "modular",
                work.inc,
                work.excess,
                work.node,
                work.queue,
                self._num_roots,
            )
            self._sweep()
        self._bound = bound

    def _sweep(self) -> None:
        work = self._workspace
        self._kernels.sweep(work.shape, work.stride, self._limit, work.inc, work.excess, work.lost)

    def _maximise_flow(self) -> bool:
        work = self._workspace
        arrays = (work.inc, work.excess, work.node, work.chain, work.heads, work.lost, work.waiting)
        return self._kernels.maximise_flow(
            work.queue,
            self._num_roots,
            work.spare,
            work.stride,
            self._limit,
            arrays,
            work.pending,
        )


def _bytes_and_words(occludes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (4, H, W), and all but its last few bytes as uint64: zeros are skipped by eights."""
    planes = np.ascontiguousarray(occludes).view(np.uint8)
    flat = planes.reshape(-1)
    return planes, flat[: flat.size // 8 * 8].view(np.uint64)
