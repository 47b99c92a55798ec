"""What the two masks of a pair look like together, in the square around both.

Shapes: I images, M instances, Q ordered pairs (`occ_order.layers.instance_pairs`), K close pairs, R
samples a side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import nn
from torchvision.ops import roi_align

from occ_order.layers.instance_pairs import PairLayout
from occ_order.layers.pair_crops import square_around


def close_pairs(boxes: torch.Tensor, layout: PairLayout, gap: float) -> torch.Tensor:
    """int64 (K,): places of the pairs i < j whose boxes overlap or are at most `gap` apart."""
    first, second = boxes[layout.row], boxes[layout.col]
    apart = torch.maximum(first, second)[:, :2] - torch.minimum(first, second)[:, 2:]
    return ((apart <= gap).all(1) & (layout.row < layout.col)).nonzero()[:, 0]


class PairCrops(nn.Module):
    """A few convolutions over the union region of each close pair, in both directions.

    They see the mask of the first and of the second, and the region's features; all of it is
    sampled from maps that were computed once, at R x R places.
    """

    def __init__(self, in_channels: int, features: int, channels: int, size: int, norm: str):
        """Builds it.

        Args:
            in_channels: of the dense map.
            features: channels of the dense map's summary that the crops see.
            channels: of the result; a half of that in the first convolution.
            size: R, a multiple of 4.
            norm: Detectron2's name of a normalisation.
        """
        super().__init__()
        self.size, self.out_channels = size, 2 * channels
        half = channels // 2
        self.summary = Conv2d(in_channels, features, 1)
        self.region = Conv2d(features, half, 3, padding=1, bias=False)
        self.masks = Conv2d(2, half, 3, padding=1, bias=False)
        self.norm = get_norm(norm, half)
        self.body = nn.Sequential(_down(half, channels, norm), _down(channels, channels, norm))
        for conv in (self.region, self.masks):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self,
        dense: torch.Tensor,
        cover: torch.Tensor,
        boxes: torch.Tensor,
        layout: PairLayout,
        close: torch.Tensor,
    ) -> torch.Tensor:
        """Describes every pair.

        Args:
            dense: (I, in_channels, h, w).
            cover: (M, h', w'), finer than the map or the same.
            boxes: (K, 4), union boxes of the close pairs, in cells of the map.
            layout: the pairs.
            close: int64 (K,) of `close_pairs`.

        Returns:
            (Q, out_channels), 0 for pairs that are not close.
        """
        result = dense.new_zeros((len(layout.row), self.out_channels))
        if not len(close):
            return result + 0.0 * sum(p.sum() for p in self.parameters())
        squares = _corners(square_around(boxes, area=1.0))
        row, col = layout.row[close], layout.col[close]
        region = self._sampled(self.summary(dense), layout.image[row], squares)
        scale = cover.shape[-1] / dense.shape[-1]
        first, second = (self._sampled(cover[:, None], k, squares * scale) for k in (row, col))
        region = self.region(region)
        seen = [
            region + self.masks(torch.cat(pair, 1)) for pair in ((first, second), (second, first))
        ]
        seen = self.body(F.relu(self.norm(torch.cat(seen))))
        seen = torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1)
        return result.index_copy(0, torch.cat([close, layout.swapped[close]]), seen)

    def _sampled(self, maps, index, squares) -> torch.Tensor:
        """(K, C, R, R) of chosen maps."""
        regions = torch.cat([index[:, None].to(squares), squares], 1)
        return roi_align(maps.float(), regions, self.size, 1.0, 1, aligned=True)


def _corners(squares: torch.Tensor) -> torch.Tensor:
    """float (K, 4): x0, y0, x1, y1 of squares given by centre and side (at least a cell)."""
    centre, half = squares[:, :2], squares[:, 2:].clamp(min=1) / 2
    return torch.cat([centre - half, centre + half], 1).float()


def _down(in_channels: int, channels: int, norm: str) -> Conv2d:
    conv = Conv2d(
        in_channels,
        channels,
        3,
        stride=2,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
