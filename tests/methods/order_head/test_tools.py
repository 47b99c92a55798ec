"""The commands: timings of pairs, statistics of a data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from occ_order.benchmarks import pairs
from occ_order.cli import build_parser, main
from occ_order.masks import encode


def test_rows_of_the_benchmark_and_the_same_answers_one_by_one_and_batched():
    words = ["bench", "pairs", "--repeats", "1", "--instances", "3", "--size", "96", "--calls", "4"]
    options = build_parser(["bench"])[0].parse_args(words)
    found = [row for row in pairs.rows(options) if row["case"].startswith("cpu")]
    assert [row["case"] for row in found] == ["cpu/batched/3", "cpu/head/3"]
    for row in found:
        assert row["calls"] == 4  # two of three pairs, both ways
        assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
        assert row["pairs_per_s"] == pytest.approx(3 / row["ours_s"])


def test_different_answers_stop_the_benchmark():
    import torch

    from occ_order.methods.common.pair_matrix import PairMatrix

    batched = {"occlusion_probability": PairMatrix(torch.tensor([[0, 0.2], [0.7, 0]]))}
    asked = np.array([[0, 1]])
    pairs._check_same(2, asked, {"occlusion": torch.tensor([[0.2, 0.7]])}, batched)
    with pytest.raises(SystemExit, match="2 instances: batched occlusion differs"):
        pairs._check_same(2, asked, {"occlusion": torch.tensor([[0.7, 0.2]])}, batched)


def test_statistics_of_a_registered_data_set(monkeypatch, tmp_path, capsys):
    mask = encode(np.ones((4, 4), bool))
    record = {
        "image_id": 1,
        "height": 4,
        "width": 4,
        "annotations": [{"id": k, "segmentation": mask} for k in range(2)],
        "occlusion": np.array([[0, 1], [1, 0]]),
    }
    monkeypatch.setitem(DatasetCatalog.data, "two", lambda: [record])
    files = [tmp_path / "a.json", tmp_path / "a.png"]
    done = main(["stats", "two", "--json", str(files[0]), "--plot", str(files[1])])
    assert done == 0 and "| both | 100.0 % |" in capsys.readouterr().out
    assert json.loads(files[0].read_text())["meeting"]["modal"]["overlapping"] == 1
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_a_data_set_that_does_not_exist(capsys):
    assert main(["stats", "nothing_of_that_name"]) == 2
    assert "no data set 'nothing_of_that_name'" in capsys.readouterr().err
