"""torchvision's ResNets, trained on ImageNet, as the start of a pairwise network.

OrderNet and InstaOrderNet start from a pretrained ResNet-50 (Zhu et al., CVPR 2017; Lee & Park,
Section 4.1) that sees more than the three channels of an image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FIRST = "conv1.weight"
PREFIX = "classifier.backbone."
"""Where a pairwise network has its ResNet."""

_LAST = ("fc.weight", "fc.bias")


def is_torchvision_resnet(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of torchvision's ResNets for three channels and 1,000 classes."""
    named = {FIRST, "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"}
    return named <= set(weights) and weights[FIRST].shape[1] == 3


def convert_resnet(weights: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Return the weights of a pairwise network's backbone.

    Args:
        weights: of torchvision, with or without the last layer, which has no place.
        channels: what the pairwise network sees: masks and maps first, the image's three last.
            What stands before the image begins at zero, so that the network first sees what it
            was trained on; its weights have a gradient all the same.

    Returns:
        Weights by the names of `occ_order.methods.instaorder.order_net.PairwiseOrderNet`.

    Raises:
        ValueError: the network does not see the image.
    """
    if channels < 3:
        raise ValueError(f"a network of {channels} channels does not see the image's three")
    found = {PREFIX + name: value for name, value in weights.items() if name not in _LAST}
    first = weights[FIRST]
    before = first.new_zeros((first.shape[0], channels - 3, *first.shape[2:]))
    found[PREFIX + FIRST] = torch.cat([before, first], 1)
    return found
