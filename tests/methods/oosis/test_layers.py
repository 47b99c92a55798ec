"""Layers of OOSIS: sizes and the bilinear start of the worked example, the joint deconvolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from occ_order.methods.oosis.layers import (
    ChannelDeconv,
    JointDeconv,
    PyramidPooling,
    bilinear_kernel,
)


def test_bilinear_kernel_of_stride_2():
    expected = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
    assert torch.equal(bilinear_kernel(2), expected)
    assert bilinear_kernel(8).shape == (15, 15)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("depth_kernel", [1, 3, 9])
def test_both_deconvolutions_start_as_bilinear_upsampling(stride, depth_kernel, on_device):
    x = torch.randn(2, 5, 4, 6)
    size = (3 * stride + 1, 5 * stride + 1)
    expected = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    assert torch.allclose(on_device(ChannelDeconv(5, stride))(x), expected, atol=1e-5)
    assert torch.allclose(on_device(JointDeconv(5, stride, depth_kernel))(x), expected, atol=1e-5)


def test_a_crop_of_225_pixels_goes_from_29_back_to_225(on_device):
    assert on_device(ChannelDeconv(3, 8))(torch.zeros(1, 3, 29, 29)).shape == (1, 3, 225, 225)
    assert on_device(JointDeconv(5, 8, 9))(torch.zeros(1, 5, 29, 29)).shape == (1, 5, 225, 225)


@pytest.mark.parametrize("depth_kernel", [1, 3, 5, 9])
def test_joint_deconvolution_is_the_3d_one(depth_kernel, on_device):
    joint = on_device(JointDeconv(5, 4, depth_kernel))
    nn.init.normal_(joint.weight)
    x = torch.randn(2, 5, 3, 4)
    reference = nn.ConvTranspose3d(
        1, 1, (depth_kernel, 7, 7), (1, 4, 4), padding=(depth_kernel // 2, 3, 3), bias=False
    )
    reference.weight = nn.Parameter(joint.weight.detach().cpu()[None, None])
    assert torch.allclose(joint(x), reference(x[:, None])[:, 0], atol=1e-4)


@pytest.mark.parametrize(("depth_kernel", "mixed"), [(1, [4]), (3, [3, 4]), (9, [0, 1, 2, 3, 4])])
def test_which_logits_the_boundary_is_made_from(depth_kernel, mixed, on_device):
    joint = on_device(JointDeconv(5, 2, depth_kernel))
    nn.init.constant_(joint.weight, 1.0)
    x = torch.zeros(1, 5, 2, 2, requires_grad=True)
    joint(x)[0, 4].sum().backward()
    assert x.grad.abs().sum((0, 2, 3)).nonzero().ravel().tolist() == mixed


@pytest.mark.parametrize("depth_kernel", [0, 2, -1])
def test_an_even_depth_kernel_is_refused(depth_kernel):
    with pytest.raises(ValueError, match=f"got {depth_kernel}, expected an odd number"):
        JointDeconv(5, 8, depth_kernel)


def test_pyramid_pooling_appends_averages(on_device):
    pool = on_device(PyramidPooling(2, 3, (1, 2), nn.Identity))
    nn.init.constant_(pool.branches[0][1].weight, 0.5)  # mean over two channels
    x = torch.rand(1, 2, 5, 7)
    out = pool(x)
    assert out.shape == (1, 8, 5, 7) and pool.out_channels == 8
    assert torch.equal(out[:, :2], x)
    assert torch.allclose(out[:, 2:5], x.mean().expand(1, 3, 5, 7))
