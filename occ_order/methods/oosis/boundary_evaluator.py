"""Scores of the oriented occlusion boundary, "POR" (OOSIS Table 3, supplement 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from occ_order.draw import draw_accuracy_recall, png_bytes
from occ_order.files import write_bytes, write_json
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.oosis.truth import instance_map
from occ_order.metrics.boundary import BoundaryScorer
from occ_order.metrics.report import without_nan
from occ_order.metrics.scorer import Scorer
from occ_order.targets.oriented_boundary import oriented_boundary


@EVALUATOR_REGISTRY.register()
class OrientedBoundary(OrderEvaluator):
    """Evaluate `occ_boundary` by ODS, OIS and AP, with and without its orientation.

    Scores in percent, see `occ_order.metrics.boundary_scores`. The ground truth is computed at the
    resolution of the prediction. Writes `boundary.json` and `boundary.png`.
    """

    needs = ("occlusion",)

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Read TEST.OOSIS.BOUNDARY_THRESHOLDS and INPUT.OOSIS.*."""
        super().__init__(cfg, dataset_name, output_dir)
        self.thresholds = cfg.TEST.OOSIS.BOUNDARY_THRESHOLDS
        self.use_stuff = cfg.INPUT.OOSIS.USE_STUFF
        self.over_background = cfg.INPUT.OOSIS.OVER_BACKGROUND

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorer."""
        return {"boundary": BoundaryScorer(thresholds=self.thresholds)}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: Mapping[str, Any]
    ) -> None:
        """Add the boundary of an image."""
        composed = output["occ_boundary"].cpu().numpy()
        truth = instance_map(record, use_stuff=self.use_stuff).resized(composed.shape[1:])
        gt = oriented_boundary(truth.ids, truth.occlusion, over_background=self.over_background)
        prob = np.clip(1 - composed[4], 0, 1)
        scorers["boundary"].update(gt, (prob, composed[:4]))

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute the scores of the pooled counts and write the curves."""
        scorer = scorers["boundary"]
        found = scorer.compute()
        threshold = found.pop("ods_threshold")
        scores = {name: 100 * value for name, value in found.items()}
        self._write(scorer.thresholds, scorer.curves())
        return {"boundary": {**scores, "ods_threshold": threshold}}

    def _write(self, thresholds: np.ndarray, curves: dict[str, np.ndarray]) -> None:
        folder = Path(self.output_dir)
        values = {"threshold": thresholds, **curves}
        listed = without_nan({k: v.tolist() for k, v in values.items()})
        write_json(folder / "boundary.json", listed, indent=1)
        shown = {
            "with orientation": {"recall": curves["recall"], "accuracy": curves["precision"]},
            "boundary only": {
                "recall": curves["recall"],
                "accuracy": curves["boundary_precision"],
            },
        }
        image = draw_accuracy_recall(
            shown,
            title=self.dataset_name,
            xlabel="recall: annotated boundary pixels found",
            ylabel="precision: predicted boundary pixels right",
        )
        write_bytes(folder / "boundary.png", png_bytes(image))
