"""Examples in docstrings print what they show."""

from __future__ import annotations

import doctest
import importlib
import io
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in (ROOT / "occ_order").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert {"occ_order.order.graph", "occ_order.crf.solve", "occ_order.scenes"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module, said = importlib.import_module(name), io.StringIO()
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=said.write)
    assert said.getvalue() == ""
    assert runner.summarize(verbose=False).attempted > 0
