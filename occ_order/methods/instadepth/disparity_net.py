"""MiDaS v2.1: monocular disparity (Ranftl et al., TPAMI 2022; CVPR 2022, Figure A3).

A ResNet (ResNeXt-101 32x8d as published) computes features at strides 4, 8, 16 and 32. The decoder
fuses them from coarse to fine with residual convolution units and bilinear upsampling. The output
is a non-negative disparity per pixel, larger = nearer, up to an unknown scale and offset.

Shapes: B images, C channels, (H, W) pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.modeling import Backbone
from torch import Tensor, nn

STAGES = ("res2", "res3", "res4", "res5")
ACTIVATIONS = {"relu": nn.ReLU, "softplus": nn.Softplus, "none": nn.Identity}


class ResidualConvUnit(nn.Module):
    """Residual block of two convolutions with pre-activation; the shortcut is rectified too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine float (B, C, H, W)."""
        # Rectify the shortcut as well: the published weights were trained with an in-place ReLU,
        # which overwrites the input.
        x = F.relu(x)
        return x + self.conv2(F.relu(self.conv1(x)))


class FeatureFusion(nn.Module):
    """Add encoder features to the features of coarser levels and refine the sum."""

    def __init__(self, channels: int, *, is_coarsest: bool = False) -> None:
        """Build the units; the coarsest level has no features to add and one unit less."""
        super().__init__()
        self.skip_unit = None if is_coarsest else ResidualConvUnit(channels)
        self.unit = ResidualConvUnit(channels)

    def forward(self, skip: Tensor, coarser: Tensor | None, size: Sequence[int]) -> Tensor:
        """Fuse two levels of the same size and upsample the result.

        Args:
            skip: float (B, C, H, W), encoder features of this level.
            coarser: float (B, C, H, W), fused coarser levels; None at the coarsest level.
            size: (H', W') of the next level.

        Returns:
            float (B, C, H', W').
        """
        merged = skip
        if coarser is not None:
            assert self.skip_unit is not None  # None at the coarsest level only
            merged = coarser + self.skip_unit(skip)
        return F.interpolate(self.unit(merged), tuple(size), mode="bilinear", align_corners=True)


class DisparityNet(nn.Module):
    """Encoder, feature fusion and output layers of MiDaS v2.1.

    Attributes:
        encoder: the backbone, whose features are shared with the order heads.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        features: int = 256,
        output_channels: Sequence[int] = (128, 32),
        activation: str = "relu",
    ) -> None:
        """Build the decoder for an encoder.

        Args:
            encoder: backbone with features res2 to res5 at strides 4, 8, 16 and 32.
            features: channels of the decoder.
            output_channels: channels of the two convolutions before the last.
            activation: "relu" as published; "softplus" (positive everywhere) for training from
                scratch, where the output of a ReLU may be 0 from the start and get no gradient; or
                "none".

        Raises:
            ValueError: unknown activation, or encoder with other features.
        """
        super().__init__()
        shapes = encoder.output_shape()
        strides = {name: shapes[name].stride for name in STAGES if name in shapes}
        if list(strides.values()) != [4, 8, 16, 32]:
            raise ValueError(
                f"the encoder must give {STAGES} at strides 4, 8, 16, 32, got {strides}: set "
                "MODEL.RESNETS.OUT_FEATURES and no dilation"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {[*ACTIVATIONS]}, got {activation!r}")
        self.encoder = encoder
        self.laterals = nn.ModuleDict(
            {
                name: nn.Conv2d(shapes[name].channels, features, 3, padding=1, bias=False)
                for name in STAGES
            }
        )
        self.fusions = nn.ModuleDict(
            {name: FeatureFusion(features, is_coarsest=name == STAGES[-1]) for name in STAGES}
        )
        first, second = output_channels
        self.output = nn.ModuleList(
            [
                nn.Conv2d(features, first, 3, padding=1),
                nn.Conv2d(first, second, 3, padding=1),
                nn.Conv2d(second, 1, 1),
            ]
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the disparity and the encoder's features.

        Args:
            images: float (B, 3, H, W), normalised; H and W should be multiples of 32.

        Returns:
            Disparity float (B, H, W), >= 0 unless the activation is "none", and the features
            {"res2": (B, C, H / 4, W / 4), ..., "res5"}.
        """
        features = self.encoder(images)
        return self.decode(features, images.shape[-2:]), features

    def decode(self, features: dict[str, Tensor], size: Sequence[int]) -> Tensor:
        """Compute the disparity, float (B, H, W), from encoder features; `size` is (H, W)."""
        path = None
        for name, finer in zip(STAGES[::-1], [*STAGES[-2::-1], None], strict=True):
            height, width = features[name].shape[-2:]
            larger = (2 * height, 2 * width) if finer is None else features[finer].shape[-2:]
            path = self.fusions[name](self.laterals[name](features[name]), path, larger)
        path = F.interpolate(self.output[0](path), tuple(size), mode="bilinear")
        path = self.output[2](F.relu(self.output[1](path)))
        return self.activation(path)[:, 0]
