"""Global layering module (Section 4.3): predicts how many objects cover each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import nn
from torch.nn import functional as F

from occ_order.methods.sln.blocks import ConvBlock
from occ_order.methods.sln.encoder import concatenate_levels
from occ_order.methods.sln.losses import layer_logits

LAYER_MAPS = "layer_maps"
"""Name of M_G among the features."""

Features = Mapping[str, torch.Tensor]


class GlobalLayering(nn.Module):
    """The global layering module: features -> scores of the number of objects at each pixel.

    It sees the encoder's features, resized to the finest of them and concatenated: three
    convolutions on the image itself would know 7 x 7 pixels only.

    Args:
        input_shape: shapes of the features by name.
        in_features: names to use.
        num_levels: K.
        channels: channels in between.
        norm: Detectron2's name of a normalisation.
    """

    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        in_features: Sequence[str],
        num_levels: int,
        channels: int,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        self.in_features = list(in_features)
        self.finest = min(self.in_features, key=lambda name: input_shape[name].stride)
        self.stride = input_shape[self.finest].stride
        self.num_levels = num_levels
        in_channels = sum(input_shape[name].channels for name in self.in_features)
        self.block = ConvBlock(in_channels, channels, num_levels + 1, norm=norm)

    def forward(self, features: Features) -> torch.Tensor:
        """Return float (B, K + 1, H / stride, W / stride): logits of 0, 1, ..., K or more objects.

        Those of M_G are `occ_order.methods.sln.losses.layer_logits` of it.
        """
        size = features[self.finest].shape[-2:]
        return self.block(concatenate_levels([features[k] for k in self.in_features], size))

    def layer_maps(self, count_logits: torch.Tensor) -> torch.Tensor:
        """M_G, float32 (B, K, H / stride, W / stride): probability of more than l objects."""
        return layer_logits(count_logits).sigmoid()


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


class LayerFusion(nn.Module):
    """Features with M_G worked in, for the region proposal network; one convolution for all levels.

    Args:
        channels: channels of each feature, before and after.
        num_levels: K, channels of M_G.
    """

    def __init__(self, channels: int, num_levels: int) -> None:
        super().__init__()
        self.mix = identity_mix(channels, num_levels)

    def forward(self, features: Features, layer_maps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of any sizes -> features of the same names, shapes and sizes."""
        return {
            name: mixed(self.mix, x, concatenate_levels([layer_maps.to(x.dtype)], x.shape[-2:]))
            for name, x in features.items()
        }


def overlap_layers(
    instances: Sequence[Instances],
    padded_size: tuple[int, int],
    size: tuple[int, int],
    num_levels: int,
) -> torch.Tensor:
    """Targets of the global layering module.

    Args:
        instances: one for each image, with `gt_levels` (`LevelMaps`).
        padded_size: height and width of the batch, in pixels.
        size: height and width of the module's output.
        num_levels: K.

    Returns:
        bool (B, K, *size): most of the cell is covered by more than l objects.
    """
    targets = []
    for image in instances:
        levels = image.gt_levels.tensor
        count = (levels >= 0).sum(dim=0)
        steps = torch.arange(num_levels, device=count.device)[:, None, None]
        layers = (count > steps).float()
        height, width = layers.shape[-2:]
        padding = (0, padded_size[1] - width, 0, padded_size[0] - height)
        targets.append(F.pad(layers, padding))
    return F.interpolate(torch.stack(targets), size=size, mode="area") >= 0.5
