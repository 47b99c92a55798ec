"""Area, y-axis and disparity as networks, and the evaluator that they share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from occ_order.methods.build import build_mapper
from occ_order.methods.common.baseline import OrderBaseline
from occ_order.methods.common.input_masks_evaluator import GivenMaskOrder
from occ_order.metrics import occlusion_scores, whdr
from occ_order.order import area_order, bottom_edge_order, disparity_order, y_axis_order


@pytest.fixture
def build(on_device):
    def build(cfg, name, **settings):
        cfg.MODEL.ORDER_BASELINE.NAME = name
        for key, value in settings.items():
            setattr(cfg.MODEL.ORDER_BASELINE, key, value)
        return on_device(OrderBaseline(cfg)).eval()

    return build


RULES = {"area": area_order, "y_axis": y_axis_order, "bottom_edge": bottom_edge_order}


@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("name", RULES)
def test_masks_alone(cfg, annotated, name, gap, build):
    one = annotated(5)
    masks = one["instances"].gt_masks.tensor.numpy()
    function = RULES[name]
    found = build(cfg, name, GAP=gap)([one])[0]["instances"]
    assert np.array_equal(found.occlusion.tensor, function(masks, order="occlusion", gap=gap))
    assert np.array_equal(found.depth.tensor, function(masks, order="depth"))
    in_front = function(masks, order="occlusion", pairs="all")
    assert np.array_equal(found.occlusion_probability.tensor, in_front)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_disparity_of_the_input(cfg, annotated, statistic, build):
    one = {**annotated(4), "disparity": torch.rand(40, 50)}
    found = build(cfg, f"disparity_{statistic}")([one])[0]["instances"]
    masks = one["instances"].gt_masks.tensor.numpy()
    expected = disparity_order(one["disparity"].numpy(), masks, statistic=statistic)
    assert np.array_equal(found.depth.tensor, expected)


def test_disparity_of_a_network_is_stretched_to_the_masks(annotated, on_device):
    class Ramp(torch.nn.Module):
        def forward(self, inputs):
            return [{"disparity": torch.arange(20.0)[:, None].expand(20, 25)} for _ in inputs]

    one = annotated(4)
    net = on_device(OrderBaseline(name="disparity_mean", disparity_net=Ramp())).eval()
    rows = torch.arange(40)[:, None]
    masks = one["instances"].gt_masks.tensor
    mean_row = (masks * rows).sum((1, 2)) / masks.sum((1, 2))
    depth = net([one])[0]["instances"].depth.tensor
    for i in range(4):
        for j in range(4):
            if abs(mean_row[i] - mean_row[j]) > 1:
                assert depth[i, j] == int(mean_row[i] > mean_row[j])


def test_compat_rules_reach_the_functions(cfg, annotated, build):
    one = annotated(5)
    masks = one["instances"].gt_masks.tensor.numpy()
    found = build(cfg, "y_axis", COMPAT="instaorder")([one])[0]["instances"]
    assert np.array_equal(found.occlusion.tensor, y_axis_order(masks, compat="instaorder"))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two(cfg, annotated, count, build):
    found = build(cfg, "area")([annotated(count)])[0]["instances"]
    assert len(found) == len(found.depth) == count


def test_what_cannot_be_done_is_said(cfg, annotated, build):
    with pytest.raises(ValueError, match="needs 'disparity' in the input"):
        build(cfg, "disparity_mean")([annotated(2)])
    with pytest.raises(ValueError, match="nothing to train"):
        build(cfg, "area").train()([annotated(2)])
    with pytest.raises(ValueError, match="COMPAT of bottom_edge must be '', got 'instaorder'"):
        build(cfg, "bottom_edge", COMPAT="instaorder")
    with pytest.raises(ValueError, match="NAME must be one of"):
        build(cfg, "size")


# --- the evaluator


@pytest.fixture
def scored(cfg, records, build):
    """Three scenes, the evaluator, and its scorers of the scenes ordered by area."""
    cfg.INPUT.MAPPER = "InstanceOrderMapper"
    mapper, net = build_mapper(cfg, is_train=False), build(cfg, "area")
    evaluator = GivenMaskOrder(cfg, "unused", "")
    scenes = records(3)
    scorers = evaluator.scorers()
    for record, output in zip(scenes, net([mapper(one) for one in scenes]), strict=True):
        evaluator.update(scorers, record, output)
    return scenes, evaluator, scorers


def test_scores_are_those_of_the_metrics(scored):
    scenes, evaluator, found = scored
    scores = evaluator.scores(found)
    masks = [evaluator_masks(record) for record in scenes]
    said = [area_order(stack) for stack in masks]
    truth = [record["occlusion"] for record in scenes]
    for task, options in {
        "occlusion": {},
        "occlusion_per_image": {"average": "image"},
        "occlusion_unidirectional": {"bidirectional": False},
        "occlusion_per_image_unidirectional": {"average": "image", "bidirectional": False},
    }.items():
        assert scores[task] == pytest.approx(occlusion_scores(truth, said, **options))
    depth = [area_order(stack, order="depth") for stack in masks]
    columns = [[record[key] for record in scenes] for key in ("depth", "overlap", "count")]
    expected = whdr(*columns, depth, average="image")
    for cell in ("distinct", "overlap", "all"):
        assert scores["depth_per_image"][f"whdr_{cell}"] == pytest.approx(expected[cell])


def evaluator_masks(record):
    from occ_order.masks import decode_all

    stacks = [annotation["segmentation"] for annotation in record["annotations"]]
    return decode_all(stacks, record["height"], record["width"])


def test_the_same_keys_whatever_the_data(scored):
    scenes, evaluator, found = scored
    scores = evaluator.scores(found)
    nothing = evaluator.scores(evaluator.scorers())
    only = evaluator.scorers()
    only["orders"].add({"occlusion": (scenes[1]["occlusion"],) * 2})
    half = evaluator.scores(only)
    names = {task: set(values) for task, values in scores.items()}
    for other in (nothing, half):
        assert {task: set(values) for task, values in other.items()} == names
    assert all(math.isnan(v) for values in nothing.values() for v in values.values())
    assert math.isnan(half["depth"]["whdr_all"]) and not math.isnan(half["occlusion"]["f1"])


def test_another_number_of_instances_is_refused(cfg, records, annotated, build):
    output = build(cfg, "area")([annotated(2)])[0]
    with pytest.raises(ValueError, match="image 0: 2 instances came back of 4 input masks"):
        evaluator = GivenMaskOrder(cfg, "unused", "")
        evaluator.update(evaluator.scorers(), records(1)[0], output)


def test_a_disparity_network_by_its_name(cfg, build):
    cfg.MODEL.DISPARITY.HEADS = []
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ORDER_BASELINE.DISPARITY_ARCHITECTURE = "InstaDepthNet"
    with torch.device("meta"):
        net = build(cfg, "disparity_median")
    assert type(net.disparity_net).__name__ == "InstaDepthNet"
