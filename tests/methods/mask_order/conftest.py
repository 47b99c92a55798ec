"""A network small enough for tests, and images with overlapping discs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from occ_order.methods.mask_order.network import (
    ImageBranch,
    ImageMaps,
    MaskOrderNetwork,
    OutlineBranch,
)

LEVELS = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class TinyBackbone(nn.Module):
    """Maps of stride 4 to 32 by strided convolutions."""

    def __init__(self, channels: int = 6):
        super().__init__()
        self.channels = channels
        self.layers = nn.ModuleList(
            nn.Conv2d(3 if k == 0 else channels, channels, 5, 4 if k == 0 else 2, 2)
            for k in range(len(LEVELS))
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for name, layer in zip(LEVELS, self.layers, strict=True):
            x = torch.relu(layer(x))
            maps[name] = x
        return maps


def tiny_network(*branches: str) -> MaskOrderNetwork:
    """Return a network of a few thousand parameters, always the same; default: both branches."""
    torch.manual_seed(0)
    outlines = image = None
    if not branches or "outlines" in branches:
        outlines = OutlineBranch(
            view_sizes=(16, 12),
            view_widths=((8, 12), (6, 8)),
            view_channels=10,
            hidden=12,
            rounds=1,
        )
    if not branches or "image" in branches:
        backbone = TinyBackbone()
        maps = ImageMaps(backbone, dict.fromkeys(LEVELS, backbone.channels), 8)
        image = ImageBranch(maps, 8, hidden=12, rounds=1)
    return MaskOrderNetwork(outlines, image)


@pytest.fixture
def build(on_device):
    """Function: `tiny_network` of branches where networks run; its answers are on the CPU."""
    return lambda *branches: on_device(tiny_network(*branches))


@pytest.fixture
def network(build):
    """A tiny network in evaluation mode."""
    return build().eval()


def discs(*circles: tuple[int, int, int], size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """Return bool (N, H, W) of discs (y, x, radius), the first in front of the next."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    covered, masks = np.zeros(size, bool), []
    for y, x, radius in circles:
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        masks.append(disc & ~covered)
        covered |= disc
    return torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, *size)).bool()


CHAIN = ((30, 20, 12), (34, 36, 14), (30, 56, 13), (10, 86, 6))
"""Three discs that overlap one another in a row, and one apart."""
