"""What the benchmarks share: times of functions run in turns, rows, geometric means."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable


def in_turns(functions: Iterable[Callable], repeats: int) -> tuple[list, list[float]]:
    """Run functions in turns, so that a busy machine slows all of them alike.

    Args:
        functions: callables without arguments.
        repeats: how often each runs, at least 1.

    Returns:
        The last result of each, and the median of its CPU seconds in this process.
    """
    functions = list(functions)
    results: list = [None] * len(functions)
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for k, function in enumerate(functions):
            start = time.process_time()
            results[k] = function()
            seconds[k].append(time.process_time() - start)
    return results, [statistics.median(times) for times in seconds]


def make_row(case: str, ours_s: float, baseline_s: float, **extra) -> dict:
    """One row of a benchmark; ``extra`` goes behind the four keys that all rows have."""
    ratio = baseline_s / ours_s
    return {"case": case, "ours_s": ours_s, "baseline_s": baseline_s, "ratio": ratio, **extra}


def format_row(row: dict) -> str:
    """A row as one line of the printed table; extra keys follow as ``key value``."""
    line = (
        f"{row['case']:40s} {1e3 * row['ours_s']:10.1f} ms {1e3 * row['baseline_s']:10.1f} ms "
        f"x{row['ratio']:.1f}"
    )
    for key, value in row.items():
        if key not in ("case", "ours_s", "baseline_s", "ratio"):
            line += f"  {key} {value:.4g}" if isinstance(value, float) else f"  {key} {value}"
    return line


def geomean(rows: list[dict]) -> float:
    """Geometric mean of the ratios; NaN for no rows."""
    if not rows:
        return math.nan
    return math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
