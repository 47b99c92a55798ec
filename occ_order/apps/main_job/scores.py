"""Tables of the report, computed by the scorers of `occ_order.metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from occ_order.apps.main_job.examples import Example
from occ_order.apps.main_job.second_stage import BOUNDS, CONDITIONS, LIMIT, Finished
from occ_order.apps.main_job.sentences import things_found
from occ_order.instances import OrderedInstances
from occ_order.metrics import ClassAPScorer, CoverageScorer, CycleScorer, OAIRScorer
from occ_order.order import area_order, y_axis_order

RULES = ((area_order, "larger one is in front"), (y_axis_order, "lower one is in front"))


def score(pairs: Iterable[tuple[Example, OrderedInstances]]) -> dict[str, Any]:
    """Compute all metrics of one data set under one condition, class-agnostically.

    Args:
        pairs: (ground truth, prediction) of each image.

    Returns:
        Counts summed over the images, percentages in [0, 100], and the OAIR curve as fractions.
    """
    oair, coverage = OAIRScorer(class_agnostic=True), CoverageScorer()
    cycles, ap = CycleScorer(), ClassAPScorer(class_agnostic=True, min_occlusion=())
    things = matched = instances = 0
    for example, found in pairs:
        truth, guess = _as_scored(example, example.truth), _as_scored(example, found)
        for scorer in (oair, coverage, cycles, ap):
            scorer.update(truth, guess)
        things, instances = things + len(example.truth), instances + len(found)
        matched += things_found(example, found)
    curve, coverage_of = oair.compute()["by_iou"], coverage.compute()
    return {
        "things": things,
        "things_found": matched,
        "instances": instances,
        "orders": int(curve["edges"][0]),
        "orders_recovered": int(curve["recovered"][0]),
        "orders_right": int(curve["correct"][0]),
        "recall": 100 * curve["recall"][0],
        "accuracy": 100 * curve["accuracy"][0],
        "weighted_coverage": coverage_of["weighted"],
        "cycles": cycles.compute()["instances"],
        "ap": ap.compute()["AP"],
        "curve": {key: curve[key] for key in ("iou_threshold", "recall", "accuracy")},
    }


def _as_scored(example: Example, side: OrderedInstances) -> dict[str, Any]:
    return {
        "image_id": example.truth.image_id,
        "masks": side.modal,
        "classes": np.zeros(len(side), np.int64),
        "scores": side.scores,
        "occlusion": side.occlusion,
    }


def table_rows(finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """Return the table of a data set: condition x bound, the upper limit, two heuristic rules."""
    titles = {
        (condition, bound): (what, f"CRF, {how}")
        for condition, what in CONDITIONS.items()
        for bound, how in BOUNDS.items()
    }
    titles[LIMIT] = ("annotated masks", "each piece one instance")
    rows = []
    for (condition, bound), (what, method) in titles.items():
        outcomes = [f.outcomes[condition, bound] for f in finished]
        rows.append(
            {"input": what, "method": method, "condition": condition, "bound": bound}
            | score((f.example, o.found) for f, o in zip(finished, outcomes, strict=True))
            | {
                "energy": sum(outcome.energy for outcome in outcomes),
                "seconds": sum(o.seconds for o in outcomes) if condition in CONDITIONS else None,
            }
        )
    for rule, method in RULES:
        truths = [f.example.truth for f in finished]
        guesses = [truth.replace(occlusion=rule(truth.modal), scores=None) for truth in truths]
        row = {"input": "annotated masks", "method": f"rule: {method}", "condition": "rule"}
        scores = score((f.example, g) for f, g in zip(finished, guesses, strict=True))
        rows.append(
            row
            | {"bound": rule.__name__}
            | scores
            | {"ap": None, "energy": None, "seconds": None}  # undefined for input masks
        )
    return rows
