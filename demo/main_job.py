"""The main job, from masks and order to a report; see ``--help``.

First the whole way of "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu, Veksler,
Boykov) on generated images: a small network of the model zoo predicts class map and oriented
boundary, the CRF reads instances and their order off them. Then that paper's experiment of Table 4
and Fig. 10: the two maps are made from annotation instead, so that what is measured is the second
stage alone. Beside the exact maps the same is done with damaged ones. And it shows what lies behind
the visible: whole things and their levels, as "Learning Semantics-aware Distance Map with Semantics
Layering Network" (Zhang et al.) defines them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from occ_order import __version__, metrics, scenes
from occ_order.apps.main_report import (
    Example,
    boundary_image,
    check_image_of,
    draw_banner,
    example_images,
    explain,
    level_images,
    level_orders,
    match_instances,
    verdicts_of,
)
from occ_order.apps.report import ReportImage, encode_image, render_report
from occ_order.crf import InstanceSet, energy, instances, occludes_from_target, solve
from occ_order.crf.instances import components
from occ_order.draw import EDGE_STYLES, draw_accuracy_recall, draw_semantic, png_bytes
from occ_order.draw.canvas import display_scale
from occ_order.formats.cocoa import load_cocoa
from occ_order.masks import bordering_pairs, decode_all, paint
from occ_order.metrics.report import without_nan
from occ_order.order import area_order, relative_depth, y_axis_order
from occ_order.order.io import results_image, save_results
from occ_order.targets import neighbour_slices, oriented_boundary

MIN_AREA = 20
"""Components of fewer pixels (strips that the CRF leaves) are dropped before scoring."""

IOU_THRESHOLDS = tuple(float(t) for t in np.round(np.arange(0.5, 1.0, 0.05), 2))

SCENE_SIZES = ((240, 320), (160, 160), (256, 384), (320, 240), (360, 480), (480, 640))
"""(H, W) of the generated scenes, used in turn."""

CONDITIONS = {
    "exact": "exact maps",
    "gaps": "10 % of boundary cut",
    "noisy": "10 % cut, and noise",
}
BOUNDS = {"alternate": "default", "constant": "as published"}

LIMIT = ("limit", "pieces")
"""Key of what the annotation itself would score, cut into connected pieces."""

NETWORK = "oosis_mini_scenes"
"""The network of the model zoo that looks at images."""

NETWORK_SEED = 50_000
"""Seed of the first image that it is shown; it was not trained on any of them."""

BANNER_SCENE = {
    "seed": 399,
    "size": (256, 256),
    "num_instances": (6, 8),
    "interlocked": 0.0,
    "background": "room",
}

DEMO_VARIABLE = "OCC_ORDER_COCOA_DEMO"
DEMO_FILE = "COCO_amodal_demo5.json"


@dataclass
class Outcome:
    """What the CRF made of one image under one condition with one bound."""

    found: InstanceSet
    energy: float
    seconds: float


@dataclass
class Finished:
    """Everything about one image, ready for scoring and for the report.

    outcomes: (condition, bound) -> Outcome; boundaries: condition -> bool (4, H, W);
    images: name -> ReportImage; verdicts: how many orders are right, wrong, missed (exact
    maps, default bound); facts and notes: sentences for the report; level_orders: how many orders
    of whole things that overlap the levels say, and how many there are.
    """

    example: Example
    outcomes: dict[tuple[str, str], Outcome]
    boundaries: dict[str, np.ndarray]
    images: dict[str, ReportImage]
    verdicts: dict[str, int]
    facts: str
    notes: list[str]
    level_orders: tuple[int, int]


# ---------------------------------------------------------------- what goes in


def scene_examples(count: int, seed: int) -> list[Example]:
    """Generated scenes of different sizes; the same seed gives the same ones."""
    examples = []
    for k in range(count):
        height, width = SCENE_SIZES[k % len(SCENE_SIZES)]
        # Two of three scenes without interlocked pairs, which one label per instance cannot order.
        interlocked = 0.3 if k % 3 == 2 else 0.0
        scene = scenes.generate(
            seed + k, size=(height, width), num_instances=(6, 14), interlocked=interlocked
        )
        title = f"Generated scene {k + 1} ({width} x {height} pixels)"
        examples.append(example_from_scene(scene, f"scene_{k + 1}", title, k + 1))
    return examples


def example_from_scene(scene: scenes.Scene, key: str, title: str, image_id: int) -> Example:
    """The visible instances of a scene as an example."""
    seen = scene.modal.any((1, 2))
    return Example(
        key=key,
        title=title,
        image_id=image_id,
        image=scene.image,
        masks=scene.modal[seen],
        names=[scenes.CLASSES[c] for c in scene.classes[seen]],
        classes=scene.classes[seen] + 1,
        occlusion=scene.occlusion[np.ix_(seen, seen)],
        amodal=scene.amodal[seen],
    )


def cocoa_examples(json_file: Path, image_root: Path) -> list[Example]:
    """Photographs with COCOA annotation: things only, stuff regions become background.

    Raises:
        ValueError: damaged annotation, or a photograph that is missing, unreadable or of another
            size than the annotation says.
    """
    examples = []
    for k, record in enumerate(load_cocoa(json_file, image_root)):
        regions, size = record["annotations"], (record["height"], record["width"])
        where = [f"{json_file}, image {record['image_id']}, region {r['id']}" for r in regions]
        masks, amodal = (
            decode_all([r[key] for r in regions], *size, names=where)
            for key in ("segmentation", "amodal_segmentation")
        )
        names = [str(r.get("name", "thing")).strip() or "thing" for r in regions]
        stuff = np.array([bool(r.get("is_stuff", 0)) for r in regions], bool)
        keep = np.flatnonzero(~stuff & masks.any((1, 2)))
        examples.append(
            Example(
                key=f"photograph_{k + 1}",
                title=f"Photograph {k + 1} ({Path(record['file_name']).name})",
                image_id=record["image_id"],
                image=read_photograph(record["file_name"], size),
                masks=masks[keep],
                names=[names[i] for i in keep],
                classes=np.ones(len(keep), np.int64),
                occlusion=np.asarray(record["occlusion"])[np.ix_(keep, keep)],
                left_out=[names[i] for i in np.flatnonzero(stuff)],
                amodal=amodal[keep],
            )
        )
    return examples


def read_photograph(path: str, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) RGB of exactly the given size; an EXIF rotation is ignored.

    Raises:
        ValueError: missing, unreadable, or of another size.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such photograph (--images is the folder names start from)")
    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    if image.shape[:2] != size:
        raise ValueError(f"{path}: is {image.shape[:2]}, annotated as {size} (height, width)")
    return np.ascontiguousarray(image[..., ::-1])


# ---------------------------------------------------------------- the job on one image


def input_maps(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The two maps that a perfect network would predict.

    Returns:
        background_prob float64 (H, W), .05 on things and .95 elsewhere; occludes bool (4, H, W).
    """
    ids = paint(example.masks, occlusion=example.occlusion)
    boundary, orientation = oriented_boundary(ids, example.occlusion)
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
    """A copy without the boundary in random blocks, at least `share` of its pixels removed."""
    damaged, active = occludes.copy(), occludes.any(0)
    pixels = np.argwhere(active)
    allowed = (1 - share) * len(pixels)
    for y, x in pixels[rng.permutation(len(pixels))]:
        if np.count_nonzero(active) <= allowed:
            break
        window = np.s_[
            max(y - block // 2, 0) : y + block // 2, max(x - block // 2, 0) : x + block // 2
        ]
        damaged[(slice(None), *window)] = active[window] = False
    return damaged


def add_false_boundary(
    occludes: np.ndarray, pieces: int, *, length: int, rng: np.random.Generator
) -> None:
    """Adds straight pieces with random place and direction, in place.

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
        result.labels, boundary_prob=occludes.any(0).astype(np.float32), min_area=MIN_AREA
    )
    return Outcome(found, float(result.energies[-1]), seconds)


def annotated_pieces(example: Example, smoothness: float) -> Outcome:
    """The annotation itself, but every connected piece of a thing for one instance.

    What labels can say at best: the CRF has no way to know that two pieces belong to one thing
    that something cuts in two.
    """
    background_prob, occludes = input_maps(example)
    ids = paint(example.masks, occlusion=example.occlusion)
    pieces = components(ids, ids > 0)
    masks = pieces[None] == np.arange(1, pieces.max(initial=0) + 1)[:, None, None]
    thing = ids.ravel()[[np.flatnonzero(mask)[0] for mask in masks]] - 1 if len(masks) else []
    thing = np.asarray(thing, np.int64)
    occlusion = example.occlusion[np.ix_(thing, thing)] * bordering_pairs(masks)
    layer = relative_depth(occlusion)
    found = InstanceSet(
        ids=pieces,
        classes=np.zeros(len(masks), np.int64),
        scores=masks.sum((1, 2)).astype(np.float64),
        relative_depth=layer,
        occlusion=occlusion.astype(np.int8),
    )
    labels = np.concatenate([[0], layer])[pieces]
    return Outcome(found, energy(labels, background_prob, occludes, smoothness=smoothness), 0.0)


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Runs the CRF once on a tiny scene, so that no time is counted for compiling it."""
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
        rng = np.random.default_rng([seed, k, abs(example.image_id)])
        maps = damage(background_prob, occludes, condition, rng)
        boundaries[condition] = maps[1]
        for bound in BOUNDS:
            outcomes[condition, bound] = run_crf(*maps, bound, smoothness)
    outcomes[LIMIT] = annotated_pieces(example, smoothness)
    best = outcomes["exact", "alternate"].found
    drawings = example_images(example, occludes, best) | level_images(example)
    published = outcomes["exact", "constant"].found
    return Finished(
        example=example,
        outcomes=outcomes,
        boundaries=boundaries,
        images=drawings,
        verdicts=verdict_counts(example, best),
        facts=facts(example, best, published),
        notes=explain(example, best),
        level_orders=level_orders(example),
    )


def verdict_counts(example: Example, found: InstanceSet) -> dict[str, int]:
    """How many annotated orders are "correct", "wrong", "missed"."""
    words = list(verdicts_of(example, found).values())
    return {word: words.count(word) for word in EDGE_STYLES}


def facts(example: Example, found: InstanceSet, published: InstanceSet) -> str:
    """One sentence of numbers about one image."""
    verdicts, others = (list(verdicts_of(example, f).values()) for f in (found, published))
    covered = int((match_instances(example.masks, found.masks, scores=found.scores) >= 0).sum())
    orders = "1 order" if len(verdicts) == 1 else f"{len(verdicts)} orders"
    return (
        f"{len(example.masks)} annotated things and {orders} between things that touch. "
        f"Found: {covered} of {len(example.masks)} things, in {len(found.masks)} instances; "
        f"{verdicts.count('correct')} of {orders} right (as published: {others.count('correct')})."
    )


def showcase(finished: Sequence[Finished]) -> int:
    """Index of the image to explain the steps on: many orders, but few enough to follow."""

    def worth(f: Finished) -> tuple[bool, int]:
        return len(f.example.masks) <= 12, int(f.example.judged_edges().sum())

    return max(range(len(finished)), key=lambda k: worth(finished[k]))


# ---------------------------------------------------------------- the whole way, with a network


def network_part(options: argparse.Namespace) -> dict[str, Any] | None:
    """Images that only the network sees, what comes out, and scores; None without a network."""
    if not options.network_scenes:
        return None
    try:
        from occ_order.engine.predictor import OrderPredictor

        predictor = OrderPredictor.from_zoo(NETWORK)
    except (ImportError, FileNotFoundError, ValueError) as error:
        say(f"no network: {error}")
        return None
    say(f"A network looks at {options.network_scenes} generated images")
    examples = network_examples(options.network_scenes, options.seed)
    start = time.process_time()
    seen = [network_outcome(predictor, example) for example in examples]
    seconds = time.process_time() - start
    exact = [run_crf(*input_maps(e), "alternate", options.smoothness).found for e in examples]
    gt = [ground_truth(example) for example in examples]
    rows = []
    for source, results in (
        ("the image alone", [s["found"] for s in seen]),
        ("exact maps", exact),
    ):
        pred = [prediction(e, found) for e, found in zip(examples, results, strict=True)]
        rows.append({"input": source, **score(gt, pred), "ap": average_precision(gt, pred)})
        say(
            f"    {source:>20}: found {rows[-1]['things_found']} of {rows[-1]['things']} things, "
            f"{rows[-1]['orders_right']} of {rows[-1]['orders']} orders right"
        )
    return {"name": NETWORK, "seen": seen, "rows": rows, "seconds": seconds}


def network_examples(count: int, seed: int) -> list[Example]:
    """Generated scenes of the size and kind that the network knows, but none it was trained on."""
    examples = []
    for k in range(count):
        scene = scenes.generate(NETWORK_SEED + 100 * seed + k, size=(160, 160), **scenes.PLAIN)
        examples.append(example_from_scene(scene, f"network_{k + 1}", f"Image {k + 1}", k + 1))
    return examples


def network_outcome(predictor: Any, example: Example) -> dict[str, Any]:
    """One image through network and CRF.

    Args:
        predictor: an `OrderPredictor` of OOSIS; it gets the image and nothing else.
        example: the image, and the annotation to compare with.

    Returns:
        "example", "found" (InstanceSet), "images", "verdicts", "facts".
    """
    output = predictor.output(example.image)
    result = output["instances"]
    masks = result.pred_masks.numpy()
    found = InstanceSet(
        ids=(masks * np.arange(1, len(masks) + 1)[:, None, None]).sum(0).astype(np.int32),
        classes=result.pred_classes.numpy(),
        scores=result.scores.numpy().astype(np.float64),
        relative_depth=result.relative_depth.numpy(),
        occlusion=result.occlusion.tensor.numpy(),
    )
    composed = output["occ_boundary"].numpy()
    boundary = np.clip(1 - composed[4], 1e-6, 1)
    _, occludes = predictor.model.decoder.oriented(boundary, composed[:4] / boundary)
    drawings = example_images(example, occludes, found)
    scale = display_scale(*example.image.shape[:2])
    foreground = output["sem_seg"].numpy().argmax(0).astype(np.uint8).clip(0, 1)
    drawings["semantic"] = encode_image(
        draw_semantic(foreground, image=example.image, scale=scale),
        f"{example.key}_semantic",
        "Predicted class map: things in blue, background in grey.",
    )
    verdicts = verdict_counts(example, found)
    matched = int((match_instances(example.masks, found.masks, scores=found.scores) >= 0).sum())
    return {
        "example": example,
        "found": found,
        "images": drawings,
        "verdicts": verdicts,
        "facts": f"{matched} of {len(example.masks)} things found; of "
        f"{sum(verdicts.values())} annotated orders {verdicts['correct']} right, "
        f"{verdicts['wrong']} wrong, {verdicts['missed']} missed.",
    }


# ---------------------------------------------------------------- scores


def average_precision(gt: Sequence[dict], pred: Sequence[dict]) -> float:
    """COCO average precision of the visible masks in percent, all things of one class."""
    return metrics.class_scores(gt, pred, min_occlusion=())["AP"]


def ground_truth(example: Example) -> dict[str, Any]:
    """One image as the metrics want it, all things of one class."""
    count = len(example.masks)
    return {
        "image_id": example.image_id,
        "masks": example.masks,
        "classes": np.zeros(count, np.int64),
        "occlusion": example.occlusion,
    }


def prediction(example: Example, found: InstanceSet) -> dict[str, Any]:
    """Instances found as the metrics want them."""
    return {
        "image_id": example.image_id,
        "masks": found.masks,
        "classes": np.zeros(len(found.masks), np.int64),
        "scores": found.scores,
        "occlusion": found.occlusion,
    }


def score(gt: list[dict], pred: list[dict]) -> dict[str, Any]:
    """All measures of one data set under one condition.

    Returns:
        counts pooled over the images, percentages in [0, 100], the OAIR curve as fractions.
    """
    curve = metrics.oair(gt, pred, iou_thresholds=IOU_THRESHOLDS, class_agnostic=True)
    matched = [
        match_instances(g["masks"], p["masks"], scores=p.get("scores"))
        for g, p in zip(gt, pred, strict=True)
    ]
    coverage = [
        metrics.weighted_coverage(g["masks"], p["masks"])
        for g, p in zip(gt, pred, strict=True)
        if len(g["masks"])
    ]
    return {
        "things": sum(len(g["masks"]) for g in gt),
        "things_found": sum(int((m >= 0).sum()) for m in matched),
        "instances": sum(len(p["masks"]) for p in pred),
        "orders": int(curve["edges"][0]),
        "orders_recovered": int(curve["recovered"][0]),
        "orders_right": int(curve["correct"][0]),
        "recall": 100 * curve["recall"][0],
        "accuracy": 100 * curve["accuracy"][0],
        "weighted_coverage": 100.0 * float(np.mean(coverage)) if coverage else math.nan,
        "cycles": metrics.percent_in_cycles([p["occlusion"] for p in pred]),
        "curve": {key: curve[key] for key in ("iou_threshold", "recall", "accuracy")},
    }


def table_rows(finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """The metrics table of one data set: condition x bound, the limit, the two rules of thumb."""
    gt = [ground_truth(f.example) for f in finished]
    titles = {
        (condition, bound): (what, f"CRF, {how}")
        for condition, what in CONDITIONS.items()
        for bound, how in BOUNDS.items()
    }
    titles[LIMIT] = ("annotated masks", "each piece one instance")
    rows = []
    for (condition, bound), (what, method) in titles.items():
        outcomes = [f.outcomes[condition, bound] for f in finished]
        pred = [prediction(f.example, o.found) for f, o in zip(finished, outcomes, strict=True)]
        row = {"input": what, "method": method, "condition": condition, "bound": bound}
        row |= score(gt, pred)
        row["ap"] = average_precision(gt, pred)
        row["energy"] = sum(outcome.energy for outcome in outcomes)
        row["seconds"] = sum(o.seconds for o in outcomes) if condition in CONDITIONS else None
        rows.append(row)
    for rule, method in (
        (area_order, "larger one is in front"),
        (y_axis_order, "lower one is in front"),
    ):
        pred = [g | {"occlusion": rule(g["masks"]), "scores": np.ones(len(g["masks"]))} for g in gt]
        row = {"input": "annotated masks", "method": f"rule: {method}", "condition": "rule"}
        row |= {"bound": rule.__name__, "ap": None, "energy": None, "seconds": None}
        rows.append(row | score(gt, pred))
    return rows


# ---------------------------------------------------------------- what is written


def write_results(folder: Path, finished: Sequence[Finished]) -> None:
    """order_results.json of one data set: exact maps, default bound."""
    images = []
    for f in finished:
        found = f.outcomes["exact", "alternate"].found
        height, width = f.example.image.shape[:2]
        images.append(
            results_image(
                image_id=f.example.image_id,
                height=height,
                width=width,
                modal=found.masks,
                classes=np.ones(len(found.masks), np.int64),
                scores=found.scores,
                occlusion=found.occlusion,
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    save_results(folder / "order_results.json", images)


def damage_images(f: Finished) -> dict[str, ReportImage]:
    """Boundary with gaps and what either bound makes of it: "boundary", "alternate", "constant"."""
    key, example = f.example.key, f.example
    drawings = {
        bound: check_image_of(example, f.outcomes["gaps", bound].found, f"{key}_gaps_{bound}")
        for bound in BOUNDS
    }
    drawings["boundary"] = boundary_image(example, f.boundaries["gaps"], f"{key}_gaps_boundary")
    return drawings


def curve_image(rows: Sequence[dict[str, Any]], key: str, title: str) -> ReportImage:
    """OAIR curves by IoU of all CRF rows."""
    curves = {}
    for j, (bound, how) in enumerate(BOUNDS.items()):
        for i, (condition, what) in enumerate(CONDITIONS.items()):
            curve = next(
                r["curve"] for r in rows if (r["condition"], r["bound"]) == (condition, bound)
            )
            curves[f"{what}, {how}"] = curve | {"style": (i, j)}
    drawing = draw_accuracy_recall(curves, title=title)
    alt = "Accuracy over recall of the occlusion order, one line per input and method."
    return encode_image(drawing, f"{key}_curves", alt, sharpness=1.5, flat=True)


def write_banner(path: Path, smoothness: float) -> None:
    """The image at the top of the README: one generated scene, five panels."""
    example = example_from_scene(scenes.generate(**BANNER_SCENE), "banner", "Banner", 1)
    background_prob, occludes = input_maps(example)
    outcome = run_crf(background_prob, occludes, "alternate", smoothness)
    drawing = draw_banner(example, occludes, outcome.found)
    # Every fourth grey level is enough for the eye and makes the file a third smaller.
    coarse = np.minimum(np.rint(drawing / 4.0) * 4.0, 255.0).astype(np.uint8)
    path.write_bytes(png_bytes(coarse))


def write_report(
    output: Path,
    sets: list[dict[str, Any]],
    network: dict[str, Any] | None,
    options: argparse.Namespace,
) -> None:
    """index.html with its images inside, the same images as files, metrics.json."""
    folder = output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    seen = network["seen"] if network else []
    drawings = [p for s in sets for p in set_images(s)]
    for drawing in drawings + [p for one in seen for p in one["images"].values()]:
        (folder / drawing.name).write_bytes(drawing.data)
    page = render_report(
        "main_job.html.j2",
        {
            "sets": sets,
            "network": network,
            "conditions": CONDITIONS,
            "bounds": BOUNDS,
            "smoothness": options.smoothness,
            "seed": options.seed,
            "min_area": MIN_AREA,
            "version": __version__,
            "variable": DEMO_VARIABLE,
        },
    )
    (output / "index.html").write_text(page, encoding="utf-8")
    numbers = {
        "version": __version__,
        "smoothness": options.smoothness,
        "seed": options.seed,
        "min_area": MIN_AREA,
        "sets": {
            s["key"]: {
                "images": len(s["finished"]),
                "rows": s["rows"],
                "orders_from_levels": dict(zip(("right", "all"), s["level_orders"], strict=True)),
            }
            for s in sets
        },
        "network": None
        if network is None
        else {"name": network["name"], "images": len(seen), "rows": network["rows"]},
    }
    text = json.dumps(without_nan(numbers), indent=1, allow_nan=False)
    (output / "metrics.json").write_text(text + "\n", encoding="utf-8")


def set_images(one_set: dict[str, Any]) -> list[ReportImage]:
    """Every image of one data set."""
    drawings = [one_set["curves"], *one_set["damaged"].values()]
    return drawings + [p for f in one_set["finished"] for p in f.images.values()]


# ---------------------------------------------------------------- command


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        description="From annotated images to occlusion-ordered instances, scores and a report.",
        epilog=(
            f"Photographs: where the environment variable {DEMO_VARIABLE} names a folder with "
            f"{DEMO_FILE} and its images, they are used; or give any COCOA file with --cocoa "
            "and --images. Without either the report shows the generated scenes alone."
        ),
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write; made if new")
    parser.add_argument("--cocoa", type=Path, help="annotation file in COCOA format")
    parser.add_argument("--images", type=Path, help="folder that its file names start from")
    parser.add_argument("--scenes", type=int, default=6, help="generated scenes (default 6)")
    parser.add_argument(
        "--network-scenes", type=int, default=4,
        help="generated images that the network looks at (default 4; 0 = without a network)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of scenes and damage (default 0)")
    parser.add_argument(
        "--smoothness", type=float, default=40.0,
        help="weight of the CRF's smoothness term per neighbour pair (default 40 = the paper's 20 "
        "counted in both directions)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default 2)"
    )
    parser.add_argument(
        "--no-banner", action="store_true", help="leave out banner.png, one scene in five panels"
    )
    options = parser.parse_args(arguments)
    if (options.cocoa is None) != (options.images is None):
        parser.error("--cocoa and --images go together")
    if options.scenes < 0 or options.network_scenes < 0 or options.jobs < 1:
        parser.error("--scenes and --network-scenes must be 0 or more, --jobs 1 or more")
    return options


def photograph_source(options: argparse.Namespace) -> tuple[Path, Path] | None:
    """(annotation file, image folder), or None where no photographs are at hand."""
    if options.cocoa is not None:
        return options.cocoa, options.images
    folder = os.environ.get(DEMO_VARIABLE)
    if not folder:
        say(
            f"no photographs: {DEMO_VARIABLE} is not set; give your own with "
            "--cocoa annotations.json --images FOLDER"
        )
        return None
    return Path(folder) / DEMO_FILE, Path(folder).resolve().parent


def say(text: str) -> None:
    """Progress for the person at the terminal, at once."""
    print(text, flush=True)


def run_all(examples: Sequence[Example], options: argparse.Namespace) -> list[Finished]:
    """`finish` for every example, over processes, with a line of progress for each."""
    tasks = [(example, options.seed, options.smoothness) for example in examples]
    done = []
    jobs = min(options.jobs, len(tasks))
    # Not "fork": a copied process inherits the locks of OpenCV's threads, but not the threads.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None
    start = time.perf_counter()
    try:
        for f in pool.map(finish, tasks) if pool else map(finish, tasks):
            done.append(f)
            spent = sum(outcome.seconds for outcome in f.outcomes.values())
            say(
                f"  [{time.perf_counter() - start:5.1f} s] {f.example.title}: "
                f"{len(f.example.masks)} things, {len(f.outcomes)} CRF runs {spent:.1f} s"
            )
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return done


def data_set(
    key: str, title: str, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, Any]:
    """Runs and scores one data set and writes its results file."""
    say(f"{title}: {len(examples)} images")
    finished = run_all(examples, options)
    start = time.perf_counter()
    rows = table_rows(finished)
    write_results(options.output / key, finished)
    say(f"  [{time.perf_counter() - start:5.1f} s] scores")
    for row in rows:
        say(
            f"    {row['input']:>30} | {row['method']:<34} | found "
            f"{row['things_found']:>3} of {row['things']} | orders right {row['orders_right']:>3} "
            f"of {row['orders_recovered']} recovered, {row['orders']} annotated"
        )
    shown = showcase(finished)
    return {
        "key": key,
        "title": title,
        "finished": finished,
        "rows": rows,
        "level_orders": [sum(f.level_orders[k] for f in finished) for k in range(2)],
        "curves": curve_image(rows, key, title),
        "showcase": finished[shown],
        "damaged_counts": {
            bound: verdict_counts(
                finished[shown].example, finished[shown].outcomes["gaps", bound].found
            )
            for bound in BOUNDS
        },
        "damaged": damage_images(finished[shown]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; exit status 0, or 2 with a message where the input is bad."""
    options = parse_arguments(arguments)
    start = time.perf_counter()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        source = photograph_source(options)
        photographs = cocoa_examples(*source) if source else []
        generated = scene_examples(options.scenes, options.seed)
        say(f"[{time.perf_counter() - start:5.1f} s] images and annotation read")
        sets = [
            data_set(key, title, examples, options)
            for key, title, examples in (
                ("photographs", "Photographs", photographs),
                ("scenes", "Generated scenes", generated),
            )
            if examples
        ]
        write_report(options.output, sets, network_part(options), options)
        if not options.no_banner:
            write_banner(options.output / "banner.png", options.smoothness)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say(f"[{time.perf_counter() - start:5.1f} s] done: {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
