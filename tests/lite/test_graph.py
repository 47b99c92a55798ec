"""ONNX Runtime is taken from one place, with its reports switched off."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from occ_order.lite.graph import Graph, runtime

PACKAGE = Path(__file__).resolve().parents[2] / "occ_order"


def test_reports_are_off_before_a_graph_is_opened(monkeypatch) -> None:
    done = []

    def session(*arguments, **options):
        done.append("opened")
        return SimpleNamespace(get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={}))

    stand_in = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        InferenceSession=session,
        disable_telemetry_events=lambda: done.append("off"),
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
    Graph("any.onnx")
    assert done == ["off", "opened"]


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
