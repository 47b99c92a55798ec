"""Selection of pairs of instances, always in the same order.

Pairs are ``int64 (P, 2)`` with first < second, sorted by first, then second (row-major order of the
upper triangle). Everything that holds one value per pair - network batches, probabilities, files -
uses this order.
"""

from __future__ import annotations

import numpy as np

from occ_order import masks as _masks

KINDS = ("all", "bordering", "overlapping")
"""Rules of :func:`select_pairs`."""


def all_pairs(num_instances: int) -> np.ndarray:
    """Return all pairs of N instances.

    Args:
        num_instances: N.

    Returns:
        int64 (N (N - 1) / 2, 2); (0, 2) for fewer than two instances.

    Raises:
        ValueError: N is negative.
    """
    if num_instances < 0:
        raise ValueError(f"number of instances must be at least 0, got {num_instances}")
    return pairs_where(np.ones((num_instances, num_instances), dtype=bool))


def bordering_pairs(masks: np.ndarray, *, gap: int = 0) -> np.ndarray:
    """Return pairs whose masks overlap or are 4-neighbours (:func:`occ_order.masks.bordering`).

    Args:
        masks: (N, H, W), nonzero = inside.
        gap: maximum gap in pixels (:func:`occ_order.masks.bordering_pairs`).

    Returns:
        int64 (P, 2).
    """
    return pairs_where(_masks.bordering_pairs(masks, gap=gap))


def overlapping_pairs(masks: np.ndarray, *, min_area: int = 1) -> np.ndarray:
    """Return pairs whose masks share pixels; meant for amodal masks.

    Args:
        masks: (N, H, W), nonzero = inside.
        min_area: minimum number of shared pixels, at least 1.

    Returns:
        int64 (P, 2).

    Raises:
        ValueError: ``min_area`` is below 1.
    """
    if min_area < 1:
        raise ValueError(f"min_area must be at least 1, got {min_area}")
    upper = np.triu(np.ones((len(masks), len(masks)), dtype=bool), 1)
    return pairs_where(_masks.overlap_areas(masks, masks, pairs=upper) >= min_area)


def select_pairs(masks: np.ndarray, kind: str = "all", *, gap: int = 0) -> np.ndarray:
    """Return the pairs selected by a rule, named as in configuration files.

    Args:
        masks: (N, H, W), nonzero = inside.
        kind: one of :data:`KINDS`.
        gap: for "bordering", see :func:`bordering_pairs`.

    Returns:
        int64 (P, 2).

    Raises:
        ValueError: unknown ``kind``.
    """
    if kind == "all":
        return all_pairs(len(masks))
    if kind == "bordering":
        return bordering_pairs(masks, gap=gap)
    if kind == "overlapping":
        return overlapping_pairs(masks)
    raise ValueError(f"pairs must be one of {', '.join(KINDS)}, got {kind!r}")


def pairs_where(related: np.ndarray) -> np.ndarray:
    """Return pairs i < j with ``related[i, j]`` or ``related[j, i]``.

    Args:
        related: (N, N), nonzero = related; the diagonal is ignored.

    Returns:
        int64 (P, 2).

    Raises:
        ValueError: not a square matrix.
    """
    related = np.asarray(related)
    if related.ndim != 2 or related.shape[0] != related.shape[1]:
        raise ValueError(f"expected (N, N), got shape {related.shape}")
    related = related != 0
    return np.argwhere(np.triu(related | related.T, 1)).astype(np.int64)


def both_directions(pairs: np.ndarray) -> np.ndarray:
    """Return the pairs followed by the same pairs reversed.

    Args:
        pairs: int (P, 2).

    Returns:
        int64 (2 P, 2): row ``P + k`` is row ``k`` reversed.

    Raises:
        ValueError: not (P, 2).
    """
    pairs = np.asarray(pairs, dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs must be (P, 2), got shape {pairs.shape}")
    return np.concatenate([pairs, pairs[:, ::-1]])
