"""Recall, precision and F1 of occlusion matrices (Lee & Park, supplement, Eq. A1-A3)."""

from __future__ import annotations

import numpy as np

from occ_order.metrics.matrices import flatten, mean_or_nan, ratio

OCCLUSION_RATIOS = ("recall", "precision", "f1")
"""Scores of `occlusion_scores`."""


def occlusion_counts(gt, pred, *, bidirectional: bool = True) -> np.ndarray:
    """Count true positives, false negatives and false positives of every image.

    An entry (i, j) is positive if i occludes j; a mutual occlusion is two positives. The diagonal
    and entries with ground truth -1 (not annotated) are ignored. A predicted -1 (unknown) counts as
    0, so that omitting a pair cannot increase a score.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        pred: list of (N, N) matrices with the same meaning.
        bidirectional: False ignores pairs with mutual occlusion in the ground truth (the "without
            bidirectional" rows of Table A1).

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
    """Compute recall, precision and F1 of "i occludes j" over a data set, in percent.

    With TP, FN, FP from `occlusion_counts`: recall = TP / (TP + FN) (A1), precision =
    TP / (TP + FP) (A2), F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of the two (A3).

    - `average="global"` (default): the equations, with sums over the data set.
    - `average="image"`: the mean over images of the three ratios of each image, as in the published
      evaluation code. With `zero_division=1`, an image without positives has scores 100 / 100 / 100
      (recall / precision / F1) without predicted positives and 100 / 0 / 0 with some; an image
      with positives but without predicted ones has 0 / 100 / 0.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        pred: list of (N, N) matrices with the same meaning; -1 counts as 0.
        average: "global" or "image".
        zero_division: value of 0 / 0, as a fraction (1.0 is 100 percent). NaN makes undefined
            scores NaN, which are ignored in an image average.
        bidirectional: False ignores pairs with mutual occlusion in the ground truth.

    Returns:
        {"recall", "precision", "f1"}: percent; NaN without images.

    Raises:
        ValueError: unknown average, or an error of `occlusion_counts`.

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
    """Compute `occlusion_scores` from counts, which can be computed in parallel.

    Args:
        counts: (num_images, 3), result of `occlusion_counts`.
        average: "global" or "image".
        zero_division: value of 0 / 0, as a fraction.

    Returns:
        {"recall", "precision", "f1"}: percent.

    Raises:
        ValueError: unknown average, or counts that are not (num_images, 3).
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != 3:
        raise ValueError(f"counts must have shape (num_images, 3), got {counts.shape}")
    if average not in ("global", "image"):
        raise ValueError(f"average must be 'global' or 'image', got {average!r}")
    if len(counts) == 0:
        return dict.fromkeys(OCCLUSION_RATIOS, float("nan"))
    if average == "global":
        counts = counts.sum(0, keepdims=True)
    ratios = occlusion_ratios(counts, zero_division=zero_division)
    scores = zip(OCCLUSION_RATIOS, ratios.T, strict=True)
    return {name: 100.0 * mean_or_nan(values) for name, values in scores}


def occlusion_ratios(counts: np.ndarray, *, zero_division: float = 1.0) -> np.ndarray:
    """Compute recall, precision and F1 of each row of counts.

    Args:
        counts: (M, 3), true positives, false negatives, false positives.
        zero_division: value of 0 / 0.

    Returns:
        float64 (M, 3), fractions, in the order of `OCCLUSION_RATIOS`.
    """
    hit, missed, wrong = counts.T
    ratios = (
        ratio(hit, hit + missed, zero_division),
        ratio(hit, hit + wrong, zero_division),
        ratio(2 * hit, 2 * hit + missed + wrong, zero_division),
    )
    return np.stack(ratios, 1)


def pair_accuracy(gt, pred) -> dict[str, float]:
    """Compute the accuracy of the occlusion relation of pairs over the data set, in percent.

    The relation of two instances is one of four: none, first over second, second over first, both.
    These are the accuracies of PCNet-M: "all" over all pairs, "occluding" over the pairs with an
    occlusion in the ground truth.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated; a pair
            is ignored unless both of its entries are annotated.
        pred: list of (N, N) matrices with the same meaning; a relation with -1 is always wrong.

    Returns:
        {"all", "occluding"}: percent, NaN without such pairs.

    Raises:
        ValueError: as `occlusion_counts`.
    """
    return pair_accuracy_from_counts(pair_accuracy_counts(gt, pred))


def pair_accuracy_counts(gt, pred) -> np.ndarray:
    """Count the pairs of a data set for `pair_accuracy`, which has the same arguments and errors.

    Returns:
        int64 (2, 2): right pairs and pairs, [0] of all pairs, [1] of those with an occlusion.
    """
    pairs = flatten({"gt": gt, "pred": pred}, {"gt": (-1, 1), "pred": (-1, 1)})
    truth, said = pairs.values["gt"], pairs.values["pred"]
    there, back = truth, truth[pairs.transposed]
    counted = (pairs.row < pairs.col) & (there >= 0) & (back >= 0)
    right = (said == there) & (said[pairs.transposed] == back)
    groups = counted, counted & ((there == 1) | (back == 1))
    return np.array([[right[group].sum(), group.sum()] for group in groups], np.int64)


def pair_accuracy_from_counts(counts: np.ndarray) -> dict[str, float]:
    """Compute `pair_accuracy` from the sum of `pair_accuracy_counts`."""
    fractions = ratio(counts[:, 0], counts[:, 1], float("nan")).tolist()
    return {n: 100.0 * value for n, value in zip(("all", "occluding"), fractions, strict=True)}


def direction_accuracy(gt, score, *, among=None) -> float:
    """Compute the accuracy of the direction of one-way occlusions, in percent.

    For every pair with an occlusion in exactly one direction in the ground truth, a larger score in
    that direction counts 1, equal scores count 1/2. The metric is independent of a threshold and
    ignores whether an occlusion is detected: a method that never predicts an occlusion has 50, the
    same as random guessing.

    Args:
        gt: list of (N, N) matrices, 1 = row occludes column, 0 = not, -1 = not annotated.
        score: list of (N, N), finite; larger = the row is more likely to occlude the column
            (probabilities, or a 0 / 1 matrix).
        among: list of bool (N,), instances whose pairs are evaluated; None = all.

    Returns:
        Percent over the pairs of the data set; NaN without such pairs.

    Raises:
        ValueError: different numbers of images; different shapes; a score that is not finite.
    """
    gt, score = [np.asarray(m) for m in gt], [np.asarray(m, float) for m in score]
    members = [np.ones(len(m), bool) for m in gt] if among is None else list(among)
    if not len(gt) == len(score) == len(members):
        raise ValueError(f"{len(gt)} images, but {len(score)} of scores, {len(members)} of members")
    counts = np.zeros(2, np.int64)
    for index, image in enumerate(zip(gt, score, members, strict=True)):
        try:
            counts += direction_counts(*image)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return direction_accuracy_from_counts(counts)


def direction_counts(gt: np.ndarray, score: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Count the one-way occlusions of an image for `direction_accuracy`.

    Args:
        gt: (N, N), see `direction_accuracy`.
        score: (N, N).
        member: bool (N,), instances whose pairs are evaluated.

    Returns:
        int64 (2,): twice the number of correct directions, where equal scores count 1/2, and the
        number of pairs.

    Raises:
        ValueError: different shapes; a score that is not finite.
    """
    gt, score = np.asarray(gt), np.asarray(score, float)
    found, side = (gt.shape, score.shape, np.shape(member)), len(gt)
    if found != ((side, side), (side, side), (side,)):
        raise ValueError(f"expected (N, N), (N, N) and (N,), got {found}")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    one_way = (gt == 1) & (gt.T == 0) & np.outer(member, member)
    halves = np.sign(score - score.T)[one_way] + 1
    return np.array([halves.sum(), len(halves)], np.int64)


def direction_accuracy_from_counts(counts: np.ndarray) -> float:
    """Compute `direction_accuracy` from the sum of `direction_counts`."""
    halves, pairs = counts.tolist()
    return 100.0 * (halves / (2 * pairs)) if pairs else float("nan")
