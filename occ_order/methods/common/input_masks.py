"""Input masks: instances that are the input of a network and are returned with their order.

Order networks take instances as input (ground truth, a user's masks, or detections) and return
them in the same order with pair fields. Shapes: N instances, H x W the size of the network's input.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order.masks import resize_nearest
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.common.pair_matrix import PairMatrix

PAIR_FIELDS = ("occlusion", "occlusion_probability", "depth", "depth_probability")
"""Names of the pair fields of predictions."""


def input_instances(
    inputs: dict[str, Any], device: torch.device, *, map_field: str = ""
) -> Instances:
    """Return the input instances of one image on a device.

    Args:
        inputs: an input of a Detectron2 model with `instances`: ground truth (`gt_masks`,
            `gt_classes`) or predictions (`pred_masks` bool (N, H, W), `pred_classes`, `scores`).
        device: device of the fields.
        map_field: field with a map per instance, (N, H, W); "" for none.

    Returns:
        Instances with pred_masks bool (N, H, W), modal; pred_classes int64 (N,), contiguous,
        default 0; scores float32 (N,), default 1; and, with `map_field`, maps float32 (N, H, W).

    Raises:
        ValueError: no instances, no masks, or no such map; names the image.
    """
    name = f"image {inputs.get('image_id', inputs.get('file_name', '(unnamed)'))!r}"
    if "instances" not in inputs:
        raise ValueError(
            f"{name}: the input has no 'instances'; a network for input masks needs them at test "
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
    result = Instances(tuple(masks.shape[1:]))
    result.pred_masks = masks.to(device) != 0
    result.pred_classes = torch.as_tensor(classes, dtype=torch.int64).to(device)
    result.scores = torch.as_tensor(scores, dtype=torch.float32).to(device)
    if map_field:
        if not found.has(map_field):
            raise ValueError(f"{name}: instances have no field {map_field!r} with their maps")
        result.maps = torch.as_tensor(found.get(map_field)).to(device).float()
    return result


def with_orders(
    inputs: dict[str, Any], found: Instances, orders: dict[str, torch.Tensor]
) -> Instances:
    """Return the input instances of one image as a prediction with additional fields.

    Args:
        inputs: the input of the model; masks are resized to its `height` and `width`, if it has
            them.
        found: its `input_instances`.
        orders: field -> values: pair fields (N, N, ...) if in `PAIR_FIELDS`, masks if
            bool (N, H, W), otherwise one value per instance.

    Returns:
        Instances with pred_masks (modal), pred_boxes, pred_classes, scores and the fields of
        `orders`.
    """
    height, width = found.image_size
    size = (inputs.get("height", height), inputs.get("width", width))
    result = Instances(size)
    result.pred_masks = _resized(found.pred_masks, size)
    result.pred_boxes = Boxes(mask_boxes(result.pred_masks))
    result.pred_classes = found.pred_classes
    result.scores = found.scores
    for name, value in orders.items():
        if name in PAIR_FIELDS:
            value = PairMatrix(value, fill=-1 if value.dtype == torch.int8 else 0)
        elif value.dtype == torch.bool and value.ndim == 3:
            value = _resized(value, size)
        result.set(name, value)
    return result


def _resized(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize masks by nearest-neighbour interpolation."""
    if tuple(masks.shape[1:]) == size:
        return masks
    return torch.from_numpy(resize_nearest(masks.cpu().numpy(), size)).to(masks.device)
