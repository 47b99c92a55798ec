"""Conversion of in-memory masks of other libraries to :class:`OrderedInstances`.

====================================  =====================================================
array, tensor or image                (N, H, W) or (N, 1, H, W), two-valued or probabilities;
                                      bool (H, W) one mask; integers (H, W) a label map
list                                  of masks (H, W), of COCO RLEs, of polygons, of dictionaries
                                      with a "segmentation", as from SAM, or a "mask", as from
                                      pipelines of transformers
path                                  a file or folder of :mod:`occ_order.formats.user_masks`
content of a JSON file                COCO, SA-1B, Label Studio, ..., as from `json.load`
Detectron2                            `Instances` (predictions or ground truth), or a dictionary
                                      with "instances" or "panoptic_seg"
torchvision                           {"masks", "labels", "scores"}
transformers                          {"segmentation", "segments_info"}, post-processed
supervision                           `Detections`
ultralytics                           `Results`
FiftyOne                              `Detections`
====================================  =====================================================

Class names are kept if the object has them; a dictionary may contain them as one of `NAME_KEYS`:
``{**found, "id2label": model.config.id2label}``. A list with the output for one image is treated
like that output.

Probabilities are thresholded at 0.5. Other numbers must have two values, one of them 0. None of
these libraries is imported: objects are recognized by their attributes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from occ_order import masks as mask_codec
from occ_order.formats import fiftyone_sample, supervision_detections
from occ_order.formats.arrays import CUT, inside, of_array, stack_of
from occ_order.formats.checks import size_mismatch
from occ_order.formats.label_studio import is_label_studio
from occ_order.formats.pages import UNNAMED, Tolerance, numbered, page_named
from occ_order.formats.table import pages_of_json
from occ_order.formats.user_masks import load_masks, masks_file, read_page
from occ_order.instances import OrderedInstances

NAME_KEYS = ("id2label", "names", "categories")
"""Keys of a dictionary for the names of the classes, by class or in their order: what
`model.config.id2label`, `model.names` and `weights.meta["categories"]` hold."""

_KNOWN = (
    "an array (N, H, W), a label map (H, W), a list of masks, run lengths or polygons, a file, its "
    "parsed JSON, or what Detectron2, torchvision, transformers, supervision, SAM, ultralytics or "
    "FiftyOne give"
)


def as_instances(
    masks: Any, size: tuple[int, int], *, image_name: str | None = None
) -> OrderedInstances:
    """Convert masks of one image in any supported form to instances.

    Args:
        masks: see the module docstring, or `OrderedInstances`.
        size: (H, W) of the image.
        image_name: file name of the image, to find it in a file about several.

    Returns:
        The instances, with an order only if the source has one. Ids are those of the source, the
        values of a label map, or 1 .. N.

    Raises:
        ValueError: an unsupported type; another size than the image; numbers that are neither
            probabilities nor two-valued; a damaged mask.
        OSError: a file cannot be read.
    """
    size = (int(size[0]), int(size[1]))
    if isinstance(masks, str | os.PathLike):
        path = masks if image_name is None else masks_file(masks, image_name)
        return load_masks(path, size, image_name=image_name)
    if isinstance(masks, list | tuple) and len(masks) == 1 and _is_output(masks[0]):
        return as_instances(masks[0], size, image_name=image_name)  # of a batch of one image
    if isinstance(masks, OrderedInstances):
        found = masks
    elif isinstance(masks, Mapping):
        found = _from_mapping(masks, size, image_name)
    elif hasattr(masks, "get_fields") and hasattr(masks, "image_size"):
        found = _from_detectron2(masks, size)
    elif hasattr(masks, "confidence") and hasattr(masks, "class_id"):
        found = supervision_detections.from_detections(masks, size)
    elif hasattr(masks, "masks") and hasattr(masks, "boxes"):
        found = _from_ultralytics(masks, size)
    elif isinstance(getattr(masks, "detections", None), list):
        found = fiftyone_sample.from_detections(masks, size)
    elif isinstance(masks, Sequence) and not isinstance(masks, bytes):
        found = _from_list(masks, size, image_name)
    elif hasattr(masks, "dtype") or isinstance(masks, Image.Image):
        found = of_array(_array(masks), size).replace(image_id=0)
    else:
        raise ValueError(f"masks may be {_KNOWN}; got {type(masks).__name__}")
    if found.size != size:
        raise ValueError(f"masks: {size_mismatch(found.size, size)}")
    return found


def _is_output(value: Any) -> bool:
    """Return whether a value is the output of a library for one image, not a single mask."""
    if isinstance(value, Mapping):
        return bool({"instances", "masks", "segments_info"} & value.keys())
    if len(getattr(value, "shape", ())) > 2:  # masks of one image, as SAM's post-processing gives
        return True
    return hasattr(value, "get_fields") or (hasattr(value, "masks") and hasattr(value, "boxes"))


def of_image(
    masks: Any,
    image: Any,
    size: tuple[int, int],
    *,
    classes: Sequence[int] | None = None,
) -> OrderedInstances:
    """Convert masks as `as_instances` does, and add the file name of the image.

    Args:
        masks: see `as_instances`.
        image: path of the image, or its pixels, which have no name.
        size: (H, W) of the image.
        classes: N category ids; default: those of `masks`.

    Raises:
        ValueError: see `as_instances`.
    """
    name = Path(image).name if isinstance(image, str | os.PathLike) else None
    given = as_instances(masks, size, image_name=name)
    known: dict[str, Any] = {"image_id": 0 if name is None else Path(name).stem, "file_name": name}
    if isinstance(masks, OrderedInstances | str | os.PathLike):  # already have an image id
        known = {"file_name": given.file_name or name}
    if classes is not None:
        known["classes"] = np.asarray(classes, np.int64)
    elif all(getattr(given, key) == value for key, value in known.items()):
        return given
    return given.replace(**known)


def _array(value: Any) -> np.ndarray:
    """Convert an array, or a tensor on any device, to NumPy."""
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    return np.asarray(value)


def _stack(value: Any, size: tuple[int, int], *, name: str = "masks") -> np.ndarray:
    """Convert a tensor or a list to bool (N, H, W); N = 0 for an empty list."""
    values = _array(value)
    return stack_of(values if values.size else values.reshape(0, *size), size, name=name)


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
    known: dict[str, Any] = {
        "classes": _column(classes, np.int64),
        "scores": _column(scores, np.float64),
        "names": names,
        "ids": ids,
    }
    return OrderedInstances(0, size, modal, **known)


def _from_list(
    items: Sequence[Any], size: tuple[int, int], image_name: str | None
) -> OrderedInstances:
    """Convert a list of masks or of dictionaries, or the parsed JSON of a list of tasks."""
    entries = [item if isinstance(item, Mapping) else {"segmentation": item} for item in items]
    tasks = [item for item in items if isinstance(item, Mapping)]
    if tasks and len(tasks) == len(items) and all(is_label_studio(dict(t), set()) for t in tasks):
        return _from_parsed(list(items), size, image_name)
    entries = [{"segmentation": e} if "counts" in e else e for e in entries]
    stack = np.zeros((len(entries), *size), bool)
    for k, (item, entry) in enumerate(zip(items, entries, strict=True)):
        mask = entry.get("segmentation", entry.get("mask"))
        if mask is None:
            keys = f", its keys are {sorted(map(str, item))}" if isinstance(item, Mapping) else ""
            raise ValueError(f"mask {k}: has no 'segmentation'{keys}")
        stack[k] = _one(mask, size, f"mask {k}")
    scores = [e.get("score", e.get("predicted_iou", 1.0)) for e in entries]
    labels = [e.get("category", e.get("name", e.get("label", ""))) for e in entries]
    kinds = numbered(map(str, labels)) if any(labels) else {}
    return _made(
        size,
        stack,
        scores=[1.0 if score is None else score for score in scores],
        ids=[e.get("id", k + 1) for k, e in enumerate(entries)],
        classes=[
            e.get("category_id", kinds.get(str(label), 1))
            for e, label in zip(entries, labels, strict=True)
        ],
        names=labels if any(labels) else None,
    )


def _one(mask: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """Convert one mask (an array (H, W) or (1, H, W), an image, RLE, polygons) to (H, W)."""
    if hasattr(mask, "shape") or isinstance(mask, Image.Image):
        values = _array(mask)
        values = values[0] if values.ndim == 3 and len(values) == 1 else values
        if values.shape != size:
            raise ValueError(f"{name}: {size_mismatch(values.shape, size)}")
        return inside(values, name=name)
    return mask_codec.decode(mask, *size, name=name)


def _from_mapping(
    data: Mapping[str, Any], size: tuple[int, int], image_name: str | None
) -> OrderedInstances:
    if hasattr(data.get("instances"), "get_fields"):
        return _from_detectron2(data["instances"], size)
    if "masks" in data:
        stack = _stack(data["masks"], size, name="'masks'")
        return _named(
            _made(size, stack, classes=data.get("labels"), scores=data.get("scores")), data
        )
    if "segments_info" in data:
        return _named(_from_transformers(data, size), data)
    if isinstance(data.get("panoptic_seg"), list | tuple):
        labels, segments = data["panoptic_seg"]
        return _named(_from_panoptic(labels, segments, size), data)
    if {"annotations", "images", "shapes", "regions", "data"} & data.keys():
        return _from_parsed(dict(data), size, image_name)
    raise ValueError(
        f"a dictionary of masks has 'instances' or 'panoptic_seg' (Detectron2), 'masks' "
        f"(torchvision), 'segments_info' (transformers), or is the content of a JSON file; got the "
        f"keys {sorted(map(str, data))}"
    )


def _from_parsed(data: Any, size: tuple[int, int], image_name: str | None) -> OrderedInstances:
    """Convert the content of a JSON file parsed by the user."""
    name = Path("masks")
    page = page_named(name, pages_of_json(name, data), image_name)
    found = read_page(name, page, size, Tolerance())
    return found if found.image_id != UNNAMED else found.replace(image_id=0)


def _named(found: OrderedInstances, data: Mapping[str, Any]) -> OrderedInstances:
    """Add class names to instances, if the dictionary has a table of them."""
    table = next((data[key] for key in NAME_KEYS if data.get(key) is not None), None)
    if table is None:
        return found
    known = table if isinstance(table, Mapping) else dict(enumerate(table))
    return found.replace(names=tuple(str(known.get(int(k), "")) for k in found.classes))


def _from_transformers(data: Mapping[str, Any], size: tuple[int, int]) -> OrderedInstances:
    """Convert a map of segment ids, or one map per segment (`return_binary_maps`)."""
    segments = list(data["segments_info"])
    if isinstance(data["segmentation"], list):
        raise ValueError(
            "'segmentation' is a list of run lengths of transformers' own kind: ask for maps, with "
            "return_coco_annotation=False"
        )
    labels = _array(data["segmentation"])
    if labels.shape[-2:] != size:
        raise ValueError(f"'segmentation': {size_mismatch(labels.shape[-2:], size)}")
    if labels.ndim == 3:
        if len(labels) != len(segments):
            raise ValueError(f"{len(labels)} maps, but {len(segments)} entries of 'segments_info'")
        stack = inside(labels, name="'segmentation'")
    else:
        stack = np.array([labels == segment["id"] for segment in segments]).reshape(-1, *size)
    return _made(
        size,
        stack,
        ids=[segment["id"] for segment in segments],
        classes=[segment.get("label_id", 1) for segment in segments],
        scores=[segment.get("score", 1.0) for segment in segments],
    )


def _from_panoptic(
    segmentation: Any, segments: Sequence[Mapping[str, Any]] | None, size: tuple[int, int]
) -> OrderedInstances:
    """Convert the things of Detectron2's panoptic output; stuff segments are no instances."""
    if segments is None:
        raise ValueError("'panoptic_seg' without segments_info does not say what are things")
    labels = _array(segmentation)
    if labels.shape != size:
        raise ValueError(f"'panoptic_seg': {size_mismatch(labels.shape, size)}")
    things = [segment for segment in segments if segment.get("isthing", True)]
    return _made(
        size,
        np.array([labels == thing["id"] for thing in things]).reshape(-1, *size),
        ids=[thing["id"] for thing in things],
        classes=[thing.get("category_id", 1) for thing in things],
        scores=[thing.get("score", 1.0) for thing in things],
    )


def _from_detectron2(found: Any, size: tuple[int, int]) -> OrderedInstances:
    """Convert predictions, or ground truth (`gt_masks`: BitMasks or PolygonMasks)."""
    fields = found.get_fields()
    kind = next((kind for kind in ("pred", "gt") if f"{kind}_masks" in fields), None)
    if kind is None:
        raise ValueError(f"Detectron2's instances have no pred_masks, only {sorted(fields)}")
    whole = fields[f"{kind}_masks"]
    stack = _detectron2_stack(fields.get("pred_modal_masks", whole), size, f"{kind}_masks")
    return _made(
        size,
        stack,
        classes=fields.get(f"{kind}_classes"),
        scores=fields.get("scores"),
        ids=None if fields.get("ids") is None else _array(fields["ids"]).tolist(),
    )


def _detectron2_stack(value: Any, size: tuple[int, int], name: str) -> np.ndarray:
    if hasattr(value, "polygons"):
        parts = [[_array(part).tolist() for part in polygons] for polygons in value.polygons]
        return mask_codec.decode_all(parts, *size)
    return _stack(getattr(value, "tensor", value), size, name=name)


def _from_ultralytics(found: Any, size: tuple[int, int]) -> OrderedInstances:
    """Convert `Results`, whose masks have the size of the image or of the network's input."""
    stated = tuple(getattr(found, "orig_shape", size))
    if stated != size:
        raise ValueError(f"results: {size_mismatch(stated, size)}")
    if found.masks is None:
        if found.boxes is not None and len(found.boxes):
            raise ValueError("results without masks have no occlusion order; masks are needed")
        return _made(size, np.zeros((0, *size), bool))
    stack = _without_letterbox(_array(found.masks.data), size)
    if found.boxes is None:
        return _made(size, stack)
    tracked = getattr(found.boxes, "id", None)
    ids = None if tracked is None else _array(tracked).astype(int).tolist()
    classes = _array(found.boxes.cls).astype(int)
    return _named(
        _made(size, stack, classes=classes, scores=found.boxes.conf, ids=ids),
        {"names": found.names or None},
    )


def _without_letterbox(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop the padding of ultralytics' LetterBox, and resize to the image.

    LetterBox fits the image into the network's input and pads both sides alike; an odd pixel goes
    to the bottom or the right. The outlines in `masks.xy` are no substitute: they fill holes, and
    join the parts of a mask.

    Args:
        values: (N, H', W'), two-valued or probabilities; without `retina_masks` the size is that
            of the network's input.
        size: (H, W) of the image.

    Returns:
        bool (N, H, W)
    """
    inner = inside(values, name="masks")
    if inner.shape[1:] == size:
        return inner
    gain = min(inner.shape[1] / size[0], inner.shape[2] / size[1])
    height, width = (max(round(side * gain), 1) for side in size)
    top, left = (inner.shape[1] - height) // 2, (inner.shape[2] - width) // 2
    result = np.zeros((len(inner), *size), bool)
    for k, mask in enumerate(inner[:, top : top + height, left : left + width]):
        result[k] = cv2.resize(mask.astype(np.float32), size[::-1]) > CUT
    return result
