"""Whole masks of given masks against the annotation, beside what needs no network."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order import masks as mask_tools
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.given_amodal import GivenAmodalScorer

TASKS = ("amodal", "amodal_visible_mask", "amodal_convex_hull", "amodal_hull_behind")


@EVALUATOR_REGISTRY.register()
class GivenMaskAmodal(OrderEvaluator):
    """Amodal masks of networks that return the annotated instances in their order.

    Tasks, each with the scores of `occ_order.metrics.GivenAmodalScorer`: "amodal",
    the prediction; and what stands in for it without a network for completion:
    "amodal_visible_mask", the given mask; "amodal_convex_hull", its convex hull;
    "amodal_hull_behind", the given mask and what of the hull lies behind the instances that occlude
    it in the predicted order. Instances without an annotated whole object are left out.
    """

    def row(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, np.ndarray]:
        """Overlaps of one image.

        Raises:
            ValueError: the prediction has not as many instances as the annotation, or no amodal
                masks, or no order.
        """
        annotations, found = record["annotations"], output["instances"]
        fields = found.get_fields()
        if len(found) != len(annotations) or not {"pred_amodal_masks", "occlusion"} <= set(fields):
            raise ValueError(
                f"image {record['image_id']!r}: expected pred_amodal_masks and occlusion of "
                f"{len(annotations)} given masks, got {len(found)} instances with {sorted(fields)}"
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
        return {name: GivenAmodalScorer().row(sides, {"amodal": guesses[name]}) for name in TASKS}

    def scores(self, rows: dict[Any, dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
        """See the class."""
        return {
            name: GivenAmodalScorer(row[name] for row in rows.values()).compute() for name in TASKS
        }
