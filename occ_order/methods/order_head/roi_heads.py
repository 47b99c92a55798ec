"""ROI heads of Detectron2 with an order head, for all variants of Mask R-CNN.

The order head processes all instances of an image jointly. It therefore runs after non-maximum
suppression and adds pair fields to the remaining instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.structures import BitMasks, ImageList, Instances

from occ_order.methods.common.input_masks import PAIR_FIELDS
from occ_order.methods.common.order_matrices import order_losses, order_matrices, spread_orders
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.order_head.head import OrderHead
from occ_order.methods.order_head.mask_noise import MaskNoise

DETECTOR_FIELDS = ("gt_boxes", "gt_classes", "gt_masks", "gt_keypoints")
"""Fields of the ground truth that the detector's own heads use."""


if TYPE_CHECKING:  # the base class that the mixin is combined with
    from detectron2.modeling.roi_heads import StandardROIHeads as _Heads
else:
    _Heads = object


class OrderMixin(_Heads):
    """Mixin that adds an order head to the ROI heads that follow it in the base classes.

    In training there are two additional losses, `loss_order_occlusion` and `loss_order_depth`,
    computed for ground-truth masks. At test time the instances get the PairMatrix fields
    `occlusion` (int8), `occlusion_probability`, `depth` (int8) and `depth_probability` (N, N, 3);
    instances with a score below the threshold have order -1 and probability 0 with all others.
    """

    @configurable
    def __init__(
        self,
        *,
        order_head: OrderHead,
        mask_noise: MaskNoise | None = None,
        order_loss_weights: tuple[float, float] = (1.0, 1.0),
        depth_loss_weights: tuple[float, float] = (0.9, 0.1),
        order_score_thresh: float = 0.5,
        occlusion_threshold: float = 0.5,
        **detector: Any,
    ) -> None:
        """Initialise the ROI heads and the order head.

        Args:
            order_head: predicts the order of masks.
            mask_noise: augmentation of masks in training; None = off.
            order_loss_weights: weights of the occlusion and the depth loss.
            depth_loss_weights: weights of distinct and overlapping pairs.
            order_score_thresh: instances with a lower score get no order.
            occlusion_threshold: threshold of the occlusion probability.
            detector: arguments of the ROI heads.
        """
        super().__init__(**detector)
        self.order_head, self.mask_noise = order_head, mask_noise or MaskNoise()
        self.order_loss_weights = tuple(order_loss_weights)
        distinct, overlapping = depth_loss_weights
        self.depth_loss_weights = (distinct, overlapping)
        self.order_score_thresh = order_score_thresh
        self.occlusion_threshold = occlusion_threshold

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape) -> dict[str, Any]:
        """Read MODEL.ORDER_HEAD and the keys of the ROI heads."""
        own = cfg.MODEL.ORDER_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "order_head": OrderHead(cfg, input_shape),
            "mask_noise": MaskNoise(own.MASK_NOISE, own.MASK_DROP),
            "order_loss_weights": (own.OCCLUSION_LOSS_WEIGHT, own.DEPTH_LOSS_WEIGHT),
            "depth_loss_weights": own.DEPTH_LOSS_WEIGHTS,
            "order_score_thresh": own.SCORE_THRESH,
            "occlusion_threshold": own.OCCLUSION_THRESHOLD,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Run the ROI heads and predict the order of all pairs."""
        if self.training:
            assert targets is not None
            plain = [_detector_targets(one) for one in targets]
            proposals, losses = super().forward(images, features, proposals, plain)
            return proposals, {**losses, **self.order_losses(images, features, targets)}
        instances, losses = super().forward(images, features, proposals, targets)
        return self.order_detections(images, features, instances), losses

    def order_losses(
        self, images: ImageList, features: dict[str, torch.Tensor], targets: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """Compute the two losses of the order head for ground-truth masks.

        Args:
            images: padded batch.
            features: features of the backbone.
            targets: ground truth with gt_masks and the PairMatrix fields gt_occlusion, gt_depth and
                gt_overlap; -1 is ignored.
        """
        targets = [self.mask_noise.drop(one) for one in targets]
        masks = [self.mask_noise(_bit_masks(one)) for one in targets]
        occludes, closer, layout = self.order_head(
            images.tensor, images.image_sizes, features, masks
        )
        occlusion, depth = order_losses(
            occludes, closer, layout, targets, depth_weights=self.depth_loss_weights
        )
        return {
            "loss_order_occlusion": occlusion * self.order_loss_weights[0],
            "loss_order_depth": depth * self.order_loss_weights[1],
        }

    def order_masks(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        masks: Sequence[torch.Tensor],
    ) -> list[dict[str, torch.Tensor]]:
        """Predict the orders of masks.

        Args:
            images: padded batch.
            features: features of the backbone.
            masks: bool (N, H, W) for each image, at its size without padding.

        Returns:
            For each image the pair fields: "occlusion" and "depth" int8 (N, N),
            "occlusion_probability" float32 (N, N) and "depth_probability" (N, N, 3).
        """
        logits = self.order_head(images.tensor, images.image_sizes, features, masks)
        return order_matrices(*logits, threshold=self.occlusion_threshold)

    def order_detections(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        instances: Sequence[Instances],
    ) -> list[Instances]:
        """Add the pair fields to detections, whose pred_masks are relative to their boxes."""
        kept = [one.scores >= self.order_score_thresh for one in instances]
        masks = [_pasted(one[keep]) for one, keep in zip(instances, kept, strict=True)]
        found = self.order_masks(images, features, masks)
        for one, keep, orders in zip(instances, kept, found, strict=True):
            _set_orders(one, spread_orders(orders, keep))
        return list(instances)


@ROI_HEADS_REGISTRY.register()
class OrderROIHeads(OrderMixin, StandardROIHeads):
    """ROI heads of Mask R-CNN with FPN or DC5, and order head."""


@ROI_HEADS_REGISTRY.register()
class CascadeOrderROIHeads(OrderMixin, CascadeROIHeads):
    """ROI heads of Cascade Mask R-CNN, and order head."""


@ROI_HEADS_REGISTRY.register()
class Res5OrderROIHeads(OrderMixin, Res5ROIHeads):
    """ROI heads of Mask R-CNN with C4, and order head."""


def _detector_targets(targets: Instances) -> Instances:
    """Remove the fields of the order head, which would be copied for every proposal."""
    fields = {name: targets.get(name) for name in DETECTOR_FIELDS if targets.has(name)}
    return Instances(targets.image_size, **fields)


def _bit_masks(instances: Instances) -> torch.Tensor:
    """Return pred_masks, or gt_masks if there are none, as bool (N, H, W)."""
    masks = instances.get("pred_masks" if instances.has("pred_masks") else "gt_masks")
    if isinstance(masks, torch.Tensor):
        return masks.bool()
    if not isinstance(masks, BitMasks):
        masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
    return masks.tensor


def _pasted(instances: Instances) -> torch.Tensor:
    """Paste the masks of detections into the image, bool (N, H, W).

    Raises:
        ValueError: the detections have no masks.
    """
    if not instances.has("pred_masks"):
        raise ValueError("the order head needs pred_masks of detections: set MODEL.MASK_ON True")
    boxes, small = instances.pred_boxes.tensor, instances.pred_masks[:, 0]
    return paste_masks_in_image(small, boxes, instances.image_size, threshold=0.5).bool()


def _set_orders(instances: Instances, orders: dict[str, torch.Tensor]) -> None:
    for name in PAIR_FIELDS:
        values = orders[name]
        instances.set(name, PairMatrix(values, fill=-1 if values.dtype == torch.int8 else 0))
