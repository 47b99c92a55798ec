"""Memory of the compiled solver (:mod:`occ_order.crf.grid`), reused between images."""

from __future__ import annotations

import threading

import numpy as np

from occ_order.crf._kernels.layout import Grid, Residual, Search, Weights

# Label of padding pixels: differs by more than one from all labels, so that no arc leads there.
PAD_LABEL = -(2**30)


class Flow:
    """Residual graph of the jumps with one bound.

    Attributes:
        residual: the arrays, amounts of flow as ``dtype``.
        bound: bound of the jump that the flow is for; None = unused.
    """

    def __init__(self, size: int, dtype: type) -> None:
        self.residual = Residual(
            np.zeros((4, size), dtype), np.zeros(size, np.uint8), np.zeros(size, dtype)
        )
        self.bound: str | None = None


class Workspace:
    """Arrays for one image size, 79 bytes per pixel (see :mod:`._kernels.layout`).

    Attributes:
        shape: (H, W).
        stride: offset of vertical neighbours; odd, so that columns do not compete for cache lines.
        size: number of pixels, including padding.
        flows: two flows, so that ``constant`` and ``modular`` jumps can each keep their own.
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
        """Reset the flows; restart the stamps in ``chain`` before they exceed 32 bits."""
        for flow in self.flows:
            flow.bound = None
        if self.pending[-1] < -(2**30):
            self.chain[:] = self.pending[-1] = -1

    def set_type(self, dtype: type) -> None:
        """Allocate the arrays for amounts of flow."""
        self.flows = [Flow(self.size, dtype) for _ in range(2)]

    @property
    def wide(self) -> bool:
        """Whether amounts of flow are 64-bit."""
        return self.flows[0].residual.r_cap.dtype == np.int64

    @property
    def nbytes(self) -> int:
        """Total size of all arrays in bytes."""
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
        """View of the labels without padding, int32 (H, W)."""
        return self._rows(self.labels)[:, 1 : self.shape[1] + 1]

    @property
    def proposal(self) -> np.ndarray:
        """Second labelling, flat and padded, in the memory of ``lost`` until the next flow."""
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
    """Pool of the last workspaces: first access to new memory takes as long as a small solve."""

    KEPT = 2  # enough for two threads

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may call give_back
        self._idle: list[Workspace] = []

    def borrow(self, shape: tuple[int, int]) -> Workspace:
        """Return a workspace for images (H, W), for exclusive use until it is given back."""
        with self._lock:
            fitting = [work for work in self._idle if work.shape == shape and not work.wide]
            self._idle = fitting[1:]
        return fitting[0] if fitting else Workspace(shape)

    def give_back(self, workspace: Workspace) -> None:
        """Keep ``workspace`` for the next image; replace the oldest one."""
        with self._lock:
            self._idle = [workspace, *self._idle][: self.KEPT]

    def clear(self) -> None:
        """Free all workspaces."""
        with self._lock:
            self._idle = []


pool = Pool()


def workspace_bytes(shape: tuple[int, int]) -> int:
    """Return the memory of the solver's arrays for an image (H, W), without input and output."""
    return Workspace(shape).nbytes


def release_memory() -> None:
    """Free the workspaces that are kept for later images of the same size."""
    pool.clear()
