"""Solutions of the CRF: compared with brute force, and unchanged by what must not matter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occ_order import crf, masks
from occ_order.crf import moves
from occ_order.crf.energy import make_problem
from occ_order.crf.grid import GridJumps

# --- input that is none


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5, 1.5])
def test_probabilities_that_are_none_are_refused(value):
    sigma = np.full((3, 4), 0.5)
    sigma[1, 2] = value
    with pytest.raises(ValueError, match="background_prob"):
        crf.solve(sigma, np.zeros((4, 3, 4), bool))


@pytest.mark.parametrize(
    "weights", [(np.nan, 1), (-1, 1), (1, np.inf), (1, -1), (2e4, 1), (1, 1e12)]
)
def test_weights_that_are_none_or_would_overflow_are_refused(weights):
    smoothness, occlusion = weights
    with pytest.raises(ValueError, match="expected a finite number from 0 to 10000"):
        crf.solve(
            np.full((2, 2), 0.5), np.zeros((4, 2, 2), bool),
            smoothness=smoothness, occlusion=occlusion,
        )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (0, 0), (0, 4)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_smallest_images_take_one_label(shape, value):
    result = crf.solve(np.full(shape, value), np.zeros((4, *shape), bool))
    assert result.labels.shape == shape and result.converged
    assert (result.labels == (value < 0.5)).all()


# --- brute force


def neighbours(shape):
    """(direction, pixel, neighbour) of every ordered pair of neighbours, pixels counted in rows."""
    height, width = shape
    for d, (dy, dx) in enumerate([(0, -1), (0, 1), (-1, 0), (1, 0)]):
        for y, x in itertools.product(range(height), range(width)):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                yield d, y * width + x, (y + dy) * width + x + dx


def brute_force(sigma, occludes, smoothness, occlusion, labels):
    """Lowest energy of all labellings, from the equation: loops over pairs, not over maps."""
    every = np.array(list(itertools.product(range(labels), repeat=sigma.size)))
    flat = sigma.ravel()
    energy = np.where(every > 0, flat, 1 - flat).sum(axis=1)
    for d, p, q in neighbours(sigma.shape):
        if p < q:
            energy += smoothness * (every[:, p] != every[:, q])
        if occludes[d].ravel()[p]:
            energy -= occlusion * (every[:, p] > every[:, q])
            energy[every[:, p] < every[:, q]] = np.inf
    return energy.min()


def reaches_the_optimum(sigma, occludes, labels):
    """Whether the answer is a best one of all labellings; what must hold of any is asserted."""
    result = crf.solve(sigma, occludes)
    energies = result.energies
    assert all(after < before for before, after in itertools.pairwise(energies))
    assert crf.energy(result.labels, sigma, occludes) == pytest.approx(energies[-1])
    best = brute_force(sigma, occludes, 40, 100, labels)
    if result.labels.max() < labels:
        assert energies[-1] >= best - 1e-6
    return energies[-1] <= best + 1e-6


def test_equals_brute_force_on_every_2_by_2_order():
    pairs = list(neighbours((2, 2)))
    rng = np.random.default_rng(0)
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        occludes = np.zeros((4, 2, 2), bool)
        for (d, p, _), on in zip(pairs, chosen, strict=True):
            occludes[d, p // 2, p % 2] = on
        # Four pixels have at most four positive labels, so this is the best of all.
        assert reaches_the_optimum(rng.integers(0, 1025, (2, 2)) / 1024, occludes, labels=5)


def test_equals_brute_force_on_3_by_3_orders_of_three_labels():
    """Orders that a labelling has, as every image's have; whatever the pixels seem to be.

    Of the 11,357 orders of this kind, all were once compared like these 60.
    """
    rng = np.random.default_rng(2)
    for _ in range(60):
        labels, occludes = rng.integers(0, 3, 9), np.zeros((4, 3, 3), bool)
        for d, p, q in neighbours((3, 3)):
            occludes[d, p // 3, p % 3] = labels[p] > labels[q]
        assert reaches_the_optimum(rng.integers(0, 1025, (3, 3)) / 1024, occludes, labels=3)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.6])
def test_most_contradictory_3_by_3_orders_reach_the_optimum(share):
    """Of random pairs, which contradict one another more than any image's; a local minimum."""
    rng = np.random.default_rng(1)
    reached = 0
    for _ in range(20):
        reached += reaches_the_optimum(*contradictory(rng, share), labels=3)
    assert reached >= 16


def contradictory(rng, share):
    """Sigma (3, 3) and random pairs that occlude."""
    occludes = np.zeros((4, 3, 3), bool)
    for d, p, _ in neighbours((3, 3)):
        occludes[d, p // 3, p % 3] = rng.random() < share
    return rng.integers(0, 1025, (3, 3)) / 1024, occludes


EVERY_MOVE = np.array(list(itertools.product((0, 1), repeat=9)))
"""The 2**9 sets of pixels of a 3 x 3 image."""


def best_jump(problem, labels, bound):
    """Value of the best of all jumps, and of each of them, by looking at every one."""
    unary, arcs = moves.jump_problem(problem, labels, bound)
    values = EVERY_MOVE @ unary.ravel()
    for d, p, q in neighbours((3, 3)):
        values += arcs[d].ravel()[p] * EVERY_MOVE[:, p] * (1 - EVERY_MOVE[:, q])
    return values.min(), values


@pytest.mark.parametrize("bound", moves.BOUNDS)
def test_every_jump_equals_brute_force_and_the_answer_has_none_left(bound):
    """A jump is the best of all its 2**9 moves; the energy falls by at least what it promises."""
    rng = np.random.default_rng(3)
    taken = 0
    for share in (0.05, 0.1, 0.3, 0.6) * 10:
        sigma, occludes = contradictory(rng, share)
        problem = make_problem(sigma, occludes, smoothness=40.0, occlusion=100.0)
        descent = GridJumps(problem)
        while True:
            before = descent.labels
            best, values = best_jump(problem, before, bound)
            change = descent.jump(bound)
            if not change:
                break
            moved = (descent.labels - before).ravel()
            assert values[(moved == EVERY_MOVE).all(axis=1)] == best
            assert change <= best < 0
            taken += 1
        assert best == 0
        answer = crf.solve(sigma, occludes)
        assert answer.converged and best_jump(problem, answer.labels, bound)[0] == 0
        published = crf.solve(sigma, occludes, bound="constant")
        assert answer.energies[-1] <= published.energies[-1]
    assert taken > 40


# --- what must not change the answer


PROBLEMS = st.integers(0, 2**32 - 1)


def random_problem(seed):
    """Sigma in 1/1024 and an order of blobs with gaps and errors, up to 10 x 12 pixels."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 11, 2))
    depth = rng.integers(0, 4, shape)
    depth = np.repeat(np.repeat(depth, 2, axis=0), 3, axis=1)[: shape[0], : shape[1]]
    occludes = np.zeros((4, *shape), bool)
    for d, p, q in neighbours(shape):
        wrong = rng.random() < 0.05
        occludes[d].ravel()[p] = wrong or (
            depth.ravel()[p] > depth.ravel()[q] and rng.random() < 0.9
        )
    noise = rng.integers(-200, 201, shape)
    sigma = np.clip(np.where(depth > 0, 200, 800) + noise, 0, 1024) / 1024
    return sigma, occludes


@settings(max_examples=40)
@given(PROBLEMS)
def test_the_energy_falls_and_is_what_it_says(seed):
    sigma, occludes = random_problem(seed)
    result = crf.solve(sigma, occludes)
    assert result.energies[-1] <= result.energies[0]
    assert all(after < before for before, after in itertools.pairwise(result.energies))
    assert result.energies[-1] == pytest.approx(crf.energy(result.labels, sigma, occludes))
    assert math.isfinite(result.energies[-1])


@settings(max_examples=25)
@given(PROBLEMS)
def test_mirrored_input_gives_the_mirrored_answer(seed):
    sigma, occludes = random_problem(seed)
    plain = crf.solve(sigma, occludes)
    for axis, swapped in ((1, [1, 0, 2, 3]), (0, [0, 1, 3, 2])):
        turned = np.flip(occludes[swapped], axis + 1)
        mirrored = crf.solve(np.flip(sigma, axis), turned)
        assert mirrored.energies == plain.energies
        np.testing.assert_array_equal(np.flip(mirrored.labels, axis), plain.labels)


@settings(max_examples=25)
@given(PROBLEMS, st.sampled_from([2, 4, 8]))
def test_terms_scaled_together_give_the_same_labels(seed, factor):
    """lambda, mu and 2 sigma - 1 all divided by a factor that keeps them on the grid of 1/1024."""
    sigma, occludes = random_problem(seed)
    sigma = 0.5 + np.round((sigma - 0.5) * 1024 / (2 * factor)) * 2 * factor / 1024
    scaled = 0.5 + (sigma - 0.5) / factor
    one = crf.solve(sigma, occludes, smoothness=40, occlusion=96)
    other = crf.solve(scaled, occludes, smoothness=40 / factor, occlusion=96 / factor)
    np.testing.assert_array_equal(one.labels, other.labels)


@settings(max_examples=25)
@given(PROBLEMS)
def test_a_constant_added_to_the_unaries_changes_only_the_energy(seed):
    """The energy of any two labellings differs by the same number, whatever the constant."""
    sigma, occludes = random_problem(seed)
    result = crf.solve(sigma, occludes)
    zero = np.zeros_like(result.labels)
    padded = np.pad(sigma, ((0, 3), (0, 0)), constant_values=1.0)
    more = np.pad(occludes, ((0, 0), (0, 3), (0, 0)))
    labels = np.pad(result.labels, ((0, 3), (0, 0)))
    gain = crf.energy(result.labels, sigma, occludes, smoothness=0) - crf.energy(
        zero, sigma, occludes, smoothness=0
    )
    gain_padded = crf.energy(labels, padded, more, smoothness=0) - crf.energy(
        np.zeros_like(labels), padded, more, smoothness=0
    )
    assert gain == pytest.approx(gain_padded)


@settings(max_examples=25)
@given(PROBLEMS, st.integers(1, 50))
def test_names_of_instances_do_not_matter(seed, shift):
    """Permuted labels: instances are components, numbered anew, whatever numbers they had."""
    sigma, occludes = random_problem(seed)
    labels = crf.solve(sigma, occludes).labels
    moved = np.where(labels > 0, labels * 3 + shift, 0).astype(np.int32)
    one, other = crf.instances(labels), crf.instances(moved)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.occlusion, other.occlusion)


def test_solver_and_masks_do_not_warn(recwarn):
    crf.solve(np.full((4, 5), 0.5), np.zeros((4, 4, 5), bool))
    masks.paint(np.zeros((0, 3, 3), bool))
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
