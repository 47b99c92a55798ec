"""Networks of timm as Detectron2 backbones."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from occ_order.methods.common.backbone.timm_features import TimmFeatures


class TimmBackbone(TimmFeatures, Backbone):
    """`TimmFeatures` with the interface of a Detectron2 backbone."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return level -> channels and stride."""
        return {
            level: ShapeSpec(channels=self.channels[level], stride=self.strides[level])
            for level in self.channels
        }


def _build(
    cfg: CfgNode, input_shape: ShapeSpec | None, out_features: Sequence[str]
) -> TimmBackbone:
    own = cfg.MODEL.TIMM
    # Detectron2 passes the channels of the image, without those that a model concatenates.
    channels = max(own.IN_CHANNELS, input_shape.channels if input_shape is not None else 0)
    return TimmBackbone(
        own.NAME,
        out_features=out_features,
        in_channels=channels,
        output_stride=own.OUTPUT_STRIDE,
        freeze_at=own.FREEZE_AT,
        norm=own.NORM,
    )


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> TimmBackbone:
    """Build the network MODEL.TIMM.NAME with outputs MODEL.TIMM.OUT_FEATURES."""
    return _build(cfg, input_shape, cfg.MODEL.TIMM.OUT_FEATURES)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> FPN:
    """Build a feature pyramid (MODEL.FPN) on the network MODEL.TIMM.NAME; p6 by max pooling."""
    return FPN(
        bottom_up=_build(cfg, input_shape, cfg.MODEL.FPN.IN_FEATURES),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
