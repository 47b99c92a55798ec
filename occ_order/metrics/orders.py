"""Scores of predicted orders of instances that are matched to ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from occ_order.metrics.occlusion import occlusion_scores, pair_accuracy
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.whdr import WHDR_CELLS, whdr

Pairs = Mapping[str, tuple[np.ndarray, ...]]
"""What :func:`order_pairs` returns of one image."""


def order_pairs(
    truth: Mapping[str, Any],
    *,
    occlusion: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> dict[str, tuple[np.ndarray, ...]]:
    """Return annotation and prediction of one image side by side.

    Args:
        truth: a record (`occ_order.formats`) with those of "occlusion", "depth", "overlap" and
            "count", (N, N) each, that are annotated; overlap and count are -1 where they are not.
        occlusion: predicted (N, N), row and column k of the annotation's instance k; None = not
            predicted.
        depth: likewise.

    Returns:
        "occlusion" (truth, prediction) and "depth" (depth, overlap, count, prediction), those that
        are annotated and predicted.
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
    """Return the number of annotated pairs, and of those of which an instance was not found.

    Args:
        pairs: of :func:`order_pairs`.
        found: bool (N,), whether a prediction stands for the instance.
    """
    counts = {}
    for name, (truth, *_) in pairs.items():
        asked = truth == 1 if name == "occlusion" else np.triu(truth >= 0, 1)
        lost = asked & ~(found[:, None] & found[None, :])
        counts[f"{name}_pairs"] = int(asked.sum())
        counts[f"{name}_pairs_unmatched"] = int(lost.sum())
    return counts


class OrderScorer(Scorer[Pairs]):
    """Occlusion and depth orders of a data set, image by image."""

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> Pairs:
        """Return the pairs of one image.

        Args:
            truth: as :func:`order_pairs` takes it.
            prediction: those of "occlusion" and "depth" that are predicted, (N, N) each, row and
                column k of the annotation's instance k; one that is None is not predicted.
        """
        said = {key: prediction.get(key) for key in ("occlusion", "depth")}
        return order_pairs(truth, **said)

    def compute(self) -> dict[str, float]:
        """Return the scores of :func:`occlusion_scalars` and :func:`depth_scalars`."""
        occlusion, depth = (
            [row[key] for row in self.rows if key in row] for key in ("occlusion", "depth")
        )
        return {**occlusion_scalars(occlusion), **depth_scalars(depth)}


def occlusion_scalars(pairs: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
    """Recall, precision and F1 in the ways that tables print them, and pair accuracy.

    Args:
        pairs: ground truth and prediction, (N, N) each, of every image.

    Returns:
        {"occlusion/f1", ...}: percent over the data set, NaN where undefined; "per_image" averages
        over images as published (Table 2), "unidirectional" leaves bidirectional pairs out (A1).
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
    """WHDR of every cell, over the data set and averaged over images as published (Table 3).

    Args:
        pairs: depth, overlap, count and prediction, (N, N) each, of every image.

    Returns:
        {"depth/whdr_all", "depth_per_image/whdr_all", ...}: percent, NaN where a cell is empty.
    """
    columns = list(zip(*pairs, strict=True)) if pairs else [[]] * 4
    scalars = {}
    for group, average in (("depth", "global"), ("depth_per_image", "image")):
        rates = whdr(*columns, average=average)
        scalars.update({f"{group}/whdr_{cell}": rates[cell] for cell in WHDR_CELLS})
    return scalars
