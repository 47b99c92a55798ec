"""Global layering module (Section 4.3): predicts how many objects cover each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import nn
from torch.nn import functional as F

from occ_order.methods.sln.blocks import ConvBlock
from occ_order.methods.sln.encoder import concatenate_levels, recomputed
from occ_order.methods.sln.losses import layer_logits
from occ_order.methods.sln.mixing import MixedLater, identity_mix, mixed

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
        recompute: see `ConcatenatedStages`.
    """

    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        in_features: Sequence[str],
        num_levels: int,
        channels: int,
        norm: str = "BN",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
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
        x = concatenate_levels([features[k] for k in self.in_features], size)
        return recomputed(self.block, x, active=self.recompute and self.training)

    def layer_maps(self, count_logits: torch.Tensor) -> torch.Tensor:
        """M_G, float32 (B, K, H / stride, W / stride): probability of more than l objects."""
        return layer_logits(count_logits).sigmoid()


class LayerFusion(nn.Module):
    """Features with M_G worked in, for the region proposal network; one convolution for all levels.

    Args:
        channels: channels of each feature, before and after.
        num_levels: K, channels of M_G.
        later: return `MixedLater`, for `RecomputingRPNHead`.
    """

    def __init__(self, channels: int, num_levels: int, *, later: bool = False) -> None:
        super().__init__()
        self.mix = identity_mix(channels, num_levels)
        self.later = later

    def forward(
        self, features: Features, layer_maps: torch.Tensor
    ) -> dict[str, torch.Tensor | MixedLater]:
        """Features of any sizes -> features of the same names, shapes and sizes."""
        make = MixedLater if self.later else mixed
        return {
            name: make(self.mix, x, concatenate_levels([layer_maps.to(x.dtype)], x.shape[-2:]))
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
