"""Photographs with masks: their order and hidden parts by a model of the zoo."""

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
"""The model of the zoo that orders given masks and completes them."""

KINDS = ("image", "occlusion", "occlusion_graph", "relative_depth", "layers")


@dataclass(frozen=True)
class OrderedPhotograph:
    """A photograph and what the model says of its masks.

    Attributes:
        example: the photograph with its annotation.
        result: the prediction.
        verdicts: how many annotated orders are "correct", "wrong", "missed".
        images: by kind of panel, and "check".
    """

    example: Example
    result: OrderedInstances
    verdicts: dict[str, int]
    images: dict[str, ReportImage]


def order_photographs(examples: Sequence[Example]) -> list[OrderedPhotograph]:
    """Order the visible masks of each example; the model gets nothing else of the annotation.

    Raises:
        ImportError: what the model needs is not installed.
        ValueError: the zoo has no such model.
    """
    predict = predictor(MODEL)
    found = []
    for example in examples:
        truth = example.truth
        result = predict(truth.image, truth.replace(occlusion=None, amodal=None))
        drawn = panels(result, truth.image, kinds=KINDS, legend=False)
        images = encoded(drawn, f"{example.key}_order")
        images |= compared(example, result, "check", key=f"{example.key}_order")
        found.append(OrderedPhotograph(example, result, verdict_counts(example, result), images))
    return found
