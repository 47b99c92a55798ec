"""Verdicts on the edges of a predicted order, for drawing (scores: occ_order.metrics.oair)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occ_order.draw.colors import instance_colors
from occ_order.draw.layout import order_edges
from occ_order.masks import bordering_pairs
from occ_order.metrics.matching import mask_iou, match_greedy
from occ_order.order.graph import reachability

NOTHING_COLOR = (120, 120, 120)
"""Colour of predicted instances where nothing is annotated."""


def edge_verdicts(
    gt_masks: np.ndarray,
    gt_occlusion: np.ndarray,
    pred_masks: np.ndarray,
    pred_occlusion: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    iou_threshold: float = 0.5,
    touching: bool = True,
) -> dict[tuple[int, int], str]:
    """Return a verdict on every ground-truth edge, as in the OAIR metric, class-agnostic.

    "missed": one of the two instances has no match. Otherwise "correct" if the predicted graph has
    a path from the first to the second and none back, else "wrong".

    Args:
        gt_masks: bool (G, H, W).
        gt_occlusion: (G, G), 1 = row occludes column. Mutual occlusions are left out.
        pred_masks: bool (P, H, W).
        pred_occlusion: (P, P).
        scores: (P,), higher is matched first; None = in the order given.
        iou_threshold: minimum IoU of a match (exclusive).
        touching: evaluate only pairs whose ground-truth masks touch.

    Returns:
        {(i, j): verdict} for every ground-truth edge "i occludes j".
    """
    matched = match_instances(gt_masks, pred_masks, scores=scores, iou_threshold=iou_threshold)
    gt_occlusion = np.asarray(gt_occlusion)
    edges = (gt_occlusion == 1) & ~(gt_occlusion.T == 1)
    if touching and edges.any():
        edges &= bordering_pairs(gt_masks)
    paths = reachability(pred_occlusion)
    verdicts = {}
    for i, j in order_edges(edges.astype(np.int8)):
        a, b = matched[i], matched[j]
        if a < 0 or b < 0:
            verdicts[i, j] = "missed"
        else:
            verdicts[i, j] = "correct" if paths[a, b] and not paths[b, a] else "wrong"
    return verdicts


def match_instances(
    gt_masks: np.ndarray,
    pred_masks: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Match each ground-truth instance to a prediction, class-agnostic.

    Args:
        gt_masks: bool (G, H, W).
        pred_masks: bool (P, H, W).
        scores: (P,) or None.
        iou_threshold: minimum IoU of a match (exclusive).

    Returns:
        int64 (G,), index of the prediction, -1 for none.
    """
    matches = match_greedy(mask_iou(pred_masks, gt_masks), scores, iou_threshold=iou_threshold)
    matched = np.full(len(gt_masks), -1, np.int64)
    matched[matches[matches >= 0]] = np.flatnonzero(matches >= 0)
    return matched


@dataclass(frozen=True)
class MatchedLabels:
    """Labels of predicted instances, taken from ground-truth ones.

    Attributes:
        labels: P labels: "4" for the match of ground-truth instance 4, "4b", "4c" for further
            predictions on it, "?" where nothing is annotated.
        colors: uint8 (P, 3), colours of the ground-truth instances.
        names: P names of the ground-truth instances, or None.
    """

    labels: list[str]
    colors: np.ndarray
    names: list[str] | None


def name_after(
    labels: Sequence[str],
    names: Sequence[str] | None,
    gt_masks: np.ndarray,
    pred_masks: np.ndarray,
    scores: np.ndarray | None = None,
) -> MatchedLabels:
    """Label predicted instances by the ground-truth ones that they match or overlap most.

    Args:
        labels: G labels of the ground-truth instances.
        names: their G names, or None.
        gt_masks: bool (G, H, W).
        pred_masks: bool (P, H, W).
        scores: (P,), higher is matched first; None = in the order given.
    """
    matched = match_instances(gt_masks, pred_masks, scores=scores)
    match_of = {int(p): g for g, p in enumerate(matched) if p >= 0}
    palette, pieces = instance_colors(len(labels)), [0] * len(labels)
    texts, colors, called = [], [], []
    for p, mask in enumerate(pred_masks):
        overlap = gt_masks[:, mask].sum(1)
        owner = match_of.get(p, int(overlap.argmax()) if overlap.any() else -1)
        if owner < 0:
            texts.append("?")
            colors.append(NOTHING_COLOR)
            called.append("nothing")
            continue
        pieces[owner] += p not in match_of
        texts.append(labels[owner] + ("" if p in match_of else _letter(pieces[owner])))
        colors.append(palette[owner])
        called.append(names[owner] if names else "")
    table = np.array(colors, np.uint8).reshape(-1, 3)
    return MatchedLabels(texts, table, called if names else None)


def _letter(count: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[count] if count < 26 else f"#{count + 1}"
