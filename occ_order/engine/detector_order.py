"""A detector and an order network as one model, built from MODEL.DETECTOR_ORDER.

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
"""Prefix of a model zoo name, in place of a file."""


@META_ARCH_REGISTRY.register()
def detector_with_order(cfg: CfgNode) -> nn.Module:
    """Build a detector whose results have an order (MODEL.DETECTOR_ORDER); trains the detector."""
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
    """Build a model from this config, from a config file or from the model zoo.

    A detector's file may have keys of another project (`foreign`), which its code reads.
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
        # A disparity baseline has no weights of its own, but its network has.
        network = model.disparity_net if isinstance(model, OrderBaseline) else None
        OrderCheckpointer(network or model).load(weights)
    return model, cfg


def _found(source: str) -> Path:
    """Resolve a file relative to the working directory or, as in configs, to the checkout."""
    path = Path(source)
    return path if path.is_file() else CHECKOUT / path
