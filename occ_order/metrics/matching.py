"""Mask IoU and the greedy one-to-one matching shared by all instance metrics.

Shape letters: P predictions, G ground-truth instances, H x W the image, T thresholds.
"""

from __future__ import annotations

import numpy as np

_WORDS_AT_ONCE = 1 << 16  # of 8 bytes: block size of the mask comparison, to stay in the cache


def mask_stack(masks, name: str = "masks") -> np.ndarray:
    """Validate a stack of masks and convert it to bool.

    Args:
        masks: (N, H, W), bool, or numbers that are all 0 or 1.
        name: name of the argument in error messages.

    Returns:
        bool (N, H, W); the same object if it is bool already.

    Raises:
        ValueError: not three-dimensional, or values other than 0 and 1.
    """
    array = np.asarray(masks)
    if array.ndim != 3:
        raise ValueError(f"{name} must have shape (N, H, W), got {array.shape}")
    if array.dtype == bool:
        return array
    if array.size and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1, got {np.unique(array)[:8]}")
    return array.astype(bool)


def _popcount(words: np.ndarray) -> np.ndarray:
    """Count the set bits of each uint64 word; NumPy < 2 has no bitwise_count, so use a table."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    table = np.unpackbits(np.arange(1 << 16, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1)
    counts = table.sum(1, dtype=np.uint8)[words.view(np.uint16)]
    return counts.reshape(*words.shape, 4).sum(-1, dtype=np.uint8)


def _pack(masks: np.ndarray) -> np.ndarray:
    """Pack bool (N, H, W) to uint64 (N, ceil(H * W / 64)): pixel p is bit p % 64, zero-padded."""
    num, pixels = len(masks), masks.shape[1] * masks.shape[2]
    octets = np.zeros((num, -(-pixels // 64) * 8), np.uint8)
    packed = np.packbits(masks.reshape(num, pixels), axis=1, bitorder="little")
    octets[:, : -(-pixels // 8)] = packed
    return octets.view("<u8")


def overlap_counts(pred_masks, gt_masks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the shared pixels of predicted and ground-truth masks, and their areas.

    Masks are bit-packed and compared only in the range of words where they have pixels, so that the
    cost depends on the size of the instances more than on that of the image.

    Args:
        pred_masks: (P, H, W), bool or 0/1.
        gt_masks: (G, H, W), bool or 0/1.

    Returns:
        int64 (P, G) shared pixels, int64 (P,) and (G,) areas.

    Raises:
        ValueError: not (N, H, W), values other than 0 and 1, or images of different sizes.
    """
    pred, gt = mask_stack(pred_masks, "pred_masks"), mask_stack(gt_masks, "gt_masks")
    if pred.shape[1:] != gt.shape[1:]:
        raise ValueError(
            f"masks of different images: pred_masks {pred.shape} and gt_masks {gt.shape}"
        )
    pred_bits, gt_bits = _pack(pred), _pack(gt)
    pred_area = _popcount(pred_bits).sum(1, dtype=np.int64)
    gt_area = _popcount(gt_bits).sum(1, dtype=np.int64)
    shared = np.zeros((len(pred), len(gt)), np.int64)
    if shared.size == 0 or pred_bits.size == 0:
        return shared, pred_area, gt_area
    rows = max(1, _WORDS_AT_ONCE // gt_bits.size)
    for start in range(0, len(pred), rows):
        bits = pred_bits[start : start + rows]
        used = np.flatnonzero((bits != 0).any(0))
        if used.size:
            window = slice(used[0], used[-1] + 1)
            both = bits[:, None, window] & gt_bits[None, :, window]
            shared[start : start + rows] = _popcount(both).sum(2, dtype=np.int64)
    return shared, pred_area, gt_area


def mask_iou(pred_masks, gt_masks) -> np.ndarray:
    """Compute the IoU of all predicted with all ground-truth masks.

    Args:
        pred_masks: (P, H, W), bool or 0/1.
        gt_masks: (G, H, W), bool or 0/1.

    Returns:
        float64 (P, G) in [0, 1]; 0 if both masks are empty.

    Raises:
        ValueError: as `overlap_counts`.
    """
    return iou_from_counts(*overlap_counts(pred_masks, gt_masks))


def iou_from_counts(shared, pred_area, gt_area) -> np.ndarray:
    """Compute `mask_iou`, float64 (P, G), from the result of `overlap_counts`."""
    union = pred_area[:, None] + gt_area[None, :] - shared
    return shared / np.maximum(union, 1)


def match_greedy(
    iou, scores=None, *, iou_threshold: float = 0.5, pred_classes=None, gt_classes=None
) -> np.ndarray:
    """Match predictions to ground truth one-to-one, in descending order of score.

    Each prediction is matched to the unmatched ground-truth instance of its class with the largest
    IoU, if that *exceeds* the threshold (the matching of the OAIR curve; Baselizadeh et al.,
    section 4).

    Args:
        iou: (P, G) in [0, 1].
        scores: (P,); ties keep their order. None = the order of the input.
        iou_threshold: exclusive lower bound.
        pred_classes: (P,), with gt_classes (G,): only equal classes match. None = any class.
        gt_classes: (G,).

    Returns:
        int64 (P,): index of the matched ground-truth instance, -1 = unmatched.

    Raises:
        ValueError: inconsistent shapes, IoU outside [0, 1], NaN scores, classes for only one of
            both.
    """
    return match_greedy_sweep(
        iou,
        scores,
        iou_thresholds=[iou_threshold],
        pred_classes=pred_classes,
        gt_classes=gt_classes,
    )[0]


def match_greedy_sweep(
    iou, scores=None, *, iou_thresholds, pred_classes=None, gt_classes=None
) -> np.ndarray:
    """Compute `match_greedy` for several thresholds at once.

    Args:
        iou: (P, G) in [0, 1].
        scores: (P,) or None.
        iou_thresholds: (T,).
        pred_classes: (P,) or None.
        gt_classes: (G,) or None.

    Returns:
        int64 (T, P): index of the matched ground-truth instance, -1 = unmatched.

    Raises:
        ValueError: as `match_greedy`.
    """
    iou = np.asarray(iou, float)
    thresholds = np.asarray(iou_thresholds, float).reshape(-1)
    if iou.ndim != 2:
        raise ValueError(f"iou must have shape (P, G), got {iou.shape}")
    if not ((iou >= 0) & (iou <= 1)).all():
        raise ValueError("iou must lie in [0, 1]")
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ValueError(f"IoU thresholds must lie in [0, 1], got {thresholds.tolist()}")
    order = _score_order(scores, len(iou))
    wanted = _same_class(iou, pred_classes, gt_classes)
    # Only pairs above the smallest threshold can match, mostly at most one per row.
    wanted = np.where(wanted > thresholds.min(initial=1.0), wanted, -1.0)
    matches = np.full((len(thresholds), len(iou)), -1, np.int64)
    if wanted.size == 0 or len(thresholds) == 0:
        return matches
    candidates = wanted >= 0
    if candidates.sum(0).max() <= 1 and candidates.sum(1).max() <= 1:
        best = wanted.argmax(1)
        hit = wanted.max(1)[None, :] > thresholds[:, None]
        return np.where(hit, best[None, :], -1)
    free = np.ones((len(thresholds), wanted.shape[1]), bool)
    rows = np.arange(len(thresholds))
    for pred in order[np.any(candidates, axis=1)[order]]:
        offers = np.where(free, wanted[pred], -1.0)
        best = offers.argmax(1)
        hit = offers[rows, best] > thresholds
        matches[hit, pred] = best[hit]
        free[rows[hit], best[hit]] = False
    return matches


def partners(matches, num_gt: int) -> np.ndarray:
    """Invert a matching.

    Args:
        matches: int (P,), result of `match_greedy`.
        num_gt: G.

    Returns:
        int64 (G,): index of the matched prediction of each ground-truth instance, -1 = unmatched.
    """
    matches = np.asarray(matches)
    partner = np.full(num_gt, -1, np.int64)
    partner[matches[matches >= 0]] = np.flatnonzero(matches >= 0)
    return partner


def in_gt_order(matrix, partner: np.ndarray) -> np.ndarray:
    """Permute a predicted pair matrix to the rows and columns of the ground truth.

    Args:
        matrix: (P, P), or None if nothing is predicted.
        partner: (G,), result of `partners`.

    Returns:
        int64 (G, G); -1 for pairs with an unmatched instance.
    """
    moved = np.full((len(partner),) * 2, -1, np.int64)
    found = np.flatnonzero(partner >= 0)
    if matrix is not None:
        moved[np.ix_(found, found)] = np.asarray(matrix)[np.ix_(partner[found], partner[found])]
    return moved


def _score_order(scores, num_pred: int) -> np.ndarray:
    """Return the indices by descending score; ties keep their order."""
    if scores is None:
        return np.arange(num_pred)
    scores = np.asarray(scores, float)
    if scores.shape != (num_pred,):
        raise ValueError(f"scores must have shape ({num_pred},), got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"score of prediction {int(np.isnan(scores).argmax())} is NaN")
    return np.argsort(-scores, kind="stable")


def _same_class(iou: np.ndarray, pred_classes, gt_classes) -> np.ndarray:
    """Return `iou` with -1 where the classes differ."""
    if (pred_classes is None) != (gt_classes is None):
        raise ValueError("pred_classes and gt_classes must be given together")
    if pred_classes is None:
        return iou
    pred_classes, gt_classes = np.asarray(pred_classes), np.asarray(gt_classes)
    if (pred_classes.shape, gt_classes.shape) != ((iou.shape[0],), (iou.shape[1],)):
        raise ValueError(
            f"classes must have shapes ({iou.shape[0]},) and ({iou.shape[1]},), "
            f"got {pred_classes.shape} and {gt_classes.shape}"
        )
    return np.where(pred_classes[:, None] == gt_classes[None, :], iou, -1.0)
