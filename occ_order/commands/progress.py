"""Progress with the remaining time, for people at a terminal and for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

QUIET = 2.0
"""Seconds after which something is shown: what is done by then needs no progress."""

PAUSE = 10.0
"""Seconds between two lines where the output is no terminal."""

T = TypeVar("T")


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = "image"
) -> Iterator[T]:
    """Yield the items, and tell on the standard error output how far they are.

    A terminal gets a bar; anything else, such as a file or a pipe, a line now and then.

    Args:
        items: what is worked on, each until the next is asked for.
        what: the word before the numbers.
        total: how many items there are, where they do not know it.
        unit: what one item is.
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
        what: the word before the numbers.
        done: items that are done, at least 1.
        total: of so many; None = unknown.
        seconds: since the start.
        unit: what one item is.
    """
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    line = f"{what}: {count} {unit}{'' if (total or done) == 1 else 's'}"
    line += f" in {tqdm.format_interval(seconds)}"
    if total:
        line += f", {tqdm.format_interval(seconds / done * (total - done))} left"
    print(line, file=sys.stderr, flush=True)
