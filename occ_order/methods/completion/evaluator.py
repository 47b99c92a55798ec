"""Evaluation of amodal masks of input masks, with baselines that need no network."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order import masks as mask_tools
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.given_amodal import GivenAmodalScorer
from occ_order.metrics.scorer import Scorer

TASKS = ("amodal", "amodal_visible_mask", "amodal_convex_hull", "amodal_hull_behind")


@EVALUATOR_REGISTRY.register()
class GivenMaskAmodal(OrderEvaluator):
    """Evaluates amodal masks of networks that take the ground-truth modal masks as input.

    Tasks, each with the scores of `occ_order.metrics.GivenAmodalScorer`: "amodal", the prediction;
    and three baselines: "amodal_visible_mask", the modal mask; "amodal_convex_hull", its convex
    hull; "amodal_hull_behind", the modal mask and the part of the hull behind the occluders in the
    predicted order. Instances without amodal annotation are ignored.
    """

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers of the tasks."""
        return {name: GivenAmodalScorer() for name in TASKS}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the amodal masks of an image.

        Raises:
            ValueError: prediction and ground truth differ in the number of instances, or the
                prediction has no amodal masks or no order.
        """
        annotations, found = record["annotations"], output["instances"]
        fields = found.get_fields()
        if len(found) != len(annotations) or not {"pred_amodal_masks", "occlusion"} <= set(fields):
            raise ValueError(
                f"image {record['image_id']!r}: expected pred_amodal_masks and occlusion of "
                f"{len(annotations)} input masks, got {len(found)} instances with {sorted(fields)}"
            )
        size = record["height"], record["width"]
        asked = [k for k, one in enumerate(annotations) if "amodal_segmentation" in one]
        modal = mask_tools.decode_all([one["segmentation"] for one in annotations], *size)
        truth = mask_tools.decode_all([annotations[k]["amodal_segmentation"] for k in asked], *size)
        occludes = found.occlusion.tensor.cpu().numpy() == 1
        covered = [modal[occludes[:, k]].any(0) for k in asked]
        behind = np.array(covered, bool).reshape(truth.shape)
        modal = modal[asked]
        hulls = np.array([mask_tools.convex_hull(mask) for mask in modal], bool)
        hulls = hulls.reshape(truth.shape)
        guesses = {
            "amodal": found.pred_amodal_masks.cpu().numpy()[asked],
            "amodal_visible_mask": modal,
            "amodal_convex_hull": hulls,
            "amodal_hull_behind": modal | (hulls & behind),
        }
        sides = {"amodal": truth, "modal": modal}
        for name in TASKS:
            scorers[name].update(sides, {"amodal": guesses[name]})

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute the scores listed in the class docstring."""
        return {name: scorers[name].compute() for name in TASKS}
