"""Metrics of predicted orders of instances that are matched to ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.matrices import of_one_image
from occ_order.metrics.occlusion import (
    OCCLUSION_RATIOS,
    occlusion_counts,
    occlusion_ratios,
    pair_accuracy_counts,
    pair_accuracy_from_counts,
)
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums
from occ_order.metrics.whdr import WHDR_CELLS, whdr_rates, whdr_weights

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

    def empty(self) -> dict[str, Any]:
        """Return the state: counts and sums of ratios, with and without mutual occlusions first."""
        variants, cells = len(_BIDIRECTIONAL), len(WHDR_CELLS)
        return {
            "occlusion": np.zeros((variants, 3), np.int64),
            "occlusion_ratios": ExactSums(variants * len(OCCLUSION_RATIOS)),
            "pair_accuracy": np.zeros((2, 2), np.int64),
            "depth_weights": ExactSums(cells * 2),
            "depth_rates": ExactSums(cells),
        }

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> Pairs:
        """Return the pairs of an image.

        Args:
            truth: see :func:`order_pairs`.
            prediction: "occlusion" and "depth", (N, N) each, row and column k for ground-truth
                instance k; missing or None = not predicted.
        """
        said = {key: prediction.get(key) for key in ("occlusion", "depth")}
        return order_pairs(truth, **said)

    def add(self, row: Pairs) -> None:
        """Add the pairs of an image.

        Raises:
            ValueError: as `occlusion_counts` and `whdr_weights`.
        """
        with of_one_image():
            parts = self._of_occlusion(row) | self._of_depth(row)
        for name, part in parts.items():
            if isinstance(self.state[name], ExactSums):
                self.state[name].add(part.ravel())
            else:
                self.state[name] += part

    def _of_occlusion(self, row: Pairs) -> dict[str, np.ndarray]:
        if "occlusion" not in row:
            return {}
        gt, pred = ([matrix] for matrix in row["occlusion"])
        counts = [occlusion_counts(gt, pred, bidirectional=both) for both in _BIDIRECTIONAL]
        return {
            "occlusion": np.concatenate(counts),
            "occlusion_ratios": occlusion_ratios(np.concatenate(counts)),
            "pair_accuracy": pair_accuracy_counts(gt, pred),
        }

    def _of_depth(self, row: Pairs) -> dict[str, np.ndarray]:
        if "depth" not in row:
            return {}
        weights = whdr_weights(*([matrix] for matrix in row["depth"]))
        return {"depth_weights": weights, "depth_rates": whdr_rates(weights)}

    def compute(self) -> dict[str, float]:
        """Compute pair accuracy, and the variants of F1 and WHDR in published tables.

        Returns:
            {"occlusion/f1", "depth/whdr_all", ...}: percent over the data set, NaN if undefined;
            "per_image" averages over images as published (Tables 2 and 3), "unidirectional" ignores
            mutual occlusions (Table A1).
        """
        state, scalars = self.state, {}
        means = state["occlusion_ratios"].means().reshape(len(_BIDIRECTIONAL), -1)
        overall = occlusion_ratios(state["occlusion"], zero_division=math.nan)
        for group, ratios in (("occlusion", overall), ("occlusion_per_image", means)):
            for suffix, values in zip(("", "_unidirectional"), ratios, strict=True):
                scalars.update(_percent(f"{group}{suffix}/", OCCLUSION_RATIOS, values))
        accuracy = pair_accuracy_from_counts(state["pair_accuracy"])
        scalars.update({f"pair_accuracy/{name}": value for name, value in accuracy.items()})
        weights = state["depth_weights"].totals().reshape(1, -1, 2)
        scalars.update(_percent("depth/whdr_", WHDR_CELLS, whdr_rates(weights)[0]))
        rates = state["depth_rates"].means()
        return scalars | _percent("depth_per_image/whdr_", WHDR_CELLS, rates)


_BIDIRECTIONAL = (True, False)
"""Whether mutual occlusions count: variants of the occlusion counts."""


def _percent(prefix: str, names: Iterable[str], fractions: np.ndarray) -> dict[str, float]:
    values = zip(names, fractions.tolist(), strict=True)
    return {prefix + name: 100.0 * value for name, value in values}
