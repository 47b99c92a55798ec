"""Which annotated orders a prediction got right, for drawing (counts: occ_order.metrics.oair)."""

from __future__ import annotations

import numpy as np

from occ_order.draw.layout import order_edges
from occ_order.masks import bordering_pairs
from occ_order.metrics.matching import mask_iou, match_greedy
from occ_order.order.graph import reachability


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
    """Verdict on every annotated edge, by the rules of the OAIR measure, classes ignored.

    "missed": one of the two instances has no match. Otherwise "correct" when the predicted graph
    leads from the first to the second and not back, else "wrong".

    Args:
        gt_masks: bool (G, H, W).
        gt_occlusion: (G, G), 1 = row occludes column. Pairs that occlude each other are left out.
        pred_masks: bool (P, H, W).
        pred_occlusion: (P, P).
        scores: (P,), higher is matched first; None = in the order given.
        iou_threshold: a match must exceed it.
        touching: judge only pairs whose masks touch.

    Returns:
        {(i, j): verdict} for every annotated edge "i occludes j".
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
    """Prediction that each annotated instance is matched to, classes ignored.

    Args:
        gt_masks: bool (G, H, W).
        pred_masks: bool (P, H, W).
        scores: (P,) or None.
        iou_threshold: a match must exceed it.

    Returns:
        int64 (G,), index of the prediction, -1 for none.
    """
    matches = match_greedy(mask_iou(pred_masks, gt_masks), scores, iou_threshold=iou_threshold)
    matched = np.full(len(gt_masks), -1, np.int64)
    matched[matches[matches >= 0]] = np.flatnonzero(matches >= 0)
    return matched
