"""`occ-order bench`: benchmarks against stated baselines, in one process."""

from __future__ import annotations

import argparse
import datetime
import importlib
from types import ModuleType

import cv2

from occ_order.benchmarks.timing import format_row, geomean, machine, markdown
from occ_order.files import write_json, write_text
from occ_order.metrics.report import without_nan


def run(options: argparse.Namespace) -> int:
    """Run the selected benchmark and write its rows; return the exit status."""
    cv2.setNumThreads(1)
    module = importlib.import_module(f"occ_order.benchmarks.{options.name}")
    result = run_rows(options.name, module, options)
    if options.json:
        write_json(options.json, without_nan(result), indent=1)
    if options.markdown:
        write_text(options.markdown, markdown(result))
    return 0


def run_rows(name: str, module: ModuleType, options: argparse.Namespace) -> dict:
    """Run one benchmark and print its table.

    Args:
        name: name of the benchmark.
        module: see :mod:`occ_order.benchmarks`.
        options: command-line options.

    Returns:
        {"name", "date", "machine", "rows", "summary"}, JSON-ready, and "geomean" if rows have a
        ratio.
    """
    rows = []
    for row in module.rows(options):
        print(format_row(row), flush=True)
        rows.append(row)
    text = module.summary(rows) if hasattr(module, "summary") else ""
    if text:
        print(text)
    result = {
        "name": name,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rows": rows,
        "summary": text,
    }
    if all("ratio" in row for row in rows):
        result["geomean"] = geomean(rows)
        print(f"geometric mean of {len(rows)} ratios: x{result['geomean']:.1f}")
    return result
