"""Memory of the compiled solver (:mod:`occ_order.crf.grid`), kept from one image to the next."""

from __future__ import annotations

import threading

import numpy as np

from occ_order.crf._kernels.layout import Grid, Residual, Search, Weights

# Label of the pad pixels: more than one away from every label, so that no arc leads to them.
PAD_LABEL = -(2**30)


class Flow:
    """Residual graph of the jumps with one bound.

    Attributes:
        residual: the arrays, amounts of flow as ``dtype``.
        bound: of the jump that these belong to; None: none yet.
    """

    def __init__(self, size: int, dtype: type) -> None:
        self.residual = Residual(
            np.zeros((4, size), dtype), np.zeros(size, np.uint8), np.zeros(size, dtype)
        )
        self.bound: str | None = None


class Workspace:
    """Arrays of one image size, 79 bytes a pixel (see :mod:`._kernels.layout`).

    Attributes:
        shape: (H, W).
        stride: distance of vertical neighbours; odd, lest columns compete for the same cache lines.
        size: number of pixels, pads included.
        flows: two, of which ``constant`` and ``modular`` jumps keep theirs as long as they can.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        height, width = shape
        self.shape = shape
        self.stride = (width + 1) | 1
        self.size = (height + 2) * self.stride + 1
        self.labels = np.full(self.size, PAD_LABEL, np.int32)
        self.pairs = np.zeros(self.size, np.uint8)
        self.node = np.zeros(self.size, np.uint32)
        self.chain = np.full(self.size, -1, np.int32)
        self.pending = np.array([0, 0, 0, 0, 0, -1])
        self.heads = np.empty(self.size + 3, np.int32)
        self.queue = np.empty(self.size + 1, np.uint32)
        self.spare = np.empty(self.size + 1, np.uint32)
        self.waiting = np.empty(self.size + 1, np.uint32)
        self.lost = np.empty(2 * self.size + 256, np.uint32)
        self.marks = np.zeros(max(16, -(-width // 64)) * 64, np.uint8)  # whole blocks
        self.set_type(np.int32)

    def reset(self) -> None:
        """Forget the flows; start the stamps in ``chain`` again before they leave 32 bits."""
        for flow in self.flows:
            flow.bound = None
        if self.pending[-1] < -(2**30):
            self.chain[:] = self.pending[-1] = -1

    def set_type(self, dtype: type) -> None:
        """Allocate the arrays that hold amounts of flow."""
        self.flows = [Flow(self.size, dtype) for _ in range(2)]

    @property
    def wide(self) -> bool:
        """Are amounts of flow 64-bit?"""
        return self.flows[0].residual.r_cap.dtype == np.int64

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        arrays = [array for array in vars(self).values() if isinstance(array, np.ndarray)]
        for flow in self.flows:
            arrays += flow.residual
        return sum(array.nbytes for array in arrays)

    def grid(self, unary: np.ndarray, weights: Weights) -> Grid:
        """Return the record of a CRF with ``unary`` int32 (H, W) in these arrays."""
        words = self.marks.view(np.int64)
        return Grid(
            unary, self.stride, self.pairs, self.labels, self.node, self.marks, words, weights
        )

    def search(self, residual: Residual, limit: int, way: int) -> Search:
        """Return the record of a search in ``residual``."""
        lists = (self.chain, self.heads, self.lost, self.waiting, self.pending)
        return Search(residual, self.node, *lists, self.stride, limit, way)

    @property
    def image(self) -> np.ndarray:
        """View int32 (H, W) of the labels without the pads."""
        return self._rows(self.labels)[:, 1 : self.shape[1] + 1]

    @property
    def proposal(self) -> np.ndarray:
        """Other labels, flat with pads, in the memory of ``lost``: until the next flow only."""
        return self.lost.view(np.int32)[: self.size]

    def propose(self, labels: np.ndarray) -> np.ndarray:
        """Write ``labels`` int32 (H, W) to :attr:`proposal`."""
        flat = self.proposal
        flat[: self.stride] = flat[self.size - self.stride - 1 :] = PAD_LABEL
        rows = self._rows(flat)
        rows[:, 0] = rows[:, self.shape[1] + 1 :] = PAD_LABEL
        rows[:, 1 : self.shape[1] + 1] = labels
        return flat

    def _rows(self, flat: np.ndarray) -> np.ndarray:
        height = self.shape[0]
        return flat[self.stride : self.stride * (height + 1)].reshape(height, self.stride)


class Pool:
    """Keeps the last workspaces: touching fresh memory takes as long as a small solve."""

    KEPT = 2  # as many threads find one

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the collector may return a workspace at any time
        self._idle: list[Workspace] = []

    def borrow(self, shape: tuple[int, int]) -> Workspace:
        """Return a workspace for images (H, W), exclusively until it is given back."""
        with self._lock:
            fitting = [work for work in self._idle if work.shape == shape and not work.wide]
            self._idle = fitting[1:]
        return fitting[0] if fitting else Workspace(shape)

    def give_back(self, workspace: Workspace) -> None:
        """Keep ``workspace`` for the next image, in place of the oldest one."""
        with self._lock:
            self._idle = [workspace, *self._idle][: self.KEPT]

    def clear(self) -> None:
        """Free what is kept."""
        with self._lock:
            self._idle = []


pool = Pool()


def workspace_bytes(shape: tuple[int, int]) -> int:
    """Return the bytes of the solver's arrays for an image (H, W), without input and output."""
    return Workspace(shape).nbytes


def release_memory() -> None:
    """Free the arrays kept for the next image of the same size."""
    pool.clear()
