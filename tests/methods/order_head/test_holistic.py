"""Orders of found instances: matching, pairs that were not found, several processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from occ_order.config import get_cfg
from occ_order.masks import encode
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.order_head.evaluator import HolisticOrder, with_unmatched
from occ_order.metrics.matching import in_gt_order, partners

SIZE = (6, 30)
NAME = "holistic_test"


def block(place, width=4):
    mask = np.zeros(SIZE, bool)
    mask[:, 5 * place : 5 * place + width] = True
    return mask


def record_of(image_id, occlusion, depth=None, classes=None):
    count = len(occlusion)
    record = {
        "image_id": image_id,
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": [
            {"id": k, "segmentation": encode(block(k)), "category_id": (classes or [0] * count)[k]}
            for k in range(count)
        ],
        "occlusion": np.array(occlusion, np.int8).reshape(count, count),
    }
    if depth is not None:
        record["depth"] = np.array(depth, np.int8)
    return record


def output_of(places, occlusion, depth=None, scores=None, classes=None, width=4):
    """Found instances at the places of annotated ones (a place beyond them is a false one)."""
    count = len(places)
    found = Instances(SIZE)
    masks = np.array([block(place, width) for place in places], bool).reshape(count, *SIZE)
    found.pred_masks = torch.from_numpy(masks)
    found.pred_boxes = Boxes(torch.zeros(count, 4))
    found.pred_classes = torch.tensor(classes or [0] * count, dtype=torch.int64)
    found.scores = torch.tensor(scores or [0.9] * count, dtype=torch.float32)
    matrix = torch.tensor(occlusion, dtype=torch.int8).reshape(count, count)
    found.occlusion = PairMatrix(matrix)
    if depth is not None:
        found.depth = PairMatrix(torch.tensor(depth, dtype=torch.int8))
    return {"instances": found}


# 0 over 1, 1 over 2; 0 closest
TRUTH = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
DEPTH = [[-1, 1, 1], [0, -1, 1], [0, 0, -1]]


def evaluator(records, monkeypatch, **changes):
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: records)
    cfg = get_cfg()
    for name, value in changes.items():
        setattr(cfg.TEST.HOLISTIC, name, value)
    return HolisticOrder(cfg, NAME, "")


def scores(records, outputs, monkeypatch, **changes):
    one = evaluator(records, monkeypatch, **changes)
    one.reset()
    one.process([{"image_id": record["image_id"]} for record in records], outputs)
    return one.evaluate()


def test_found_in_another_order_and_all_right(monkeypatch):
    # places 2, 0, 1: "0 over 1" is row 1, column 2 of the prediction
    said, depth = [[0, 0, 0], [0, 0, 1], [1, 0, 0]], [[-1, 0, 0], [1, -1, 1], [1, 0, -1]]
    said[2][0], said[1][2] = 1, 1
    found = scores([record_of(1, TRUTH, DEPTH)], [output_of([2, 0, 1], said, depth)], monkeypatch)
    for kind in ("holistic", "matched"):
        assert found[f"{kind}_occlusion"]["f1"] == 100
        assert found[f"{kind}_depth"]["whdr_all"] == 0
    assert found["holistic_occlusion"]["f1_strict"] == 100
    assert found["holistic_counts"]["instance_recall"] == 100


def test_a_missed_instance_costs_recall_and_is_counted(monkeypatch):
    # 2 is not found: one of two occlusions and two of three depth pairs cannot be right
    said, depth = [[0, 1], [0, 0]], [[-1, 1], [0, -1]]
    found = scores([record_of(1, TRUTH, DEPTH)], [output_of([0, 1], said, depth)], monkeypatch)
    holistic, counts = found["holistic_occlusion"], found["holistic_counts"]
    assert (holistic["recall"], holistic["precision"]) == (50, 100)
    assert holistic["f1"] == pytest.approx(200 / 3)
    assert found["holistic_depth"]["whdr_all"] == pytest.approx(200 / 3)
    assert found["matched_occlusion"]["f1"] == 100 and found["matched_depth"]["whdr_all"] == 0
    assert (counts["gt_occlusions"], counts["gt_occlusions_unmatched"]) == (2, 1)
    assert (counts["depth_pairs"], counts["depth_pairs_unmatched"]) == (3, 2)
    assert counts["gt_instances_unmatched"] == 1 and counts["predicted_instances_unmatched"] == 0
    assert counts["instance_recall"] == pytest.approx(200 / 3)


def test_an_occlusion_of_a_false_instance_is_wrong_only_strictly(monkeypatch):
    # place 4 is no annotated instance; it is said to occlude 0 and to be occluded by 1
    said = [[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    found = scores([record_of(1, TRUTH)], [output_of([0, 1, 2, 4], said)], monkeypatch)
    assert found["holistic_occlusion"]["precision"] == 100
    assert found["holistic_occlusion"]["precision_strict"] == 50
    assert found["holistic_occlusion"]["f1_strict"] == pytest.approx(200 / 3)
    counts = found["holistic_counts"]
    assert (counts["predicted_occlusions"], counts["predicted_occlusions_unmatched"]) == (4, 2)
    assert counts["predicted_instances_unmatched"] == 1 and counts["instance_precision"] == 75


def test_matching_is_one_to_one_and_the_better_score_wins(monkeypatch):
    # both find instance 0; the one with the better score says it occludes 1
    said = [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    two = output_of([0, 0, 1], said, scores=[0.9, 0.8, 0.9])
    found = scores([record_of(1, [[0, 1], [0, 0]])], [two], monkeypatch)
    assert found["holistic_occlusion"]["f1"] == 100
    two["instances"].scores = torch.tensor([0.8, 0.9, 0.9])
    found = scores([record_of(1, [[0, 1], [0, 0]])], [two], monkeypatch)
    assert found["holistic_occlusion"]["recall"] == 0
    assert found["holistic_counts"]["predicted_instances_unmatched"] == 1


@pytest.mark.parametrize(
    ("changes", "settings", "recall"),
    [
        ({}, {}, 100),
        ({"width": 2}, {}, 0),  # IoU 0.5 does not exceed 0.5
        ({"width": 2}, {"IOU_THRESH": 0.4}, 100),
        ({"scores": [0.9, 0.4]}, {}, 0),
        ({"scores": [0.9, 0.4]}, {"SCORE_THRESH": 0.3}, 100),
        ({"classes": [1, 0]}, {}, 0),
        ({"classes": [1, 0]}, {"CLASS_AGNOSTIC": True}, 100),
    ],
)
def test_settings(monkeypatch, changes, settings, recall):
    output = output_of([0, 1], [[0, 1], [0, 0]], **changes)
    found = scores([record_of(1, [[0, 1], [0, 0]])], [output], monkeypatch, **settings)
    assert found["holistic_occlusion"]["recall"] == recall


def test_nothing_found_and_nothing_annotated(monkeypatch):
    records = [record_of(1, TRUTH, DEPTH), record_of(2, [])]
    nothing = [output_of([], [], np.zeros((0, 0))), output_of([], [], np.zeros((0, 0)))]
    found = scores(records, nothing, monkeypatch)
    assert found["holistic_occlusion"]["recall"] == 0
    assert found["holistic_depth"]["whdr_all"] == 100
    assert math.isnan(found["matched_occlusion"]["recall"])
    assert math.isnan(found["holistic_counts"]["instance_precision"])


def test_the_same_keys_whatever_the_data(monkeypatch):
    full = scores([record_of(1, TRUTH, DEPTH)], [output_of([0, 1, 2], TRUTH, DEPTH)], monkeypatch)
    plain = output_of([0, 1, 2], TRUTH)
    plain["instances"].remove("occlusion")
    none = scores([record_of(1, TRUTH, DEPTH)], [plain], monkeypatch)
    empty = evaluator([], monkeypatch).evaluate()
    names = {(task, metric) for task, values in full.items() for metric in values}
    for other in (none, empty):
        assert {(task, metric) for task, values in other.items() for metric in values} == names
    assert math.isnan(none["holistic_occlusion"]["f1"])
    assert all(isinstance(v, float) for values in full.values() for v in values.values())


def test_several_processes_give_what_one_gives(monkeypatch):
    records = [record_of(k, TRUTH, DEPTH) for k in range(3)]
    outputs = [
        output_of([0, 1, 2], TRUTH, DEPTH),
        output_of([1, 0], [[0, 1], [0, 0]], [[-1, 1], [0, -1]]),
        output_of([0, 1, 4], TRUTH, DEPTH),
    ]
    expected = scores(records, outputs, monkeypatch)
    parts = []
    for share in ((2, 1), (0,)):
        one = evaluator(records, monkeypatch)
        one.process([{"image_id": k} for k in share], [outputs[k] for k in share])
        parts.append((one._seen, one._scorers))
    first = evaluator(records, monkeypatch)
    monkeypatch.setattr("occ_order.methods.common.evaluator.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("occ_order.methods.common.evaluator.comm.gather", lambda own: parts)
    assert str(first.evaluate()) == str(expected)
    assert str(first.evaluate()) == str(expected)


def test_partners_and_the_order_of_the_annotation():
    partner = partners([2, -1, 0], 4)
    assert partner.tolist() == [2, -1, 0, -1]
    said = np.arange(9).reshape(3, 3)
    moved = in_gt_order(said, partner)
    assert moved[0, 2] == said[2, 0] and moved[2, 0] == said[0, 2]
    assert (moved[1] == -1).all() and (moved[:, 3] == -1).all()
    assert (in_gt_order(None, partner) == -1).all()


def test_predictions_without_a_partner_come_last_and_occlude_nothing():
    truth, said = np.array([[0, 1], [0, 0]]), np.array([[0, 1, 1], [0, 0, 0], [0, 1, 0]])
    whole, moved = with_unmatched(truth, said, np.array([2, -1]))
    assert whole.tolist() == [[0, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert moved.tolist() == [[0, -1, 0, 1], [-1] * 4, [1, -1, 0, 1], [0, -1, 0, 0]]
