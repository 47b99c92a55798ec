"""`occ-order bench growth`: how time and memory grow with instances, pixels and nodes.

* the default for given masks (order and amodal masks, ONNX Runtime, one thread) on images of
  640 x 480 pixels with more and more instances, each of which meets its neighbours;
* the same with ten instances on larger and larger images;
* order graphs of more and more nodes: layers, relative depth and cycles, of a sparse order (eight
  edges a node), of one in which each node is in front of all later ones, of a chain, and of one
  cycle.

``power`` is the exponent by which the time has grown since the row before: 1 as instances, pixels
or nodes do, 2 as pairs. ``peak_mb`` is by how much the process grew at most (Linux; NaN elsewhere).
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from occ_order import model_zoo, order
from occ_order.benchmarks.crowds import crowd
from occ_order.benchmarks.load import peak_growth
from occ_order.benchmarks.timing import in_turns
from occ_order.lite import from_zoo

SIZE = (480, 640)
NUM_INSTANCES = 10  # of the images that grow
EDGES = 8  # of a node of a sparse order
ORDERS = ("sparse", "dense", "chain", "cycle")


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of the three kinds."""
    predictor = from_zoo(model_zoo.COMPLETES_MASKS, threads=1)
    predictor(*crowd(2, SIZE))  # which prepares

    def predicts(number: int, size: tuple[int, int]) -> Callable[[], Any]:
        image, masks = crowd(number, size)
        return lambda: predictor(image, masks)

    yield from _grown(
        "instances", arguments.instances, lambda n: predicts(int(n), SIZE), arguments.repeats
    )
    yield from _grown(
        "megapixels",
        arguments.megapixels,
        lambda millions: predicts(NUM_INSTANCES, _size(millions)),
        arguments.repeats,
    )
    for kind in ORDERS:
        for name in ("layers", "relative_depth", "cycles"):
            made = functools.partial(_of_order, getattr(order, name), kind)
            what = f"nodes/{name}, {kind} order"
            yield from _grown(what, arguments.nodes, made, arguments.repeats)


def _of_order(function: Callable[[np.ndarray], Any], kind: str, nodes: float) -> Callable[[], Any]:
    """Return what a function makes of an order, when called."""
    return functools.partial(function, some_order(kind, int(nodes)))


def _grown(
    what: str,
    sizes: list[float],
    made: Callable[[float], Callable[[], Any]],
    repeats: int,
) -> Iterator[dict[str, Any]]:
    """Rows of one function at several sizes, from the smallest to the largest.

    Args:
        what: is counted by the sizes, before a "/"; and what is done, behind it.
        sizes: how many.
        made: of a size, what is timed.
        repeats: runs of each, of which the median is kept.
    """
    noun, _, case = what.partition("/")
    last: tuple[float, float] | None = None
    taken: list[float]
    for size in sorted(sizes):
        function, taken = made(size), []
        peak = peak_growth(functools.partial(_time_into, taken, function, repeats))
        (seconds,) = taken
        row = {"case": f"{case or 'predict'}/{size:g} {noun}", "ours_s": seconds}
        if last is not None and last[0] < size:
            row["power"] = math.log(seconds / last[1]) / math.log(size / last[0])
        yield {**row, "peak_mb": peak}
        last = size, seconds


def _time_into(taken: list[float], function: Callable[[], Any], repeats: int) -> None:
    """Add the seconds of a function."""
    taken.extend(in_turns([function], repeats)[1])


def _size(megapixels: float) -> tuple[int, int]:
    """Height and width of an image of 3 : 4."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    return height, round(height * 4 / 3)


def some_order(kind: str, number: int) -> np.ndarray:
    """Return an occlusion matrix of N nodes, int8 (N, N).

    Args:
        kind: one of `ORDERS`.
        number: N.
    """
    occ = np.zeros((number, number), np.int8)
    if kind == "sparse":
        ends = np.sort(np.random.default_rng(0).integers(0, number, (EDGES * number, 2)), axis=1)
        occ[ends[:, 0], ends[:, 1]] = 1
        np.fill_diagonal(occ, 0)
    elif kind == "dense":
        occ = np.triu(np.ones_like(occ), 1)
    else:
        occ[np.arange(number - 1), np.arange(1, number)] = 1
        if kind == "cycle" and number > 1:
            occ[-1, 0] = 1
    return occ
