"""Metrics of predicted orders of instances that are matched to ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from occ_order.metrics.occlusion import occlusion_scores, pair_accuracy
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.whdr import WHDR_CELLS, whdr

Pairs = Mapping[str, tuple[np.ndarray, ...]]
"""Result of :func:`order_pairs` for one image."""


def order_pairs(
    truth: Mapping[str, Any],
    *,
    occlusion: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> dict[str, tuple[np.ndarray, ...]]:
    """Return ground truth and prediction of an image as tuples of matrices.

    Args:
        truth: record (`occ_order.formats`) with the annotated ones of "occlusion", "depth",
            "overlap" and "count", (N, N) each; missing overlap and count are -1.
        occlusion: predicted (N, N), row and column k for ground-truth instance k; None = not
            predicted.
        depth: likewise.

    Returns:
        "occlusion" (truth, prediction) and "depth" (depth, overlap, count, prediction), as far as
        annotated and predicted.
    """
    pairs: dict[str, tuple[np.ndarray, ...]] = {}
    if occlusion is not None and "occlusion" in truth:
        pairs["occlusion"] = np.asarray(truth["occlusion"]), occlusion
    if depth is not None and "depth" in truth:
        known = np.asarray(truth["depth"])
        unknown = np.full(known.shape, -1)
        extra = (np.asarray(truth.get(key, unknown)) for key in ("overlap", "count"))
        pairs["depth"] = known, *extra, depth
    return pairs


def pair_counts(pairs: Pairs, found: np.ndarray) -> dict[str, int]:
    """Count the annotated pairs, and those with an unmatched instance.

    Args:
        pairs: result of :func:`order_pairs`.
        found: bool (N,), whether the instance is matched to a prediction.
    """
    counts = {}
    for name, (truth, *_) in pairs.items():
        asked = truth == 1 if name == "occlusion" else np.triu(truth >= 0, 1)
        lost = asked & ~(found[:, None] & found[None, :])
        counts[f"{name}_pairs"] = int(asked.sum())
        counts[f"{name}_pairs_unmatched"] = int(lost.sum())
    return counts


class OrderScorer(Scorer[Pairs]):
    """Occlusion and depth orders over a data set."""

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> Pairs:
        """Return the pairs of an image.

        Args:
            truth: see :func:`order_pairs`.
            prediction: "occlusion" and "depth", (N, N) each, row and column k for ground-truth
                instance k; missing or None = not predicted.
        """
        said = {key: prediction.get(key) for key in ("occlusion", "depth")}
        return order_pairs(truth, **said)

    def compute(self) -> dict[str, float]:
        """Compute the scores of :func:`occlusion_scalars` and :func:`depth_scalars`."""
        occlusion, depth = (
            [row[key] for row in self.rows if key in row] for key in ("occlusion", "depth")
        )
        return {**occlusion_scalars(occlusion), **depth_scalars(depth)}


def occlusion_scalars(pairs: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
    """Compute pair accuracy, and the variants of recall, precision and F1 in published tables.

    Args:
        pairs: ground truth and prediction, (N, N) each, of every image.

    Returns:
        {"occlusion/f1", ...}: percent over the data set, NaN if undefined; "per_image" averages
        over images as published (Table 2), "unidirectional" ignores mutual occlusions (A1).
    """
    gt, pred = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ways: dict[str, dict[str, Any]] = {
        "occlusion": {"zero_division": math.nan},
        "occlusion_unidirectional": {"zero_division": math.nan, "bidirectional": False},
        "occlusion_per_image": {"average": "image"},
        "occlusion_per_image_unidirectional": {"average": "image", "bidirectional": False},
    }
    scalars = {
        f"{group}/{name}": value
        for group, options in ways.items()
        for name, value in occlusion_scores(gt, pred, **options).items()
    }
    accuracy = pair_accuracy(gt, pred)
    return {**scalars, **{f"pair_accuracy/{name}": value for name, value in accuracy.items()}}


def depth_scalars(pairs: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
    """Compute the WHDR over the data set, and averaged over images as published (Table 3).

    Args:
        pairs: depth, overlap, count and prediction, (N, N) each, of every image.

    Returns:
        {"depth/whdr_all", "depth_per_image/whdr_all", ...}: percent, NaN without pairs.
    """
    columns = list(zip(*pairs, strict=True)) if pairs else [[]] * 4
    scalars = {}
    for group, average in (("depth", "global"), ("depth_per_image", "image")):
        rates = whdr(*columns, average=average)
        scalars.update({f"{group}/whdr_{cell}": rates[cell] for cell in WHDR_CELLS})
    return scalars
