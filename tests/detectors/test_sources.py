"""What a text names as a detector."""

from __future__ import annotations

import sys

import pytest
from tests.test_front_door import BY_A_VERB, imported

from occ_order import model_zoo
from occ_order.cli import main
from occ_order.detectors.sources import kind_of


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("torchvision", ("torchvision", "")),
        ("torchvision:maskrcnn_resnet50_fpn", ("torchvision", "maskrcnn_resnet50_fpn")),
        ("detectron2:a/b.yaml", ("detectron2", "a/b.yaml")),
        (f"zoo:{model_zoo.FINDS_INSTANCES}", ("zoo", model_zoo.FINDS_INSTANCES)),
        (model_zoo.FINDS_INSTANCES, ("zoo", model_zoo.FINDS_INSTANCES)),
        ("c.yaml", ("yaml", "c.yaml")),
        ("c.YML", ("yaml", "c.YML")),
        ("c.py", ("lazy", "c.py")),
        ("found.json", ("file", "found.json")),
        ("labels", ("file", "labels")),
    ],
)
def test_kinds(source, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("c.yaml", "c.YML", "c.py", "found.json"):
        (tmp_path / name).touch()
    (tmp_path / "labels").mkdir()
    assert kind_of(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nobody", "no detector 'nobody': there is no such file, .* model zoo, which has"),
        ("detectron2:", "no detector 'detectron2:'"),
        ("zoo:nobody", "the model zoo has no 'nobody'"),
        ("none.yaml", "no detector 'none.yaml'"),
    ],
)
def test_what_is_no_detector(source, message):
    with pytest.raises(ValueError, match=message):
        kind_of(source)


def test_a_wrong_detector_is_one_line_at_once(capsys):
    arguments = ["predict", __file__, "--output", "o", "--detector", "nobody"]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert "argument --detector: no detector 'nobody'" in line
    light = BY_A_VERB | {f"occ_order.{name}" for name in ("cli.predict", "detectors")}
    light |= {"occ_order.detectors.sources"}
    assert imported(f"from occ_order.cli import main; main({arguments})") <= light


def test_python_code_is_run_only_where_a_py_file_is_named(tmp_path):
    """Neither another ending nor a prefix makes a LazyConfig of a file."""
    (tmp_path / "c.txt").write_text("raise SystemExit")
    assert kind_of(str(tmp_path / "c.txt"))[0] == "file"
    assert "c" not in sys.modules
