from __future__ import annotations

import numpy as np
import pytest

from occ_order.metrics import matching
from occ_order.metrics.matching import (
    mask_iou,
    match_greedy,
    match_greedy_sweep,
    overlap_counts,
)


def boxes(*corners, size=(8, 9)):
    stack = np.zeros((len(corners), *size), bool)
    for mask, (top, left, bottom, right) in zip(stack, corners, strict=True):
        mask[top:bottom, left:right] = True
    return stack


def random_masks(rng, num, size):
    stack = np.zeros((num, *size), bool)
    for mask in stack:
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[top : top + rng.integers(0, 9), left : left + rng.integers(0, 30)] = True
        mask |= rng.random(size) < 0.01 * rng.integers(0, 2)
    return stack


def test_iou_of_two_boxes_by_hand():
    pred = boxes((0, 0, 2, 3), (4, 4, 8, 9), (0, 0, 0, 0))
    gt = boxes((0, 1, 2, 4), (4, 4, 8, 9))
    shared, pred_area, gt_area = overlap_counts(pred, gt)
    assert shared.tolist() == [[4, 0], [0, 20], [0, 0]]
    assert pred_area.tolist() == [6, 20, 0] and gt_area.tolist() == [6, 20]
    np.testing.assert_allclose(mask_iou(pred, gt), [[0.5, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize("seed", range(6))
def test_overlaps_equal_a_matrix_product(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    pred, gt = random_masks(rng, 5, size), random_masks(rng, 7, size)
    flat_pred, flat_gt = pred.reshape(5, -1).astype(int), gt.reshape(7, -1).astype(int)
    shared, pred_area, gt_area = overlap_counts(pred, gt.astype(np.uint8))
    np.testing.assert_array_equal(shared, flat_pred @ flat_gt.T)
    np.testing.assert_array_equal(pred_area, flat_pred.sum(1))
    np.testing.assert_array_equal(gt_area, flat_gt.sum(1))


def test_overlaps_of_many_masks_in_blocks(monkeypatch):
    rng = np.random.default_rng(3)
    pred, gt = random_masks(rng, 20, (40, 50)), random_masks(rng, 9, (40, 50))
    whole = overlap_counts(pred, gt)[0]
    monkeypatch.setattr(matching, "_WORDS_AT_ONCE", 1)
    np.testing.assert_array_equal(overlap_counts(pred, gt)[0], whole)


def test_bit_count_without_numpy_2(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**63, (4, 33), dtype=np.uint64)
    expected = [[bin(word).count("1") for word in row] for row in words.tolist()]
    np.testing.assert_array_equal(matching._popcount(words), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(matching._popcount(words), expected)


@pytest.mark.parametrize("num_pred, num_gt", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("size", [(4, 5), (0, 5)])
def test_empty_stacks(num_pred, num_gt, size):
    pred, gt = np.zeros((num_pred, *size), bool), np.zeros((num_gt, *size), bool)
    assert mask_iou(pred, gt).shape == (num_pred, num_gt)
    assert match_greedy(mask_iou(pred, gt)).tolist() == [-1] * num_pred


def test_shape_and_value_errors_print_what_came():
    with pytest.raises(ValueError, match=r"\(1, 4, 5\).*\(1, 4, 6\)"):
        mask_iou(np.zeros((1, 4, 5)), np.zeros((1, 4, 6)))
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        mask_iou(np.zeros((4, 5)), np.zeros((1, 4, 5)))
    with pytest.raises(ValueError, match="only 0 and 1"):
        mask_iou(np.full((1, 4, 5), 0.5), np.zeros((1, 4, 5)))


def test_best_score_chooses_first():
    iou = [[0.9, 0.6], [0.8, 0.0]]
    assert match_greedy(iou, [0.1, 0.7]).tolist() == [1, 0]
    assert match_greedy(iou, [0.7, 0.1]).tolist() == [0, -1]
    assert match_greedy(iou).tolist() == [0, -1]
    assert match_greedy(iou, [0.5, 0.5]).tolist() == [0, -1]  # ties keep their order


def test_iou_must_exceed_the_threshold():
    assert match_greedy([[0.5]], iou_threshold=0.5).tolist() == [-1]
    assert match_greedy([[0.5]], iou_threshold=0.49).tolist() == [0]
    assert match_greedy([[0.0]], iou_threshold=0.0).tolist() == [-1]


def test_only_equal_classes_match():
    iou = [[0.9, 0.6]]
    assert match_greedy(iou, pred_classes=[2], gt_classes=[1, 2]).tolist() == [1]
    assert match_greedy(iou, pred_classes=[3], gt_classes=[1, 2]).tolist() == [-1]


def greedy_by_loops(iou, scores, threshold):
    matches, taken = [-1] * len(iou), set()
    for pred in sorted(range(len(iou)), key=lambda index: -scores[index]):
        best = None
        for gt in range(len(iou[0])):
            if gt not in taken and (best is None or iou[pred][gt] > iou[pred][best]):
                best = gt
        if best is not None and iou[pred][best] > threshold:
            matches[pred] = best
            taken.add(best)
    return matches


@pytest.mark.parametrize("seed", range(10))
def test_sweep_equals_loops(seed):
    rng = np.random.default_rng(seed)
    iou = np.where(rng.random((8, 6)) < 0.5, 0.0, rng.integers(0, 11, (8, 6)) / 10)
    scores = rng.integers(0, 5, 8) / 5
    thresholds = [0.0, 0.3, 0.5, 0.95, 1.0]
    expected = [greedy_by_loops(iou.tolist(), scores.tolist(), value) for value in thresholds]
    np.testing.assert_array_equal(
        match_greedy_sweep(iou, scores, iou_thresholds=thresholds), expected
    )


@pytest.mark.parametrize("seed", range(3))
def test_sweep_equals_loops_where_pairs_are_unambiguous(seed):
    rng = np.random.default_rng(seed)
    iou = np.diag(rng.random(6))[rng.permutation(6)]
    thresholds = [0.1, 0.5, 0.8]
    expected = [greedy_by_loops(iou.tolist(), [0] * 6, value) for value in thresholds]
    np.testing.assert_array_equal(match_greedy_sweep(iou, iou_thresholds=thresholds), expected)


@pytest.mark.parametrize(
    "iou, options, message",
    [
        ([0.5], {}, r"\(1,\)"),
        ([[1.5]], {}, r"\[0, 1\]"),
        ([[np.nan]], {}, r"\[0, 1\]"),
        ([[0.5]], {"scores": [np.nan]}, "prediction 0 is NaN"),
        ([[0.5]], {"scores": [1, 2]}, r"\(1,\), got \(2,\)"),
        ([[0.5]], {"iou_threshold": 2}, "2.0"),
        ([[0.5]], {"pred_classes": [1]}, "together"),
        ([[0.5]], {"pred_classes": [1], "gt_classes": [1, 2]}, r"\(1,\) and \(2,\)"),
    ],
)
def test_matching_refuses(iou, options, message):
    with pytest.raises(ValueError, match=message):
        match_greedy(iou, **options)
