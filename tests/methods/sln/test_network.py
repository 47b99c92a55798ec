from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from occ_order.config import load_cfg
from occ_order.methods.common.backbone.mini_resnet import make_mini_resnet
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.sln.blocks import ConvBlock
from occ_order.methods.sln.encoder import ConcatenatedStages
from occ_order.methods.sln.global_layering import GlobalLayering, LayerFusion, overlap_layers
from occ_order.methods.sln.level_maps import LevelMaps
from occ_order.methods.sln.mixing import MixedLater, mixed
from occ_order.methods.sln.roi_heads import LayeredPooler
from occ_order.methods.sln.rpn_head import ROWS, RecomputingRPNHead
from occ_order.methods.sln.stages import Freezer, Stages
from occ_order.targets import global_layers

STAGE_NAMES = ["res2", "res3", "res4", "res5"]
ROOT = Path(__file__).resolve().parents[3]
NETWORKS = {
    "sln_mini_scenes": {
        "loss_global_layering",
        "loss_instance_layering",
        "loss_refinement",
    },
    "SLN without GLM": {"loss_instance_layering", "loss_refinement"},
    "SLN without refinement": {"loss_global_layering", "loss_instance_layering"},
    "sln_encoder_mini_scenes": {
        "loss_global_layering",
        "loss_instance_layering",
        "loss_refinement",
    },
    "ARCNN": {"loss_mask_amodal"},
    "ARCNN + visible": {"loss_mask_amodal", "loss_mask_visible"},
}
DETECTOR = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}


def losses_of(net, inputs, iteration: int = 0):
    with EventStorage(iteration):
        return net(inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_trained_parameter_gets_a_gradient(name, tiny_net, layered_input) -> None:
    net = tiny_net(name)
    losses = losses_of(net, [layered_input(3), layered_input(2, seed=1)])
    assert set(losses) == NETWORKS[name] | DETECTOR
    sum(losses.values()).backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_without_instances_train_and_every_parameter_keeps_a_gradient(
    name, tiny_net, layered_input
) -> None:
    net = tiny_net(name)
    losses = losses_of(net, [layered_input(0), layered_input(0, seed=1)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    mask_losses = NETWORKS[name] - {"loss_global_layering"}
    assert all(losses[key].item() == 0 for key in mask_losses)
    assert all(p.grad is not None for p in net.roi_heads.mask_head.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_have_their_fields_and_modal_lies_inside_amodal(
    name, tiny_net, layered_input
) -> None:
    net = tiny_net(name, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0).eval()
    one = {**layered_input(), "height": 48, "width": 80}  # of the original image
    with torch.no_grad():
        found = net([one])[0]["instances"]
    assert len(found) > 1
    assert found.pred_masks.shape == (len(found), 48, 80)
    assert found.pred_masks.dtype == torch.bool
    prob = found.pred_level_prob
    assert (prob[:, 1:] >= prob[:, :-1] - 1e-6).all()
    knows_levels = name != "ARCNN"
    assert found.has("pred_modal_masks") == found.has("occlusion") == knows_levels
    if knows_levels:
        assert not (found.pred_modal_masks & ~found.pred_masks).any()
        assert ((found.pred_levels >= 0) == found.pred_masks).all()
        assert isinstance(found.occlusion, PairMatrix)
        assert not (found.occlusion.tensor & found.occlusion.tensor.T).any()


def test_no_detection_gives_empty_fields(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.1).eval()
    with torch.no_grad():
        found = net([layered_input()])[0]["instances"]
    assert len(found) == len(found.occlusion) == 0
    assert found.pred_masks.shape == found.pred_modal_masks.shape == (0, 64, 64)


def test_given_boxes_get_masks_in_their_order(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", "MODEL.SLN.LEVEL_NMS", -1.0).eval()
    given = Instances((64, 64), pred_boxes=Boxes(torch.tensor([[4.0, 4, 30, 30], [20, 9, 60, 50]])))
    given.pred_classes, given.scores = torch.zeros(2, dtype=torch.int64), torch.ones(2)
    with torch.no_grad():
        found = net.inference([layered_input()], [given])[0]["instances"]
    assert found.pred_boxes.tensor.tolist() == [[4, 4, 30, 30], [20, 9, 60, 50]]
    assert not found.pred_masks[0, :, 32:].any()


def test_what_repeats_a_detection_by_its_levels_is_left_out(tiny_net, layered_input) -> None:
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.SLN.LEVEL_NMS"]
    with torch.no_grad():
        every, one = (
            tiny_net("sln_mini_scenes", *opts, threshold).eval()([layered_input()])[0]["instances"]
            for threshold in (1.0, -1.0)  # -1: whatever there is repeats the surest
        )
    assert len(every) > 1
    assert one.scores.tolist() == every.scores[:1].tolist()


# --------------------------------------------------------------------------------------- stages

STAGED = [
    *("MODEL.SLN.STAGES", ["glm", "rpn", "ilm", "joint"]),
    *("MODEL.SLN.STAGE_SHARES", [0.25, 0.25, 0.25, 0.25]),
    *("SOLVER.MAX_ITER", 8),
]
LEARNING = {
    "glm": {"backbone", "global_layering"},
    "rpn": {"layer_fusion", "proposal_generator"},
    "ilm": {"roi_heads"},
    "joint": {"backbone", "global_layering", "layer_fusion", "proposal_generator", "roi_heads"},
}


@pytest.mark.parametrize("iteration, stage", [(0, "glm"), (2, "rpn"), (5, "ilm"), (7, "joint")])
def test_a_stage_changes_its_parts_and_no_other(iteration, stage, tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", *STAGED)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    inputs = [layered_input(3), layered_input(2, seed=1)]
    losses_of(net, inputs)["loss_global_layering"].backward()  # a gradient of an earlier stage
    optimizer.step()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sum(losses_of(net, inputs, iteration).values()).backward()
    optimizer.step()
    changed = {n for n, value in net.state_dict().items() if not value.equal(before[n])}
    assert {name.split(".")[0] for name in changed} == LEARNING[stage]


def test_a_frozen_part_thaws_again_but_what_never_learnt_does_not(tiny_net) -> None:
    net = tiny_net("sln_mini_scenes", *STAGED, "MODEL.BACKBONE.FREEZE_AT", 0)
    net.backbone.bottom_up.stem.requires_grad_(False)
    freezer = Freezer(net)
    freezer.enter("ilm")
    assert not any(p.requires_grad for p in net.backbone.parameters())
    assert not net.backbone.training
    net.train()
    freezer.rest()
    assert not net.backbone.training
    freezer.enter("joint")
    learning = {n for n, p in net.backbone.named_parameters() if p.requires_grad}
    expected = {n for n, _ in net.backbone.named_parameters() if "bottom_up.stem" not in n}
    assert learning == expected
    assert net.backbone.training
    assert net.roi_heads.training


def test_evaluation_in_the_middle_of_a_stage_leaves_frozen_parts_frozen(
    tiny_net, layered_input
) -> None:
    net = tiny_net("sln_mini_scenes", *STAGED)
    losses_of(net, [layered_input()], iteration=3)
    net.eval()
    assert not any(module.training for module in net.modules())
    net.train()
    assert not net.backbone.training
    assert net.proposal_generator.training


def test_stages_divide_the_iterations() -> None:
    stages = Stages(["glm", "rpn", "joint"], [0.1, 0.3, 0.6], 100)
    assert [stages.at(i) for i in (0, 9, 10, 39, 40, 99, 1000)] == [
        *("glm", "glm", "rpn", "rpn", "joint", "joint", "joint")
    ]


@pytest.mark.parametrize(
    "names, shares, message",
    [
        (["glm", "mask"], [0.5, 0.5], "stages must be some of"),
        ([], [], "stages must be some of"),
        (["glm", "joint"], [1.0], "adding up to 1"),
        (["glm", "joint"], [0.5, 0.6], "adding up to 1"),
        (["glm", "joint"], [1.5, -0.5], "one positive share each"),
    ],
)
def test_bad_stages_are_refused(names, shares, message) -> None:
    with pytest.raises(ValueError, match=message):
        Stages(names, shares, 10)


def test_a_stage_for_a_missing_module_is_refused(tiny_net) -> None:
    with pytest.raises(ValueError, match="train a GLM, but the network has none"):
        tiny_net("SLN without GLM", *STAGED)


# ---------------------------------------------------------------------------------------- parts


def test_encoder_concatenates_reduced_stages_at_one_stride(on_device) -> None:
    stages = make_mini_resnet(width=4, out_features=["res2", "res3", "res4", "res5"])
    encoder = on_device(ConcatenatedStages(stages, channels=6, stride=8))
    shape = encoder.output_shape()["enc"]
    assert (shape.channels, shape.stride) == (24, 8)
    assert encoder(torch.rand(2, 3, 64, 96))["enc"].shape == (2, 24, 8, 12)
    with pytest.raises(ValueError, match="no stage of the encoder has stride 5"):
        ConcatenatedStages(stages, channels=6, stride=5)


def test_layer_fusion_begins_as_the_identity_and_learns_from_the_maps(on_device) -> None:
    fusion = on_device(LayerFusion(8, 4))
    features = {"p2": torch.randn(2, 8, 16, 16), "p5": torch.randn(2, 8, 2, 2)}
    maps = torch.rand(2, 4, 16, 16, requires_grad=True)
    fused = fusion(features, maps)
    assert all(torch.equal(fused[name], features[name]) for name in features)
    (fused["p5"].square().sum() + fused["p2"].square().sum()).backward()
    assert fusion.mix.weight.grad[:, 8:].abs().sum() > 0


def test_pooler_puts_the_layer_maps_behind_the_features() -> None:
    class Crop(torch.nn.Module):
        def forward(self, maps, boxes):
            return maps[0][:, :, : len(boxes), :2]

    pooled = LayeredPooler(Crop(), Crop())([torch.zeros(1, 3, 4, 4), torch.ones(1, 2, 4, 4)], [0])
    assert pooled.shape == (1, 5, 1, 2)
    assert pooled[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1]


def test_targets_of_the_global_module_are_global_layers_with_padding_uncovered(
    layered_input,
) -> None:
    instances = layered_input(3)["instances"]
    amodal = (instances.gt_levels.tensor >= 0).numpy()
    found = overlap_layers([instances], (64, 96), (64, 96), 4)
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(found[0, :, :, :64], global_layers(amodal, num_levels=4))
    assert not found[0, :, :, 64:].any()
    coarse = overlap_layers([instances], (64, 96), (16, 24), 4)
    share = global_layers(amodal)[:, :, :].reshape(4, 16, 4, 16, 4).mean(axis=(2, 4))
    np.testing.assert_array_equal(coarse[0, :, :, :16], share >= 0.5)


def test_targets_of_an_image_without_objects_are_uncovered() -> None:
    empty = Instances((8, 8), gt_levels=LevelMaps(torch.zeros(0, 8, 8, dtype=torch.int8)))
    assert not overlap_layers([empty], (8, 8), (2, 2), 4).any()


@pytest.mark.parametrize("training", [True, False])
def test_a_block_takes_no_region_at_all_and_its_statistics_stay(training, on_device) -> None:
    block = on_device(ConvBlock(3, 4, 2, upsample=True)).train(training)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    assert block(torch.zeros(0, 3, 7, 7)).shape == (0, 2, 14, 14)
    assert all(value.equal(before[name]) for name, value in block.state_dict().items())
    assert block[0].norm.training is training


def test_an_unknown_refinement_is_refused(tiny_net) -> None:
    with pytest.raises(ValueError, match="refine must be '', 'masks' or 'map', got 'mask'"):
        tiny_net("sln_mini_scenes", "MODEL.SLN.REFINEMENT.OF", "mask")


@pytest.mark.parametrize("name", ["sln_mini_scenes", "SLN without refinement"])
@pytest.mark.parametrize("upsample, side", [(True, 28), (False, 14)])
def test_the_last_block_doubles_the_resolution_if_asked(name, upsample, side, tiny_net) -> None:
    head = tiny_net(name, "MODEL.SLN.UPSAMPLE", upsample).roi_heads.mask_head
    channels = head.layering[0].in_channels
    with torch.no_grad():
        found = head.layers(torch.randn(2, channels, 14, 14))
    assert found["nested"].shape == (2, 4, side, side)
    assert found["levels"].shape[-1] == (14 if head.refine is not None else side)


def test_refinement_of_the_map_trains_too(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", "MODEL.SLN.REFINEMENT.OF", "map")
    losses_of(net, [layered_input(3)])["loss_refinement"].backward()
    head = net.roi_heads.mask_head
    assert all(p.grad is not None for p in head.parameters())
    assert head.refine[-1].out_channels == 1


# -------------------------------------------------------------------------------- configurations

YAMLS = sorted((ROOT / "configs" / "SLN").glob("*.yaml"))
YAMLS.append(ROOT / "configs" / "quick_schedules" / "sln_instant_test.yaml")


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_configuration_of_sln_has_amodal_boxes(path) -> None:
    assert load_cfg(path).INPUT.BOXES == "amodal"


def test_the_encoder_config_is_as_the_paper_describes_it(row_cfg) -> None:
    """Sections 4.2 to 4.6: ENC from COCO instance segmentation, the refined sem-dist map, blocks
    of conv-bn-relu-conv-bn-relu-conv that keep the resolution, one module after another."""
    for name, dilation in (("SLN", 1), ("SLN, D2SA", 1), ("SLN, dilated", 2)):
        cfg = row_cfg("sln_paper", name)
        sln = cfg.MODEL.SLN
        assert cfg.MODEL.WEIGHTS.startswith("detectron2://COCO-InstanceSegmentation/mask_rcnn_R_50")
        assert not sln.UPSAMPLE and not sln.INSTANCE_LAYERING.CONTEXT
        assert sln.REFINEMENT.OF == "map" and cfg.MODEL.ROI_MASK_HEAD.NUM_CONV == 2
        assert sln.STAGES == ["glm", "rpn", "ilm", "joint"]
        assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MOMENTUM) == (0.0005, 0.9)
        assert cfg.SOLVER.WEIGHT_DECAY_NORM == 0
        assert dilation == cfg.MODEL.RESNETS.RES5_DILATION


@pytest.mark.parametrize("name", ["ARCNN", "ARCNN + visible mask", "ARCNN, D2SA"])
def test_arcnn_has_a_resnet_101(name, row_cfg) -> None:
    """Section 5.2: "ARCNN is actually the standard Mask R-CNN with a ResNet-101 backbone"."""
    cfg = row_cfg("sln_paper", name)
    assert cfg.MODEL.RESNETS.DEPTH == 101 and cfg.MODEL.WEIGHTS.endswith("MSRA/R-101.pkl")
    assert cfg.MODEL.ROI_MASK_HEAD.NAME == "AmodalMaskHead"


@pytest.mark.parametrize("conv_dims", [[-1], [12, 8]])
def test_recomputing_gives_the_same_losses_and_gradients(conv_dims, on_device) -> None:
    """Less memory, the same numbers; the last strip of the RPN has fewer rows."""
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        stages = make_mini_resnet(width=4, out_features=STAGE_NAMES, norm="FrozenBN")
        encoder = on_device(
            ConcatenatedStages(stages, channels=6, stride=4, recompute=recompute)
        ).train()
        head = RecomputingRPNHead(in_channels=24, num_anchors=3, conv_dims=conv_dims)
        head = on_device(head).train(recompute)
        image = torch.rand(1, 3, 160, 96, generator=torch.Generator().manual_seed(1))
        features = encoder(image)["enc"]
        assert features.shape[2] == 2.5 * ROWS
        logits, deltas = head([features])
        (logits[0].square().mean() + deltas[0].square().mean()).backward()
        grads = [p.grad for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad]
        found.append((logits[0], deltas[0], *grads))
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_mixing_a_few_rows_at_a_time_gives_the_same_losses_and_gradients(dtype, on_device) -> None:
    """Gradients of the features, of M_G, of the mixture and of the head; also with autocast."""
    generator = torch.Generator().manual_seed(2)
    given = [torch.rand(2, c, ROWS + 5, 9, generator=generator) for c in (6, 3)]
    found = []
    for later in (False, True):
        torch.manual_seed(0)
        fusion = on_device(LayerFusion(6, 3, later=later))
        torch.nn.init.normal_(fusion.mix.weight)
        head = on_device(RecomputingRPNHead(in_channels=6, num_anchors=2, conv_dims=[-1])).train()
        x, maps = (on_device(part).requires_grad_() for part in given)
        with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
            fused = fusion({"enc": x}, maps)["enc"]
            assert isinstance(fused, MixedLater) == later and fused.shape == x.shape
            logits, deltas = head([fused]) if later else head.eval()([fused])
        (logits[0].square().mean() + deltas[0].square().mean()).backward()
        weights = [*fusion.parameters(), *head.parameters()]
        found.append((logits[0], deltas[0], x.grad, maps.grad, *(p.grad for p in weights)))
        with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype is not None):
            head.eval()
            found[-1] += tuple(part for (part,) in head([fused]))
    assert len(found[0]) == len(found[1]) == 14
    near = {} if dtype is None else {"atol": 2e-3, "rtol": 2e-2}
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, **near)


def test_what_needs_no_gradient_gets_none() -> None:
    """A frozen encoder, as in the stage of the RPN, and a frozen head, as in that of the GLM."""
    torch.manual_seed(0)
    head = RecomputingRPNHead(in_channels=4, num_anchors=1, conv_dims=[-1]).train()
    x = torch.rand(1, 4, ROWS + 1, 5)
    sum(part.sum() for (part,) in head([x])).backward()
    assert x.grad is None and all(p.grad is not None for p in head.parameters())
    head.zero_grad()
    head.requires_grad_(False)
    x.requires_grad_()
    sum(part.sum() for (part,) in head([x])).backward()
    assert x.grad is not None and all(p.grad is None for p in head.parameters())
    with torch.no_grad():
        assert not head([x])[0][0].requires_grad


@pytest.mark.parametrize("momentum", [0.1, None])
def test_recomputing_counts_a_batch_once(momentum, on_device) -> None:
    """The same losses, gradients, running statistics and number of batches as without."""
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        shapes = {"enc": ShapeSpec(channels=6, stride=4)}
        glm = GlobalLayering(
            shapes, in_features=["enc"], num_levels=2, channels=5, recompute=recompute
        )
        glm = on_device(glm).train()
        for norm in (one for one in glm.modules() if isinstance(one, torch.nn.BatchNorm2d)):
            norm.momentum = momentum
        x = torch.rand(2, 6, 7, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
        for _ in range(2):
            scores = glm({"enc": x})
            scores.square().sum().backward()
        found.append([scores, x.grad, *(p.grad for p in glm.parameters()), *glm.buffers()])
    assert len(found[0]) == len(found[1]) == 2 + 8 + 6
    assert [int(part) for part in found[1] if part.dtype == torch.int64] == [2, 2]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one)


def test_mixing_in_the_layer_maps_is_the_convolution_of_both() -> None:
    torch.manual_seed(0)
    mix, x, maps = torch.nn.Conv2d(7, 5, 1), torch.rand(2, 5, 4, 6), torch.rand(2, 2, 4, 6)
    torch.testing.assert_close(mixed(mix, x, maps), mix(torch.cat([x, maps], 1)))


def test_the_network_of_the_paper_builds() -> None:
    with torch.device("meta"):
        cfg = load_cfg(ROOT / "configs" / "SLN" / "sln_R50_encoder_cocoa.yaml")
        cfg.MODEL.DEVICE = "meta"
        net = build_model(cfg)
    assert net.backbone.output_shape()["enc"] == ShapeSpec(channels=1024, stride=4)
    assert net.global_layering.block[0].in_channels == 1024
    assert net.global_layering.block[-1].out_channels == 5
    assert net.stages.names == ["glm", "rpn", "ilm", "joint"]
