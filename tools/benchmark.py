"""Side-by-side timings: ``python tools/benchmark.py NAME [--json OUT] [--repeats N] [...]``.

Every benchmark is a module ``tools/benchmark_NAME.py``, imported only when it is asked for, with

* ``add_arguments(parser)``: adds its own options; ``--json`` and ``--repeats`` are there already;
* ``rows(arguments)``: a list of dictionaries (or a generator, which prints each row at once)
  ``{"case", "ours_s", "baseline_s", "ratio"}``, with further keys where it likes;
* ``summary(rows)``, if there is one: a text to print below the table.

A row is our code and a stated baseline in turns in one process on one thread, the median of the CPU
times of either, and baseline / ours (:mod:`benchmarking` helps). The figures depend on the machine;
the ratios much less.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from benchmarking import format_row, geomean  # noqa: E402

BENCHMARKS = {
    "crf": "the CRF's compiled solver beside PyMaxflow",
    "metrics": "the metrics of 5,000 images beside loops over pairs",
    "oosis": "OOSIS with its CRF during the next network pass beside one after the other",
    "pairs": "pairwise networks: pairs batched by instance beside pair by pair",
    "load": "reading annotations and results beside straightforward readers",
}


def run(name: str, module, arguments: argparse.Namespace) -> dict:
    """Run one benchmark and print its table.

    Returns:
        {"name", "rows", "geomean"}, ready for JSON.
    """
    rows = []
    for row in module.rows(arguments):
        print(format_row(row), flush=True)
        rows.append(row)
    if hasattr(module, "summary"):
        print(module.summary(rows))
    mean = geomean(rows)
    print(f"geometric mean of {len(rows)} ratios: x{mean:.1f}")
    return {"name": name, "rows": rows, "geomean": mean}


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark that the command line names."""
    argv = sys.argv[1:] if argv is None else argv
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="name", required=True)
    module = None
    for name, what in BENCHMARKS.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("--json", type=Path, help="write the rows there")
        command.add_argument("--repeats", type=int, default=3, help="interleaved runs of each")
        if argv[:1] == [name]:
            module = import_module(f"benchmark_{name}")
            module.add_arguments(command)
    arguments = parser.parse_args(argv)
    result = run(arguments.name, module, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
