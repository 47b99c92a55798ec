"""Amodal masks of given masks by ONNX Runtime.

`occ_order.methods.completion` computes the same with PyTorch; what is not the network itself, both
have in common (`occ_order.methods.completion.amodal`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.lite.graph import Graph
from occ_order.methods.completion import amodal

SETTINGS = "occ_order_completion"
"""Key of the graph's metadata under which its settings stand."""


@dataclass(frozen=True)
class Settings(amodal.Settings):
    """Settings of `amodal.Settings`, and the network that predicts the occlusion order.

    Attributes:
        order: name in the model zoo of the network for the order; "" = none.
    """

    order: str = ""


class MaskCompleter:
    """Completes given masks with one graph.

    Args:
        graph: one that `occ_order.engine.export` wrote of a MaskCompletionNet.

    Raises:
        ValueError: another graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "completes masks")
        self._graph = graph

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Return the amodal masks of one image, bool (N, H, W); see `amodal.complete`."""
        return amodal.complete(modal, chances, self.logits, self.settings)

    def logits(self, view: np.ndarray) -> np.ndarray:
        """Return float32 (S, S) of one view, float32 (channels, S, S)."""
        return self._graph.run(["logits"], {"views": view[None]})[0][0]
