"""Every command of datasets/OWN_DATA.md, on generated labelme folders, to a trained network."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from occ_order.cli import main
from occ_order.formats.convert import DataSet, read_dataset, write_dataset
from occ_order.formats.own import find_own

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "datasets" / "OWN_DATA.md").read_text(encoding="utf-8")
SHORTER = {"SOLVER.MAX_ITER 2000": "SOLVER.MAX_ITER 2 SOLVER.IMS_PER_BATCH 2"}
"""What is made quicker than the document says, so that the test is."""


def commands():
    """The commands of the document, in order, but for composing: tests/scenes/test_composed.py."""
    annotated = DOCUMENT.split("## With masks of visible parts alone")[0]
    blocks = re.findall(r"```bash\n(.*?)```", annotated, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith("export ")]


@pytest.fixture
def place(tmp_path, make_records, monkeypatch):
    """A folder with photos/{train,val,whole} in labelme's format, where the commands run."""
    categories = [{"id": k + 1, "name": n} for k, n in enumerate(("cup", "plate", "table"))]
    for split, count in (("train", 2), ("val", 1), ("whole", 1)):
        records = make_records(tmp_path / "made" / split, count)
        for record in records:
            for annotation in record["annotations"]:
                annotation["category_id"] = annotation["category_id"] % 3 + 1
        if split == "whole":
            draw_wholes_only(records)
        data = DataSet(records, categories, str(tmp_path / "made" / split))
        write_dataset("labelme", data, tmp_path / "photos" / split)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return tmp_path


def draw_wholes_only(records):
    """As somebody draws who outlines whole objects; interlocked pairs lose one direction."""
    for record in records:
        for annotation in record["annotations"]:
            annotation["segmentation"] = annotation.pop("amodal_segmentation")
        mutual = (record["occlusion"] == 1) & (record["occlusion"].T == 1)
        for i, j in zip(*mutual.nonzero(), strict=True):
            if i < j:
                record["occlusion"][j, i] = 0


@pytest.fixture
def registered(place):
    """Registers what was converted, as a new process would, and takes it out again."""
    pytest.importorskip("detectron2")
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from occ_order.formats import builtin

    yield lambda: builtin.register_own(place / "datasets")
    for name in list(builtin._registered):
        if name.startswith("own_kitchen"):
            del builtin._registered[name]
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def run(words):
    """Runs one command in this process; what it returns or exits with."""
    if words[0] == "python":
        from occ_order.engine.launch import run as train

        assert words[1] == "tools/train_net.py"
        arguments = [str(ROOT / w) if w.startswith("configs/") else w for w in words[2:]]
        return train(arguments) or 0
    assert words[0] == "occ-order"
    if words[1] == "annotate":  # asks until it is stopped: only the files, here
        words = [*words, "--write"]
    return main(words[1:])


def test_every_command_of_the_document(place, registered, capsys):
    for line in commands():
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        if "own_kitchen" in line:
            registered()
        words = shlex.split(os.path.expandvars(line))
        assert run(words) == 0, f"{line}\n{capsys.readouterr().err}"
    results = json.loads((place / "output/kitchen/inference/order_results.json").read_text())
    assert len(results["images"]) == 1 and results["images"][0]["depth"]
    assert (place / "output/kitchen/view.html").stat().st_size > 20_000
    assert len(list((place / "output/look").iterdir())) == 2
    whole = read_dataset("cocoa", "datasets/own/kitchen/whole/cocoa.json")
    assert all("amodal_segmentation" in a for a in whole.records[0]["annotations"])


def test_the_table_of_the_document_is_read(tmp_path):
    """The example of order.csv, on an image with these things."""
    from occ_order.formats.order_table import matrices_of, read_order_table

    table = re.search(r"```csv\n(.*?)```", DOCUMENT, re.DOTALL)[1]
    (tmp_path / "order.csv").write_text(table)
    rows = read_order_table(tmp_path / "order.csv")
    names = ["cup", "plate", "table#1", "table#2", "fork"]
    found = matrices_of(rows["1.jpg"], 5, names.index)
    assert [tuple(e) for e in zip(*found["occlusion"].nonzero(), strict=True)] == [(0, 1), (0, 3)]
    assert found["depth"][0, 1] == 1 and found["depth"][1, 4] == found["depth"][4, 1] == 2
    assert matrices_of(rows["2.jpg"], 5, names.index)["occlusion"].sum() == 0


def test_own_data_sets_are_found_by_where_they_lie(tmp_path, caplog):
    assert find_own(tmp_path) == []
    for place in ("a/train", "a/val", "bad name/train", "empty/train"):
        (tmp_path / "own" / place).mkdir(parents=True)
    for file in ("a/train/instaorder.json", "a/train/cocoa.json", "a/val/kins2020.json",
                 "bad name/train/cocoa.json"):  # fmt: skip
        (tmp_path / "own" / file).write_text("{}")
    found = find_own(tmp_path)
    assert [(name, kind) for name, kind, _ in found] == [
        ("own_a_train_instaorder", "instaorder"),
        ("own_a_train_cocoa", "cocoa"),
        ("own_a_val_kins", "kins"),
    ]
    folder = tmp_path / "own" / "a" / "train"
    assert found[0][2] == [folder / "instaorder.json", folder / "instances.json", folder / "images"]
    assert "bad name" in caplog.text
