"""Layers of the OOSIS network: pyramid pooling, and the two deconvolutions of supplement 1.1.

Sizes: a feature map of stride ``t`` of an image with ``t k + 1`` pixels a side has ``k + 1``; both
deconvolutions bring it back to exactly ``t k + 1`` (kernel 2t - 1, stride t, padding t - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def bilinear_kernel(stride: int) -> torch.Tensor:
    """float32 (2t - 1, 2t - 1): deconvolution with it is bilinear upsampling by t.

    The outer product of the triangle ``1 - |i - (t - 1)| / t`` with itself; on ``t k + 1`` pixels
    it equals `F.interpolate` with ``align_corners=True``.
    """
    triangle = 1 - (torch.arange(2 * stride - 1) - (stride - 1)).abs() / stride
    return triangle[:, None] * triangle[None, :]


class PyramidPooling(nn.Module):
    """PPM of PSPNet: the map beside its averages over 1 x 1, 2 x 2, ... regions, upsampled."""

    def __init__(self, in_channels: int, channels: int, bins: Sequence[int], norm) -> None:
        """Build it.

        Args:
            in_channels: C of the input.
            channels: channels of each pooled branch.
            bins: regions a side of each branch.
            norm: function from a number of channels to a normalisation layer.
        """
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(in_channels, channels, 1, bias=False),
                norm(channels),
                nn.ReLU(),
            )
            for size in bins
        )
        self.out_channels = in_channels + channels * len(bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) -> (N, C + channels * len(bins), h, w)."""
        size = x.shape[-2:]
        pooled = [
            F.interpolate(branch(x), size=size, mode="bilinear", align_corners=True)
            for branch in self.branches
        ]
        return torch.cat([x, *pooled], 1)


class ChannelDeconv(nn.Module):
    """2-D deconvolution of each channel by itself, bilinear at the start (class logits)."""

    def __init__(self, channels: int, stride: int) -> None:
        """Build it for (N, channels, h, w) maps of ``stride``."""
        super().__init__()
        self.stride = stride
        kernel = bilinear_kernel(stride)
        self.weight = nn.Parameter(kernel.expand(channels, 1, -1, -1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) -> (N, C, t (h - 1) + 1, t (w - 1) + 1)."""
        return F.conv_transpose2d(
            x, self.weight, stride=self.stride, padding=self.stride - 1, groups=x.shape[1]
        )


class JointDeconv(nn.Module):
    """3-D deconvolution over the stack of the orientation and boundary logits (supplement 1.1).

    The channels are the depth of the volume, so an output channel sees the input channels within
    ``depth_kernel // 2`` of its own: with 1 all share one 2-D kernel,
    with 9 all five see all five. At the start the centre slice is bilinear and the others are zero.

    Along the depth the kernel only decides which slice joins which two channels, so it is computed
    as one 2-D deconvolution whose weights share these slices.
    """

    def __init__(self, depth: int, stride: int, depth_kernel: int) -> None:
        """Build it.

        Args:
            depth: number of channels, 5 for [e_L, e_R, e_T, e_B, b].
            stride: t, upsampling factor.
            depth_kernel: odd.

        Raises:
            ValueError: an even ``depth_kernel``.
        """
        super().__init__()
        if depth_kernel < 1 or depth_kernel % 2 == 0:
            raise ValueError(f"depth kernel: got {depth_kernel}, expected an odd number")
        self.stride = stride
        size = 2 * stride - 1
        weight = torch.zeros(depth_kernel, size, size)
        weight[depth_kernel // 2] = bilinear_kernel(stride)
        self.weight = nn.Parameter(weight)
        # Slice that joins input channel i to output channel o; slices beyond the kernel are zero.
        join = torch.arange(depth)[None, :] - torch.arange(depth)[:, None] + depth_kernel // 2
        self.register_buffer("inside", (join >= 0) & (join < depth_kernel), persistent=False)
        self.register_buffer("join", join.clamp(0, depth_kernel - 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, depth, h, w) -> (N, depth, t (h - 1) + 1, t (w - 1) + 1)."""
        weight = self.weight[self.join] * self.inside[:, :, None, None]
        return F.conv_transpose2d(x, weight, stride=self.stride, padding=self.stride - 1)
