"""The second stage of OOSIS alone: the CRF on exact or damaged maps made from ground truth."""

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
from occ_order.crf import energy, instances, occludes_from_target, solve
from occ_order.crf.instances import components
from occ_order.instances import OrderedInstances
from occ_order.masks import bordering_pairs, paint
from occ_order.order import relative_depth
from occ_order.targets import neighbour_slices, oriented_boundary

MIN_AREA = 20
"""Minimum area of a component in pixels; smaller ones (thin strips) are dropped before scoring."""

CONDITIONS = {
    "exact": "exact maps",
    "gaps": "10 % of boundary cut",
    "noisy": "10 % cut, and noise",
}
BOUNDS = {"alternate": "default", "constant": "as published"}

LIMIT = ("limit", "pieces")
"""Key of the outcome of the ground truth itself, cut into connected components."""


@dataclass
class Outcome:
    """Result of the CRF on one image under one condition with one bound.

    Attributes:
        found: P predicted instances.
        labels: int (P,), label of each instance: larger = nearer.
        energy: energy of the labelling.
        seconds: CPU time.
    """

    found: OrderedInstances
    labels: np.ndarray
    energy: float
    seconds: float


@dataclass
class Finished:
    """All results of one image, for scoring and for the report.

    Attributes:
        example: the ground truth.
        outcomes: (condition, bound) -> result.
        boundaries: condition -> bool (4, H, W), oriented boundary given to the CRF.
        images: name -> figure.
        verdicts: numbers of orders that are correct, wrong and missed (exact maps, default bound).
        facts: one sentence with the main numbers.
        notes: sentences that explain the errors.
        level_orders: number of orders between overlapping amodal instances that the visibility
            levels recover, and number of all such orders.
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
    """Return the ground-truth maps, as a perfect network would predict them.

    Returns:
        background_prob, float64 (H, W): 0.05 on instances and 0.95 elsewhere; occludes,
        bool (4, H, W).
    """
    ids = paint(example.truth.modal, occlusion=example.occlusion)
    boundary, orientation = oriented_boundary(ids, example.occlusion)
    return np.where(ids > 0, 0.05, 0.95), occludes_from_target(boundary, orientation)


def damage(
    background_prob: np.ndarray, occludes: np.ndarray, condition: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Damage the input maps in a controlled way.

    Args:
        background_prob: float64 (H, W).
        occludes: bool (4, H, W).
        condition: "exact" changes nothing. "gaps" clears 12 x 12 blocks, centred on random
            boundary pixels, until 10 % of the boundary pixels are removed. "noisy" also adds
            Gaussian noise (standard deviation 0.25) to the background probability and false
            boundary segments of 6 pixels, in total 2 % of the boundary's length.
        rng: random generator.

    Returns:
        background_prob and occludes; the inputs are not modified.
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
    """Return a copy with at least `share` of the boundary pixels removed, in random blocks."""
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
    """Add `pieces` straight segments at random positions and directions, in place.

    Pixel pairs that leave the image or contradict an existing boundary are not set.
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
    """Solve the CRF and extract instances of at least `MIN_AREA` pixels from its labels."""
    start = time.process_time()
    result = solve(background_prob, occludes, smoothness=smoothness, bound=bound)
    seconds = time.process_time() - start
    found = instances(
        result.labels, boundary_prob=np.any(occludes, axis=0).astype(np.float32), min_area=MIN_AREA
    )
    things = found.ordered().replace(classes=None)  # all of one class, as the ground truth's pieces
    assert found.relative_depth is not None  # `instances` reads it from the labels
    return Outcome(things, found.relative_depth, float(result.energies[-1]), seconds)


def annotated_pieces(example: Example, smoothness: float) -> Outcome:
    """Return the ground truth with every connected component as an instance of its own.

    This is the upper limit of the CRF, which cannot know that two components belong to one
    instance that is cut in two by an occluder.
    """
    background_prob, occludes = input_maps(example)
    ids = paint(example.truth.modal, occlusion=example.occlusion)
    pieces = components(ids, ids > 0)
    masks = pieces[None] == np.arange(1, pieces.max(initial=0) + 1)[:, None, None]
    thing = np.array([ids[mask][0] - 1 for mask in masks], np.int64)
    occlusion = example.occlusion[np.ix_(thing, thing)] * bordering_pairs(masks)
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
    """Run the CRF once on a tiny scene, so that compilation is not included in the timings."""
    tiny = example_from_scene(scenes.generate(0, size=(64, 64), num_instances=4), "", "", 0)
    for bound in BOUNDS:
        run_crf(*input_maps(tiny), bound, 40.0)


def finish(task: tuple[Example, int, float]) -> Finished:
    """Compute all conditions, bounds, figures and notes of one image (in a worker process)."""
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
