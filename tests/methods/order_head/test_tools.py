"""The commands: timings of pairs, statistics of a data set."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from occ_order.masks import encode

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module
    for name in ("benchmark_pairs", "benchmarking", "dataset_statistics"):
        sys.modules.pop(name, None)


def test_rows_of_the_benchmark_and_the_same_answers_one_by_one_and_batched(tool):
    benchmark = tool("benchmark_pairs")
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1)
    benchmark.add_arguments(parser)
    options = parser.parse_args(["--instances", "3", "--size", "96", "--calls", "4"])
    found = [row for row in benchmark.rows(options) if row["case"].startswith("cpu")]
    assert [row["case"] for row in found] == ["cpu/batched/3", "cpu/head/3"]
    for row in found:
        assert row["calls"] == 4  # two of three pairs, both ways
        assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
        assert row["pairs_per_s"] == pytest.approx(3 / row["ours_s"])


def test_different_answers_stop_the_benchmark(tool):
    import torch

    from occ_order.methods.common.pair_matrix import PairMatrix

    benchmark = tool("benchmark_pairs")
    batched = {"occlusion_probability": PairMatrix(torch.tensor([[0, 0.2], [0.7, 0]]))}
    asked = np.array([[0, 1]])
    benchmark._check_same(2, asked, {"occlusion": torch.tensor([[0.2, 0.7]])}, batched)
    with pytest.raises(SystemExit, match="2 instances: batched occlusion differs"):
        benchmark._check_same(2, asked, {"occlusion": torch.tensor([[0.7, 0.2]])}, batched)


def test_statistics_of_a_registered_data_set(tool, monkeypatch, tmp_path, capsys):
    mask = encode(np.ones((4, 4), bool))
    record = {
        "image_id": 1,
        "height": 4,
        "width": 4,
        "annotations": [{"id": k, "segmentation": mask} for k in range(2)],
        "occlusion": np.array([[0, 1], [1, 0]]),
    }
    statistics = tool("dataset_statistics")
    monkeypatch.setitem(DatasetCatalog.data, "two", lambda: [record])
    files = [tmp_path / "a.json", tmp_path / "a.png"]
    done = statistics.main(["two", "--json", str(files[0]), "--picture", str(files[1])])
    assert done == 0 and "| both | 100.0 % |" in capsys.readouterr().out
    assert json.loads(files[0].read_text())["meeting"]["modal"]["overlapping"] == 1
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_a_data_set_that_does_not_exist(tool, capsys):
    assert tool("dataset_statistics").main(["nothing_of_that_name"]) == 2
    assert "no data set 'nothing_of_that_name'" in capsys.readouterr().err
