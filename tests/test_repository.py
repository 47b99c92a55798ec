"""Hygiene of the whole repository, and of the tests themselves.

Patterns are written so that they do not match their own text: this file is checked as well.
"""

from __future__ import annotations

import ast
import functools
import os
import pickle
import random
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {"build", "dist", "output", "__pycache__"}
LARGE = 1_000_000
CHECKPOINTS = "occ_order/model_zoo/checkpoints/"
"""Folder of the weights of the model zoo, the only large files."""

LOADS_CHECKPOINTS = "occ_order/engine/checkpoint/files.py"
SPREADS_WORK = "occ_order/engine/on_ray.py"
READS_TAR_FILES = "occ_order/commands/stores.py"
"""The one module that can load files that run code, where its user allows it."""

NAMES_THE_PHOTOGRAPHS = ".ci/run"
"""The one file that says where the photographs of the tests may lie, beside the checkout."""

FORBIDDEN_TEXT = {
    "a folder of one machine": r"(?<![\w.:/~*$}-])/(?:home|root|work|tmp|Users|mnt|scratch)/\w",
    "a host of a package registry": r"pythonhosted\.|pypi\.org|index[-]url",
    "an unfinished thought": r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b",
    "a conflict mark": r"^(?:<{7}|>{7}) ",
}
IMAGES = {".png", ".jpg", ".jpeg", ".gif", ".ico", ".npz", ".onnx", ".pth", ".woff2"}

COMPARES = {"allclose", "array_equal", "array_equiv", "equal", "isclose", "is_close", "issubset"}
CHECKS = ("assert", "_assert", "check", "_check", "raises", "warns", "fail", "same", "expect")


def unlisted_files() -> list[str]:
    """Every file below the root, for a copy without git: what is made anew is left out."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in GENERATED
            and not name.endswith(".egg-info")
            and (name == ".ci" or not name.startswith("."))
        ]
        found += [Path(folder, name).relative_to(ROOT).as_posix() for name in files]
    return found


@functools.cache
def all_files() -> tuple[str, ...]:
    """Tracked files, and untracked ones that git does not ignore; relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    listed = (ROOT / ".git").exists() and done.returncode == 0
    names = done.stdout.split("\0") if listed else unlisted_files()
    return tuple(sorted(name for name in set(names) if name and (ROOT / name).is_file()))


@functools.cache
def text_of(name: str) -> str:
    """A text file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def tree_of(name: str) -> ast.Module:
    """Syntax tree of a Python file of the repository."""
    return ast.parse(text_of(name))


@functools.cache
def nodes_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a syntax tree, which many checks go through."""
    return tuple(ast.walk(tree))


def text_files() -> list[str]:
    """Everything but images and weights."""
    return [name for name in all_files() if Path(name).suffix.lower() not in IMAGES]


def python_files(*folders: str) -> list[str]:
    """Python files, all or those below ``folders``."""
    names = [name for name in all_files() if name.endswith(".py")]
    return [n for n in names if not folders or n.startswith(tuple(f"{f}/" for f in folders))]


def markdown_files() -> list[str]:
    """All documents."""
    return [name for name in all_files() if name.endswith(".md")]


def last_name(node: ast.AST) -> str | None:
    """``c`` of ``a.b.c`` and of ``c``; None for any other expression."""
    return getattr(node, "attr", getattr(node, "id", None))


# --- what a Python file must not hold: each gives the lines at fault


def discarded_comparisons(tree: ast.AST) -> list[int]:
    """Calls that compare and whose result nobody looks at; ruff finds ``a == b``."""
    return [
        node.lineno
        for node in nodes_of(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and last_name(node.value.func) in COMPARES
    ]


def always_true_asserts(tree: ast.AST) -> list[int]:
    """``assert True`` and ``assert "text"``; ruff finds ``assert (a, b)``."""
    asserts = [node for node in nodes_of(tree) if isinstance(node, ast.Assert)]
    return [n.lineno for n in asserts if isinstance(n.test, ast.Constant) and n.test.value]


def cuda_calls(tree: ast.AST) -> list[int]:
    """``x.cuda()``: fails without a GPU; ``.to(device)`` does not."""
    return [
        node.lineno
        for node in nodes_of(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "cuda"
    ]


def collected_tests(tree: ast.AST) -> list[ast.FunctionDef]:
    """Functions that pytest collects, also in classes."""
    found = (node for node in nodes_of(tree) if isinstance(node, ast.FunctionDef))
    return [node for node in found if node.name.startswith("test_")]


def cannot_fail(tree: ast.AST) -> list[int]:
    """Tests without an assertion, an expected error, a call of a checker, or ``check=True``."""

    def checks(node: ast.AST) -> bool:
        if isinstance(node, ast.Assert):
            return True
        if not isinstance(node, ast.Call):
            return False
        strict = any(k.arg == "check" and getattr(k.value, "value", 0) for k in node.keywords)
        return strict or (last_name(node.func) or "").startswith(CHECKS)

    return [f.lineno for f in collected_tests(tree) if not any(map(checks, ast.walk(f)))]


UNSAFE = {
    ("pickle", "load"), ("pickle", "loads"), ("torch", "load"), ("yaml", "load"),
    ("yaml", "unsafe_load"), ("os", "system"), ("os", "popen"), ("marshal", "loads"),
}  # fmt: skip


def unsafe_calls(tree: ast.AST) -> list[int]:
    """Calls that can run what a file holds."""

    def unsafe(node: ast.Call) -> bool:
        options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        name = getattr(node.func, "id", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        called = (owner, getattr(node.func, "attr", ""))
        if called == ("torch", "load") and options.get("weights_only") is True:
            return False
        return bool(
            called in UNSAFE
            or name in ("eval", "exec", "DetectionCheckpointer")
            or options.get("shell")
            or options.get("allow_pickle")
            or (called[1] == "merge_from_file" and options.get("allow_unsafe", True))
        )

    calls = [node for node in nodes_of(tree) if isinstance(node, ast.Call)]
    return [node.lineno for node in calls if unsafe(node)]


EVERYWHERE = [cuda_calls]
IN_TESTS = [discarded_comparisons, always_true_asserts, cannot_fail]


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (discarded_comparisons, "np.allclose(a, b)", "assert np.allclose(a, b)"),
        (discarded_comparisons, "torch.equal(a, b)", "same = torch.equal(a, b)"),
        (always_true_asserts, "assert True", "assert not a"),
        (cuda_calls, "x.cuda()", "torch.cuda.is_available()"),
        (cannot_fail, "def test_a(): f(1)", "def test_a(): assert f(1)"),
        (cannot_fail, "def test_a(): run(x, check=False)", "def test_a(): run(x, check=True)"),
        (cannot_fail, "def test_a():\n '''assert'''", "def test_a():\n with raises(E): f()"),
        (cannot_fail, "class TestA:\n def test_a(self): f()", "def helper(): f()"),
        (unsafe_calls, "pickle.load(f)", "torch.load(f, weights_only=True)"),
        (unsafe_calls, "np.load(f, allow_pickle=True)", "np.load(f)"),
        (unsafe_calls, "cfg.merge_from_file(f)", "cfg.merge_from_file(f, allow_unsafe=False)"),
    ],
)
def test_each_check_finds_its_fault_and_no_other(check, bad, good):
    assert len(check(ast.parse(bad))) == 1
    assert check(ast.parse(good)) == []


@pytest.mark.parametrize(
    ("what", "bad", "good"),
    [
        ("a folder of one machine", "open('/hom" + "e/me/x')", "https://a.b/home/x, ../tmp/x"),
        ("a folder of one machine", "cd /tm" + "p/x", "cd data/tmp/x and tmp/x"),
        ("a host of a package registry", "files.python" + "hosted.org", "from PyPI"),
        ("a host of a package registry", "--index" + "-url x", "the index of a URL"),
        ("an unfinished thought", "# TO" + "DO: more", "# todos and methods"),
        ("a conflict mark", "<" * 7 + " HEAD", "a << 7 >> 2"),
    ],
)
def test_each_pattern_finds_its_fault_and_no_other(what, bad, good):
    assert re.search(FORBIDDEN_TEXT[what], bad, re.MULTILINE)
    assert not re.search(FORBIDDEN_TEXT[what], good, re.MULTILINE)


# --- the repository


def test_the_files_are_found():
    assert {"pyproject.toml", "setup.py", "LICENSE", "occ_order/__init__.py", ".ci/run"} <= set(
        all_files()
    )
    assert not any(".venv/" in name or "__pycache__" in name for name in all_files())


def test_a_copy_without_git_lists_the_same_sources():
    listed = set(python_files())
    walked = {name for name in unlisted_files() if name.endswith(".py")}
    assert listed <= walked


@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda check: check.__name__)
def test_python_files_hold_no(check):
    faults = [f"{name}:{line}" for name in python_files() for line in check(tree_of(name))]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("check", IN_TESTS, ids=lambda check: check.__name__)
def test_tests_hold_no(check):
    faults = [f"{name}:{line}" for name in python_files("tests") for line in check(tree_of(name))]
    assert not faults, "\n" + "\n".join(faults)


def test_only_two_modules_can_load_what_runs_code():
    names = python_files("occ_order", "tools", "demo", "datasets", "projects")
    found = [name for name in names if unsafe_calls(tree_of(name))]
    # Processes of Ray pass pickles to one another, whatever we do, and none comes from elsewhere.
    # A notebook is code, and named on the command line to be run.
    assert found == [LOADS_CHECKPOINTS, SPREADS_WORK, "tools/run_notebook.py"]


@pytest.mark.parametrize("tool", [".extract(", ".extractall(", ".extractfile(", "unpack_archive"])
def test_no_archive_is_unpacked(tool):
    """Archives stay with the user: nothing here writes where a member's name says."""
    names = python_files("occ_order", "datasets", "demo")
    assert len(names) > 50 and [name for name in names if tool in text_of(name)] == []


def test_one_module_looks_into_tar_files():
    """Only for where images lie in them."""
    names = python_files("occ_order", "datasets", "demo")
    assert [name for name in names if "tarfile" in text_of(name)] == [READS_TAR_FILES]


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_text_holds_no(what):
    faults = []
    for name in text_files():
        text = text_of(name)
        for found in re.finditer(FORBIDDEN_TEXT[what], text, re.MULTILINE):
            line = text.count("\n", 0, found.start()) + 1
            faults.append(f"{name}:{line}: {found.group()}")
    assert not faults, "\n" + "\n".join(faults)


def test_one_file_says_where_the_photographs_may_lie():
    place = "shared/" + "data"
    assert [name for name in text_files() if place in text_of(name)] == [NAMES_THE_PHOTOGRAPHS]


def test_no_file_is_large_but_for_checkpoints():
    sizes = {name: (ROOT / name).stat().st_size for name in all_files()}
    shipped = {name: size for name, size in sizes.items() if name.startswith(CHECKPOINTS)}
    assert max(shipped.values(), default=0) <= 15_000_000
    assert sum(shipped.values()) <= 90_000_000  # a wheel on PyPI may have 100 MB
    assert [name for name, size in sizes.items() if size > LARGE and name not in shipped] == []


def test_scripts_can_be_run():
    scripts = [name for name in text_files() if text_of(name).startswith("#!")]
    assert NAMES_THE_PHOTOGRAPHS in scripts
    assert [name for name in scripts if not os.access(ROOT / name, os.X_OK)] == []


def test_every_other_file_of_the_package_is_installed_with_it():
    """By the patterns of ``package-data`` in pyproject.toml."""
    tools = tomllib.loads(text_of("pyproject.toml"))["tool"]
    patterns = tools["setuptools"]["package-data"]["occ_order"]
    endings = tuple(pattern.removeprefix("**/*") for pattern in patterns)
    others = [name for name in all_files() if re.match(r"occ_order/.*(?<!\.py)$", name)]
    assert ".json" in endings
    assert [name for name in others if not name.endswith(endings)] == []


# --- what tests/conftest.py promises


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("an.example", 443), (b"an.example", 1)])
def test_the_network_is_out_of_reach(address):
    with pytest.raises(RuntimeError, match="must not use the network"):
        socket.create_connection(address, timeout=0.1)
    with socket.socket() as plain, pytest.raises(RuntimeError, match="must not use the network"):
        plain.connect_ex(address)


def test_this_machine_is_within_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            assert client.getpeername() == address


def test_pytorch_uses_one_thread():
    torch = pytest.importorskip("torch")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("again", [1, 2])
def test_every_test_starts_from_the_same_random_state(again):
    assert (random.random(), np.random.rand()) == (
        random.Random(0).random(),
        np.random.RandomState(0).rand(),
    )


def test_what_must_not_run_is_seen(tmp_path, harmful, nothing_runs):
    pickle.loads(pickle.dumps(harmful))
    os.system("true")
    made = Path(harmful.folder)
    assert made.parent == tmp_path and made.is_dir()
    assert [event for event, _ in nothing_runs] == ["pickle.find_class", "os.system"]
    nothing_runs.clear()
    made.rmdir()


def test_a_test_that_hangs_is_stopped(pytestconfig, tmp_path):
    limit = float(pytestconfig.getini("timeout") or 0)
    assert pytestconfig.pluginmanager.hasplugin("timeout") and 0 < limit <= 300
    (tmp_path / "test_hangs.py").write_text(
        "import time\ndef test_hangs():\n    time.sleep(20)\n", encoding="utf-8"
    )
    settings = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", "-o", "timeout=0.2"]
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_timeout", *settings, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # the others take seconds
    )
    assert child.returncode == 1 and "Timeout (>0.2s)" in child.stdout, child.stdout + child.stderr


# --- the Makefile, in a folder of its own

INSTALLED_FROM = (
    "pyproject.toml",
    "setup.py",
    "requirements.lock",
    "tools/install_detectron2.py",
)
"""Files after whose change `make install` installs again."""


@pytest.fixture
def make(tmp_path):
    """Runs make on a copy of the Makefile; gives the exit status and everything printed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "tools").mkdir()
    for name in INSTALLED_FROM:
        (tmp_path / name).touch()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def run(*arguments: str) -> tuple[int, str]:
        command = ["make", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def fake_python(folder: Path, refuses: str) -> str:
    """A Python that fails the check whose code holds ``refuses``."""
    path = folder / "fake-python"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) echo Python 3.9.1;; *{refuses}*) exit 1;; esac\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)


def test_make_alone_lists_every_target(make):
    status, printed = make()
    assert status == 0
    assert {"demo", "test", "lint", "install", "clean", "help"} <= make_targets_named(
        "\n".join(f"`{line.strip()}`" for line in printed.splitlines())
    )


@pytest.mark.parametrize("target", ["install", "demo", "test", "lint"])
def test_make_without_a_python_says_so(make, target):
    status, printed = make(target, "PYTHON=no-such-python")
    assert status != 0
    assert "There is no 'no-such-python'. Install Python 3.10 or newer" in printed


@pytest.mark.parametrize(
    ("refuses", "told"),
    [
        ("version_info", "is Python 3.9.1; needed is Python 3.10 or newer"),
        ("ensurepip", "sudo apt install python3-venv"),
    ],
)
def test_make_with_an_unfit_python_says_what_is_needed(make, tmp_path, refuses, told):
    status, printed = make("install", f"PYTHON={fake_python(tmp_path, refuses)}")
    assert status != 0
    assert told in printed
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("changed", INSTALLED_FROM)
def test_make_installs_again_only_after_a_change(make, tmp_path, changed):
    (tmp_path / ".venv").mkdir()
    for stamp in (".made", ".installed"):
        (tmp_path / ".venv" / stamp).touch()
    status, printed = make("install", "PYTHON=no-such-python")
    assert status == 0 and "Nothing to be done" in printed
    later = (tmp_path / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(tmp_path / changed, (later, later))
    assert make("install", "--dry-run", "PYTHON=no-such-python")[1].count("pip install") == 3


def test_make_installs_what_is_locked_or_the_newest(make):
    """Hashes are asked for where a lock is named; without one, pip chooses the versions."""
    printed = make("install", "--dry-run")[1]
    assert "--require-hashes --requirement requirements.lock" in printed
    assert "--require-hashes" not in make("install", "--dry-run", "LOCK=")[1]


# --- documents


def code_of(document: str) -> str:
    """The code blocks and code words of a document, one a line."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", document, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", rest)])


def make_targets_named(document: str) -> set[str]:
    """Targets of the ``make`` commands in the code of a document."""
    pattern = (
        r"^(?:\$ )?(?:[A-Z_]+=\S+ )*make((?: +[A-Z_]+=(?:\"[^\"]*\"|\S+))*(?: +[a-z][a-z-]*)*)"
    )
    arguments = " ".join(re.findall(pattern, code_of(document), re.MULTILINE)).split()
    return {argument for argument in arguments if re.fullmatch("[a-z][a-z-]*", argument)}


def links(document: str) -> list[str]:
    """Relative targets of links and images, without their anchors."""
    prose = re.sub(r"^```.*?^```|`[^`\n]+`", "", document, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", prose)
    found += re.findall(r"<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"", prose)
    found += re.findall(r"^\[[^\]]+\]:\s*(\S+)", prose, re.MULTILINE)
    bare = (target.split("#")[0] for target in found if not re.match(r"[a-z]+:", target))
    return [target for target in bare if target]


def test_links_and_targets_are_found_in_a_document():
    document = (
        "Run `make test` or `make JOBS=4 demo`, and make sure of it.\n"
        "```bash\n$ make install lint\nPYTHON=x make help  # make nothing\n[no](link.md)\n```\n"
        "[a](b.md#part) ![p](<q.png>) [web](https://x.y/z.md) [top](#top) `[c](d.md)`\n"
        '<img src="r.png" width="3">\n[ref]: e/f.md\n'
    )
    assert make_targets_named(document) == {"test", "demo", "install", "lint", "help"}
    assert sorted(links(document)) == ["b.md", "e/f.md", "q.png", "r.png"]


def test_links_lead_somewhere():
    faults = [
        f"{name} -> {target}"
        for name in markdown_files()
        for target in links(text_of(name))
        if not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_make_targets_named_in_documents_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))
    assert {"demo", "test", "lint", "install", "clean", "help"} <= targets
    faults = {
        f"{name}: make {target}"
        for name in markdown_files()
        for target in make_targets_named(text_of(name)) - targets
    }
    assert not faults, sorted(faults)


def test_the_two_commands_stand_in_the_readme():
    assert {"demo", "test"} <= make_targets_named(text_of("README.md"))


LINKED_TEST = re.compile(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)")
"""A test that a document names, and the file that holds it."""


def test_every_test_that_a_document_links_is_in_its_file():
    linked = {
        (name, *found) for name in markdown_files() for found in LINKED_TEST.findall(text_of(name))
    }
    wrong = [
        f"{document}: {path} has no {test}"
        for document, test, path in sorted(linked)
        if not any(getattr(node, "name", "") == test for node in tree_of(path).body)
    ]
    assert len(linked) > 40 and not wrong, "\n" + "\n".join(wrong)


UNMAINTAINED = ("fvcore", "iopath", "yacs", "antlr4", "omegaconf", "hydra")


def imported_from(tree: ast.AST, package: str) -> set[str]:
    """Names that a module imports from a package; the package itself by its whole name."""
    found = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == package}
    return found


@pytest.mark.parametrize("package", UNMAINTAINED)
def test_what_is_used_of_packages_without_a_release_is_told(package):
    """SECURITY.md names all of it, and nothing besides."""
    assert imported_from(ast.parse("import a.b\nfrom a.c import D, E"), "a") == {"a.b", "D", "E"}
    used = set().union(*(imported_from(tree_of(f), package) for f in python_files("occ_order")))
    rows = [line for line in text_of("SECURITY.md").splitlines() if line.startswith("|")]
    told = {name for row in rows if row.startswith(f"| {package}") for name in code_in(row, 3)}
    assert used == told


def code_in(row: str, column: int) -> list[str]:
    """What stands between backticks in a column of a row; of configs nothing is code of yacs."""
    return [name for name in re.findall(r"`([^`]+)`", row.split("|")[column]) if "." not in name]


def test_every_row_about_bad_input_links_a_test():
    section = text_of("SECURITY.md").split("## What bad input gets")[1].split("\n## ")[0]
    rows = re.findall(r"^\|(?! input |---)(.*)\|$", section, re.MULTILINE)
    assert len(rows) > 30
    assert [row for row in rows if not LINKED_TEST.search(row.rsplit("|", 1)[1])] == []
    assert not re.search(r"(?<!\[)`test_\w+`", section)  # none without its file
