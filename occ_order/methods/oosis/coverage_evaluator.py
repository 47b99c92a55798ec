"""Weighted coverage and average precision of the visible masks (OOSIS Section 5.4, Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.oosis.truth import ground_truth, prediction
from occ_order.metrics import ClassAPScorer, CoverageScorer
from occ_order.metrics.calibration import CalibrationScorer
from occ_order.metrics.scorer import Scorer


@EVALUATOR_REGISTRY.register()
class WeightedCoverage(OrderEvaluator):
    """Evaluate the mean weighted coverage over all images with instances, in percent.

    Scores: `wc`, normalised by the pixels of the instances, and `wc_pixels`, by all pixels.
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read INPUT.OOSIS.USE_STUFF and INPUT.OUTPUT_SIZE."""
        super().__init__(cfg, dataset_name, output_dir)
        self.use_stuff, self.size = cfg.INPUT.OOSIS.USE_STUFF, cfg.INPUT.OUTPUT_SIZE

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorer."""
        return {"coverage": CoverageScorer()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: Mapping[str, Any]
    ) -> None:
        """Add the instances of an image."""
        truth = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        scorers["coverage"].update(truth, prediction(record["image_id"], output))

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Return the means over the images."""
        found = scorers["coverage"].compute()
        return {"coverage": {"wc": found["weighted"], "wc_pixels": found["weighted_all_pixels"]}}


@EVALUATOR_REGISTRY.register()
class InstanceAP(OrderEvaluator):
    """Evaluate COCO's AP and AR of the visible masks, in percent, ranked by the predicted scores.

    The scores of OOSIS are the boundary probability along the contour of an instance minus that in
    its interior ("ad-hoc scores").
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read TEST.OOSIS.CLASS_AGNOSTIC, TEST.OOSIS.CALIBRATION and INPUT.*."""
        super().__init__(cfg, dataset_name, output_dir)
        self.size, self.use_stuff = cfg.INPUT.OUTPUT_SIZE, cfg.INPUT.OOSIS.USE_STUFF
        self.calibration = cfg.TEST.OOSIS.CALIBRATION
        self.class_agnostic = cfg.TEST.OOSIS.CLASS_AGNOSTIC

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers of AP and AR, and of the calibration of the scores if configured."""
        scorers: dict[str, Scorer] = {
            "instances": ClassAPScorer(class_agnostic=self.class_agnostic, min_occlusion=())
        }
        if self.calibration:
            scorers["calibration"] = CalibrationScorer(class_agnostic=self.class_agnostic)
        return scorers

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: Mapping[str, Any]
    ) -> None:
        """Add the instances of an image."""
        truth = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        guess = prediction(record["image_id"], output)
        for scorer in scorers.values():
            scorer.update(truth, guess)

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute the scores over all images."""
        return {task: scorer.compute() for task, scorer in scorers.items()}
