"""All scores of an order that was predicted for given masks, from the answers for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.occlusion import direction_accuracy
from occ_order.metrics.report import depth_scalars, occlusion_scalars


def given_mask_row(
    record: Mapping[str, Any],
    *,
    occlusion: np.ndarray | None = None,
    occlusion_prob: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> dict[str, tuple]:
    """Annotation and prediction of one image, as `given_mask_scores` takes them.

    Args:
        record: ground truth (`occ_order.formats`), N annotations.
        occlusion: predicted, (N, N), row and column k of annotation k; None = not predicted.
        occlusion_prob: float (N, N), probability that the row occludes the column; None = read from
            `occlusion`.
        depth: predicted, (N, N), or None.

    Returns:
        Those of "occlusion", "direction" and "depth" that are annotated and predicted.
    """
    annotations = record["annotations"]
    row: dict[str, tuple] = {}
    if "occlusion" in record and occlusion is not None:
        truth = np.asarray(record["occlusion"])
        prob = np.asarray(occlusion) == 1 if occlusion_prob is None else occlusion_prob
        objects = np.array([not one.get("is_stuff", 0) for one in annotations], bool)
        row["occlusion"] = truth, occlusion
        row["direction"] = truth, prob, objects
    if "depth" in record and depth is not None:
        unknown = np.full((len(annotations),) * 2, -1)
        extra = (np.asarray(record.get(key, unknown)) for key in ("overlap", "count"))
        row["depth"] = (np.asarray(record["depth"]), *extra, depth)
    return row


def given_mask_scores(rows: Iterable[Mapping[str, tuple]]) -> dict[str, float]:
    """Scores over all images.

    Args:
        rows: of `given_mask_row`.

    Returns:
        {"task/metric": percent}, the same keys whatever the data, NaN where undefined: those of
        `occlusion_scalars` and `depth_scalars`, and "direction/all" and "direction/objects", the
        `direction_accuracy` of all pairs and of those without "stuff" (walls, sky).
    """
    rows = list(rows)
    parts = {
        key: [row[key] for row in rows if key in row] for key in ("occlusion", "direction", "depth")
    }
    truth, prob, objects = zip(*parts["direction"], strict=True) if parts["direction"] else [()] * 3
    return {
        **occlusion_scalars(parts["occlusion"]),
        "direction/all": direction_accuracy(truth, prob),
        "direction/objects": direction_accuracy(truth, prob, among=objects),
        **depth_scalars(parts["depth"]),
    }
