"""Backbones beside Detectron2's."""

from detectron2.projects import deeplab  # registers build_resnet_deeplab_backbone

from occ_order.modeling.backbone.mini_resnet import (
    build_mini_resnet_backbone,
    build_mini_resnet_fpn_backbone,
    make_mini_resnet,
)
from occ_order.modeling.backbone.timm_backbone import (
    TimmBackbone,
    build_timm_backbone,
    build_timm_fpn_backbone,
)

__all__ = [
    "TimmBackbone",
    "build_mini_resnet_backbone",
    "build_mini_resnet_fpn_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "deeplab",
    "make_mini_resnet",
]
