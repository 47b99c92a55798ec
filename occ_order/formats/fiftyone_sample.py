"""Conversion from FiftyOne's ``Detections`` (https://docs.voxel51.com) and to a ``Sample``.

A Detection has a box [x, y, width, height] relative to the image and a mask inside it. The order is
stored in attributes of each Detection: "instance_id", and "occludes", the ids of its occludees, so
that it is still valid after filtering. fiftyone is imported lazily.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import masks
from occ_order.formats.pages import number_or_text, numbered
from occ_order.formats.supervision_detections import occlusion_by_ids
from occ_order.instances import OrderedInstances

if TYPE_CHECKING:
    import fiftyone

FIELD = "order"
"""Field of the sample that holds the detections."""


def to_sample(result: OrderedInstances) -> fiftyone.Sample:
    """Convert instances to a Sample, with Detections in the field `FIELD`.

    Args:
        result: instances with a file name; those with an empty mask are left out.

    Raises:
        ImportError: fiftyone is not installed.
        ValueError: `file_name` is None.
    """
    library = _fiftyone()
    if result.file_name is None:
        raise ValueError(f"image {result.image_id!r}: a sample needs the file name of its image")
    detections, (height, width) = [], result.size
    for k, number in enumerate(result.ids):
        x0, y0, x1, y1 = map(int, masks.bounding_box(result.modal[k]))
        if x1 == x0:
            continue
        order: dict[str, Any] = {"instance_id": str(number)}
        if result.occlusion is not None:
            behind = np.flatnonzero(result.occlusion[k] == 1)
            order["occludes"] = [str(result.ids[j]) for j in behind]
            order["layer"] = int(result.layers()[k])
        detections.append(
            library.Detection(
                label=(result.names[k] if result.names else "") or "instance",
                bounding_box=[x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
                mask=result.modal[k, y0:y1, x0:x1],
                confidence=float(result.scores[k]),
                **order,
            )
        )
    known = {FIELD: library.Detections(detections=detections)}
    return library.Sample(filepath=result.file_name, **known)


def from_detections(found: fiftyone.Detections, size: tuple[int, int]) -> OrderedInstances:
    """Convert Detections with masks to instances, with their order if they have one.

    Args:
        found: an object with a list `detections`.
        size: (H, W) of the image.

    Raises:
        ValueError: a detection has no mask.
    """
    ones = list(found.detections)
    kinds = numbered(str(one.label) for one in ones)
    said = [getattr(one, "instance_id", None) for one in ones]
    ids = [k if key is None else number_or_text(str(key)) for k, key in enumerate(said, start=1)]
    occludes = [getattr(one, "occludes", None) for one in ones]
    behind = [[number_or_text(str(key)) for key in keys or ()] for keys in occludes]
    known = any(keys is not None for keys in occludes)
    return OrderedInstances(
        0,
        size,
        np.array([_mask(one, k, size) for k, one in enumerate(ones)], bool).reshape(-1, *size),
        classes=np.array([kinds[str(one.label)] for one in ones], np.int64),
        names=tuple(str(one.label) for one in ones),
        scores=np.array([1.0 if one.confidence is None else one.confidence for one in ones]),
        ids=tuple(ids),
        occlusion=occlusion_by_ids(ids, behind) if known else None,
    )


def _mask(one: Any, k: int, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a detection, resized to its box in pixels, bool (H, W)."""
    if one.mask is None:
        raise ValueError(f"detection {k} has no mask, which an order needs")
    x, y, width, height = np.array(one.bounding_box, float) * (*size[::-1], *size[::-1])
    x0, y0 = (max(round(value), 0) for value in (x, y))
    x1, y1 = min(round(x + width), size[1]), min(round(y + height), size[0])
    result = np.zeros(size, bool)
    inside = np.asarray(one.mask).astype(bool)
    result[y0:y1, x0:x1] = masks.resize_nearest(inside, (max(y1 - y0, 0), max(x1 - x0, 0)))
    return result


def _fiftyone() -> Any:
    try:
        import fiftyone
    except ImportError as error:
        raise ImportError("this needs FiftyOne: pip install fiftyone") from error
    return fiftyone
