"""Metrics of amodal masks predicted for modal input masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.amodal import invisible_iou
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums

SCORES = ("iou", "occluded_iou", "hidden_iou")


def given_amodal_row(truth: np.ndarray, modal: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Compute the IoUs of the instances of an image.

    Args:
        truth: bool (N, H, W), amodal masks.
        modal: bool (N, H, W), modal input masks; instances with empty ones are ignored.
        predicted: bool (N, H, W), amodal masks.

    Returns:
        float64 (M, 2): IoU of the amodal masks, and of the hidden parts, amodal - modal; NaN if
        nothing is hidden.
    """
    seen = modal.any((1, 2))
    truth, modal, predicted = truth[seen], modal[seen], predicted[seen]
    either = (truth | predicted).sum((1, 2))
    whole = (truth & predicted).sum((1, 2)) / np.maximum(either, 1)
    return np.stack([whole, invisible_iou(truth, modal, predicted, modal)], 1)


def given_amodal_scores(rows: Iterable[np.ndarray]) -> dict[str, float]:
    """Compute means over all instances of a data set.

    Args:
        rows: results of `given_amodal_row`.

    Returns:
        Percent, NaN if undefined: "iou" of the amodal masks of all instances, "occluded_iou" of
        those of partly hidden instances, and "hidden_iou" of their hidden parts.
    """
    scorer = GivenAmodalScorer()
    for row in rows:
        scorer.add(row)
    return scorer.compute()


class GivenAmodalScorer(Scorer[np.ndarray]):
    """Amodal masks predicted for modal input masks over a data set."""

    def empty(self) -> dict[str, Any]:
        """Return the state: sums over the instances."""
        return {"scores": ExactSums(len(SCORES))}

    def row(
        self, truth: Mapping[str, np.ndarray], prediction: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Return the `given_amodal_row` of an image.

        Args:
            truth: "amodal" and "modal", bool (N, H, W) each; the modal masks are the input masks.
            prediction: "amodal", bool (N, H, W).
        """
        return given_amodal_row(truth["amodal"], truth["modal"], prediction["amodal"])

    def add(self, row: np.ndarray) -> None:
        """Add the IoUs of the instances of an image."""
        for whole, hidden in row:
            self.state["scores"].add((whole, np.nan if np.isnan(hidden) else whole, hidden))

    def compute(self) -> dict[str, float]:
        """Compute `given_amodal_scores` of all images."""
        means = zip(SCORES, self.state["scores"].means().tolist(), strict=True)
        return {name: 100 * mean for name, mean in means}
