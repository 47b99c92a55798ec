"""The compiled solver: bit-equal to the readable one, and to brute force on tiny grids."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occ_order.crf import grid
from occ_order.crf.energy import MAX_WEIGHT, SCALE, make_problem, scaled_energy
from occ_order.crf.grid import GridJumps
from occ_order.crf.maxflow import PyMaxflowJumps
from occ_order.crf.workspace import release_memory
from occ_order.targets.oriented_boundary import OFFSETS

WEIGHTS = ((20, 100), (40, 100), (80, 100), (0, 100), (100, 0), (0, 0), (0.5, 0.3), (1, 3))
BOUNDS = ("constant", "modular")


def random_problem(rng, height, width, *, smoothness=40, occlusion=100, density=0.2):
    """Random sigma and pairs, contradictory ones and cycles among them."""
    sigma = rng.integers(0, SCALE + 1, (height, width)) / SCALE
    if rng.random() < 0.5:
        sigma = np.where(sigma < 0.5, 0.05, 0.95)
    occludes = rng.random((4, height, width)) < density
    occludes[0, :, :1] = occludes[1, :, -1:] = occludes[2, :1] = occludes[3, -1:] = False
    return make_problem(sigma, occludes, smoothness=smoothness, occlusion=occlusion)


def random_feasible(rng, problem, patch=1):
    """Random labels of patches, raised until no pair of O is violated."""
    height, width = problem.unary.shape
    coarse = rng.integers(0, 4, (height // patch + 1, width // patch + 1), np.int32)
    labels = coarse.repeat(patch, axis=0).repeat(patch, axis=1)[:height, :width]
    while True:
        raised = labels.copy()
        for direction, (dy, dx) in enumerate(OFFSETS):
            for y, x in np.argwhere(problem.occludes[direction]):
                raised[y, x] = max(raised[y, x], raised[y + dy, x + dx])
        if np.array_equal(raised, labels):
            return labels
        labels = raised


def assert_same_walk(rng, problem, steps, patch=1):
    """The same random jumps, fusions and restarts by both solvers; ``patch``: size of patches."""
    reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
    for _ in range(steps):
        action = rng.random()
        if action < 0.25:
            labels = random_feasible(rng, problem, patch)
            changes = [solver.fuse(labels) for solver in (reference, ours)]
        elif action < 0.35:
            labels = random_feasible(rng, problem, patch)
            reference.restart(labels)
            ours.restart(labels)
            changes = [0, 0]
        else:
            bound, largest = BOUNDS[rng.integers(2)], bool(rng.integers(2))
            changes = [solver.jump(bound, largest=largest) for solver in (reference, ours)]
        assert changes[0] == changes[1] <= 0
        assert np.array_equal(reference.labels, ours.labels)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.sampled_from(WEIGHTS),
    st.sampled_from([0, 0.05, 0.2, 0.5]),
)
def test_tiny_grids_agree(seed, shape, weights, density):
    rng = np.random.default_rng(seed)
    smoothness, occlusion = weights
    problem = random_problem(
        rng, *shape, smoothness=smoothness, occlusion=occlusion, density=density
    )
    assert_same_walk(rng, problem, 8)


@pytest.mark.parametrize("smoothness", [0, 20, MAX_WEIGHT])
@pytest.mark.parametrize("occlusion", [0, 100, MAX_WEIGHT])
def test_extreme_weights_agree(smoothness, occlusion):
    rng = np.random.default_rng(0)
    for _ in range(10):
        shape = rng.integers(2, 20, 2)
        problem = random_problem(rng, *shape, smoothness=smoothness, occlusion=occlusion)
        assert_same_walk(rng, problem, 6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 40), (40, 1), (2, 33)])
def test_thin_images_agree(shape):
    rng = np.random.default_rng(1)
    for density in (0, 0.1, 0.4):
        assert_same_walk(rng, random_problem(rng, *shape, density=density), 12)


@pytest.mark.parametrize("smoothness", [0, 1, 20])
@pytest.mark.parametrize("patch", [64, 100])
def test_large_patches_agree(patch, smoothness):
    # What does not change, or changes alike, is passed over in stretches of 64 pixels.
    rng = np.random.default_rng(2)
    for density in (0, 0.0005, 0.005):
        problem = random_problem(rng, 70, 260, smoothness=smoothness, density=density)
        assert_same_walk(rng, problem, 12, patch)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_empty_images(shape):
    solver = GridJumps(random_problem(np.random.default_rng(0), *shape))
    for bound in BOUNDS:
        assert solver.jump(bound) == solver.jump(bound, largest=True) == 0
    assert solver.fuse(np.zeros(shape, np.int32)) == 0
    assert solver.labels.shape == shape and solver.labels.dtype == np.int32


def layered_problem(rng, shape, num, smoothness):
    """Boxes in layers, the later ones in front, with noise, gaps and wrong pairs."""
    height, width = shape
    depth = np.zeros(shape, int)
    for k in range(1, num + 1):
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        depth[y : y + rng.integers(4, height), x : x + rng.integers(4, width // 2)] = k
    occludes = np.zeros((4, *shape), bool)
    occludes[0, :, 1:] = depth[:, 1:] > depth[:, :-1]
    occludes[1, :, :-1] = depth[:, :-1] > depth[:, 1:]
    occludes[2, 1:] = depth[1:] > depth[:-1]
    occludes[3, :-1] = depth[:-1] > depth[1:]
    occludes &= rng.random(occludes.shape) > 0.1
    occludes[:, 1:-1, 1:-1] |= rng.random((4, height - 2, width - 2)) < 0.002
    sigma = np.where(depth > 0, 0.05, 0.95) + rng.normal(0, 0.25, shape)
    sigma = np.rint(np.clip(sigma, 0, 1) * SCALE) / SCALE
    return make_problem(sigma, occludes, smoothness=smoothness, occlusion=100)


@pytest.mark.parametrize("smoothness", [5, 20, 40, 80])
@pytest.mark.parametrize("shape", [(48, 64), (90, 31), (120, 160)])
def test_scenes_agree_until_stuck(shape, smoothness):
    rng = np.random.default_rng(smoothness)
    problem = layered_problem(rng, shape, 8, smoothness)
    reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
    start = scaled_energy(problem, ours.labels)
    turn = stuck = moves = 0
    while stuck < 2:
        options = {"bound": BOUNDS[turn], "largest": turn == 0}
        change = ours.jump(**options)
        assert change == reference.jump(**options)
        assert np.array_equal(ours.labels, reference.labels)
        stuck, turn, moves = (0, turn, moves + 1) if change else (stuck + 1, 1 - turn, moves)
        start += change
        assert start == scaled_energy(problem, ours.labels)
    assert moves >= 3


def bound_value(problem, labels, moved, bound):
    """The bound of a jump, from its definition: exact, except smoothness where |step| = 1."""
    if (scaled := hinge_energy(problem, labels + moved)) is None:
        return None
    value = scaled - hinge_energy(problem, labels)
    for axis in (0, 1):
        p, q = (np.moveaxis(labels, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        y_p, y_q = (np.moveaxis(moved, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        step = p - q
        exact = (p + y_p != q + y_q).astype(int)
        high_minus_low = np.where(step > 0, y_p - y_q, y_q - y_p)
        replaced = 1 + (high_minus_low if bound == "modular" else 0)
        value += problem.smoothness * int(np.where(abs(step) == 1, replaced - exact, 0).sum())
    return value


def hinge_energy(problem, labels):
    """scaled_energy, None where a pair of O is violated."""
    for direction, (dy, dx) in enumerate(OFFSETS):
        for y, x in np.argwhere(problem.occludes[direction]):
            if labels[y, x] < labels[y + dy, x + dx]:
                return None
    return scaled_energy(problem, labels)


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_jump_against_all_sets(bound):
    rng = np.random.default_rng(7)
    jumps = 0
    for case in range(24):
        shape = (2, 3) if case % 3 else (3, 3)
        smoothness, occlusion = WEIGHTS[case % len(WEIGHTS)]
        problem = random_problem(
            rng, *shape, smoothness=smoothness, occlusion=occlusion, density=0.25
        )
        labels = random_feasible(rng, problem)
        sets = [
            np.reshape(bits, shape).astype(np.int32)
            for bits in itertools.product((0, 1), repeat=labels.size)
        ]
        values = [bound_value(problem, labels, moved, bound) for moved in sets]
        least = min(value for value in values if value is not None)
        minimisers = [moved for moved, value in zip(sets, values, strict=True) if value == least]
        for largest in (False, True):
            wanted = np.max(minimisers, 0) if largest else np.min(minimisers, 0)
            change = scaled_energy(problem, labels + wanted) - scaled_energy(problem, labels)
            solver = GridJumps(problem)
            solver.restart(labels)
            assert solver.jump(bound, largest=largest) == min(change, 0)
            assert np.array_equal(solver.labels, labels + wanted * (change < 0))
            jumps += change < 0
    assert jumps > 10


def test_restart_forgets_the_past():
    rng = np.random.default_rng(3)
    problem = layered_problem(rng, (40, 50), 6, 40)
    labels = random_feasible(rng, problem)
    used, fresh = GridJumps(problem), GridJumps(problem)
    used.jump("constant")
    used.jump("modular", largest=True)
    for solver in (used, fresh):
        solver.restart(labels)
    for bound in BOUNDS * 3:
        assert used.jump(bound) == fresh.jump(bound)
        assert np.array_equal(used.labels, fresh.labels)


def test_labels_are_a_copy_and_bad_input_is_refused():
    problem = random_problem(np.random.default_rng(0), 4, 5)
    solver = GridJumps(problem)
    solver.labels[...] = 7
    assert not solver.labels.any()
    with pytest.raises(ValueError, match="bound: got 'both'"):
        solver.jump("both")
    with pytest.raises(ValueError, match=r"labels: got shape \(5, 4\)"):
        solver.restart(np.zeros((5, 4), np.int32))


def funnel(length):
    """A strip whose middle row must move as one; one half gains, the other pays.

    The gains of the right half reach the left only through the hard arcs of the middle row.
    """
    occludes = np.zeros((4, 3, 2 * length), bool)
    occludes[1, 1, :-1] = occludes[0, 1, 1:] = True  # contradictory: equal labels
    occludes[3, 0, :length] = True  # the top row occludes the middle one
    occludes[3, 1, length:] = True  # the middle row occludes the bottom one
    sigma = np.full(occludes.shape[1:], 0.5)
    return make_problem(sigma, occludes, smoothness=0, occlusion=MAX_WEIGHT)


@pytest.mark.parametrize(("length", "wide"), [(10, False), (60, True)])
def test_flow_beyond_32_bits(length, wide):
    problem = funnel(length)
    reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
    for bound in ("constant", "constant", "modular"):
        assert ours.jump(bound, largest=True) == reference.jump(bound, largest=True)
        assert np.array_equal(ours.labels, reference.labels)
    assert ours._workspace.wide == wide


def test_published_is_a_walk_of_its_own():
    problem = layered_problem(np.random.default_rng(5), (50, 60), 8, 20)
    for limit in (0, 1, 2, 64):
        reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
        assert np.array_equal(ours.published(limit), reference.published(limit))
        assert not ours.labels.any() and not reference.labels.any()
        for bound in ("constant", "modular", "constant"):
            assert ours.jump(bound, largest=True) == reference.jump(bound, largest=True)
            assert np.array_equal(ours.labels, reference.labels)


FIRST_MOVES = {
    "largest": lambda solver, proposal: solver.jump("constant", largest=True),
    "smallest": lambda solver, proposal: solver.jump("constant"),
    "modular": lambda solver, proposal: solver.jump("modular", largest=True),
    "restart": lambda solver, proposal: solver.restart(proposal),
    "fuse": lambda solver, proposal: solver.fuse(proposal),
}


@pytest.mark.parametrize("first_move", FIRST_MOVES)
def test_any_move_may_follow_the_published_walk(first_move):
    # Solvers look ahead to the largest constant jump, which other moves must not be mistaken for.
    rng = np.random.default_rng(3)
    num_ties = 0
    for _ in range(150):
        problem = random_problem(rng, 5, 6)
        proposal = PyMaxflowJumps(problem).published(int(rng.integers(1, 4)))
        reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
        assert np.array_equal(ours.published(8), reference.published(8))
        num_ties += ours._ahead.largest is not None
        moves = [FIRST_MOVES[first_move], FIRST_MOVES["largest"], FIRST_MOVES["modular"]]
        for move in moves:
            assert move(ours, proposal) == move(reference, proposal)
            assert np.array_equal(ours.labels, reference.labels)
    assert num_ties > 5


@pytest.mark.parametrize("overflow_at", [1, 2, 3])
def test_published_walk_beyond_32_bits(monkeypatch, overflow_at):
    problem = layered_problem(np.random.default_rng(5), (30, 40), 6, 20)
    reference, ours = PyMaxflowJumps(problem), GridJumps(problem)
    solve, calls = GridJumps._solve, []

    def overflow_once(solver, bound):
        calls.append(bound)
        return len(calls) != overflow_at and solve(solver, bound)

    monkeypatch.setattr(GridJumps, "_solve", overflow_once)
    assert np.array_equal(ours.published(8), reference.published(8))
    assert ours._workspace.wide
    for bound in ("constant", "constant", "modular"):
        assert ours.jump(bound, largest=True) == reference.jump(bound, largest=True)
        assert np.array_equal(ours.labels, reference.labels)


def test_both_searches_find_the_same(monkeypatch):
    # Without patience, the search changes sides again and again in every modular jump.
    monkeypatch.setattr(grid, "PATIENCE", 0)
    rng = np.random.default_rng(11)
    for smoothness in (5, 40):
        assert_same_walk(rng, layered_problem(rng, (40, 50), 8, smoothness), 16)
    for _ in range(30):
        assert_same_walk(rng, random_problem(rng, 6, 7), 8)


def test_threads_do_not_disturb_each_other():
    problems = [layered_problem(np.random.default_rng(seed), (60, 70), 8, 20) for seed in range(8)]

    def run(problem):
        solver = GridJumps(problem)
        while solver.jump("constant"):
            pass
        return solver.labels

    alone = [run(problem) for problem in problems]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, problems))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    release_memory()
    assert np.array_equal(run(problems[0]), alone[0])


def test_says_what_to_install(monkeypatch):
    monkeypatch.setattr(grid, "COMPILED", False)
    with pytest.raises(ImportError, match=r'pip install "occ_order\[crf\]"'):
        GridJumps(random_problem(np.random.default_rng(0), 3, 3))
