"""Semantic segmentation with oriented occlusion boundaries, and the CRF behind it (OOSIS)."""

from occ_order.modeling.oosis.decoding import Decoder
from occ_order.modeling.oosis.deferred import DeferredOutput
from occ_order.modeling.oosis.detections import DetectionsFromFile
from occ_order.modeling.oosis.detector_order import AddOrder, detector_with_order
from occ_order.modeling.oosis.head import Logits, OOSISHead
from occ_order.modeling.oosis.maps import Maps
from occ_order.modeling.oosis.meta_arch import OOSIS

__all__ = [
    "OOSIS",
    "AddOrder",
    "Decoder",
    "DeferredOutput",
    "DetectionsFromFile",
    "Logits",
    "Maps",
    "OOSISHead",
    "detector_with_order",
]
