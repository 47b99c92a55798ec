"""ENC: the stages of a ResNet, reduced, resized to one size and concatenated (Section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, RPN_HEAD_REGISTRY, Backbone
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def concatenate_levels(maps: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """Resize maps bilinearly to one size and put their channels behind one another.

    Args:
        maps: float (B, C_i, H_i, W_i).
        size: height and width of the result.

    Returns:
        float (B, sum of C_i, height, width); a single map of that size as it is, not a copy.
    """
    resized = [
        x
        if x.shape[-2:] == size
        else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        for x in maps
    ]
    return resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)


class ConcatenatedStages(Backbone):
    """A backbone with one output, "enc": every stage of another backbone side by side.

    Stages are first reduced to `channels` each: concatenated as they come, a ResNet-50 has 3,840
    channels at stride 4.

    Args:
        bottom_up: backbone whose outputs are the stages.
        channels: channels that each stage is reduced to, by a 1x1 convolution.
        stride: stride of the result; one of the stages must have it.
        norm: Detectron2's name of a normalisation, after the 1x1 convolutions.
        recompute: do not keep what is inside of `bottom_up` in training, but compute it again when
            gradients need it: less memory, more time, the same numbers.

    Raises:
        ValueError: no stage has the stride; `recompute` with a normalisation that counts batches,
            which would count each twice.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        *,
        channels: int,
        stride: int,
        norm: str = "",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        counting = [name for name, m in bottom_up.named_modules() if isinstance(m, _BatchNorm)]
        if recompute and counting:
            raise ValueError(f"recompute: {counting[0]} would count every batch twice")
        self.recompute = recompute
        shapes = bottom_up.output_shape()
        strides = {name: shape.stride for name, shape in shapes.items()}
        if stride not in strides.values():
            raise ValueError(f"no stage of the encoder has stride {stride}, they have {strides}")
        self.bottom_up = bottom_up
        self.finest = next(name for name in strides if strides[name] == stride)
        self.reduce = nn.ModuleDict(
            {
                name: Conv2d(
                    shape.channels,
                    channels,
                    kernel_size=1,
                    bias=not norm,
                    norm=get_norm(norm, channels),
                )
                for name, shape in shapes.items()
            }
        )
        self._shape = ShapeSpec(channels=channels * len(shapes), stride=stride)

    @property
    def size_divisibility(self) -> int:
        """Of the input: the largest stride, so that all stages cover the same area."""
        return max(shape.stride for shape in self.bottom_up.output_shape().values())

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Image (B, 3, H, W) -> {"enc": (B, stages * channels, H / stride, W / stride)}."""
        stages = recomputed(self.bottom_up, image, active=self.recompute and self.training)
        size = stages[self.finest].shape[-2:]
        reduced = [self.reduce[name](stages[name]) for name in self.reduce]
        return {"enc": concatenate_levels(reduced, size)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of "enc"."""
        return {"enc": self._shape}


@BACKBONE_REGISTRY.register()
def build_concatenated_stages_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build `ConcatenatedStages` from MODEL.SLN.ENCODER."""
    own = cfg.MODEL.SLN.ENCODER
    bottom_up = BACKBONE_REGISTRY.get(own.BOTTOM_UP)(cfg, input_shape)
    return ConcatenatedStages(
        bottom_up,
        channels=own.CHANNELS,
        stride=own.STRIDE,
        norm=own.NORM,
        recompute=own.RECOMPUTE,
    )


ROWS = 16
"""Rows of a map that `RecomputingRPNHead` works on at a time."""


@RPN_HEAD_REGISTRY.register()
class RecomputingRPNHead(StandardRPNHead):
    """Detectron2's RPN head, with the same weights, that never has a whole hidden map in training.

    On features of stride 4 with 1,024 channels the hidden map of an image of 800 x 1088 pixels
    takes 223 MB, its gradient, the gradient before the activation and what convolutions copy as
    much each. So `ROWS` rows are taken at a time, with one more on either side for each 3 x 3
    convolution, and computed again for their gradients.
    """

    def forward(self, features: list[torch.Tensor]) -> tuple[list, list]:
        """As of `StandardRPNHead`."""
        if not self.training:
            return super().forward(features)
        maps = [self._by_rows(x) for x in features]
        return [logits for logits, _ in maps], [deltas for _, deltas in maps]

    def _by_rows(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        reach = len(self.conv) if isinstance(self.conv, nn.Sequential) else 1
        for start in range(0, x.shape[2], ROWS):
            above = min(start, reach)  # rows of the map; at its border there is padding, as ever
            strip = x[:, :, start - above : start + ROWS + reach]
            outputs = recomputed(super().forward, [strip], active=True)
            parts.append([part[:, :, above : above + ROWS] for (part,) in outputs])
        logits, deltas = (torch.cat(strips, dim=2) for strips in zip(*parts, strict=True))
        return logits, deltas


def recomputed(function: Callable, *args: Any, active: bool) -> Any:
    """Return result of a function; what it keeps for its gradient is computed again when needed."""
    if not active or not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False)
