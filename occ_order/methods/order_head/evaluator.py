"""Joint evaluation of detection and order: orders of predicted instances vs. ground truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Instances

from occ_order import masks as mask_tools
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.matching import in_gt_order, mask_iou, match_greedy, partners
from occ_order.metrics.occlusion import occlusion_scores
from occ_order.metrics.orders import OrderScorer, pair_counts

COUNTS = (
    "gt_instances",
    "gt_instances_unmatched",
    "predicted_instances",
    "predicted_instances_unmatched",
    "gt_occlusions",
    "gt_occlusions_unmatched",
    "predicted_occlusions",
    "predicted_occlusions_unmatched",
    "depth_pairs",
    "depth_pairs_unmatched",
)
"""Names of the counts; a pair is unmatched if one of its instances is."""


@EVALUATOR_REGISTRY.register()
class HolisticOrder(OrderEvaluator):
    """Match predicted to ground-truth instances one-to-one and evaluate the orders.

    In descending order of score, each prediction is matched to the unmatched ground-truth instance
    of its class with the largest mask IoU, if that exceeds TEST.HOLISTIC.IOU_THRESH. Predictions
    with scores below SCORE_THRESH are ignored.
    Tasks (percent; NaN if data or network lack the order):

    * holistic_occlusion, holistic_occlusion_per_image, ..., holistic_depth, ...: the scores of
      `GivenMaskOrder` over all annotated pairs. Pairs with an unmatched instance count as missed:
      no occlusion, wrong depth order. holistic_occlusion also has precision_strict and f1_strict,
      where predicted occlusions of unmatched predictions are false positives (otherwise they are
      ignored, since annotations may be incomplete).
    * matched_occlusion, ..., matched_depth, ...: over the pairs with two matched instances.
    * holistic_counts: `COUNTS`, and recall and precision of the instances.
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read TEST.HOLISTIC.*."""
        super().__init__(cfg, dataset_name, output_dir)
        own = cfg.TEST.HOLISTIC
        self.iou_threshold, self.score_threshold = own.IOU_THRESH, own.SCORE_THRESH
        self.class_agnostic = own.CLASS_AGNOSTIC

    def row(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
        """Return matrices of an image in the order of the ground truth, and its counts."""
        found = output["instances"].to("cpu")
        found = found[found.scores >= self.score_threshold]
        partner = self._partners(record, found)
        row: dict[str, Any] = {"found": partner >= 0}
        counts = dict.fromkeys(COUNTS, 0)
        counts.update(
            gt_instances=len(partner),
            gt_instances_unmatched=int((partner < 0).sum()),
            predicted_instances=len(found),
            predicted_instances_unmatched=len(found) - int((partner >= 0).sum()),
        )
        said = {
            name: found.get(name).tensor.numpy()
            for name in ("occlusion", "depth")
            if found.has(name)
        }
        ordered = {name: in_gt_order(matrix, partner) for name, matrix in said.items()}
        pairs = OrderScorer().row(record, ordered)
        counted = pair_counts(pairs, partner >= 0)
        if "occlusion" in pairs:
            truth, matrix = pairs["occlusion"][0], said["occlusion"]
            row["strict"] = with_unmatched(truth, matrix, partner)
            matched = np.isin(np.arange(len(found)), partner)
            theirs = pair_counts({"occlusion": (matrix,)}, matched)
            for kind, numbers in (("gt", counted), ("predicted", theirs)):
                counts[f"{kind}_occlusions"] = numbers.pop("occlusion_pairs")
                counts[f"{kind}_occlusions_unmatched"] = numbers.pop("occlusion_pairs_unmatched")
        return {**row, **pairs, "counts": {**counts, **counted}}

    def scores(self, rows: dict[Any, dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Compute all scores; see the class."""
        result: dict[str, dict[str, float]] = {}
        for kind in ("holistic", "matched"):
            for name, value in _scalars(list(rows.values()), only_found=kind == "matched").items():
                task, metric = f"{kind}_{name}".split("/", 1)
                result.setdefault(task, {})[metric] = float(value)
        pairs = [row["strict"] for row in rows.values() if "strict" in row]
        columns = zip(*pairs, strict=True) if pairs else ([], [])
        strict = occlusion_scores(*columns, zero_division=math.nan)
        for name in ("precision", "f1"):
            result["holistic_occlusion"][f"{name}_strict"] = strict[name]
        result["holistic_counts"] = _totals([row["counts"] for row in rows.values()])
        return result

    def _partners(self, record: dict[str, Any], found: Instances) -> np.ndarray:
        """Return the matched prediction of each ground-truth instance, int64 (G,), -1 = none."""
        annotations, size = record["annotations"], (record["height"], record["width"])
        truth = mask_tools.decode_all([one["segmentation"] for one in annotations], *size)
        name = "pred_modal_masks" if found.has("pred_modal_masks") else "pred_masks"
        masks = np.asarray(found.get(name), bool).reshape(len(found), *size)
        classes = {
            "pred_classes": found.pred_classes.numpy(),
            "gt_classes": np.array([one["category_id"] for one in annotations], np.int64),
        }
        matches = match_greedy(
            mask_iou(masks, truth),
            found.scores.numpy(),
            iou_threshold=self.iou_threshold,
            **({} if self.class_agnostic else classes),
        )
        return partners(matches, len(annotations))


def with_unmatched(
    truth: np.ndarray, said: np.ndarray, partner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Extend both matrices to all instances: ground truth, then unmatched predictions.

    Args:
        truth: (G, G).
        said: (P, P).
        partner: (G,), matched prediction of each ground-truth instance, -1 = none.

    Returns:
        int64 (N, N) each, N = G + number of unmatched predictions, which have no occlusions in
        the first.
    """
    alone = np.setdiff1d(np.arange(len(said)), partner)
    both = np.concatenate([partner, alone])
    whole = np.zeros((len(both),) * 2, np.int64)
    whole[: len(truth), : len(truth)] = truth
    return whole, in_gt_order(said, both)


def _scalars(rows: list[dict[str, Any]], *, only_found: bool) -> dict[str, float]:
    """Compute the scores over all annotated pairs, or over those with two matched instances."""
    images = []
    for row in rows:
        keep = np.flatnonzero(row["found"]) if only_found else np.arange(len(row["found"]))
        square = np.ix_(keep, keep)
        names = {"occlusion", "depth"} & row.keys()
        images.append({name: tuple(matrix[square] for matrix in row[name]) for name in names})
    return OrderScorer(images).compute()


def _totals(counts: list[dict[str, int]]) -> dict[str, float]:
    """Sum the counts over images; compute recall and precision of the instances in percent."""
    total = {name: float(sum(one[name] for one in counts)) for name in COUNTS}
    for name, kind in (("instance_recall", "gt"), ("instance_precision", "predicted")):
        number, lost = total[f"{kind}_instances"], total[f"{kind}_instances_unmatched"]
        total[name] = 100 * (number - lost) / number if number else math.nan
    return total
