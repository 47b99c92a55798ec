"""The second stage alone: maps made from annotation, exact or damaged, and the CRF on them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from occ_order import scenes
from occ_order.apps.main_job import drawings, sentences
from occ_order.apps.main_job.examples import Example, example_from_scene
from occ_order.apps.report import ReportImage
from occ_order.crf import InstanceSet, energy, instances, occludes_from_target, solve
from occ_order.crf.instances import components
from occ_order.instances import OrderedInstances
from occ_order.masks import bordering_pairs, paint
from occ_order.order import relative_depth
from occ_order.targets import neighbour_slices, oriented_boundary

MIN_AREA = 20
"""Components of fewer pixels (strips that the CRF leaves) are dropped before scoring."""

CONDITIONS = {
    "exact": "exact maps",
    "gaps": "10 % of boundary cut",
    "noisy": "10 % cut, and noise",
}
BOUNDS = {"alternate": "default", "constant": "as published"}

LIMIT = ("limit", "pieces")
"""Key of what the annotation itself would score, cut into connected pieces."""


@dataclass
class Outcome:
    """What the CRF made of one image under one condition with one bound.

    Attributes:
        found: P instances.
        labels: int (P,), the label of each: larger = nearer.
        energy: of the labelling.
        seconds: of processor time.
    """

    found: OrderedInstances
    labels: np.ndarray
    energy: float
    seconds: float


@dataclass
class Finished:
    """Everything about one image, ready for scoring and for the report.

    Attributes:
        example: what went in.
        outcomes: by condition and bound.
        boundaries: bool (4, H, W) by condition.
        images: by name.
        verdicts: how many orders are right, wrong, missed (exact maps, default bound).
        facts: a sentence of numbers.
        notes: sentences for a reader.
        level_orders: how many orders of whole instances that overlap the levels say, and how many
            there are.
    """

    example: Example
    outcomes: dict[tuple[str, str], Outcome]
    boundaries: dict[str, np.ndarray]
    images: dict[str, ReportImage] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    facts: str = ""
    notes: list[str] = field(default_factory=list)
    level_orders: tuple[int, int] = (0, 0)


def input_maps(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Return the two maps that a perfect network would predict.

    Returns:
        background_prob float64 (H, W), .05 on things and .95 elsewhere; occludes bool (4, H, W).
    """
    ids = paint(example.truth.modal, occlusion=example.truth.occlusion)
    boundary, orientation = oriented_boundary(ids, example.truth.occlusion)
    return np.where(ids > 0, 0.05, 0.95), occludes_from_target(boundary, orientation)


def damage(
    background_prob: np.ndarray, occludes: np.ndarray, condition: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Input maps with controlled faults.

    Args:
        background_prob: float64 (H, W).
        occludes: bool (4, H, W).
        condition: "exact" changes nothing. "gaps" clears 12 x 12 blocks, centred on random
            boundary pixels, until 10 % of the boundary pixels are gone. "noisy" does that, then
            adds normal noise (standard deviation 0.25) to the background probability and false
            pieces of boundary, 6 pixels each, in all 2 % of the boundary's length.
        rng: source of the randomness.

    Returns:
        background_prob and occludes, new arrays where they differ.
    """
    if condition == "exact" or not occludes.any():
        return background_prob, occludes
    damaged = cut_gaps(occludes, share=0.10, block=12, rng=rng)
    if condition == "gaps":
        return background_prob, damaged
    pieces = max(1, round(0.02 * np.count_nonzero(occludes.any(0)) / 6))
    add_false_boundary(damaged, pieces, length=6, rng=rng)
    noise = rng.normal(0.0, 0.25, background_prob.shape)
    return np.clip(background_prob + noise, 0.0, 1.0), damaged


def cut_gaps(
    occludes: np.ndarray, *, share: float, block: int, rng: np.random.Generator
) -> np.ndarray:
    """Return copy without the boundary in random blocks, at least `share` of its pixels removed."""
    damaged, active = occludes.copy(), np.any(occludes, axis=0)
    pixels = np.argwhere(active)
    allowed = (1 - share) * len(pixels)
    for y, x in pixels[rng.permutation(len(pixels))]:
        if np.count_nonzero(active) <= allowed:
            break
        rows = slice(max(y - block // 2, 0), y + block // 2)
        columns = slice(max(x - block // 2, 0), x + block // 2)
        damaged[:, rows, columns] = active[rows, columns] = False
    return damaged


def add_false_boundary(
    occludes: np.ndarray, pieces: int, *, length: int, rng: np.random.Generator
) -> None:
    """Add straight pieces with random place and direction, in place.

    Pairs that would leave the image or contradict one that is there already are not set.
    """
    height, width = occludes.shape[1:]
    for _ in range(pieces):
        y, x, direction = rng.integers(height), rng.integers(width), int(rng.integers(4))
        false = np.zeros((height, width), bool)
        false[(slice(y, y + length), x) if direction < 2 else (y, slice(x, x + length))] = True
        here, there = neighbour_slices(direction)
        occludes[direction][here] |= false[here] & ~occludes[direction ^ 1][there]


def run_crf(
    background_prob: np.ndarray, occludes: np.ndarray, bound: str, smoothness: float
) -> Outcome:
    """CRF and what it means: labels -> instances, without the pieces below `MIN_AREA` pixels."""
    start = time.process_time()
    result = solve(background_prob, occludes, smoothness=smoothness, bound=bound)
    seconds = time.process_time() - start
    found = instances(
        result.labels, boundary_prob=np.any(occludes, axis=0).astype(np.float32), min_area=MIN_AREA
    )
    return Outcome(ordered(found), found.relative_depth, float(result.energies[-1]), seconds)


def ordered(found: InstanceSet) -> OrderedInstances:
    """Return instances of the CRF as those of an image."""
    return OrderedInstances(
        0, found.ids.shape, found.masks, scores=found.scores, occlusion=found.occlusion
    )


def annotated_pieces(example: Example, smoothness: float) -> Outcome:
    """Return the annotation itself, but every connected piece of a thing for one instance.

    What labels can say at best: the CRF has no way to know that two pieces belong to one thing
    that something cuts in two.
    """
    background_prob, occludes = input_maps(example)
    truth = example.truth
    ids = paint(truth.modal, occlusion=truth.occlusion)
    pieces = components(ids, ids > 0)
    masks = pieces[None] == np.arange(1, pieces.max(initial=0) + 1)[:, None, None]
    thing = np.array([ids[mask][0] - 1 for mask in masks], np.int64)
    occlusion = truth.occlusion[np.ix_(thing, thing)] * bordering_pairs(masks)
    scores = masks.sum((1, 2)).astype(np.float64)
    found = OrderedInstances(
        0, ids.shape, masks, scores=scores, occlusion=occlusion.astype(np.int8)
    )
    layer = relative_depth(occlusion)
    labels = np.concatenate([[0], layer])[pieces]
    spent = energy(labels, background_prob, occludes, smoothness=smoothness)
    return Outcome(found, layer, spent, 0.0)


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Run the CRF once on a tiny scene, so that no time is counted for compiling it."""
    tiny = example_from_scene(scenes.generate(0, size=(64, 64), num_instances=4), "", "", 0)
    for bound in BOUNDS:
        run_crf(*input_maps(tiny), bound, 40.0)


def finish(task: tuple[Example, int, float]) -> Finished:
    """All conditions, bounds, images and notes of one image (runs in a worker process)."""
    example, seed, smoothness = task
    cv2.setNumThreads(1)
    warm_up()
    background_prob, occludes = input_maps(example)
    outcomes, boundaries = {}, {}
    for k, condition in enumerate(CONDITIONS):
        rng = np.random.default_rng([seed, k, abs(int(example.truth.image_id))])
        maps = damage(background_prob, occludes, condition, rng)
        boundaries[condition] = maps[1]
        for bound in BOUNDS:
            outcomes[condition, bound] = run_crf(*maps, bound, smoothness)
    outcomes[LIMIT] = annotated_pieces(example, smoothness)
    best, published = (outcomes["exact", bound] for bound in BOUNDS)
    return Finished(
        example=example,
        outcomes=outcomes,
        boundaries=boundaries,
        images=drawings.example_images(example, occludes, best.found)
        | drawings.level_images(example),
        verdicts=sentences.verdict_counts(example, best.found),
        facts=sentences.facts(example, best.found, published.found),
        notes=sentences.explain(example, best.found, best.labels),
        level_orders=sentences.level_orders(example),
    )
