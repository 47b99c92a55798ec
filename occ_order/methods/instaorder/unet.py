"""The UNet of PCNet-M (Zhan et al., CVPR 2020): four poolings, skip connections, two classes."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F


class DoubleConv(nn.Sequential):
    """Two blocks of 3x3 convolution, normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build the layers; the spatial size is kept."""
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """Five levels of `width` x (1, 2, 4, 8, 8) channels; 3,352,002 parameters for width 32."""

    def __init__(self, in_channels: int = 2, *, width: int = 32, num_classes: int = 2) -> None:
        """Build the encoder and decoder.

        Args:
            in_channels: channels of the input.
            width: channels of the first level.
            num_classes: channels of the output.
        """
        super().__init__()
        down = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        up = [4 * width, 2 * width, width, width]
        self.first = DoubleConv(in_channels, width)
        pairs = itertools.pairwise(down)
        self.down = nn.ModuleList(DoubleConv(before, after) for before, after in pairs)
        below = [down[-1], *up[:-1]]
        triples = zip(below, down[-2::-1], up, strict=True)
        self.up = nn.ModuleList(DoubleConv(low + skip, after) for low, skip, after in triples)
        self.last = nn.Conv2d(up[-1], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float (K, in_channels, S, S) to logits float (K, num_classes, S, S), S >= 16."""
        levels = [self.first(x)]
        for block in self.down:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for block in self.up:
            skip = levels.pop()
            size = (2 * x.shape[-2], 2 * x.shape[-1])
            x = F.interpolate(x, size, mode="bilinear", align_corners=True)
            missing = skip.shape[-1] - x.shape[-1], skip.shape[-2] - x.shape[-2]
            x = F.pad(x, (0, missing[0], 0, missing[1]))
            x = block(torch.cat([skip, x], dim=1))
        return self.last(x)
