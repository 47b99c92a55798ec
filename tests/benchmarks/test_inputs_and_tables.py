"""What benchmarks are made of: images, orders, samples of pairs, rows and tables. No times."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from occ_order import order
from occ_order.benchmarks import growth
from occ_order.benchmarks.crowds import crowd
from occ_order.benchmarks.timing import format_row, markdown
from occ_order.cli import build_parser
from occ_order.commands import bench
from occ_order.order.pairs import bordering_pairs


@pytest.mark.parametrize("number", [1, 2, 17, 300])
def test_a_crowd_is_visible_apart_and_meets(number):
    image, masks = crowd(number, (96, 128))
    assert image.shape == (96, 128, 3) and image.dtype == np.uint8
    assert masks.shape == (number, 96, 128) and masks.any(axis=(1, 2)).all()
    assert masks.sum(axis=0).max() == 1
    if number > 2:
        met = np.unique(bordering_pairs(masks))
        assert len(met) > 0.9 * number


def test_the_orders_are_what_they_are_called():
    assert order.layers(growth.some_order("dense", 5)).tolist() == [0, 1, 2, 3, 4]
    assert order.layers(growth.some_order("chain", 5)).tolist() == [0, 1, 2, 3, 4]
    assert order.cycles(growth.some_order("cycle", 5)) == [[0, 1, 2, 3, 4]]
    sparse = growth.some_order("sparse", 50)
    assert order.cycles(sparse) == [] and 200 < sparse.sum() <= 8 * 50
    for kind in growth.ORDERS:
        assert growth.some_order(kind, 1).tolist() == [[0]]


def test_growth_has_a_power_from_the_second_size_on():
    pytest.importorskip("onnxruntime")
    chosen = argparse.Namespace(
        instances=[3, 1], megapixels=[0.01], nodes=[4, 8], images=[], pairs=[], listed=[], repeats=1
    )
    found = list(growth.rows(chosen))
    cases = [row["case"] for row in found]
    assert cases[:3] == ["predict/1 instances", "predict/3 instances", "predict/0.01 megapixels"]
    assert "cycles, chain order/8 nodes" in cases and len(cases) == 3 + 2 * 3 * 4
    assert ["power" in row for row in found[:5]] == [False, True, False, False, True]


def test_pairs_are_sampled_all_over():
    pytest.importorskip("detectron2")
    from occ_order.benchmarks.pairs import some_pairs
    from occ_order.order.pairs import all_pairs

    pairs = all_pairs(10)
    asked, share = some_pairs(pairs, 20)
    assert 2 * len(asked) <= 20 and share == len(asked) / 45 and asked[-1][0] > 5
    assert some_pairs(pairs, 1000)[1] == 1.0


def test_the_published_way_is_scaled_and_said_to_be():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("detectron2")
    from occ_order.benchmarks import predict

    words = ["bench", "predict", "--repeats", "1", "--instances", "3", "--calls", "2"]
    found = list(predict.rows(build_parser(["bench"])[0].parse_args(words)))
    assert [row["case"] for row in found] == [
        f"{what}/{backend}/3 instances"
        for what in ("order", "order, amodal")
        for backend in ("onnx", "torch")
    ]
    for row in found:
        assert (row["calls"], row["of_calls"]) == (2, 6)
        assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
    assert "6 calls: the time of 2 of them was measured and scaled" in predict.summary(found)
    with pytest.raises(SystemExit, match="at least 2"):
        next(predict.rows(argparse.Namespace(instances=[1])))


def test_tables_have_the_columns_of_all_rows(capsys, tmp_path):
    class Module:
        """A benchmark whose rows differ."""

        @staticmethod
        def rows(_):
            return [
                {"case": "a", "ours_s": 0.5, "baseline_s": 2.0, "ratio": 4.0},
                {"case": "b", "ours_s": 0.25, "calls": 3},
            ]

    result = bench.run_rows("some", Module, argparse.Namespace())
    assert "geomean" not in result and result["machine"]["Python"].startswith("3.")
    assert json.loads(json.dumps(result)) == result
    lines = markdown(result).splitlines()
    assert lines[0] == "# occ-order bench some" and lines[2].startswith(result["date"])
    assert lines[4:] == [
        "| case | ours_s | baseline_s | ratio | calls |",
        "| --- | --- | --- | --- | --- |",
        "| a | 0.5 | 2 | 4 |  |",
        "| b | 0.25 |  |  | 3 |",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [format_row(row) for row in result["rows"]]
    assert "x4.0" in printed[0] and "x" not in printed[1]
