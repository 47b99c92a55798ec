"""Weighted coverage and average precision of the visible masks (OOSIS Section 5.4, Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.oosis.truth import ground_truth, prediction
from occ_order.metrics import ClassAPScorer, CoverageScorer
from occ_order.metrics.calibration import calibration_scores


@EVALUATOR_REGISTRY.register()
class WeightedCoverage(OrderEvaluator):
    """Evaluate the mean weighted coverage over all images with instances, in percent.

    Scores: `wc`, normalised by the pixels of the instances, and `wc_pixels`, by all pixels.
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read INPUT.OOSIS.USE_STUFF and INPUT.OUTPUT_SIZE."""
        super().__init__(cfg, dataset_name, output_dir)
        self.use_stuff, self.size = cfg.INPUT.OOSIS.USE_STUFF, cfg.INPUT.OUTPUT_SIZE

    def row(self, record: dict[str, Any], output: Mapping[str, Any]) -> tuple[float, float]:
        """Return the two coverages of an image; NaN if it has no instances."""
        truth = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        return CoverageScorer().row(truth, prediction(record["image_id"], output))

    def scores(self, rows: dict[Any, tuple[float, float]]) -> dict[str, dict[str, float]]:
        """Return the means over the images."""
        found = CoverageScorer(rows.values()).compute()
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
        self.options = {
            "class_agnostic": cfg.TEST.OOSIS.CLASS_AGNOSTIC,
            "min_occlusion": (),
        }

    def row(self, record: dict[str, Any], output: Mapping[str, Any]) -> tuple[dict, dict]:
        """Return the ground truth and prediction of an image with RLE masks."""
        truth = ground_truth(record, size=self.size, use_stuff=self.use_stuff)
        return ClassAPScorer().row(truth, prediction(record["image_id"], output))

    def scores(self, rows: dict[Any, tuple[dict, dict]]) -> dict[str, dict[str, float]]:
        """Compute AP and AR over all images, and the calibration of the scores if configured."""
        scorer = ClassAPScorer(rows.values(), **self.options)
        scores = {"instances": scorer.compute()}
        if self.calibration:
            scores["calibration"] = calibration_scores(*scorer.sides())
        return scores
