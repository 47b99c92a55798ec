"""Conversion of records and predictions to the input of the metrics of ordered instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from occ_order.methods.oosis.instance_map import instance_map
from occ_order.order.encoding import empty_occlusion


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
