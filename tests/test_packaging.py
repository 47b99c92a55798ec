"""The package as pip installs it, away from the checkout: what it holds, and that it predicts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytest.importorskip("detectron2")

from occ_order import __version__

ROOT = Path(__file__).resolve().parents[1]
BUILT_BY = ("setup.py", "MANIFEST.in", "pyproject.toml", "LICENSE")
ZOO = "occ_order/model_zoo"


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run Python in another folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build an "sdist" or a "wheel" of the project in `source`, with the installed setuptools."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    return folder / run("-c", code, cwd=source).splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Copy of what the package is built from, so that nothing is built in the checkout."""
    folder = tmp_path_factory.mktemp("checkout") / "occ_order"
    shutil.copytree(
        ROOT / "occ_order", folder / "occ_order", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "configs", folder / "configs")
    for path in [*map(ROOT.joinpath, BUILT_BY), *ROOT.glob("*.md")]:
        shutil.copy(path, folder)
    # Weights hardly become smaller, and take most of the time of a build.
    (folder / "setup.cfg").write_text("[bdist_wheel]\ncompression = stored\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    """Wheel built from nothing but the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.unpack_archive(build("sdist", source, folder), folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return build("wheel", unpacked, folder)


def names_in(wheel: Path) -> set[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata_of(wheel: Path) -> Message:
    """What the index of packages shows."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_every_config_and_every_file_of_the_zoo(wheel):
    names = names_in(wheel)
    configs = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/**/*.yaml")}
    assert len(configs) > 50
    assert {n for n in names if n.endswith(".yaml")} == {f"{ZOO}/{config}" for config in configs}
    for row in json.loads((ROOT / ZOO / "zoo.json").read_text(encoding="utf-8")):
        assert f"{ZOO}/configs/{row['config']}" in names
        assert f"{ZOO}/checkpoints/{row['checkpoint']}" in names
    assert "occ_order/py.typed" in names


def test_files_of_an_earlier_build_do_not_come_along(source, wheel, tmp_path):
    stale = source / "build/lib" / ZOO / "configs"
    stale.mkdir(parents=True, exist_ok=True)
    (stale / "gone.yaml").touch()
    assert names_in(build("wheel", source, tmp_path)) == names_in(wheel)


def test_the_metadata_say_what_the_package_is(wheel):
    said = metadata_of(wheel)
    assert said["Version"] == __version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    extras = set(said.get_all("Provides-Extra"))
    assert {"report", "networks", "pretrained", "psd", "interop", "export"} <= extras
    assert {"safetensors", "test", "all"} <= extras
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        assert "occ-order = occ_order.cli:main" in archive.read(name).decode()
    plain = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in plain if line.startswith(("torch", "timm", "matplotlib"))]


PREDICT = """
import json, sys
from pathlib import Path

checkout, installed = Path(sys.argv[1]), Path(sys.argv[2])
hidden = tuple(str(checkout / name) for name in ("occ_order", "configs", "tools", "demo"))

def refuse(event, arguments):
    if event == "open" and str(arguments[0]).startswith(hidden):
        raise PermissionError(f"the checkout was asked for {arguments[0]}")

sys.addaudithook(refuse)
import numpy as np
import occ_order
from occ_order import model_zoo
from occ_order.engine.predictor import OrderPredictor

assert Path(occ_order.__file__).is_relative_to(installed), occ_order.__file__
models = {name: model_zoo.get(name) for name in model_zoo.names()}
loaded = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
masks = np.zeros((3, 60, 80), bool)
masks[0, 5:40, 5:40] = masks[1, 20:50, 30:70] = masks[2, 45:58, 10:60] = True
image = np.full((60, 80, 3), 120, np.uint8)
found = OrderPredictor.from_zoo("order_head_given_masks_scenes")(image, masks)
print(json.dumps({"loaded": loaded, "depth": found.depth.tolist()}))
"""


def test_an_installed_package_loads_every_model_of_the_zoo_and_predicts(wheel, tmp_path):
    target = tmp_path / "site"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    run("-m", "pip", "install", *options, "--target", str(target), str(wheel), cwd=tmp_path)
    printed = run("-c", PREDICT, str(ROOT), str(target), cwd=tmp_path, PYTHONPATH=str(target))
    told = json.loads(printed.splitlines()[-1])
    rows = json.loads((ROOT / ZOO / "zoo.json").read_text(encoding="utf-8"))
    assert set(told["loaded"]) == {row["name"] for row in rows}
    assert min(told["loaded"].values()) > 1000
    depth = told["depth"]
    assert len(depth) == 3 and all(len(line) == 3 for line in depth)
    assert {depth[i][j] for i in range(3) for j in range(3) if i != j} <= {0, 1, 2}


# --- the locked environment


def locked() -> list[Requirement]:
    """Return the packages of requirements.lock that are meant for this Python."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    names = [Requirement(line.rstrip(" \\")) for line in lines if not line.startswith(" ")]
    return [r for r in names if r.marker is None or r.marker.evaluate()]


def wanted() -> list[Requirement]:
    """Return what `make install` asks for, Detectron2's requirements among it."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = tables["optional-dependencies"]
    queue, seen = ["all", "test"], set()
    found = [Requirement(text) for text in tables["dependencies"]]
    while queue:
        extra = queue.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in map(Requirement, extras[extra]):
            if requirement.name == "occ_order":
                queue += requirement.extras
            else:
                found.append(requirement)
    tool = run(str(ROOT / "tools" / "install_detectron2.py"), "--requirements", cwd=ROOT)
    found += map(Requirement, tool.splitlines())
    return [r for r in found if r.marker is None or r.marker.evaluate()]


def test_the_locked_versions_are_what_the_project_asks_for():
    versions = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in locked()}
    asked = wanted()
    assert len(asked) > 25
    for requirement in asked:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_every_locked_package_has_a_hash():
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert len(blocks) > 90
    for block in blocks:
        assert re.match(r"[\w.-]+==\S+", block) and "--hash=sha256:" in block, block.splitlines()[0]
