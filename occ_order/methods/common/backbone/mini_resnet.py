"""A narrow ResNet of basic blocks, small enough to train on a CPU within minutes."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

STAGES = ("res2", "res3", "res4", "res5")
Blocks = list[BasicBlock]


def make_mini_resnet(
    *,
    width: int = 16,
    blocks: Sequence[int] = (2, 2, 2, 2),
    in_channels: int = 3,
    out_features: Sequence[str] = ("res5",),
    norm: str = "BN",
    res4_dilation: int = 1,
    res5_dilation: int = 1,
    channels: Sequence[int] = (),
) -> ResNet:
    """Build a ResNet with 1, 2, 4 and 8 times `width` channels in its four stages.

    With `blocks` = (2, 2, 2, 2) it is a ResNet-18 with channels divided by 64 / width; a width of
    16 has 0.7 million parameters. A dilation above 1 replaces the stride of the stage, so that res4
    and res5 with dilations 2 and 4 keep stride 8.

    Args:
        width: channels of the stem and of res2.
        blocks: basic blocks in res2, res3, res4 and res5.
        in_channels: channels of the image.
        out_features: names out of "stem", "res2" (stride 4) to "res5" (stride 32 undilated).
        norm: name of a normalisation in Detectron2.
        res4_dilation, res5_dilation: dilation of the 3x3 convolutions of these stages.
        channels: channels of the four stages, instead of multiples of `width`; a stage that halves
            the resolution must change the number of channels, since Detectron2's basic block has
            no shortcut convolution otherwise.

    Raises:
        ValueError: a width, number of blocks or dilation below 1, not four stages, or channels
            that do not fit.
    """
    wide = list(channels) or [width * 2**k for k in range(len(STAGES))]
    dilations = (1, 1, res4_dilation, res5_dilation)
    if {len(blocks), len(wide)} != {len(STAGES)} or min(width, *blocks, *dilations, *wide) < 1:
        raise ValueError(
            f"a mini ResNet needs a width, {len(STAGES)} numbers of blocks and of channels, and "
            f"dilations of at least 1, got width {width}, blocks {list(blocks)}, channels {wide}, "
            f"dilations {list(dilations)}"
        )
    before, stages = width, []
    for k, (count, dilation) in enumerate(zip(blocks, dilations, strict=True)):
        stride = 1 if k == 0 or dilation > 1 else 2
        if stride > 1 and wide[k] == before:
            raise ValueError(f"{STAGES[k]} and the stage before have {before} channels each")
        stages.append(_stage(count, before, wide[k], stride, dilation, norm))
        before = wide[k]
    stem = BasicStem(in_channels=in_channels, out_channels=width, norm=norm)
    return ResNet(stem, stages, out_features=list(out_features))


def _stage(
    count: int, in_channels: int, out_channels: int, stride: int, dilation: int, norm: str
) -> Blocks:
    blocks = []
    for k in range(count):
        block = BasicBlock(
            in_channels if k == 0 else out_channels,
            out_channels,
            stride=stride if k == 0 else 1,
            norm=norm,
        )
        for conv in (block.conv1, block.conv2):
            conv.dilation = (dilation, dilation)  # Detectron2's basic block has no argument for it
            conv.padding = (dilation, dilation)
        blocks.append(block)
    return blocks


@BACKBONE_REGISTRY.register()
def build_mini_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> ResNet:
    """Build a mini ResNet from MODEL.MINI_RESNET and MODEL.RESNETS."""
    own, shared = cfg.MODEL.MINI_RESNET, cfg.MODEL.RESNETS
    return make_mini_resnet(
        width=own.WIDTH,
        blocks=own.BLOCKS,
        in_channels=input_shape.channels if input_shape is not None else own.IN_CHANNELS,
        out_features=shared.OUT_FEATURES,
        norm=shared.NORM,
        res4_dilation=shared.RES4_DILATION,
        res5_dilation=shared.RES5_DILATION,
    )


@BACKBONE_REGISTRY.register()
def build_mini_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> FPN:
    """Build a feature pyramid (MODEL.FPN) on the mini ResNet; p6 by max pooling."""
    return FPN(
        bottom_up=build_mini_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
