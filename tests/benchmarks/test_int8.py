"""`occ-order bench int8`: the same photographs answered by both graphs, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx

from occ_order import model_zoo
from occ_order.benchmarks import int8
from occ_order.cli import build_parser
from occ_order.lite.graph import Graph


@pytest.fixture
def named(records):
    DatasetCatalog.register("photographs_of_the_test", lambda: records)
    yield "photographs_of_the_test"
    DatasetCatalog.remove("photographs_of_the_test")


def options_of(name: str):
    words = ["bench", "int8", "--calibrate", name, "--dataset", name, "--images", "2"]
    return build_parser(["bench"])[0].parse_args(words)


def test_a_graph_in_8_bits_says_nearly_the_same(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["image", "weights"], ["found"], pads=[1, 1, 1, 1])
    graph = onnx.helper.make_graph(
        [node],
        "one convolution",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [onnx.helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, [1, 8, 16, 16])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    inputs = [{"image": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
    int8.quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", inputs)
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    (whole,), (small,) = (
        Graph(tmp_path / name, threads=1).run(("found",), inputs[0])
        for name in ("a.onnx", "b.onnx")
    )
    assert 0 < np.abs(whole - small).max() < 0.05 * np.abs(whole).max()


def test_a_graph_beside_itself_changes_nothing(named, monkeypatch):
    monkeypatch.setattr(int8, "quantize", lambda source, target, _: target.write_bytes(
        source.read_bytes()))  # fmt: skip
    (row,) = int8.rows(options_of(named))
    assert row["changed"] == 0 and row["megabytes"] == row["baseline_megabytes"]


def test_an_order_turned_around_is_counted_once(records, monkeypatch):
    """Two instances that occlude each other the other way round: one pair of one has changed."""
    known = [np.array([[0, 1], [0, 0]]), np.array([[0, 1], [0, 0]])]
    turned = [np.array([[0, 0], [1, 0]]), np.array([[0, 1], [0, 0]])]
    assert int8.percent_changed(turned, known) == 50
    assert int8.percent_changed(known, known) == 0
    assert int8.percent_changed([], []) == 0


def test_inputs_are_recorded_as_the_graph_gets_them(records):
    graph = Graph(model_zoo.graph_file(model_zoo.ORDERS_MASKS), threads=1)
    (first, second) = int8.recorded(graph, records)
    for given, record in ((first, records[0]), (second, records[1])):
        logits = graph.run(("occlusion",), given)[0]
        assert logits.shape == (len(record["annotations"]),) * 2


def test_an_unknown_data_set_is_named():
    with pytest.raises(SystemExit, match="no data set 'nothing_like_it'"):
        next(int8.rows(options_of("nothing_like_it")))
