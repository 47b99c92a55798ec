"""Detections of an image and of its mirror image become one set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

import occ_order.methods.build  # noqa: F401  (fills the registries)
from occ_order.config import load_cfg
from occ_order.methods.segmenter.mirrored import Boxed, box_iou, merged, mirrored
from occ_order.model_zoo import settings_file

CONFIG = "Photos/segmenter_mirrored.yaml"
ALONE = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]


def boxed(*rows: tuple[tuple[float, ...], float, float]) -> Boxed:
    """Return detections (box, score, value of the whole mask)."""
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    masks = np.array([np.full((2, 2), value) for _, _, value in rows], np.float32)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Boxed(boxes, scores, masks.reshape(-1, 2, 2))


def test_two_that_agree_are_averaged_by_their_scores_and_one_alone_has_half_of_its_score():
    here = boxed(((0, 0, 10, 10), 0.6, 1.0), ((50, 50, 60, 60), 0.5, 0.7))
    there = boxed(((2, 0, 12, 10), 0.2, 0.0))
    boxes, scores, masks = merged(here, there)
    assert np.allclose(boxes, [[0.5, 0, 10.5, 10], [50, 50, 60, 60]])
    assert np.allclose(scores, [0.4, 0.25])
    assert np.allclose(masks[:, 0, 0], [0.75, 0.7])


def test_what_both_show_goes_ahead_of_what_one_shows_surely():
    here = boxed(((0, 0, 10, 10), 0.5, 1.0), ((50, 50, 60, 60), 0.8, 1.0))
    there = boxed(((0, 0, 10, 10), 0.5, 1.0))
    assert merged(here, there).scores.tolist() == pytest.approx([0.5, 0.4])
    assert len(merged(here, there, most=1).scores) == 1


def test_duplicates_of_either_image_are_dropped_but_neighbours_stay():
    here = boxed(((0, 0, 10, 10), 0.9, 1.0))
    # IoU with the first: 0.67, taken; 0.54, a duplicate; 0.43, another instance.
    there = boxed(((0, 2, 10, 12), 0.8, 1.0), ((0, 3, 10, 13), 0.7, 1.0), ((0, 4, 10, 14), 0.6, 1))
    found = merged(here, there)
    assert found.scores.tolist() == pytest.approx([0.85, 0.3])


def test_nothing_in_one_image_or_in_both_is_no_special_case():
    one, none = boxed(((0, 0, 10, 10), 0.6, 1.0)), boxed()
    assert merged(one, none).scores.tolist() == merged(none, one).scores.tolist() != []
    empty = merged(none, none)
    assert [part.shape for part in empty] == [(0, 4), (0,), (0, 2, 2)]
    assert {part.dtype for part in empty} == {np.dtype(np.float32)}
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]


def test_a_mirrored_detection_is_that_of_the_mirrored_image_and_twice_is_once():
    found = boxed(((1, 2, 5, 9), 0.5, 1.0))
    found.masks[0, 0, 0] = 0.25
    turned = mirrored(found, 20)
    assert turned.boxes.tolist() == [[15, 2, 19, 9]]
    assert turned.masks[0].tolist() == [[1, 0.25], [1, 1]]
    again = mirrored(turned, 20)
    assert all((a == b).all() for a, b in zip(again, found, strict=True))


@pytest.fixture(scope="module")
def model():
    """The network with random weights, with detections whose scores differ."""
    torch.manual_seed(1)
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
    net = build_model(load_cfg(settings_file(CONFIG), [*ALONE, *opts])).eval()
    heads = net.roi_heads
    last = (net.proposal_generator.rpn_head.objectness_logits, heads.box_predictor.bbox_pred)
    with torch.no_grad():
        for layer in (*last, heads.mask_head.predictor):
            layer.weight.mul_(30)
    return net


def test_the_mirror_image_has_the_mirrored_instances(model):
    image = torch.randint(0, 256, (3, 96, 128), generator=torch.Generator().manual_seed(0))
    first, second = (
        model([{"image": x.float(), "height": 96, "width": 128}])[0]["instances"]
        for x in (image, image.flip(-1))
    )
    assert len(first) == len(second) > 3
    assert torch.allclose(first.scores, second.scores, atol=1e-5)
    x0, y0, x1, y1 = second.pred_boxes.tensor.unbind(1)
    turned = torch.stack([128 - x1, y0, 128 - x0, y1], 1)
    assert torch.allclose(first.pred_boxes.tensor, turned, atol=1e-2)


def test_given_boxes_get_masks_as_in_detectron2(model):
    given = Instances((96, 128), pred_boxes=Boxes(torch.tensor([[4.0, 4, 40, 60]])))
    given.pred_classes = torch.zeros(1, dtype=torch.int64)
    given.scores = torch.ones(1)
    found = model.inference([{"image": torch.zeros(3, 96, 128)}], [given])[0]["instances"]
    assert found.pred_boxes.tensor.tolist() == [[4, 4, 40, 60]]


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.ROI_HEADS.NUM_CLASSES", 2], "one class, got 2 classes"),
        (["MODEL.MASK_ON", False], "masks False"),
        (["TEST.DETECTIONS_PER_IMAGE", -1], "DETECTIONS_PER_IMAGE"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(opts, message):
    with pytest.raises(ValueError, match=message):
        build_model(load_cfg(settings_file(CONFIG), [*ALONE, *opts]))
