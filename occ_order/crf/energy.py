r"""The CRF energy whose labels are the occlusion order (OOSIS Section 3.2, Eq. 5-8), and its input.

.. math::

    E(x) = \sum_p u_p(x_p) + \lambda \sum_{\{p,q\} \in N} [x_p \ne x_q]
         + \mu \sum_{(p,q) \in O} \bigl( c_\infty \max(0, x_q - x_p) - [x_p > x_q] \bigr)

* ``x`` int (H, W): 0 is background; a positive label occludes every neighbouring smaller label.
* ``u_p(0) = 1 - sigma_p`` and ``u_p(k) = sigma_p`` for k > 0 (Eq. 5), with ``sigma`` the
  probability of background.
* ``N`` contains every unordered pair of 4-neighbours **once**. The paper's lambda = 20 is
  assumed to apply to ordered pairs, (p, q) and (q, p), which equals ``smoothness=40``, the default.
* ``O`` contains the pairs "p occludes its neighbour q", given as ``occludes`` bool (4, H, W):
  ``occludes[d, y, x]`` iff pixel (y, x) occludes its neighbour in direction d (left, right, top,
  bottom).

The paper is ambiguous in two points. The hard constraint is the hinge ``max(0, x_q - x_p)`` instead
of the step ``[x_p < x_q]``: both forbid the same labellings, but only the hinge is submodular in
every move (the step is not at ``x_q = x_p + 1``). ``c_inf`` is finite in the solver but larger than
the energy of any feasible labelling, so that results do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from occ_order.targets.oriented_boundary import DIRECTIONS, OPPOSITE, neighbour_slices

# Solvers use integers: with integer weights many moves tie exactly, and floating-point rounding
# errors would decide ties at random. Probabilities are rounded to multiples of 2**-10.
SCALE = 1024

# Larger weights could overflow the 32-bit arithmetic of the compiled solver.
MAX_WEIGHT = 10_000.0


@dataclass(frozen=True)
class Problem:
    """A CRF in integers, in units of 1 / SCALE.

    Attributes:
        unary: int32 (H, W), ``u_p(k > 0) - u_p(0) = 2 sigma_p - 1``.
        occludes: bool (4, H, W).
        smoothness: lambda, the cost of an unordered pair of neighbours with different labels; even.
        occlusion: mu, the gain of an activated occlusion pair; even, so that half of it is an
            integer.
    """

    unary: np.ndarray
    occludes: np.ndarray
    smoothness: int
    occlusion: int

    @cached_property
    def pairs(self) -> np.ndarray:
        """Return int64 (P,), indices of the set elements of the flattened ``occludes``."""
        flat = np.ascontiguousarray(self.occludes).view(np.uint8).reshape(-1)
        words = flat[: flat.size // 8 * 8].view(np.uint64)  # mostly 0: skip eight at a time
        places = np.flatnonzero(words != 0)[:, None] * 8 + np.arange(8)
        rest = np.arange(8 * words.size, flat.size)
        return np.concatenate([part[flat[part] != 0] for part in (places.reshape(-1), rest)])


def make_problem(
    background_prob: np.ndarray, occludes: np.ndarray, *, smoothness: float, occlusion: float
) -> Problem:
    """Validate the input and round it to integers (see :data:`SCALE`).

    Args:
        background_prob: float (H, W) in [0, 1], sigma.
        occludes: bool (4, H, W).
        smoothness: lambda per unordered pair, >= 0.
        occlusion: mu, >= 0.

    Raises:
        ValueError: wrong shape or dtype, NaN, a value outside [0, 1], a pair with a neighbour
            outside the image, a weight that is negative, not finite or above :data:`MAX_WEIGHT`.
    """
    check_weights(smoothness, occlusion)
    background_prob = np.asarray(background_prob)
    check_background_prob(background_prob)
    occludes = check_occludes(occludes, background_prob.shape)
    # Round sigma itself, so that equal values have equal energies. Single precision is exact, since
    # the factor is a power of two.
    kind = np.float32 if background_prob.dtype == np.float32 else np.float64
    sigma = np.multiply(background_prob, SCALE, dtype=kind)
    unary = np.rint(sigma, out=sigma).astype(np.int32)
    unary *= 2
    unary -= SCALE
    return Problem(
        unary=unary,
        occludes=occludes,
        smoothness=2 * round(smoothness * SCALE / 2),
        occlusion=2 * round(occlusion * SCALE / 2),
    )


def check_weights(smoothness: float, occlusion: float) -> None:
    """Raise ValueError unless both weights are finite and within [0, MAX_WEIGHT]."""
    for name, value in (("smoothness", smoothness), ("occlusion", occlusion)):
        if not (np.isfinite(value) and 0 <= value <= MAX_WEIGHT):
            raise ValueError(
                f"{name}: got {value}, expected a finite number from 0 to {MAX_WEIGHT:g}"
            )


def check_background_prob(background_prob: np.ndarray) -> None:
    """Raise ValueError unless ``background_prob`` is a float (H, W) in [0, 1]."""
    if background_prob.ndim != 2:
        raise ValueError(f"background_prob: got shape {background_prob.shape}, expected (H, W)")
    if background_prob.dtype.kind not in "fiub":
        raise ValueError(f"background_prob: got dtype {background_prob.dtype}, expected a float")
    if background_prob.size == 0:
        return
    low, high = background_prob.min(), background_prob.max()
    if not (low >= 0 and high <= 1):  # also False for NaN
        raise ValueError(
            f"background_prob: got values from {low} to {high}, expected probabilities in [0, 1]"
        )


def check_occludes(occludes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return ``occludes`` as bool (4, H, W); raise ValueError for a wrong shape, type or pair."""
    occludes = np.asarray(occludes)
    if occludes.shape != (4, *shape):
        raise ValueError(f"occludes: got shape {occludes.shape}, expected {(4, *shape)}")
    if occludes.dtype != bool:
        raise ValueError(
            f"occludes: got dtype {occludes.dtype}, expected bool "
            "(convert probabilities by occludes_from_heads)"
        )
    for direction, edge in enumerate(_image_edges(occludes)):
        if edge.any():
            raise ValueError(
                f"occludes: {int(edge.sum())} pair(s) of direction {DIRECTIONS[direction]!r} "
                "leave the image, expected none at that border"
            )
    return occludes


def _image_edges(field: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the borders of a (4, H, W) field that have no neighbour in each direction."""
    return field[0, :, :1], field[1, :, -1:], field[2, :1, :], field[3, -1:, :]


def energy(
    labels: np.ndarray,
    background_prob: np.ndarray,
    occludes: np.ndarray,
    *,
    smoothness: float = 40.0,
    occlusion: float = 100.0,
) -> float:
    """Compute E(x) of OOSIS Eq. 8 in double precision, without the rounding of the solvers.

    Args:
        labels: int (H, W), >= 0.
        background_prob: float (H, W) in [0, 1].
        occludes: bool (4, H, W).
        smoothness: lambda, per unordered pair of 4-neighbours.
        occlusion: mu.

    Returns:
        The energy; ``inf`` if a pair (p, q) of O has ``x_p < x_q``.

    Raises:
        ValueError: as :func:`make_problem`; labels of another shape, not integer, or negative.
    """
    check_weights(smoothness, occlusion)
    background_prob = np.asarray(background_prob)
    check_background_prob(background_prob)
    occludes = check_occludes(occludes, background_prob.shape)
    labels = check_labels(labels, background_prob.shape)
    unary = np.where(labels > 0, background_prob, 1.0 - background_prob).sum(dtype=np.float64)
    different, active, violated = pair_counts(labels, occludes)
    if violated and occlusion > 0:
        return float("inf")
    return float(unary + smoothness * different - occlusion * active)


def background_energy(problem: Problem) -> int:
    """Compute E(0) with all pixels background, in units of 1 / SCALE: the sum of 1 - sigma."""
    # Sums in 32 bits are several times faster and sufficient for a row of an image.
    narrow = np.int32 if problem.unary.shape[1] * SCALE < 2**31 else np.int64
    rows = problem.unary.sum(axis=1, dtype=narrow)
    return (SCALE * problem.unary.size - int(rows.sum(dtype=np.int64))) // 2


def scaled_energy(problem: Problem, labels: np.ndarray) -> int:
    """Compute E(x) of the rounded problem in units of 1 / SCALE; ``labels`` must be feasible."""
    different, active, violated = pair_counts(labels, problem.occludes)
    assert not violated or not problem.occlusion, f"{violated} violated pairs"
    unary = background_energy(problem) + int(problem.unary.sum(where=labels > 0, dtype=np.int64))
    return unary + problem.smoothness * different - problem.occlusion * active


def check_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return ``labels`` as int32 (H, W); raise ValueError for a wrong shape, dtype or range."""
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise ValueError(f"labels: got shape {labels.shape}, expected {shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels: got dtype {labels.dtype}, expected integers")
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels: got a label of {labels.min()}, expected 0 or more")
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"labels: got a label of {labels.max()}, expected at most 2^31 - 1")
    return labels.astype(np.int32, copy=False)


def neighbour_pairs(field: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return views of all (p, q), q right of p (axis 1) or below p (axis 0), of (..., H, W)."""
    if axis == 1:
        return field[..., :, :-1], field[..., :, 1:]
    return field[..., :-1, :], field[..., 1:, :]


def occlusion_pairs(occludes: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bool views for neighbours along ``axis``: p occludes q, and q occludes p."""
    if axis == 1:
        return occludes[1, :, :-1], occludes[0, :, 1:]
    return occludes[3, :-1, :], occludes[2, 1:, :]


def pair_counts(labels: np.ndarray, occludes: np.ndarray) -> tuple[int, int, int]:
    """Count unordered neighbours with different labels, and activated and violated pairs of O."""
    different = active = violated = 0
    for axis in (0, 1):
        p, q = neighbour_pairs(labels, axis)
        p_over_q, q_over_p = occlusion_pairs(occludes, axis)
        above, below = p > q, p < q
        different += np.count_nonzero(above) + np.count_nonzero(below)
        active += np.count_nonzero(p_over_q & above) + np.count_nonzero(q_over_p & below)
        violated += np.count_nonzero(p_over_q & below) + np.count_nonzero(q_over_p & above)
    return int(different), int(active), int(violated)


def occludes_from_target(boundary: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Return the ordered pairs O of the targets B and E (directions with positive orientation).

    Args:
        boundary: bool or {0, 1} (H, W), the occluding pixels.
        orientation: float (4, H, W), left, right, top, bottom; sums to 1 on the boundary.

    Returns:
        bool (4, H, W).

    Raises:
        ValueError: inconsistent shapes, or a pair with a neighbour outside the image.
    """
    boundary, orientation = np.asarray(boundary), np.asarray(orientation)
    _check_heads(boundary, orientation)
    return check_occludes((orientation > 0) & (boundary > 0), boundary.shape)


def occludes_from_heads(
    boundary_prob: np.ndarray, orientation_prob: np.ndarray, *, threshold: float = 0.1
) -> np.ndarray:
    """Return consistent ordered pairs O from the probabilities of the two heads.

    ``o = b e`` (OOSIS Eq. 3); a direction is selected if ``o > threshold``. Of left and right, and
    of top and bottom, only the larger can be selected (supplement 1.4). If a pixel and its
    neighbour are both predicted to occlude each other, the larger probability is selected, and
    neither on a tie, since both together would only force equal labels. Pairs with a neighbour
    outside the image are dropped. Apply non-maximum suppression to the maps first
    (:func:`occ_order.targets.oriented_boundary.thin_directions`).

    Args:
        boundary_prob: float (H, W) in [0, 1], b.
        orientation_prob: float (4, H, W) in [0, 1], e (conditional on a boundary).
        threshold: threshold of o, in [0, 1].

    Returns:
        bool (4, H, W).

    Raises:
        ValueError: inconsistent shapes, NaN or values outside [0, 1].
    """
    boundary_prob, orientation_prob = np.asarray(boundary_prob), np.asarray(orientation_prob)
    _check_heads(boundary_prob, orientation_prob)
    for name, value in (("boundary_prob", boundary_prob), ("orientation_prob", orientation_prob)):
        if value.size and not (value.min() >= 0 and value.max() <= 1):
            raise ValueError(
                f"{name}: got values from {value.min()} to {value.max()}, expected [0, 1]"
            )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: got {threshold}, expected a number in [0, 1]")
    prob = boundary_prob * orientation_prob
    for edge in _image_edges(prob):
        edge[...] = 0
    facing = np.zeros_like(prob)  # o of the opposite direction at the neighbour
    for direction in range(4):
        here, there = neighbour_slices(direction)
        facing[direction][here] = prob[OPPOSITE[direction]][there]
    rival = prob[list(OPPOSITE)]  # o of the opposite direction at the pixel
    return (prob > threshold) & (prob >= rival) & (prob > facing)


def _check_heads(boundary: np.ndarray, orientation: np.ndarray) -> None:
    if boundary.ndim != 2 or orientation.shape != (4, *boundary.shape):
        raise ValueError(
            f"got boundary {boundary.shape} and orientation {orientation.shape}, "
            "expected (H, W) and (4, H, W)"
        )
