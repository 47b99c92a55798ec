"""Features with M_G worked in, by a 1x1 convolution of both (Section 4.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


def identity_mix(channels: int, num_levels: int) -> nn.Conv2d:
    """Return a 1x1 convolution of features and M_G, concatenated, that begins as the features.

    So what comes after it, pretrained or not, starts from what it knows.

    Args:
        channels: channels of the features, and of the result.
        num_levels: K, channels of M_G.
    """
    mix = nn.Conv2d(channels + num_levels, channels, kernel_size=1)
    nn.init.zeros_(mix.bias)
    with torch.no_grad():
        mix.weight.zero_()
        mix.weight[:, :channels, 0, 0] = torch.eye(channels)
    return mix


def mixed(mix: nn.Conv2d, features: torch.Tensor, layer_maps: torch.Tensor) -> torch.Tensor:
    """`identity_mix` of features and maps of one size, without a copy of both behind one another.

    Args:
        mix: of `identity_mix`.
        features: float (B, C, H, W).
        layer_maps: float (B, K, H, W).

    Returns:
        float (B, C, H, W).
    """
    own, added = mix.weight.split([features.shape[1], layer_maps.shape[1]], dim=1)
    return F.conv2d(features, own, mix.bias).add_(F.conv2d(layer_maps, added))


class MixedLater(NamedTuple):
    """The arguments of `mixed`, for a head that mixes a few rows at a time.

    A map of 1,024 channels at stride 4, and its gradient, are not made whole then.
    """

    mix: nn.Conv2d
    features: torch.Tensor
    layer_maps: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the mixture; all that Detectron2's anchor generator asks for."""
        return self.features.shape

    def whole(self) -> torch.Tensor:
        """Return the mixture."""
        return mixed(*self)
