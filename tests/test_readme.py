"""The code of README.md and GETTING_STARTED.md runs, and the files they name exist."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import occ_order

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STARTED = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8")


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document, re.DOTALL)


def test_the_first_lines_order_the_photograph(capsys, monkeypatch, tmp_path):
    shutil.copytree(ROOT / "demo" / "coffee", tmp_path / "demo" / "coffee")
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks(README)
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    (said,) = re.findall(r"print\(result\)  # \"(.*)\"", block)
    assert said in printed
    assert Path("order.png").stat().st_size > 0
    assert occ_order.load("order.json").names == ("cup", "spoon", "saucer", "table")


def test_the_solver_needs_arrays_alone(capsys):
    (block,) = (block for block in python_blocks(STARTED) if "crf.solve" in block)
    exec(compile(block, "GETTING_STARTED.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("7 instances; 4 times one occludes another")
    assert float(printed.split()[-1]) > 0.99


def named_scripts():
    commands = re.findall(r"`([^`\n]*python [^`\n]*)`", README + STARTED)
    words = (word for command in commands for word in shlex.split(command))
    return sorted({word for word in words if word.endswith(".py")})


@pytest.mark.parametrize("script", named_scripts())
def test_named_scripts_exist(script):
    assert (ROOT / script).is_file()
