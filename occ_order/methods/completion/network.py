"""Completion network: a small U-Net on a view of the masks around one instance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from occ_order.methods.completion.views import CHANNELS


def conv(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation and ReLU."""
    layer = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class CompletionUNet(nn.Module):
    """U-Net that predicts the amodal mask of an instance behind its possible occluders.

    The first level has half the resolution of the view; each further one halves it again. The
    output is interpolated to the resolution of the view.

    Args:
        widths: channels of each level.
    """

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128, 160)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.first = nn.Sequential(conv(CHANNELS, widths[0], 2), conv(widths[0], widths[0]))
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(conv(above, below, 2), conv(below, below)) for above, below in steps
        )
        self.up = nn.ModuleList(
            nn.Sequential(conv(above + below, above), conv(above, above))
            for above, below in reversed(steps)
        )
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Compute logits.

        Args:
            views: float (K, 5, S, S), from `occ_order.methods.completion.views.mask_view`; S is a
                multiple of 2 to the power of the number of levels.

        Returns:
            float32 (K, S, S).
        """
        maps = [self.first(views)]
        for level in self.down:
            maps.append(level(maps[-1]))
        x = maps.pop()
        for level in self.up:
            skip = maps.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = level(torch.cat([skip, x], 1))
        logits = self.last(x).float()
        return F.interpolate(logits, size=views.shape[-2:], mode="bilinear")[:, 0]
