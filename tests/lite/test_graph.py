"""ONNX Runtime is taken from one place, with its reports switched off."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from occ_order.lite.graph import Graph, runtime

PACKAGE = Path(__file__).resolve().parents[2] / "occ_order"


@pytest.fixture
def done(monkeypatch) -> list:
    """What is asked of ONNX Runtime, in place of which there is nothing: the threads of a graph."""
    done: list = []

    def session(path, options, **more):
        done.append(options.intra_op_num_threads)
        return SimpleNamespace(get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={}))

    stand_in = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        InferenceSession=session,
        disable_telemetry_events=lambda: done.append("off"),
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return done


def test_reports_are_off_before_a_graph_is_opened(done) -> None:
    Graph("any.onnx")
    assert done == ["off", 0]


@pytest.mark.parametrize(("said", "threads", "expected"), [("3", 0, 3), ("3", 2, 2), ("4,2", 0, 0)])
def test_threads_are_those_of_the_environment(done, monkeypatch, said, threads, expected) -> None:
    """As of PyTorch, so that workers of one CPU each do not start threads for all of them."""
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    Graph("any.onnx", threads=threads)
    assert done[-1] == expected


def test_one_file_imports_it() -> None:
    found = [
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if "import onnxruntime" in file.read_text(encoding="utf-8")
    ]
    assert found == ["lite/graph.py"]


def test_without_it_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install \"occ_order\[lite\]\""):
        runtime()
