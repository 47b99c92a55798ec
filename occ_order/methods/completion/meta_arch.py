"""The Detectron2 model that completes given masks behind what hides them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import nn

from occ_order.methods.common.given import PAIR_FIELDS, given_instances, with_orders
from occ_order.methods.completion import amodal, views
from occ_order.methods.completion.losses import hidden_part_loss
from occ_order.methods.completion.network import CompletionUNet


@META_ARCH_REGISTRY.register()
class MaskCompletionNet(nn.Module):
    """Completes the given instances of an image behind those that occlude them.

    In training the inputs have `completion` of `MaskCompletionMapper`; the result is
    {"loss_hidden", "loss_overlap"}. At test time it is {"instances"} for each image, and what else
    the network for the order says: the given instances with `pred_amodal_masks` bool (N, H, W) and
    the order that was used. An amodal mask is the modal mask and what lies behind an occluder;
    never is it smaller than the modal mask.
    """

    requires_masks = accepts_masks = True  # of `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        network: CompletionUNet,
        settings: amodal.Settings = amodal.Settings(),  # noqa: B008  (cannot be changed)
        overlap_weight: float = 0.5,
        order: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            network: says where an instance is in a view.
            settings: of the views, and of what the answer means.
            overlap_weight: of the loss of overlaps.
            order: (uint8 (H, W, 3) image, bool (N, H, W) masks) -> {"instances"} with their order;
                None = the input's instances have it.
        """
        super().__init__()
        self.network, self.settings = network, settings
        self.overlap_weight, self.order = overlap_weight, order

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """MODEL.COMPLETION."""
        own = cfg.MODEL.COMPLETION
        return {
            "network": CompletionUNet(own.WIDTHS),
            "settings": amodal.Settings(
                size=own.VIEW_SIZE,
                reach=own.REACH,
                margin=own.MARGIN,
                occluder_threshold=own.OCCLUDER_THRESHOLD,
                threshold=own.THRESHOLD,
            ),
            "overlap_weight": own.OVERLAP_LOSS_WEIGHT,
        }

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.last.weight.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Losses in training, else a dictionary for each input; see the class.

        Raises:
            ValueError: an input has no instances, or they have no masks or no order.
        """
        if self.training:
            return self._losses(batched_inputs)
        with torch.no_grad():
            return [self._predict(one) for one in batched_inputs]

    def _losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        samples = torch.cat([one["completion"] for one in batched_inputs]).to(self.device)
        seen, (target, known) = samples[:, : views.CHANNELS], samples[:, views.CHANNELS :].unbind(1)
        visible = seen[:, 0].flatten(1).sum(1)
        hidden, overlap = hidden_part_loss(self.network(seen), target, known, visible)
        return {"loss_hidden": hidden, "loss_overlap": self.overlap_weight * overlap}

    def _predict(self, one: dict[str, Any]) -> dict[str, Any]:
        given = given_instances(one, self.device)
        modal = given.masks.cpu().numpy()
        said = self._order_of(one, modal)
        fields = _pair_fields(said["instances"], one)
        whole = self.complete(modal, _chances(fields))
        fields["pred_amodal_masks"] = torch.from_numpy(whole).to(self.device)
        height, width = modal.shape[1:]
        size = {"height": one.get("height", height), "width": one.get("width", width)}
        return {**said, "instances": with_orders(given, fields, **size)}

    def _order_of(self, one: dict[str, Any], modal: np.ndarray) -> dict[str, Any]:
        """Return {"instances"} with an order, and any other output of the order network."""
        if self.order is None:
            return {"instances": one["instances"]}
        image = np.ascontiguousarray(one["image"].permute(1, 2, 0).cpu().numpy())
        return dict(self.order(image, modal))

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Return the amodal masks of one image, bool (N, H, W); see `amodal.complete`."""
        return amodal.complete(modal, chances, self.logits, self.settings)

    @torch.no_grad()
    def logits(self, view: np.ndarray) -> np.ndarray:
        """Return float32 (S, S) of one view, float32 (channels, S, S)."""
        return self.network(torch.from_numpy(view)[None].to(self.device))[0].cpu().numpy()


def _pair_fields(found: Instances, one: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the annotated or else predicted order of instances, by field.

    Raises:
        ValueError: they have no occlusion; names the image.
    """
    prefix = "gt_" if found.has("gt_occlusion") else ""
    if not found.has(f"{prefix}occlusion"):
        raise ValueError(
            f"image {one.get('image_id', '(unnamed)')!r}: the instances have no occlusion, and no "
            "network tells it (META_ARCHITECTURE completion_with_order has one)"
        )
    names = [name for name in PAIR_FIELDS if found.has(prefix + name)]
    fields = {name: found.get(prefix + name).tensor for name in names}
    if found.has("relative_depth"):
        fields["relative_depth"] = found.relative_depth
    return fields


def _chances(fields: dict[str, torch.Tensor]) -> np.ndarray:
    """Return float (N, N), the probability of each occlusion."""
    chances = fields.get("occlusion_probability", fields["occlusion"] == 1)
    return chances.cpu().numpy().astype(float)
