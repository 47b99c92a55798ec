"""Every command that stands in a document could be run: it is parsed, and not run.

The parser of `occ-order`, or a script's own, takes the command line; then the files, settings,
models and modules that it names are looked for. What a reader brings, such as photo.jpg, counts as
there. WORDS in capitals stand for what the reader puts there.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytest.importorskip("detectron2")

from occ_order import model_zoo
from occ_order.cli import build_parser
from occ_order.commands.table import read_table
from occ_order.config import load_cfg

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("*.md", "datasets/*.md", "projects/*/*.md", "docs/*.md", "docs/*/*.md")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for place in PLACES for path in ROOT.glob(place)
)
PYTHONS = {"python", "python3", ".venv/bin/python"}
STARTS = {*PYTHONS, "pip", "torchrun", "occ-order"}
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*(\.[a-z]+)?|<.*>|\.\.\..*")
NAMED = ("config_file", "config", "table", "model")
"""Options that name something which must be there."""
SEPARATORS = {";", "&&", "||", "|", "&", "do", "done", "then", "fi", "(", ")"}


class Parsed(Exception):
    """Carries what a parser made of a command line, instead of the command running."""


def blocks(document: str, *languages: str) -> list[str]:
    """Code blocks of a document in one of the languages; those inside lists lose their indent."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```", document, re.MULTILINE | re.DOTALL)
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        for indent, language, code in found
        if language in languages
    ]


def inline(document: str) -> list[str]:
    """Code words outside of the blocks that are commands."""
    rest = re.sub(r"^ *```.*?^ *```", "", document, flags=re.MULTILINE | re.DOTALL)
    words = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest)]
    ours = {*PYTHONS, "occ-order"}
    return [code for code in words if code.split()[0] in ours and len(code.split()) > 1]


def commands_among(block: str) -> str:
    """The lines of a block without a language that start like a command of ours."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    return "\n".join(line for line in lines if line.split(" ")[0] in STARTS)


def commands(script: str) -> list[list[str]]:
    """The simple commands of a shell script, as words; settings of variables left out."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in SEPARATORS:
                found.append(words)
                words = []
            elif words or not re.match(r"[A-Z_0-9]+=", word):
                words.append(word)
    return [words for words in found if words]


def without_redirection(words: list[str]) -> list[str]:
    """The words in front of `> file`."""
    for k, word in enumerate(words):
        if re.match(r"\d?>", word):
            return words[:k]
    return words


def parse(script: Path, arguments: list[str]) -> argparse.Namespace | None:
    """What the parser of a script makes of arguments; None for --help.

    Raises:
        ValueError: it refuses them, or the script parses nothing.
    """
    numbers = ["1" if re.fullmatch("[A-Z]", word) else word for word in arguments]
    real = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        raise Parsed(real(self, args, namespace))

    said = io.StringIO()
    patch = pytest.MonkeyPatch()
    patch.setattr(argparse.ArgumentParser, "parse_args", stop)
    patch.setattr(sys, "argv", [str(script), *numbers])
    patch.setattr(sys, "path", [str(script.parent), *sys.path])
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            runpy.run_path(str(script), run_name="__main__")
    except Parsed as parsed:
        return parsed.args[0]
    except SystemExit as end:
        if end.code in (0, None):
            return None
        raise ValueError(f"{said.getvalue().strip().splitlines()[-1:]}") from end
    finally:
        patch.undo()
    raise ValueError("the script parsed no arguments")


def names_a_verb(arguments: list[str]) -> bool:
    """Whether words are a verb, and perhaps a verb of it, without arguments: a mention."""
    parser = build_parser(arguments[:1])[0]
    for word in arguments:
        places = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not places or word not in places[0].choices:
            return False
        parser = places[0].choices[word]
    return True


def parse_command(arguments: list[str]) -> argparse.Namespace | None:
    """What the parser of `occ-order` makes of arguments; None for --help, or a mention.

    Raises:
        ValueError: it refuses them.
    """
    if names_a_verb(arguments):
        return None
    a_model = model_zoo.names()[0]
    words = ["1" if re.fullmatch("[A-Z]", word) else word for word in arguments]
    for k, word in enumerate(words[:-1]):
        if word in ("--model", "check", "graph") and PLACEHOLDER.fullmatch(words[k + 1]):
            words[k + 1] = a_model
    said = io.StringIO()
    patch = pytest.MonkeyPatch()
    patch.setattr(os.path, "exists", lambda path: True)
    patch.setattr(os.path, "isdir", lambda path: True)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            options = build_parser(arguments[:1])[0].parse_args(words)
            problem = options.check(options) if "check" in options else None
    except SystemExit as end:
        if end.code in (0, None):
            return None
        raise ValueError(said.getvalue().strip()) from end
    finally:
        patch.undo()
    if problem:
        raise ValueError(problem)
    return options


def stands_for_another(value: str) -> bool:
    """Whether the reader is to put something in the place of a word or a part of a path.

    Raises:
        ValueError: the folder in front of that part does not exist.
    """
    parts = value.split("/")
    for k, part in enumerate(parts):
        if PLACEHOLDER.fullmatch(part):
            if not ROOT.joinpath(*parts[:k]).is_dir():
                raise ValueError(f"there is no {'/'.join(parts[:k])}")
            return True
    return False


def check_options(options: argparse.Namespace) -> None:
    """Looks for what the options of a command name.

    Raises:
        ValueError: it is not there; also what `load_cfg` raises.
    """
    given = {
        key: str(value)
        for key, value in vars(options).items()
        if key in NAMED and value and not stands_for_another(str(value))
    }
    if "config_file" in given:
        load_cfg(ROOT / given["config_file"], opts_of(options))
    if "config" in given and not (ROOT / "configs" / given["config"]).is_file():
        raise ValueError(f"there is no configs/{given['config']}")
    if "table" in given:
        if not (ROOT / given["table"]).is_file():
            raise ValueError(f"there is no {given['table']}")
        rows = {row["name"] for row in read_table(ROOT / given["table"])["rows"]}
        if set(options.only or []) - rows:
            raise ValueError(f"{given['table']} has no row {set(options.only) - rows}")
    if "model" in given and given["model"] not in model_zoo.names():
        raise ValueError(f"the zoo has no model {given['model']!r}")


def opts_of(options: argparse.Namespace) -> list[str]:
    """KEY VALUE pairs, without those whose value the reader puts in."""
    opts = list(getattr(options, "opts", None) or [])
    if len(opts) % 2:
        raise ValueError(f"KEY VALUE pairs: {opts}")
    pairs = zip(opts[::2], opts[1::2], strict=True)
    return [word for pair in pairs if not PLACEHOLDER.fullmatch(pair[1]) for word in pair]


def check_module(words: list[str]) -> None:
    """Looks for a module and, if it is ours, lets its parser take the arguments."""
    spec = importlib.util.find_spec(words[0])
    if spec is None:
        raise ValueError(f"there is no module {words[0]}")
    if words[0].startswith("occ_order."):
        parse(Path(spec.origin), words[1:])


def check_pip(words: list[str]) -> None:
    """Looks for the extras of this package that `pip install` names."""
    for word in words:
        for name in re.findall(r"^\.\[(.*)\]$", word):
            missing = set(name.split(",")) - set(PROJECT["optional-dependencies"])
            if missing:
                raise ValueError(f"pyproject.toml has no extra {sorted(missing)}")


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def check(words: list[str]) -> None:
    """Checks one command.

    Raises:
        ValueError: what is wrong with it; also whatever the parts that are asked raise.
    """
    words = without_redirection(words)
    if words[0] == "torchrun":
        first = next(k for k, word in enumerate(words) if word == "-m" or word.endswith(".py"))
        words = ["python", *words[first:]]
    if words[:3] == ["python", "-m", "occ_order"]:
        words = ["occ-order", *words[3:]]
    if words[0] == "occ-order":
        options = parse_command(words[1:])
        return None if options is None else check_options(options)
    if words[0] == "pip":
        return check_pip(words)
    if words[0] not in PYTHONS or len(words) < 2:
        return None
    if words[1] == "-c":
        ast.parse(words[2])
        return None
    if words[1] == "-m":
        return check_pip(words) if words[2] == "pip" else check_module(words[2:])
    script = ROOT / words[1]
    if not script.is_file():
        raise ValueError(f"there is no {words[1]}")
    options = parse(script, words[2:])
    return None if options is None else check_options(options)


@pytest.fixture(autouse=True)
def _leave_no_trace(monkeypatch):
    """Scripts may put folders in front of the path and read the environment."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(ROOT)


def test_documents_are_found():
    assert {"README.md", "INSTALL.md", "GETTING_STARTED.md", "datasets/README.md"} <= {*DOCUMENTS}
    assert {"projects/OOSIS/README.md", "docs/howto/sam.md", "docs/zoo.md"} <= {*DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_parse(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    scripts = [*blocks(text, "bash", "sh", "shell", "console"), *inline(text)]
    scripts += map(commands_among, blocks(text, ""))
    faults = []
    for words in [words for script in scripts for words in commands(script)]:
        try:
            check(words)
        except Exception as error:
            faults.append(f"{' '.join(words)}\n    {type(error).__name__}: {error}")
    assert not faults, "\n" + "\n".join(faults)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Options of a parser and of the verbs below it."""
    places = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    below = [options_of(one) for place in places for one in place.choices.values()]
    return {*parser._option_string_actions}.union(*below)


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option of `occ-order`, of any verb; and the one of Detectron2's train_net.py."""
    (verbs,) = (
        action.choices
        for action in build_parser([])[0]._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return {"--eval-only"}.union(*(options_of(build_parser([verb])[0]) for verb in verbs))


@pytest.mark.parametrize(
    "name", [name for name in DOCUMENTS if name.startswith(("GETTING", "datasets/", "docs/"))]
)
def test_options_named_alone_exist(name, options):
    """`--option` without the command that it belongs to."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", text)) <= options


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_code_compiles(name):
    for block in blocks((ROOT / name).read_text(encoding="utf-8"), "python", "py"):
        tree = ast.parse(block)
        assert tree.body, block
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("occ_order"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    member = f"{node.module}.{alias.name}"
                    assert hasattr(module, alias.name) or importlib.util.find_spec(member), member


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python tools/nothing.py", "there is no tools/nothing.py"),
        ("occ-order view --resluts a --images b", "required: --results"),
        ("occ-order nothing", "nothing"),
        ("occ-order report nothing --output o", "invalid choice: 'nothing'"),
        ("occ-order predict a.jpg --output o --workers 2", "--engine ray"),
        ("python tools/train_net.py --config-file configs/none.yaml", "no such file"),
        (
            "python tools/train_net.py --config-file configs/InstaOrder/area.yaml SOLVER.NO 1",
            "SOLVER.NO",
        ),
        ("occ-order bench table --table configs/none.yaml --output o", "there is no configs"),
        (
            "occ-order bench table --table configs/tables/sln.yaml --output o --only Nobody",
            "has no row {'Nobody'}",
        ),
        ("python tools/train_net.py --config-file configs/Nothing/NAME.yaml", "no configs/Nothing"),
        ("occ-order predict a --model nobody --output b", "no model 'nobody'"),
        ("python -m occ_order.nothing", "no module"),
        ('pip install -e ".[nothing]"', "no extra"),
        ('python -c "import"', "invalid syntax"),
        ("torchrun --nproc-per-node 8 -m occ_order predict --what", "unrecognized|required"),
    ],
)
def test_a_command_that_cannot_run_is_found(command, message):
    with pytest.raises((ValueError, AssertionError, KeyError, SyntaxError), match=message):
        check(commands(command)[0])


def test_a_shell_script_is_taken_apart():
    script = (
        "export A=b  # why\nA=1 python x.py \\\n  --y 'a b' > log; for k in 1 2; do make z; done"
    )
    assert commands(script) == [
        ["export", "A=b"],
        ["python", "x.py", "--y", "a b", ">", "log"],
        ["for", "k", "in", "1", "2"],
        ["make", "z"],
    ]
    assert without_redirection(["a", "2>", "b"]) == ["a"]
    assert blocks("1. x\n\n   ```bash\n   a\n   b\n   ```\n", "bash") == ["a\nb\n"]
    assert commands_among("a/\n  it's\npython x.py\n") == "python x.py"
    assert inline("`python a.py`, `b`\n```bash\npython c.py\n```\n") == ["python a.py"]
