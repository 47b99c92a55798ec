"""OAIR: order accuracy vs. instance recall (OOSIS Section 4); instances in cycles (Section 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from occ_order.draw import draw_accuracy_recall, png_bytes
from occ_order.files import write_bytes, write_json
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.oosis.truth import ground_truth, prediction
from occ_order.metrics.oair import CycleScorer, EdgeMatches, OAIRScorer
from occ_order.metrics.report import without_nan
from occ_order.metrics.scorer import Scorer
from occ_order.order import break_cycles

RECALLS = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80)
"""Recalls, in percent, at which the accuracy of methods is compared."""

POINTS = 6
"""Number of points of the curve by confidence, as in the paper."""


@EVALUATOR_REGISTRY.register()
class OAIR(OrderEvaluator):
    """Evaluate OAIR curves by IoU and by confidence, with and without random decycling (Fig. 11).

    Scores in percent: `recall` and `accuracy` at IoU 0.5 without a score threshold;
    `accuracy_recall_<r>`, the accuracy at recall r of the curve by confidence; `in_cycles`,
    instances in cycles; and each with suffix `_decycled`, the mean over several random seeds.
    Writes `oair.json` and `oair.png`.
    """

    needs = ("occlusion",)

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read TEST.OOSIS.* and INPUT.OUTPUT_SIZE."""
        super().__init__(cfg, dataset_name, output_dir)
        own = cfg.TEST.OOSIS
        self.options = {"class_agnostic": own.CLASS_AGNOSTIC, "gt_edges": own.GT_EDGES}
        self.size = cfg.INPUT.OUTPUT_SIZE
        self.use_stuff, self.seeds = cfg.INPUT.OOSIS.USE_STUFF, own.DECYCLE_SEEDS

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers of the prediction, of its cycles and of its decycled versions."""
        versions = ["plain", *self._decycled]
        oair = {name: OAIRScorer(**self.options) for name in versions}
        return {**oair, "cycles": CycleScorer()}

    @property
    def _decycled(self) -> list[str]:
        return [f"decycled {seed}" for seed in range(self.seeds)]

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: Mapping[str, Any]
    ) -> None:
        """Add the matched edges of the prediction and of its decycled versions."""
        pred = prediction(record["image_id"], output)
        gt = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        plain = scorers["plain"].update(gt, pred)
        scorers["cycles"].update(gt, pred)
        for seed, name in enumerate(self._decycled):
            # Seed by image, so that the result does not depend on the process that evaluates it.
            rng = np.random.default_rng([seed, _number(record["image_id"])])
            broken = break_cycles(pred["occlusion"], rng=rng)
            scorers[name].add(EdgeMatches(plain.ends, broken, plain.scores))

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute the scores over all images and write the curves."""
        plain, *decycled = (curves_of(scorers[name]) for name in ("plain", *self._decycled))
        found = {name: 100 * value for name, value in summary(plain).items()}
        found["in_cycles"] = scorers["cycles"].compute()["instances"]
        summaries = [summary(one) for one in decycled]
        for name in summary(plain):
            found[f"{name}_decycled"] = _mean([100 * one[name] for one in summaries])
        self._write(plain, decycled)
        return {"oair": found}

    def _write(self, plain: dict[str, dict], decycled: Sequence[dict[str, dict]]) -> None:
        folder = Path(self.output_dir)
        listed = without_nan({"curves": plain, "decycled": list(decycled)})
        write_json(folder / "oair.json", listed, indent=1)
        shown = {"by IoU": plain["by_iou"], "by confidence": plain["by_confidence"]}
        if decycled:
            shown["by IoU, decycled"] = decycled[0]["by_iou"]
            shown["by confidence, decycled"] = decycled[0]["by_confidence"]
        image = draw_accuracy_recall(shown, title=self.dataset_name)
        write_bytes(folder / "oair.png", png_bytes(image))


def curves_of(scorer: OAIRScorer) -> dict[str, dict[str, list]]:
    """Compute the curves of one version of the predictions.

    Returns:
        {"by_iou", "by_confidence", "fine"}, see `occ_order.metrics.oair`; "fine" is the curve by
        confidence in steps of one percent of the largest recall.
    """
    return {**scorer.compute(num_points=POINTS), "fine": scorer.by_confidence(100)}


def summary(curves: dict[str, dict[str, list]]) -> dict[str, float]:
    """Return recall, accuracy and accuracy_recall_<r> of the curves, as fractions."""
    by_iou, fine = curves["by_iou"], curves["fine"]
    found = {"recall": by_iou["recall"][0], "accuracy": by_iou["accuracy"][0]}
    for recall in RECALLS:
        found[f"accuracy_recall_{recall}"] = accuracy_at(
            fine["recall"], fine["accuracy"], recall / 100
        )
    return found


def accuracy_at(recalls: Sequence[float], accuracies: Sequence[float], recall: float) -> float:
    """Interpolate the accuracy at a recall; NaN above the largest recall of the curve.

    Below the smallest recall, return the accuracy at the smallest recall.
    """
    at, values = np.asarray(recalls, float), np.asarray(accuracies, float)
    known = np.isfinite(at) & np.isfinite(values)
    at, values = at[known], values[known]
    if not len(at) or recall > at.max():
        return float("nan")
    order = np.argsort(at, kind="stable")
    return float(np.interp(recall, at[order], values[order]))


def _number(image_id: int | str) -> int:
    """Return a non-negative seed from an image id."""
    return int.from_bytes(str(image_id).encode(), "big")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
