"""The order head on the detectors of Detectron2's zoo, by the lines of docs/howto/order_head.md."""

from __future__ import annotations

import inspect

import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import LazyCall, instantiate
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

import occ_order.methods.build  # noqa: F401
from occ_order.config import get_cfg
from occ_order.methods.common.input_masks import PAIR_FIELDS
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.order_head.head import OrderHead
from occ_order.methods.order_head.roi_heads import OrderROIHeads, Res5OrderROIHeads

HEADS = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml": ("Res5OrderROIHeads", "res4"),
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x.yaml": ("OrderROIHeads", "res5"),
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml": ("OrderROIHeads", "p2"),
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml": ("OrderROIHeads", "p2"),
    "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml": ("CascadeOrderROIHeads", "p2"),
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml": ("OrderROIHeads", "p2"),
}
"""ROI heads and the map that the order head takes, for a configuration of Detectron2's zoo."""

NARROW = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 1,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 10,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ORDER_HEAD.SCORE_THRESH": 0.0,
}
"""The same network with so few channels that a test can run it."""


def configuration(name, settings):
    """A configuration of Detectron2's zoo with the two lines of the how-to page."""
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.ROI_HEADS.NAME = HEADS[name][0]
    cfg.merge_from_list([str(word) for pair in settings.items() for word in pair])
    return cfg


def two_squares():
    """An image with two squares, the first in front of the second."""
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[1, 8:40, 8:40] = True
    masks[0, 24:56, 24:56] = True
    masks[1] &= ~masks[0]
    target = Instances((64, 64))
    target.gt_boxes = Boxes(torch.tensor([[24.0, 24, 56, 56], [8, 8, 40, 40]]))
    target.gt_classes = torch.tensor([0, 1])
    target.gt_masks = BitMasks(masks)
    target.gt_occlusion = PairMatrix(torch.tensor([[0, 1], [0, 0]], dtype=torch.int8))
    target.gt_depth = PairMatrix(torch.tensor([[-1, 1], [0, -1]], dtype=torch.int8))
    target.gt_overlap = PairMatrix(torch.tensor([[-1, 0], [0, -1]], dtype=torch.int8))
    semantic = torch.where(masks.any(0), 1, 0)
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    return {"image": image, "height": 64, "width": 64, "instances": target, "sem_seg": semantic}


def check_learns(model):
    """One step of training: every part of the order head gets a gradient."""
    with EventStorage():
        losses = model.train()([two_squares()])
    assert {"loss_order_occlusion", "loss_order_depth", "loss_mask"} <= set(losses)
    sum(losses.values()).backward()
    head = model.roi_heads.order_head
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


def check_orders(model):
    """Every pair of what the model finds has an order."""
    with torch.no_grad():
        found = model.eval()([two_squares()])[0]["instances"]
    assert len(found) > 1
    for name in PAIR_FIELDS:
        assert found.get(name).tensor.shape[:2] == (len(found), len(found))
    assert found.pred_masks.shape[1:] == (64, 64)


@pytest.mark.parametrize("name", HEADS)
def test_detectors_of_the_zoo_take_the_order_head_in_their_full_size(name):
    """Every layer is made, without memory for its weights (PyTorch's device "meta")."""
    cfg = configuration(name, {"MODEL.DEVICE": "meta"})
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.roi_heads.order_head.in_feature == HEADS[name][1]
    detector = get_cfg()
    detector.merge_from_file(model_zoo.get_config_file(name))
    detector.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        plain = build_model(detector).state_dict()
    ordered = model.state_dict()
    assert set(plain) == {k for k in ordered if not k.startswith("roi_heads.order_head.")}
    assert [k for k in plain if plain[k].shape != ordered[k].shape] == []


@pytest.mark.parametrize("name", HEADS)
def test_detectors_of_the_zoo_learn_and_order(name, device):
    more = {"MODEL.RESNETS.NUM_GROUPS": 1} if "X_101" not in name else {}
    model = build_model(configuration(name, {**NARROW, **more, "MODEL.DEVICE": device}))
    check_learns(model)
    check_orders(model)


def test_a_map_that_the_backbone_does_not_have_is_named():
    cfg = configuration(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml",
        {"MODEL.ORDER_HEAD.IN_FEATURE": "p2", "MODEL.DEVICE": "meta"},
    )
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"IN_FEATURE is 'p2', the backbone has \['res4'\]"),
    ):
        build_model(cfg)


def test_arguments_default_to_the_settings():
    settings = get_cfg().MODEL.ORDER_HEAD
    keys = {"map_norm": "NORM"}
    for name, parameter in inspect.signature(OrderHead.__init__.__wrapped__).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default == settings[keys.get(name, name.upper())], name


def lazy(name, heads, shape):
    """A LazyConfig of Detectron2's zoo with the lines of the how-to page, and few channels."""
    model = model_zoo.get_config(name).model
    model.roi_heads._target_ = heads
    model.roi_heads.order_head = LazyCall(OrderHead)(input_shape=shape)
    model.roi_heads.order_score_thresh = 0.0
    model.roi_heads.num_classes = 3
    model.roi_heads.batch_size_per_image = 8
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    model.proposal_generator.post_nms_topk = (20, 10)
    return model


def test_lazy_configurations_take_the_order_head(on_device):
    pyramid = lazy(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py",
        OrderROIHeads,
        {"p2": ShapeSpec(channels=256, stride=4)},
    )
    pyramid.roi_heads.box_head.fc_dims = [16]
    pyramid.roi_heads.box_predictor.input_shape.channels = 16
    pyramid.roi_heads.mask_head.conv_dims = [8, 8]
    model = on_device(instantiate(pyramid))
    check_learns(model)
    check_orders(model)


def test_lazy_configurations_on_c4_take_the_order_head(on_device):
    c4 = lazy(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.py",
        Res5OrderROIHeads,
        {"res4": ShapeSpec(channels=1024, stride=16)},
    )
    check_learns(on_device(instantiate(c4)))


def test_the_mapper_of_a_lazy_configuration(records):
    """The line of the how-to page, on a record with an order."""
    from occ_order.methods.common.instance_mapper import InstanceOrderMapper

    data = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py").dataloader
    data.train.mapper = LazyCall(InstanceOrderMapper)(
        is_train=True, augmentations=[LazyCall(T.RandomFlip)()], image_format="BGR"
    )
    found = instantiate(data.train.mapper)(records[0])["instances"]
    assert len(found) == len(records[0]["annotations"])
    assert found.gt_occlusion.tensor.sum() == (records[0]["occlusion"] == 1).sum()
