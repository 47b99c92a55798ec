"""Weighted human disagreement rate of depth orders (Lee & Park, supplement, Eq. A4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from occ_order.metrics.matrices import flatten, mean_or_nan, ratio
from occ_order.metrics.scorer import Scorer
from occ_order.order.baselines import disparity_order

_ANY_COUNT = np.iinfo(np.int32).max
WHDR_CELLS = tuple(
    kind + relation
    for kind in ("distinct", "overlap", "all")
    for relation in ("", "_equal", "_not_equal")
)
"""Order of the cells in `whdr_weights`, and the keys of `whdr`."""


def whdr_weights(depth, overlap, count, pred) -> np.ndarray:
    """Weight of the wrong pairs, and of all pairs, of every image and cell.

    A pair is its entry above the diagonal, annotated where `depth` is not -1, and weighs
    2 / count: the fewer workers it took until two agreed, the more certain the answer. It is
    wrong where the prediction differs, so an undecided prediction (-1) is wrong. Cells are
    distinct / overlapping depth ranges / every pair, times any relation / equal / not equal,
    by the ground truth.

    Args:
        depth: list of (N, N), 1 = row closer, 0 = farther, 2 = equal, -1 = not annotated.
        overlap: list of (N, N), 1 = depth ranges overlap, 0 = distinct, -1 = unknown (such a pair
            counts among "all" only). None = unknown everywhere.
        count: list of (N, N), workers asked, at least 1; -1 = unknown, which weighs 1 as the
            minimum of two workers does. None = unknown everywhere.
        pred: list of (N, N), as `depth`; -1 = undecided.

    Returns:
        float64 (num_images, 9, 2): cells in the order of `WHDR_CELLS`; [..., 0] the weight of the
        wrong pairs, [..., 1] that of all pairs.

    Raises:
        ValueError: different numbers of images, matrices that are not square or differ in shape
            (the shapes are printed), values without a meaning, a count of 0.
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
    # Six disjoint bins an image: (distinct, overlap, unknown) x (equal, not equal).
    bins = (image * 3 + kind % 3) * 2 + (truth != 2)
    size = pairs.num_images * 6
    sums = np.stack([np.bincount(bins, w, minlength=size) for w in (wrong, weight)], -1)
    sums = sums.reshape(pairs.num_images, 3, 2, 2)
    kinds = np.stack([sums[:, 0], sums[:, 1], sums.sum(1)], 1)
    cells = np.stack([kinds.sum(2), kinds[:, :, 0], kinds[:, :, 1]], 2)
    return cells.reshape(pairs.num_images, 9, 2)


def whdr(depth, overlap, count, pred, *, average: str = "global") -> dict[str, float]:
    """Weighted human disagreement rate of depth orders, in percent; smaller is better.

    WHDR = sum_ij w_ij [gt_ij != pred_ij] / sum_ij w_ij over pairs i < j, w_ij = 2 / count_ij
    (A4). The papers' three columns are "distinct", "overlap" and "all".

    - `average="global"` (default): both sums run over the data set.
    - `average="image"`: the rate of every image, then the mean over the images whose cell is not
      empty, as the published evaluation code computes its tables.

    Args:
        depth: list of (N, N), 1 = row closer, 0 = farther, 2 = equal, -1 = not annotated.
        overlap: list of (N, N), 1 / 0 / -1, or None.
        count: list of (N, N), workers asked, or None.
        pred: list of (N, N), as `depth`; -1 = undecided, which is never right.
        average: "global" or "image".

    Returns:
        {"distinct", "overlap", "all", and each with "_equal" and "_not_equal"}: percent, NaN where
        a cell holds no pair.

    Raises:
        ValueError: unknown average, or matrices that `whdr_weights` refuses.
    """
    return whdr_from_weights(whdr_weights(depth, overlap, count, pred), average=average)


def whdr_from_weights(weights: np.ndarray, *, average: str = "global") -> dict[str, float]:
    """`whdr` from weights, which processes can compute apart and concatenate.

    Args:
        weights: (num_images, 9, 2) as `whdr_weights` returns it.
        average: "global" or "image".

    Returns:
        As `whdr`.

    Raises:
        ValueError: unknown average or a table that is not (num_images, 9, 2).
    """
    weights = np.asarray(weights, float)
    if weights.ndim != 3 or weights.shape[1:] != (9, 2):
        raise ValueError(f"weights must have shape (num_images, 9, 2), got {weights.shape}")
    if average not in ("global", "image"):
        raise ValueError(f"average must be 'global' or 'image', got {average!r}")
    if average == "global":
        weights = weights.sum(0, keepdims=True)
    rates = ratio(weights[..., 0], weights[..., 1], float("nan"))
    cells = zip(WHDR_CELLS, rates.T, strict=True)
    return {name: 100.0 * mean_or_nan(rate) for name, rate in cells}


class DisparityOrderScorer(Scorer[np.ndarray]):
    """WHDR of the depth order that disparity maps give, image by image.

    Args:
        rows: images that were seen already.
        statistic: of the pixels of an instance, "mean" or "median"; see
            :func:`occ_order.order.disparity_order`.
        compat: as there.
    """

    def __init__(
        self,
        rows: Iterable[np.ndarray] = (),
        *,
        statistic: str = "mean",
        compat: str | None = None,
    ) -> None:
        super().__init__(rows)
        self._options: dict[str, Any] = {"statistic": statistic, "compat": compat}

    def row(self, truth: Mapping[str, Any], prediction: np.ndarray) -> np.ndarray:
        """Return the :func:`whdr_weights` of one image, (1, 9, 2).

        Args:
            truth: "masks" bool (N, H, W), "depth", "overlap" and "count" (N, N).
            prediction: (H, W) disparity, larger = nearer.
        """
        order = disparity_order(prediction, truth["masks"], **self._options)
        depth, overlap, count = ([truth[key]] for key in ("depth", "overlap", "count"))
        return whdr_weights(depth, overlap, count, [order])

    def compute(self) -> dict[str, float]:
        """Return the rates of :func:`whdr`, means over images as published, percent."""
        weights = np.concatenate([np.zeros((0, 9, 2)), *self.rows])
        return whdr_from_weights(weights, average="image")
