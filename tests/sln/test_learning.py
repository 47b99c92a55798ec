from __future__ import annotations

import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from occ_order.targets import order_from_levels

ROOMIER = [
    *("MODEL.MINI_RESNET.WIDTH", 8),
    *("MODEL.MINI_RESNET.BLOCKS", [1, 1, 1, 1]),
    *("MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.SLN.GLOBAL_LAYERING.CONV_DIM", 16),
    *("MODEL.SLN.REFINEMENT.CONV_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 16),
    *("MODEL.ROI_HEADS.POSITIVE_FRACTION", 0.5),
]


def given_boxes(truth: Instances) -> Instances:
    """The annotated boxes as detections, so that a test of masks needs no good detector."""
    given = Instances(truth.image_size, pred_boxes=truth.gt_boxes.clone())
    given.pred_classes, given.scores = truth.gt_classes, torch.ones(len(truth))
    return given


def test_four_scenes_are_learnt_by_heart(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", *ROOMIER)
    inputs = [layered_input(3, seed=seed) for seed in range(4)]
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    history = []
    with EventStorage():
        for _ in range(STEPS := 90):
            losses = net(inputs)
            sum(losses.values()).backward()
            optimizer.step()
            optimizer.zero_grad()
            history.append({name: loss.item() for name, loss in losses.items()})
    layering = ("loss_global_layering", "loss_instance_layering", "loss_refinement")
    assert len(history) == STEPS
    assert all(history[-1][name] < 0.45 * history[0][name] for name in layering)
    net.eval()
    with torch.no_grad():
        found = net.inference(inputs, [given_boxes(one["instances"]) for one in inputs])
    shared, either, right, pairs = 0, 0, 0, 0
    for one, answer in zip(inputs, found, strict=True):
        levels = one["instances"].gt_levels.tensor
        amodal, guess = levels >= 0, answer["instances"].pred_masks
        shared += (amodal & guess).sum().item()
        either += (amodal | guess).sum().item()
        order = torch.from_numpy(order_from_levels(levels.numpy())) == 1
        right += (answer["instances"].occlusion.tensor == 1)[order].sum().item()
        pairs += order.sum().item()
    assert shared / either > 0.85
    assert pairs >= 6
    assert right >= 0.8 * pairs
