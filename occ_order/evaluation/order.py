"""Order of given masks against the annotation (Lee & Park, Tables 2, 3 and A1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order.evaluation.base import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.metrics.report import depth_scalars, occlusion_scalars


@EVALUATOR_REGISTRY.register()
class GivenMaskOrder(OrderEvaluator):
    """Occlusion and depth order of networks that return the annotated instances in their order.

    Tasks (all values percent; NaN where data or network have no such order):

    * occlusion: recall, precision, f1 over the data set; occlusion_per_image: their averages over
      images, the papers' numbers; both again with "_unidirectional", without bidirectional pairs
      (Table A1); pair_accuracy: all, occluding.
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
        row = {}
        if "occlusion" in record and found.has("occlusion"):
            row["occlusion"] = (np.asarray(record["occlusion"]), _matrix(found.occlusion))
        if "depth" in record and found.has("depth"):
            unknown = np.full((count, count), -1)
            extra = (np.asarray(record.get(key, unknown)) for key in ("overlap", "count"))
            row["depth"] = (np.asarray(record["depth"]), *extra, _matrix(found.depth))
        return row

    def scores(self, rows: dict[Any, dict[str, tuple]]) -> dict[str, dict[str, float]]:
        """See the class."""
        parts = {
            key: [row[key] for row in rows.values() if key in row] for key in ("occlusion", "depth")
        }
        flat = {**occlusion_scalars(parts["occlusion"]), **depth_scalars(parts["depth"])}
        result: dict[str, dict[str, float]] = {}
        for name, value in flat.items():
            task, metric = name.split("/", 1)
            result.setdefault(task, {})[metric] = float(value)
        return result


def _matrix(field) -> np.ndarray:
    return field.tensor.cpu().numpy()
