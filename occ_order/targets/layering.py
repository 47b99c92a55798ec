"""Layering maps: the number of occluders of each part of an object, and their decoding.

The maps of "Learning Semantics-aware Distance Map with Semantics Layering Network for Amodal
Instance Segmentation" (Zhang et al., ACM MM 2019), sections 3 and 4, in a consistent
interpretation.

Shapes: ``N`` objects, ``K`` levels, ``H, W`` image size. A *level* ``L`` is the number of objects
    in
front of an object at a pixel: 0 = visible, l = hidden behind l objects, -1 = outside the object.
``C`` in [0, 1) is the confidence that the pixel belongs to the object, and ``M = C - L`` its
semantics-aware distance ("sem-dist") map, so M at level l is in [-l, 1 - l).

Data sets and networks here use levels (or probabilities of levels) and confidences; M is only for
export. Decoding M takes the floor exactly at the values of a perfect map, so that noise of 0.01
destroys it, while `level_set` values tolerate noise of 0.1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAX_LEVEL = 127
"""Maximum level of int8 maps; deeper parts have this level."""

DEFAULT_LEVELS = 4
"""Default number of levels K: with 4, the last one (hidden behind 3 or more) is rarely clipped."""

_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))

ConfidenceAndLevel = tuple[np.ndarray, np.ndarray]


class Layering(NamedTuple):
    """Decoded layering map of N objects (or of one, without the first axis)."""

    modal: np.ndarray
    """bool (N, H, W), modal masks."""
    amodal: np.ndarray
    """bool (N, H, W), amodal masks, which contain `modal`."""
    levels: np.ndarray
    """int8 (N, H, W): -1 outside the amodal mask, 0 visible, l hidden behind l objects."""


# ------------------------------------------------------------------------------- ground truth


def visibility_levels(
    amodal: np.ndarray,
    order: np.ndarray,
    *,
    modal: np.ndarray | None = None,
    num_levels: int | None = None,
) -> np.ndarray:
    """Compute the level of every object at every pixel (section 3).

    ``L_i(p)`` is the number of objects j in front of i at p whose amodal mask contains p: all of
    them would have to be removed to see i at p. A total order of the objects at p results in the
    levels 0..n-1, each once.

    Objects with mutual occlusion (rider and horse) have different orders at different pixels, so
    only `modal` determines who is in front: the object visible at p. If neither is visible, or
    without `modal`, neither counts as being in front of the other, as for pairs of unknown order
    (-1) or without order.

    `modal`, if given, overrides the order with respect to visibility: visible pixels have level 0
    and hidden ones at least 1. Thus data sets with visible masks but without order have maps of two
    levels.

    Args:
        amodal: bool (N, H, W).
        order: occlusion matrix (N, N), ``order[i, j] == 1`` iff i occludes j, 0 no, -1 unknown.
        modal: bool (N, H, W); pixels outside `amodal` are ignored.
        num_levels: clip to ``num_levels - 1``; None = clip only to `MAX_LEVEL`.

    Returns:
        int8 (N, H, W): -1 outside the amodal mask, 0 visible, l hidden behind l objects.

    Raises:
        ValueError: wrong shapes or dtypes, values of `order` outside {-1, 0, 1}, or
            `num_levels` outside 1..128.
    """
    amodal, order = _check_masks(amodal, "amodal"), _check_order(order, len(amodal))
    last = MAX_LEVEL if num_levels is None else _check_num_levels(num_levels) - 1
    if modal is not None:
        modal = _check_masks(modal, "modal")
        if modal.shape != amodal.shape:
            raise ValueError(f"modal has shape {modal.shape}, amodal {amodal.shape}")
    in_front, mutual = _front_and_mutual(order)
    boxes = mask_boxes(amodal)
    levels = np.full(amodal.shape, -1, dtype=np.int8)
    for i, (y0, y1, x0, x1) in enumerate(boxes):
        crop = (slice(y0, y1), slice(x0, x1))
        count = np.zeros((y1 - y0, x1 - x0), dtype=np.int32)
        meets = _boxes_meeting(boxes, i)
        for j in np.flatnonzero(in_front[:, i] & meets):
            count += amodal[j][crop]
        if modal is not None:
            for j in np.flatnonzero(mutual[:, i] & meets):
                count += modal[j][crop] & amodal[j][crop] & ~modal[i][crop]
            count = np.where(modal[i][crop], 0, np.maximum(count, 1))
        inside = amodal[i][crop]
        levels[i][crop][inside] = np.minimum(count, last)[inside]
    return levels


def global_layers(amodal: np.ndarray, *, num_levels: int = DEFAULT_LEVELS) -> np.ndarray:
    """Compute the global layering map G (Section 4.3, Fig. 1): covered by more than l objects.

    Args:
        amodal: bool (N, H, W).
        num_levels: K, number of layers.

    Returns:
        bool (K, H, W); ``G[l]`` is [number of amodal masks at the pixel > l], so ``G[0]`` is
        their union and each layer contains the next.

    Raises:
        ValueError: `amodal` is not bool (N, H, W), or `num_levels` outside 1..128.
    """
    amodal = _check_masks(amodal, "amodal")
    thresholds = np.arange(_check_num_levels(num_levels))
    # Counting up to K suffices, which keeps the sums in one byte.
    count = np.zeros(amodal.shape[1:], dtype=np.uint8)
    for mask in amodal:
        count += mask & (count < len(thresholds))
    return count > thresholds[:, None, None]


def instance_layers(levels: np.ndarray, *, num_levels: int = DEFAULT_LEVELS) -> np.ndarray:
    """Return the instance layering target (section 4.5), one-hot over {outside, level 0..K-1}.

    Args:
        levels: int8 (N, H, W), -1 outside.
        num_levels: K; deeper levels are clipped to the last one.

    Returns:
        bool (N, K + 1, H, W); channel 0 = outside, channel l + 1 = level l. Exactly one channel is
        set at every pixel.

    Raises:
        ValueError: `levels` is not integer (N, H, W), or `num_levels` outside 1..128.
    """
    clipped = _clipped_levels(levels, num_levels)
    return clipped[:, None] == np.arange(-1, num_levels)[:, None, None]


def ordinal_targets(levels: np.ndarray, *, num_levels: int = DEFAULT_LEVELS) -> np.ndarray:
    """Return the targets of the refinement block: inside the object, at level l or less.

    The probabilities of these nested events can be trained by binary cross-entropy (unlike M, which
    is not a probability) and interpolated without creating intermediate levels along borders.

    Args:
        levels: int8 (N, H, W), -1 outside.
        num_levels: K; deeper levels are clipped to the last one.

    Returns:
        bool (N, K, H, W); ``Y[:, 0]`` is the modal mask, ``Y[:, K - 1]`` the amodal mask, and
        each is contained in the next.

    Raises:
        ValueError: as `instance_layers`.
    """
    clipped = _clipped_levels(levels, num_levels)[:, None]
    return (clipped >= 0) & (clipped <= np.arange(num_levels)[:, None, None])


def decode_ordinal(prob: np.ndarray, *, threshold: float = 0.5) -> Layering:
    """Decode ordinal probabilities to masks and levels, the inverse of `ordinal_targets`.

    Args:
        prob: float (N, K, H, W), probability of "inside, at level l or less". Should not decrease
            with l; the running maximum is used, so that amodal masks contain modal ones.
        threshold: c, probability threshold.

    Returns:
        `Layering` of (N, H, W) arrays; the level is the number of l with probability <= c.

    Raises:
        ValueError: `prob` does not have four axes or has no levels.
    """
    prob = np.asarray(prob)
    if prob.ndim != 4 or prob.shape[1] == 0:
        raise ValueError(f"prob must be (N, K, H, W) with K >= 1, got shape {prob.shape}")
    above = np.logical_or.accumulate(prob > threshold, axis=1)
    return _layering((~above).sum(axis=1), above[:, -1])


# ------------------------------------------------------------------------------ sem-dist maps


def sem_dist(
    levels: np.ndarray, confidence: np.ndarray | None = None, *, eps: float = 1e-3
) -> np.ndarray:
    """Compute the semantics-aware distance map ``M = C - L`` (Eq. 1).

    Outside the object L is 0 and C small, so that M = C is in [0, c). C is clipped to [0, 1 - eps]:
    with C = 1, the fractional part in Eq. 3 would be 0 and the mask empty.

    Args:
        levels: int8 (..., H, W), -1 outside.
        confidence: float (..., H, W) in [0, 1]; None = 1 - eps inside, 0 outside.
        eps: minimum difference of C from 1; positive and below 0.5.

    Returns:
        float32 (..., H, W) in [-MAX_LEVEL, 1).

    Raises:
        ValueError: `levels` is not integer, shapes differ, `confidence` outside [0, 1] or NaN,
            or `eps` outside (0, 0.5) or too small for float32 at these levels.
    """
    levels = np.asarray(levels)
    if not np.issubdtype(levels.dtype, np.integer):
        raise ValueError(f"levels must be integer, got {levels.dtype}")
    depth = np.maximum(levels, 0).astype(np.float32)
    resolution = np.spacing(np.float32(depth.max(initial=1)))
    if not resolution < eps < 0.5:
        raise ValueError(f"eps must lie in ({resolution:.1e}, 0.5) for these levels, got {eps}")
    confidence = (levels >= 0) if confidence is None else np.asarray(confidence)
    if confidence.shape != levels.shape:
        raise ValueError(f"confidence has shape {confidence.shape}, levels {levels.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence must lie in [0, 1] and not be NaN")
    return np.minimum(confidence.astype(np.float32), np.float32(1 - eps)) - depth


def split_sem_dist(values: np.ndarray) -> ConfidenceAndLevel:
    """Split a sem-dist map into confidence and level (Eq. 2-3).

    ``L = -floor(M)``, ``C = M - floor(M)``. The floor is towards minus infinity; truncation would
    increase the level of all hidden pixels by one. Values of 1 and more, which no map can have, are
    clipped to just below 1.

    Args:
        values: float32 or float64 (..., H, W), M.

    Returns:
        ``(confidence, level)``: float in [0, 1) of the dtype of `values`, and int16 in
        0..MAX_LEVEL. The level is undefined where the confidence is low.

    Raises:
        ValueError: not floating, float16 (too coarse near 4 for the confidence), or not finite.
    """
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating) or values.dtype == np.float16:
        raise ValueError(f"a sem-dist map must be float32 or float64, got {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("a sem-dist map must be finite")
    values = np.minimum(values, _BELOW_ONE)
    floor = np.floor(values)
    return values - floor, np.minimum(-floor, MAX_LEVEL).astype(np.int16)


def decode_sem_dist(values: np.ndarray, *, threshold: float = 0.5) -> Layering:
    """Decode sem-dist maps to masks and levels (Eq. 2-3 with the threshold c of Section 3).

    Modal: level 0 and C > c. Amodal: C > c.

    Args:
        values: float32 or float64 (..., H, W), M.
        threshold: c.

    Returns:
        `Layering` of arrays of the shape of `values`.

    Raises:
        ValueError: as `split_sem_dist`.
    """
    confidence, level = split_sem_dist(values)
    return _layering(level, confidence > threshold)


def level_set(levels: np.ndarray, *, num_levels: int = DEFAULT_LEVELS) -> np.ndarray:
    """Return the level-set representation of a layering map (Fig. 2); background is the lowest.

    Args:
        levels: integer (..., H, W), -1 outside.
        num_levels: K; deeper levels are clipped to the last one.

    Returns:
        float32 (..., H, W): 1 visible, 1 - l hidden behind l objects, -(K - 1) outside.

    Raises:
        ValueError: `levels` is not integer, or `num_levels` outside 1..128.
    """
    clipped = _clipped_levels(levels, num_levels)
    return np.where(clipped < 0, 1 - num_levels, 1 - clipped).astype(np.float32)


def decode_level_set(
    values: np.ndarray, *, num_levels: int = DEFAULT_LEVELS, threshold: float = 0.5
) -> Layering:
    """Decode a level-set map to masks and levels, the inverse of `level_set` (Fig. 2).

    Modal: value > c. Amodal: value > c - (K - 1). Level l: c - l < value <= c - l + 1. With
    c = 0.5 all thresholds are halfway between the values, which tolerates errors below 0.5.

    Args:
        values: float (..., H, W).
        num_levels: K of the map.
        threshold: c.

    Returns:
        `Layering` of arrays of the shape of `values`.

    Raises:
        ValueError: a value is not finite, or `num_levels` outside 1..128.
    """
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise ValueError("a level-set map must be finite")
    level = np.maximum(np.floor(threshold - values) + 1, 0)
    return _layering(level, level < _check_num_levels(num_levels))


# ---------------------------------------------------------------------------------- the order


def regional_order(
    first: np.ndarray | ConfidenceAndLevel,
    second: np.ndarray | ConfidenceAndLevel,
    *,
    threshold: float = 0.5,
    overlap: str = "product",
) -> np.ndarray:
    """Compute which of two objects is nearer at each pixel that they share (Eq. 4-5).

    ``R = floor(M_A) - floor(M_B) = L_B - L_A`` on Omega, the intersection of both objects.

    Args:
        first: object A, as its sem-dist map M (H, W) or as a pair ``(confidence, level)`` of
            (H, W) arrays (prefer the pair for predictions, which avoids the floor).
        second: object B, likewise.
        threshold: c.
        overlap: definition of Omega: "product": C_A * C_B > c^2 (Eq. 5, which includes .9 x .3 for
            c = .5), "min": min(C_A, C_B) > c.

    Returns:
        int16 (H, W): positive where A is nearer, negative where B is, 0 = undecided or not in
        Omega.

    Raises:
        ValueError: shapes differ, a map is not finite, or unknown `overlap`.
    """
    if overlap not in ("product", "min"):
        raise ValueError(f"overlap must be 'product' or 'min', got {overlap!r}")
    conf_a, level_a = first if isinstance(first, tuple) else split_sem_dist(first)
    conf_b, level_b = second if isinstance(second, tuple) else split_sem_dist(second)
    shapes = {np.shape(a) for a in (conf_a, level_a, conf_b, level_b)}
    if len(shapes) != 1:
        raise ValueError(f"the maps of both objects must share one shape, got {sorted(shapes)}")
    if overlap == "product":
        omega = np.multiply(conf_a, conf_b, dtype=np.float64) > threshold**2
    else:
        omega = np.minimum(conf_a, conf_b) > threshold
    # Outside an object levels are -1; such pixels are in Omega only by a wrong confidence.
    nearer = np.maximum(level_b, 0).astype(np.int16) - np.maximum(level_a, 0).astype(np.int16)
    return np.where(omega, nearer, np.int16(0))


def object_order(regional: np.ndarray, *, vote: str = "component") -> int:
    """Aggregate the regional order of two objects to one order (Section 3).

    Args:
        regional: integer (H, W), R of `regional_order`.
        vote: "component": the sign of the largest 4-connected region of one sign (the paper's
            "largest region"); "area": the sign with more pixels.

    Returns:
        1 = the first object is in front, -1 = the second, 0 = undecided (no pixel, or a tie).

    Raises:
        ValueError: `regional` is not two-dimensional, or unknown `vote`.
    """
    regional = np.asarray(regional)
    if regional.ndim != 2:
        raise ValueError(f"regional must be (H, W), got shape {regional.shape}")
    if vote not in ("component", "area"):
        raise ValueError(f"vote must be 'component' or 'area', got {vote!r}")
    size = _largest_component if vote == "component" else np.count_nonzero
    ahead, behind = size(regional > 0), size(regional < 0)
    return int(ahead > behind) - int(behind > ahead)


def order_from_levels(
    levels: np.ndarray,
    confidence: np.ndarray | None = None,
    *,
    threshold: float = 0.5,
    overlap: str = "product",
    vote: str = "component",
) -> np.ndarray:
    """Compute the occlusion matrix of all objects of an image from `regional_order` of pairs.

    Args:
        levels: integer (N, H, W), -1 outside.
        confidence: float (N, H, W) in [0, 1]; None = 1 inside and 0 outside.
        threshold: c of Eq. 5.
        overlap: see `regional_order`.
        vote: see `object_order`.

    Returns:
        int8 (N, N): 1 = i is in front of j, 0 otherwise (no common pixel, or undecided).

    Raises:
        ValueError: as `regional_order` and `object_order`.
    """
    levels = np.asarray(levels)
    if levels.ndim != 3 or not np.issubdtype(levels.dtype, np.integer):
        raise ValueError(f"levels must be integer (N, H, W), got {levels.dtype} {levels.shape}")
    confidence = (levels >= 0).astype(np.float32) if confidence is None else np.asarray(confidence)
    if confidence.shape != levels.shape:
        raise ValueError(f"confidence has shape {confidence.shape}, levels {levels.shape}")
    # Under both definitions of Omega, c^2 is a lower bound of the smaller confidence.
    boxes = mask_boxes(confidence > threshold**2)
    order = np.zeros((len(levels), len(levels)), dtype=np.int8)
    for i in range(len(levels)):
        for j in np.flatnonzero(_boxes_meeting(boxes, i)[:i]):
            crop = _common_crop(boxes[i], boxes[j])
            regional = regional_order(
                (confidence[i][crop], levels[i][crop]),
                (confidence[j][crop], levels[j][crop]),
                threshold=threshold,
                overlap=overlap,
            )
            decision = object_order(regional, vote=vote)
            order[i, j], order[j, i] = decision == 1, decision == -1
    return order


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Return the tight boxes of masks, for cropping.

    Args:
        masks: bool (N, H, W).

    Returns:
        int64 (N, 4): y0, y1, x0, x1 with exclusive ends; all 0 for an empty mask.
    """
    masks = _check_masks(masks, "masks")
    boxes = np.zeros((len(masks), 4), dtype=np.int64)
    if 0 in masks.shape:
        return boxes
    for axis, columns in ((2, slice(0, 2)), (1, slice(2, 4))):
        hit = np.any(masks, axis=axis)
        boxes[:, columns.start] = hit.argmax(axis=1)
        boxes[:, columns.stop - 1] = hit.shape[1] - hit[:, ::-1].argmax(axis=1)
        boxes[~hit.any(axis=1), columns] = 0
    return boxes


# ------------------------------------------------------------------------------------ helpers


def _layering(level: np.ndarray, amodal: np.ndarray) -> Layering:
    levels = np.where(amodal, np.minimum(level, MAX_LEVEL), -1).astype(np.int8)
    return Layering(modal=levels == 0, amodal=amodal, levels=levels)


def _front_and_mutual(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bool (N, N) each: i is in front of j; i and j occlude each other."""
    occludes = order == 1
    np.fill_diagonal(occludes, False)
    mutual = occludes & occludes.T
    return occludes & ~mutual, mutual


def _boxes_meeting(boxes: np.ndarray, i: int) -> np.ndarray:
    """Return bool (N,): boxes that intersect box i (including itself unless empty)."""
    top, left = (np.maximum(boxes[:, k], boxes[i, k]) for k in (0, 2))
    bottom, right = (np.minimum(boxes[:, k], boxes[i, k]) for k in (1, 3))
    return (top < bottom) & (left < right)


def _common_crop(first: np.ndarray, second: np.ndarray) -> tuple[slice, slice]:
    (top, _, left, _), (_, bottom, _, right) = np.maximum(first, second), np.minimum(first, second)
    return slice(top, bottom), slice(left, right)


def _largest_component(mask: np.ndarray) -> int:
    """Return the number of pixels of the largest 4-connected component, 0 if empty."""
    if not mask.any():
        return 0
    import cv2  # here, so that other targets import faster

    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max())


def _clipped_levels(levels: np.ndarray, num_levels: int) -> np.ndarray:
    levels = np.asarray(levels)
    if levels.ndim < 2 or not np.issubdtype(levels.dtype, np.integer):
        raise ValueError(
            f"levels must be integer (..., H, W), got {levels.dtype} of shape {levels.shape}"
        )
    return np.minimum(levels, _check_num_levels(num_levels) - 1)


def _check_num_levels(num_levels: int) -> int:
    if not 1 <= num_levels <= MAX_LEVEL + 1:
        raise ValueError(f"num_levels must lie in 1..{MAX_LEVEL + 1}, got {num_levels}")
    return num_levels


def _check_masks(masks: np.ndarray, name: str) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.dtype != np.bool_ or masks.ndim != 3:
        raise ValueError(f"{name} must be bool (N, H, W), got {masks.dtype} of shape {masks.shape}")
    return masks


def _check_order(order: np.ndarray, num_objects: int) -> np.ndarray:
    order = np.asarray(order)
    if order.shape != (num_objects, num_objects):
        raise ValueError(
            f"order must be ({num_objects}, {num_objects}) for {num_objects} masks, "
            f"got shape {order.shape}"
        )
    if not np.isin(order, (-1, 0, 1)).all():
        raise ValueError(f"order must hold only -1, 0 and 1, got {np.unique(order).tolist()}")
    return order
