"""ENC: the stages of a ResNet, reduced, resized to one size and concatenated (Section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
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
        ValueError: no stage has the stride.
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


def recomputed(module: nn.Module, x: torch.Tensor, *, active: bool) -> Any:
    """Return the output of a module; what it keeps for gradients is computed again when needed.

    Args:
        module: its batch norms count a batch once.
        x: input.
        active: False = keep everything, as without this function.
    """
    if not active or not torch.is_grad_enabled():
        return module(x)
    contexts = nullcontext(), _without_counting(module)
    return checkpoint(module, x, use_reentrant=False, context_fn=lambda: contexts)


@contextmanager
def _without_counting(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch, and leave their running statistics as they are."""
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm)]
    known = [(one.momentum, one.num_batches_tracked) for one in norms]
    for one in norms:
        one.momentum, one.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for one, (momentum, counted) in zip(norms, known, strict=True):
            one.momentum, one.num_batches_tracked = momentum, counted
