"""Amodal masks of modal input masks, with ONNX Runtime.

The counterpart of `occ_order.methods.completion` with PyTorch; both share everything except the
network (`occ_order.methods.completion.amodal`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.lite.graph import Graph
from occ_order.methods.completion import amodal

SETTINGS = "occ_order_completion"
"""Key of the settings in the graph's metadata."""


@dataclass(frozen=True)
class Settings(amodal.Settings):
    """Settings of `amodal.Settings` and the network for the occlusion order.

    Attributes:
        order: model zoo name of the network for the order; "" = none.
    """

    order: str = ""


class MaskCompleter:
    """Predict amodal masks of input masks.

    Args:
        graph: graph of a MaskCompletionNet, exported by `occ_order.engine.export`.

    Raises:
        ValueError: unsupported graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "completes masks")
        self._graph = graph

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Return the amodal masks of an image, bool (N, H, W); see `amodal.complete`."""
        return amodal.complete(modal, chances, self.logits, self.settings)

    def logits(self, view: np.ndarray) -> np.ndarray:
        """Compute the logits of a view, float32 (channels, S, S), as float32 (S, S)."""
        return self._graph.run(["logits"], {"views": view[None]})[0][0]
