"""One jump of the CRF as a binary minimum-cut problem (OOSIS Section 3.3, Eq. 9-13).

A jump raises any set of pixels by one label: ``x' = x + y`` with y in {0, 1}. The energy of a pair
    as
a table of the four values of (y_p, y_q), with ``d = x_p - x_q``:

====================  ===================================================================
smoothness, d = 0     lambda if y_p != y_q
smoothness, |d| = 1   0 for the case in which labels become equal; not submodular: a bound is used
smoothness, |d| > 1   lambda always
p occludes q, d = 0   0, -mu for y = (1, 0), forbidden for (0, 1)
p occludes q, d = 1   -mu, except 0 for (0, 1)
p occludes q, d > 1   -mu always
====================  ===================================================================

Two upper bounds for |d| = 1 are submodular, and exact if no pixel moves, so that a jump that lowers
the bound lowers the energy at least as much:

* ``"constant"``: lambda always (the paper's). It ignores that raising only the lower pixel makes
  the labels equal.
* ``"modular"``: ``lambda (1 + y_high - y_low)``. It is exact in that case, but overestimates the
  cost of raising only the higher pixel.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf.energy import SCALE, Problem, neighbour_pairs, occlusion_pairs

BOUNDS = ("constant", "modular")


def hard_weight(problem: Problem) -> int:
    """Return the weight of a hard arc: more than all unary costs, smoothness and gains together."""
    num_pixels = problem.unary.size
    return num_pixels * (SCALE + 2 * problem.smoothness + 4 * problem.occlusion) + 1


def jump_problem(problem: Problem, labels: np.ndarray, bound: str) -> tuple[np.ndarray, np.ndarray]:
    """Build unary costs and arcs of the jump from ``labels`` (see :func:`.maxflow.minimum_cut`).

    Args:
        problem: the CRF.
        labels: int32 (H, W), feasible (no pair of O violated).
        bound: "constant" or "modular".

    Returns:
        unary int64 (H, W), arcs int64 (4, H, W) >= 0, in units of 1 / SCALE; the minimum is the
        change of the bound.
    """
    if bound not in BOUNDS:
        raise ValueError(f"bound: got {bound!r}, expected one of {BOUNDS}")
    hard = hard_weight(problem)
    unary = np.where(labels == 0, problem.unary, 0).astype(np.int64)
    arcs = np.zeros((4, *labels.shape), np.int64)
    for axis, (towards_q, towards_p) in ((1, (1, 0)), (0, (3, 2))):
        p, q = neighbour_pairs(labels, axis)
        cost_p, cost_q = neighbour_pairs(unary, axis)
        p_alone = neighbour_pairs(arcs[towards_q], axis)[0]
        q_alone = neighbour_pairs(arcs[towards_p], axis)[1]
        p_over_q, q_over_p = occlusion_pairs(problem.occludes, axis)

        step = p - q
        equal = step == 0
        p_alone += problem.smoothness * equal
        q_alone += problem.smoothness * equal
        if bound == "modular":
            change = problem.smoothness * (np.where(step == 1, 1, 0) - np.where(step == -1, 1, 0))
            cost_p += change
            cost_q -= change
        for front, front_cost, back_cost, back_alone, front_step in (
            (p_over_q, cost_p, cost_q, q_alone, step),
            (q_over_p, cost_q, cost_p, p_alone, -step),
        ):
            # d = 0: -mu (y_front - y_back), and never only the occluded pixel.
            gain = problem.occlusion * (front & equal)
            front_cost -= gain
            back_cost += gain
            back_alone += hard * (front & equal)
            # d = 1: raising only the occluded pixel loses the gain.
            back_alone += problem.occlusion * (front & (front_step == 1))
    return unary, arcs


def fusion_problem(
    problem: Problem, labels: np.ndarray, proposal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Build unary costs and arcs of a fusion: keep the label (y = 0) or take the proposed one.

    Exact if both or neither of two neighbours change. If the table of a pair is not submodular, the
    costs of changing only one of them are increased equally until it is. The minimum is therefore
    an upper bound of the change of energy, and at most that of accepting the whole proposal.

    Args:
        problem: the CRF.
        labels: int32 (H, W), feasible.
        proposal: int32 (H, W), feasible.

    Returns:
        As :func:`jump_problem`.
    """
    hard = hard_weight(problem)
    unary = problem.unary.astype(np.int64) * ((proposal > 0).astype(np.int64) - (labels > 0))
    arcs = np.zeros((4, *labels.shape), np.int64)
    for axis, (towards_q, towards_p) in ((1, (1, 0)), (0, (3, 2))):
        old_p, old_q = neighbour_pairs(labels, axis)
        new_p, new_q = neighbour_pairs(proposal, axis)
        pairs = occlusion_pairs(problem.occludes, axis)
        neither, _ = _pair_cost(problem, old_p - old_q, *pairs)
        p_alone, p_never = _pair_cost(problem, new_p - old_q, *pairs)
        q_alone, q_never = _pair_cost(problem, old_p - new_q, *pairs)
        both, _ = _pair_cost(problem, new_p - new_q, *pairs)
        p_alone, q_alone, both = p_alone - neither, q_alone - neither, both - neither
        # Half for each of the two cases, so that mirrored input has a mirrored result (weights are
        # even, see make_problem). Forbidden cases are submodular already.
        lift = np.where(p_never | q_never, 0, np.maximum(both - p_alone - q_alone, 0) // 2)
        p_alone, q_alone = p_alone + lift, q_alone + lift
        # Split of the cost between the two pixels and their arcs: a forbidden case is put only on
        # its arc, so that no pixel has the hard weight itself.
        share_p = np.where(p_never, np.where(q_never, both, both - q_alone), p_alone)
        share_q = both - share_p
        # Distribute the remainder equally to the two arcs; otherwise flow would have to cross the
        # image to balance them.
        slack = np.maximum(q_alone - share_q, 0)
        half = np.where(p_never | q_never, 0, slack // 2)
        cost_p, cost_q = neighbour_pairs(unary, axis)
        cost_p += share_p - half
        cost_q += share_q + half
        p_arc, q_arc = (
            neighbour_pairs(arcs[towards_q], axis)[0],
            neighbour_pairs(arcs[towards_p], axis)[1],
        )
        p_arc[...] = np.where(p_never, hard, half)
        q_arc[...] = np.where(q_never, hard, slack - half)
    return unary, arcs


def _pair_cost(
    problem: Problem, step: np.ndarray, p_over_q: np.ndarray, q_over_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy of pairs with ``step = x_p - x_q``, and which of them are forbidden."""
    above, below = step > 0, step < 0
    active = (p_over_q & above).astype(np.int64) + (q_over_p & below)
    cost = problem.smoothness * (step != 0) - problem.occlusion * active
    return cost, (p_over_q & below) | (q_over_p & above)
