"""Conversion of occlusion-order labels to instances (OOSIS Sections 3.2 and 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order.crf.energy import check_labels, neighbour_pairs
from occ_order.instances import OrderedInstances
from occ_order.masks import resize_nearest


@dataclass(frozen=True, eq=False)
class InstanceMap:
    """Instances of one image as a map of ids: each pixel belongs to one instance at most.

    A solution of the CRF, or ground truth as the CRF could solve it. `ordered` converts it to
    `OrderedInstances`. It stays a map until the image has its final size, because a map is resized
    at once and takes 4 bytes for each pixel whatever N is, masks one byte for each pixel and
    instance.

    Attributes:
        ids: int32 (H, W), 0 = no instance, k + 1 = instance k, -1 = void.
        classes: int64 (N,), index of the class.
        occlusion: int8 (N, N), ``occlusion[i, j] = 1`` iff i occludes j, -1 = unknown.
        scores: float64 (N,), unbounded, larger = more confident; None for ground truth.
        relative_depth: int64 (N,), label of the CRF: an occluder's is larger than what it occludes;
            None for ground truth.
    """

    ids: np.ndarray
    classes: np.ndarray
    occlusion: np.ndarray
    scores: np.ndarray | None = None
    relative_depth: np.ndarray | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.classes)

    @property
    def masks(self) -> np.ndarray:
        """Modal masks, bool (N, H, W)."""
        return self.ids[None] == np.arange(1, len(self) + 1)[:, None, None]

    def resized(self, size: Sequence[int]) -> InstanceMap:
        """Resize the map by nearest-neighbour interpolation; instances without a pixel are dropped.

        Args:
            size: height and width.
        """
        ids = resize_nearest(self.ids, size)
        pixels = np.bincount(ids[ids > 0], minlength=len(self) + 1)
        keep = np.flatnonzero(pixels[1:])
        number = np.zeros(len(self) + 2, np.int32)  # the last one is that of void, -1
        number[keep + 1], number[-1] = np.arange(1, len(keep) + 1), -1
        return InstanceMap(
            ids=number[ids],
            classes=self.classes[keep],
            occlusion=self.occlusion[np.ix_(keep, keep)],
            scores=None if self.scores is None else self.scores[keep],
            relative_depth=None if self.relative_depth is None else self.relative_depth[keep],
        )

    def ordered(self, image_id: int | str = 0) -> OrderedInstances:
        """Convert to `OrderedInstances`; the masks take N * H * W bytes.

        Args:
            image_id: id of the image.
        """
        size = self.ids.shape[0], self.ids.shape[1]
        known: dict[str, Any] = {"classes": self.classes, "scores": self.scores}
        return OrderedInstances(image_id, size, self.masks, occlusion=self.occlusion, **known)


def instances(
    labels: np.ndarray,
    *,
    class_prob: np.ndarray | None = None,
    boundary_prob: np.ndarray | None = None,
    min_area: int = 0,
) -> InstanceMap:
    """Return the connected components of equal positive labels as instances.

    By this definition, an instance that is split by an occluder becomes two instances. There is an
    occlusion edge i -> j if i touches j and has the larger label, so edges have no cycles.

    Args:
        labels: int (H, W), 0 = background.
        class_prob: float (K, H, W), probability of background (channel 0) and of K - 1 classes.
            An instance has the foreground class that most of its pixels prefer, the first of ties;
            ``classes`` are in 0..K-2. It is dropped if most of its pixels prefer the background.
        boundary_prob: float (H, W), after non-maximum suppression. The score of an instance is the
            sum over its inner border (pixels with a 4-neighbour outside the instance, except at
            the image border) minus the sum over its other pixels (Section 5.4, "ad-hoc scores").
        min_area: components with fewer pixels are dropped, with their edges. They are not merged
            into a neighbour, since a strip between two instances with the same label would connect
            them.

    Returns:
        The instances, numbered by label and then by their first pixel in reading order. Classes are
        0 without `class_prob`, scores NaN without `boundary_prob`.

    Raises:
        ValueError: inconsistent shapes, negative labels, NaN.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(f"labels: got shape {labels.shape}, expected (H, W)")
    labels = check_labels(labels, labels.shape)
    _check_maps(labels.shape, class_prob, boundary_prob)
    ids = components(labels, labels > 0)
    num_regions = int(ids.max(initial=0))
    keep = np.bincount(ids.ravel(), minlength=num_regions + 1)[1:] >= min_area
    classes = np.zeros(num_regions, np.int64)
    if class_prob is not None:
        classes, foreground = _vote(ids, np.asarray(class_prob), num_regions)
        keep &= foreground

    level = np.zeros(num_regions + 1, np.int64)
    level[ids.ravel()] = labels.ravel()
    order = np.nonzero(keep)[0]
    order = order[np.argsort(level[1:][order], kind="stable")]
    renumber = np.zeros(num_regions + 1, np.int32)
    renumber[order + 1] = np.arange(1, len(order) + 1, dtype=np.int32)
    ids = renumber[ids]
    relative_depth = level[1:][order]
    scores = np.full(len(order), np.nan)
    if boundary_prob is not None:
        scores = _scores(ids, np.asarray(boundary_prob, np.float64), len(order))
    return InstanceMap(
        ids=ids,
        classes=classes[order],
        occlusion=_edges(ids, relative_depth),
        scores=scores,
        relative_depth=relative_depth,
    )


def components(labels: np.ndarray, inside: np.ndarray, cut: np.ndarray | None = None) -> np.ndarray:
    """Label the 4-connected components of equal labels.

    Args:
        labels: int (H, W).
        inside: bool (H, W); other pixels are 0.
        cut: bool (4, H, W), neighbours (left, right, top, bottom) that are not connected; a cut
            from either side suffices.

    Returns:
        int32 (H, W), components numbered from 1 by their first pixel in reading order.
    """
    from occ_order.crf._kernels.components import label_components

    ids = np.empty(labels.shape, np.int32)
    cut = np.zeros((4, 0, 0), bool) if cut is None else np.ascontiguousarray(cut)
    label_components(np.ascontiguousarray(labels, np.int32), np.ascontiguousarray(inside), cut, ids)
    return ids


def _vote(ids: np.ndarray, class_prob: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the majority foreground class of each component, and whether it is foreground."""
    num_classes = len(class_prob)
    if num_classes < 2:
        raise ValueError(
            f"class_prob: got {num_classes} channel(s), expected background and at least one class"
        )
    votes = np.bincount(
        ids.ravel() * num_classes + class_prob.argmax(0).ravel(),
        minlength=(num + 1) * num_classes,
    ).reshape(num + 1, num_classes)[1:]
    best = votes[:, 1:].argmax(1)
    return best, votes[:, 1:].max(1) >= votes[:, 0]


def _scores(ids: np.ndarray, boundary_prob: np.ndarray, num: int) -> np.ndarray:
    border = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        p, q = neighbour_pairs(ids, axis)
        differs = p != q
        for side in neighbour_pairs(border, axis):
            side |= differs
    signed = np.where(border, boundary_prob, -boundary_prob)
    return np.bincount(ids.ravel(), weights=signed.ravel(), minlength=num + 1)[1:]


def _edges(ids: np.ndarray, relative_depth: np.ndarray) -> np.ndarray:
    num = len(relative_depth)
    touches = np.zeros((num + 1, num + 1), bool)
    for axis in (0, 1):
        p, q = neighbour_pairs(ids, axis)
        differs = p != q
        touches[p[differs], q[differs]] = True
    touches = (touches | touches.T)[1:, 1:]
    above = relative_depth[:, None] > relative_depth[None]
    return (touches & above).astype(np.int8)


def _check_maps(
    shape: tuple[int, int], class_prob: np.ndarray | None, boundary_prob: np.ndarray | None
) -> None:
    for name, value, ndim in (("class_prob", class_prob, 3), ("boundary_prob", boundary_prob, 2)):
        if value is None:
            continue
        value = np.asarray(value)
        if value.ndim != ndim or value.shape[-2:] != shape:
            expected = (*(("K",) if ndim == 3 else ()), *shape)
            raise ValueError(f"{name}: got shape {value.shape}, expected {expected}")
        if np.isnan(value).any():
            raise ValueError(f"{name}: got NaN, expected numbers")
