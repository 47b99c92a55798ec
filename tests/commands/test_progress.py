"""How far a command is, in a log and on a screen."""

from __future__ import annotations

import json

import pytest

from occ_order.cli import main
from occ_order.commands import progress as progress_module
from occ_order.commands.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look moves on by three seconds."""
    now = iter(range(0, 10_000, 3))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(now)))


def test_progress_in_a_file_is_a_line_now_and_then(clock, capsys):
    assert list(progress(range(12), "view")) == list(range(12))
    assert capsys.readouterr().err.splitlines() == [
        "view: 1 of 12 images in 00:06, 01:06 left",
        "view: 5 of 12 images in 00:18, 00:25 left",
        "view: 9 of 12 images in 00:30, 00:10 left",
    ]


def test_progress_without_a_number_tells_no_rest(clock, capsys):
    assert len(list(progress(iter("abc"), "predict", unit="frame"))) == 3
    assert capsys.readouterr().err == "predict: 1 frame in 00:06\n"


def test_what_is_quick_tells_nothing(capsys):
    assert len(list(progress([1, 2, 3], "view"))) == 3
    assert capsys.readouterr().err == ""


def test_long_conversions_and_checks_tell_how_far_they_are(tmp_path, monkeypatch, capsys):
    rows = [
        {"id": k, "image_id": k, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
        for k in (1, 2, 3)
    ]
    images = [{"id": k, "file_name": f"{k}.png", "height": 8, "width": 8} for k in (1, 2, 3)]
    path = tmp_path / "instances.json"
    classes = [{"id": 1, "name": "cup"}]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": classes}))
    now = iter(range(0, 10_000, 3))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(now)))
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().err.startswith("validate: 1 of 3 annotations in 00:06, 00:12 left\n")
    arguments = ["--from", "coco", "--to", "coco", "--output", str(tmp_path / "out")]
    assert main(["convert", "--input", str(path), *arguments]) == 0
    said = capsys.readouterr().err
    assert said.count("check: 1 image in 00:06") == 1
    assert said.count("write: 1 of 3 images in") == said.count("compare: 1 of 3 images in") == 1
