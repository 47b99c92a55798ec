"""Occlusion order by jump moves (OOSIS Section 3.2) and additional moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np

from occ_order.crf.energy import SCALE, Problem, background_energy, make_problem
from occ_order.crf.regions import closed_region_layers, search_regions, take_where_feasible

BOUNDS = ("alternate", "constant")
BACKENDS = ("auto", "grid", "pymaxflow")


@dataclass(frozen=True)
class CRFResult:
    """Result of :func:`solve`.

    Attributes:
        labels: int32 (H, W), 0 = background; a positive label occludes every smaller label next
            to it.
        energies: E(x) at the start (all background) and after every move, strictly decreasing;
            for sigma rounded to multiples of 1 / 1024 and weights to multiples of 1 / 512.
        num_jumps: number of moves, ``len(energies) - 1``.
        converged: no further move lowers the energy; False if stopped by ``max_jumps``.
    """

    labels: np.ndarray
    energies: list[float]
    num_jumps: int
    converged: bool


def solve(
    background_prob: np.ndarray,
    occludes: np.ndarray,
    *,
    smoothness: float = 40.0,
    occlusion: float = 100.0,
    bound: str = "alternate",
    refine: bool | None = None,
    backend: str = "auto",
    max_jumps: int = 64,
) -> CRFResult:
    """Minimise the CRF energy (OOSIS Eq. 8) approximately, by moves from "all background".

    ``bound="constant"`` is the paper's algorithm: jump moves with the constant bound, with the
    fewest pixels on a tie, until none lowers the energy. ``bound="alternate"`` makes jumps with the
    constant bound (most pixels on a tie) until none lowers the energy, then with the modular bound,
    alternately (see :mod:`occ_order.crf.moves`). With ``refine``, it also fuses the result of the
    paper's algorithm, so that the final energy is never higher, and the layers of closed regions,
    and moves whole regions (see :mod:`occ_order.crf.regions`), until nothing lowers the energy.

    The result is a local minimum. All backends return identical labels.

    Args:
        background_prob: float (H, W) in [0, 1], sigma: the probability of background.
        occludes: bool (4, H, W), left, right, top, bottom: the pixel occludes that neighbour.
            Contradictory pairs and cycles are allowed: they force equal labels.
        smoothness: lambda per unordered pair of neighbours; the paper's 20, assumed to count both
            (p, q) and (q, p), is 40 here.
        occlusion: mu.
        bound: "alternate" or "constant".
        refine: use the moves of whole regions; None = only for ``bound="alternate"``.
        backend: "grid" (compiled, needs numba), "pymaxflow" (needs PyMaxflow), or "auto": the first
            one that is installed.
        max_jumps: maximum number of moves, at least 0.

    Returns:
        The labels, energies and convergence.

    Raises:
        ValueError: wrong shape, dtype or value (see :func:`occ_order.crf.energy.make_problem`),
            unknown bound or backend, negative ``max_jumps``.
        ImportError: the backend's library is not installed; names it.

    Examples:
        >>> background = np.array([[0.9, 0.1, 0.1, 0.1, 0.9]])
        >>> occludes = np.zeros((4, 1, 5), bool)
        >>> occludes[1, 0, 1] = True  # the second pixel occludes its neighbour to the right
        >>> solve(background, occludes, smoothness=0.1, occlusion=1.0).labels
        array([[0, 2, 1, 1, 0]], dtype=int32)
    """
    if bound not in BOUNDS:
        raise ValueError(f"bound: got {bound!r}, expected one of {BOUNDS}")
    if max_jumps < 0:
        raise ValueError(f"max_jumps: got {max_jumps}, expected 0 or more")
    problem = make_problem(background_prob, occludes, smoothness=smoothness, occlusion=occlusion)
    descent = _Descent(problem, _moves(backend, problem), max_jumps)
    if refine is None:
        refine = bound == "alternate"
    published = None
    if bound == "constant":
        descent.constant()
    else:
        if refine:  # first, since its first cut is reused by the alternation
            published = descent.moves.published(max_jumps)
        descent.alternate()
    if refine:
        descent.refine(descent.moves.labels if published is None else published)
    return CRFResult(
        labels=descent.moves.labels,
        energies=[energy / SCALE for energy in descent.energies],
        num_jumps=len(descent.energies) - 1,
        converged=not descent.exhausted,
    )


def _moves(backend: str, problem: Problem):
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, expected one of {BACKENDS}")
    if backend == "auto":
        from occ_order.crf._kernels.compile import COMPILED

        backend = "grid" if COMPILED else "pymaxflow"
    if backend == "grid":
        from occ_order.crf.grid import GridJumps

        return GridJumps(problem)
    from occ_order.crf.maxflow import PyMaxflowJumps

    return PyMaxflowJumps(problem)


class _Descent:
    """Sequence of moves from the all-background labelling, with their number and energies."""

    def __init__(self, problem: Problem, moves, max_jumps: int) -> None:
        self.problem = problem
        self.moves = moves
        self.max_jumps = max_jumps
        self.exhausted = False
        self.energies = [background_energy(problem)]

    def constant(self) -> None:
        """Make the paper's jumps until none lowers the energy."""
        while self._move(partial(self.moves.jump, "constant")):
            pass

    def alternate(self) -> None:
        """Alternate jumps with the two bounds until none lowers the energy."""
        steps = (
            partial(self.moves.jump, "constant", largest=True),
            partial(self.moves.jump, "modular"),
        )
        turn = stuck = 0
        while stuck < 2:
            if self._move(steps[turn]):
                stuck = 0
            else:
                stuck += 1
                turn = 1 - turn

    def refine(self, published: np.ndarray) -> None:
        """Make fusions and moves of regions, with alternating jumps in between, until convergence.

        Args:
            published: int32 (H, W), result of the paper's algorithm.
        """
        self._move(partial(self.moves.fuse, published))
        layers = closed_region_layers(self.problem)
        while True:
            before = self.energies[-1]
            self._move(lambda: self._fuse_where_feasible(layers))
            self._move(self._search_regions)
            if self.energies[-1] == before:
                return
            self.alternate()

    def _fuse_where_feasible(self, proposal: np.ndarray) -> int:
        return self.moves.fuse(take_where_feasible(self.problem, self.moves.labels, proposal))

    def _search_regions(self) -> int:
        labels, change = search_regions(self.problem, self.moves.labels)
        if change:
            self.moves.restart(labels)
        return change

    def _move(self, move) -> bool:
        """Make one move; return False if it changed nothing or no more moves are allowed."""
        if len(self.energies) > self.max_jumps:
            self.exhausted = True
            return False
        change = move()
        if change:
            self.energies.append(self.energies[-1] + change)
        return bool(change)


def solve_many(
    problems: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    workers: int = 2,
    processes: bool = False,
    **options,
) -> Iterator[CRFResult]:
    """Run :func:`solve` on several problems in parallel; yield results in order.

    Args:
        problems: pairs (background_prob, occludes), read lazily, a few ahead.
        workers: number of parallel workers, at least 1.
        processes: use processes instead of threads. Threads suffice for the compiled solver, which
            releases the GIL. Processes are spawned: a script needs the usual
            ``if __name__ == "__main__"``.
        **options: options of :func:`solve`.

    Yields:
        One result for each problem.

    Raises:
        ValueError: as :func:`solve`, or ``workers`` below 1.
    """
    if workers < 1:
        raise ValueError(f"workers: got {workers}, expected at least 1")
    run = partial(_solve_pair, options=options)
    # A forked process inherits OpenCV's thread pool without its threads and would deadlock.
    pool: Executor = (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        if processes
        else ThreadPoolExecutor(workers)
    )
    with pool as executor:
        pending: deque[Future] = deque()
        for pair in problems:
            pending.append(executor.submit(run, pair))
            # Reading without limit would keep all maps of a data set in memory.
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _solve_pair(pair: tuple[np.ndarray, np.ndarray], *, options: dict) -> CRFResult:
    background_prob, occludes = pair
    return solve(background_prob, occludes, **options)
