"""Dense feature map of the order head, pooled over instances and their contacts.

Shapes: I images, M instances of all images, H x W pixels (padded to a multiple of `stride`), h x w
cells of `stride` pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import nn

CUES = 4
"""Number of channels of `mask_cues`."""


def mask_cues(masks: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Summarize all masks of an image in maps that do not depend on their order or number.

    Args:
        masks: bool (M, H, W).
        counts: number of instances of each image.

    Returns:
        float32 (I, 4, H, W), 0 or 1: inside a mask; inside several masks; mask boundary between the
        pixel and its right neighbour; between the pixel and the one below.
    """
    right, below = torch.zeros_like(masks), torch.zeros_like(masks)
    torch.ne(masks[:, :, :-1], masks[:, :, 1:], out=right[:, :, :-1])
    torch.ne(masks[:, :-1], masks[:, 1:], out=below[:, :-1])
    cues = torch.zeros((len(counts), CUES, *masks.shape[1:]), device=masks.device)
    for image, (start, count) in enumerate(zip(_starts(counts), counts, strict=True)):
        if count:
            own = slice(start, start + count)
            cues[image, 1] = masks[own].sum(0, dtype=torch.int32) > 1
            for channel, part in ((0, masks), (2, right), (3, below)):
                # amax over bytes is a hundred times faster than any over bools.
                cues[image, channel] = part[own].view(torch.uint8).amax(0)
    return cues


def _starts(counts: Sequence[int]) -> list[int]:
    return [sum(counts[:k]) for k in range(len(counts))]


class OrderMap(nn.Module):
    """A small U-Net on the image, the mask outlines and the features of the backbone.

    The first convolution has stride `stride` and a kernel of three cells per side, so no pixel of
    an outline is lost. The map is computed once per image for any number of instances.
    """

    def __init__(
        self,
        *,
        stride: int,
        width: int,
        in_channels: int,
        feature_channels: int,
        feature_stride: int,
        depth: int = 2,
        norm: str = "BN",
    ) -> None:
        """Initialise the layers.

        Args:
            stride: stride of the output.
            width: channels of the output; coarser levels have 2, 4, 4, ... times as many.
            in_channels: channels of the image; 0 = outlines only.
            feature_channels: channels of the backbone's feature map.
            feature_stride: stride of the backbone's feature map, `stride` times a power of 2.
            depth: number of levels below the finest.
            norm: name of a normalisation in Detectron2.

        Raises:
            ValueError: the strides do not match.
        """
        super().__init__()
        level = (feature_stride // stride).bit_length() - 1
        if stride < 2 or feature_stride != stride << level or level > depth:
            raise ValueError(
                f"the order map of stride {stride} (at least 2) has levels of stride "
                f"{[stride << k for k in range(depth + 1)]}, got features of {feature_stride}"
            )
        widths = [width * min(2**k, 4) for k in range(depth + 1)]
        self.stride, self.feature_level = stride, level
        self.use_image = in_channels > 0
        self.stem = _conv(
            in_channels + CUES, width, kernel=3 * stride, stride=stride, padding=stride, norm=norm
        )
        self.lateral = Conv2d(feature_channels, widths[level], 1)
        self.down = nn.ModuleList(
            _conv(widths[k], widths[k + 1], stride=2, norm=norm) for k in range(depth)
        )
        self.body = nn.ModuleList(
            nn.Sequential(_conv(w, w, norm=norm), _conv(w, w, norm=norm)) for w in widths[1:]
        )
        self.up = nn.ModuleList(Conv2d(widths[k + 1], widths[k], 1) for k in range(depth))
        self.smooth = nn.ModuleList(_conv(widths[k], widths[k], norm=norm) for k in range(depth))
        self.widths: Sequence[int] = widths
        self.depth = depth
        self.size_divisibility = stride << depth

    def forward(
        self, images: torch.Tensor, cues: torch.Tensor, features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the feature map and its coarsest level.

        Args:
            images: (I, 3, H, W), normalised.
            cues: (I, 4, H, W) of `mask_cues`.
            features: (I, C', H / feature_stride, W / feature_stride), possibly padded more.

        Returns:
            (I, width, h, w), and of the coarsest level (I, widths[-1], h', w').
        """
        seen = torch.cat([images, cues], 1) if self.use_image else cues
        levels = [self.stem(seen)]
        levels[0] = self._add_features(levels[0], features, 0)
        for k, (down, body) in enumerate(zip(self.down, self.body, strict=True), start=1):
            x = self._add_features(down(levels[-1]), features, k)
            levels.append(x + body(x))
        x = coarse = levels.pop()
        for k in range(len(levels) - 1, -1, -1):
            x = F.interpolate(self.up[k](x), size=levels[k].shape[-2:], mode="nearest")
            x = self.smooth[k](x + levels[k])
        return x, coarse

    def _add_features(self, x: torch.Tensor, features: torch.Tensor, level: int) -> torch.Tensor:
        if level != self.feature_level:
            return x
        height, width = x.shape[-2:]
        lateral = self.lateral(features)[:, :, :height, :width]
        missing = (0, width - lateral.shape[-1], 0, height - lateral.shape[-2])
        return x + F.pad(lateral, missing)


def _conv(
    in_channels: int,
    channels: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 1,
    norm: str,
) -> Conv2d:
    conv = Conv2d(
        in_channels,
        channels,
        kernel,
        stride=stride,
        padding=padding,
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    return conv
