"""Masks, graphs, the CRF, targets and metrics at their edges: rows 5, 6, 10 to 13 and 16."""

from __future__ import annotations

import itertools
import math
import warnings

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, precision_score, recall_score

from occ_order import crf, masks, metrics, order, targets
from occ_order.crf import moves
from occ_order.crf.energy import make_problem
from occ_order.crf.grid import GridJumps
from occ_order.order import io

# --- row 5: masks at their edges

HEIGHT, WIDTH = 7, 9
FULL = np.ones((HEIGHT, WIDTH), bool)
EMPTY = np.zeros((HEIGHT, WIDTH), bool)


def block(y0, x0, y1, x1):
    mask = EMPTY.copy()
    mask[y0:y1, x0:x1] = True
    return mask


STACKS = {
    "none": [],
    "one": [block(1, 1, 4, 4)],
    "empty": [EMPTY],
    "empty and whole": [EMPTY, FULL],
    "one pixel": [block(3, 3, 4, 4), block(3, 4, 5, 6)],
    "identical": [block(1, 1, 5, 5)] * 3,
    "whole": [FULL, FULL],
    "overlapping": [block(0, 0, 5, 5), block(3, 3, 7, 9), FULL, EMPTY],
}


@pytest.fixture(params=STACKS)
def stack(request):
    return np.array(STACKS[request.param], bool).reshape(-1, HEIGHT, WIDTH)


@pytest.fixture
def strict():
    """Any warning is an error here, whoever raises it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_row_05_baselines(stack, strict):
    n = len(stack)
    disparity = np.arange(HEIGHT * WIDTH, dtype=float).reshape(HEIGHT, WIDTH)
    answers = [order.area_order(stack), order.y_axis_order(stack)]
    answers += [order.disparity_order(disparity, stack, order="occlusion")]
    for occ in answers:
        order.check_occlusion(occ)
        assert occ.shape == (n, n) and not (occ & occ.T).any()
        assert not occ[~stack.any(axis=(1, 2))].any()  # what is not there occludes nothing
    depth = order.disparity_order(disparity, stack)
    order.check_depth(depth)
    assert depth.shape == (n, n)
    seen = stack.any(axis=(1, 2))
    assert (depth[~seen] == order.UNKNOWN).all()


def test_row_05_of_identical_masks_one_is_in_front_of_the_other(strict):
    """Never both, and by the documented rule: the lower index."""
    same = np.array(STACKS["identical"])
    expected = np.triu(np.ones((3, 3), np.int8), 1)
    np.testing.assert_array_equal(order.area_order(same), expected)
    np.testing.assert_array_equal(order.y_axis_order(same), expected)
    assert (np.triu(order.area_order(same, order="depth"), 1) == expected).all()


def test_row_05_targets(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    ids = masks.paint(stack, occlusion=occ)
    boundary, orientation = targets.oriented_boundary(ids, occ)
    np.testing.assert_allclose(orientation.sum(axis=0), boundary)
    levels = targets.visibility_levels(stack, occ)
    np.testing.assert_array_equal(levels >= 0, stack)
    layers = targets.global_layers(stack)
    np.testing.assert_array_equal(layers[0], stack.any(axis=0))
    visible = targets.decode_level_set(targets.level_set(np.clip(levels, -1, 3))).modal
    np.testing.assert_array_equal(visible, levels == 0)


def test_row_05_crf_of_what_was_painted(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    ids = masks.paint(stack, occlusion=occ)
    occludes = crf.occludes_from_target(*targets.oriented_boundary(ids, occ))
    result = crf.solve(np.where(ids > 0, 0.0, 1.0), occludes)
    assert result.labels.shape == ids.shape
    found = crf.instances(result.labels)
    assert len(found.classes) == found.ids.max(initial=0)


def test_row_05_metrics(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    image = {"masks": stack, "classes": np.ones(n, int), "occlusion": occ}
    predicted = {**image, "scores": np.linspace(1, 0.5, n)}
    curve = metrics.oair([image], [predicted], iou_thresholds=[0.5])
    assert all(math.isnan(v) or 0 <= v <= 100 for values in curve.values() for v in values)
    coverage = metrics.weighted_coverage(stack, stack)
    assert coverage in (0, 1, 100) or math.isnan(coverage)
    assert metrics.mask_iou(stack, stack).shape == (n, n)
    iou = metrics.mask_iou(stack, stack)
    for k in range(n):
        assert iou[k, k] == (1 if stack[k].any() else 0)


def test_row_05_results_file(stack, strict, tmp_path):
    n = len(stack)
    image = io.results_image(
        image_id=1, height=HEIGHT, width=WIDTH, modal=stack, classes=[1] * n, scores=[0.5] * n,
        occlusion=np.zeros((n, n), np.int8),
    )  # fmt: skip
    io.save_results(tmp_path / "r.json", [image])
    (read,) = io.load_results(tmp_path / "r.json")
    again = [masks.decode(i["segmentation"], HEIGHT, WIDTH) for i in read["instances"]]
    np.testing.assert_array_equal(np.array(again).reshape(stack.shape), stack)


# --- row 6: nothing to count


def test_row_06_metrics_of_nothing_have_all_their_keys():
    none = np.zeros((0, 0), np.int8)
    unknown = np.array([[0, -1], [-1, 0]], np.int8)
    full = metrics.occlusion_scores([np.array([[0, 1], [0, 0]])], [np.array([[0, 1], [0, 0]])])
    for gt in ([], [none], [unknown], [np.zeros((1, 1), np.int8)], [np.zeros((2, 2), np.int8)]):
        pred = [np.zeros_like(matrix) for matrix in gt]
        for average in ("global", "image"):
            scores = metrics.occlusion_scores(gt, pred, average=average)
            assert scores.keys() == full.keys()
            assert all(math.isnan(v) or v in (0, 100) for v in scores.values())
            depth = [np.full(matrix.shape, -1, np.int8) for matrix in gt]
            counts = [np.full(matrix.shape, -1, np.int16) for matrix in gt]
            errors = metrics.whdr(depth, depth, counts, depth, average=average)
            assert all(math.isnan(v) for v in errors.values()) and "distinct" in errors
    assert math.isnan(metrics.occlusion_scores([], [])["f1"])


def test_row_06_wrong_and_missing_positives():
    none, one = np.zeros((2, 2), np.int8), np.array([[0, 1], [0, 0]], np.int8)
    no_positives = metrics.occlusion_scores([none], [one])
    assert no_positives["precision"] == 0 and no_positives["recall"] == 100  # zero_division = 1
    no_predictions = metrics.occlusion_scores([one], [none])
    assert no_predictions["recall"] == 0 and no_predictions["precision"] == 100


# --- row 10: graphs


RING = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], np.int8)


def test_row_10_cycles_share_a_layer_and_are_listed():
    before = RING.copy()
    assert order.layers(RING).tolist() == [0, 0, 0, 1]
    assert order.cycles(RING) == [[0, 1, 2]]
    assert order.instances_in_cycles(RING).tolist() == [True, True, True, False]
    two = np.array([[0, 1], [1, 0]], np.int8)
    assert order.layers(two).tolist() == [0, 0] and order.cycles(two) == [[0, 1]]
    np.testing.assert_array_equal(RING, before)


def test_row_10_isolated_nodes_and_no_nodes():
    assert order.layers(np.zeros((3, 3), np.int8)).tolist() == [0, 0, 0]
    assert order.layers(np.zeros((0, 0), np.int8)).shape == (0,)
    assert order.cycles(np.zeros((0, 0), np.int8)) == []


@pytest.mark.parametrize(
    "function", [order.layers, order.cycles, order.relative_depth, order.instances_in_cycles]
)
def test_row_10_an_instance_in_front_of_itself_is_refused(function):
    with pytest.raises(ValueError, match="diagonal"):
        function(np.eye(3, dtype=np.int8))


@pytest.mark.parametrize("n", [53, 120])
def test_row_10_more_instances_than_letters(n, tmp_path):
    rng = np.random.default_rng(n)
    occ = (rng.random((n, n)) < 1.5 / n).astype(np.int8)
    np.fill_diagonal(occ, 0)
    before = occ.copy()
    graph = order.to_networkx(occ)
    groups = {frozenset(g) for g in nx.strongly_connected_components(graph) if len(g) > 1}
    assert {frozenset(g) for g in order.cycles(occ)} == groups
    cut = order.break_cycles(occ, rng=0)
    assert nx.is_directed_acyclic_graph(order.to_networkx(cut))
    np.testing.assert_array_equal(occ, before)
    image = io.results_image(
        image_id=1, height=1, width=n, modal=np.eye(n, dtype=bool)[:, None], classes=[1] * n,
        scores=[1.0] * n, occlusion=occ,
    )  # fmt: skip
    io.save_dot(tmp_path / "g.dot", image)
    names = [
        line for line in (tmp_path / "g.dot").read_text("utf-8").splitlines() if "label=" in line
    ]
    assert len(set(names)) == len(names) >= n


# --- row 11: the CRF


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5, 1.5])
def test_row_11_probabilities_that_are_none(value):
    sigma = np.full((3, 4), 0.5)
    sigma[1, 2] = value
    with pytest.raises(ValueError, match="background_prob"):
        crf.solve(sigma, np.zeros((4, 3, 4), bool))


@pytest.mark.parametrize(
    "weights", [(np.nan, 1), (-1, 1), (1, np.inf), (1, -1), (2e4, 1), (1, 1e12)]
)
def test_row_11_weights_that_are_none_or_would_overflow(weights):
    smoothness, occlusion = weights
    with pytest.raises(ValueError, match="expected a finite number from 0 to 10000"):
        crf.solve(
            np.full((2, 2), 0.5), np.zeros((4, 2, 2), bool),
            smoothness=smoothness, occlusion=occlusion,
        )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (0, 0), (0, 4)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_row_11_smallest_images_and_one_label(shape, value):
    result = crf.solve(np.full(shape, value), np.zeros((4, *shape), bool))
    assert result.labels.shape == shape and result.converged
    assert (result.labels == (value < 0.5)).all()


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


def test_row_11_equals_brute_force_on_every_2_by_2_order():
    pairs = list(neighbours((2, 2)))
    rng = np.random.default_rng(0)
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        occludes = np.zeros((4, 2, 2), bool)
        for (d, p, _), on in zip(pairs, chosen, strict=True):
            occludes[d, p // 2, p % 2] = on
        # Four pixels have at most four positive labels, so this is the best of all.
        assert reaches_the_optimum(rng.integers(0, 1025, (2, 2)) / 1024, occludes, labels=5)


def test_row_11_equals_brute_force_on_3_by_3_orders_of_three_labels():
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
def test_row_11_is_mostly_the_optimum_of_contradictory_3_by_3_orders(share):
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
def test_row_11_every_jump_equals_brute_force_and_the_answer_has_none_left(bound):
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
def test_row_11_the_energy_falls_and_is_what_it_says(seed):
    sigma, occludes = random_problem(seed)
    result = crf.solve(sigma, occludes)
    assert result.energies[-1] <= result.energies[0]
    assert all(after < before for before, after in itertools.pairwise(result.energies))
    assert result.energies[-1] == pytest.approx(crf.energy(result.labels, sigma, occludes))
    assert math.isfinite(result.energies[-1])


# --- row 12: what must not change the answer of the CRF


def energy_of(sigma, occludes, **weights):
    return crf.solve(sigma, occludes, **weights).energies[-1]


@settings(max_examples=25)
@given(PROBLEMS)
def test_row_12_mirrored_input_gives_the_mirrored_answer(seed):
    sigma, occludes = random_problem(seed)
    plain = crf.solve(sigma, occludes)
    for axis, swapped in ((1, [1, 0, 2, 3]), (0, [0, 1, 3, 2])):
        turned = np.flip(occludes[swapped], axis + 1)
        mirrored = crf.solve(np.flip(sigma, axis), turned)
        assert mirrored.energies == plain.energies
        np.testing.assert_array_equal(np.flip(mirrored.labels, axis), plain.labels)


@settings(max_examples=25)
@given(PROBLEMS, st.sampled_from([2, 4, 8]))
def test_row_12_all_terms_scaled(seed, factor):
    """lambda, mu and 2 sigma - 1 all divided by a factor that keeps them on the grid of 1/1024."""
    sigma, occludes = random_problem(seed)
    sigma = 0.5 + np.round((sigma - 0.5) * 1024 / (2 * factor)) * 2 * factor / 1024
    scaled = 0.5 + (sigma - 0.5) / factor
    one = crf.solve(sigma, occludes, smoothness=40, occlusion=96)
    other = crf.solve(scaled, occludes, smoothness=40 / factor, occlusion=96 / factor)
    np.testing.assert_array_equal(one.labels, other.labels)


@settings(max_examples=25)
@given(PROBLEMS)
def test_row_12_a_constant_added_to_the_unaries_changes_only_the_energy(seed):
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
def test_row_12_names_of_instances_do_not_matter(seed, shift):
    """Permuted labels: instances are components, numbered anew, whatever numbers they had."""
    sigma, occludes = random_problem(seed)
    labels = crf.solve(sigma, occludes).labels
    moved = np.where(labels > 0, labels * 3 + shift, 0).astype(np.int32)
    one, other = crf.instances(labels), crf.instances(moved)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.occlusion, other.occlusion)


# --- row 13: augmentation and targets commute


def scene_of(seed):
    rng = np.random.default_rng(seed)
    stack = np.zeros((4, 10, 12), bool)
    for mask in stack:
        y, x = rng.integers(0, 7), rng.integers(0, 9)
        mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 7)] = True
    occ = np.triu(np.ones((4, 4), np.int8), 1)
    shuffle = rng.permutation(4)
    return stack, occ[np.ix_(shuffle, shuffle)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_row_13_flipping_commutes_with_boundary_targets(seed, axis):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    pixels = -1 if axis == "horizontal" else -2
    boundary, orientation = targets.oriented_boundary(ids, occ)
    turned = targets.oriented_boundary(np.flip(ids, pixels), occ)
    np.testing.assert_array_equal(turned[0], np.flip(boundary, pixels))
    np.testing.assert_allclose(turned[1], targets.flip_orientation(orientation, axis=axis))
    # The maps themselves are moved and their directions swapped; flipping only pixels is wrong.
    assert not np.allclose(turned[1], np.flip(orientation, pixels))


@pytest.mark.parametrize("seed", range(6))
def test_row_13_a_quarter_turn_commutes_with_boundary_targets(seed):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    occluded = targets.occluded_neighbours(ids, occ)
    turned = targets.occluded_neighbours(np.rot90(ids), occ)
    # Counterclockwise: what was right becomes top, top left, left bottom, bottom right.
    expected = np.rot90(occluded[[2, 3, 1, 0]], axes=(1, 2))
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize("seed", range(6))
def test_row_13_cropping_commutes_away_from_the_cut(seed):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    whole = targets.occluded_neighbours(ids, occ)[:, 2:8, 3:10]
    part = targets.occluded_neighbours(ids[2:8, 3:10], occ)
    np.testing.assert_array_equal(part[:, 1:-1, 1:-1], whole[:, 1:-1, 1:-1])


@pytest.mark.parametrize("seed", range(6))
def test_row_13_permuted_instances_permute_the_order(seed):
    stack, occ = scene_of(seed)
    o = np.random.default_rng(seed + 50).permutation(4)
    levels = targets.visibility_levels(stack, occ)
    np.testing.assert_array_equal(targets.visibility_levels(stack[o], occ[np.ix_(o, o)]), levels[o])
    for axis in (1, 2):
        flipped = targets.visibility_levels(np.flip(stack, axis), occ)
        np.testing.assert_array_equal(flipped, np.flip(levels, axis))
    ids = masks.paint(stack, occlusion=occ)
    permuted = masks.paint(stack[o], occlusion=occ[np.ix_(o, o)])
    np.testing.assert_array_equal(np.concatenate([[0], o + 1])[permuted], ids)


# --- row 16: metrics


def test_row_16_occlusion_by_hand():
    # Pairs (0,1), (0,2), (1,2) of three instances: found, missed, and one that is wrong.
    gt = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    pred = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    scores = metrics.occlusion_scores([gt], [pred])
    assert scores["recall"] == 50 and scores["precision"] == 50 and scores["f1"] == 50


def test_row_16_whdr_by_hand():
    # Distinct pairs (0,1) right with 2 workers and (0,2) wrong with 3; overlapping (1,2) right.
    depth = np.array([[-1, 1, 1], [0, -1, 2], [0, 2, -1]])
    overlap = np.array([[-1, 0, 0], [0, -1, 1], [0, 1, -1]])
    count = np.array([[-1, 2, 3], [2, -1, 2], [3, 2, -1]])
    pred = np.array([[-1, 1, 0], [0, -1, 2], [1, 2, -1]])
    errors = metrics.whdr([depth], [overlap], [count], [pred])
    weight = {2: 2 / 2, 3: 2 / 3}
    assert errors["distinct"] == pytest.approx(100 * weight[3] / (weight[2] + weight[3]))
    assert errors["overlap"] == 0
    assert errors["all"] == pytest.approx(100 * weight[3] / (2 * weight[2] + weight[3]))


MATRICES = st.integers(0, 5).flatmap(
    lambda n: st.tuples(
        *[hnp.arrays(np.int8, (n, n), elements=st.integers(low, 1)) for low in (-1, 0)]
    )
)


def cleaned(pair):
    gt, pred = (matrix.copy() for matrix in pair)
    for matrix in (gt, pred):
        np.fill_diagonal(matrix, 0)
    gt[(gt < 0) | (gt.T < 0)] = -1
    np.fill_diagonal(gt, 0)
    return gt, pred


@settings(max_examples=60)
@given(st.lists(MATRICES.map(cleaned), min_size=1, max_size=4))
def test_row_16_equals_scikit_learn_and_loops_and_not_the_order_of_images(images):
    gts, preds = ([image[k] for image in images] for k in (0, 1))
    scores = metrics.occlusion_scores(gts, preds)
    truth, said = [], []
    for gt, pred in images:
        for i, j in itertools.permutations(range(len(gt)), 2):
            if gt[i, j] >= 0:
                truth.append(gt[i, j]), said.append(pred[i, j])
    if truth:
        for name, function in (
            ("recall", recall_score), ("precision", precision_score), ("f1", f1_score),
        ):  # fmt: skip
            assert scores[name] == pytest.approx(100 * function(truth, said, zero_division=1))
    backwards = metrics.occlusion_scores(gts[::-1], preds[::-1])
    assert list(backwards.values()) == pytest.approx(list(scores.values()), nan_ok=True)


def test_row_16_perfect_is_100_and_reversed_is_0():
    gt = [np.triu(np.ones((n, n), np.int8), 1) for n in (2, 3, 5)]
    assert set(metrics.occlusion_scores(gt, gt).values()) == {100}
    assert set(metrics.occlusion_scores(gt, [m.T for m in gt]).values()) == {0}
    depth = [np.where(m == 1, 1, 0) - np.eye(len(m), dtype=int) for m in gt]
    other = [np.where(np.eye(len(m)) == 1, -1, 1 - np.abs(m)) for m in depth]
    zero, two = [np.zeros_like(m) for m in depth], [np.full_like(m, 2) for m in depth]
    assert metrics.whdr(depth, zero, two, depth)["distinct"] == 0
    assert metrics.whdr(depth, zero, two, other)["distinct"] == 100


@settings(max_examples=40)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.just(5), st.just(6))), st.randoms())
def test_row_16_coverage_and_oair_do_not_depend_on_the_order_of_instances(stack, random):
    o = list(range(len(stack)))
    random.shuffle(o)
    assert metrics.weighted_coverage(stack, stack[o]) == pytest.approx(
        metrics.weighted_coverage(stack, stack), nan_ok=True
    )


# --- encodings: every order survives every notation that can hold it


ORDERS = (
    st.integers(0, 6)
    .flatmap(lambda n: hnp.arrays(np.int8, (n, n), elements=st.integers(0, 1)))
    .map(lambda m: np.where(np.eye(len(m), dtype=bool), 0, m).astype(np.int8))
)


@given(ORDERS)
def test_row_16_every_notation_of_an_order_reads_back(occ):
    n = len(occ)
    np.testing.assert_array_equal(
        order.occlusion_from_instaorder(order.occlusion_to_instaorder(occ), n), occ
    )
    text = order.occlusion_to_depth_constraint(occ)
    np.testing.assert_array_equal(order.occlusion_from_depth_constraint(text, n), occ)
    np.testing.assert_array_equal(
        order.occlusion_from_edges(order.edges_from_occlusion(occ), n), occ
    )


@given(ORDERS, st.randoms())
def test_row_16_notations_move_with_the_instances(occ, random):
    n = len(occ)
    o = list(range(n))
    random.shuffle(o)
    moved = occ[np.ix_(o, o)]
    edges = {(o.index(i), o.index(j)) for i, j in order.edges_from_occlusion(occ)}
    assert edges == set(map(tuple, order.edges_from_occlusion(moved)))
    np.testing.assert_array_equal(order.layers(moved), order.layers(occ)[o])
