"""Networks of timm: their strides, channels, what is frozen, and a Mask R-CNN on top."""

import copy

import pytest
import torch
from detectron2.modeling import build_backbone
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from occ_order.config import get_cfg, load_cfg
from occ_order.methods.common.backbone.timm_backbone import TimmBackbone
from occ_order.methods.common.backbone.timm_features import TimmFeatures

pytest.importorskip("timm")

CHANNELS = {
    "tf_efficientnet_lite0": [16, 24, 40, 112, 320],
    "mobilenetv3_small_050": [16, 8, 16, 24, 288],
    "resnet18": [64, 64, 128, 256, 512],
}
ALL = ["res1", "res2", "res3", "res4", "res5"]
SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(
    ("output_stride", "strides"),
    [(32, [2, 4, 8, 16, 32]), (16, [2, 4, 8, 16, 16]), (8, [2, 4, 8, 8, 8])],
)
def test_every_level_has_the_channels_and_stride_it_promises(
    name, output_stride, strides, on_device
):
    net = on_device(TimmFeatures(name, out_features=ALL, output_stride=output_stride)).eval()
    assert list(net.channels.values()) == CHANNELS[name]
    assert list(net.strides.values()) == strides
    maps = net(torch.rand(2, 3, 64, 96))
    assert list(maps) == ALL
    for level in ALL:
        size = (64 // net.strides[level], 96 // net.strides[level])
        assert maps[level].shape == (2, net.channels[level], *size)


@pytest.mark.parametrize("size", [(65, 97), (63, 33), (64, 64)])
def test_sizes_are_rounded_up(size, on_device):
    net = on_device(TimmFeatures("resnet18", out_features=["res2", "res5"])).eval()
    maps = net(torch.rand(1, 3, *size))
    assert maps["res2"].shape[-2:] == tuple(-(-s // 4) for s in size)
    assert maps["res5"].shape[-2:] == tuple(-(-s // 32) for s in size)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "convnext_atto"])
def test_channels_come_second_whatever_order_timm_computes_in(name, on_device):
    net = on_device(TimmFeatures(name, out_features=["res3"])).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 224, 224))["res3"].shape == (1, net.channels["res3"], 28, 28)


def test_weights_have_the_names_that_timm_gives_them():
    import timm

    theirs = set(timm.create_model("tf_efficientnet_lite0").state_dict())
    ours = set(TimmFeatures("tf_efficientnet_lite0").state_dict())
    assert ours < theirs
    assert {name.split(".")[0] for name in theirs - ours} == {"conv_head", "bn2", "classifier"}


@pytest.mark.parametrize("name", [*CHANNELS, "convnext_atto"])
@pytest.mark.parametrize("out_features", [["res5"], ["res3", "res2"]])
def test_every_parameter_gets_a_gradient(name, out_features, on_device):
    """So nothing is kept behind the last level that is asked for."""
    net = on_device(TimmFeatures(name, out_features=out_features))
    sum(f.square().mean() for f in net(torch.rand(2, 3, 64, 64)).values()).backward()
    assert not [key for key, p in net.named_parameters() if p.grad is None]


@pytest.mark.parametrize("name", CHANNELS)
def test_dilation_keeps_the_weights(name, on_device):
    """A dilated network is the same one, seen more finely: loading it needs no other names."""
    whole, dilated = on_device(TimmFeatures(name)), on_device(TimmFeatures(name, output_stride=8))
    dilated.load_state_dict(whole.state_dict())
    image = torch.rand(1, 3, 64, 64)
    assert dilated.eval()(image)["res3"].equal(whole.eval()(image)["res3"])


# --- further channels


def test_further_channels_change_nothing_at_first_and_learn(on_device):
    plain = on_device(TimmFeatures(SMALL)).eval()
    wide = on_device(TimmFeatures(SMALL, in_channels=5)).eval()
    wide.load_state_dict(wide.pretrained(plain.state_dict()))
    image, masks = torch.rand(2, 3, 64, 64), torch.rand(2, 2, 64, 64)
    found = wide(torch.cat([image, masks], dim=1))
    for level, expected in plain(image).items():
        torch.testing.assert_close(found[level], expected)
    found["res5"].sum().backward()
    assert wide.conv_stem.weight.grad[:, 3:].abs().sum() > 0


def test_random_weights_of_further_channels_are_zero_as_well(on_device):
    net = on_device(TimmFeatures("resnet18", in_channels=4))
    assert net.conv1.weight.shape[1] == 4
    assert not net.conv1.weight[:, 3].any() and net.conv1.weight[:, :3].all()


def test_masks_alone_have_weights_of_their_own():
    assert TimmFeatures(SMALL, in_channels=2).conv_stem.weight.all()


# --- what is constant


@pytest.mark.parametrize(
    ("name", "trained"),
    [("resnet18", "layer3.0.conv1.weight"), ("tf_efficientnet_lite0", "blocks.3.0.conv_pw.weight")],
)
def test_frozen_up_to_res3(name, trained, on_device):
    net = on_device(TimmFeatures(name, freeze_at=3)).train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    sum(f.square().mean() for f in net(torch.rand(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    after = net.state_dict()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert next(key for key, p in net.named_parameters() if p.requires_grad) == trained
    assert changed and not set(changed) & set(list(before)[: list(before).index(trained)])


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", SMALL])
def test_frozen_to_the_end_leaves_nothing_to_train(name, on_device):
    net = on_device(TimmFeatures(name, freeze_at=5))
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("freeze_at", [1, 2])
def test_more_is_frozen_level_by_level(freeze_at):
    less, more = (TimmFeatures(SMALL, freeze_at=k) for k in (freeze_at, freeze_at + 1))
    count = [sum(not p.requires_grad for p in net.parameters()) for net in (less, more)]
    assert 0 < count[0] < count[1]


def test_constant_batch_norms_have_no_statistics_of_a_batch(on_device):
    net = on_device(TimmFeatures(SMALL, norm="FrozenBN")).train()
    before = copy.deepcopy(net.state_dict())
    image = torch.rand(1, 3, 64, 64)
    alone = net(image)["res5"]
    beside = net(torch.cat([image, 9 * image]))["res5"][:1]
    torch.testing.assert_close(alone, beside)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert not [key for key, _ in net.named_parameters() if "bn" in key]


def test_a_copy_is_independent(on_device):
    net = on_device(TimmFeatures(SMALL)).eval()
    twin = copy.deepcopy(net)
    torch.nn.init.zeros_(net.conv_stem.weight)
    assert not net(torch.rand(1, 3, 32, 32))["res2"].equal(twin(torch.rand(1, 3, 32, 32))["res2"])
    assert twin.conv_stem.weight.any()


# --- refused


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("nonsense", {}, "timm has no network 'nonsense'"),
        (
            "resnet18",
            {"out_features": ["res6"]},
            r"resnet18: out_features must be some of \['res1'",
        ),
        ("convnext_atto", {"out_features": ["res1"]}, r"must be some of \['res2'"),
        ("resnet18", {"out_features": []}, "got \\[\\]"),
        ("resnet18", {"freeze_at": 7}, "resnet18: cannot freeze up to res7"),
        ("resnet18", {"norm": "GN"}, "norm must be one of"),
        ("resnet18", {"in_channels": 0}, "in_channels at least 1"),
        ("vit_tiny_patch16_224", {}, r"strides \[16, 16, 16\], which do not double"),
        ("vgg11", {"output_stride": 8}, "timm makes no vgg11 with output stride 8"),
    ],
)
def test_what_cannot_be_made_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        TimmFeatures(name, **wrong)


def test_without_timm_the_message_says_what_to_install(monkeypatch, on_device):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        on_device(TimmFeatures("resnet18"))


# --- in Detectron2


def config(**more):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.TIMM.NAME = SMALL
    for key, value in more.items():
        cfg.MODEL.TIMM[key] = value
    return cfg


def test_backbone_by_configuration(on_device):
    cfg = config(OUT_FEATURES=["res5", "res2"], OUTPUT_STRIDE=8, IN_CHANNELS=4, FREEZE_AT=1)
    net = on_device(build_backbone(cfg))
    assert isinstance(net, TimmBackbone)
    shapes = {name: (shape.channels, shape.stride) for name, shape in net.output_shape().items()}
    assert shapes == {"res5": (288, 8), "res2": (8, 4)}
    assert net.conv_stem.weight.shape[1] == 4 and not net.conv_stem.weight.requires_grad
    assert set(net(torch.rand(1, 4, 64, 64))) == {"res2", "res5"}


YAML = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  DEVICE: cpu
  MASK_ON: True
  PIXEL_MEAN: [127., 127., 127.]
  PIXEL_STD: [128., 128., 128.]
  BACKBONE: {NAME: build_timm_fpn_backbone}
  TIMM: {NAME: mobilenetv3_small_050}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 16}
  ANCHOR_GENERATOR:
    SIZES: [[16], [32], [64], [128], [256]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6], CONV_DIMS: [16]}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: 1}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 32, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 16}
"""


def one_object():
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 8:40, 16:56] = True
    truth = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[16.0, 8.0, 56.0, 40.0]])))
    truth.gt_classes, truth.gt_masks = torch.tensor([0]), BitMasks(mask)
    image = (255 * torch.rand(3, 64, 64)).to(torch.uint8)
    return {"image": image, "instances": truth, "height": 64, "width": 64}


def test_mask_rcnn_on_a_pyramid_learns_everywhere(tmp_path, build_model):
    (tmp_path / "mask_rcnn.yaml").write_text(YAML)
    torch.manual_seed(0)
    model = build_model(load_cfg(tmp_path / "mask_rcnn.yaml"))
    levels = model.backbone.output_shape()
    assert {name: shape.stride for name, shape in levels.items()} == {
        f"p{k}": 2**k for k in range(2, 7)
    }
    assert "backbone.bottom_up.conv_stem.weight" in model.state_dict()
    with EventStorage():
        losses = model([one_object(), one_object()])
    sum(losses.values()).backward()
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    with torch.no_grad():
        assert "instances" in model.eval()([one_object()])[0]
