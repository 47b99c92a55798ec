"""The baselines of Section 5.2: any instance segmentation, then any order between its masks.

`occ_order.engine.detector_order` builds the two networks from settings.
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
    """A forward hook: the instances that a detector has found get the fields of an order network.

    A hook and not a module around the detector, so that the detector's checkpoints fit as they are.
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
        """Keep the parts.

        Args:
            order: orders given masks: a list of {"image", "instances", "height", "width"} to a
                list of {"instances"} in the same order (`occ_order.methods.instaorder`).
            masks: "instances", or "panoptic" for the things of `panoptic_seg`.
            min_score: detections below are dropped.
            exclusive: duplicates are dropped, pixels that several detections claim go to the
                smallest, and detections that keep less than this share of theirs are dropped
                (`occ_order.masks.exclusive`); 0 = masks stay as they are.
            reverse_channels: whether the order network wants RGB and gets BGR, or the reverse.

        Raises:
            ValueError: another kind of masks.
        """
        if masks not in MASKS:
            raise ValueError(f"MODEL.DETECTOR_ORDER.MASKS: got {masks!r}, expected one of {MASKS}")
        self.order, self.masks, self.min_score = order.eval(), masks, min_score
        self.exclusive, self.reverse_channels = exclusive, reverse_channels

    @torch.no_grad()
    def __call__(
        self, detector: nn.Module, arguments: tuple, outputs: Any
    ) -> list[dict[str, Any]] | None:
        """Add the order to the results of a detector that is not being trained."""
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
    """Return things of a panoptic segmentation as instances, best first; score 1 where it has none.

    Args:
        output: with "panoptic_seg": (H, W) integer map, list of segments.

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
