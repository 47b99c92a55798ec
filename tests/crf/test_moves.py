"""The binary problems of jumps and fusions, against every one of their 2**n moves."""

import itertools

import numpy as np
import pytest

from occ_order.crf.energy import SCALE, make_problem, pair_counts, scaled_energy
from occ_order.crf.maxflow import PyMaxflowJumps, minimum_cut
from occ_order.crf.moves import BOUNDS, fusion_problem, hard_weight, jump_problem
from occ_order.targets.oriented_boundary import OFFSETS


def random_problem(rng, height, width):
    sigma = rng.integers(0, SCALE + 1, (height, width)) / SCALE
    occludes = rng.random((4, height, width)) < rng.choice([0.1, 0.3])
    occludes[0, :, 0] = occludes[1, :, -1] = occludes[2, 0] = occludes[3, -1] = False
    smoothness, occlusion = rng.choice([0, 1, 5, 40]), rng.choice([0, 3, 10, 100])
    return make_problem(sigma, occludes, smoothness=smoothness, occlusion=occlusion)


def feasible(problem, labels):
    return pair_counts(labels, problem.occludes)[2] == 0


def random_labels(rng, problem):
    """Random labels without a violated pair: raise occluders until none is left."""
    shape = problem.unary.shape
    labels = rng.integers(0, 4, shape).astype(np.int32)
    for _ in range(labels.size * 4):
        for d, (dy, dx) in enumerate(OFFSETS):
            for y, x in np.argwhere(problem.occludes[d]):
                labels[y, x] = max(labels[y, x], labels[y + dy, x + dx])
    return labels


def all_moves(shape):
    for bits in itertools.product((False, True), repeat=int(np.prod(shape))):
        yield np.array(bits).reshape(shape)


def cut_value(unary, arcs, moved):
    """What :func:`minimum_cut` minimises, written out pixel by pixel."""
    value = int(unary[moved].sum())
    height, width = moved.shape
    for d, (dy, dx) in enumerate(OFFSETS):
        for y, x in np.argwhere(moved):
            if 0 <= y + dy < height and 0 <= x + dx < width and not moved[y + dy, x + dx]:
                value += int(arcs[d, y, x])
    return value


SHAPES = [(1, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 3)]


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_jump_bounds_every_move_and_finds_the_smallest_best(bound):
    rng = np.random.default_rng(5)
    for trial in range(60):
        problem = random_problem(rng, *SHAPES[trial % len(SHAPES)])
        labels = random_labels(rng, problem)
        unary, arcs = jump_problem(problem, labels, bound)
        assert (arcs >= 0).all()
        start = scaled_energy(problem, labels)
        values, moves = [], []
        for moved in all_moves(labels.shape):
            value = cut_value(unary, arcs, moved)
            if feasible(problem, labels + moved):
                assert value >= scaled_energy(problem, labels + moved) - start
            elif problem.occlusion:
                assert value > hard_weight(problem) // 2
            values.append(value)
            moves.append(moved)
        assert cut_value(unary, arcs, np.zeros(labels.shape, bool)) == 0
        best = [m for m, value in zip(moves, values, strict=True) if value == min(values)]
        assert np.array_equal(minimum_cut(unary, arcs), np.logical_and.reduce(best))
        assert np.array_equal(minimum_cut(unary, arcs, largest=True), np.logical_or.reduce(best))


def test_a_fusion_bounds_every_mixture_and_is_exact_at_both_ends():
    rng = np.random.default_rng(6)
    for trial in range(80):
        problem = random_problem(rng, *SHAPES[trial % len(SHAPES)])
        labels, proposal = random_labels(rng, problem), random_labels(rng, problem)
        unary, arcs = fusion_problem(problem, labels, proposal)
        assert (arcs >= 0).all()
        start = scaled_energy(problem, labels)
        for moved in all_moves(labels.shape):
            mixed = np.where(moved, proposal, labels)
            value = cut_value(unary, arcs, moved)
            if feasible(problem, mixed):
                assert value >= scaled_energy(problem, mixed) - start
            elif problem.occlusion:
                assert value > hard_weight(problem) // 2
        whole = cut_value(unary, arcs, np.ones(labels.shape, bool))
        assert whole == scaled_energy(problem, proposal) - start
        fused = PyMaxflowJumps(problem)
        fused.restart(labels)
        change = fused.fuse(proposal)
        assert change <= min(0, whole)
        assert scaled_energy(problem, fused.labels) == start + change


def test_an_unknown_bound_is_refused():
    problem = random_problem(np.random.default_rng(0), 2, 2)
    with pytest.raises(ValueError, match="bound: got 'tight'"):
        jump_problem(problem, np.zeros((2, 2), np.int32), "tight")


def test_the_empty_image_has_an_empty_cut():
    assert minimum_cut(np.zeros((0, 3), int), np.zeros((4, 0, 3), int)).shape == (0, 3)
