"""Conversion of torchvision's ImageNet ResNets to initial weights of a pairwise network.

OrderNet and InstaOrderNet start from a pretrained ResNet-50 (Zhu et al., CVPR 2017; Lee & Park,
Section 4.1), but have more input channels than the three of an image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FIRST = "conv1.weight"
PREFIX = "classifier.backbone."
"""Prefix of the ResNet in a pairwise network."""

_LAST = ("fc.weight", "fc.bias")


def is_torchvision_resnet(weights: Mapping[str, Tensor]) -> bool:
    """Return whether these are torchvision's ResNet weights with 3 channels and 1,000 classes."""
    named = {FIRST, "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"}
    return named <= set(weights) and weights[FIRST].shape[1] == 3


def convert_resnet(weights: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Convert the weights to those of a pairwise network's backbone.

    Args:
        weights: weights of torchvision; the last layer is optional and ignored.
        channels: input channels of the pairwise network: masks and maps first, the three of the
            image last. Weights of the additional channels are initialised to zero, so that they do
            not change the pretrained features, and receive a gradient nevertheless.

    Returns:
        Weights by their names in `occ_order.methods.instaorder.order_net.PairwiseOrderNet`.

    Raises:
        ValueError: the input of the network does not include the image.
    """
    if channels < 3:
        raise ValueError(f"{channels} input channels do not include the three of the image")
    found = {PREFIX + name: value for name, value in weights.items() if name not in _LAST}
    first = weights[FIRST]
    before = first.new_zeros((first.shape[0], channels - 3, *first.shape[2:]))
    found[PREFIX + FIRST] = torch.cat([before, first], 1)
    return found
