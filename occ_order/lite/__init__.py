"""Prediction without PyTorch and Detectron2, by NumPy and ONNX Runtime."""

from occ_order.lite.completion import MaskCompleter
from occ_order.lite.graph import Graph
from occ_order.lite.mask_order import MaskOrderer
from occ_order.lite.predictor import LitePredictor, LiteSegmenter, from_zoo
from occ_order.lite.segmenter import Segmenter

__all__ = [
    "Graph",
    "LitePredictor",
    "LiteSegmenter",
    "MaskCompleter",
    "MaskOrderer",
    "Segmenter",
    "from_zoo",
]
