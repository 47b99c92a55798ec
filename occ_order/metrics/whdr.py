"""Weighted human disagreement rate of depth orders (Lee & Park, supplement, Eq. A4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from occ_order.metrics.matrices import flatten, mean_or_nan, of_one_image, ratio
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums
from occ_order.order.baselines import disparity_order

_ANY_COUNT = np.iinfo(np.int32).max
WHDR_CELLS = tuple(
    kind + relation
    for kind in ("distinct", "overlap", "all")
    for relation in ("", "_equal", "_not_equal")
)
"""Order of the cells in `whdr_weights`, and the keys of `whdr`."""


def whdr_weights(depth, overlap, count, pred) -> np.ndarray:
    """Compute the weights of wrong pairs and of all pairs for every image and cell.

    A pair is an entry above the diagonal that is annotated (`depth` is not -1). Its weight is
    2 / count: the fewer workers were needed until two agreed, the more certain is the annotation.
    It is wrong if the prediction differs, in particular if undecided (-1). Cells are distinct /
    overlapping depth ranges / all pairs, times any relation / equal / not equal, according to the
    ground truth.

    Args:
        depth: list of (N, N), 1 = row closer, 0 = farther, 2 = equal, -1 = not annotated.
        overlap: list of (N, N), 1 = depth ranges overlap, 0 = distinct, -1 = unknown (such a pair
            is only part of "all"). None = unknown.
        count: list of (N, N), number of workers, at least 1; -1 = unknown, which has weight 1 as
            for the minimum of two workers. None = unknown.
        pred: list of (N, N), as `depth`; -1 = undecided.

    Returns:
        float64 (num_images, 9, 2): cells in the order of `WHDR_CELLS`; [..., 0] the weight of the
        wrong pairs, [..., 1] that of all pairs.

    Raises:
        ValueError: different numbers of images, matrices that are not square or differ in shape
            (the shapes are printed), invalid values, a count of 0.
    """
    lists = {"depth": list(depth), "pred": list(pred)}
    allowed = {"depth": (-1, 2), "pred": (-1, 2), "overlap": (-1, 1), "count": (-1, _ANY_COUNT)}
    for name, matrices in (("overlap", overlap), ("count", count)):
        if matrices is not None:
            lists[name] = list(matrices)
    pairs = flatten(lists, allowed)
    used = (pairs.row < pairs.col) & (pairs.values["depth"] >= 0)
    image, truth = pairs.image[used], pairs.values["depth"][used]
    unknown = np.full(len(truth), -1)
    kind = pairs.values["overlap"][used] if overlap is not None else unknown
    workers = pairs.values["count"][used] if count is not None else unknown
    if (workers == 0).any():
        raise ValueError(f"image {image[(workers == 0).argmax()]}: count 0 of an annotated pair")
    weight = 2.0 / np.where(workers > 0, workers, 2)
    wrong = weight * (pairs.values["pred"][used] != truth)
    # Six disjoint bins per image: (distinct, overlap, unknown) x (equal, not equal).
    bins = (image * 3 + kind % 3) * 2 + (truth != 2)
    size = pairs.num_images * 6
    sums = np.stack([np.bincount(bins, w, minlength=size) for w in (wrong, weight)], -1)
    sums = sums.reshape(pairs.num_images, 3, 2, 2)
    kinds = np.stack([sums[:, 0], sums[:, 1], sums.sum(1)], 1)
    cells = np.stack([kinds.sum(2), kinds[:, :, 0], kinds[:, :, 1]], 2)
    return cells.reshape(pairs.num_images, 9, 2)


def whdr(depth, overlap, count, pred, *, average: str = "global") -> dict[str, float]:
    """Compute the weighted human disagreement rate of depth orders, in percent; lower is better.

    WHDR = sum_ij w_ij [gt_ij != pred_ij] / sum_ij w_ij over pairs i < j, w_ij = 2 / count_ij
    (A4). The papers' three columns are "distinct", "overlap" and "all".

    - `average="global"` (default): both sums are over the data set.
    - `average="image"`: the mean over images of the rate of each image, ignoring images without
      pairs in the cell, as in the published evaluation code.

    Args:
        depth: list of (N, N), 1 = row closer, 0 = farther, 2 = equal, -1 = not annotated.
        overlap: list of (N, N), 1 / 0 / -1, or None.
        count: list of (N, N), number of workers, or None.
        pred: list of (N, N), as `depth`; -1 = undecided, which is always wrong.
        average: "global" or "image".

    Returns:
        {"distinct", "overlap", "all", and each with "_equal" and "_not_equal"}: percent, NaN for a
        cell without pairs.

    Raises:
        ValueError: unknown average, or an error of `whdr_weights`.
    """
    return whdr_from_weights(whdr_weights(depth, overlap, count, pred), average=average)


def whdr_from_weights(weights: np.ndarray, *, average: str = "global") -> dict[str, float]:
    """Compute `whdr` from weights, which can be computed in parallel and concatenated.

    Args:
        weights: (num_images, 9, 2), result of `whdr_weights`.
        average: "global" or "image".

    Returns:
        As `whdr`.

    Raises:
        ValueError: unknown average, or weights that are not (num_images, 9, 2).
    """
    weights = np.asarray(weights, float)
    if weights.ndim != 3 or weights.shape[1:] != (9, 2):
        raise ValueError(f"weights must have shape (num_images, 9, 2), got {weights.shape}")
    if average not in ("global", "image"):
        raise ValueError(f"average must be 'global' or 'image', got {average!r}")
    if average == "global":
        sums = [math.fsum(column) for column in weights.reshape(len(weights), 18).T.tolist()]
        weights = np.reshape(sums, (1, 9, 2))
    cells = zip(WHDR_CELLS, whdr_rates(weights).T, strict=True)
    return {name: 100.0 * mean_or_nan(rate) for name, rate in cells}


def whdr_rates(weights: np.ndarray) -> np.ndarray:
    """Return wrong / all of weights (M, 9, 2): float64 (M, 9), NaN for cells without pairs."""
    return ratio(weights[..., 0], weights[..., 1], float("nan"))


class DisparityOrderScorer(Scorer[np.ndarray]):
    """WHDR of depth orders derived from disparity maps.

    Args:
        statistic: disparity of an instance, "mean" or "median" of its pixels; see
            :func:`occ_order.order.disparity_order`.
        compat: see :func:`occ_order.order.disparity_order`.
    """

    def __init__(self, *, statistic: str = "mean", compat: str | None = None) -> None:
        super().__init__(statistic=statistic, compat=compat)

    def empty(self) -> dict[str, Any]:
        """Return the state: sums of the rates of the images."""
        return {"rates": ExactSums(len(WHDR_CELLS))}

    def row(self, truth: Mapping[str, Any], prediction: np.ndarray) -> np.ndarray:
        """Return the :func:`whdr_weights` of an image, (1, 9, 2).

        Args:
            truth: "masks" bool (N, H, W), "depth", "overlap" and "count" (N, N).
            prediction: (H, W) disparity, larger = nearer.
        """
        order = disparity_order(prediction, truth["masks"], **self.options)
        depth, overlap, count = ([truth[key]] for key in ("depth", "overlap", "count"))
        with of_one_image():
            return whdr_weights(depth, overlap, count, [order])

    def add(self, row: np.ndarray) -> None:
        """Add the weights of an image."""
        self.state["rates"].add(whdr_rates(row)[0])

    def compute(self) -> dict[str, float]:
        """Compute the rates of :func:`whdr`, averaged over images as published, in percent."""
        rates = zip(WHDR_CELLS, self.state["rates"].means().tolist(), strict=True)
        return {name: 100.0 * rate for name, rate in rates}
