"""Training and evaluation by configuration: Detectron2's trainer with our parts in it."""

from occ_order.engine.launch import argument_parser, main, run, setup
from occ_order.engine.predictor import OrderPredictor
from occ_order.engine.quick_scenes import make_quick_scenes
from occ_order.engine.trainer import Trainer, build_optimizer

__all__ = [
    "OrderPredictor",
    "Trainer",
    "argument_parser",
    "build_optimizer",
    "main",
    "make_quick_scenes",
    "run",
    "setup",
]
