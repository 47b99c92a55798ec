"""Baselines that predict the order without a network: by area, position or a disparity map.

These are the baselines of Lee & Park (CVPR 2022), and the bottom edge. Each computes a value per
instance; of two instances the one with the larger value is in front. The meaning of "in front"
depends on ``order``:

* ``"occlusion"``: the instance in front occludes the other. By default only for *bordering* pairs
  (masks that touch or overlap), as published; all other pairs are 0.
* ``"depth"``: the instance in front is closer. By default for all pairs; pairs left out are -1.

An instance with an empty mask has no value: it occludes nothing, and its depth relations are -1.
"""

from __future__ import annotations

import numpy as np

from occ_order.masks import as_bool
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER, empty_depth, empty_occlusion
from occ_order.order.pairs import select_pairs


def area_order(
    masks: np.ndarray,
    *,
    order: str = "occlusion",
    pairs: str | None = None,
    gap: int = 0,
    compat: str | None = None,
) -> np.ndarray:
    """Predict the order by area: the larger modal mask is in front; ties: the lower index.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; default: see the module docstring.
        gap: maximum gap in pixels between bordering masks, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "deocclusion_cocoa" for the rule of deocclusion on COCOA: the smaller area
            is in front; ties: the higher index. (InstaOrder's code uses the larger area for every
            data set, like None.)

    Returns:
        int8 (N, N) occlusion or depth matrix.

    Raises:
        ValueError: unknown ``order``, ``pairs`` or ``compat``.
    """
    _check_choice("compat", compat, (None, "deocclusion_cocoa"))
    masks = as_bool(masks, 3)
    pixels = _areas(masks)
    if compat == "deocclusion_cocoa":
        return _compare(-pixels, masks, order, pairs, gap, tie="higher")
    return _compare(pixels, masks, order, pairs, gap, tie="lower")


def bottom_edge_order(
    masks: np.ndarray, *, order: str = "occlusion", pairs: str | None = None, gap: int = 0
) -> np.ndarray:
    """Predict the order by the bottom edge: the instance that ends lower in the image is in front.

    This holds for objects that stand on a common ground plane. Equal rows mean equal depth (2) and
    no occlusion.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; default: see the module docstring.
        gap: maximum gap in pixels between bordering masks, see
            :func:`occ_order.masks.bordering_pairs`.

    Returns:
        int8 (N, N) occlusion or depth matrix.

    Raises:
        ValueError: unknown ``order`` or ``pairs``.
    """
    masks = as_bool(masks, 3)
    filled = masks.any(axis=2)
    rows = np.where(filled, np.arange(masks.shape[1], dtype=np.float64), -1).max(axis=1, initial=-1)
    rows[~np.any(filled, axis=1)] = np.nan
    return _compare(rows, masks, order, pairs, gap, tie="equal")


def y_axis_order(
    masks: np.ndarray,
    *,
    order: str = "occlusion",
    pairs: str | None = None,
    gap: int = 0,
    compat: str | None = None,
) -> np.ndarray:
    """Predict the order by the mean row: the instance lower in the image is in front.

    Ties: the lower index is in front.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; default: see the module docstring.
        gap: maximum gap in pixels between bordering masks, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "instaorder" to reproduce the published code on InstaOrder and COCOA, in
            which occlusion is inverted (the instance *higher* in the image occludes; ties: the
            higher index). Its depth, and all its results on KINS, agree with None.

    Returns:
        int8 (N, N) occlusion or depth matrix.

    Raises:
        ValueError: unknown ``order``, ``pairs`` or ``compat``.
    """
    _check_choice("compat", compat, (None, "instaorder"))
    masks = as_bool(masks, 3)
    rows = masks.sum(axis=2) @ np.arange(masks.shape[1], dtype=np.float64)
    mean_row = rows / _areas(masks)
    if compat == "instaorder" and order == "occlusion":
        return _compare(-mean_row, masks, order, pairs, gap, tie="higher")
    return _compare(mean_row, masks, order, pairs, gap, tie="lower")


def disparity_order(
    disparity_map: np.ndarray,
    masks: np.ndarray,
    *,
    order: str = "depth",
    statistic: str = "mean",
    trim: float = 0.05,
    pairs: str | None = None,
    gap: int = 0,
    compat: str | None = None,
) -> np.ndarray:
    """Predict the order by disparity: the instance with the larger mean or median is in front.

    These are the "MiDaS (mean / median)" rows of the paper. Since masks are not perfect, the paper
    ignores the top and bottom 5 % of the disparities inside a mask (its footnote 3): of n values
    the ``floor(trim n)`` largest and as many of the smallest are left out, and the rest is
    averaged. Exactly equal values mean equal depth (2) and no occlusion.

    Args:
        disparity_map: (H, W), larger = nearer, any scale and offset.
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        statistic: "mean" or "median".
        trim: fraction of the values ignored at either end, in [0, 0.5).
        pairs: "all", "bordering" or "overlapping"; default: see the module docstring.
        gap: maximum gap in pixels between bordering masks, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "instaorder" to reproduce the published code, which averages the depth
            ``1 / (disparity + 1e-6)`` instead, clips values to the quantiles ``trim`` and
            ``1 - trim``, and takes the lower of the two middle values as median.

    Returns:
        int8 (N, N) occlusion or depth matrix.

    Raises:
        ValueError: sizes differ, a disparity is not finite, ``trim`` outside [0, 0.5), or an
            unknown choice.
    """
    _check_choice("compat", compat, (None, "instaorder"))
    _check_choice("statistic", statistic, ("mean", "median"))
    masks = as_bool(masks, 3)
    values = np.asarray(disparity_map, dtype=np.float64)
    if values.shape != masks.shape[1:]:
        raise ValueError(f"disparity is {values.shape}, masks are {masks.shape[1:]}")
    if not np.isfinite(values).all():
        raise ValueError("disparity has values that are not finite")
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim must be in [0, 0.5), got {trim}")
    if compat == "instaorder":
        depth = 1 / (values + 1e-6)
        means = [-_published_average(depth[mask], statistic, trim) for mask in masks]
    else:
        means = [_average(values[mask], statistic, trim) for mask in masks]
    nearness = np.array(means, dtype=np.float64)
    return _compare(nearness, masks, order, pairs, gap, tie="equal")


def _areas(masks: np.ndarray) -> np.ndarray:
    """Return the area of each mask in pixels, float64 (N,); NaN for an empty mask."""
    pixels = masks.sum(axis=(1, 2)).astype(np.float64)
    pixels[pixels == 0] = np.nan
    return pixels


def _average(values: np.ndarray, statistic: str, trim: float) -> float:
    """Return the mean or median without the ``floor(trim n)`` smallest and largest of n values."""
    if len(values) == 0:
        return np.nan
    ignored = int(trim * len(values))
    kept = np.sort(values)[ignored : len(values) - ignored]
    if statistic == "median":
        return float(np.median(kept))
    # Averaged relative to the minimum, so that rounding does not make the means of two instances
    # with the same constant value differ.
    return float(kept[0] + (kept - kept[0]).mean())


def _published_average(values: np.ndarray, statistic: str, trim: float) -> float:
    """Return the mean or lower median of the values clipped to their outer quantiles."""
    if len(values) == 0:
        return np.nan
    low, high = np.quantile(values, [trim, 1 - trim])
    clipped = np.clip(values, low, high)
    if statistic == "median":
        middle = (len(clipped) - 1) // 2
        return float(np.partition(clipped, middle)[middle])
    return float(low + (clipped - low).mean())


def _compare(
    nearness: np.ndarray, masks: np.ndarray, order: str, kind: str | None, gap: int, *, tie: str
) -> np.ndarray:
    """Return the order matrix that ranks pairs by ``nearness``, float64 (N,), NaN = no value.

    ``tie`` decides equal values: the "lower" or "higher" index is in front, or "equal".
    """
    _check_choice("order", order, ("occlusion", "depth"))
    kind = kind or {"occlusion": "bordering", "depth": "all"}[order]
    first, second = select_pairs(masks, kind, gap=gap).T
    known = ~(np.isnan(nearness[first]) | np.isnan(nearness[second]))
    first, second = first[known], second[known]
    difference = nearness[first] - nearness[second]
    if tie != "equal":
        difference = np.where(difference == 0, 1 if tie == "lower" else -1, difference)
    if order == "occlusion":
        occ = empty_occlusion(len(masks))
        occ[first, second] = difference > 0
        occ[second, first] = difference < 0
        return occ
    depth = empty_depth(len(masks))[0]
    for sign, forward, backward in ((1, CLOSER, FARTHER), (-1, FARTHER, CLOSER), (0, EQUAL, EQUAL)):
        chosen = np.sign(difference) == sign
        depth[first[chosen], second[chosen]] = forward
        depth[second[chosen], first[chosen]] = backward
    return depth


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
