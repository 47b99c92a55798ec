"""Order of given masks against the annotation (Lee & Park, Tables 2, 3 and A1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.given_masks import GivenMaskScorer


@EVALUATOR_REGISTRY.register()
class GivenMaskOrder(OrderEvaluator):
    """Occlusion and depth order of networks that return the annotated instances in their order.

    Tasks (all values percent; NaN where data or network have no such order):

    * occlusion: recall, precision, f1 over the data set; occlusion_per_image: their averages over
      images, the papers' numbers; both again with "_unidirectional", without bidirectional pairs
      (Table A1); pair_accuracy: all, occluding.
    * direction: of the pairs that the annotation occludes in one direction, those whose probability
      is larger in that direction, equal ones half: all, objects (without "stuff").
    * depth: whdr_distinct, whdr_overlap, whdr_all, each also "_equal" and "_not_equal", over the
      data set; depth_per_image: averages over images, the papers' numbers.
    """

    def row(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, tuple]:
        """Matrices of one image: annotation and prediction.

        Raises:
            ValueError: the prediction has not as many instances as the annotation.
        """
        found, count = output["instances"], len(record["annotations"])
        if len(found) != count:
            raise ValueError(
                f"image {record['image_id']!r}: {len(found)} instances came back of {count} given "
                "masks; found instances need an evaluator that matches them"
            )
        names = {
            "occlusion": "occlusion",
            "occlusion_prob": "occlusion_probability",
            "depth": "depth",
        }
        orders = {key: _matrix(found.get(name)) for key, name in names.items() if found.has(name)}
        return GivenMaskScorer().row(record, orders)

    def scores(self, rows: dict[Any, dict[str, tuple]]) -> dict[str, dict[str, float]]:
        """See the class."""
        result: dict[str, dict[str, float]] = {}
        for name, value in GivenMaskScorer(rows.values()).compute().items():
            task, metric = name.split("/", 1)
            result.setdefault(task, {})[metric] = float(value)
        return result


def _matrix(field) -> np.ndarray:
    return field.tensor.cpu().numpy()
