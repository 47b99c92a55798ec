"""All metrics of orders predicted for input masks, accumulated over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.occlusion import direction_accuracy
from occ_order.metrics.orders import OrderScorer, order_pairs
from occ_order.metrics.scorer import Scorer


def given_mask_row(
    record: Mapping[str, Any],
    *,
    occlusion: np.ndarray | None = None,
    occlusion_prob: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> dict[str, tuple]:
    """Return ground truth and prediction of an image for `given_mask_scores`.

    Args:
        record: ground truth (`occ_order.formats`), N annotations.
        occlusion: predicted, (N, N), row and column k of annotation k; None = not predicted.
        occlusion_prob: float (N, N), probability that the row occludes the column; None = use
            `occlusion`.
        depth: predicted, (N, N), or None.

    Returns:
        Those of "occlusion", "direction" and "depth" that are annotated and predicted.
    """
    row = order_pairs(record, occlusion=occlusion, depth=depth)
    if "occlusion" in row:
        prob = np.asarray(occlusion) == 1 if occlusion_prob is None else occlusion_prob
        objects = [not one.get("is_stuff", 0) for one in record["annotations"]]
        row["direction"] = row["occlusion"][0], prob, np.array(objects, bool)
    return row


def given_mask_scores(rows: Iterable[Mapping[str, tuple]]) -> dict[str, float]:
    """Compute the scores over all images.

    Args:
        rows: results of `given_mask_row`.

    Returns:
        {"task/metric": percent}, always with the same keys, NaN if undefined: those of
        `occlusion_scalars` and `depth_scalars`, and "direction/all" and "direction/objects", the
        `direction_accuracy` of all pairs and of those without "stuff" (wall, sky).
    """
    rows = list(rows)
    directions = [row["direction"] for row in rows if "direction" in row]
    truth, prob, objects = zip(*directions, strict=True) if directions else [()] * 3
    return {
        **OrderScorer(rows).compute(),
        "direction/all": direction_accuracy(truth, prob),
        "direction/objects": direction_accuracy(truth, prob, among=objects),
    }


class GivenMaskScorer(Scorer[Mapping[str, tuple]]):
    """All metrics of the order of input masks over a data set."""

    def row(
        self, truth: Mapping[str, Any], prediction: Mapping[str, np.ndarray | None]
    ) -> dict[str, tuple]:
        """Return the `given_mask_row` of an image.

        Args:
            truth: ground truth (`occ_order.formats`).
            prediction: those of "occlusion", "occlusion_prob" and "depth" that are predicted.
        """
        keys = ("occlusion", "occlusion_prob", "depth")
        return given_mask_row(truth, **{key: prediction.get(key) for key in keys})

    def compute(self) -> dict[str, float]:
        """Compute `given_mask_scores` of all images."""
        return given_mask_scores(self.rows)
