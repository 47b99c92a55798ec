"""The baselines of Section 5.2: instance segmentation followed by order prediction of its masks.

`occ_order.engine.detector_order` builds both networks from a config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.structures import BitMasks, Instances
from torch import nn

from occ_order.masks import exclusive

MASKS = ("instances", "panoptic")


class AddOrder:
    """Forward hook that adds the predictions of an order network to those of a detector.

    A hook, because a module around the detector would change the names in its checkpoints.
    """

    def __init__(
        self,
        order: nn.Module,
        *,
        masks: str = "instances",
        min_score: float = 0.0,
        exclusive: float = 0.0,
        reverse_channels: bool = False,
    ) -> None:
        """Initialise the hook.

        Args:
            order: order network with input masks: maps a list of {"image", "instances", "height",
                "width"} to a list of {"instances"} (`occ_order.methods.instaorder`).
            masks: "instances", or "panoptic" for the thing segments of `panoptic_seg`.
            min_score: score threshold of detections.
            exclusive: remove duplicates, assign pixels of several detections to the smallest, and
                remove detections that keep less than this fraction of their pixels
                (`occ_order.masks.exclusive`); 0 = off.
            reverse_channels: swap RGB and BGR of the image for the order network.

        Raises:
            ValueError: unknown value of `masks`.
        """
        if masks not in MASKS:
            raise ValueError(f"MODEL.DETECTOR_ORDER.MASKS: got {masks!r}, expected one of {MASKS}")
        self.order, self.masks, self.min_score = order.eval(), masks, min_score
        self.exclusive, self.reverse_channels = exclusive, reverse_channels

    @torch.no_grad()
    def __call__(
        self, detector: nn.Module, arguments: tuple, outputs: Any
    ) -> list[dict[str, Any]] | None:
        """Add the order to the results of a detector in evaluation mode."""
        if detector.training:
            return None
        pairs = zip(arguments[0], outputs, strict=True)
        return [{**output, "instances": self._ordered(one, output)} for one, output in pairs]

    def _ordered(self, one: Mapping[str, Any], output: Mapping[str, Any]) -> Instances:
        found = output["instances"] if self.masks == "instances" else things_of(output)
        found = found[found.scores >= self.min_score].to("cpu")
        if self.exclusive:
            found = self._exclusive(found)
        height, width = found.image_size
        image = one["image"].float()
        if image.shape[-2:] != (height, width):
            image = nn.functional.interpolate(
                image[None], (height, width), mode="bilinear", align_corners=False
            )[0]
        if self.reverse_channels:
            image = image.flip(0)
        given = {**one, "image": image, "instances": found, "height": height, "width": width}
        ordered = self.order([given])[0]["instances"].to("cpu")
        for name in ("occlusion", "occlusion_probability", "depth", "depth_probability"):
            if ordered.has(name):
                found.set(name, ordered.get(name))
        return found

    def _exclusive(self, found: Instances) -> Instances:
        masks = found.pred_masks.numpy().copy()
        kept = exclusive(masks, found.scores.numpy(), least=self.exclusive)
        found = found[torch.tensor(kept, dtype=torch.int64)]
        found.pred_masks = torch.from_numpy(masks[kept])
        return found


def things_of(output: Mapping[str, Any]) -> Instances:
    """Return the thing segments of a panoptic segmentation, by descending score (default 1).

    Args:
        output: "panoptic_seg" is an integer map (H, W) and a list of segments.

    Returns:
        Instances with pred_masks bool (N, H, W), pred_classes, scores, pred_boxes.
    """
    panoptic, segments = output["panoptic_seg"]
    things = [segment for segment in segments if segment["isthing"]]
    things.sort(key=lambda segment: -segment.get("score", 1.0))
    masks = [panoptic == segment["id"] for segment in things]
    shape = (0, *panoptic.shape)
    found = Instances(tuple(panoptic.shape))
    found.pred_masks = torch.stack(masks) if masks else panoptic.new_zeros(shape).bool()
    found.pred_classes = torch.tensor([s["category_id"] for s in things], dtype=torch.int64)
    found.scores = torch.tensor([s.get("score", 1.0) for s in things], dtype=torch.float32)
    found.pred_boxes = BitMasks(found.pred_masks).get_bounding_boxes()
    return found
