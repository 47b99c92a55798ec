"""Progress reports with the remaining time, for terminals and for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

QUIET = 2.0
"""Seconds before progress is first shown; shorter loops print nothing."""

PAUSE = 10.0
"""Seconds between two lines if the output is not a terminal."""

T = TypeVar("T")


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = "image"
) -> Iterator[T]:
    """Yield the items and report the progress on standard error.

    On a terminal a progress bar is shown; otherwise at most one line every `PAUSE` seconds.

    Args:
        items: items to process.
        what: label before the numbers.
        total: number of items, needed if `items` has no length.
        unit: name of one item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, delay=QUIET)
        return
    start = time.monotonic()
    told = start + QUIET - PAUSE
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= PAUSE:
            told = now
            tell(what, done, total, now - start, unit)
        yield item


def tell(what: str, done: int, total: int | None, seconds: float, unit: str) -> None:
    """Print one line of progress.

    Args:
        what: label before the numbers.
        done: number of finished items, at least 1.
        total: number of all items; None = unknown.
        seconds: time since the start.
        unit: name of one item.
    """
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    line = f"{what}: {count} {unit}{'' if (total or done) == 1 else 's'}"
    line += f" in {tqdm.format_interval(seconds)}"
    if total:
        line += f", {tqdm.format_interval(seconds / done * (total - done))} left"
    print(line, file=sys.stderr, flush=True)
