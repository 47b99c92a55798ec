"""``supervision.Detections`` (https://supervision.roboflow.com) as instances, and back.

Detections can be filtered, so the order travels with each instance: ``data["occludes"]`` holds the
ids of what it occludes, not places in a list. supervision is imported at the first call only.
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
    """Return instances as Detections.

    Returns:
        Detections with "mask" (visible parts), "xyxy" their boxes, "class_id", "confidence", and in
        "data": "id"; "class_name" where there are names; where there is an occlusion order,
        "occludes", lists of ids, "layer" and "relative_depth".

    Raises:
        ImportError: supervision is not installed.
    """
    detections = _supervision().Detections
    if not len(result):
        return detections.empty()
    kinds = {type(number) for number in result.ids}  # a mixed array would turn numbers into texts
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
    """Return Detections as instances.

    Args:
        detections: with masks; classes default to 1, scores to 1, ids to 1 .. N. The order is taken
            from ``data["occludes"]`` where that is there; ids that were filtered out are left out.
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
    classes, scores, names = detections.class_id, detections.confidence, data.get("class_name")
    return OrderedInstances(
        image_id,
        size,
        stack,
        classes=None if classes is None else np.asarray(classes, np.int64),
        scores=None if scores is None else np.asarray(scores, np.float64),
        names=None if names is None else tuple(map(str, names)),
        ids=tuple(ids),
        occlusion=occlusion_by_ids(ids, data["occludes"]) if "occludes" in data else None,
    )


def occlusion_by_ids(ids: list[Any], occludes: Any) -> np.ndarray:
    """Return the occlusion matrix of instances that say the ids of what they occlude.

    Args:
        ids: N ids.
        occludes: N lists of ids; those that are not among `ids` are left out.
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
