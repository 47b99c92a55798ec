"""The mini ResNet has the shapes of a ResNet-18 and trains everywhere."""

import pytest
import torch
from detectron2.modeling import build_backbone

from occ_order.config import get_cfg
from occ_order.methods.common.backbone.mini_resnet import make_mini_resnet

ALL = ["res2", "res3", "res4", "res5"]


@pytest.mark.parametrize(
    ("dilations", "strides"), [((1, 1), [4, 8, 16, 32]), ((2, 1), [4, 8, 8, 16])]
)
def test_strides_follow_the_dilation(dilations, strides, on_device):
    net = on_device(
        make_mini_resnet(
            width=4, out_features=ALL, res4_dilation=dilations[0], res5_dilation=dilations[1]
        )
    )
    features = net(torch.rand(2, 3, 64, 64))
    shapes = net.output_shape()
    assert [shapes[name].stride for name in ALL] == strides
    assert [shapes[name].channels for name in ALL] == [4, 8, 16, 32]
    assert [features[name].shape[-1] for name in ALL] == [64 // s for s in strides]


def test_dilated_to_stride_8_gives_8k_plus_1(on_device):
    net = on_device(
        make_mini_resnet(width=2, out_features=["res5"], res4_dilation=2, res5_dilation=4)
    ).eval()
    assert net(torch.rand(1, 3, 97, 97))["res5"].shape[-2:] == (13, 13)


def test_width_64_has_the_parameters_of_resnet_18():
    count = sum(p.numel() for p in make_mini_resnet(width=64).parameters())
    assert count == 11_176_512  # 11,689,512 with the classifier's 512 x 1000 + 1000


def test_channels_of_each_stage(on_device):
    net = on_device(make_mini_resnet(width=4, channels=(4, 6, 10, 9), out_features=ALL)).eval()
    assert [net.output_shape()[name].channels for name in ALL[-4:]] == [4, 6, 10, 9]
    assert net(torch.rand(1, 3, 32, 32))["res5"].shape == (1, 9, 1, 1)
    with pytest.raises(ValueError, match="res4 and the stage before have 6 channels"):
        make_mini_resnet(width=4, channels=(4, 6, 6, 9))
    with pytest.raises(ValueError, match="4 numbers of blocks and of channels"):
        make_mini_resnet(channels=(4, 6, 8))


def test_every_parameter_gets_a_gradient(on_device):
    net = on_device(make_mini_resnet(width=2, out_features=ALL))
    sum(f.square().mean() for f in net(torch.rand(2, 3, 32, 32)).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("wrong", [{"width": 0}, {"blocks": (2, 2)}, {"res5_dilation": 0}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="mini ResNet"):
        make_mini_resnet(**wrong)


def test_by_configuration(on_device):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_mini_resnet_fpn_backbone"
    cfg.MODEL.MINI_RESNET.WIDTH = 4
    cfg.MODEL.RESNETS.OUT_FEATURES = ALL
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.FPN.IN_FEATURES = ALL
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    features = on_device(build_backbone(cfg))(torch.rand(1, 3, 64, 64))
    assert {name: f.shape[1:] for name, f in features.items()} == {
        f"p{k}": (8, 2 ** (6 - k), 2 ** (6 - k)) for k in range(2, 7)
    }
