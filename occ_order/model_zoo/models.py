"""Construction of model zoo models with their weights."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn

import occ_order.methods.build  # noqa: F401  (fills Detectron2's registries)
from occ_order.config import check_settings, load_cfg
from occ_order.engine.checkpoint import OrderCheckpointer, as_half, write_checkpoint
from occ_order.files import sha256_of
from occ_order.methods.completion.meta_arch import MaskCompletionNet
from occ_order.methods.sln.input_masks import InputMaskLayering
from occ_order.model_zoo.order_of_masks import OrderOfMasks
from occ_order.model_zoo.zoo import checkpoint_file, config_file


def get_cfg(name: str, *, device: str = "cpu") -> CfgNode:
    """Return the config of a model, with its weights and `device`; not frozen."""
    opts = ["MODEL.WEIGHTS", str(checkpoint_file(name)), "MODEL.DEVICE", device]
    return load_cfg(config_file(name), opts)


def get(name: str, *, device: str = "cpu") -> nn.Module:
    """Return a model with its weights, in evaluation mode.

    Raises:
        ValueError: unknown model, or damaged weights.
    """
    return build(get_cfg(name, device=device))


def build(cfg: CfgNode) -> nn.Module:
    """Build the model of a config with the weights MODEL.WEIGHTS, in evaluation mode.

    Raises:
        ValueError: a value would execute code, or the weights are unsafe or do not match.
    """
    check_settings(cfg)
    model = build_model(cfg)
    OrderCheckpointer(model, strict=True).load(cfg.MODEL.WEIGHTS)
    return model.eval()


@META_ARCH_REGISTRY.register()
def completion_with_order(cfg: CfgNode) -> MaskCompletionNet:
    """Build a completion network that uses the order model MODEL.COMPLETION.ORDER of the zoo.

    The order model is loaded on first use; its weights are not part of the state dict. Training is
    that of MaskCompletionNet.
    """
    model = MaskCompletionNet(cfg).to(torch.device(cfg.MODEL.DEVICE))
    model.order = _order_of_zoo(cfg)
    return model


@META_ARCH_REGISTRY.register()
def layering_with_order(cfg: CfgNode) -> InputMaskLayering:
    """Build SLN for input masks that uses MODEL.COMPLETION.ORDER, as `completion_with_order`."""
    model = InputMaskLayering(cfg).to(torch.device(cfg.MODEL.DEVICE))
    model.order = _order_of_zoo(cfg)
    return model


def _order_of_zoo(cfg: CfgNode) -> OrderOfMasks:
    name, device = cfg.MODEL.COMPLETION.ORDER, cfg.MODEL.DEVICE
    return OrderOfMasks(lambda: get_cfg(name, device=device), build)


def save_checkpoint(weights: dict[str, torch.Tensor], path: str | os.PathLike[str]) -> str:
    """Write weights to a small checkpoint, with floating-point ones as float16.

    Args:
        weights: `model.state_dict()`.
        path: output file; a checkpoint of Detectron2 ({"model": weights}).

    Returns:
        The sha256 of the file.

    Raises:
        ValueError: a weight is not finite or exceeds float16.
    """
    path = Path(path)
    write_checkpoint(path, {"model": as_half(weights)})
    return sha256_of(path)
