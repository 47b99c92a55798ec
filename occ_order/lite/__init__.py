"""Prediction without PyTorch and Detectron2: NumPy prepares, ONNX Runtime computes."""

from occ_order.lite.mask_order import MaskOrderer
from occ_order.lite.predictor import LitePredictor

__all__ = ["LitePredictor", "MaskOrderer"]
