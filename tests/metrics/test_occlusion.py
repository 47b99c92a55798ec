from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, precision_score, recall_score

from occ_order import metrics
from occ_order.metrics import occlusion_scores, pair_accuracy
from occ_order.metrics.occlusion import occlusion_counts, occlusion_scores_from_counts

NONE = np.zeros((3, 3), np.int8)
ONE = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.int8)


def values(scores):
    return [scores[name] for name in ("recall", "precision", "f1")]


def random_data(seed, num_images=6, unknown=True):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 7, num_images)
    gt = [rng.integers(-1 if unknown else 0, 2, (n, n)).astype(np.int8) for n in sizes]
    pred = [rng.integers(0, 2, (n, n)) for n in sizes]
    for matrix in (*gt, *pred):
        np.fill_diagonal(matrix, 0)
    return gt, pred


@pytest.mark.parametrize(
    "gt, pred, expected",
    [
        (NONE, NONE, [100, 100, 100]),
        (NONE, ONE, [100, 0, 0]),
        (ONE, NONE, [0, 100, 0]),
        (ONE, ONE, [100, 100, 100]),
        (ONE, ONE.T, [0, 0, 0]),
        (ONE, ONE | ONE.T, [100, 50, 200 / 3]),
    ],
)
def test_one_image_as_published(gt, pred, expected):
    assert values(occlusion_scores([gt], [pred], average="image")) == pytest.approx(expected)


def test_the_two_averages_by_hand():
    # Image 0: 1 of 2 edges found, nothing wrong. Image 1: 1 of 1 found, 2 wrong.
    gt0, pred0 = NONE.copy(), NONE.copy()
    gt0[0, 1] = gt0[1, 2] = pred0[0, 1] = 1
    gt1, pred1 = NONE.copy(), NONE.copy()
    gt1[2, 0] = pred1[2, 0] = pred1[0, 2] = pred1[1, 0] = 1
    pooled = occlusion_scores([gt0, gt1], [pred0, pred1])
    assert values(pooled) == pytest.approx([200 / 3, 50, 400 / 7])
    mean = occlusion_scores([gt0, gt1], [pred0, pred1], average="image")
    assert values(mean) == pytest.approx([75, 200 / 3, 100 * (2 / 3 + 1 / 2) / 2])


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed):
    gt, pred = random_data(seed)
    known = [matrix != -1 for matrix in gt]
    flat = [(g[k], p[k]) for g, p, k in zip(gt, pred, known, strict=True)]
    for name, score in zip(
        ("recall", "precision", "f1"), (recall_score, precision_score, f1_score), strict=True
    ):
        per_image = [score(g, p, zero_division=1) if len(g) else 1.0 for g, p in flat]
        mean = occlusion_scores(gt, pred, average="image")[name]
        assert mean == pytest.approx(100 * np.mean(per_image))
        pooled = score(*(np.concatenate(parts) for parts in zip(*flat, strict=True)))
        assert occlusion_scores(gt, pred)[name] == pytest.approx(100 * pooled)


@pytest.mark.parametrize("average", ["global", "image"])
def test_order_of_images_and_instances_does_not_matter(average):
    gt, pred = random_data(9)
    expected = values(occlusion_scores(gt, pred, average=average))
    assert values(occlusion_scores(gt[::-1], pred[::-1], average=average)) == pytest.approx(
        expected
    )
    order = [np.random.default_rng(1).permutation(len(matrix)) for matrix in gt]
    mixed = [[m[np.ix_(o, o)] for m, o in zip(ms, order, strict=True)] for ms in (gt, pred)]
    assert values(occlusion_scores(*mixed, average=average)) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["global", "image"])
def test_perfect_and_reversed(average):
    upper = [np.triu(np.ones((n, n), int), 1) for n in (2, 4)]
    assert values(occlusion_scores(upper, upper, average=average)) == [100, 100, 100]
    swapped = [matrix.T for matrix in upper]
    assert values(occlusion_scores(upper, swapped, average=average)) == [0, 0, 0]


def test_entries_that_never_count():
    gt = np.array([[1, -1], [1, 1]])  # only (1, 0) is an annotated pair
    assert occlusion_counts([gt], [np.array([[1, 1], [1, 1]])]).tolist() == [[1, 0, 0]]
    assert occlusion_counts([gt], [np.array([[0, 1], [0, 0]])]).tolist() == [[0, 1, 0]]


def test_a_predicted_unknown_is_no_occlusion():
    gt = np.array([[0, 1], [0, 0]])
    assert occlusion_counts([gt], [np.array([[0, -1], [-1, 0]])]).tolist() == [[0, 1, 0]]


def test_without_bidirectional_pairs_keeps_the_others():
    gt, pred = NONE.copy(), NONE.copy()
    gt[0, 1] = gt[1, 0] = gt[1, 2] = 1
    pred[0, 1] = pred[2, 1] = pred[0, 2] = 1
    assert occlusion_counts([gt], [pred]).tolist() == [[1, 2, 2]]
    assert occlusion_counts([gt], [pred], bidirectional=False).tolist() == [[0, 1, 2]]
    found = occlusion_scores([gt], [gt], bidirectional=False)
    assert values(found) == [100, 100, 100]


def test_nothing_to_average_is_nan_and_zero_division_is_the_callers():
    assert np.isnan(values(occlusion_scores([], []))).all()
    assert np.isnan(values(occlusion_scores([], [], average="image"))).all()
    nothing = [np.zeros((0, 0))] * 2
    assert values(occlusion_scores(nothing, nothing)) == [100, 100, 100]
    assert values(occlusion_scores(nothing, nothing, zero_division=0)) == [0, 0, 0]
    assert np.isnan(values(occlusion_scores(nothing, nothing, zero_division=np.nan))).all()
    half = occlusion_scores([NONE, ONE], [NONE, ONE.T], average="image", zero_division=np.nan)
    assert values(half) == [0, 0, 0]


def test_counts_of_parts_can_be_joined():
    gt, pred = random_data(4)
    counts = np.concatenate(
        [occlusion_counts(gt[:2], pred[:2]), occlusion_counts(gt[2:], pred[2:])]
    )
    for average in ("global", "image"):
        joined = occlusion_scores_from_counts(counts, average=average)
        assert joined == occlusion_scores(gt, pred, average=average)


@pytest.mark.parametrize(
    "gt, pred, message",
    [
        ([NONE], [], "'gt': 1, 'pred': 0"),
        ([NONE], [np.zeros((2, 2))], r"image 0.*\(3, 3\).*\(2, 2\)"),
        ([NONE, np.zeros((2, 3))], [NONE, np.zeros((2, 3))], r"image 1.*\(2, 3\)"),
        ([NONE, NONE], [NONE, NONE + 2], "image 1: pred holds 2"),
        ([NONE - 2], [NONE], "image 0: gt holds -2"),
        ([NONE], [NONE + 0.5], "image 0: pred holds 0.5"),
        ([NONE], [NONE + np.nan], "image 0: pred holds nan"),
    ],
)
def test_bad_matrices_are_named(gt, pred, message):
    with pytest.raises(ValueError, match=message):
        occlusion_scores(gt, pred)


def test_unknown_average():
    with pytest.raises(ValueError, match="'macro'"):
        occlusion_scores([NONE], [NONE], average="macro")


def test_pair_accuracy_by_hand():
    # Pairs: 0-1 (0 over 1), 0-2 (both), 1-2 (none). One relation each: right, half right, right.
    gt, pred = NONE.copy(), NONE.copy()
    gt[0, 1] = gt[0, 2] = gt[2, 0] = 1
    pred[0, 1] = pred[0, 2] = 1
    assert pair_accuracy([gt], [pred]) == pytest.approx({"all": 200 / 3, "occluding": 50})
    assert pair_accuracy([gt], [gt]) == {"all": 100, "occluding": 100}


@pytest.mark.parametrize("seed", range(3))
def test_pair_accuracy_equals_loops(seed):
    gt, pred = random_data(seed)
    right = {"all": [], "occluding": []}
    for g, p in zip(gt, pred, strict=True):
        for i in range(len(g)):
            for j in range(i + 1, len(g)):
                if -1 not in (g[i, j], g[j, i]):
                    same = (g[i, j], g[j, i]) == (p[i, j], p[j, i])
                    right["all"].append(same)
                    if g[i, j] or g[j, i]:
                        right["occluding"].append(same)
    expected = {name: 100 * np.mean(hits) for name, hits in right.items()}
    assert pair_accuracy(gt, pred) == pytest.approx(expected)


def test_pair_accuracy_of_unknowns():
    unknown = np.array([[0, -1], [0, 0]])
    assert np.isnan(list(pair_accuracy([unknown], [np.zeros((2, 2))]).values())).all()
    undecided = pair_accuracy([np.zeros((2, 2))], [unknown])
    assert undecided["all"] == 0 and np.isnan(undecided["occluding"])


def test_metrics_of_nothing_have_all_their_keys():
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


def test_wrong_and_missing_positives_score_0():
    none, one = np.zeros((2, 2), np.int8), np.array([[0, 1], [0, 0]], np.int8)
    no_positives = metrics.occlusion_scores([none], [one])
    assert no_positives["precision"] == 0 and no_positives["recall"] == 100  # zero_division = 1
    no_predictions = metrics.occlusion_scores([one], [none])
    assert no_predictions["recall"] == 0 and no_predictions["precision"] == 100


def test_one_found_one_missed_and_one_wrong_pair():
    # Pairs (0,1), (0,2), (1,2) of three instances: found, missed, and one that is wrong.
    gt = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    pred = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    scores = metrics.occlusion_scores([gt], [pred])
    assert scores["recall"] == 50 and scores["precision"] == 50 and scores["f1"] == 50


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
def test_scores_are_those_of_scikit_learn_in_any_order_of_images(images):
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


def test_perfect_is_100_and_reversed_is_0():
    gt = [np.triu(np.ones((n, n), np.int8), 1) for n in (2, 3, 5)]
    assert set(metrics.occlusion_scores(gt, gt).values()) == {100}
    assert set(metrics.occlusion_scores(gt, [m.T for m in gt]).values()) == {0}
    depth = [np.where(m == 1, 1, 0) - np.eye(len(m), dtype=int) for m in gt]
    other = [np.where(np.eye(len(m)) == 1, -1, 1 - np.abs(m)) for m in depth]
    zero, two = [np.zeros_like(m) for m in depth], [np.full_like(m, 2) for m in depth]
    assert metrics.whdr(depth, zero, two, depth)["distinct"] == 0
    assert metrics.whdr(depth, zero, two, other)["distinct"] == 100
