"""Export of `MaskCompletionNet` for `occ_order.lite.completion`."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from torch import nn

from occ_order.lite import completion as lite
from occ_order.methods.completion.meta_arch import MaskCompletionNet
from occ_order.methods.completion.network import CompletionUNet


class CompletionGraph(nn.Module):
    """The network of a `MaskCompletionNet`."""

    def __init__(self, network: CompletionUNet) -> None:
        """Share the weights of the network."""
        super().__init__()
        self.network = network

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor]:
        """Compute logits (K, S, S) of views (K, channels, S, S)."""
        return (self.network(views),)


def settings_of(model: MaskCompletionNet, cfg: CfgNode) -> lite.Settings:
    """Return the settings for the metadata of the graph."""
    order = "" if model.order is None else cfg.MODEL.COMPLETION.ORDER
    return lite.Settings(**vars(model.settings), order=order)
