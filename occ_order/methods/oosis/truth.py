"""Ground truth and predictions of one image, for the targets of the network and the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from occ_order import masks
from occ_order.crf import InstanceMap
from occ_order.methods.common.reading import read_masks
from occ_order.order.encoding import empty_occlusion


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


def ground_truth(
    record: dict[str, Any], *, size: Sequence[int] = (), use_stuff: bool = False
) -> dict[str, Any]:
    """Return the visible instances of a record.

    Overlapping masks are painted as for the network's targets. Instances without visible pixels,
    crowd regions and, by default, stuff are dropped.

    Args:
        record: record of the data set.
        size: height and width to resize the masks to, nearest-neighbour (INPUT.OUTPUT_SIZE);
            empty = original size.
        use_stuff: treat stuff regions as instances.

    Returns:
        {"image_id", "masks" bool (N, H, W), "classes" int64 (N,), "occlusion" int8 (N, N)}.
    """
    found = instance_map(record, use_stuff=use_stuff)
    found = found.resized(size if len(size) else found.ids.shape)
    return {
        "image_id": record["image_id"],
        "masks": found.masks,
        "classes": found.classes,
        "occlusion": found.occlusion,
    }


def prediction(image_id: int | str, output: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the output of a network; a missing `occlusion` field means no occlusions.

    Returns:
        As `ground_truth`, with additional "scores" float64 (N,).
    """
    found = output["instances"].to("cpu")
    number = len(found)
    occlusion = empty_occlusion(number)
    if found.has("occlusion"):
        occlusion = found.occlusion.tensor.numpy().astype(np.int8)
    masks = np.asarray(found.pred_masks, bool).reshape(number, *found.image_size)
    return {
        "image_id": image_id,
        "masks": masks,
        "classes": found.pred_classes.numpy().astype(np.int64),
        "scores": found.scores.numpy().astype(np.float64),
        "occlusion": occlusion,
    }


def _fill(ids: np.ndarray, labelled: np.ndarray, distance: int) -> None:
    """Assign unlabelled pixels the id of the nearest labelled one within `distance`, in place."""
    away, (rows, columns) = ndimage.distance_transform_edt(~labelled, return_indices=True)
    gap = ~labelled & (away <= distance) & labelled.any()
    ids[gap] = ids[rows[gap], columns[gap]]
