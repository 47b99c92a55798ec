"""What a text names as a detector."""

from __future__ import annotations

import pytest

from occ_order import model_zoo
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


def test_no_other_ending_than_py_makes_a_lazy_config(tmp_path, monkeypatch):
    """Which is Python code and is run."""
    monkeypatch.chdir(tmp_path)
    for name in ("c", "c.txt", "c.py.json", "zoo.py"):
        (tmp_path / name).write_text("raise SystemExit")
    kinds = [kind_of(name)[0] for name in ("c", "c.txt", "c.py.json", "zoo.py")]
    assert kinds == ["file", "file", "file", "lazy"]
