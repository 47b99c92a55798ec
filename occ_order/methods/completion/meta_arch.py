"""Meta-architecture of MaskCompletionNet, the amodal completion of input masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import nn

from occ_order.methods.common.input_masks import PAIR_FIELDS, input_instances, with_orders
from occ_order.methods.completion import amodal, views
from occ_order.methods.completion.losses import hidden_part_loss
from occ_order.methods.completion.network import CompletionUNet


@META_ARCH_REGISTRY.register()
class MaskCompletionNet(nn.Module):
    """Predicts the amodal masks of input masks from their occlusion order.

    In training the inputs have `completion` from `MaskCompletionMapper`; the result is
    {"loss_hidden", "loss_overlap"}. At test time the result is {"instances"} for each image, and
    any other output of the order network: the input instances with `pred_amodal_masks`
    bool (N, H, W) and the order that was used. An amodal mask is the modal mask, extended behind
    the occluders.
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        network: CompletionUNet,
        settings: amodal.Settings = amodal.Settings(),  # noqa: B008  (immutable)
        overlap_weight: float = 0.5,
        order: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        """Initialise the model.

        Args:
            network: predicts the amodal mask in a view.
            settings: settings of the views and thresholds.
            overlap_weight: weight of the overlap loss.
            order: order network, (image uint8 (H, W, 3), masks bool (N, H, W)) -> {"instances"}
                with their order; None = the order is a field of the input instances.
        """
        super().__init__()
        self.network, self.settings = network, settings
        self.overlap_weight, self.order = overlap_weight, order

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.COMPLETION."""
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
        """Device of the model."""
        return self.network.last.weight.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return losses in training, otherwise one dict per input; see the class docstring.

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
        found = input_instances(one, self.device)
        modal = found.pred_masks.cpu().numpy()
        said = self._order_of(one, modal)
        fields = _pair_fields(said["instances"], one)
        whole = self.complete(modal, _chances(fields))
        fields["pred_amodal_masks"] = torch.from_numpy(whole).to(self.device)
        return {**said, "instances": with_orders(one, found, fields)}

    def _order_of(self, one: dict[str, Any], modal: np.ndarray) -> dict[str, Any]:
        """Return {"instances"} with their order, and any other output of the order network."""
        if self.order is None:
            return {"instances": one["instances"]}
        image = np.ascontiguousarray(one["image"].permute(1, 2, 0).cpu().numpy())
        return dict(self.order(image, modal))

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Return the amodal masks of one image, bool (N, H, W); see `amodal.complete`."""
        return amodal.complete(modal, chances, self.logits, self.settings)

    @torch.no_grad()
    def logits(self, view: np.ndarray) -> np.ndarray:
        """Compute the logits, float32 (S, S), of one view, float32 (channels, S, S)."""
        return self.network(torch.from_numpy(view)[None].to(self.device))[0].cpu().numpy()


def _pair_fields(found: Instances, one: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the ground-truth order of instances, or else the predicted one, as field -> tensor.

    Raises:
        ValueError: they have no occlusion order; names the image.
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
    """Return the occlusion probabilities, float (N, N)."""
    chances = fields.get("occlusion_probability", fields["occlusion"] == 1)
    return chances.cpu().numpy().astype(float)
