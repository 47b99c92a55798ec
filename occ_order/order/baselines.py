"""Order without a network: by area, by height in the image, by a disparity map.

The baselines of Lee & Park (CVPR 2022), and the bottom edge. Each gives a number to every instance;
of two instances the one with the larger number is in front. What "in front" says depends on
``order``:

* ``"occlusion"``: the one in front occludes the other. By default only for *bordering* pairs
  (masks that touch or overlap), as published; all other pairs are 0.
* ``"depth"``: the one in front is closer. By default for all pairs; pairs left out are -1.

An instance with an empty mask has no area, place or disparity: it occludes nothing and its depth is
-1 with everybody.
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
    """In front = the larger visible area; of equal areas the lower index.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; by default as the module says.
        gap: most pixels between two masks that border, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "deocclusion_cocoa" for the rule that deocclusion uses on COCOA: the
            smaller area is in front, of equal areas the higher index. (InstaOrder's code takes
            the larger area for every data set, as None does.)

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
    """In front = the lower bottom edge (larger last row), as of things that stand on one ground.

    Equal rows mean equal depth (2) and no occlusion.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; by default as the module says.
        gap: most pixels between two masks that border, see
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
    """In front = lower in the image (larger mean row); of equal means the lower index.

    Args:
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        pairs: "all", "bordering" or "overlapping"; by default as the module says.
        gap: most pixels between two masks that border, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "instaorder" for what the published code does on InstaOrder and COCOA: for
            occlusion it is upside down (the instance *higher* in the image occludes, of equal
            means the higher index); its depth is as with None. On KINS the published code is as
            with None.

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
    """In front = the larger disparity, the "MiDaS (mean / median)" rows of the paper.

    Masks are not perfect, so the paper ignores the top and bottom 5 % of the disparities inside one
    (its footnote 3): of n values the ``floor(trim n)`` largest and as many of the smallest are left
    out, and the rest is averaged. Exactly equal numbers mean equal depth (2) and no occlusion.

    Args:
        disparity_map: (H, W), larger = nearer, any scale and offset.
        masks: (N, H, W) modal masks, nonzero = inside.
        order: "occlusion" or "depth".
        statistic: "mean" or "median".
        trim: share of the values that are ignored at either end, in [0, 0.5).
        pairs: "all", "bordering" or "overlapping"; by default as the module says.
        gap: most pixels between two masks that border, see
            :func:`occ_order.masks.bordering_pairs`.
        compat: None, or "instaorder" for the published code, which averages the depth
            ``1 / (disparity + 1e-6)`` instead, replaces values beyond the quantiles ``trim`` and
            ``1 - trim`` by these (clipping) and takes the lower of two middle values as median.

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
    """float64 (N,) pixels, NaN where empty."""
    pixels = masks.sum(axis=(1, 2)).astype(np.float64)
    pixels[pixels == 0] = np.nan
    return pixels


def _average(values: np.ndarray, statistic: str, trim: float) -> float:
    """Mean or median without the ``floor(trim n)`` smallest and largest of n values."""
    if len(values) == 0:
        return np.nan
    ignored = int(trim * len(values))
    kept = np.sort(values)[ignored : len(values) - ignored]
    if statistic == "median":
        return float(np.median(kept))
    # Relative to the smallest, so that constant values give the same mean whatever their number.
    return float(kept[0] + (kept - kept[0]).mean())


def _published_average(values: np.ndarray, statistic: str, trim: float) -> float:
    """Mean or lower median of the values clipped to two of their quantiles."""
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
    """Order matrix of the chosen pairs; ``tie``: "lower" or "higher" index in front, or "equal"."""
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
