"""`occ-order` answers at once: what its help and wrong arguments import, and what they say."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import runpy
import sys
import types
from pathlib import Path

import pytest

from occ_order import cli, model_zoo
from occ_order.cli import VERBS, build_parser, main

ROOT = Path(__file__).resolve().parents[2]

BY_IMPORT = {"occ_order"}
"""Modules of ours, and of nobody else but Python, that `import occ_order` may import."""

BY_HELP = BY_IMPORT | {"occ_order.cli"}
BY_A_VERB = BY_HELP | {
    "occ_order.cli.common",
    "occ_order.files",
    "occ_order.model_zoo",
    "occ_order.model_zoo.zoo",
    "occ_order.panels",
}
"""The same of `occ-order --help`, and of wrong arguments, beside the module of the verb."""


@pytest.fixture(scope="module")
def imported(run_python):
    """Modules outside of the standard library that a new process imports for some code."""
    last = """
import sys, sysconfig
before = set(sys.modules)
try:
    exec(sys.argv[1])
except SystemExit:
    pass
names = set(sys.modules) - before
print(*(n for n in names if n.split(".")[0] not in sys.stdlib_module_names), file=sys.__stdout__)
"""

    def imported(code: str) -> set[str]:
        return set(run_python("-c", last, code).stdout.splitlines()[-1].split())

    return imported


def test_importing_the_package_imports_nothing_else(imported):
    assert imported("import occ_order") == BY_IMPORT


def test_help_imports_no_verb(imported):
    assert imported("from occ_order.cli import main; main(['--help'])") == BY_HELP


@pytest.mark.parametrize(
    ("arguments", "also"),
    [
        (["predict", "no_such_photo.jpg", "--output", "o"], set()),
        (["predict", "setup.py", "--output", "o", "--model", "nobody"], set()),
        (["predict", "--help"], set()),
        (["train", "--config-file", "none.yaml"], {"training"}),
        (["eval", "--num-gpus", "many"], {"training"}),
        (["view", "--results", "setup.py", "--images", ".", "--gt", "setup.py"], set()),
        (["report", "data", "--output", "o"], set()),
        (["compose", "nothing"], {"scenes"}),
        (["nothing"], None),
    ],
)
def test_wrong_arguments_import_their_verb_alone(imported, arguments, also):
    verb = set() if also is None else {arguments[0], *also}
    expected = {f"occ_order.cli.{name}" for name in verb}
    assert imported(f"from occ_order.cli import main; main({arguments})") <= BY_A_VERB | expected


def test_a_wrong_detector_imports_what_names_detectors_alone(imported):
    arguments = ["predict", "setup.py", "--output", "o", "--detector", "nobody"]
    names = {"cli.predict", "detectors", "detectors.sources"}
    expected = {f"occ_order.{name}" for name in names}
    assert imported(f"from occ_order.cli import main; main({arguments})") <= BY_A_VERB | expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "occ-order: error: name a verb: predict, train"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["predict"], "occ-order predict: error: the following arguments are required: input"),
        (["predict", "none.jpg", "--output", "o"], "none.jpg: no such file or folder"),
        (["predict", "setup.py", "--output", "o", "--every", "0"], "of at least 1, got 0"),
        (["predict", "setup.py", "--output", "o", "--model", "x"], "no model 'x' in the zoo; it"),
        (["predict", "setup.py", "--output", "o", "--detector", "x"], "no detector 'x': there is"),
        (
            ["score", "--gt", "setup.py", "--predictions", "setup.py", "--format", "x"],
            "invalid choice: 'x' (choose from 'labelme', 'instaorder'",
        ),
        (["report", "curves", "--run", "a", "--output", "o"], "expected NAME=FILE, got 'a'"),
        (["view", "--results", ".", "--images", ".", "--gt", "."], "--gt and --gt-format belong"),
        (["zoo", "check", "x"], "no model 'x' in the zoo"),
        (["scenes"], "nothing to do: give --output"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and line.endswith("--help)")


def test_what_cannot_be_read_is_status_2(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[")
    arguments = ["--gt", str(tmp_path / "x.json"), "--predictions", str(tmp_path / "x.json")]
    assert main(["score", *arguments, "--format", "cocoa"]) == 2
    assert capsys.readouterr().err.startswith("occ-order score: error: ")


def test_the_module_is_the_command(run_python):
    done = run_python("-m", "occ_order", "zoo", "list")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == model_zoo.names() and len(names) > 3
    assert done.stderr == ""


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()):
    """Parsers without further verbs, by their words."""
    places = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not places:
        yield words, parser
    for name, inner in places[0].choices.items() if places else ():
        yield from leaves(inner, (*words, name))


def test_every_verb_has_its_work():
    found = dict(leaves(build_parser()[0]))
    assert {words[0] for words in found} == set(VERBS)
    for words, parser in found.items():
        defaults = [build_parser()[1][words[0]].get_default("work"), parser.get_default("work")]
        module = next(name for name in reversed(defaults) if name)
        path = ROOT / f"{module.replace('.', '/')}.py"
        functions = [node for node in ast.parse(path.read_text()).body]
        names = [getattr(node, "name", "") for node in functions]
        timing = words[0] == "bench" and words[1] not in ("table", "memory")
        assert "run" in names, words
        assert not timing or (ROOT / f"occ_order/benchmarks/{words[1]}.py").is_file()


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion_knows_the_verbs_and_their_options(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert shell == "tcsh" or "--class-agnostic" in script


def test_training_takes_the_arguments_of_detectron2():
    pytest.importorskip("detectron2")
    from occ_order.engine.launch import argument_parser

    theirs = vars(argument_parser().parse_args(["--config-file", "setup.py", "A", "1"]))
    for verb, only in (("train", {"eval_only": False}), ("eval", {"eval_only": True})):
        words = [verb, "--config-file", str(ROOT / "setup.py"), "A", "1"]
        ours = vars(build_parser([verb])[0].parse_args(words))
        expected = {**theirs, **only, "config_file": str(ROOT / "setup.py")}
        assert {key: ours[key] for key in expected} == expected


def test_constants_that_the_parser_repeats_are_those_of_the_package():
    pytest.importorskip("detectron2")
    from occ_order.cli.export import PARTS
    from occ_order.draw.colors import DIRECTION_PALETTES
    from occ_order.engine import export as networks

    assert networks.PARTS == PARTS
    drawn = dict(leaves(build_parser(["report"])[0]))[("report", "data")]
    (colors,) = (a for a in drawn._actions if a.dest == "boundary_colors")
    assert set(colors.choices) == set(DIRECTION_PALETTES)


# --- help


SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("tools", "demo", "datasets")
    for path in ROOT.glob(f"{folder}/*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_script_has_help(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / command), run_name="__main__")
    assert end.value.code in (0, None)
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"usage: occ-order {verb}" in capsys.readouterr().out


def test_benchmarks_are_of_one_thread_of_every_library(monkeypatch):
    """NumPy's BLAS reads the variable when it is loaded, so it is set before anything is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    seen = []

    def load(name):
        if name.startswith("occ_order.cli."):
            return real(name)
        seen.append((name, os.environ["OMP_NUM_THREADS"]))
        return types.SimpleNamespace(run=lambda options: 0)

    real = importlib.import_module
    monkeypatch.setattr(cli.importlib, "import_module", load)
    assert main(["stats", "any"]) == 0
    assert main(["bench", "growth"]) == 0
    assert seen == [("occ_order.commands.stats", "8"), ("occ_order.commands.bench", "1")]
