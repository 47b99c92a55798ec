"""Helpers of the benchmarks: interleaved timing, rows, tables, geometric means."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from importlib import metadata

from occ_order.files import read_text


def in_turns(functions: Iterable[Callable], repeats: int) -> tuple[list, list[float]]:
    """Run functions alternately, so that other load of the machine affects all of them equally.

    Args:
        functions: callables without arguments.
        repeats: number of runs, at least 1.

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
    """Return a row of a benchmark; ``extra`` keys follow the four common ones."""
    ratio = baseline_s / ours_s
    return {"case": case, "ours_s": ours_s, "baseline_s": baseline_s, "ratio": ratio, **extra}


def format_row(row: dict) -> str:
    """Format a row as a line of the printed table; extra keys follow as ``key value``."""
    line = f"{row['case']:40s} {1e3 * row['ours_s']:10.1f} ms"
    if "ratio" in row:
        line += f" {1e3 * row['baseline_s']:10.1f} ms x{row['ratio']:.1f}"
    for key, value in row.items():
        if key not in ("case", "ours_s", "baseline_s", "ratio"):
            line += f"  {key} {format_value(value)}"
    return line


def format_value(value: object) -> str:
    """Format a cell of a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(result: dict) -> str:
    """Format the result of a benchmark as a Markdown table with a description of the machine.

    Args:
        result: result of `occ_order.commands.bench.run_rows`.
    """
    columns = list(dict.fromkeys(key for row in result["rows"] for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[format_value(row.get(key, "")) for key in columns] for row in result["rows"]]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    parts = [f"# occ-order bench {result['name']}", f"{result['date']}: {machine}.", table]
    return "\n\n".join([*parts, *([result["summary"]] if result["summary"] else [])]) + "\n"


def machine() -> dict[str, str]:
    """Describe the machine: processor, cores, system, and versions of numerical libraries."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }
    for package in ("occ_order", "numpy", "scipy", "onnxruntime", "torch"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = read_text("/proc/cpuinfo").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def geomean(rows: list[dict]) -> float:
    """Return the geometric mean of the ratios; NaN without rows."""
    if not rows:
        return math.nan
    return math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
