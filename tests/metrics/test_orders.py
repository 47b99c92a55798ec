"""Scorers are given one image after the other and say what the functions over all images say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from occ_order.metrics import oair, occlusion_scores, whdr
from occ_order.metrics.oair import OAIRScorer, oair_by_confidence
from occ_order.metrics.orders import OrderScorer, order_pairs, pair_counts
from occ_order.scenes import generate

TRUTH = {
    "occlusion": np.array([[0, 1, 0], [0, 0, -1], [0, -1, 0]], np.int8),
    "depth": np.array([[-1, 1, 2], [0, -1, -1], [2, -1, -1]], np.int8),
}


def test_what_is_not_annotated_or_not_predicted_is_no_pair():
    said = np.zeros((3, 3), np.int8)
    assert order_pairs({}, occlusion=said, depth=said) == {}
    assert order_pairs(TRUTH) == {}
    pairs = order_pairs(TRUTH, depth=said)
    assert list(pairs) == ["depth"]
    depth, overlap, count, predicted = pairs["depth"]
    assert depth is TRUTH["depth"] and predicted is said
    assert (overlap == -1).all() and (count == -1).all()


@pytest.mark.parametrize(
    ("found", "lost"),
    [([True, True, True], (0, 0)), ([True, False, True], (1, 1)), ([False, True, True], (1, 2))],
)
def test_pairs_are_counted_once_and_lost_with_either_end(found, lost):
    # One occlusion: 0 in front of 1. Two pairs of known depth: 0 and 1, 0 and 2.
    said = np.zeros((3, 3), np.int8)
    counts = pair_counts(order_pairs(TRUTH, occlusion=said, depth=said), np.array(found))
    assert counts == {
        "occlusion_pairs": 1,
        "occlusion_pairs_unmatched": lost[0],
        "depth_pairs": 2,
        "depth_pairs_unmatched": lost[1],
    }


def test_orders_one_by_one_are_orders_at_once():
    rng, scorer, truths, answers = np.random.default_rng(0), OrderScorer(), [], []
    for seed in range(4):
        scene = generate(seed, size=(48, 64), num_instances=4)
        names = ("occlusion", "depth", "overlap", "count")
        truth = {name: getattr(scene, name) for name in names if hasattr(scene, name)}
        truth["count"] = np.full_like(truth["occlusion"], 2, np.int16)
        answer = rng.integers(0, 2, truth["occlusion"].shape)
        scorer.update(truth, {"occlusion": answer, "depth": answer})
        truths.append(truth)
        answers.append(answer)
    found = scorer.compute()
    f1 = occlusion_scores([t["occlusion"] for t in truths], answers, zero_division=math.nan)["f1"]
    columns = ([t[name] for t in truths] for name in ("depth", "overlap", "count"))
    assert found["occlusion/f1"] == f1
    assert found["depth/whdr_all"] == whdr(*columns, answers)["all"]


def test_no_image_has_the_same_keys():
    scorer = OrderScorer()
    nothing = scorer.compute()
    assert all(math.isnan(value) for value in nothing.values())
    scorer.update(TRUTH, {"occlusion": np.zeros((3, 3)), "depth": TRUTH["depth"]})
    assert scorer.compute().keys() == nothing.keys()


def test_curves_one_by_one_are_curves_at_once():
    truths, answers, scorer = [], [], OAIRScorer(gt_edges="all")
    for seed in range(3):
        scene = generate(seed, size=(48, 64), num_instances=4)
        truth = {key: getattr(scene, key) for key in ("classes", "occlusion")}
        truth["masks"] = scene.modal
        scores = np.linspace(0.9, 0.5, len(scene.classes))
        answer = {**truth, "scores": scores, "occlusion": truth["occlusion"].T}
        scorer.update(truth, answer)
        truths.append(truth)
        answers.append(answer)
    curves = scorer.compute(num_points=3)
    by_iou = oair(truths, answers, gt_edges="all", iou_thresholds=curves["by_iou"]["iou_threshold"])
    assert curves["by_iou"] == by_iou and by_iou["recall"][0] == 1
    assert curves["by_confidence"] == oair_by_confidence(
        truths, answers, gt_edges="all", num_points=3
    )
