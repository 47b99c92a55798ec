"""The ground-truth instances of a record as a map of ids, for targets and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from occ_order import masks
from occ_order.crf import InstanceMap
from occ_order.methods.common.reading import read_masks


def instance_map(
    record: dict[str, Any], *, use_stuff: bool = False, fill_gaps: int = 0
) -> InstanceMap:
    """Return the instances of a record as a map of ids.

    Overlapping masks are painted in occlusion order, then by size (`occ_order.masks.paint`). Crowd
    regions are void outside the instances. Stuff is background and is removed from the matrix.

    Args:
        record: record with masks and, if known, "occlusion".
        use_stuff: treat stuff regions as instances.
        fill_gaps: assign unlabelled pixels within this distance of a labelled one to its region,
            for data with gaps between touching regions (NYU Depth V2). 0 = they are background.

    Returns:
        The instances; classes are contiguous indices of the data set.

    Raises:
        ValueError: an annotation has no mask or an invalid one.
    """
    stack = read_masks(record)
    if stack is None:
        raise ValueError(f"image {record.get('image_id')!r}: an annotation has no segmentation")
    annotations = record["annotations"]
    crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool)
    stuff = np.array([bool(a.get("is_stuff", 0)) for a in annotations], bool)
    keep = np.flatnonzero(~crowd if use_stuff else ~crowd & ~stuff)
    occlusion = np.asarray(record.get("occlusion", np.full((len(crowd),) * 2, -1)), np.int8)
    occlusion = occlusion.reshape(len(crowd), len(crowd))[np.ix_(keep, keep)]
    ids = masks.paint(stack[keep], occlusion=occlusion)
    if crowd.any():
        ids[stack[crowd].any(0) & (ids == 0)] = -1
    if fill_gaps:
        _fill(ids, np.any(stack, axis=0), fill_gaps)
    classes = np.array([annotations[k]["category_id"] for k in keep], np.int64)
    return InstanceMap(ids, classes, occlusion)


def _fill(ids: np.ndarray, labelled: np.ndarray, distance: int) -> None:
    """Assign unlabelled pixels the id of the nearest labelled one within `distance`, in place."""
    away, (rows, columns) = ndimage.distance_transform_edt(~labelled, return_indices=True)
    gap = ~labelled & (away <= distance) & labelled.any()
    ids[gap] = ids[rows[gap], columns[gap]]
