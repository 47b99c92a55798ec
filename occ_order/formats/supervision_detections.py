"""Conversion from and to ``supervision.Detections`` (https://supervision.roboflow.com).

Detections can be filtered, so the order is stored per instance: ``data["occludes"]`` holds the ids
of its occludees, not indices. supervision is imported lazily.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import masks
from occ_order.formats.arrays import stack_of
from occ_order.instances import OrderedInstances
from occ_order.order.encoding import empty_occlusion

if TYPE_CHECKING:
    import supervision


def to_detections(result: OrderedInstances) -> supervision.Detections:
    """Convert instances to Detections.

    Returns:
        Detections with "mask" (modal), "xyxy", "class_id", "confidence", and in "data": "id";
        "class_name" if there are names; with an occlusion order, "occludes" (lists of ids), "layer"
        and "relative_depth".

    Raises:
        ImportError: supervision is not installed.
    """
    detections = _supervision().Detections
    if not len(result):
        return detections.empty()
    kinds = {type(number) for number in result.ids}  # mixed types would become strings
    data: dict[str, Any] = {"id": np.array(result.ids, object if len(kinds) > 1 else None)}
    if result.occlusion is not None:
        data["occludes"] = [
            [result.ids[j] for j in np.flatnonzero(row == 1)] for row in result.occlusion
        ]
        data |= {"layer": result.layers(), "relative_depth": result.relative_depth()}
    if result.names is not None:
        data["class_name"] = np.array(result.names)
    return detections(
        xyxy=np.array([masks.bounding_box(mask) for mask in result.modal]),
        mask=result.modal,
        class_id=result.classes,
        confidence=result.scores,
        data=data,
    )


def from_detections(
    detections: supervision.Detections, size: tuple[int, int], *, image_id: int | str = 0
) -> OrderedInstances:
    """Convert Detections to instances.

    Args:
        detections: with masks; classes and scores default to 1, ids to 1 .. N. The order is read
            from ``data["occludes"]``, if present; ids that were filtered out are ignored.
        size: (H, W) of the image.
        image_id: id of the image.

    Raises:
        ValueError: there are instances without masks, or masks of another size.
    """
    n, data = len(detections), detections.data or {}
    if n and detections.mask is None:
        raise ValueError("detections without masks have no occlusion order; masks are needed")
    stack = stack_of(np.asarray(detections.mask), size) if n else np.zeros((0, *size), bool)
    ids = np.asarray(data.get("id", np.arange(1, n + 1))).tolist()
    classes, scores = detections.class_id, detections.confidence
    known: dict[str, Any] = {
        "classes": None if classes is None else np.asarray(classes, np.int64),
        "scores": None if scores is None else np.asarray(scores, np.float64),
        "names": data.get("class_name"),
        "ids": ids,
        "occlusion": occlusion_by_ids(ids, data["occludes"]) if "occludes" in data else None,
    }
    return OrderedInstances(image_id, size, stack, **known)


def occlusion_by_ids(ids: list[Any], occludes: Any) -> np.ndarray:
    """Build the occlusion matrix from the ids of the occludees of each instance.

    Args:
        ids: N ids.
        occludes: N lists of ids; unknown ids are ignored.
    """
    place, occlusion = {number: k for k, number in enumerate(ids)}, empty_occlusion(len(ids))
    for i, behind in enumerate(occludes):
        for number in behind:
            if number in place:
                occlusion[i, place[number]] = 1
    return occlusion


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise ImportError("this needs supervision: pip install supervision") from error
    return supervision
