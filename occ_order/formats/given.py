"""Masks of one image as other programs hold them in memory, as :class:`OrderedInstances`.

====================================  =====================================================
array or tensor                       (N, H, W) or (N, 1, H, W), two-valued or probabilities;
                                      bool (H, W) one mask; integers (H, W) a label map
list                                  of masks (H, W), of COCO run lengths, of polygons, of
                                      dictionaries with a "segmentation", as SAM gives them
path                                  what :mod:`occ_order.formats.user_masks` reads
Detectron2                            `Instances`, or the dictionary that holds "instances"
torchvision                           {"masks", "labels", "scores"}
transformers                          {"segmentation", "segments_info"}, post-processed
supervision                           `Detections`
ultralytics                           `Results`
====================================  =====================================================

Probabilities are cut at 0.5. Other numbers have to be two-valued, 0 and one more, or they are
refused. None of these libraries is imported: their objects are known by what they have.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from occ_order import masks as mask_codec
from occ_order.formats.checks import size_mismatch
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.instances import OrderedInstances

CUT = 0.5
"""Probability above which a pixel is inside."""

_KNOWN = (
    "an array (N, H, W), a label map (H, W), a list of masks, run lengths or polygons, a file, or "
    "what Detectron2, torchvision, transformers, supervision, SAM or ultralytics give"
)


def as_instances(
    masks: Any, size: tuple[int, int], *, image_name: str | None = None
) -> OrderedInstances:
    """Return masks of one image, whatever holds them.

    Args:
        masks: see the head of this module, or instances already.
        size: (H, W) of the image.
        image_name: file name of the image, to find it in a file about several.

    Returns:
        The instances, without an order unless they have one. Ids are those of the source, the
        values of a label map, or 1 .. N.

    Raises:
        ValueError: nothing of these; another size than the image; numbers that are neither
            probabilities nor two-valued; a damaged mask.
        OSError: a file cannot be read.
    """
    size = (int(size[0]), int(size[1]))
    if isinstance(masks, str | os.PathLike):
        path = masks if image_name is None else masks_file(masks, image_name)
        return load_masks(path, size, image_name=image_name)
    if isinstance(masks, OrderedInstances):
        found = masks
    elif isinstance(masks, Mapping):
        found = _from_mapping(masks, size)
    elif hasattr(masks, "get_fields") and hasattr(masks, "image_size"):
        found = _from_detectron2(masks, size)
    elif hasattr(masks, "confidence") and hasattr(masks, "class_id"):
        found = _from_supervision(masks, size)
    elif hasattr(masks, "masks") and hasattr(masks, "boxes"):
        found = _from_ultralytics(masks, size)
    elif isinstance(masks, Sequence) and not isinstance(masks, bytes):
        found = _from_list(masks, size)
    elif hasattr(masks, "shape"):
        found = _from_array(_array(masks), size)
    else:
        raise ValueError(f"masks may be {_KNOWN}; got {type(masks).__name__}")
    if found.size != size:
        raise ValueError(f"masks: {size_mismatch(found.size, size)}")
    return found


def inside(values: np.ndarray, *, name: str = "masks") -> np.ndarray:
    """Return which pixels are inside: bool of the same shape.

    Args:
        values: bool; floats in [0, 1], probabilities, cut at `CUT`; or numbers of two values, one
            of them 0.
        name: what to call it in errors.

    Raises:
        ValueError: anything else.
    """
    if values.dtype == bool or not values.size:
        return values.astype(bool)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers, got {values.dtype}")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return values > CUT
    if low < 0 or not ((values == 0) | (values == high)).all():
        raise ValueError(
            f"{name}: numbers from {low} to {high} are neither probabilities nor two-valued; a "
            "label map is (H, W)"
        )
    return values > 0


def _array(value: Any) -> np.ndarray:
    """An array, from a tensor of whatever device, too."""
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    return np.asarray(value)


def _stack(value: Any, size: tuple[int, int], *, name: str = "masks") -> np.ndarray:
    """bool (N, H, W) from (N, H, W) or (N, 1, H, W)."""
    stack = _array(value)
    if stack.ndim == 4 and stack.shape[1] == 1:
        stack = stack[:, 0]
    if stack.ndim != 3 or stack.shape[1:] != size:
        raise ValueError(
            f"{name} must be (N, {size[0]}, {size[1]}) as the image is, got {stack.shape}"
        )
    return inside(stack, name=name)


def _column(value: Any, kind: type) -> np.ndarray | None:
    return None if value is None else _array(value).astype(kind)


def _made(
    size: tuple[int, int],
    modal: np.ndarray,
    *,
    classes: Any = None,
    scores: Any = None,
    names: Any = None,
    ids: Any = None,
) -> OrderedInstances:
    return OrderedInstances(
        0,
        size,
        modal,
        classes=_column(classes, np.int64),
        scores=_column(scores, np.float64),
        names=None if names is None else tuple(map(str, names)),
        ids=None if ids is None else tuple(ids),
    )


def _from_array(values: np.ndarray, size: tuple[int, int]) -> OrderedInstances:
    if values.ndim != 2 or values.dtype == bool:
        stack = values[None] if values.ndim == 2 else values
        return _made(size, _stack(stack, size))
    if values.dtype.kind not in "iu":
        raise ValueError(f"a label map has whole numbers, got {values.dtype} {values.shape}")
    if values.shape != size:
        raise ValueError(f"label map: {size_mismatch(values.shape, size)}")
    return _from_labels(values, size)


def _from_labels(labels: np.ndarray, size: tuple[int, int]) -> OrderedInstances:
    known = [int(label) for label in np.unique(labels) if label > 0]
    stack = np.zeros((len(known), *size), bool)
    for k, label in enumerate(known):
        stack[k] = labels == label
    return _made(size, stack, ids=known)


def _from_list(items: Sequence[Any], size: tuple[int, int]) -> OrderedInstances:
    stack = np.zeros((len(items), *size), bool)
    entries = [item if isinstance(item, Mapping) else {"segmentation": item} for item in items]
    entries = [{"segmentation": e} if "counts" in e else e for e in entries]
    for k, entry in enumerate(entries):
        if "segmentation" not in entry:
            raise ValueError(f"mask {k}: has no 'segmentation', its keys are {sorted(entry)}")
        stack[k] = _one(entry["segmentation"], size, f"mask {k}")
    scores = [e.get("score", e.get("predicted_iou", 1.0)) for e in entries]
    numbers = [e.get("id", k + 1) for k, e in enumerate(entries)]
    classes = [e.get("category_id", 1) for e in entries]
    names = [e.get("category", e.get("name", "")) for e in entries]
    return _made(
        size,
        stack,
        scores=scores,
        ids=numbers,
        classes=classes,
        names=names if any(names) else None,
    )


def _one(mask: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """One mask (H, W): an array, run lengths, or polygons."""
    if hasattr(mask, "shape"):
        values = _array(mask)
        if values.shape != size:
            raise ValueError(f"{name}: {size_mismatch(values.shape, size)}")
        return inside(values, name=name)
    return mask_codec.decode(mask, *size, name=name)


def _from_mapping(data: Mapping[str, Any], size: tuple[int, int]) -> OrderedInstances:
    if "instances" in data:
        return _from_detectron2(data["instances"], size)
    if "masks" in data:
        stack = _stack(data["masks"], size, name="'masks'")
        return _made(size, stack, classes=data.get("labels"), scores=data.get("scores"))
    if "segments_info" in data:
        return _from_transformers(data, size)
    raise ValueError(
        f"a dictionary of masks has 'instances' (Detectron2), 'masks' (torchvision) or "
        f"'segments_info' (transformers); got the keys {sorted(map(str, data))}"
    )


def _from_transformers(data: Mapping[str, Any], size: tuple[int, int]) -> OrderedInstances:
    labels, segments = _array(data["segmentation"]), list(data["segments_info"])
    if labels.shape != size:
        raise ValueError(f"'segmentation': {size_mismatch(labels.shape, size)}")
    stack = np.array([labels == segment["id"] for segment in segments]).reshape(-1, *size)
    numbers = [segment["id"] for segment in segments]
    return _made(
        size,
        stack,
        ids=numbers,
        classes=[segment.get("label_id", 1) for segment in segments],
        scores=[segment.get("score", 1.0) for segment in segments],
    )


def _from_detectron2(found: Any, size: tuple[int, int]) -> OrderedInstances:
    fields = found.get_fields()
    if "pred_masks" not in fields:
        raise ValueError(f"Detectron2's instances have no pred_masks, only {sorted(fields)}")
    whole = fields["pred_masks"]
    stack = _stack(fields.get("pred_modal_masks", whole), size, name="pred_masks")
    return _made(size, stack, classes=fields.get("pred_classes"), scores=fields.get("scores"))


def _from_supervision(found: Any, size: tuple[int, int]) -> OrderedInstances:
    if found.mask is None and len(found):
        raise ValueError("detections without masks have no occlusion order; masks are needed")
    stack = np.zeros((0, *size), bool) if found.mask is None else _stack(found.mask, size)
    data = found.data or {}
    return _made(
        size,
        stack,
        classes=found.class_id,
        scores=found.confidence,
        names=data.get("class_name"),
        ids=None if data.get("id") is None else _array(data["id"]).tolist(),
    )


def _from_ultralytics(found: Any, size: tuple[int, int]) -> OrderedInstances:
    """Outlines are in pixels of the image; the masks beside them have the network's size."""
    if found.masks is None:
        if len(found.boxes):
            raise ValueError("results without masks have no occlusion order; masks are needed")
        return _made(size, np.zeros((0, *size), bool))
    stack = np.zeros((len(found.masks.xy), *size), bool)
    for k, outline in enumerate(found.masks.xy):
        polygon = _array(outline).reshape(-1).tolist()
        stack[k] = mask_codec.decode([polygon], *size, name=f"mask {k}")
    classes = _array(found.boxes.cls).astype(int)
    names = [found.names[int(kind)] for kind in classes] if found.names else None
    return _made(size, stack, classes=classes, scores=found.boxes.conf, names=names)
