"""Paths that stay in their folder, files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import occ_order
from occ_order import files
from occ_order.files import (
    atomic_writer,
    files_below,
    folder_lock,
    image_size,
    join_path,
    list_images,
    read_json,
    relative_name,
    resolve_inside,
    write_json,
)
from occ_order.order.io import save_results


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.png", "r/a.png"),
        ("./x//a b.png", "r/x/a b.png"),
        ("ä/..a.png", "r/ä/..a.png"),
    ],
)
def test_join_path(name, expected):
    assert join_path("r", name) == expected
    assert relative_name(expected, "r") == expected[2:]


def test_relative_name_without_folder_changes_nothing():
    assert relative_name("x/../a.png", None) == "x/../a.png"


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "ä b" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [child.name for child in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "call", ["os.replace(", "cv2.imread(", "cv2.imwrite(", "mkstemp(", "Image.open("]
)
def test_one_file_writes_atomically_and_opens_images(call):
    """Elsewhere a crash leaves half a file, a photograph lies on its side, EPS starts a program."""
    root = Path(occ_order.__file__).parent
    folders = [root, *(root.parent / name for name in ("demo", "datasets"))]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    found = [file for file in files if call in file.read_text(encoding="utf-8")]
    assert [file.name for file in found if file != root / "files.py"] == []


def test_ends_of_lines_stay_as_they_are_written(tmp_path):
    with atomic_writer(tmp_path / "x.csv") as file:
        file.write("a\r\nb\n")
    assert (tmp_path / "x.csv").read_bytes() == b"a\r\nb\n"


def test_written_files_can_be_read_by_others(tmp_path):
    write_json(tmp_path / "x.json", {"name": "é"})
    (tmp_path / "y.json").write_text("{}")
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "y.json").stat().st_mode


def test_image_size_is_that_of_the_upright_image(tmp_path):
    pixels = Image.new("RGB", (5, 3))
    pixels.save(tmp_path / "plain.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels.save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "plain.jpg") == (5, 3)
    assert image_size(tmp_path / "turned.jpg") == (3, 5)


def test_a_folder_belongs_to_one_program_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    folder = tmp_path / "out"
    with folder_lock(folder):
        message = f"out: another program is writing there .process {os.getpid()} of"
        with pytest.raises(OSError, match=message), folder_lock(folder):
            pass
    with folder_lock(folder):
        pass


def test_the_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="link that leads out"), folder_lock(tmp_path / "out"):
        pass
    assert (tmp_path / "secret").read_text() == "SECRET"


def test_files_below_are_neither_hidden_nor_links_out(tmp_path, caplog):
    root = tmp_path / "root"
    for name in ("b.json", "a/A.JSON", ".c.json", "a/.d/e.json", "f.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dir.json").mkdir()
    (tmp_path / "secret.json").touch()
    (root / "g.json").symlink_to(tmp_path / "secret.json")
    (root / "h.json").symlink_to(root / "b.json")
    found = [path.relative_to(root).as_posix() for path in files_below(root, (".json",))]
    assert found == ["a/A.JSON", "b.json", "h.json"]
    assert "g.json is a link that leads out of the folder" in caplog.text


def test_the_lock_ends_with_a_killed_program(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys, time; from occ_order.files import folder_lock\n"
        f"with folder_lock({str(tmp_path)!r}):\n    print('locked', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(OSError, match=f"process {child.pid} of "), folder_lock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("write", ["json", "results"])
def test_a_full_disk_names_the_file(tmp_path, write, full_disk):
    image = {"image_id": "x" * 5000, "height": 4, "width": 5, "instances": []}
    with full_disk(1000), pytest.raises(OSError, match=r"large\.json"):
        if write == "json":
            write_json(tmp_path / "large.json", image)
        else:
            save_results(tmp_path / "large.json", [image])
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_out_is_not_followed(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir(), root.mkdir()
    Image.new("L", (8, 6)).save(outside / "secret.png")
    (root / "link").symlink_to(outside)
    (root / "l.png").symlink_to(outside / "secret.png")
    for name in ("link/secret.png", "l.png", "../outside/secret.png"):
        with pytest.raises(ValueError):
            resolve_inside(root, name)
    assert list_images(root) == []


# --- lists that grow


def test_a_growing_file_has_the_bytes_of_one_written_at_once(tmp_path):
    content = {"a": [{"ü": 1.5}, [], "x"], "info": {"b": None}, "empty": [], "given": [1, 2]}
    files.write_json(tmp_path / "once.json", content)
    with files.growing_json(tmp_path / "grown.json", {**content, "a": []}) as add:
        for entry in content["a"]:
            add("a", entry)
    assert (tmp_path / "grown.json").read_bytes() == (tmp_path / "once.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grown.json", "once.json"]


@pytest.mark.parametrize("entry", [float("nan"), {1, 2}])
def test_what_is_no_json_leaves_the_file_before_and_no_folder(tmp_path, entry):
    (tmp_path / "a.json").write_text("before")
    for path in (tmp_path / "a.json", tmp_path / "new" / "deep" / "a.json"):
        with pytest.raises((ValueError, TypeError)), files.growing_json(path, {"x": []}) as add:
            add("x", 1)
            add("x", entry)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "before"


def test_a_full_disk_is_told_by_the_name_of_a_growing_file(tmp_path, full_disk):
    with (
        full_disk(100),
        pytest.raises(OSError, match=r"a\.json"),
        files.growing_json(tmp_path / "a.json", {"x": []}) as add,
    ):
        for k in range(10_000):
            add("x", k)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_goes_with_the_file_that_failed(tmp_path):
    (tmp_path / "kept").mkdir()
    for folder in ("kept", "new/deep"):
        with pytest.raises(KeyError), files.atomic_writer(tmp_path / folder / "a.txt"):
            raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
