"""From occlusion-order labels to instances (OOSIS Sections 3.2 and 5.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.crf.energy import check_labels, neighbour_pairs


@dataclass(frozen=True)
class InstanceSet:
    """Instances read off a labelling; instance k has ``ids == k + 1``. All arrays may be empty.

    Attributes:
        ids: int32 (H, W), 0 where there is no instance.
        classes: int64 (N,), index of the class; 0 where no ``class_prob`` was given.
        scores: float64 (N,), unbounded, larger is surer; NaN where no ``boundary_prob`` was given.
        relative_depth: int64 (N,), the label: an occluder's is larger than what it occludes.
        occlusion: int8 (N, N), ``occlusion[i, j] = 1`` iff i occludes j; the diagonal is 0.
    """

    ids: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    relative_depth: np.ndarray
    occlusion: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def masks(self) -> np.ndarray:
        """Modal masks, bool (N, H, W)."""
        return self.ids[None] == np.arange(1, len(self) + 1)[:, None, None]


def instances(
    labels: np.ndarray,
    *,
    class_prob: np.ndarray | None = None,
    boundary_prob: np.ndarray | None = None,
    min_area: int = 0,
) -> InstanceSet:
    """Connected components of equal positive labels, with class, score, depth and occlusion edges.

    An instance that something cuts in two gives two instances: that is the definition. An edge
    i -> j stands wherever i touches j with the larger label, so the edges have no cycle.

    Args:
        labels: int (H, W), 0 = background.
        class_prob: float (K, H, W), probability of background (channel 0) and of K - 1 classes.
            An instance takes the foreground class that most of its pixels prefer, the first on a
            tie; ``classes`` then holds 0..K-2. Where background is what most of its pixels
            prefer, it is dropped.
        boundary_prob: float (H, W), thinned. An instance scores the sum of it over its inner
            border (pixels with a 4-neighbour outside the instance; the image border does not
            count) minus the sum over its other pixels (Section 5.4, "ad-hoc scores").
        min_area: components of fewer pixels are dropped, together with their edges. They are not
            merged into a neighbour: a strip between two instances with the same label would join
            them.

    Returns:
        The instances, numbered by label and then by their first pixel in reading order.

    Raises:
        ValueError: shapes that do not fit, negative labels, NaN.
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
    return InstanceSet(
        ids=ids,
        classes=classes[order],
        scores=scores,
        relative_depth=relative_depth,
        occlusion=_edges(ids, relative_depth),
    )


def components(labels: np.ndarray, inside: np.ndarray, cut: np.ndarray | None = None) -> np.ndarray:
    """4-connected components of equal labels.

    Args:
        labels: int (H, W).
        inside: bool (H, W); other pixels get 0.
        cut: bool (4, H, W), neighbours (left, right, top, bottom) that do not connect; a cut from
            either side counts.

    Returns:
        int32 (H, W), components numbered from 1 by their first pixel in reading order.
    """
    from occ_order.crf._kernels.components import label_components

    ids = np.empty(labels.shape, np.int32)
    cut = np.zeros((4, 0, 0), bool) if cut is None else np.ascontiguousarray(cut)
    label_components(np.ascontiguousarray(labels, np.int32), np.ascontiguousarray(inside), cut, ids)
    return ids


def _vote(ids: np.ndarray, class_prob: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Majority foreground class of each component, and whether foreground outvotes background."""
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
