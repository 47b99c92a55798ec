"""`occ-order score`: score an order_results.json against the ground truth of a data set."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from occ_order.commands.progress import progress
from occ_order.files import atomic_writer
from occ_order.formats.convert import read_dataset
from occ_order.formats.table import FORMATS, with_order
from occ_order.metrics.report import evaluate_results, format_report, without_nan
from occ_order.order.io import load_results

T = TypeVar("T")
R = TypeVar("R")

PART = 100
"""Images per task of a worker with `--engine ray`."""


def load_ground_truth(options: argparse.Namespace) -> list[dict]:
    """Read the records of the chosen format.

    Args:
        options: options of `occ-order score`.

    Raises:
        ValueError: the file is not of that format, or an entry is damaged.
    """
    if options.format not in with_order():
        return read_dataset(options.format, options.gt, images=options.images).records
    files = [options.gt] if options.instances is None else [options.gt, options.instances]
    split = {} if options.split is None else {"split": options.split}
    load = FORMATS[options.format].load
    assert load is not None  # all formats with an order are loaded
    return load(*files, options.images or ".", **split)


def write_report(path: Path, report: dict) -> None:
    """Write a report, which must not contain NaN, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_writer(path, make_folder=False) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False) + "\n")


def spread_by_ray(
    options: argparse.Namespace, function: Callable[[list[T]], R], items: Iterable[T]
) -> Iterator[R]:
    """Yield the results of a function for parts of the items, computed on a Ray cluster.

    Raises: see :func:`occ_order.engine.on_ray.spread`.
    """
    from occ_order.engine.on_ray import spread

    listed = list(items)
    parts = [listed[k : k + PART] for k in range(0, len(listed), PART)]
    done = spread(parts, lambda: function, address=options.address, workers=options.workers)
    for _, found in progress(done, "score", total=len(parts), unit="part"):
        yield found


def run(options: argparse.Namespace) -> int:
    """Score the predictions and print the report; return the exit status."""
    how: dict[str, Any] = {"watch": functools.partial(progress, what="score")}
    if options.engine == "ray":
        how = {"spread": functools.partial(spread_by_ray, options)}
    report = evaluate_results(
        load_ground_truth(options),
        load_results(options.predictions),
        match=options.match,
        iou_threshold=options.iou,
        class_agnostic=options.class_agnostic,
        gt_edges=options.gt_edges,
        things_only=options.things,
        **how,
    )
    if options.json:
        write_report(Path(options.json), without_nan(report))
    print(format_report(report))
    return 0
