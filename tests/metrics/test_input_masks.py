"""Scores of the order of input masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from occ_order.metrics import (
    direction_accuracy,
    given_mask_row,
    given_mask_scores,
    occlusion_scores,
    whdr,
)

# 0 occludes 1; 1 and 2 occlude each other; 2 occludes 3; of 0 and 3 one direction is not annotated.
TRUTH = np.array([[0, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1], [-1, 0, 0, 0]], np.int8)


def test_direction_by_hand():
    # Two pairs count, 0-1 (right) and 2-3 (wrong).
    prob = np.array([[0, 0.4, 0, 0], [0.3, 0, 0, 0], [0, 0.9, 0, 0.2], [0.9, 0, 0.6, 0]])
    assert direction_accuracy([TRUTH], [prob]) == 50
    assert direction_accuracy([TRUTH], [prob], among=[np.array([1, 1, 0, 1], bool)]) == 100
    prob[2, 3] = 0.6  # a tie is half right
    assert direction_accuracy([TRUTH], [prob]) == 75
    assert direction_accuracy([TRUTH], [np.zeros((4, 4))]) == 50
    # Over the pairs of the data set, not over images: 1.5 of 2 and 1 of 1.
    one = np.array([[0, 1], [0, 0]])
    assert direction_accuracy([TRUTH, one], [prob, one]) == pytest.approx(250 / 3)
    assert math.isnan(direction_accuracy([], []))
    assert math.isnan(direction_accuracy([TRUTH], [prob], among=[np.zeros(4, bool)]))


def test_the_reverse_scores_what_is_missing_and_the_names_do_not_matter():
    rng = np.random.default_rng(3)
    gt = [rng.integers(-1, 2, (n, n)) for n in (0, 1, 5, 9)]
    for matrix in gt:
        np.fill_diagonal(matrix, 0)
    prob = [rng.random(matrix.shape).round(1) for matrix in gt]
    score = direction_accuracy(gt, prob)
    assert direction_accuracy(gt, [p.T for p in prob]) == pytest.approx(100 - score)
    orders = [rng.permutation(len(matrix)) for matrix in gt]
    shuffled = [[m[np.ix_(k, k)] for m, k in zip(ms, orders, strict=True)] for ms in (gt, prob)]
    assert direction_accuracy(*shuffled) == pytest.approx(score)
    # Any rising function of the scores gives the same.
    assert direction_accuracy(gt, [np.exp(3 * p) for p in prob]) == pytest.approx(score)


@pytest.mark.parametrize(
    ("gt", "prob", "among", "message"),
    [
        ([TRUTH], [], None, "1 images, but 0 of scores"),
        ([TRUTH], [np.zeros((3, 3))], None, r"image 0: expected .* got \(\(4, 4\), \(3, 3\)"),
        ([TRUTH], [np.zeros((4, 4))], [np.ones(3, bool)], "image 0: expected"),
        ([TRUTH], [np.full((4, 4), np.nan)], None, "image 0: a score is not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(gt, prob, among, message):
    with pytest.raises(ValueError, match=message):
        direction_accuracy(gt, prob, among=among)


def record(occlusion, stuff=(), **more):
    return {
        "annotations": [{"is_stuff": int(k in stuff)} for k in range(len(occlusion))],
        "occlusion": occlusion,
        **more,
    }


def test_scores_are_those_of_the_single_metrics():
    depth = np.array([[-1, 1, 2, -1], [0, -1, 0, 1], [2, 1, -1, -1], [-1, 0, -1, -1]])
    overlap = np.array([[-1, 0, 1, -1], [0, -1, 0, 1], [1, 0, -1, -1], [-1, 1, -1, -1]])
    truth = record(TRUTH, stuff={3}, depth=depth, overlap=overlap)
    found = {
        "occlusion": np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
        "occlusion_prob": np.array(
            [[0, 0.4, 0, 0], [0.3, 0, 0, 0], [0, 0.9, 0, 0.2], [0, 0, 0.6, 0]]
        ),
        "depth": np.array([[-1, 0, 2, 1], [1, -1, 0, 1], [2, 1, -1, 1], [0, 0, 0, -1]]),
    }
    scores = given_mask_scores([given_mask_row(truth, **found)])
    assert scores["direction/all"] == 50
    assert scores["direction/objects"] == 100
    f1 = occlusion_scores([TRUTH], [found["occlusion"]])["f1"]
    assert scores["occlusion/f1"] == pytest.approx(f1)
    # Distinct pairs: 0-1 (wrong) and 1-2 (right); unknown counts weigh alike.
    assert scores["depth/whdr_distinct"] == 50
    assert scores["depth/whdr_all"] == whdr([depth], [overlap], None, [found["depth"]])["all"]


def test_without_probabilities_the_order_itself_decides():
    said = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
    scores = given_mask_scores([given_mask_row(record(TRUTH), occlusion=said)])
    assert scores["direction/all"] == 50
    said[2, 3] = 1  # both ways: undecided
    scores = given_mask_scores([given_mask_row(record(TRUTH), occlusion=said)])
    assert scores["direction/all"] == 75


def test_the_same_keys_without_images_orders_or_instances():
    nothing = given_mask_scores([])
    assert all(math.isnan(value) for value in nothing.values())
    no_instances = record(np.zeros((0, 0), np.int8))
    for row in ({}, given_mask_row(no_instances, occlusion=np.zeros((0, 0)))):
        assert given_mask_scores([row]).keys() == nothing.keys()
    assert given_mask_row({"annotations": []}, occlusion=np.zeros((0, 0))) == {}
