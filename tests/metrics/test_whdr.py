from __future__ import annotations

import numpy as np
import pytest

from occ_order import metrics
from occ_order.metrics import WHDR_CELLS, whdr
from occ_order.metrics.whdr import whdr_from_weights, whdr_weights


def symmetric(num, entries, fill=-1):
    matrix = np.full((num, num), fill)
    for (i, j), value in entries.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def example():
    """0 closer than 1 (distinct, 2 workers), 2 closer than 0 (overlap, 4), 1 = 2 (distinct, 3)."""
    depth = symmetric(3, {(1, 2): 2})
    depth[0, 1], depth[1, 0], depth[2, 0], depth[0, 2] = 1, 0, 1, 0
    overlap = symmetric(3, {(0, 1): 0, (0, 2): 1, (1, 2): 0})
    count = symmetric(3, {(0, 1): 2, (0, 2): 4, (1, 2): 3})
    pred = np.array([[-1, 1, 1], [0, -1, 1], [0, 0, -1]])
    return depth, overlap, count, pred


@pytest.mark.parametrize("average", ["global", "image"])
def test_worked_example(average):
    found = whdr(*([matrix] for matrix in example()), average=average)
    # Weights 1, 1/2 and 2/3; the first pair is right.
    assert found == pytest.approx(
        {
            "distinct": 40.0,
            "distinct_equal": 100.0,
            "distinct_not_equal": 0.0,
            "overlap": 100.0,
            "overlap_equal": np.nan,
            "overlap_not_equal": 100.0,
            "all": 100 * (7 / 6) / (13 / 6),
            "all_equal": 100.0,
            "all_not_equal": 100 * 0.5 / 1.5,
        },
        nan_ok=True,
    )


def test_averages_differ_as_they_should():
    # Image 0: one pair, wrong, weight 1. Image 1: three pairs of weight 1, one wrong.
    small, large = np.array([[-1, 1], [0, -1]]), np.triu(np.ones((3, 3), int), 1)
    bad, pred = small.T, large.copy()
    pred[0, 2] = 0
    arguments = ([small, large], None, None, [bad, pred])
    # The zeros below the diagonal of `large` are never read, its diagonal neither.
    assert whdr(*arguments)["all"] == pytest.approx(50.0)
    assert whdr(*arguments, average="image")["all"] == pytest.approx(100 * (1 + 1 / 3) / 2)


def by_loops(depth, overlap, count, pred):
    sums = {name: [0.0, 0.0] for name in WHDR_CELLS}
    for i in range(len(depth)):
        for j in range(i + 1, len(depth)):
            if depth[i, j] == -1:
                continue
            weight = 2 / count[i, j]
            kinds = ["all"] + {0: ["distinct"], 1: ["overlap"], -1: []}[int(overlap[i, j])]
            relation = "_equal" if depth[i, j] == 2 else "_not_equal"
            for name in [kind + suffix for kind in kinds for suffix in ("", relation)]:
                sums[name][0] += weight * (pred[i, j] != depth[i, j])
                sums[name][1] += weight
    return sums


def random_data(seed):
    rng = np.random.default_rng(seed)
    data = []
    for num in rng.integers(0, 7, 8):
        shape = (num, num)
        data.append(
            (
                rng.integers(-1, 3, shape).astype(np.int8),
                rng.integers(-1, 2, shape),
                rng.integers(1, 6, shape).astype(np.int16),
                rng.integers(-1, 3, shape),
            )
        )
    return data


@pytest.mark.parametrize("seed", range(5))
def test_equals_loops_over_pairs(seed):
    data = random_data(seed)
    sums = [by_loops(*image) for image in data]
    pooled, mean = whdr(*zip(*data, strict=True)), whdr(*zip(*data, strict=True), average="image")
    for name in WHDR_CELLS:
        wrong, weight = np.array([image[name] for image in sums]).T
        expected = 100 * wrong.sum() / weight.sum() if weight.sum() else np.nan
        assert pooled[name] == pytest.approx(expected, nan_ok=True)
        rates = 100 * wrong[weight > 0] / weight[weight > 0]
        assert mean[name] == pytest.approx(rates.mean() if len(rates) else np.nan, nan_ok=True)


@pytest.mark.parametrize("average", ["global", "image"])
def test_order_of_images_and_instances_does_not_matter(average):
    data = []
    for depth, overlap, count, pred in random_data(11):
        mirrored = []
        for matrix, swap in ((depth, True), (overlap, False), (count, False), (pred, True)):
            upper = np.triu(matrix, 1)
            lower = np.where(np.isin(upper, (0, 1)), 1 - upper, upper) if swap else upper
            mirrored.append(upper + np.tril(lower.T, -1))
        data.append(mirrored)
    expected = whdr(*zip(*data, strict=True), average=average)
    rng = np.random.default_rng(0)
    mixed = []
    for image in data[::-1]:
        order = rng.permutation(len(image[0]))
        mixed.append([matrix[np.ix_(order, order)] for matrix in image])
    assert whdr(*zip(*mixed, strict=True), average=average) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("average", ["global", "image"])
def test_perfect_reversed_and_undecided(average):
    depth, overlap, count, _ = example()
    pred = {"perfect": depth, "reversed": depth.T, "undecided": np.full_like(depth, -1)}
    found = {
        name: whdr([depth], [overlap], [count], [matrix], average=average)
        for name, matrix in pred.items()
    }
    assert found["perfect"]["all"] == 0
    assert found["reversed"]["all_not_equal"] == 100 and found["reversed"]["all_equal"] == 0
    assert found["undecided"]["all"] == found["undecided"]["all_equal"] == 100


def test_unknown_overlap_and_count():
    depth, overlap, _count, pred = example()
    plain = whdr([depth], None, None, [pred])
    assert plain["all"] == pytest.approx(200 / 3) and np.isnan(plain["distinct"])
    unknown = np.full_like(overlap, -1)
    assert whdr([depth], [unknown], [unknown], [pred]) == pytest.approx(plain, nan_ok=True)


@pytest.mark.parametrize("average", ["global", "image"])
@pytest.mark.parametrize("num", [None, 0, 1, 3])
def test_nothing_annotated_is_nan_with_all_keys(average, num):
    images = [] if num is None else [np.full((num, num), -1)]
    found = whdr(images, images, images, images, average=average)
    assert tuple(found) == WHDR_CELLS and np.isnan(list(found.values())).all()


def test_weights_of_parts_can_be_joined():
    data = random_data(2)
    parts = [whdr_weights(*zip(*part, strict=True)) for part in (data[:3], data[3:])]
    joined = whdr_from_weights(np.concatenate(parts), average="image")
    assert joined == pytest.approx(whdr(*zip(*data, strict=True), average="image"), nan_ok=True)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("depth", np.zeros((2, 2)), r"depth \(2, 2\), pred \(3, 3\)"),
        ("depth", np.full((3, 3), 3), "depth holds 3"),
        ("pred", np.full((3, 3), -2), "pred holds -2"),
        ("overlap", np.full((3, 3), 2), "overlap holds 2"),
        ("count", np.zeros((3, 3), int), "count 0"),
        ("count", np.full((3, 3), 2.5), "count holds 2.5"),
    ],
)
def test_bad_matrices_are_named(name, value, message):
    arguments = dict(zip(("depth", "overlap", "count", "pred"), example(), strict=True))
    arguments[name] = value
    with pytest.raises(ValueError, match=message):
        whdr(*([matrix] for matrix in arguments.values()))


def test_unknown_average():
    with pytest.raises(ValueError, match="'mean'"):
        whdr([], [], [], [], average="mean")


def test_right_and_wrong_pairs_are_weighted_by_their_workers():
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
