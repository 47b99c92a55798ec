"""Order and amodal masks of photographs with input masks, predicted by a model of the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from occ_order.apps.main_job.drawings import compared, encoded
from occ_order.apps.main_job.examples import Example
from occ_order.apps.main_job.sentences import verdict_counts
from occ_order.apps.report import ReportImage
from occ_order.draw.image_panels import panels
from occ_order.front import predictor
from occ_order.instances import OrderedInstances

MODEL = "mask_completion_photos"
"""Model of the zoo that predicts order and amodal masks of input masks."""

KINDS = ("image", "occlusion", "occlusion_graph", "relative_depth", "layers")


@dataclass(frozen=True)
class OrderedPhotograph:
    """A photograph and the predicted order of its masks.

    Attributes:
        example: the photograph with its ground truth.
        result: the prediction.
        verdicts: number of ground-truth orders that are "correct", "wrong" and "missed".
        images: kind of panel, or "check" -> figure.
    """

    example: Example
    result: OrderedInstances
    verdicts: dict[str, int]
    images: dict[str, ReportImage]


def order_photographs(examples: Sequence[Example]) -> list[OrderedPhotograph]:
    """Predict the order of each example from its image and visible masks alone.

    Raises:
        ImportError: a dependency of the model is not installed.
        ValueError: the zoo has no such model.
    """
    predict = predictor(MODEL)
    found = []
    for example in examples:
        truth = example.truth
        result = predict(example.image, truth.replace(occlusion=None, amodal=None))
        drawn = panels(result, example.image, kinds=KINDS, legend=False)
        images = encoded(drawn, f"{example.key}_order")
        images |= compared(example, result, "check", key=f"{example.key}_order")
        found.append(OrderedPhotograph(example, result, verdict_counts(example, result), images))
    return found
