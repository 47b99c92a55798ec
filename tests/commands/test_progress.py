"""How far a command is, in a log and on a screen."""

from __future__ import annotations

import pytest

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
    assert capsys.readouterr().err == "predict: 1 frames in 00:06\n"


def test_what_is_quick_tells_nothing(capsys):
    assert len(list(progress([1, 2, 3], "view"))) == 3
    assert capsys.readouterr().err == ""
