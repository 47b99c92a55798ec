"""One cycle of alpha-expansion, the baseline of jump moves (OOSIS supplement, section 2)."""

from __future__ import annotations

import numpy as np

from occ_order.crf.energy import SCALE, background_energy, make_problem
from occ_order.crf.solve import CRFResult, _moves


def expand(
    background_prob: np.ndarray,
    occludes: np.ndarray,
    *,
    max_label: int,
    smoothness: float = 40.0,
    occlusion: float = 100.0,
    backend: str = "auto",
) -> CRFResult:
    """Expand each label 1, 2, ..., ``max_label`` once, starting from background.

    In an expansion of k every pixel keeps its label or takes k, minimising the energy. As labels
    are at most k - 1 before it, the energy of every pair is submodular and each expansion is exact.
    Unlike a jump, it cannot raise pixels of different labels at the same time.

    Args:
        background_prob: float (H, W) in [0, 1].
        occludes: bool (4, H, W).
        max_label: number of expansions, at least 0.
        smoothness: lambda per unordered pair of neighbours.
        occlusion: mu.
        backend: see :func:`occ_order.crf.solve`.

    Returns:
        See :func:`occ_order.crf.solve`; ``converged`` if the last expansion changed nothing.

    Raises:
        ValueError: as :func:`occ_order.crf.solve`, or a negative ``max_label``.
    """
    if max_label < 0:
        raise ValueError(f"max_label: got {max_label}, expected 0 or more")
    problem = make_problem(background_prob, occludes, smoothness=smoothness, occlusion=occlusion)
    moves = _moves(backend, problem)
    energies, change = [background_energy(problem)], 0
    for label in range(1, max_label + 1):
        change = moves.fuse(np.full(problem.unary.shape, label, np.int32))
        if change:
            energies.append(energies[-1] + change)
    return CRFResult(
        labels=moves.labels,
        energies=[energy / SCALE for energy in energies],
        num_jumps=len(energies) - 1,
        converged=not change,
    )
