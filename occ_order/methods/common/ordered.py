"""Conversion between Detectron2's `Instances` and `OrderedInstances`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from occ_order import masks as mask_codec
from occ_order.instances import OrderedInstances
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER


def from_instances(
    instances: Instances,
    *,
    image_id: int | str = 0,
    category_ids: Sequence[int] | None = None,
    **more: Any,
) -> OrderedInstances:
    """Convert predicted `Instances` to `OrderedInstances`.

    Args:
        instances: pred_masks bool (N, H, W), modal masks; optional pred_amodal_masks, or
            pred_modal_masks (pred_masks are then amodal); optional pred_classes, scores, ids,
            pred_levels, and the PairMatrix fields occlusion, occlusion_probability, depth,
            depth_probability (N, N, 3: closer, farther, equal).
        image_id: as in the data set.
        category_ids: category id in the data set of each class; None keeps the class indices.
        more: additional attributes of `OrderedInstances`.
    """
    shape = (len(instances), *instances.image_size)

    def field(name: str, default: np.ndarray | None = None) -> np.ndarray | None:
        return _array(instances.get(name)) if instances.has(name) else default

    masks = _array(instances.pred_masks).reshape(shape)
    classes = field("pred_classes", np.zeros(len(instances), np.int64))
    if category_ids is not None:
        classes = np.asarray(category_ids, np.int64)[classes]
    ids, depth = field("ids"), field("depth")
    values: dict[str, Any] = {
        "modal": field("pred_modal_masks", masks),
        "amodal": field("pred_amodal_masks", masks if instances.has("pred_modal_masks") else None),
        "classes": classes,
        "scores": field("scores"),
        "ids": None if ids is None else ids.tolist(),
        "occlusion": field("occlusion"),
        "occlusion_prob": field("occlusion_probability"),
        "depth": depth,
        "depth_prob": _relation_probability(depth, field("depth_probability")),
        "levels": field("pred_levels"),
    }
    return OrderedInstances(image_id, instances.image_size, **{**values, **more})


def to_instances(ordered: OrderedInstances, size: Sequence[int] = ()) -> Instances:
    """Convert `OrderedInstances` to Detectron2's `Instances`.

    Args:
        ordered: N instances.
        size: height and width to which masks are resized (`occ_order.masks.resize_nearest`); empty
            = their own.

    Returns:
        Instances with pred_masks (modal), pred_boxes, pred_classes, scores and, if known,
        pred_amodal_masks and the PairMatrix fields occlusion, depth and occlusion_probability; ids,
        if all are integers.
    """
    size = tuple(map(int, size)) or ordered.size
    modal = np.ascontiguousarray(mask_codec.resize_nearest(ordered.modal, size))
    result = Instances(size)
    result.pred_masks = torch.from_numpy(modal)
    corners = np.array([mask_codec.bounding_box(mask) for mask in modal]).reshape(-1, 4)
    result.pred_boxes = Boxes(torch.from_numpy(corners.astype(np.float32)))
    result.pred_classes = torch.from_numpy(np.asarray(ordered.classes, np.int64))
    result.scores = torch.from_numpy(np.asarray(ordered.scores, np.float32))
    ids = np.asarray(ordered.ids)
    if ids.dtype.kind == "i":
        result.ids = torch.from_numpy(ids)
    if ordered.amodal is not None:
        amodal = np.ascontiguousarray(mask_codec.resize_nearest(ordered.amodal, size))
        result.pred_amodal_masks = torch.from_numpy(amodal)
    names = {"occlusion_probability": "occlusion_prob", "occlusion": "occlusion", "depth": "depth"}
    for name, key in names.items():
        matrix = getattr(ordered, key)
        if matrix is not None:
            fill = -1 if matrix.dtype == np.int8 else 0
            result.set(name, PairMatrix(torch.from_numpy(np.ascontiguousarray(matrix)), fill=fill))
    return result


def model_input(
    mapper: Callable[[dict[str, Any]], dict[str, Any]],
    pixels: np.ndarray,
    masks: OrderedInstances | None = None,
) -> dict[str, Any]:
    """Return the input of a network for one image outside of data sets.

    Args:
        mapper: the network's mapper for test time, without ground truth.
        pixels: uint8 (H, W, 3) RGB.
        masks: input masks with contiguous classes; None = none.

    Returns:
        The result of the mapper and, with masks, "instances", resized as the mapper did the image.
    """
    height, width = pixels.shape[:2]
    known = {"image_id": 0, "height": height, "width": width, "annotations": []}
    result = mapper({"pixels": pixels, **known})
    if masks is not None:
        result["instances"] = to_instances(masks, result["image"].shape[1:])
    return result


def _array(value: Any) -> np.ndarray:
    tensor = getattr(value, "tensor", value)
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def _relation_probability(depth: np.ndarray | None, prob: np.ndarray | None) -> np.ndarray | None:
    """Return the probability of the predicted relation of each pair, (N, N)."""
    if depth is None or prob is None:
        return None
    channel = np.select([depth == CLOSER, depth == FARTHER, depth == EQUAL], [0, 1, 2], 0)
    return np.clip(np.take_along_axis(prob, channel[..., None], axis=2)[..., 0], 0, 1)
