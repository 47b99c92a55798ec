"""Amodal masks of instances whose occlusion order is known."""

from __future__ import annotations

import numpy as np
import torch

from occ_order import model_zoo
from occ_order.instances import OrderedInstances
from occ_order.methods.completion.meta_arch import MaskCompletionNet


class AmodalCompleter:
    """Completes instances behind those that occlude them, whoever has told the order.

        completed = AmodalCompleter.from_zoo()(result)

    Args:
        network: with its weights; its own network for the order is not asked.
    """

    def __init__(self, network: MaskCompletionNet):
        self.network = network.eval()

    @classmethod
    def from_zoo(
        cls, name: str = model_zoo.COMPLETES_MASKS, *, device: str = "cpu"
    ) -> AmodalCompleter:
        """Return a completer with a model of the zoo.

        Args:
            name: of a `MaskCompletionNet`.
            device: "cpu" or "cuda".
        """
        return cls(model_zoo.get(name, device=device))

    @torch.inference_mode()
    def __call__(self, ordered: OrderedInstances) -> OrderedInstances:
        """Return the same with amodal masks, none smaller than its modal mask.

        Raises:
            ValueError: the instances have no order of occlusion; names the image.
        """
        if ordered.occlusion is None:
            raise ValueError(f"image {ordered.image_id!r}: without an order nothing is completed")
        said = ordered.occlusion == 1
        chances = said if ordered.occlusion_prob is None else ordered.occlusion_prob
        # An occlusion that was left out to resolve a cycle hides nothing, however likely it is.
        never = (chances > self.network.occluder_threshold) & ~said
        chances = np.where(never | np.eye(len(ordered), dtype=bool), 0.0, chances)
        return ordered.replace(amodal=self.network.complete(ordered.modal, chances))
