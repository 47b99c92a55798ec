"""Recall, precision and F1 of occlusion matrices (Lee & Park, supplement, Eq. A1-A3)."""

from __future__ import annotations

import numpy as np

from occ_order.metrics.matrices import flatten, mean_or_nan, ratio


def occlusion_counts(gt, pred, *, bidirectional: bool = True) -> np.ndarray:
    """Return true positives, false negatives and false positives of every image.

    An entry (i, j) is positive where i occludes j; a bidirectional pair is two positives. The
    diagonal and entries with ground truth -1 (not annotated) are never counted. A predicted -1
    says "no occlusion known" and counts as 0, so leaving a pair out cannot raise a score.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        pred: list of (N, N) matrices with the same meaning.
        bidirectional: False leaves out both entries of every pair whose ground truth is
            bidirectional (the "without bidirectional" rows of Table A1).

    Returns:
        int64 (num_images, 3): true positives, false negatives, false positives.

    Raises:
        ValueError: different numbers of images, matrices that are not square or differ in shape
            (both shapes are printed), values other than -1, 0, 1.
    """
    pairs = flatten({"gt": gt, "pred": pred}, {"gt": (-1, 1), "pred": (-1, 1)})
    truth, said = pairs.values["gt"], pairs.values["pred"] == 1
    counted = (truth >= 0) & (pairs.row != pairs.col)
    if not bidirectional:
        counted &= ~((truth == 1) & (truth[pairs.transposed] == 1))
    occludes, not_occludes = counted & (truth == 1), counted & (truth == 0)
    kinds = (occludes & said, occludes & ~said, not_occludes & said)
    per_image = [np.bincount(pairs.image[kind], minlength=pairs.num_images) for kind in kinds]
    return np.stack(per_image, 1).astype(np.int64)


def occlusion_scores(
    gt, pred, *, average: str = "global", zero_division: float = 1.0, bidirectional: bool = True
) -> dict[str, float]:
    """Recall, precision and F1 of "i occludes j" over a data set, in percent.

    With TP, FN, FP from `occlusion_counts`: recall = TP / (TP + FN) (A1), precision =
    TP / (TP + FP) (A2), F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of the two (A3).

    - `average="global"` (default): the equations as they are printed, from sums over the data set.
    - `average="image"`: the three ratios of every image, then their plain mean over all images,
      as the published evaluation code computes its tables. With `zero_division=1` an image
      without positives scores 100 / 100 / 100 where nothing is predicted and 100 / 0 / 0
      (recall / precision / F1) where something is; an image with positives and an empty
      prediction scores 0 / 100 / 0.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        pred: list of (N, N) matrices with the same meaning; -1 counts as 0.
        average: "global" or "image".
        zero_division: value of 0 / 0, as a fraction (1.0 is 100 percent). NaN makes an undefined
            score NaN, and leaves such images out of an image average.
        bidirectional: False leaves bidirectional ground-truth pairs out.

    Returns:
        {"recall", "precision", "f1"}: percent; NaN where there is no image at all.

    Raises:
        ValueError: unknown average, or matrices that `occlusion_counts` refuses.

    Examples:
        >>> truth, said = np.array([[0, 1], [0, 0]]), np.array([[0, 1], [1, 0]])
        >>> scores = occlusion_scores([truth], [said])
        >>> scores["recall"], scores["precision"]
        (100.0, 50.0)
    """
    counts = occlusion_counts(gt, pred, bidirectional=bidirectional)
    return occlusion_scores_from_counts(counts, average=average, zero_division=zero_division)


def occlusion_scores_from_counts(
    counts: np.ndarray, *, average: str = "global", zero_division: float = 1.0
) -> dict[str, float]:
    """`occlusion_scores` from counts, which processes can compute apart and concatenate.

    Args:
        counts: (num_images, 3) as `occlusion_counts` returns it.
        average: "global" or "image".
        zero_division: value of 0 / 0, as a fraction.

    Returns:
        {"recall", "precision", "f1"}: percent.

    Raises:
        ValueError: unknown average or a table that is not (num_images, 3).
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != 3:
        raise ValueError(f"counts must have shape (num_images, 3), got {counts.shape}")
    if average not in ("global", "image"):
        raise ValueError(f"average must be 'global' or 'image', got {average!r}")
    if len(counts) == 0:
        return dict.fromkeys(("recall", "precision", "f1"), float("nan"))
    if average == "global":
        counts = counts.sum(0, keepdims=True)
    hit, missed, wrong = counts.T
    scores = {
        "recall": ratio(hit, hit + missed, zero_division),
        "precision": ratio(hit, hit + wrong, zero_division),
        "f1": ratio(2 * hit, 2 * hit + missed + wrong, zero_division),
    }
    return {name: 100.0 * mean_or_nan(values) for name, values in scores.items()}


def pair_accuracy(gt, pred) -> dict[str, float]:
    """Share of pairs whose occlusion relation is right, in percent, over the whole data set.

    The relation of two instances is one of four: none, the first over the second, the second over
    the first, both. (The accuracies of PCNet-M: "all" over every pair, "occluding" over the pairs
    where the ground truth has an occlusion.)

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated; a pair
            counts where both of its entries are annotated.
        pred: list of (N, N) matrices with the same meaning; a relation with a -1 is never right.

    Returns:
        {"all", "occluding"}: percent, NaN without such a pair.

    Raises:
        ValueError: as `occlusion_counts`.
    """
    pairs = flatten({"gt": gt, "pred": pred}, {"gt": (-1, 1), "pred": (-1, 1)})
    truth, said = pairs.values["gt"], pairs.values["pred"]
    there, back = truth, truth[pairs.transposed]
    counted = (pairs.row < pairs.col) & (there >= 0) & (back >= 0)
    right = (said == there) & (said[pairs.transposed] == back)
    return {
        "all": 100.0 * mean_or_nan(right[counted]),
        "occluding": 100.0 * mean_or_nan(right[counted & ((there == 1) | (back == 1))]),
    }


def direction_accuracy(gt, score, *, among=None) -> float:
    """Share of the one-way occlusions whose direction is right, in percent.

    Of every pair of which the ground truth says that one instance occludes the other and not the
    reverse, a score that is larger in the true direction counts 1, equal scores count 1/2 (a coin).
    So it asks who is in front where somebody is known to be, at no threshold: a method that finds
    no occlusion has 50, as guessing has.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        score: list of (N, N), finite: the larger, the rather the row occludes the column
            (probabilities, or a 0 / 1 matrix).
        among: list of bool (N,), the instances that pairs are made of; None = all.

    Returns:
        Percent over the pairs of the data set; NaN without such a pair.

    Raises:
        ValueError: different numbers of images; shapes that differ; a score that is not finite.
    """
    gt, score = [np.asarray(m) for m in gt], [np.asarray(m, float) for m in score]
    members = [np.ones(len(m), bool) for m in gt] if among is None else list(among)
    if not len(gt) == len(score) == len(members):
        raise ValueError(f"{len(gt)} images, but {len(score)} of scores, {len(members)} of members")
    right = [np.zeros(0)]
    for index, (truth, value, member) in enumerate(zip(gt, score, members, strict=True)):
        side = len(truth)
        found = truth.shape, value.shape, np.shape(member)
        if found != ((side, side), (side, side), (side,)):
            raise ValueError(f"image {index}: expected (N, N), (N, N) and (N,), got {found}")
        if not np.isfinite(value).all():
            raise ValueError(f"image {index}: a score is not finite")
        one_way = (truth == 1) & (truth.T == 0) & np.outer(member, member)
        right.append(((np.sign(value - value.T) + 1) / 2)[one_way])
    return 100.0 * mean_or_nan(np.concatenate(right))
