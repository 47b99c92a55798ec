"""MaskOrderNet as a Detectron2 model, and its mapper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order.config import get_cfg
from occ_order.methods.build import build_mapper
from occ_order.methods.common.color import jittered_color
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.mask_order import meta_arch
from occ_order.methods.mask_order.losses import log_depth_loss
from occ_order.methods.mask_order.mapper import blurred, chosen_instances
from occ_order.methods.mask_order.network import STRIDE
from tests.methods.mask_order.conftest import CHAIN, discs

SIZE = (64, 96)


@pytest.fixture
def cfg(device) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.META_ARCHITECTURE = "MaskOrderNet"
    cfg.MODEL.BACKBONE.NAME = "build_mini_resnet_backbone"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.MINI_RESNET.WIDTH = 4
    cfg.MODEL.MINI_RESNET.BLOCKS = [1, 1, 1, 1]
    own = cfg.MODEL.MASK_ORDER
    own.WIDTH, own.HIDDEN, own.VIEW_CHANNELS = 8, 12, 8
    own.VIEW_SIZES, own.VIEW_WIDTHS = [16, 12], [[4, 8], [4, 8]]
    cfg.INPUT.MAPPER, cfg.INPUT.FORMAT = "MaskOrderMapper", "RGB"
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = [0], 0
    return cfg


def annotated(depth_map: bool = False) -> dict:
    """An input with a chain of three discs and one apart."""
    masks = discs(*CHAIN)
    found = Instances(SIZE, gt_masks=BitMasks(masks), gt_boxes=Boxes(torch.zeros(4, 4)))
    occlusion = torch.zeros(4, 4, dtype=torch.int8)
    occlusion[0, 1] = occlusion[1, 2] = 1
    depth = torch.full((4, 4), -1, dtype=torch.int8)
    depth[0, 1], depth[1, 0] = 1, 0
    found.gt_occlusion, found.gt_depth = PairMatrix(occlusion), PairMatrix(depth)
    found.gt_overlap = PairMatrix(torch.where(depth >= 0, 0, -1).to(torch.int8))
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    result = {"image": image, "instances": found, "image_id": 5}
    if depth_map:
        result["depth_map"] = torch.full(SIZE, 2.0)
    return result


@pytest.mark.parametrize("branches", [["outlines", "image"], ["outlines"], ["image"]])
def test_losses_of_each_branch(cfg, branches, build_model):
    cfg.MODEL.MASK_ORDER.BRANCHES = branches
    model = build_model(cfg)
    losses = model([annotated(depth_map=True), annotated()])
    with_image = ["loss_depth_map"] if "image" in branches else []
    assert sorted(losses) == sorted(["loss_occlusion", "loss_depth", *with_image])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_unknown_pairs_and_pairs_that_do_not_meet_teach_nothing(cfg, build_model):
    cfg.MODEL.MASK_ORDER.BRANCHES = ["outlines"]
    model = build_model(cfg)
    one = annotated()
    one["instances"].gt_occlusion.tensor[:3, :3] = -1  # what is left are pairs that do not meet
    one["instances"].gt_depth.tensor[:] = -1
    losses = model([one])
    assert losses["loss_occlusion"] == 0 and losses["loss_depth"] == 0
    assert losses["loss_occlusion"].requires_grad


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_instances_come_back_in_their_order(cfg, count, flip, build_model):
    cfg.MODEL.MASK_ORDER.FLIP = flip
    model = build_model(cfg).eval()
    one = annotated()
    one["instances"] = one["instances"][:count]
    (output,) = model([{**one, "height": 128, "width": 192}])
    found = output["instances"]
    assert found.pred_masks.shape == (count, 128, 192)
    assert found.occlusion.tensor.shape == (count, count)
    assert found.depth_probability.tensor.shape == (count, count, 3)
    assert output["disparity"].shape == (128, 192) and (output["disparity"] > 0).all()
    if count == 4:  # the last disc lies apart
        assert not found.occlusion.tensor[3].any() and not found.occlusion.tensor[:, 3].any()
        assert (found.occlusion_probability.tensor[3] < 1e-4).all()


def test_a_mirrored_image_has_the_same_answer_with_flip(cfg, build_model):
    cfg.MODEL.MASK_ORDER.FLIP = True
    model, one = build_model(cfg).eval(), annotated()
    turned = {**one, "image": one["image"].flip(2)}
    masks = BitMasks(one["instances"].gt_masks.tensor.flip(2))
    turned["instances"] = Instances(SIZE, gt_masks=masks)
    first, second = model([one])[0]["instances"], model([turned])[0]["instances"]
    torch.testing.assert_close(
        first.occlusion_probability.tensor,
        second.occlusion_probability.tensor,
        atol=1e-5,
        rtol=1e-4,
    )


def test_wrong_settings_are_refused(cfg, build_model):
    cfg.MODEL.MASK_ORDER.BRANCHES = ["outline"]
    with pytest.raises(ValueError, match="BRANCHES must be out of"):
        build_model(cfg)
    cfg.MODEL.MASK_ORDER.BRANCHES = ["image"]
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3"]
    with pytest.raises(ValueError, match="stride 4, 8, 16 and 32"):
        build_model(cfg)


def test_depth_maps_are_read_at_the_middle_of_each_cell(cfg, build_model):
    model = build_model(cfg)
    depth = torch.zeros(SIZE)
    depth[STRIDE // 2, STRIDE // 2] = 3.0
    like = torch.zeros(1, 1, SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    maps = model._depth_maps(like, [{"depth_map": depth}])
    assert maps[0, 0, 0] == 3 and maps.sum() == 3


# --- the loss of depth maps


def test_a_common_factor_of_depth_costs_less_than_a_wrong_shape():
    """By hand: d = log 2 everywhere gives sqrt(log(2)^2 (1 - 0.85)); unknown is left out."""
    depth = torch.tensor([[[1.0, 2.0], [4.0, 0.0]]])
    predicted = torch.where(depth > 0, (2 * depth).clamp(min=1e-3).log(), 77.0)
    expected = np.sqrt(np.log(2) ** 2 * 0.15 + 1e-6)
    assert log_depth_loss(predicted, depth).item() == pytest.approx(expected, rel=1e-4)
    assert log_depth_loss(predicted, depth, shift_weight=1.0).item() == pytest.approx(
        1e-3, abs=1e-4
    )
    flat = torch.zeros_like(depth)
    assert log_depth_loss(flat, depth) > 2 * expected


def test_no_known_depth_is_a_zero_with_a_gradient():
    predicted = torch.ones(2, 3, 3, requires_grad=True)
    loss = log_depth_loss(predicted, torch.zeros(2, 3, 3))
    loss.backward()
    assert loss == 0 and torch.isfinite(predicted.grad).all()


# --- the mapper


def record(count: int = 4) -> dict:
    """A record whose occlusion and ids tell which instance is which."""
    from occ_order import masks as codec

    masks = discs(*[(10 + 12 * (k // 6), 8 + 15 * (k % 6), 6) for k in range(count)]).numpy()
    occlusion = np.zeros((count, count), np.int8)
    occlusion[0, 1:2] = 1
    return {
        "pixels": np.full((*SIZE, 3), 128, np.uint8),
        "image_id": 1,
        "height": SIZE[0],
        "width": SIZE[1],
        "occlusion": occlusion,
        "annotations": [
            {
                "id": k,
                "category_id": 0,
                "bbox": codec.bounding_box(mask).tolist(),
                "segmentation": codec.encode(mask),
            }
            for k, mask in enumerate(masks)
        ],
    }


def test_a_neighbourhood_is_taken_of_an_image_with_many_instances():
    one = record(24)
    rng = np.random.default_rng(0)
    kept = chosen_instances(one, 5, rng)
    ids = [annotation["id"] for annotation in kept["annotations"]]
    assert len(ids) == 5 and ids == sorted(ids) and 0 in ids
    assert kept["occlusion"].shape == (5, 5)
    np.testing.assert_array_equal(kept["occlusion"], one["occlusion"][np.ix_(ids, ids)])
    assert len(one["annotations"]) == 24
    assert chosen_instances(one, 24, rng) is one


def test_training_inputs_and_images_without_pairs(cfg):
    cfg.INPUT.MASK_ORDER.MASK_NOISE = 1.0
    cfg.INPUT.RANDOM_FLIP = "none"
    mapper = build_mapper(cfg, is_train=True)
    result = mapper(record())
    assert result["image"].shape == (3, *SIZE) and result["image"].dtype == torch.uint8
    assert len(result["instances"]) == 4
    assert "depth_map" not in result
    assert mapper(record(1)) is None


def test_colours_and_sharpness_change_within_their_range():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for change in (jittered_color, blurred):
        changed = [change(image, rng) for _ in range(8)]
        assert all(one.shape == image.shape and one.dtype == np.uint8 for one in changed)
        assert all((one != image).any() for one in changed)
    # A blur takes contrast away and leaves the mean.
    soft = blurred(image, np.random.default_rng(3))
    assert soft.std() < image.std() and abs(soft.mean() - image.mean()) < 3


def test_the_settings_name_the_branches_that_exist():
    assert list(meta_arch.BRANCHES) == get_cfg().MODEL.MASK_ORDER.BRANCHES
