"""The solver: worked examples, guarantees, and independent checks on tiny grids."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occ_order.crf import energy, instances, occludes_from_target, solve, solve_many
from occ_order.crf.energy import SCALE, make_problem, scaled_energy
from occ_order.formats.cocoa import load_cocoa
from occ_order.masks import bordering_pairs, decode_all, paint
from occ_order.metrics import oair
from occ_order.targets.oriented_boundary import flip_orientation, oriented_boundary

BACKENDS = ("pymaxflow", "grid")


def random_crf(rng, height, width, density=0.2):
    sigma = rng.integers(0, SCALE + 1, (height, width)) / SCALE
    occludes = rng.random((4, height, width)) < density
    occludes[0, :, 0] = occludes[1, :, -1] = occludes[2, 0] = occludes[3, -1] = False
    return sigma, occludes


def two_rectangles(gap_rows):
    """24 x 30 in front of 24 x 31, side by side on 50 x 80; no order known in ``gap_rows``."""
    ids = np.zeros((50, 80), int)
    ids[13:37, 9:39] = 1
    ids[13:37, 39:70] = 2
    boundary, orientation = oriented_boundary(ids, np.array([[0, 1], [0, 0]], np.int8))
    occludes = occludes_from_target(boundary, orientation)
    for row in gap_rows:
        occludes[1, 13 + row, 38] = False
    return ids, np.where(ids > 0, 0.05, 0.95), occludes


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_rectangles_with_a_gap(backend):
    ids, sigma, occludes = two_rectangles((6, 12, 13, 18))
    options = {"smoothness": 20, "occlusion": 100, "backend": backend}
    # Truth: 4,000 px at .05; 170 outline pairs at 20 - 100; 24 contact pairs, 20 of them in O.
    truth = 4000 * 0.05 + 170 * (20 - 100) + 24 * 20 - 20 * 100
    assert truth == -14920

    published = solve(sigma, occludes, bound="constant", **options)
    assert energy(published.labels, sigma, occludes, smoothness=20) == pytest.approx(-14480)
    assert np.unique(published.labels[ids == 1]).tolist() == [2]
    strip = published.labels == 1
    assert strip.sum() == 20 and (np.nonzero(strip)[1] == 39).all()

    ours = solve(sigma, occludes, bound="alternate", **options)
    assert energy(ours.labels, sigma, occludes, smoothness=20) == pytest.approx(truth)
    front, back = np.unique(ours.labels[ids == 1]), np.unique(ours.labels[ids == 2])
    assert len(front) == len(back) == 1 and front > back > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("smoothness", "after"), [(20, (-1397.3, -1518.2)), (40, (-997.3, -1138.2))]
)
def test_worked_example_move_by_move(backend, smoothness, after):
    ids = np.zeros((6, 6), int)
    ids[1:4, 1:4] = 1
    ids[2:5, 4] = ids[3:5, 3] = 2
    ids[3, 2] = 1
    ids[3, 3] = 2
    boundary, orientation = oriented_boundary(ids, np.array([[0, 1], [0, 0]], np.int8))
    result = solve(
        np.where(ids > 0, 0.05, 0.95),
        occludes_from_target(boundary, orientation),
        smoothness=smoothness,
        bound="constant",
        backend=backend,
    )
    assert result.energies == pytest.approx([13.5, *after], abs=36 / SCALE)
    assert np.array_equal(result.labels, np.select([ids == 1, ids == 2], [2, 1]))
    assert result.num_jumps == 2 and result.converged


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_energy_falls_labels_are_feasible_and_ours_is_never_worse(seed):
    rng = np.random.default_rng(seed)
    sigma, occludes = random_crf(rng, *rng.integers(1, 9, 2), density=rng.choice([0.05, 0.2]))
    weights = {"smoothness": float(rng.choice([0, 5, 20, 80])), "occlusion": 50.0}
    problem = make_problem(sigma, occludes, **weights)
    ends = {}
    for bound, refine in (("constant", False), ("alternate", False), ("alternate", True)):
        result = solve(sigma, occludes, bound=bound, refine=refine, backend="pymaxflow", **weights)
        assert (np.diff(result.energies) < 0).all()
        assert result.converged and result.num_jumps == len(result.energies) - 1
        assert np.isfinite(energy(result.labels, sigma, occludes, **weights))
        assert result.energies[-1] * SCALE == scaled_energy(problem, result.labels)
        ends[bound, refine] = result.energies[-1]
    best = ends["alternate", True]
    assert best <= ends["alternate", False] and best <= ends["constant", False]


def one_expansion_cycle(sigma, occludes, num_labels, **weights):
    """Alpha-expansion for 1, 2, ... over all 2**n moves each: exact, so as good as any."""
    labels = np.zeros(sigma.shape, int)
    for alpha in range(1, num_labels + 1):
        candidates = (
            np.where(np.array(bits).reshape(sigma.shape), alpha, labels)
            for bits in itertools.product((False, True), repeat=sigma.size)
        )
        labels = min(candidates, key=lambda x: energy(x, sigma, occludes, **weights))
    return energy(labels, sigma, occludes, **weights)


def test_a_cycle_of_alpha_expansion_is_never_better():
    rng = np.random.default_rng(3)
    better = 0
    for _ in range(25):
        height, width = rng.choice([(1, 6), (2, 3), (2, 4)])
        # Layers 0..2 and the true pairs between them, some lost: as a network would see a scene.
        truth = rng.integers(0, 3, (height, width))
        occludes = np.zeros((4, height, width), bool)
        keep = rng.random(occludes.shape) < 0.9
        occludes[0, :, 1:] = truth[:, 1:] > truth[:, :-1]
        occludes[1, :, :-1] = truth[:, :-1] > truth[:, 1:]
        occludes[2, 1:] = truth[1:] > truth[:-1]
        occludes[3, :-1] = truth[:-1] > truth[1:]
        occludes &= keep
        sigma = np.where(truth > 0, 0.05, 0.95)
        weights = {"smoothness": 20.0, "occlusion": 100.0}
        ours = solve(sigma, occludes, bound="constant", backend="pymaxflow", **weights)
        ours_energy = energy(ours.labels, sigma, occludes, **weights)
        expansion = one_expansion_cycle(sigma, occludes, 2, **weights)
        assert ours_energy <= expansion + 1e-9
        better += ours_energy < expansion - 1e-9
    assert better > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bound", ["constant", "alternate"])
def test_ties_do_not_climb(backend, bound):
    ids, sigma, occludes = two_rectangles(())
    occludes[:, ids == 2] = False
    result = solve(sigma, occludes, bound=bound, backend=backend)
    assert result.num_jumps < 12 and result.labels.max() <= 3
    # An isolated block without any pair has nothing to gain from a label above 1.
    alone = solve(
        np.where(ids > 0, 0.0, 1.0),
        np.zeros_like(occludes),
        smoothness=1,
        bound=bound,
        backend=backend,
    )
    assert np.array_equal(alone.labels > 0, ids > 0)
    if bound == "constant":
        assert alone.labels.max() == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_mirrored_input_gives_the_mirrored_answer(backend, axis):
    rng = np.random.default_rng(8)
    flip = np.s_[:, ::-1] if axis == "horizontal" else np.s_[::-1]
    for _ in range(20):
        sigma, occludes = random_crf(rng, 6, 7)
        mirrored_input = sigma[flip], flip_orientation(occludes, axis=axis)
        for bound, refine in (("constant", False), ("alternate", False), ("alternate", True)):
            options = {"bound": bound, "refine": refine, "backend": backend}
            straight, mirrored = (
                solve(sigma, occludes, **options),
                solve(*mirrored_input, **options),
            )
            assert np.array_equal(mirrored.labels[flip], straight.labels)


def test_contradictions_and_cycles_force_equal_labels():
    occludes = np.zeros((4, 1, 2), bool)
    occludes[1, 0, 0] = occludes[0, 0, 1] = True
    result = solve(np.array([[0.0, 0.9]]), occludes, smoothness=0, backend="pymaxflow")
    assert result.labels[0, 0] == result.labels[0, 1]
    # Four pixels, each over the next one around a circle.
    circle = np.zeros((4, 2, 2), bool)
    circle[1, 0, 0] = circle[3, 0, 1] = circle[0, 1, 1] = circle[2, 1, 0] = True
    result = solve(np.zeros((2, 2)), circle, smoothness=0, backend="pymaxflow")
    assert len(np.unique(result.labels)) == 1


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 4), (4, 1)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_smallest_images(shape, backend):
    result = solve(np.zeros(shape), np.zeros((4, *shape), bool), backend=backend)
    assert result.labels.shape == shape and result.labels.dtype == np.int32
    assert (result.labels > 0).all() and result.converged


def test_max_jumps_ends_the_search():
    _, sigma, occludes = two_rectangles(())
    none = solve(sigma, occludes, max_jumps=0, backend="pymaxflow")
    assert none.num_jumps == 0 and not none.converged and not none.labels.any()
    one = solve(sigma, occludes, max_jumps=1, backend="pymaxflow")
    assert one.num_jumps == 1 and not one.converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": "tight"}, "bound: got 'tight'"),
        ({"backend": "gpu"}, "backend: got 'gpu'"),
        ({"max_jumps": -1}, "max_jumps: got -1"),
        ({"smoothness": -3}, "smoothness: got -3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve(np.zeros((2, 2)), np.zeros((4, 2, 2), bool), **options)


@pytest.mark.parametrize("processes", [False, True])
def test_many_keep_their_order(processes):
    rng = np.random.default_rng(4)
    problems = [random_crf(rng, 5, 4 + k) for k in range(6)]
    results = list(solve_many(problems, workers=2, processes=processes, backend="pymaxflow"))
    for (sigma, occludes), result in zip(problems, results, strict=True):
        assert np.array_equal(result.labels, solve(sigma, occludes, backend="pymaxflow").labels)
    assert list(solve_many([], workers=1)) == []
    with pytest.raises(ValueError, match="workers: got 0"):
        list(solve_many(problems, workers=0))


def test_five_photographs_reach_the_energy_of_the_true_layering(cocoa_demo):
    """Ground-truth maps in, things only: every touching pair found, and at least 42 of 47 right.

    43 is what the true layering itself gets: its instances that something cuts in two become two,
    and four pairs touch only in the smaller part.
    """
    records = load_cocoa(cocoa_demo / "COCO_amodal_demo5.json", cocoa_demo.parent)
    truth, found = [], []
    for record in records:
        keep = [k for k, a in enumerate(record["annotations"]) if not a["is_stuff"]]
        modal = decode_all(
            [record["annotations"][k]["segmentation"] for k in keep],
            record["height"],
            record["width"],
        )
        occ = record["occlusion"][np.ix_(keep, keep)]
        ids = paint(modal, occlusion=occ)
        boundary, orientation = oriented_boundary(ids, occ)
        result = solve(np.where(ids > 0, 0.05, 0.95), occludes_from_target(boundary, orientation))
        parts = instances(result.labels, min_area=21)
        truth.append(
            {
                "masks": modal,
                "classes": np.zeros(len(modal), int),
                "occlusion": occ * bordering_pairs(modal),
            }
        )
        # Scores rank the parts; the larger of two parts of one instance should match it.
        found.append(
            {
                "masks": parts.masks,
                "classes": parts.classes,
                "occlusion": parts.occlusion,
                "scores": parts.masks.sum((1, 2)) / modal[0].size,
            }
        )
    scores = oair(truth, found, iou_thresholds=[0.5])
    assert scores["recall"] == [1.0]
    assert round(scores["accuracy"][0] * 47) >= 43
