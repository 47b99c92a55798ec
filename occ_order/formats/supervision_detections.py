"""Results as ``supervision.Detections``, and back (https://supervision.roboflow.com).

Detections can be filtered, so the order travels with each instance: ``data["occludes"]`` holds the
ids of what it occludes, not places in a list. supervision is imported at the first call only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import masks
from occ_order.order import results_image
from occ_order.order.encoding import empty_occlusion

if TYPE_CHECKING:
    import supervision

_COLUMNS = ("layer", "relative_depth")


def to_detections(image: Mapping[str, Any]) -> supervision.Detections:
    """One image of ``order_results.json`` as Detections.

    Args:
        image: dict of one image (:mod:`occ_order.order.io`).

    Returns:
        Detections with "mask" (visible parts), "xyxy" their boxes, "class_id", "confidence", and in
        "data": "id"; "occludes", lists of ids, if the image has an occlusion order; "layer" and
        "relative_depth" if all instances have them; "class_name" if all have a "category".

    Raises:
        ImportError: supervision is not installed.
    """
    detections = _supervision().Detections
    instances, size = image["instances"], (image["height"], image["width"])
    stack = masks.decode_all([instance["segmentation"] for instance in instances], *size)
    if not len(instances):
        return detections.empty()
    ids = [instance["id"] for instance in instances]
    data: dict[str, Any] = {"id": np.array(ids)}
    if "occlusion" in image:
        behind: list[list[Any]] = [[] for _ in ids]
        for i, j, _ in image["occlusion"]:
            behind[i].append(ids[j])
        data["occludes"] = behind
    for key, name in (*((key, key) for key in _COLUMNS), ("category", "class_name")):
        if all(key in instance for instance in instances):
            data[name] = np.array([instance[key] for instance in instances])
    return detections(
        xyxy=np.array([masks.bounding_box(mask) for mask in stack]),
        mask=stack,
        class_id=np.array([instance["category_id"] for instance in instances]),
        confidence=np.array([instance["score"] for instance in instances], float),
        data=data,
    )


def from_detections(
    detections: supervision.Detections,
    *,
    image_id: int | str,
    size: tuple[int, int],
) -> dict[str, Any]:
    """Detections as one image of ``order_results.json``.

    Args:
        detections: with masks; classes default to 1, scores to 1. The order is taken from
            ``data["occludes"]`` where that is there; ids that were filtered out are left out.
        image_id: id of the image.
        size: (H, W) of the image.

    Returns:
        Dict of the image.

    Raises:
        ValueError: there are instances without masks, or masks of another size.
    """
    n = len(detections)
    stack = np.zeros((0, *size), bool) if not n else detections.mask
    if stack is None:
        raise ValueError("detections without masks have no occlusion order; masks are needed")
    data = detections.data
    ids = np.asarray(data.get("id", np.arange(1, n + 1))).tolist()
    occlusion = None
    if "occludes" in data or not n:
        place, occlusion = {number: k for k, number in enumerate(ids)}, empty_occlusion(n)
        for i, behind in enumerate(data.get("occludes", ())):
            for number in behind:
                if number in place:
                    occlusion[i, place[number]] = 1
    classes, scores = detections.class_id, detections.confidence
    return results_image(
        image_id=image_id,
        height=size[0],
        width=size[1],
        modal=np.asarray(stack),
        classes=[1] * n if classes is None else classes.tolist(),
        scores=[1.0] * n if scores is None else scores.tolist(),
        ids=ids,
        occlusion=occlusion,
    )


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise ImportError("this needs supervision: pip install supervision") from error
    return supervision
