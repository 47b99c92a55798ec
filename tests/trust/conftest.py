"""The toy network in this process, and a process beside it that forks children from it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).with_name("toy.py")
ROOT = Path(__file__).resolve().parents[2]


def _needed():
    pytest.importorskip("detectron2")
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")


@pytest.fixture(scope="session")
def toy():
    """The module toy.py; loaded once, because its network registers itself."""
    _needed()
    spec = importlib.util.spec_from_file_location("occ_order_tests_toy", TOY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ask(tmp_path_factory):
    """ask(function, *args): calls a function of toy.py in a process that may fork and be killed."""
    _needed()
    errors = tmp_path_factory.mktemp("toy") / "stderr"
    with open(errors, "w", encoding="utf-8") as stderr:
        server = subprocess.Popen(
            [sys.executable, str(TOY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

        def call(name, *args):
            server.stdin.write(json.dumps([name, args]) + "\n")
            server.stdin.flush()
            line = server.stdout.readline()
            assert line, errors.read_text(encoding="utf-8")
            answer = json.loads(line)
            assert "value" in answer, answer["error"] + errors.read_text(encoding="utf-8")
            return answer["value"]

        yield call
        server.kill()  # it keeps nothing that an orderly end would save, and that takes seconds
        server.wait()
        server.stdin.close(), server.stdout.close()
