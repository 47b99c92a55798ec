"""Evaluation of the order of input masks (Lee & Park, Tables 2, 3 and A1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.input_masks import GivenMaskScorer
from occ_order.metrics.scorer import Scorer


@EVALUATOR_REGISTRY.register()
class GivenMaskOrder(OrderEvaluator):
    """Evaluates occlusion and depth order of networks that take the ground-truth masks as input.

    Tasks (all values in percent; NaN if the data or the network have no such order):

    * occlusion: recall, precision, f1 over the data set; occlusion_per_image: their averages over
      images, as reported in the papers; both also with "_unidirectional", without bidirectional
      pairs (Table A1); pair_accuracy: all, occluding.
    * direction: percentage of the pairs with one-way occlusion for which the predicted probability
      is larger in the correct direction, ties count half: all, objects (without "stuff").
    * depth: whdr_distinct, whdr_overlap, whdr_all, each also with "_equal" and "_not_equal", over
      the data set; depth_per_image: averages over images, as reported in the papers.
    """

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorer of all tasks."""
        return {"orders": GivenMaskScorer()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the orders of an image.

        Raises:
            ValueError: prediction and ground truth differ in the number of instances.
        """
        found, count = output["instances"], len(record["annotations"])
        if len(found) != count:
            raise ValueError(
                f"image {record['image_id']!r}: {len(found)} instances came back of {count} input "
                "masks; found instances need an evaluator that matches them"
            )
        names = {
            "occlusion": "occlusion",
            "occlusion_prob": "occlusion_probability",
            "depth": "depth",
        }
        orders = {key: _matrix(found.get(name)) for key, name in names.items() if found.has(name)}
        scorers["orders"].update(record, orders)

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute the scores listed in the class docstring."""
        result: dict[str, dict[str, float]] = {}
        for name, value in scorers["orders"].compute().items():
            task, metric = name.split("/", 1)
            result.setdefault(task, {})[metric] = float(value)
        return result


def _matrix(field) -> np.ndarray:
    return field.tensor.cpu().numpy()
