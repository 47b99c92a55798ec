"""Text and counts about one example: instances found, orders correct or wrong, and reasons."""

from __future__ import annotations

import cv2
import numpy as np

from occ_order.apps.main_job.examples import Example
from occ_order.draw.colors import EDGE_STYLES
from occ_order.draw.verdicts import edge_verdicts, match_instances
from occ_order.instances import OrderedInstances
from occ_order.masks import bordering_pairs
from occ_order.targets import order_from_levels, visibility_levels


def verdicts_of(example: Example, found: OrderedInstances) -> dict[tuple[int, int], str]:
    """Return the `edge_verdicts` of one example."""
    assert found.occlusion is not None  # the CRF and the models of the demo predict it
    return edge_verdicts(
        example.truth.modal,
        example.occlusion,
        found.modal,
        found.occlusion,
        scores=found.scores,
    )


def verdict_counts(example: Example, found: OrderedInstances) -> dict[str, int]:
    """Count the ground-truth orders that are "correct", "wrong" and "missed"."""
    words = list(verdicts_of(example, found).values())
    return {word: words.count(word) for word in EDGE_STYLES}


def things_found(example: Example, found: OrderedInstances) -> int:
    """Return the number of ground-truth instances that have a match."""
    return int((match_instances(example.truth.modal, found.modal, scores=found.scores) >= 0).sum())


def facts(example: Example, found: OrderedInstances, published: OrderedInstances) -> str:
    """Return the main numbers of one image as text."""
    verdicts, others = (verdict_counts(example, one) for one in (found, published))
    number, judged = len(example.truth), sum(verdicts.values())
    orders = "1 order" if judged == 1 else f"{judged} orders"
    return (
        f"{number} annotated things and {orders} between things that touch. "
        f"Found: {things_found(example, found)} of {number} things, in {len(found)} instances; "
        f"{verdicts['correct']} of {orders} right (as published: {others['correct']})."
    )


def levels_of(example: Example) -> np.ndarray:
    """Return the `occ_order.targets.visibility_levels` of the amodal masks, int8 (N, H, W)."""
    truth = example.truth
    whole = truth.modal if truth.amodal is None else truth.amodal | truth.modal
    return visibility_levels(whole, example.occlusion, modal=truth.modal)


def level_orders(example: Example) -> tuple[int, int]:
    """Count one-way orders between overlapping amodal instances: recovered from levels, and all.

    The order is decoded from the levels as in SLN (`occ_order.targets.order_from_levels`).
    """
    levels = levels_of(example)
    whole = (levels >= 0).reshape(len(levels), int(np.prod(levels.shape[1:]))).astype(np.float32)
    edges = (example.occlusion == 1) & ~(example.occlusion.T == 1) & (whole @ whole.T > 0)
    return int((order_from_levels(levels)[edges] == 1).sum()), int(edges.sum())


def explain(
    example: Example, found: OrderedInstances, labels: np.ndarray, *, min_piece: int = 20
) -> list[str]:
    """Explain the errors of one example: split instances, misses, and wrong orders with reasons.

    Args:
        example: the ground truth.
        found: P instances predicted by the CRF.
        labels: int (P,), their labels; larger = nearer.
        min_piece: minimum area in pixels of a visible piece that is counted.

    Returns:
        Sentences; empty if nothing is to be explained.
    """
    sentences = _cut_things(example, min_piece)
    mutual = np.argwhere(np.triu((example.occlusion == 1) & (example.occlusion.T == 1)))
    for i, j in mutual:
        sentences.append(
            f"{_thing(example, i)} and {_thing(example, j)} occlude each other. One depth label "
            "per instance cannot say that: along their contact the boundary points both ways, "
            "the CRF joins the two, and the pair is not scored."
        )
    sentences += _unordered_contacts(example)
    matched = match_instances(example.truth.modal, found.modal, scores=found.scores)
    for k in np.flatnonzero(matched < 0):
        sentences.append(
            f"{_thing(example, int(k))} has no counterpart: no instance found covers it with more "
            "than half intersection over union."
        )
    sentences += _wrong_orders(example, found, labels, matched)
    if example.left_out:
        sentences.append(
            "Regions annotated as stuff became background: " + ", ".join(example.left_out) + "."
        )
    return sentences


def _thing(example: Example, index: int) -> str:
    truth = example.truth
    assert truth.names is not None  # all readers of examples give them
    return f"{truth.ids[index]} ({truth.names[index]})"


def _cut_things(example: Example, min_piece: int) -> list[str]:
    cut = []
    for k, mask in enumerate(example.truth.modal):
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
        pieces = int((stats[1:, cv2.CC_STAT_AREA] >= min_piece).sum())
        if pieces > 1:
            cut.append(f"{_thing(example, k)} into {pieces}")
    if not cut:
        return []
    return [
        "Cut into several visible pieces by what stands in front: "
        + ", ".join(cut)
        + ". An instance is one connected piece here, by definition, so every piece comes out as "
        "an instance of its own."
    ]


def _unordered_contacts(example: Example) -> list[str]:
    known = (example.occlusion == 1) | (example.occlusion.T == 1)
    pairs = np.argwhere(np.triu(bordering_pairs(example.truth.modal) & ~known))
    if not len(pairs):
        return []
    listed = ", ".join(f"{_thing(example, i)} and {_thing(example, j)}" for i, j in pairs)
    return [
        f"Touching, but neither hides the other: {listed}. There is no boundary between them in "
        "the map that was put in, so nothing keeps them apart."
    ]


def _wrong_orders(
    example: Example, found: OrderedInstances, labels: np.ndarray, matched: np.ndarray
) -> list[str]:
    verdicts = verdicts_of(example, found)
    reasons: dict[str, list[str]] = {}
    for (i, j), verdict in verdicts.items():
        if verdict != "wrong":
            continue
        front, back = labels[matched[[i, j]]]
        if front == back:
            why = "both ended with the same depth label, so nothing says who is in front"
        elif front < back:
            why = "the labels say the opposite"
        else:
            why = (
                "the labels have the right order, but no chain of touching instances leads from "
                "one to the other (usually a thin strip or a lost piece lies between them)"
            )
        reasons.setdefault(why, []).append(f"{_thing(example, i)} before {_thing(example, j)}")
    return [f"Wrong: {', '.join(pairs)} – {why}." for why, pairs in reasons.items()]
