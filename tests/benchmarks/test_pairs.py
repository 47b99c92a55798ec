"""`occ-order bench pairs`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from occ_order.benchmarks import pairs
from occ_order.cli import build_parser
from occ_order.methods.common.pair_matrix import PairMatrix


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
    batched = {"occlusion_probability": PairMatrix(torch.tensor([[0, 0.2], [0.7, 0]]))}
    asked = np.array([[0, 1]])
    pairs._check_same(2, asked, {"occlusion": torch.tensor([[0.2, 0.7]])}, batched)
    with pytest.raises(SystemExit, match="2 instances: batched occlusion differs"):
        pairs._check_same(2, asked, {"occlusion": torch.tensor([[0.7, 0.2]])}, batched)
