"""Mask R-CNN of one class with mirroring at test time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Boxes, Instances

from occ_order.methods.segmenter.mirrored import Boxed, merged, mirrored


@META_ARCH_REGISTRY.register()
class MirroredRCNN(GeneralizedRCNN):
    """Mask R-CNN of one class, which also sees the mirror image at test time.

    Trains as Detectron2's GeneralizedRCNN, with the same names in its checkpoints. At test time the
    detections of the image and of its mirror image are merged (`.mirrored`).
    """

    @configurable
    def __init__(self, **rest: Any) -> None:
        """Initialise GeneralizedRCNN.

        Raises:
            ValueError: several classes, no masks, or any number of detections.
        """
        super().__init__(**rest)
        heads = self.roi_heads
        if heads.num_classes != 1 or not heads.mask_on:
            raise ValueError(
                f"MirroredRCNN needs masks and one class, got {heads.num_classes} classes, "
                f"masks {heads.mask_on}"
            )
        self.most = heads.box_predictor.test_topk_per_image
        if self.most < 0:
            raise ValueError("MirroredRCNN needs TEST.DETECTIONS_PER_IMAGE of at least 0")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the keys of GeneralizedRCNN."""
        return super().from_config(cfg)

    @torch.no_grad()
    def inference(
        self,
        batched_inputs: list[dict[str, torch.Tensor]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Return the detections; arguments as in `GeneralizedRCNN.inference`."""
        if detected_instances is not None:
            return super().inference(batched_inputs, detected_instances, do_postprocess)
        other = [{**one, "image": one["image"].flip(-1)} for one in batched_inputs]
        found = [
            self._merged(*pair)
            for pair in zip(
                super().inference(batched_inputs, None, False),
                super().inference(other, None, False),
                strict=True,
            )
        ]
        if not do_postprocess:
            return found
        sizes = [one.image_size for one in found]
        return GeneralizedRCNN._postprocess(found, batched_inputs, sizes)

    def _merged(self, first: Instances, second: Instances) -> Instances:
        here, there = _boxed(first), _boxed(second)
        there = mirrored(there, first.image_size[1])
        boxes, scores, masks = merged(here, there, most=self.most)
        device = first.scores.device
        result = Instances(first.image_size)
        result.pred_boxes = Boxes(torch.from_numpy(boxes).to(device))
        result.scores = torch.from_numpy(scores).to(device)
        result.pred_classes = torch.zeros(len(scores), dtype=torch.int64, device=device)
        result.pred_masks = torch.from_numpy(np.ascontiguousarray(masks))[:, None].to(device)
        return result


def _boxed(found: Instances) -> Boxed:
    """Return the detections before they are pasted as arrays."""
    return Boxed(
        found.pred_boxes.tensor.float().cpu().numpy(),
        found.scores.float().cpu().numpy(),
        found.pred_masks[:, 0].float().cpu().numpy(),
    )
