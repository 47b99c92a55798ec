"""Pair classifier: any Detectron2 backbone, average pooling, one linear layer per task.

`build_torchvision_resnet_backbone` builds the ResNet of the published networks (torchvision's
layout, with the stride in the 3x3 convolution) for the input channels of a pair.
"""

from __future__ import annotations

import torch
import torchvision
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

DEPTHS = (18, 34, 50, 101, 152)


class TorchvisionResNet(Backbone):
    """ResNet of torchvision without its classifier, with the same module names."""

    def __init__(self, depth: int = 50, in_channels: int = 3) -> None:
        """Initialise with random weights.

        Args:
            depth: 18, 34, 50, 101 or 152.
            in_channels: channels of the input.

        Raises:
            ValueError: another depth.
        """
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"a ResNet has a depth out of {DEPTHS}, got {depth}")
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1, self.relu, self.maxpool = net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            net.layer1,
            net.layer2,
            net.layer3,
            net.layer4,
        )
        self.out_channels = net.fc.in_features

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {"res5": float (B, C, H / 32, W / 32)} of float (B, in_channels, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return {"res5": self.layer4(self.layer3(self.layer2(self.layer1(x))))}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of "res5"."""
        return {"res5": ShapeSpec(channels=self.out_channels, stride=32)}


@BACKBONE_REGISTRY.register()
def build_torchvision_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TorchvisionResNet:
    """Build a `TorchvisionResNet` of depth MODEL.RESNETS.DEPTH."""
    return TorchvisionResNet(cfg.MODEL.RESNETS.DEPTH, input_shape.channels)


class PairClassifier(nn.Module):
    """Classifier of pairs with one linear head per task."""

    def __init__(self, backbone: Backbone, outputs: dict[str, int]) -> None:
        """Add linear heads to the backbone.

        Args:
            backbone: its coarsest feature is pooled.
            outputs: task -> number of logits.
        """
        super().__init__()
        self.backbone = backbone
        shapes = backbone.output_shape()
        self.feature = max(shapes, key=lambda name: shapes[name].stride)
        channels = shapes[self.feature].channels
        self.heads = nn.ModuleDict(
            {task: nn.Linear(channels, number) for task, number in outputs.items()}
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {task: logits, float (B, C)} of pair inputs float (B, channels, S, S)."""
        pooled = self.backbone(x)[self.feature].mean(dim=(2, 3))
        return {task: head(pooled) for task, head in self.heads.items()}


def init_xavier(module: nn.Module, *, gain: float = 0.02, first_std: float = 0.0005) -> None:
    """Initialise as published: Xavier with a small gain, and a smaller first convolution.

    Args:
        module: its convolutions and linear layers are initialised in place.
        gain: Xavier gain of all weights; biases are 0.
        first_std: standard deviation of the first convolution.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.xavier_normal_(layer.weight, gain=gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    if first is not None:
        nn.init.normal_(first.weight, std=first_std)
