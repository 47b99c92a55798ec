"""Arrows point inwards: what each part of the package may import.

Ring 0 needs arrays only, ring 1 adds PyTorch, ring 2 adds Detectron2. So whoever has masks but no
PyTorch gets orders, metrics, the CRF and graphs.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "occ_order"

RING_0 = ("order", "metrics", "crf", "targets", "masks", "scenes")
RING_1 = ("structures", "layers", "losses")
OUTSIDE = ("tools", "projects", "demo", "datasets", "tests", "configs")
"""Folders beside the package; no module of the package may need them."""

READERS = "occ_order.formats"
WITH_DETECTRON2 = ("builtin", "register", "registration")
"""Modules of ``READERS`` that register data sets; the readers themselves count as ring 0."""

ARRAYS = {"numpy", "scipy", "cv2", "networkx"}
IMAGES = {"PIL", "tqdm"}
MAY_IMPORT = {
    0: ARRAYS | IMAGES,
    1: ARRAYS | IMAGES | {"torch", "torchvision", "timm"},
}
ONLY_IN = {
    "pycocotools": ("occ_order.masks", "occ_order.metrics", READERS),
    "maxflow": ("occ_order.crf.maxflow",),
    "numba": ("occ_order.crf",),
    "timm": ("occ_order.methods.common.backbone.timm_features",),
}
"""Library -> the only modules of ring 0 and 1 that may import it."""

SINGLE = ("maxflow", "numba")
"""Of these, exactly one file of the whole package imports each: GPL, and compiled at first use."""

HEAVY = ("torch", "torchvision", "detectron2", "fvcore", "iopath", "matplotlib", "numba", "maxflow")


def module_name(path: Path, root: Path = ROOT) -> str:
    """Dotted name of a module's file; a package goes by its folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def ring(module: str) -> int | None:
    """Ring of a module by its name; None for the package itself, which imports nothing."""
    parts = module.split(".")
    if len(parts) == 1:
        return None
    if module == "occ_order.data":
        return 0  # runs before any reader
    if f"{module}.".startswith(f"{READERS}.") and not parts[-1].startswith(WITH_DETECTRON2):
        return 0
    return 0 if parts[1] in RING_0 else 1 if parts[1] in RING_1 else 2


def type_checking_only(tree: ast.AST) -> set[ast.AST]:
    """Nodes inside ``if TYPE_CHECKING:``, which never run."""
    guarded = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            guarded.update(inner for statement in node.body for inner in ast.walk(statement))
    return guarded


@functools.cache
def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute names of everything that a module's text imports, wherever it stands in it.

    ``from a.b import c`` gives ``a.b.c``, whether ``c`` is a module or not.
    """
    tree = ast.parse(source)
    skipped = type_checking_only(tree)
    names = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            up = node.level - is_package
            base = parts[: len(parts) - up] if node.level else []
            base += [node.module] if node.module else []
            names.update(".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.add(first.value)
    return names


def last_name(node: ast.expr) -> str | None:
    """``c`` of ``a.b.c`` and of ``c``; None for any other expression."""
    return getattr(node, "attr", getattr(node, "id", None))


def below(name: str, roots: tuple[str, ...]) -> bool:
    """True if a dotted name is one of ``roots`` or lies below one."""
    return any(f"{name}.".startswith(f"{root}.") for root in roots)


def faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module imports and must not, one sentence each."""
    own = ring(module)
    wrong = []
    for name in sorted(imported(source, module, is_package)):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top == "occ_order":
            theirs = ring(name)
            if own is not None and theirs is not None and theirs > own:
                wrong.append(f"{module} (ring {own}) imports {name} (ring {theirs})")
        elif top in OUTSIDE:
            wrong.append(f"{module} imports {name} from outside the package")
        elif top in ONLY_IN and (top in SINGLE or own in MAY_IMPORT):
            if not below(module, ONLY_IN[top]):
                wrong.append(f"{module} imports {name}, allowed only in {ONLY_IN[top]}")
        elif own is None or top not in MAY_IMPORT.get(own, {top}):
            wrong.append(f"{module} (ring {own}) imports {name}")
    return wrong


@pytest.fixture(scope="module")
def package() -> dict[str, tuple[str, bool]]:
    """Every module of the package: its name -> (its text, whether it is an ``__init__.py``)."""
    return {
        module_name(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


# --- the checker itself


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("occ_order", None),
        ("occ_order.masks", 0),
        ("occ_order.crf.solve", 0),
        ("occ_order.scenes.shapes", 0),
        ("occ_order.formats", 0),
        ("occ_order.formats.kins", 0),
        ("occ_order.formats.builtin", 2),
        ("occ_order.formats.builtin", 2),
        ("occ_order.losses", 1),
        ("occ_order.methods.common.pair_matrix", 1),
        ("occ_order.engine.evaluation.oosis", 2),
        ("occ_order.ordering", 2),
    ],
)
def test_ring_of_a_module(module, expected):
    assert ring(module) == expected


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import a.b as c, d", "p.q", False, {"a.b", "d"}),
        ("from a.b import c", "p.q", False, {"a.b.c"}),
        ("from . import c", "p.q", False, {"p.c"}),
        ("from . import c", "p.q", True, {"p.q.c"}),
        ("from .r import c", "p.q", False, {"p.r.c"}),
        ("from .. import c", "p.q.s", False, {"p.c"}),
        ("from ..r import c", "p.q.s", True, {"p.q.r.c"}),
        ("def f():\n    import late", "p.q", False, {"late"}),
        ("import importlib\nx = importlib.import_module('y.z')", "p", True, {"importlib", "y.z"}),
        ("if TYPE_CHECKING:\n    import t\nelse:\n    import u", "p", True, {"u"}),
        ("'import not_code'", "p", True, set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source, module, is_package, expected):
    assert imported(source, module, is_package) == expected


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import torch", "occ_order.order.graph"),
        ("def f():\n    import torch", "occ_order.order.graph"),
        ("import matplotlib.pyplot", "occ_order.metrics.oair"),
        ("import pandas", "occ_order.masks"),
        ("import detectron2", "occ_order.losses"),
        ("from detectron2.data import DatasetCatalog", "occ_order.formats.kins"),
        ("from ..losses import f", "occ_order.crf.solve"),
        ("from occ_order.draw import draw", "occ_order.layers.x"),
        ("import maxflow", "occ_order.crf.solve"),
        ("import maxflow", "occ_order.engine.evaluation.oosis"),
        ("from numba import njit", "occ_order.engine.evaluation.oosis"),
        ("import pycocotools.mask", "occ_order.crf.solve"),
        ("import timm", "occ_order.methods.common.contact_pooling"),
        ("import demo.main_job", "occ_order.apps.report"),
        ("import numpy", "occ_order"),
    ],
)
def test_a_forbidden_import_is_reported(source, module):
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import json\nimport numpy, scipy.ndimage, cv2, networkx", "occ_order.order.graph"),
        ("from occ_order.order import encoding", "occ_order.metrics.oair"),
        ("from .maxflow import cut", "occ_order.crf.solve"),
        ("import maxflow", "occ_order.crf.maxflow"),
        ("def f():\n    import numba", "occ_order.crf.grid"),
        ("import pycocotools.mask", "occ_order.masks"),
        ("from pycocotools.cocoeval import COCOeval", "occ_order.metrics.amodal"),
        ("import torch\nfrom occ_order import masks", "occ_order.losses"),
        ("def f():\n    import timm", "occ_order.methods.common.backbone.timm_features"),
        ("import torch, detectron2, matplotlib, pycocotools", "occ_order.engine.evaluation.oosis"),
    ],
)
def test_an_allowed_import_is_not(source, module):
    assert faults(source, module) == []


# --- the package


def test_every_module_keeps_to_its_ring(package):
    wrong = [
        f for name, (text, is_package) in package.items() for f in faults(text, name, is_package)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def users(package: dict[str, tuple[str, bool]], library: str) -> list[str]:
    """Modules of the package that import a library, anywhere in their text."""
    return [
        name
        for name, (text, is_package) in package.items()
        if any(below(found, (library,)) for found in imported(text, name, is_package))
    ]


@pytest.mark.parametrize("library", SINGLE)
def test_one_file_imports_it(package, library):
    found = users(package, library)
    assert len(found) == 1 and below(found[0], ONLY_IN[library]), found


def test_ring_0_is_there():
    names = {path.stem if path.suffix else path.name for path in PACKAGE.iterdir()}
    assert set(RING_0) <= names


@pytest.mark.parametrize("part", RING_0)
def test_ring_0_loads_nothing_heavy(part):
    """In a process of its own; numba and PyMaxflow load at the first solve."""
    code = (
        f"import sys, occ_order.{part}\n"
        f"print(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_ring_0_works_where_the_heavy_libraries_are_missing(package):
    """Even an attempt to import one fails the process."""
    late = [name for library in SINGLE for name in users(package, library)]
    modules = [name for name in package if ring(name) in (0, None) and name not in late]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
