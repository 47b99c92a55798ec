"""`occ-order bench`: our code beside stated baselines, in one process."""

from __future__ import annotations

import argparse
import importlib
import json
from types import ModuleType

import cv2

from occ_order.benchmarks.timing import format_row, geomean


def run(options: argparse.Namespace) -> int:
    """Run the benchmark that is named, and write its rows; return the exit status."""
    cv2.setNumThreads(1)
    module = importlib.import_module(f"occ_order.benchmarks.{options.name}")
    result = run_rows(options.name, module, options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run_rows(name: str, module: ModuleType, options: argparse.Namespace) -> dict:
    """Run one benchmark and print its table.

    Args:
        name: of the benchmark.
        module: has a function `rows(options)`, which gives dictionaries {"case", "ours_s",
            "baseline_s", "ratio"}, and perhaps `summary(rows)`, a text to print below the table.
        options: of the command line.

    Returns:
        {"name", "rows", "geomean"}, ready for JSON.
    """
    rows = []
    for row in module.rows(options):
        print(format_row(row), flush=True)
        rows.append(row)
    if hasattr(module, "summary"):
        print(module.summary(rows))
    mean = geomean(rows)
    print(f"geometric mean of {len(rows)} ratios: x{mean:.1f}")
    return {"name": name, "rows": rows, "geomean": mean}
