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
from occ_order.metrics.orders import OrderScorer, Pairs, pair_counts
from occ_order.metrics.scorer import Scorer

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

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers: all pairs, pairs of matched instances, all predictions, counts."""
        names = ("holistic", "matched", "strict")
        return {**{name: OrderScorer() for name in names}, "counts": CountScorer()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the orders of an image, in the order of the ground truth."""
        found = output["instances"].to("cpu")
        found = found[found.scores >= self.score_threshold]
        partner = self._partners(record, found)
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
        pairs = scorers["holistic"].update(record, ordered)
        scorers["matched"].add(_of_found(pairs, partner >= 0))
        counted = pair_counts(pairs, partner >= 0)
        if "occlusion" in pairs:
            truth, matrix = pairs["occlusion"][0], said["occlusion"]
            scorers["strict"].add({"occlusion": with_unmatched(truth, matrix, partner)})
            matched = np.isin(np.arange(len(found)), partner)
            theirs = pair_counts({"occlusion": (matrix,)}, matched)
            for kind, numbers in (("gt", counted), ("predicted", theirs)):
                counts[f"{kind}_occlusions"] = numbers.pop("occlusion_pairs")
                counts[f"{kind}_occlusions_unmatched"] = numbers.pop("occlusion_pairs_unmatched")
        scorers["counts"].add({**counts, **counted})

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute all scores; see the class."""
        result: dict[str, dict[str, float]] = {}
        for kind in ("holistic", "matched"):
            for name, value in scorers[kind].compute().items():
                task, metric = f"{kind}_{name}".split("/", 1)
                result.setdefault(task, {})[metric] = float(value)
        strict = scorers["strict"].compute()
        for name in ("precision", "f1"):
            result["holistic_occlusion"][f"{name}_strict"] = strict[f"occlusion/{name}"]
        return {**result, "holistic_counts": scorers["counts"].compute()}

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


def _of_found(pairs: Pairs, found: np.ndarray) -> Pairs:
    """Return the pairs of two matched instances; `found` is bool (G,)."""
    square = np.ix_(np.flatnonzero(found), np.flatnonzero(found))
    return {name: tuple(matrix[square] for matrix in pairs[name]) for name in pairs}


class CountScorer(Scorer[dict[str, int]]):
    """Sums of `COUNTS` over a data set, and recall and precision of the instances."""

    def empty(self) -> dict[str, Any]:
        """Return the state: the sums."""
        return {"counts": np.zeros(len(COUNTS), np.int64)}

    def add(self, row: dict[str, int]) -> None:
        """Add the counts of an image."""
        self.state["counts"] += [row[name] for name in COUNTS]

    def compute(self) -> dict[str, float]:
        """Return the sums, and recall and precision of the instances in percent."""
        total = dict(zip(COUNTS, map(float, self.state["counts"]), strict=True))
        for name, kind in (("instance_recall", "gt"), ("instance_precision", "predicted")):
            number, lost = total[f"{kind}_instances"], total[f"{kind}_instances_unmatched"]
            total[name] = 100 * (number - lost) / number if number else math.nan
        return total
