"""Detectron2's two-stage detector with two more ways to use its order head."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import FPN, META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Instances

from occ_order.methods.common.given import given_instances, with_orders

TRAINED = ("all", "order", "head")


@META_ARCH_REGISTRY.register()
class OrderRCNN(GeneralizedRCNN):
    """A detector whose ROI heads have an order head (`occ_order.methods.order_head.roi_heads`).

    Beside what GeneralizedRCNN does, it orders given masks (`given_masks`: the instances of the
    input come back in their order, with pair fields; nothing is detected), and it trains the order
    head alone or with the backbone.
    """

    accepts_masks = True  # of `OrderPredictor`

    @configurable
    def __init__(self, *, trained: str = "all", given_masks: bool = False, **detector: Any) -> None:
        """Builds it.

        Args:
            trained: "all", "order" (backbone and order head, by the losses of orders; outputs of
                a feature pyramid that the head does not read stay) or "head" (order head only;
                everything else is as in evaluation and does not change).
            given_masks: at test time order the instances of the input.
            detector: arguments of GeneralizedRCNN.

        Raises:
            ValueError: `trained` is none of these.
        """
        super().__init__(**detector)
        if trained not in TRAINED:
            raise ValueError(f"MODEL.ORDER_HEAD.TRAIN must be one of {TRAINED}, got {trained!r}")
        self.trained, self.given_masks = trained, given_masks
        unread = self._unread_outputs()
        for name, parameter in self.named_parameters():
            if not name.startswith(self._trained_parts()) or name.startswith(unread):
                parameter.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """MODEL.ORDER_HEAD.TRAIN and TEST.GIVEN_MASKS, beside what GeneralizedRCNN reads."""
        return {
            **super().from_config(cfg),
            "trained": cfg.MODEL.ORDER_HEAD.TRAIN,
            "given_masks": cfg.TEST.GIVEN_MASKS,
        }

    def _trained_parts(self) -> tuple[str, ...]:
        parts = {"all": ("",), "order": ("backbone.", "roi_heads.order_head.")}
        return parts.get(self.trained, ("roi_heads.order_head.",))

    def _unread_outputs(self) -> tuple[str, ...]:
        """Outputs of a feature pyramid that no loss of orders sees: the head reads one level."""
        if self.trained != "order" or not isinstance(self.backbone, FPN):
            return ()
        level = self.roi_heads.order_head.in_feature.removeprefix("p")
        read = f"fpn_output{level}"
        names = [name for name, _ in self.backbone.named_children()]
        return tuple(
            f"backbone.{name}." for name in names if name.startswith("fpn_output") and name != read
        )

    def train(self, mode: bool = True) -> OrderRCNN:
        """As usual, but a detector that must not change keeps its batch statistics as well."""
        super().train(mode)
        if mode and self.trained == "head":
            for part in self.children():
                part.eval()
            self.roi_heads.order_head.train()
        return self

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Losses in training, else one {"instances"} for each input."""
        if not self.training:
            return self.inference(batched_inputs)
        if self.trained == "all":
            return super().forward(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        with torch.set_grad_enabled(self.trained == "order"):
            features = self.backbone(images.tensor)
        targets = [one["instances"].to(self.device) for one in batched_inputs]
        return self.roi_heads.order_losses(images, features, targets)

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]] | list[Instances]:
        """Detections with their orders, or the given instances with theirs."""
        if self.given_masks and detected_instances is None:
            return self.order_given(batched_inputs)
        return super().inference(batched_inputs, detected_instances, do_postprocess)

    @torch.no_grad()
    def order_given(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Orders the instances of the inputs (`occ_order.methods.common.given`).

        Raises:
            ValueError: an input has no instances, or they have no masks.
        """
        given = [given_instances(one, self.device) for one in batched_inputs]
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        orders = self.roi_heads.order_masks(images, features, [one.masks for one in given])
        results = []
        for one, mine, fields in zip(batched_inputs, given, orders, strict=True):
            height, width = mine.masks.shape[1:]
            size = {"height": one.get("height", height), "width": one.get("width", width)}
            results.append({"instances": with_orders(mine, fields, **size)})
        return results
