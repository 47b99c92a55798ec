"""`occ-order bench crf`: the compiled solver vs. the vectorised PyMaxflow backend.

Both run the same moves in the same process on the same input, including checks, and must return the
same labels and energies on every image. The baseline is this package's readable backend: for every
jump it builds an integer graph of the whole image by array operations, with one ``add_edges`` per
axis.

``--plain`` compares with the style of PyMaxflow's examples, with floats and one ``add_grid_edges``
per direction, ``--naive`` with a graph built pixel by pixel in Python; both only for the constant
bound. ``--threads`` compares two threads of this solver with one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from occ_order import crf
from occ_order.benchmarks.timing import geomean, in_turns, make_row
from occ_order.crf.energy import make_problem, scaled_energy
from occ_order.crf.maxflow import library
from occ_order.crf.moves import jump_problem
from occ_order.crf.workspace import workspace_bytes

KINS_SIZE = (615, 2048)
COCO_SIZE = (480, 640)


@dataclass(frozen=True)
class SceneClass:
    """Parameters of synthetic CRF input.

    Attributes:
        size: (H, W).
        instances: number of car-like blobs, nearer ones lower in the image and larger.
        noise: standard deviation of the error of sigma, both as smooth blotches and per pixel.
        gaps: fraction of the boundary without ordered pairs, in contiguous pieces.
        spurious: wrong ordered pairs, as a fraction of the correct ones, in short strokes.
        smoothness: lambda.
    """

    size: tuple[int, int]
    instances: int
    noise: float
    gaps: float
    spurious: float
    smoothness: float


# Increasing noise, gaps and number of instances; smoothness 40 unless stated in the name.
CRF_CLASSES = {
    "coco_easy": SceneClass(COCO_SIZE, 5, 0.02, 0.0, 0.0, 40),
    "coco_mid": SceneClass(COCO_SIZE, 12, 0.10, 0.05, 0.02, 40),
    "coco_mid_20": SceneClass(COCO_SIZE, 12, 0.10, 0.05, 0.02, 20),
    "coco_hard": SceneClass(COCO_SIZE, 20, 0.20, 0.15, 0.10, 40),
    "coco_crowd_80": SceneClass(COCO_SIZE, 40, 0.20, 0.10, 0.05, 80),
    "kins_easy": SceneClass(KINS_SIZE, 8, 0.02, 0.0, 0.0, 40),
    "kins_mid": SceneClass(KINS_SIZE, 20, 0.10, 0.05, 0.02, 40),
    "kins_mid_20": SceneClass(KINS_SIZE, 20, 0.10, 0.05, 0.02, 20),
    "kins_hard": SceneClass(KINS_SIZE, 30, 0.20, 0.15, 0.10, 40),
    "kins_hard_80": SceneClass(KINS_SIZE, 30, 0.20, 0.15, 0.10, 80),
    "kins_crowd": SceneClass(KINS_SIZE, 60, 0.15, 0.10, 0.05, 40),
}
NAIVE_CASES = ["coco_mid", "kins_mid"]  # these take half a minute each


def make_scene(kind: SceneClass, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate CRF input: sigma float32 (H, W), multiples of 1/1024, and occludes."""
    rng = np.random.default_rng(seed)
    depth = _draw_blobs(kind, rng)
    occludes = _true_pairs(depth)
    occludes &= ~_strokes(kind, rng, occludes, kind.gaps, length=12)
    occludes |= _wrong_pairs(kind, rng, occludes)
    return _background_prob(kind, rng, depth > 0), occludes


def _draw_blobs(kind: SceneClass, rng: np.random.Generator) -> np.ndarray:
    """Draw instance ids int32 (H, W); larger = nearer, 0 = background."""
    height, width = kind.size
    depth = np.zeros(kind.size, np.int32)
    floor = np.sort(rng.uniform(0.45, 1.0, kind.instances)) * height
    for number, bottom in enumerate(floor, start=1):
        tall = (0.12 + 0.5 * (bottom / height - 0.4)) * height * rng.uniform(0.7, 1.3)
        wide = tall * rng.uniform(0.8, 2.0)
        x = rng.uniform(0, width)
        body = [[-1, 0], [-1, -0.5], [-0.7, -0.55], [-0.45, -1], [0.4, -1], [0.7, -0.6], [1, -0.5]]
        outline = np.array([*body, [1, 0]]) * (wide / 2, tall) + (x, bottom)
        cv2.fillPoly(depth, [np.rint(outline).astype(np.int32)], number)
        for wheel in (-0.6, 0.6):
            centre = (round(x + wheel * wide / 2), round(bottom))
            cv2.circle(depth, centre, max(1, round(0.14 * tall)), number, -1)
    return depth


def _true_pairs(depth: np.ndarray) -> np.ndarray:
    """Let every pixel occlude its farther neighbours, including the background."""
    occludes = np.zeros((4, *depth.shape), bool)
    occludes[0, :, 1:] = depth[:, 1:] > depth[:, :-1]
    occludes[1, :, :-1] = depth[:, :-1] > depth[:, 1:]
    occludes[2, 1:] = depth[1:] > depth[:-1]
    occludes[3, :-1] = depth[:-1] > depth[1:]
    return occludes


def _strokes(kind, rng, occludes: np.ndarray, share: float, *, length: int) -> np.ndarray:
    """Return squares around random boundary pixels that cover about ``share`` of them, (H, W)."""
    places = np.argwhere(occludes.any(axis=0))
    chosen = places[rng.random(len(places)) < share / length]
    mask = np.zeros(kind.size, np.uint8)
    mask[tuple(chosen.T)] = 1
    return cv2.dilate(mask, np.ones((length, length), np.uint8)) > 0


def _wrong_pairs(kind, rng, occludes: np.ndarray) -> np.ndarray:
    """Return short straight strokes of random ordered pairs, horizontal or vertical."""
    height, width = kind.size
    wrong = np.zeros_like(occludes)
    for _ in range(round(kind.spurious * occludes.any(axis=0).sum() / 10)):
        length, d = int(rng.integers(2, 19)), int(rng.integers(4))
        y, x = int(rng.integers(1, height - 19)), int(rng.integers(1, width - 19))
        if d < 2:
            wrong[d, y : y + length, x] = True
        else:
            wrong[d, y, x : x + length] = True
    return wrong


def _background_prob(kind, rng, foreground: np.ndarray) -> np.ndarray:
    """Return sigma: 0.05 or 0.95, plus blotches of about 16 px and white noise, in 1/1024."""
    height, width = kind.size
    coarse = rng.normal(0, 2 * kind.noise, (height // 16 + 2, width // 16 + 2)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    white = rng.normal(0, kind.noise, kind.size).astype(np.float32)
    sigma = np.where(foreground, 0.05, 0.95) + blotches + white
    return (np.rint(np.clip(sigma, 0, 1) * 1024) / 1024).astype(np.float32)


def rows(arguments) -> Iterator[dict]:
    """Compile the solver, then time every scene class, seed and bound."""
    start = time.process_time()
    for seed in range(4):  # runs every kernel once
        small = make_scene(SceneClass((120, 160), 12, 0.2, 0.15, 0.1, 40), seed)
        crf.solve(*small, backend="grid")
    print(f"compiled or loaded from the cache in {time.process_time() - start:.1f} s")
    memory = workspace_bytes(KINS_SIZE) / 1e6
    print(f"arrays of the solver at {KINS_SIZE[1]} x {KINS_SIZE[0]}: {memory:.0f} MB")
    if arguments.threads:
        yield bench_threads(arguments.repeats)
    elif arguments.naive:
        yield from bench_build("naive", _solve_naively, arguments.repeats, 1, NAIVE_CASES)
    elif arguments.plain:
        cases = arguments.cases or list(CRF_CLASSES)
        repeats, seeds = arguments.repeats, arguments.seeds
        yield from bench_build("plain", _solve_plainly, repeats, seeds, cases)
    else:
        yield from bench_solve(
            arguments.repeats,
            arguments.seeds,
            arguments.cases or list(CRF_CLASSES),
            arguments.bounds,
        )


def summary(rows: list[dict]) -> str:
    """Format geometric mean and minimum of the ratios by image size and by bound."""
    lines = []
    for part in ("kins", "coco", "constant", "alternate"):
        group = [row for row in rows if part in row["case"]]
        if group:
            least = min(row["ratio"] for row in group)
            mean = geomean(group)
            lines.append(
                f"{part:10s} {len(group):3d} rows  geomean x{mean:.1f}  least x{least:.1f}"
            )
    return "\n".join(lines)


def bench_solve(repeats: int, seeds: int, cases: list[str], bounds: list[str]) -> Iterator[dict]:
    """Compare ``solve(backend="grid")`` with ``solve(backend="pymaxflow")``."""
    for name in cases:
        kind = CRF_CLASSES[name]
        for seed in range(seeds):
            scene = make_scene(kind, seed)
            keep_arrays(scene)
            for bound in bounds:
                options: dict[str, Any] = {"smoothness": kind.smoothness, "bound": bound}
                functions = [
                    partial(crf.solve, *scene, backend=backend, **options)
                    for backend in ("grid", "pymaxflow")
                ]
                results, seconds = in_turns(functions, repeats)
                check_same(f"{name} seed {seed} {bound}", *results)
                yield make_row(f"{name}/{seed}/{bound}", *seconds)


def keep_arrays(scene: tuple[np.ndarray, np.ndarray]) -> None:
    """Let the solver allocate its arrays for this image size, which are reused between images.

    A whole run is needed, since memory is only allocated on first use.
    """
    crf.solve(*scene, backend="grid")


def check_same(case: str, ours: crf.CRFResult, baseline: crf.CRFResult) -> None:
    """Exit unless labels and energies are equal and every move lowered the energy."""
    if not np.array_equal(ours.labels, baseline.labels) or ours.energies != baseline.energies:
        raise SystemExit(f"{case}: the backends disagree")
    if any(after >= before for before, after in pairwise(ours.energies)):
        raise SystemExit(f"{case}: the energy rose")


def bench_threads(repeats: int) -> dict:
    """Compare ``solve_many`` with two threads and one: wall time of eight problems of a class."""
    kind = CRF_CLASSES["coco_mid"]
    scenes = [make_scene(kind, seed) for seed in range(8)]

    def run(workers: int) -> float:
        start = time.perf_counter()
        for _ in crf.solve_many(
            scenes, workers=workers, smoothness=kind.smoothness, bound="constant", backend="grid"
        ):
            pass
        return time.perf_counter() - start

    pairs = [(run(2), run(1)) for _ in range(repeats + 1)][1:]  # the first run allocates memory
    two, one = (statistics.median(column) for column in zip(*pairs, strict=True))
    return make_row("coco_mid/solve_many, two threads beside one, wall clock", two, one)


def bench_build(
    build: str, solve: Callable[..., np.ndarray], repeats: int, seeds: int, cases: list[str]
) -> Iterator[dict]:
    """Compare ``bound="constant"`` with ``solve``, which builds its graphs differently."""
    for name in cases:
        kind = CRF_CLASSES[name]
        for seed in range(seeds):
            scene = make_scene(kind, seed)
            keep_arrays(scene)
            options: dict[str, Any] = {"smoothness": kind.smoothness, "occlusion": 100}
            fast = partial(crf.solve, *scene, bound="constant", backend="grid", **options)
            (result, labels), seconds = in_turns((fast, partial(solve, *scene, **options)), repeats)
            if not np.array_equal(result.labels, labels):
                raise SystemExit(f"{name} seed {seed}: the {build} build results in other labels")
            yield make_row(f"{name}/{seed}/{build}", *seconds)


def _solve_plainly(
    sigma: np.ndarray, occludes: np.ndarray, *, smoothness: float, occlusion: float
) -> np.ndarray:
    """Jump moves with one array operation for each direction of arcs."""
    maxflow = library()
    problem = make_problem(sigma, occludes, smoothness=smoothness, occlusion=occlusion)
    labels = np.zeros(sigma.shape, np.int32)
    energy = scaled_energy(problem, labels)
    while True:
        unary, arcs = jump_problem(problem, labels, "constant")
        graph = maxflow.Graph[float](labels.size, 4 * labels.size)
        nodes = graph.add_grid_nodes(labels.shape)
        for d, (dy, dx) in enumerate(((0, -1), (0, 1), (-1, 0), (1, 0))):
            structure = np.zeros((3, 3), int)
            structure[1 + dy, 1 + dx] = 1
            # p -> q is cut if q moves and p does not: the arc from q to p.
            weights = np.roll(arcs[d ^ 1], (-dy, -dx), axis=(0, 1))
            graph.add_grid_edges(nodes, weights.astype(float), structure, symmetric=False)
        graph.add_grid_tedges(nodes, np.maximum(unary, 0), np.maximum(-unary, 0))
        graph.maxflow()
        proposal = labels + graph.get_grid_segments(nodes)
        new = scaled_energy(problem, proposal)
        if new >= energy:
            return labels
        labels, energy = proposal, new


def _solve_naively(
    sigma: np.ndarray, occludes: np.ndarray, *, smoothness: float, occlusion: float
) -> np.ndarray:
    """Jump moves in a naive implementation: loops over pixels, floating point."""
    maxflow = library()
    labels = np.zeros(sigma.shape, np.int32)
    current = crf.energy(labels, sigma, occludes, smoothness=smoothness, occlusion=occlusion)
    while True:
        graph = maxflow.Graph[float](labels.size, 2 * labels.size)
        nodes = graph.add_nodes(labels.size).reshape(labels.shape)
        _add_pixels(graph, nodes, labels, sigma, occludes, smoothness, occlusion)
        graph.maxflow()
        moved = [[graph.get_segment(node) for node in row] for row in nodes]
        proposal = labels + np.array(moved, np.int32)
        new = crf.energy(proposal, sigma, occludes, smoothness=smoothness, occlusion=occlusion)
        if not new < current - 1e-6:
            return labels
        labels, current = proposal, new


def _add_pixels(graph, nodes, labels, sigma, occludes, smoothness, occlusion) -> None:
    """Add terminals and edges of one jump with the constant bound, pixel by pixel."""
    height, width = labels.shape
    cost = np.where(labels == 0, 2.0 * sigma - 1, 0.0)
    for y in range(height):
        for x in range(width):
            for d, dy, dx in ((1, 0, 1), (3, 1, 0)):
                if y + dy == height or x + dx == width:
                    continue
                step = labels[y, x] - labels[y + dy, x + dx]
                front, behind = occludes[d, y, x], occludes[d ^ 1, y + dy, x + dx]
                forward = backward = smoothness if step == 0 else 0
                if step == 0:
                    cost[y, x] += occlusion * (int(behind) - int(front))
                    cost[y + dy, x + dx] -= occlusion * (int(behind) - int(front))
                    forward += 1e9 * front
                    backward += 1e9 * behind
                elif step == 1:
                    forward += occlusion * front
                elif step == -1:
                    backward += occlusion * behind
                if forward or backward:
                    graph.add_edge(nodes[y, x], nodes[y + dy, x + dx], forward, backward)
    for y in range(height):
        for x in range(width):
            graph.add_tedge(nodes[y, x], max(cost[y, x], 0), max(-cost[y, x], 0))
