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
from occ_order.metrics.oair import EdgeMatches, OAIRScorer, confidence_curve, percent_in_cycles
from occ_order.metrics.report import without_nan
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

    def row(self, record: dict[str, Any], output: Mapping[str, Any]) -> list[EdgeMatches]:
        """Return the matched edges of the prediction, then those of its decycled versions."""
        pred = prediction(record["image_id"], output)
        gt = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        plain = OAIRScorer(**self.options).row(gt, pred)
        rows = [plain]
        for seed in range(self.seeds):
            # Seed by image, so that the result does not depend on the process that evaluates it.
            rng = np.random.default_rng([seed, _number(record["image_id"])])
            broken = break_cycles(pred["occlusion"], rng=rng)
            rows.append(EdgeMatches(plain.ends, broken, plain.scores))
        return rows

    def scores(self, rows: dict[Any, list[EdgeMatches]]) -> dict[str, dict[str, float]]:
        """Compute the scores over all images and write the curves."""
        versions = [[row[k] for row in rows.values()] for k in range(1 + self.seeds)]
        curves = [curves_of(images) for images in versions]
        plain, decycled = curves[0], curves[1:]
        found = {name: 100 * value for name, value in summary(plain).items()}
        found["in_cycles"] = percent_in_cycles([m.occlusion for m in versions[0]])
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


def curves_of(images: Sequence[EdgeMatches]) -> dict[str, dict[str, list]]:
    """Compute the curves of one version of the predictions from the matches of all images.

    Returns:
        {"by_iou", "by_confidence", "fine"}, see `occ_order.metrics.oair`; "fine" is the curve by
        confidence in steps of one percent of the largest recall.
    """
    curves = OAIRScorer(images).compute(num_points=POINTS)
    return {**curves, "fine": confidence_curve(list(images), num_points=100)}


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
