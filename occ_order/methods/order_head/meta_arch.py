"""GeneralizedRCNN with an order head, which can also order input masks."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import FPN, META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Instances

from occ_order.methods.common.input_masks import input_instances, with_orders

TRAINED = ("all", "order", "head")


@META_ARCH_REGISTRY.register()
class OrderRCNN(GeneralizedRCNN):
    """GeneralizedRCNN whose ROI heads have an order head (`.roi_heads`).

    It adds two things. With `given_masks`, inference detects nothing but predicts the order of the
    instances of the input and returns these, in the order of the input, with pair fields. With
    `trained`, the order head is trained alone or with the backbone.
    """

    accepts_masks = True  # read by `OrderPredictor`: input masks are allowed

    @configurable
    def __init__(self, *, trained: str = "all", given_masks: bool = False, **detector: Any) -> None:
        """Initialise the detector and freeze the parameters that are not trained.

        Args:
            trained: "all" (everything, by all losses), "order" (backbone and order head, by the
                order losses; output convolutions of an FPN that the head does not read are frozen)
                or "head" (order head only; all else is frozen and in evaluation mode).
            given_masks: at test time, order the instances of the input instead of detecting.
            detector: arguments of GeneralizedRCNN.

        Raises:
            ValueError: unknown value of `trained`.
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
        """Return the arguments of GeneralizedRCNN, MODEL.ORDER_HEAD.TRAIN and TEST.GIVEN_MASKS."""
        return {
            **super().from_config(cfg),
            "trained": cfg.MODEL.ORDER_HEAD.TRAIN,
            "given_masks": cfg.TEST.GIVEN_MASKS,
        }

    def _trained_parts(self) -> tuple[str, ...]:
        """Return prefixes of the names of the parameters that are trained."""
        parts = {"all": ("",), "order": ("backbone.", "roi_heads.order_head.")}
        return parts.get(self.trained, ("roi_heads.order_head.",))

    def _unread_outputs(self) -> tuple[str, ...]:
        """Return name prefixes of FPN outputs without gradient: the head reads one level only."""
        if self.trained != "order" or not isinstance(self.backbone, FPN):
            return ()
        level = self.roi_heads.order_head.in_feature.removeprefix("p")
        read = f"fpn_output{level}"
        names = [name for name, _ in self.backbone.named_children()]
        return tuple(
            f"backbone.{name}." for name in names if name.startswith("fpn_output") and name != read
        )

    def train(self, mode: bool = True) -> OrderRCNN:
        """Set the mode; with a frozen detector only that of the order head.

        In training mode, batch normalisation would update the statistics of the detector.
        """
        super().train(mode)
        if mode and self.trained == "head":
            for part in self.children():
                part.eval()
            self.roi_heads.order_head.train()
        return self

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Compute the losses in training, else return the results of `inference`.

        Args:
            batched_inputs: dicts as for GeneralizedRCNN; "instances" have masks and orders in
                training, and masks with `given_masks`.

        Returns:
            {name: scalar loss} in training, else one {"instances": Instances} for each input.
        """
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
        """Return detections, or with `given_masks` the input instances, with their order.

        Arguments as in GeneralizedRCNN; `detected_instances` take precedence over `given_masks`.
        """
        if self.given_masks and detected_instances is None:
            return self.order_given(batched_inputs)
        return super().inference(batched_inputs, detected_instances, do_postprocess)

    @torch.no_grad()
    def order_given(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict the order of the input instances, see `occ_order.methods.common.input_masks`.

        Args:
            batched_inputs: dicts with "image" and "instances" that have masks.

        Returns:
            One {"instances": Instances} for each input, with pair fields, at the "height" and
            "width" of the input.

        Raises:
            ValueError: an input has no instances, or they have no masks.
        """
        found = [input_instances(one, self.device) for one in batched_inputs]
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        orders = self.roi_heads.order_masks(images, features, [one.pred_masks for one in found])
        return [
            {"instances": with_orders(one, mine, fields)}
            for one, mine, fields in zip(batched_inputs, found, orders, strict=True)
        ]
