"""Weighted coverage and average precision of the visible masks (OOSIS Section 5.4, Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from occ_order import masks
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.oosis.oair_truth import class_agnostic, ground_truth, prediction
from occ_order.metrics import class_scores, weighted_coverage
from occ_order.metrics.calibration import calibration_scores
from occ_order.metrics.matrices import mean_or_nan


@EVALUATOR_REGISTRY.register()
class WeightedCoverage(OrderEvaluator):
    """Mean weighted coverage of the images that have instances, percent.

    Scores: `wc`, normalised by the pixels of the instances, and `wc_pixels`, by all pixels.
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """INPUT.OOSIS.USE_STUFF and INPUT.OUTPUT_SIZE."""
        super().__init__(cfg, dataset_name, output_dir)
        self.use_stuff, self.size = cfg.INPUT.OOSIS.USE_STUFF, cfg.INPUT.OUTPUT_SIZE

    def row(self, record: dict[str, Any], output: Mapping[str, Any]) -> tuple[float, float]:
        """The two coverages of an image; NaN without instances."""
        found = prediction(record["image_id"], output)["masks"]
        gt = ground_truth(record, size=self.size, use_stuff=self.use_stuff)["masks"]
        by_instances, by_pixels = (
            weighted_coverage(gt, found, normalizer=normalizer)
            for normalizer in ("instances", "pixels")
        )
        return by_instances, by_pixels

    def scores(self, rows: dict[Any, tuple[float, float]]) -> dict[str, dict[str, float]]:
        """Means over the images."""
        wc, pixels = (mean_or_nan([row[k] for row in rows.values()]) for k in (0, 1))
        return {"coverage": {"wc": 100 * wc, "wc_pixels": 100 * pixels}}


@EVALUATOR_REGISTRY.register()
class InstanceAP(OrderEvaluator):
    """COCO's AP and AR of the visible masks, ranked by whatever score the network gives, percent.

    OOSIS ranks its instances by the boundary probability around them less that inside ("ad-hoc
    scores").
    """

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """TEST.OOSIS.CLASS_AGNOSTIC, .CALIBRATION, INPUT.OOSIS.USE_STUFF, INPUT.OUTPUT_SIZE."""
        super().__init__(cfg, dataset_name, output_dir)
        self.size = cfg.INPUT.OUTPUT_SIZE
        self.agnostic, self.use_stuff = cfg.TEST.OOSIS.CLASS_AGNOSTIC, cfg.INPUT.OOSIS.USE_STUFF
        self.calibration = cfg.TEST.OOSIS.CALIBRATION

    def row(self, record: dict[str, Any], output: Mapping[str, Any]) -> tuple[dict, dict]:
        """Annotation and prediction of an image with compressed masks."""
        found = prediction(record["image_id"], output)
        sides = ground_truth(record, size=self.size, use_stuff=self.use_stuff), found
        if self.agnostic:
            sides = tuple(map(class_agnostic, sides))
        return tuple(
            {
                **{key: side[key] for key in ("image_id", "classes", "scores") if key in side},
                "masks": [masks.encode(mask) for mask in side["masks"]],
            }
            for side in sides
        )

    def scores(self, rows: dict[Any, tuple[dict, dict]]) -> dict[str, dict[str, float]]:
        """AP and AR over all images; `calibration` of scores that are probabilities."""
        gt, found = ([row[side] for row in rows.values()] for side in (0, 1))
        scores = {"instances": class_scores(gt, found, min_occlusion=())}
        if self.calibration:
            scores["calibration"] = calibration_scores(gt, found)
        return scores
