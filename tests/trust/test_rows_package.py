"""What is installed, the commands, the tests themselves: rows 26, 30 and 31, and all 31 at once."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occ_order import crf, masks
from occ_order.cli import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("tools", "demo", "datasets")
    for path in ROOT.glob(f"{folder}/*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


# --- row 26: what is missing


MISSING = """
import sys
for name in ("torch", "torchvision", "detectron2", "fvcore", "matplotlib", "maxflow"):
    sys.modules[name] = None
import numpy as np
from occ_order import crf, masks, metrics, order, scenes, targets
scene = scenes.generate(0, size=(32, 40))
ids = masks.paint(scene.modal, occlusion=scene.occlusion)
occludes = crf.occludes_from_target(*targets.oriented_boundary(ids, scene.occlusion))
print(metrics.occlusion_scores([scene.occlusion], [scene.occlusion])["f1"])
print(order.layers(scene.occlusion).shape == (len(scene.modal),))
try:
    crf.solve((ids == 0).astype(float), occludes, backend="pymaxflow")
except ImportError as error:
    print(error)
"""


def test_row_26_masks_and_orders_need_neither_pytorch_nor_detectron2_nor_pymaxflow():
    child = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, cwd=ROOT
    )
    assert child.returncode == 0, child.stderr
    f1, layers, message = child.stdout.strip().splitlines()
    assert (f1, layers) == ("100.0", "True")
    assert "needs PyMaxflow: pip install PyMaxflow" in message


OPTIONAL = {"wandb", "gradio", "onnx", "onnxruntime", "psd_tools", "supervision", "safetensors"}


def test_row_26_extras_are_imported_only_where_they_are_used():
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


def test_row_26_every_extra_that_is_missing_says_what_to_install():
    lacking = []
    for path in ROOT.glob("occ_order/**/*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n)+", "", text, flags=re.MULTILINE)
        for name in re.findall(r"^\s+(?:import|from) (\w+)", text, re.MULTILINE):
            if name in OPTIONAL and "pip install" not in text:
                lacking.append(f"{path}: {name}")
    assert lacking == []


def test_row_26_a_config_for_the_gpu_works_without_one():
    torch = pytest.importorskip("torch")
    pytest.importorskip("detectron2")
    from occ_order.config import get_cfg

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    from detectron2.modeling import build_model

    import occ_order.methods.build  # noqa: F401

    cfg.MODEL.META_ARCHITECTURE = "OrderBaseline"
    assert build_model(cfg) is not None


# --- row 30: the commands


@pytest.mark.parametrize("command", COMMANDS)
def test_row_30_help_works_everywhere(command, monkeypatch, capsys):
    pytest.importorskip("detectron2")
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / command), run_name="__main__")
    assert end.value.code in (0, None)
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_row_30_help_of_every_verb(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"usage: occ-order {verb}" in capsys.readouterr().out


def test_row_30_predict_orders_given_masks_without_a_window(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    monkeypatch.delenv("DISPLAY", raising=False)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "my photo.png")
    stack = np.zeros((2, 40, 50), bool)
    stack[0, 5:20, 5:20] = stack[1, 15:35, 12:40] = True
    stack[1] &= ~stack[0]
    data = {
        "images": [{"id": 1, "file_name": "my photo.png", "height": 40, "width": 50}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "segmentation": masks.encode(mask),
             "bbox": [0, 0, 1, 1], "area": int(mask.sum()), "iscrowd": 0}
            for k, mask in enumerate(stack)
        ],
    }  # fmt: skip
    (tmp_path / "masks.json").write_text(json.dumps(data), encoding="utf-8")
    arguments = [
        "predict", str(tmp_path / "my photo.png"),
        "--config-file", str(ROOT / "configs/InstaOrder/area.yaml"),
        "--masks", str(tmp_path / "masks.json"), "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    from occ_order.order.io import load_results

    (image,) = load_results(tmp_path / "out" / "order_results.json")
    assert image["occlusion"] == [[1, 0, 1.0]]  # the larger one is in front
    assert (tmp_path / "out" / "my photo" / "overlay.png").is_file()


# --- row 31: the tests


def load_hygiene():
    spec = importlib.util.spec_from_file_location("hygiene", ROOT / "tests/test_repository.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_row_31_no_test_throws_a_comparison_away():
    hygiene = load_hygiene()
    discarded = ast.parse("import torch\ntorch.allclose(a, b)\na == b\n")
    assert hygiene.discarded_comparisons(discarded) == [2, 3]
    tests = [path for path in (ROOT / "tests").rglob("*.py")]
    faults = [
        f"{path}:{line}"
        for path in tests
        for line in hygiene.discarded_comparisons(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(tests) > 50 and faults == []


def test_row_31_no_test_reaches_the_network_or_a_folder_of_one_machine():
    with pytest.raises(RuntimeError, match="must not use the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    hygiene = load_hygiene()
    pattern = re.compile(hygiene.FORBIDDEN_TEXT["a folder of one machine"])
    tests = [path for path in (ROOT / "tests").rglob("*.py")]
    assert [path.name for path in tests if pattern.search(path.read_text("utf-8"))] == []


def test_row_31_a_test_that_hangs_is_stopped(pytestconfig, tmp_path):
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


def test_every_row_of_the_table_has_a_test():
    rows = set()
    for path in Path(__file__).parents[1].rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rows |= {int(number) for number in re.findall(r"row_(\d\d)", node.name)}
    assert rows == set(range(1, 32))


def test_solver_and_masks_do_not_warn(recwarn):
    crf.solve(np.full((4, 5), 0.5), np.zeros((4, 4, 5), bool))
    masks.paint(np.zeros((0, 3, 3), bool))
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_every_test_that_the_security_page_names_exists():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    found = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert len(named) > 40 and named <= found, named - found
