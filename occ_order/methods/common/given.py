"""Input masks: instances that are the input of a network and are returned with their order.

Order networks take instances as input (ground truth, a user's masks, or detections) and return
them in the same order with pair fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order.masks import resize_nearest
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.common.pair_matrix import PairMatrix

PAIR_FIELDS = ("occlusion", "occlusion_probability", "depth", "depth_probability")
"""Names of the pair fields of predictions."""


@dataclass
class GivenInstances:
    """Input instances of one image. Shapes: N instances, H x W the size of the network's input.

    Attributes:
        masks: bool (N, H, W), modal.
        classes: int64 (N,), contiguous.
        scores: float32 (N,); 1 for ground truth.
        maps: float32 (N, H, W), an additional map per instance, or None.
    """

    masks: torch.Tensor
    classes: torch.Tensor
    scores: torch.Tensor
    maps: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.masks)


def given_instances(
    inputs: dict[str, Any], device: torch.device, *, map_field: str = ""
) -> GivenInstances:
    """Read the input instances of one image.

    Args:
        inputs: an input of a Detectron2 model with `instances`: ground truth (`gt_masks`,
            `gt_classes`) or predictions (`pred_masks` bool (N, H, W), `pred_classes`, `scores`).
        device: device of the returned tensors.
        map_field: field with a map per instance, (N, H, W); "" for none.

    Raises:
        ValueError: no instances, no masks, or no such map; names the image.
    """
    name = f"image {inputs.get('image_id', inputs.get('file_name', '(unnamed)'))!r}"
    if "instances" not in inputs:
        raise ValueError(
            f"{name}: the input has no 'instances'; a network for given masks needs them at test "
            "time as well (INPUT.KEEP_GROUND_TRUTH True)"
        )
    found = inputs["instances"]
    prefix = "pred" if found.has("pred_masks") else "gt"
    if not found.has(f"{prefix}_masks"):
        raise ValueError(f"{name}: instances have neither 'pred_masks' nor 'gt_masks'")
    masks = found.get(f"{prefix}_masks")
    if not isinstance(masks, torch.Tensor):
        if not isinstance(masks, BitMasks):
            masks = BitMasks.from_polygon_masks(masks, *found.image_size)
        masks = masks.tensor
    count = len(masks)
    classes = found.get(f"{prefix}_classes") if found.has(f"{prefix}_classes") else [0] * count
    scores = found.scores if found.has("scores") else torch.ones(count)
    maps = None
    if map_field:
        if not found.has(map_field):
            raise ValueError(f"{name}: instances have no field {map_field!r} with their maps")
        maps = torch.as_tensor(found.get(map_field)).to(device).float()
    return GivenInstances(
        masks.to(device) != 0,
        torch.as_tensor(classes, dtype=torch.int64).to(device),
        torch.as_tensor(scores, dtype=torch.float32).to(device),
        maps,
    )


def with_orders(
    given: GivenInstances, orders: dict[str, torch.Tensor], *, height: int, width: int
) -> Instances:
    """Return the input instances as a prediction with the given fields.

    Args:
        given: N instances.
        orders: field -> values: pair fields (N, N, ...) if in `PAIR_FIELDS`, masks if
            bool (N, H, W), otherwise one value per instance.
        height, width: size of the output image, to which masks are resized.

    Returns:
        Instances with pred_masks (modal), pred_boxes, pred_classes, scores and the given fields.
    """
    result = Instances((height, width))
    result.pred_masks = _fit(given.masks, height, width)
    result.pred_boxes = Boxes(mask_boxes(result.pred_masks))
    result.pred_classes = given.classes
    result.scores = given.scores
    for name, value in orders.items():
        if name in PAIR_FIELDS:
            value = PairMatrix(value, fill=-1 if value.dtype == torch.int8 else 0)
        elif value.dtype == torch.bool and value.ndim == 3:
            value = _fit(value, height, width)
        result.set(name, value)
    return result


def _fit(masks: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize masks by nearest-neighbour interpolation."""
    if tuple(masks.shape[1:]) == (height, width):
        return masks
    moved = [resize_nearest(mask, (height, width)) for mask in masks.cpu().numpy()]
    stack = np.stack(moved) if moved else np.zeros((0, height, width), bool)
    return torch.from_numpy(stack).to(masks.device)
