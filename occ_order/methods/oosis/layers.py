"""Layers of the OOSIS network: pyramid pooling, and the two deconvolutions of supplement 1.1.

An image of ``t k + 1`` pixels per side has features of ``k + 1`` at stride ``t``. Both
deconvolutions upsample to exactly ``t k + 1`` (kernel 2t - 1, stride t, padding t - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def bilinear_kernel(stride: int) -> torch.Tensor:
    """Return the kernel of bilinear upsampling by t as a deconvolution, float32 (2t - 1, 2t - 1).

    The outer product of the triangle ``1 - |i - (t - 1)| / t`` with itself; on ``t k + 1`` pixels
    it equals `F.interpolate` with ``align_corners=True``.
    """
    triangle = 1 - (torch.arange(2 * stride - 1) - (stride - 1)).abs() / stride
    return triangle[:, None] * triangle[None, :]


class PyramidPooling(nn.Module):
    """Pyramid pooling module of PSPNet: concatenates the input with upsampled region averages."""

    def __init__(self, in_channels: int, channels: int, bins: Sequence[int], norm) -> None:
        """Build the layers.

        Args:
            in_channels: C, input channels.
            channels: channels of each pooled branch.
            bins: each branch pools to bins x bins regions.
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
        """Map (N, C, h, w) to (N, C + channels * len(bins), h, w)."""
        size = x.shape[-2:]
        pooled = [
            F.interpolate(branch(x), size=size, mode="bilinear", align_corners=True)
            for branch in self.branches
        ]
        return torch.cat([x, *pooled], 1)


class ChannelDeconv(nn.Module):
    """Depthwise 2-D deconvolution, initialised to bilinear upsampling (class logits)."""

    def __init__(self, channels: int, stride: int) -> None:
        """Build the layer for (N, channels, h, w) maps of ``stride``."""
        super().__init__()
        self.stride = stride
        kernel = bilinear_kernel(stride)
        self.weight = nn.Parameter(kernel.expand(channels, 1, -1, -1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, h, w) to (N, C, t (h - 1) + 1, t (w - 1) + 1)."""
        return F.conv_transpose2d(
            x, self.weight, stride=self.stride, padding=self.stride - 1, groups=x.shape[1]
        )


class JointDeconv(nn.Module):
    """3-D deconvolution over the stack of the orientation and boundary logits (supplement 1.1).

    The channels are the depth of the volume, so that an output channel depends on the input
    channels within ``depth_kernel // 2`` of it: with 1 all channels share one 2-D kernel, with 9
    each depends on all five. The centre slice is initialised to bilinear upsampling, the others to
    zero.

    Along the depth, the kernel only determines which slice connects which two channels. It is
    therefore computed as one 2-D deconvolution whose weights share the slices.
    """

    def __init__(self, depth: int, stride: int, depth_kernel: int) -> None:
        """Build the layer.

        Args:
            depth: number of channels, 5 for [e_L, e_R, e_T, e_B, b].
            stride: t, upsampling factor.
            depth_kernel: depth of the kernel, odd.

        Raises:
            ValueError: ``depth_kernel`` is even.
        """
        super().__init__()
        if depth_kernel < 1 or depth_kernel % 2 == 0:
            raise ValueError(f"depth kernel: got {depth_kernel}, expected an odd number")
        self.stride = stride
        size = 2 * stride - 1
        weight = torch.zeros(depth_kernel, size, size)
        weight[depth_kernel // 2] = bilinear_kernel(stride)
        self.weight = nn.Parameter(weight)
        # Slice that connects input channel i to output channel o; slices outside the kernel are 0.
        join = torch.arange(depth)[None, :] - torch.arange(depth)[:, None] + depth_kernel // 2
        self.register_buffer("inside", (join >= 0) & (join < depth_kernel), persistent=False)
        self.register_buffer("join", join.clamp(0, depth_kernel - 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, depth, h, w) to (N, depth, t (h - 1) + 1, t (w - 1) + 1)."""
        weight = self.weight[self.join] * self.inside[:, :, None, None]
        return F.conv_transpose2d(x, weight, stride=self.stride, padding=self.stride - 1)
