"""The annotated instances of a record as one map, for targets and for evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from occ_order import masks
from occ_order.methods.common.reading import read_masks


def instance_map(
    record: dict[str, Any], *, use_stuff: bool = False, fill_gaps: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the instances of a record as one map.

    Masks that overlap are painted by order, then by size (`occ_order.masks.paint`). Crowd regions
    become void where no instance is. Stuff becomes background and loses its rows and columns.

    Args:
        record: with masks and, where known, "occlusion".
        use_stuff: whether stuff regions are instances.
        fill_gaps: unlabelled pixels at most so far from a labelled one become part of it, for data
            with gaps between regions that touch (NYU Depth V2). 0 leaves gaps as background.

    Returns:
        ids int32 (H, W), 0 background, k = instance k - 1, -1 void; classes int64 (N,), numbers of
        the data set; occlusion int8 (N, N), -1 where nothing is annotated.

    Raises:
        ValueError: an annotation without a mask, or a damaged one.
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
    return ids, classes, occlusion


def _fill(ids: np.ndarray, labelled: np.ndarray, distance: int) -> None:
    """Give unlabelled pixels, in place, the id of the nearest labelled one within a distance."""
    away, (rows, columns) = ndimage.distance_transform_edt(~labelled, return_indices=True)
    gap = ~labelled & (away <= distance) & labelled.any()
    ids[gap] = ids[rows[gap], columns[gap]]
