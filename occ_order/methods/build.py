"""Every network and every mapper, registered; and the mapper that a configuration names.

Importing this module imports the methods, which register their networks with Detectron2 and their
mappers in `MAPPER_REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.projects import deeplab  # registers build_resnet_deeplab_backbone

from occ_order.methods.common import baseline, instance_mapper, pair_classifier, pair_mapper
from occ_order.methods.common.backbone import mini_resnet, timm_backbone
from occ_order.methods.common.reading import check_image
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.completion import mapper as mask_completion_mapper
from occ_order.methods.completion import meta_arch as mask_completion_net
from occ_order.methods.instadepth import mapper as instadepth_mapper
from occ_order.methods.instadepth import meta_arch as insta_depth_net
from occ_order.methods.instaorder import completion_mapper, order_net, pcnet_m
from occ_order.methods.mask_order import mapper as mask_order_mapper
from occ_order.methods.mask_order import meta_arch as mask_order_net
from occ_order.methods.oosis import detections
from occ_order.methods.oosis import head as oosis_head
from occ_order.methods.oosis import mapper as oosis_mapper
from occ_order.methods.oosis import meta_arch as oosis
from occ_order.methods.order_head import meta_arch as order_rcnn
from occ_order.methods.order_head import roi_heads as order_roi_heads
from occ_order.methods.segmenter import mapper as segmenter_mapper
from occ_order.methods.segmenter import meta_arch as mirrored_rcnn
from occ_order.methods.segmenter import partly_labelled
from occ_order.methods.sln import encoder, mask_heads
from occ_order.methods.sln import input_masks as layering_of_masks
from occ_order.methods.sln import mapper as sln_mapper
from occ_order.methods.sln import meta_arch as sln
from occ_order.methods.sln import roi_heads as layering_roi_heads

Mapper = Callable[[dict[str, Any]], dict[str, Any]]


def build_mapper(cfg: CfgNode, *, is_train: bool) -> Mapper:
    """Return the mapper that `cfg.INPUT.MAPPER` names; `CheckedMapper` for "".

    Raises:
        KeyError: no mapper has that name.
    """
    name = cfg.INPUT.MAPPER
    return MAPPER_REGISTRY.get(name)(cfg, is_train) if name else CheckedMapper(cfg, is_train)


class CheckedMapper(DatasetMapper):
    """Detectron2's own mapper, for images of the formats that are read everywhere here.

    Detectron2 reads whatever Pillow knows, and some of Pillow's readers start programs.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """As Detectron2's.

        Raises:
            UnreadableImageError: the file is missing, of another format or damaged.
        """
        check_image(dataset_dict)
        return super().__call__(dataset_dict)


__all__ = [
    "MAPPER_REGISTRY",
    "CheckedMapper",
    "Mapper",
    "baseline",
    "build_mapper",
    "completion_mapper",
    "deeplab",
    "detections",
    "encoder",
    "insta_depth_net",
    "instadepth_mapper",
    "instance_mapper",
    "layering_of_masks",
    "layering_roi_heads",
    "mask_completion_mapper",
    "mask_completion_net",
    "mask_heads",
    "mask_order_mapper",
    "mask_order_net",
    "mini_resnet",
    "mirrored_rcnn",
    "oosis",
    "oosis_head",
    "oosis_mapper",
    "order_net",
    "order_rcnn",
    "order_roi_heads",
    "pair_classifier",
    "pair_mapper",
    "partly_labelled",
    "pcnet_m",
    "segmenter_mapper",
    "sln",
    "sln_mapper",
    "timm_backbone",
]
