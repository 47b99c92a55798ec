"""The three-convolution block that SLN uses everywhere (Sections 4.3 and 4.4)."""

from __future__ import annotations

import torch
from detectron2.layers import Conv2d, get_norm
from fvcore.nn import weight_init
from torch import nn


class ConvBlock(nn.Sequential):
    """conv-bn-relu `num_convs` times, then a convolution: (B, C_in, H, W) -> (B, C_out, H, W).

    Args:
        in_channels: C_in.
        channels: channels in between.
        out_channels: C_out.
        num_convs: convolutions before the last one; the paper has 2.
        norm: Detectron2's name of a normalisation.
        upsample: double height and width before the last convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        num_convs: int = 2,
        norm: str = "BN",
        upsample: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for _ in range(num_convs):
            conv = Conv2d(
                in_channels,
                channels,
                kernel_size=3,
                padding=1,
                bias=not norm,
                norm=get_norm(norm, channels),
                activation=nn.ReLU(),
            )
            layers.append(conv)
            in_channels = channels
        if upsample:
            layers += [nn.ConvTranspose2d(in_channels, channels, 2, stride=2), nn.ReLU()]
            in_channels = channels
        layers.append(Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
        super().__init__(*layers)
        for layer in layers[:-1]:
            if not isinstance(layer, nn.ReLU):
                weight_init.c2_msra_fill(layer)
        # Small scores at first, so that a new branch neither shouts nor blocks gradients.
        nn.init.normal_(layers[-1].weight, std=0.001)
        nn.init.zeros_(layers[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block; statistics of no region at all cannot be taken, so norms rest then."""
        if not len(x) and self.training:
            self.eval()
            x = super().forward(x)
            self.train()
            return x
        return super().forward(x)
