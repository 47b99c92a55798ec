"""tools/install_detectron2.py by its parts, on a made-up tree; the real thing where asked for."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "install_detectron2.py"
REAL = "OCC_ORDER_TEST_INSTALL"
BORROWED = (
    *("torch", "functorch", "nvidia", "triton", "cuda", "sympy", "mpmath", "networkx", "jinja2"),
    *("markupsafe", "filelock", "fsspec", "typing_extensions", "cv2", "opencv", "setuptools"),
)
APACHE = "Apache License\n   Copyright [yyyy] [name of copyright owner]\n"


@pytest.fixture(scope="module")
def tool(load_script):
    """The script as a module."""
    return load_script("tools/install_detectron2.py")


@pytest.fixture
def carrier(tmp_path):
    """A tiny carrier wheel: two files of the tree, two that must stay behind."""
    path = tmp_path / "labgym-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("LabGym/__init__.py", "import LabGym.detectron2\n")
        archive.writestr("LabGym/detectron2/", "")
        archive.writestr("LabGym/detectron2/a.py", "# c\nfrom LabGym.detectron2.b import x\n")
        archive.writestr("LabGym/detectron2/b/c.yaml", "m: LabGym.detectron2.b\nn: LabGym\n")
        archive.writestr("LabGym/detectron20/d.py", "")
    return path


TREE = {
    "detectron2/a.py": b"# c\nfrom detectron2.b import x\n",
    "detectron2/b/c.yaml": b"m: detectron2.b\nn: LabGym\n",
}


def small_patch(tool, old="x\n", new="y\n", path="detectron2/a.py"):
    return tool.Patch(path, "y instead of x", ((old, new),))


# --- the tree


def test_only_the_tree_is_read_and_the_rename_is_undone(tool, carrier):
    assert tool.read_tree(carrier) == TREE


def test_blob_name_is_git_s_own(tool):
    # `printf 'hello\n' | git hash-object --stdin`, and git's well-known empty blob
    assert tool.git_blob_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert tool.git_blob_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_digest_is_over_lines_sorted_by_path(tool):
    lines = (
        "ce013625030ba8dba906f756967f9e9ca394464a a/z\ne69de29bb2d1d6434b8b29ae775ad8c2e48c5391 b\n"
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert tool.tree_digest({"b": b"", "a/z": b"hello\n"}) == expected
    assert tool.tree_digest({"a/z": b"hello\n", "b": b""}) == expected
    assert tool.tree_digest({}) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "change",
    [{"detectron2/a.py": b"# c\n"}, {"detectron2/new.py": b""}, {"detectron2/b/c.yaml": None}],
    ids=["content", "extra file", "missing file"],
)
def test_a_tree_that_differs_is_refused(tool, change):
    expected = tool.tree_digest(TREE)
    tool.check_digest(TREE, expected)
    other = {k: v for k, v in {**TREE, **change}.items() if v is not None}
    with pytest.raises(tool.InstallError, match=f"expected {expected}; nothing was installed"):
        tool.check_digest(other, expected)


@pytest.mark.parametrize("content", [b"", b"<html>", None], ids=["empty", "html", "missing"])
def test_a_damaged_wheel_is_named(tool, tmp_path, content):
    path = tmp_path / "labgym.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(tool.InstallError, match=r"labgym\.whl: not a readable wheel"):
        tool.read_tree(path)


def test_a_wheel_without_the_tree_is_named(tool, tmp_path):
    path = tmp_path / "labgym.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("LabGym/__init__.py", "")
    with pytest.raises(tool.InstallError, match="no file below LabGym/detectron2/"):
        tool.read_tree(path)


# --- patches


def test_a_patch_replaces_and_says_so_below_the_copyright(tool):
    patched = tool.patched_tree(TREE, [small_patch(tool)])
    first, notice, *rest = patched["detectron2/a.py"].decode().splitlines()
    assert first == "# c"
    assert notice.startswith("# Modified ") and notice.endswith("y instead of x.")
    assert rest == ["from detectron2.b import y"]
    assert patched["detectron2/b/c.yaml"] == TREE["detectron2/b/c.yaml"]
    assert b"Modified" not in TREE["detectron2/a.py"], "the input is not edited"


@pytest.mark.parametrize(("old", "count"), [("nowhere", 0), ("m", 2)])
def test_a_patch_that_does_not_fit_exactly_once_is_refused(tool, old, count):
    with pytest.raises(tool.InstallError, match=rf"detectron2/a\.py: .* {count} times, expected 1"):
        tool.patched_tree(TREE, [small_patch(tool, old)])


def test_a_patch_of_an_absent_file_is_refused(tool):
    with pytest.raises(tool.InstallError, match=r"detectron2/gone\.py: .* not in the tree"):
        tool.patched_tree(TREE, [small_patch(tool, path="detectron2/gone.py")])


def test_the_real_patches_take_out_what_broke(tool):
    new = {patch.path: "".join(n for _, n in patch.replacements) for patch in tool.PATCHES}
    assert len(new) == 4
    assert not any("pkg_resources" in text or "copy=False" in text for text in new.values())
    for patch in tool.PATCHES:
        assert "\n" not in patch.reason and not patch.reason.endswith(".")
        assert all(old != replacement for old, replacement in patch.replacements)


def test_the_installed_repack_carries_every_patch(tool):
    try:
        installed = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("Detectron2 is not installed")
    if installed.version != tool.VERSION:
        pytest.skip(f"Detectron2 {installed.version} was not installed by the script")
    for patch in tool.PATCHES:
        text = Path(installed.locate_file(patch.path)).read_text(encoding="utf-8")
        assert text.splitlines()[1].endswith(f"{patch.reason}.")
        for old, new in patch.replacements:
            assert new in text
            assert old not in text.replace(new, "")


# --- the wheel


@pytest.fixture
def wheel(tool, tmp_path):
    """Wheel of the made-up tree."""
    return tool.write_wheel(TREE, tool.dist_info(APACHE), tmp_path / "out")


def test_the_wheel_holds_the_tree_and_a_true_record(tool, wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    assert {k: v for k, v in files.items() if not k.startswith(tool.DIST_INFO)} == TREE
    record_path = f"{tool.DIST_INFO}/RECORD"
    rows = list(csv.reader(io.StringIO(files[record_path].decode())))
    assert sorted(row[0] for row in rows) == sorted(files)
    for path, digest, size in rows:
        if path == record_path:
            assert (digest, size) == ("", "")
            continue
        algorithm, encoded = digest.split("=", 1)
        padded = encoded + "=" * (-len(encoded) % 4)
        assert algorithm == "sha256" and not encoded.endswith("=")
        assert base64.urlsafe_b64decode(padded) == hashlib.sha256(files[path]).digest()
        assert int(size) == len(files[path])


def test_the_metadata_says_what_it_is_and_what_was_changed(tool, wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{tool.DIST_INFO}/METADATA").decode()
        licence = archive.read(f"{tool.DIST_INFO}/licenses/LICENSE").decode()
        tags = HeaderParser().parsestr(archive.read(f"{tool.DIST_INFO}/WHEEL").decode())
    meta = HeaderParser().parsestr(text)
    assert (meta["Name"], meta["Version"]) == ("detectron2", "0.6+pypi")
    assert meta["License"] == "Apache-2.0"
    names = {line.split(">")[0] for line in meta.get_all("Requires-Dist")}
    assert {"fvcore", "iopath", "omegaconf", "hydra-core", "black", "yacs"} <= names
    body = meta.get_payload()
    assert tool.UPSTREAM_COMMIT in body
    assert all(f"- {patch.path}: {patch.reason}" in body for patch in tool.PATCHES)
    assert "Copyright 2019, Facebook, Inc" in licence
    assert tags["Root-Is-Purelib"] == "true" and tags["Tag"] == "py3-none-any"
    assert wheel.name.endswith(f"-{tags['Tag']}.whl")


def test_the_same_tree_gives_the_same_bytes(tool, tmp_path, wheel):
    backwards = dict(reversed(TREE.items()))
    again = tool.write_wheel(backwards, tool.dist_info(APACHE), tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()
    assert [p.name for p in again.parent.iterdir()] == [tool.WHEEL_NAME]


def test_pip_installs_the_wheel_and_finds_it_whole(tool, wheel, tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--quiet", f"--target={target}", wheel], check=True)
    installed = {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and path.parent.name == "detectron2"
    }
    assert installed == {k: v for k, v in TREE.items() if k.count("/") == 1}
    assert (target / tool.DIST_INFO / "METADATA").is_file()


def test_a_license_file_of_another_kind_is_refused(tool):
    with pytest.raises(tool.InstallError, match="not the Apache License"):
        tool.dist_info("All rights reserved.")


def test_the_project_s_own_license_fits(tool):
    text = tool.license_text((ROOT / "LICENSE").read_text(encoding="utf-8"))
    assert "END OF TERMS AND CONDITIONS" in text and "Copyright 2019, Facebook, Inc" in text


# --- pip and the command line


def fake_pip(outcomes, calls):
    """A `pip` that answers each call by the next of (exit status, output, file to leave)."""

    def pip(*arguments, quiet=False):
        folder = Path(next(a for a in arguments if a.startswith("--dest=")).split("=", 1)[1])
        requirement = next(a for a in arguments if a.startswith("--requirement=")).split("=", 1)[1]
        calls.append((arguments, Path(requirement).read_text(encoding="utf-8")))
        status, output, leaves = outcomes[len(calls) - 1]
        if leaves:
            (folder / leaves).write_bytes(b"")
        return SimpleNamespace(returncode=status, stdout="", stderr=output)

    return pip


def test_download_asks_for_one_hash_and_installs_nothing(tool, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(tool, "pip", fake_pip([(0, "", "labgym.whl")], calls))
    assert tool.download(tmp_path) == tmp_path / "labgym.whl"
    arguments, requirement = calls[0]
    assert arguments[0] == "download"
    wanted = {"--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes"}
    assert wanted <= set(arguments)
    assert requirement == f"labgym==3.1.2 --hash=sha256:{tool.PINS[0][1]}\n"


def test_the_pins_are_tried_in_turn(tool, tmp_path, monkeypatch):
    calls = []
    outcomes = [(1, "ERROR: No matching distribution", None), (0, "", "labgym.whl")]
    monkeypatch.setattr(tool, "pip", fake_pip(outcomes, calls))
    assert tool.download(tmp_path).name == "labgym.whl"
    assert [line.split(" ")[0] for _, line in calls] == ["labgym==3.1.2", "labgym==3.0.1"]


def test_every_failure_of_the_download_is_told(tool, tmp_path, monkeypatch):
    outcomes = [
        (1, "WARNING: Retrying ... NewConnectionError ...\nERROR: nothing found", None),
        (1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM ...", None),
        (1, "noise\nERROR: No matching distribution found for labgym==2.9.6\n", None),
    ]
    monkeypatch.setattr(tool, "pip", fake_pip(outcomes, []))
    with pytest.raises(tool.InstallError) as caught:
        tool.download(tmp_path)
    told = str(caught.value).splitlines()
    assert told[1].startswith("  labgym 3.1.2: no network")
    assert told[2].startswith("  labgym 3.0.1: hash mismatch")
    assert told[3].endswith("No matching distribution found for labgym==2.9.6")
    assert "--from-wheel" in told[4]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("python: No module named pip", "has no pip"),
        ("ERROR: Could not open requirements file", "ERROR: Could not open requirements file"),
        ("a\nlast line", "last line"),
        ("", "no output"),
    ],
)
def test_why_pip_failed(tool, output, told):
    assert told in tool.why_pip_failed(output)


def test_a_working_detectron2_is_left_alone(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tool, "installed_state", lambda: ("works", "0.6 at site"))
    monkeypatch.setattr(tool, "download", lambda folder: pytest.fail("downloaded"))
    assert tool.main([]) == 0
    assert "0.6 at site is already installed and works" in capsys.readouterr().out


def test_a_broken_detectron2_is_not_replaced_silently(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tool, "installed_state", lambda: ("broken", "ImportError: _C"))
    monkeypatch.setattr(tool, "download", lambda folder: pytest.fail("downloaded"))
    assert tool.main([]) == 1
    error = capsys.readouterr().err
    assert "ImportError: _C" in error and "--force" in error


def test_without_pytorch_it_says_what_to_install_first(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: None)
    assert tool.main([]) == 1
    assert "pip install torch torchvision" in capsys.readouterr().err


@pytest.mark.parametrize(("force", "calls"), [(False, 1), (True, 2)])
def test_force_replaces_the_same_version_and_then_completes_it(tool, monkeypatch, force, calls):
    seen = []
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(tool, "pip", lambda *arguments: seen.append(arguments) or done)
    monkeypatch.setattr(tool, "installed_state", lambda: ("works", ""))
    tool.install(Path("w.whl"), force=force)
    assert len(seen) == calls
    assert ("--force-reinstall" in seen[0]) == force
    assert "--no-deps" not in seen[-1], "what Detectron2 requires is installed too"


def test_an_installation_that_does_not_import_is_an_error(tool, monkeypatch):
    monkeypatch.setattr(tool, "pip", lambda *arguments: SimpleNamespace(returncode=0))
    monkeypatch.setattr(tool, "installed_state", lambda: ("broken", "no module yacs"))
    with pytest.raises(tool.InstallError, match="does not import: no module yacs"):
        tool.install(Path("w.whl"), force=False)


def test_the_state_is_that_of_this_interpreter(tool, tmp_path, monkeypatch):
    broken = tmp_path / "broken" / "detectron2"
    working = tmp_path / "working" / "detectron2"
    for folder, text in ((broken, "import no_such_thing"), (working, "__version__ = '9'")):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    state, detail = tool.installed_state()
    assert state == "broken" and "no_such_thing" in detail
    monkeypatch.setenv("PYTHONPATH", str(working.parent))
    assert tool.installed_state() == ("works", f"9 at {working}")


def test_a_refused_wheel_leaves_nothing_behind(tool, carrier, tmp_path, capsys):
    out = tmp_path / "wheels"
    assert tool.main(["--from-wheel", str(carrier), "--wheel-dir", str(out)]) == 1
    assert "this is not Detectron2 at upstream commit 864913f0" in capsys.readouterr().err
    assert not out.exists()


def test_only_the_standard_library_is_imported():
    code = (
        "import runpy, sys; before = set(sys.modules)\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))\n"
    )
    # -I -S: no site-packages at all.
    command = [sys.executable, "-I", "-S", "-c", code.replace("sys.argv[1]", repr(str(SCRIPT)))]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--from-wheel" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get(REAL), reason=f"downloads; set {REAL}=1 to run it")
def test_the_real_wheel_in_a_throw_away_environment(tool, tmp_path):
    """Download, check and build for real; a new environment with this one's PyTorch runs it."""
    new, borrowed = tmp_path / "env", tmp_path / "borrowed"
    venv.create(new, with_pip=True)
    python = new / "bin" / "python"
    # What some Pythons put into a new environment is too old for PyTorch; the borrowed one is not.
    subprocess.run([python, "-m", "pip", "uninstall", "--yes", "--quiet", "setuptools"], check=True)
    # PyTorch, gigabytes large, comes from here by links outside the new environment, so that pip
    # can use but not change it. Everything else is installed anew.
    borrowed.mkdir()
    here = Path(importlib.metadata.distribution("torch").locate_file(""))
    for source in here.iterdir():
        if source.name.lower().startswith(BORROWED):
            (borrowed / source.name).symlink_to(source)
    (there,) = new.glob("lib/python*/site-packages")
    (there / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
    subprocess.run([python, SCRIPT, "--wheel-dir", tmp_path], check=True)
    first = (tmp_path / tool.WHEEL_NAME).read_bytes()
    subprocess.run([python, SCRIPT], check=True)
    again = subprocess.run([python, SCRIPT], check=True, capture_output=True, text=True)
    assert "already installed and works" in again.stdout
    subprocess.run([python, SCRIPT, "--wheel-dir", tmp_path], check=True)
    assert (tmp_path / tool.WHEEL_NAME).read_bytes() == first
    check = (
        "from detectron2 import model_zoo\n"
        "from detectron2.evaluation import SemSegEvaluator\n"
        "name = 'COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml'\n"
        "print(model_zoo.get_config(name).MODEL.META_ARCHITECTURE)\n"
    )
    done = subprocess.run([python, "-c", check], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "GeneralizedRCNN"
    subprocess.run([python, "-m", "pip", "check"], check=True)
