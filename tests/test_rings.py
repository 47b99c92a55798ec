"""Arrows point inwards: what each part of the package may import.

Ring 0 needs arrays only, ring 1 adds PyTorch, ring 2 adds Detectron2. So whoever has masks but no
PyTorch gets orders, metrics, the CRF and graphs. A method imports what the methods have in common
but no other method, and no import goes round in a circle.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "occ_order"

RING_0 = ("order", "metrics", "crf", "targets", "masks", "scenes", "files", "formats", "instances")
METHODS = "occ_order.methods"
COMMON = f"{METHODS}.common"
PURE = {
    f"{METHODS}.completion.amodal": 0,
    f"{METHODS}.completion.occluders": 0,
    f"{METHODS}.completion.views": 0,
    f"{METHODS}.instaorder.erasers": 0,
    f"{METHODS}.mask_order.disparity": 0,
    f"{METHODS}.oosis.decoding": 0,
    f"{METHODS}.oosis.deferred": 0,
    f"{COMMON}.pair_samplers": 0,
    f"{COMMON}.backbone.timm_features": 1,
    f"{COMMON}.contact_pooling": 1,
    f"{COMMON}.image_area": 1,
    f"{COMMON}.instance_pairs": 1,
    f"{COMMON}.order_relation": 1,
    f"{COMMON}.pair_crops": 1,
    f"{COMMON}.pair_labels": 1,
    f"{COMMON}.pair_losses": 1,
    f"{COMMON}.pair_matrix": 1,
    f"{METHODS}.completion.network": 1,
    f"{METHODS}.instaorder.unet": 1,
    f"{METHODS}.mask_order.views": 1,
    f"{METHODS}.segmenter.mirrored": 0,
    f"{METHODS}.sln.level_maps": 1,
    f"{METHODS}.sln.stages": 1,
}
"""Modules of methods that need no framework, beside every `layers` and `losses` -> their ring."""

ABOVE_METHODS = tuple(
    f"occ_order.{part}"
    for part in (
        *("config", "engine", "model_zoo", "lite", "backends", "detectors", "front"),
        *("apps", "cli", "commands", "benchmarks"),
    )
)
"""What puts methods together; no method may need it, nor `occ_order.methods.build`."""

OUTSIDE = ("tools", "projects", "demo", "datasets", "tests", "configs")
"""Folders beside the package; no module of the package may need them."""

FORMATS = "occ_order.formats"
WITH_DETECTRON2 = (f"{FORMATS}.builtin", f"{FORMATS}.validate")
"""Modules of formats that register data sets or ask for a registered one."""

ARRAYS = {"numpy", "scipy", "cv2", "networkx"}
IMAGES = {"PIL", "tqdm"}
ADAPTERS = {"supervision", "fiftyone", "psd_tools"}
MAY_IMPORT = {
    0: ARRAYS | IMAGES | ADAPTERS,
    1: ARRAYS | IMAGES | {"torch", "torchvision", "timm"},
}
ONLY_IN = {
    "pycocotools": ("occ_order.masks", "occ_order.metrics", FORMATS),
    "maxflow": ("occ_order.crf.maxflow",),
    "numba": ("occ_order.crf",),
    "timm": (f"{COMMON}.backbone.timm_features",),
    "supervision": (f"{FORMATS}.supervision_detections",),
    "fiftyone": (f"{FORMATS}.fiftyone_sample",),
    "psd_tools": (f"{FORMATS}.layered_image",),
    "ray": ("occ_order.engine.on_ray",),
}
"""Library -> the only modules of ring 0 and 1 that may import it."""

SINGLE = ("maxflow", "numba", "ray")
"""Of these, exactly one file of the whole package imports each: GPL, compiled, and an engine."""

HEAVY = (
    "torch",
    "torchvision",
    "detectron2",
    "fvcore",
    "iopath",
    "matplotlib",
    "networkx",
    "numba",
)
HEAVY += ("maxflow",)


def module_name(path: Path, root: Path = ROOT) -> str:
    """Dotted name of a module's file; a package goes by its folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def ring(name: str) -> int | None:
    """Ring of a module, or of what is imported from one, by its dotted name.

    None for what imports nothing: the package itself, and the `__init__` of methods.
    """
    parts = name.split(".")
    if below(name, (METHODS,)):
        if len(parts) < 4:
            return 2 if parts[-1] == "build" else None
        pure = [PURE[module] for module in PURE if below(name, (module,))]
        return 1 if parts[3] in ("layers", "losses") else pure[0] if pure else 2
    if len(parts) == 1:
        return None
    return 0 if parts[1] in RING_0 and not below(name, WITH_DETECTRON2) else 2


def method_of(name: str) -> str | None:
    """The method whose folder a dotted name lies in, "common" among them; None outside."""
    parts = name.split(".")
    return parts[2] if below(name, (METHODS,)) and len(parts) > 3 and parts[2] != "build" else None


def part_of(module: str) -> str:
    """The part of the package that a module belongs to: a folder, or a file that lies in none.

    The folders of methods and that of checkpoints count by themselves.
    """
    parts = module.split(".")
    inner = (METHODS, "occ_order.engine.checkpoint")
    return ".".join(parts[:3] if below(module, inner) else parts[:2])


@functools.cache
def tree_of(source: str) -> ast.Module:
    """Syntax tree of a module's text."""
    return ast.parse(source)


@functools.cache
def nodes_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a syntax tree."""
    return tuple(ast.walk(tree))


def type_checking_only(tree: ast.AST) -> set[ast.AST]:
    """Nodes inside ``if TYPE_CHECKING:``, which never run."""
    guarded = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            guarded.update(inner for statement in node.body for inner in ast.walk(statement))
    return guarded


@functools.cache
def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute names of everything that a module's text imports, wherever it stands in it.

    ``from a.b import c`` gives ``a.b.c``, whether ``c`` is a module or not.
    """
    tree = tree_of(source)
    skipped = type_checking_only(tree)
    names = set()
    for node in nodes_of(tree):
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


def leaves_its_method(module: str, name: str) -> bool:
    """True if a module of a method imports another method, or what puts methods together."""
    own, theirs = method_of(module), method_of(name)
    if own is None:
        return False
    if below(name, (*ABOVE_METHODS, f"{METHODS}.build")):
        return True
    return theirs not in (None, own, "common")


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
            elif leaves_its_method(module, name):
                wrong.append(
                    f"{module} imports {name}: a method imports no other, nor what is above"
                )
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
        ("occ_order.files", 0),
        ("occ_order.formats", 0),
        ("occ_order.formats.kins", 0),
        ("occ_order.formats.kins.load_kins", 0),
        ("occ_order.formats.builtin", 2),
        ("occ_order.methods.oosis", None),
        ("occ_order.methods.oosis.losses", 1),
        ("occ_order.methods.oosis.losses.total", 1),
        ("occ_order.methods.oosis.decoding", 0),
        ("occ_order.methods.common.pair_matrix", 1),
        ("occ_order.methods.oosis.meta_arch", 2),
        ("occ_order.methods.build", 2),
        ("occ_order.engine.evaluation", 2),
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
        ("import detectron2", "occ_order.methods.sln.losses"),
        ("import numpy", "occ_order.methods.sln"),
        ("from detectron2.data import DatasetCatalog", "occ_order.formats.kins"),
        ("import supervision", "occ_order.formats.kins"),
        ("import fiftyone", "occ_order.formats.kins"),
        ("from ..methods.sln.losses import f", "occ_order.crf.solve"),
        ("from occ_order.draw import draw", "occ_order.methods.oosis.layers"),
        ("from occ_order.methods.oosis.maps import f", "occ_order.methods.sln.decode"),
        ("from occ_order.methods.oosis import maps", "occ_order.methods.common.input_masks"),
        ("from occ_order.methods import build", "occ_order.methods.sln.decode"),
        ("def f():\n    from occ_order import model_zoo", "occ_order.methods.sln.decode"),
        ("import maxflow", "occ_order.crf.solve"),
        ("import maxflow", "occ_order.engine.evaluation"),
        ("from numba import njit", "occ_order.engine.evaluation"),
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
        ("import torch\nfrom occ_order import masks", "occ_order.methods.sln.losses"),
        ("from occ_order.methods.common import given", "occ_order.methods.sln.decode"),
        ("from occ_order.methods.oosis import head", "occ_order.engine.evaluation"),
        ("def f():\n    import timm", "occ_order.methods.common.backbone.timm_features"),
        ("import torch, detectron2, matplotlib, pycocotools", "occ_order.engine.evaluation"),
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


def arrows_between(package: dict[str, tuple[str, bool]]) -> set[tuple[str, str]]:
    """(module, module that it imports) of the whole package."""
    arrows = set()
    for module, (text, is_package) in package.items():
        for name in imported(text, module, is_package):
            while name and name not in package:
                name = name.rpartition(".")[0]
            if name and name != module:
                arrows.add((module, name))
    return arrows


def circles(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """Groups of names that reach one another."""
    groups = nx.strongly_connected_components(nx.DiGraph(arrows))
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_circles_are_found():
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == [["a", "b", "c"]]
    assert circles({("a", "b"), ("a", "c"), ("b", "c")}) == []


def test_no_import_goes_round_in_a_circle(package):
    assert circles(arrows_between(package)) == []


def test_no_part_needs_another_that_needs_it(package):
    parts = {(part_of(user), part_of(used)) for user, used in arrows_between(package)}
    assert circles({(a, b) for a, b in parts if a != b}) == []


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


def test_ring_0_loads_nothing_heavy(run_python):
    """In a process of its own; numba and PyMaxflow load at the first solve."""
    code = (
        "import importlib, sys\n"
        f"for part in {RING_0!r}:\n"
        "    importlib.import_module(f'occ_order.{part}')\n"
        f"    print(part, *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    assert run_python("-W", "error", "-c", code).stdout.split() == list(RING_0)


def test_ring_0_works_where_the_heavy_libraries_are_missing(run_python, package):
    """Even an attempt to import one fails the process."""
    late = [name for library in SINGLE for name in users(package, library)]
    modules = [name for name in package if ring(name) in (0, None) and name not in late]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print('imported')"
    )
    assert run_python("-c", code).stdout == "imported\n"


WITHOUT_PYTORCH = """
sys.modules["maxflow"] = sys.modules["networkx"] = None
import numpy as np
from occ_order import crf, masks, metrics, order, scenes, targets
scene = scenes.generate(0, size=(32, 40))
ids = masks.paint(scene.modal, occlusion=scene.occlusion)
occludes = crf.occludes_from_target(*targets.oriented_boundary(ids, scene.occlusion))
print(metrics.occlusion_scores([scene.occlusion], [scene.occlusion])["f1"])
print(order.layers(scene.occlusion).shape == (len(scene.modal),))
for call in (
    lambda: crf.solve((ids == 0).astype(float), occludes, backend="pymaxflow"),
    lambda: order.to_networkx(scene.occlusion),
    lambda: order.simple_cycles(scene.occlusion),
):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_masks_and_orders_need_neither_pytorch_nor_detectron2_nor_pymaxflow(run_bare):
    f1, layers, solver, *graphs = run_bare(WITHOUT_PYTORCH).stdout.splitlines()
    assert (f1, layers) == ("100.0", "True")
    assert 'the CRF needs numba: pip install "occ_order[crf]"' in solver
    assert graphs == ['this needs networkx: pip install "occ_order[report]"'] * 2


OPTIONAL = {"wandb", "gradio", "onnx", "onnxruntime", "psd_tools", "supervision", "safetensors"}
OPTIONAL |= {"fsspec", "pyarrow", "ray"}


def test_extras_are_imported_only_where_they_are_used():
    """Nowhere at the top of a module: importing the package never needs them."""
    early = []
    for path in ROOT.glob("occ_order/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            early += [f"{path}: {name}" for name in names if name.split(".")[0] in OPTIONAL]
    assert early == []


def test_every_extra_that_is_missing_says_what_to_install():
    lacking = []
    for path in ROOT.glob("occ_order/**/*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n)+", "", text, flags=re.MULTILINE)
        for name in re.findall(r"^\s+(?:import|from) (\w+)", text, re.MULTILINE):
            if name in OPTIONAL and "pip install" not in text:
                lacking.append(f"{path}: {name}")
    assert lacking == []


# --- who touches the disk

DISK = ("occ_order.files", FORMATS, "occ_order.engine.checkpoint")
"""What opens files: helpers for text, JSON and images; data sets and results; checkpoints."""

ALLOWED_DISK = {
    "occ_order.apps.annotate.answers": "a log that several programs append to, under a lock",
    "occ_order.benchmarks.load": "times the readers on files that it makes, and reads /proc",
    "occ_order.commands.stores": "seeks in tar and Parquet files, here as at addresses",
    "occ_order.commands.table": "the log of another process, written while it runs",
    "occ_order.crf._kernels.compile": "the folder in which numba keeps compiled code",
    "occ_order.order.io": "reads and writes order_results.json, the project's own format",
    "occ_order.scenes.photographs.library": "arrays that processes share by mapping them",
}
"""Module -> why it opens files itself."""

OPENING = {"open", "imread", "imwrite", "VideoWriter", "savefig", "savez", "savez_compressed"}
OPENING |= {f"{verb}_{kind}" for verb in ("read", "write") for kind in ("text", "bytes")}
OPENING_OF = {
    "numpy": {"load", "save", "loadtxt", "savetxt", "fromfile"},
    "torch": {"load", "save"},
}
"""Names of functions and methods that open a file, whoever's; those of two libraries alone."""


def opened(source: str, module: str = "m") -> list[int]:
    """Lines of a module's text that open a file, other than through `occ_order.files`."""
    tree = tree_of(source)
    ours = {
        name.rpartition(".")[2]
        for name in imported(source, module, False)
        if below(name, ("occ_order.files",))
    }
    short = {"np": "numpy", "numpy": "numpy", "torch": "torch"}
    lines = []
    for node in nodes_of(tree):
        if not isinstance(node, ast.Call):
            continue
        name, of = last_name(node.func), last_name(getattr(node.func, "value", None))
        helper = (name if isinstance(node.func, ast.Name) else of) in ours
        if (name in OPENING and not helper) or name in OPENING_OF.get(short.get(of), ()):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open('a')", [1]),
        ("with path.open() as f: pass", [1]),
        ("x = 1\nPath('a').read_text()", [2]),
        ("cv2.imread('a')", [1]),
        ("np.load('a'); json.load(f); pool.map(f)", [1]),
        ("torch.save(x, 'a')", [1]),
        ("from occ_order.files import read_text\nread_text('a')", []),
        ("from occ_order import files\nfiles.read_bytes('a')", []),
        ("read_text('a')", [1]),
        (
            "from occ_order.files import atomic_writer\nwith atomic_writer('a') as f: f.write('b')",
            [],
        ),
        ("# open('a')\n'read_text()'", []),
    ],
)
def test_what_opens_a_file_is_found(source, expected):
    assert opened(source) == expected


def test_only_files_formats_and_checkpoints_open_files(package):
    found = {name for name, (text, _) in package.items() if opened(text) and not below(name, DISK)}
    assert found == set(ALLOWED_DISK)
