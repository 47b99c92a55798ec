"""The README's code runs, and the files it names exist."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("7 instances; 4 times one occludes another")
    assert float(printed.split()[-1]) > 0.99


def named_scripts():
    commands = re.findall(r"`([^`\n]*python [^`\n]*)`", README)
    words = (word for command in commands for word in shlex.split(command))
    return sorted({word for word in words if word.endswith(".py")})


@pytest.mark.parametrize("script", named_scripts())
def test_named_scripts_exist(script):
    assert (ROOT / script).is_file()
