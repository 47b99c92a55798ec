"""ROI heads whose features are those of the image and of the global layering map, aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    FastRCNNOutputLayers,
    StandardROIHeads,
    build_box_head,
    build_mask_head,
)
from detectron2.structures import Boxes
from torch import nn

from occ_order.methods.sln.global_layering import LAYER_MAPS
from occ_order.methods.sln.mixing import identity_mix, mixed


class LayeredPooler(nn.Module):
    """Pools features and the global layering map, which stands last, and concatenates them.

    Args:
        features: pooler of the features.
        layer_maps: pooler of the map.
        mix: applied to the result, to bring it back to the channels of the features; optional.
    """

    def __init__(
        self, features: ROIPooler, layer_maps: ROIPooler, mix: nn.Conv2d | None = None
    ) -> None:
        super().__init__()
        self.features, self.layer_maps, self.mix = features, layer_maps, mix

    def forward(self, x: Sequence[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Map, one `Boxes` for each image -> float (R, C + K, P, P); (R, C, P, P) with `mix`."""
        features = self.features(list(x[:-1]), boxes)
        layers = self.layer_maps([x[-1]], boxes).to(features.dtype)
        if self.mix is None:
            return torch.cat([features, layers], dim=1)
        return mixed(self.mix, features, layers)


@ROI_HEADS_REGISTRY.register()
class LayeringROIHeads(StandardROIHeads):
    """Detectron2's standard heads over features and, if there is one, the global layering map.

    The mask head must be one of `occ_order.methods.sln.mask_heads`; it gets the map's channels
    behind those of the features. For the box head, which may be pretrained, they are mixed in.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        names, pooler, shape = _pooling(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape, mixed=True)
        box_head = build_box_head(cfg, shape)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        names, pooler, shape = _pooling(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        return {
            "mask_in_features": names,
            "mask_pooler": pooler,
            "mask_head": build_mask_head(cfg, shape),
        }


def _pooling(
    cfg: CfgNode, head: CfgNode, input_shape: Mapping[str, ShapeSpec], *, mixed: bool = False
) -> tuple[list[str], nn.Module, ShapeSpec]:
    """Build the pooler; return the names of its input maps, it, and its output shape."""

    def pooler(names: Sequence[str]) -> ROIPooler:
        return ROIPooler(
            output_size=head.POOLER_RESOLUTION,
            scales=tuple(1.0 / input_shape[name].stride for name in names),
            sampling_ratio=head.POOLER_SAMPLING_RATIO,
            pooler_type=head.POOLER_TYPE,
        )

    names = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
    channels, chosen = input_shape[names[0]].channels, pooler(names)
    if LAYER_MAPS in input_shape:
        levels = input_shape[LAYER_MAPS].channels
        mix = identity_mix(channels, levels) if mixed else None
        chosen = LayeredPooler(chosen, pooler([LAYER_MAPS]), mix)
        channels += 0 if mixed else levels
        names.append(LAYER_MAPS)
    side = head.POOLER_RESOLUTION
    return names, chosen, ShapeSpec(channels=channels, height=side, width=side)
