"""`occ-order bench stages`: CPU time of each stage of `predict` for a photograph without masks.

The default models with ONNX Runtime and one thread, as in `occ_order.predict`: decode the image
file, detect instances, predict their order and amodal masks, draw the panels, write the results.
Detection, order and completion are split into the network and the rest (preprocessing, masks,
decoding).

``ours_s`` is the median CPU time, ``of_networks`` its percentage of the total time of all networks.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.draw import panels
from occ_order.files import as_image, read_bytes
from occ_order.front import Photographs, photographs
from occ_order.lite import Graph
from occ_order.panels import PREDICTED

NETWORK = "network"


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per stage, and the totals of the networks and of everything else."""
    content = read_bytes(arguments.photo)
    models = photographs(backend="onnx", score_threshold=arguments.score_threshold)
    runs = [_run(models, content) for _ in range(arguments.repeats + 1)][1:]  # without warm-up
    taken = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    networks = sum(seconds for stage, seconds in taken.items() if stage.endswith(NETWORK))
    rest = sum(taken.values()) - networks
    for stage, seconds in {**taken, "all networks": networks, "all the rest": rest}.items():
        yield {"case": stage, "ours_s": seconds, "of_networks": 100 * seconds / networks}


def _run(models: Photographs, content: bytes) -> dict[str, float]:
    """Return the CPU seconds of each stage."""
    taken: dict[str, float] = defaultdict(float)
    with _timed(taken, "decode"):
        pixels = as_image("photo", content=content)
    assert models.detector is not None and models.complete is not None  # loaded by default
    with _timed(taken, "detect"):
        found = models.detector(pixels)
    with _timed(taken, "order"):
        ordered = models.order(pixels, found)
    with _timed(taken, "complete"):
        result = models.complete(ordered)
    with _timed(taken, "draw"):
        panels(result, pixels, kinds=PREDICTED)
    with tempfile.TemporaryDirectory() as folder, _timed(taken, "write"):
        result.save(Path(folder) / "order_results.json")
    return dict(taken)


@contextlib.contextmanager
def _timed(taken: dict[str, float], stage: str) -> Iterator[None]:
    """Add the CPU time of a block, with that of `Graph.run` inside it as a separate entry."""
    inside = 0.0
    run = Graph.run

    @functools.wraps(run)
    def timed_run(*arguments: Any) -> list[np.ndarray]:
        nonlocal inside
        start = time.process_time()
        try:
            return run(*arguments)
        finally:
            inside += time.process_time() - start

    setattr(Graph, "run", timed_run)  # noqa: B010 (mypy takes no assignment to a method)
    start = time.process_time()
    try:
        yield
    finally:
        total = time.process_time() - start
        setattr(Graph, "run", run)  # noqa: B010
    if inside:
        taken[f"{stage}: {NETWORK}"] += inside
        taken[f"{stage}: the rest"] += total - inside
    else:
        taken[stage] += total
