"""All metrics of orders predicted for input masks, accumulated over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.occlusion import direction_accuracy_from_counts, direction_counts
from occ_order.metrics.orders import OrderScorer, order_pairs


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
        As `GivenMaskScorer.compute`.
    """
    scorer = GivenMaskScorer()
    for row in rows:
        scorer.add(row)
    return scorer.compute()


class GivenMaskScorer(OrderScorer):
    """All metrics of the order of input masks over a data set."""

    def empty(self) -> dict[str, Any]:
        """Return the state of `OrderScorer`, and counts of directions: of all, of objects."""
        return {**super().empty(), "direction": np.zeros((2, 2), np.int64)}

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

    def add(self, row: Mapping[str, tuple]) -> None:
        """Add the pairs of an image.

        Raises:
            ValueError: as `OrderScorer.add` and `direction_counts`.
        """
        counts = np.zeros((2, 2), np.int64)
        if "direction" in row:
            truth, score, objects = row["direction"]
            members = np.ones(len(objects), bool), objects
            counts = np.stack([direction_counts(truth, score, member) for member in members])
        super().add(row)
        self.state["direction"] += counts

    def compute(self) -> dict[str, float]:
        """Compute the scores over all images.

        Returns:
            {"task/metric": percent}, always with the same keys, NaN if undefined: those of
            `OrderScorer`, and "direction/all" and "direction/objects", the `direction_accuracy` of
            all pairs and of those without "stuff" (wall, sky).
        """
        found = map(direction_accuracy_from_counts, self.state["direction"])
        names = ("direction/all", "direction/objects")
        return {**super().compute(), **dict(zip(names, found, strict=True))}
