"""A detector and an order network in one model, both by settings (MODEL.DETECTOR_ORDER).

Importing this module registers `detector_with_order` with Detectron2.
"""

from __future__ import annotations

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from occ_order import model_zoo
from occ_order.config import load_cfg
from occ_order.engine.checkpoint import OrderCheckpointer
from occ_order.methods.common.baseline import OrderBaseline
from occ_order.methods.oosis.detector_order import AddOrder

CHECKOUT = Path(__file__).resolve().parents[2]

ZOO = "zoo:"
"""What a source begins with that is a name in the model zoo instead of a file."""


@META_ARCH_REGISTRY.register()
def detector_with_order(cfg: CfgNode) -> nn.Module:
    """MODEL.DETECTOR_ORDER: a detector whose results carry an order. Trains like the detector."""
    own = cfg.MODEL.DETECTOR_ORDER
    detector, detector_cfg = _part(
        cfg, own.META_ARCHITECTURE, own.CONFIG, own.WEIGHTS, foreign=True
    )
    order, order_cfg = _part(cfg, own.ORDER, own.ORDER_CONFIG, own.ORDER_WEIGHTS)
    hook = AddOrder(
        order.to(torch.device(cfg.MODEL.DEVICE)),
        masks=own.MASKS,
        min_score=own.MIN_SCORE,
        exclusive=own.EXCLUSIVE,
        reverse_channels=detector_cfg.INPUT.FORMAT != order_cfg.INPUT.FORMAT,
    )
    detector.register_forward_hook(hook)
    return detector


def _part(
    cfg: CfgNode, architecture: str, source: str, weights: str, *, foreign: bool = False
) -> tuple[nn.Module, CfgNode]:
    """Return a model from this very config by its architecture, from a file, or from the model zoo.

    A detector's file may have settings of its own project (`foreign`), which its code reads.
    """
    if source.startswith(ZOO):
        name = source.removeprefix(ZOO)
        return model_zoo.get(name, device=cfg.MODEL.DEVICE), model_zoo.get_cfg(name)
    if source:
        device, cfg = cfg.MODEL.DEVICE, load_cfg(_found(source), foreign=foreign)
        cfg.MODEL.DEVICE = device
        architecture, weights = cfg.MODEL.META_ARCHITECTURE, weights or cfg.MODEL.WEIGHTS
    model = META_ARCH_REGISTRY.get(architecture)(cfg)
    if weights:
        # A disparity baseline has no weights of its own, but those of its network.
        network = model.disparity_net if isinstance(model, OrderBaseline) else None
        OrderCheckpointer(network or model).load(weights)
    return model, cfg


def _found(source: str) -> Path:
    """Return file from the working directory or, as configs name each other, from the checkout."""
    path = Path(source)
    return path if path.is_file() else CHECKOUT / path
