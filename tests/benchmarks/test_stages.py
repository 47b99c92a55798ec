"""Where the time of a photograph alone goes: every stage once, shares of the networks' time."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

from occ_order.benchmarks import stages
from occ_order.lite import Graph

COFFEE = Path(__file__).resolve().parents[2] / "demo" / "coffee" / "coffee.jpg"


def test_stages_add_up():
    run = Graph.run
    arguments = argparse.Namespace(photo=COFFEE, repeats=1, score_threshold=None)
    rows = {row["case"]: row for row in stages.rows(arguments)}
    parts = [
        f"{name}: {part}"
        for name in ("detect", "order", "complete")
        for part in ("network", "the rest")
    ]
    names = ["decode", *parts, "draw", "write"]
    assert [*rows] == [*names, "all networks", "all the rest"]
    networks = sum(rows[name]["ours_s"] for name in names if name.endswith("network"))
    rest = sum(rows[name]["ours_s"] for name in names if not name.endswith("network"))
    assert rows["all networks"]["ours_s"] == pytest.approx(networks) and networks > 0
    assert rows["all the rest"]["ours_s"] == pytest.approx(rest)
    assert rows["all the rest"]["of_networks"] == pytest.approx(100 * rest / networks)
    assert Graph.run is run
