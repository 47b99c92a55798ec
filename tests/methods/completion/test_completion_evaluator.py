"""Scores of amodal masks of input masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances

from occ_order.formats.builtin import COCOA_DEMO
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.completion.evaluator import GivenMaskAmodal
from occ_order.metrics.given_amodal import given_amodal_row, given_amodal_scores
from tests.methods.completion.conftest import record


def masks(*rows: str) -> np.ndarray:
    """Return bool (N, 1, W): 1 = inside."""
    return np.array([[[c == "1" for c in row]] for row in rows])


TRUTH = masks("111100", "001111", "000011")
MODAL = masks("110000", "001111", "000000")
GUESS = masks("111000", "101111", "000011")


def test_by_hand():
    row = given_amodal_row(TRUTH, MODAL, GUESS)
    # The third is not seen at all: nothing was given. Of the second nothing is hidden.
    assert row[:, 0].tolist() == [3 / 4, 4 / 5]
    assert row[0, 1] == 1 / 2 and math.isnan(row[1, 1])
    scores = given_amodal_scores([row, row[:1]])
    assert scores["iou"] == pytest.approx(100 * (0.75 + 0.8 + 0.75) / 3)
    assert scores["occluded_iou"] == pytest.approx(75)
    assert scores["hidden_iou"] == pytest.approx(50)


def test_the_truth_and_the_visible_mask():
    right = given_amodal_scores([given_amodal_row(TRUTH, MODAL, TRUTH)])
    assert right == {"iou": 100, "occluded_iou": 100, "hidden_iou": 100}
    visible = given_amodal_scores([given_amodal_row(TRUTH, MODAL, MODAL)])
    assert visible == {"iou": 75, "occluded_iou": 50, "hidden_iou": 0}


def test_undefined_scores_are_nan_and_the_keys_the_same():
    empty = np.zeros((0, 3, 4), bool)
    scores = given_amodal_scores([given_amodal_row(empty, empty, empty)])
    assert sorted(scores) == ["hidden_iou", "iou", "occluded_iou"]
    assert all(math.isnan(value) for value in [*scores.values(), *given_amodal_scores([]).values()])


@pytest.fixture
def evaluator(cfg, request):
    def make(one: dict) -> GivenMaskAmodal:
        name = f"completion_{request.node.name}"
        DatasetCatalog.register(name, lambda: [one])
        request.addfinalizer(lambda: DatasetCatalog.remove(name))
        return GivenMaskAmodal(cfg, name, "")

    return make


def test_the_rows_and_what_is_not_annotated_is_left_out(evaluator):
    """An L whose notch is hidden; of what hides it nobody knows how far it reaches."""
    modal, whole = np.zeros((2, 6, 6), bool), np.zeros((6, 6), bool)
    modal[0, 1:5, 1] = modal[0, 4, 1:5] = True
    whole[1:5, 1:5] = True
    modal[1, :4, 3:] = True
    tester = evaluator(record(modal, [whole, None]))
    found = Instances((6, 6), pred_amodal_masks=torch.from_numpy(np.stack([whole, whole])))
    found.occlusion = PairMatrix(torch.tensor([[0, 0], [1, 0]], dtype=torch.int8))
    tester.reset()
    tester.process([{"image_id": 5}], [{"instances": found}])
    scores = tester.evaluate()
    assert scores["amodal"] == {"iou": 100, "occluded_iou": 100, "hidden_iou": 100}
    assert scores["amodal_visible_mask"]["iou"] == pytest.approx(100 * 7 / 16)
    assert scores["amodal_visible_mask"]["hidden_iou"] == 0
    # The hull of the L is the lower triangle with the diagonal: 10 of 16, 3 of 9 hidden ones.
    assert scores["amodal_convex_hull"]["occluded_iou"] == pytest.approx(100 * 10 / 16)
    assert scores["amodal_convex_hull"]["hidden_iou"] == pytest.approx(100 / 3)
    # Of the 3, one lies behind the other instance, in the fourth row and column.
    assert scores["amodal_hull_behind"]["occluded_iou"] == pytest.approx(100 * 8 / 16)
    assert scores["amodal_hull_behind"]["hidden_iou"] == pytest.approx(100 / 9)


def test_other_instances_than_the_given_ones_are_refused(evaluator):
    modal = np.ones((2, 6, 6), bool)
    tester = evaluator(record(modal, modal))
    tester.reset()
    for found in (Instances((6, 6), scores=torch.ones(2)), Instances((6, 6), scores=torch.ones(1))):
        with pytest.raises(ValueError, match="image 5: expected pred_amodal_masks and occlusion"):
            tester.process([{"image_id": 5}], [{"instances": found}])


@pytest.mark.skipif(
    "cocoa_demo" not in DatasetCatalog.list(), reason=f"{COCOA_DEMO} names no photographs"
)
def test_what_needs_no_network_on_photographs(cfg, cocoa_demo):
    tester = GivenMaskAmodal(cfg, "cocoa_demo", "")
    tester.reset()
    for one in DatasetCatalog.get("cocoa_demo"):
        size = one["height"], one["width"]
        found = Instances(size)
        count = len(one["annotations"])
        found.pred_amodal_masks = torch.zeros((count, *size), dtype=torch.bool)
        found.occlusion = PairMatrix(torch.from_numpy(np.asarray(one["occlusion"], np.int8)))
        tester.process([{"image_id": one["image_id"]}], [{"instances": found}])
    scores = tester.evaluate()
    assert scores["amodal_visible_mask"]["occluded_iou"] == pytest.approx(71.5, abs=0.05)
    assert scores["amodal_convex_hull"]["occluded_iou"] == pytest.approx(79.6, abs=0.05)
    assert scores["amodal_convex_hull"]["hidden_iou"] == pytest.approx(38.9, abs=0.05)
    assert scores["amodal_hull_behind"]["occluded_iou"] == pytest.approx(87.3, abs=0.05)
    assert scores["amodal"]["occluded_iou"] == 0
