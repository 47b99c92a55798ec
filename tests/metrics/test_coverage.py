from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order import metrics
from occ_order.metrics import mean_weighted_coverage, weighted_coverage


def row(*spans, length=100):
    masks = np.zeros((len(spans), 1, length), bool)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[0, start:stop] = True
    return masks


GT = row((0, 30), (40, 50))
PRED = row((0, 20), (45, 50), (90, 95))  # IoU 2/3 with the first, 1/2 with the second


def test_example_by_hand():
    assert weighted_coverage(GT, PRED) == pytest.approx((30 * 2 / 3 + 10 / 2) / 40)
    assert weighted_coverage(GT, PRED) == pytest.approx(0.625)
    assert weighted_coverage(GT, PRED, normalizer="pixels") == pytest.approx(0.25)


def test_perfect_missing_and_undefined():
    nothing = np.zeros((0, 1, 100), bool)
    assert weighted_coverage(GT, GT[::-1]) == 1.0
    assert weighted_coverage(GT, nothing) == 0.0
    for gt in (nothing, np.zeros((2, 1, 100), bool)):
        assert np.isnan(weighted_coverage(gt, PRED))
        assert np.isnan(weighted_coverage(gt, nothing, normalizer="pixels"))


def test_one_prediction_may_cover_several_instances_and_an_empty_one_weighs_nothing():
    gt = np.concatenate([row((0, 10), (10, 20)), np.zeros((1, 1, 100), bool)])
    assert weighted_coverage(gt, row((0, 20))) == pytest.approx(0.5)


@pytest.mark.parametrize("normalizer", ["instances", "pixels"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_loops(seed, normalizer):
    rng = np.random.default_rng(seed)
    gt, pred = rng.random((4, 9, 11)) < 0.3, rng.random((5, 9, 11)) < 0.3
    total = 0.0
    for region in gt:
        total += region.sum() * max((region & s).sum() / (region | s).sum() for s in pred)
    expected = total / (gt.sum() if normalizer == "instances" else 99)
    assert weighted_coverage(gt, pred, normalizer=normalizer) == pytest.approx(expected)
    order = rng.permutation(4), rng.permutation(5)
    mixed = weighted_coverage(gt[order[0]], pred[order[1]], normalizer=normalizer)
    assert mixed == pytest.approx(expected)


def test_mean_leaves_images_without_ground_truth_out():
    nothing = np.zeros((0, 1, 100), bool)
    assert mean_weighted_coverage([GT, nothing, GT], [PRED, PRED, GT]) == pytest.approx(0.8125)
    assert np.isnan(mean_weighted_coverage([], []))
    assert np.isnan(mean_weighted_coverage([nothing], [PRED]))


def test_refuses():
    with pytest.raises(ValueError, match=r"\(3, 1, 100\).*\(2, 1, 90\)"):
        weighted_coverage(GT[:, :, :90], PRED)
    with pytest.raises(ValueError, match="'area'"):
        weighted_coverage(GT, PRED, normalizer="area")
    with pytest.raises(ValueError, match="predictions end after 0"):
        mean_weighted_coverage([GT], [])


@settings(max_examples=40)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.just(5), st.just(6))), st.randoms())
def test_the_order_of_instances_does_not_matter(stack, random):
    o = list(range(len(stack)))
    random.shuffle(o)
    assert metrics.weighted_coverage(stack, stack[o]) == pytest.approx(
        metrics.weighted_coverage(stack, stack), nan_ok=True
    )
