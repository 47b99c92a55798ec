"""Amodal instance segmentation by layers: SLN (Zhang et al., ACM MM 2019) and its baselines."""

from occ_order.modeling.sln.decode import (
    PastedLayers,
    decode_instances,
    paste_layers,
    sem_dist_maps,
)
from occ_order.modeling.sln.encoder import ConcatenatedStages, build_concatenated_stages_backbone
from occ_order.modeling.sln.global_layering import GlobalLayering, LayerFusion, overlap_layers
from occ_order.modeling.sln.mask_heads import AmodalMaskHead, InstanceLayeringHead, LayerHead
from occ_order.modeling.sln.meta_arch import SemanticsLayeringNetwork
from occ_order.modeling.sln.roi_heads import LayeringROIHeads
from occ_order.modeling.sln.stages import Freezer, Stages

__all__ = [
    "AmodalMaskHead",
    "ConcatenatedStages",
    "Freezer",
    "GlobalLayering",
    "InstanceLayeringHead",
    "LayerFusion",
    "LayerHead",
    "LayeringROIHeads",
    "PastedLayers",
    "SemanticsLayeringNetwork",
    "Stages",
    "build_concatenated_stages_backbone",
    "decode_instances",
    "overlap_layers",
    "paste_layers",
    "sem_dist_maps",
]
