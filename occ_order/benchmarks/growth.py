"""`occ-order bench growth`: scaling of time and memory with instances, pixels and nodes.

* the default models for input masks (order and amodal masks, ONNX Runtime, one thread) on images of
  640 x 480 pixels with an increasing number of instances, each in contact with its neighbours;
* the same with ten instances on increasingly large images;
* order graphs with an increasing number of nodes: layers, relative depth and cycles, for a sparse
  order (eight edges per node), a total order, a chain, and a cycle;
* all scores of an increasing number of images (`occ-order score`), whose annotations and
  predictions are in memory already: ``peak_mb`` is what the scorers take in addition;
* statistics of an increasing number of annotated pairs (`occ-order stats`), with and without masks;
* made-up InstaOrder files of an increasing number of images, with as many instances and points of
  outlines as COCO has: read up to the data set that training draws from, and converted to COCO with
  an order table, which is read back and compared (`occ-order convert`).

``power`` is the exponent of the growth of time since the previous row: 1 = linear in instances,
pixels or nodes, 2 = quadratic. ``peak_mb`` is the maximum growth of the process memory (Linux; NaN
elsewhere).
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from occ_order import model_zoo, order
from occ_order.benchmarks.crowds import crowd
from occ_order.benchmarks.like_coco import write_like_coco
from occ_order.benchmarks.load import peak_growth
from occ_order.benchmarks.many_images import PER_IMAGE, many_images
from occ_order.benchmarks.timing import in_turns
from occ_order.formats.convert import convert, read_dataset
from occ_order.formats.statistics import order_statistics
from occ_order.lite import from_zoo
from occ_order.metrics.report import evaluate_results

SIZE = (480, 640)
NUM_INSTANCES = 10  # for the benchmark of image sizes
EDGES = 8  # per node of a sparse order
ORDERS = ("sparse", "dense", "chain", "cycle")


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of all benchmarks."""
    yield from _of_networks(arguments)
    for kind in ORDERS:
        for name in ("layers", "relative_depth", "cycles"):
            made = functools.partial(_of_order, getattr(order, name), kind)
            what = f"nodes/{name}, {kind} order"
            yield from _grown(what, arguments.nodes, made, arguments.repeats)
    yield from _grown(
        "images/score",
        arguments.images,
        lambda number: functools.partial(evaluate_results, *many_images(int(number))),
        arguments.repeats,
    )
    for looks in (False, True):
        what = f"pairs/stats, {'with' if looks else 'without'} masks"
        made = functools.partial(_statistics, looks)
        yield from _grown(what, arguments.pairs, made, arguments.repeats)
    yield from _grown("images/read", arguments.listed, _reading, arguments.repeats)
    yield from _grown("images/convert", arguments.listed, _converting, arguments.repeats)


# The results of the following calls hold the folder, which is removed with its last reference.


def _reading(images: float) -> Callable[[], Any]:
    """Return a call that reads a data set as training does, from files that this writes."""
    from occ_order.engine.loader import serialized
    from occ_order.formats.builtin import register_instaorder

    folder = tempfile.TemporaryDirectory()
    name = f"made_up_{os.path.basename(folder.name)}"
    register_instaorder(name, *write_like_coco(folder.name, int(images)), folder.name)
    return lambda: (serialized(name, filter_empty=True), folder)


def _converting(images: float) -> Callable[[], Any]:
    """Return a call that converts a data set, from files that this writes."""
    folder = tempfile.TemporaryDirectory()
    order_file, instances = write_like_coco(folder.name, int(images))

    def call() -> Any:
        data = read_dataset("instaorder", order_file, instances=instances, stream=True)
        return convert(data, "coco", os.path.join(folder.name, "coco")), folder

    return call


def _of_networks(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of the default models, which are loaded if there are any."""
    if not arguments.instances and not arguments.megapixels:
        return
    predictor = from_zoo(model_zoo.COMPLETES_MASKS, threads=1)
    predictor(*crowd(2, SIZE))  # first call loads the models

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


def _statistics(looks: bool, pairs: float) -> Callable[[], Any]:
    """Return a call of the statistics of as many pairs as asked for."""
    records, _ = many_images(-(-int(pairs) // math.comb(PER_IMAGE, 2)))
    return functools.partial(order_statistics, records, look_at_masks=looks)


def _of_order(function: Callable[[np.ndarray], Any], kind: str, nodes: float) -> Callable[[], Any]:
    """Return a call of a function on an order of a kind and size."""
    return functools.partial(function, some_order(kind, int(nodes)))


def _grown(
    what: str,
    sizes: list[float],
    made: Callable[[float], Callable[[], Any]],
    repeats: int,
) -> Iterator[dict[str, Any]]:
    """Yield rows of one function at increasing sizes.

    Args:
        what: unit of the sizes, "/" and a description of the function.
        sizes: the sizes, ascending.
        made: returns the function to time for a size.
        repeats: number of runs, of which the median is used.
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
    """Append the run times of a function in seconds."""
    taken.extend(in_turns([function], repeats)[1])


def _size(megapixels: float) -> tuple[int, int]:
    """Return height and width of a 3 : 4 image."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    return height, round(height * 4 / 3)


def some_order(kind: str, number: int) -> np.ndarray:
    """Create an occlusion matrix of N nodes, int8 (N, N).

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
