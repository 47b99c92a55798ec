"""A format is one module and one row: a toy one is added here as CONTRIBUTING.md says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from occ_order import masks
from occ_order.cli import main
from occ_order.cli.common import add_input_options
from occ_order.files import join_path, read_json, relative_name, write_json
from occ_order.formats import table
from occ_order.formats.coco_nesting import read_categories
from occ_order.formats.convert import DataSet, convert, read_dataset
from occ_order.formats.own import find_own
from occ_order.formats.results import results_of
from occ_order.formats.validate import detect_format, validate
from occ_order.formats.write_scenes import make, scene_parameters
from occ_order.order import save_results

ROOT = Path(__file__).resolve().parents[2]

# --- the module of the toy format


def load_toy(json_file, image_root, *, problems=None):
    data, records = read_json(json_file), []
    for image in data["images"]:
        size = image["height"], image["width"]
        own = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        annotations, occlusion = [], np.zeros((len(own), len(own)), np.int8)
        for k, entry in enumerate(own):
            mask = masks.decode(entry["mask"], *size)
            annotations.append(
                {
                    "id": entry["id"],
                    "category_id": entry["category_id"],
                    "bbox": masks.bounding_box(mask).tolist(),
                    "segmentation": entry["mask"],
                    "iscrowd": 0,
                }
            )
            occlusion[k] = [other["id"] in entry["hides"] for other in own]
        records.append(
            {
                "file_name": join_path(image_root, image["file_name"]),
                "image_id": image["id"],
                "height": size[0],
                "width": size[1],
                "annotations": annotations,
                "occlusion": occlusion,
            }
        )
    return records


def save_toy(records, json_file, categories, *, image_root=None):
    images, entries = [], []
    for record in records:
        size = {key: record[key] for key in ("height", "width")}
        name = relative_name(record["file_name"], image_root)
        images.append({"id": record["image_id"], "file_name": name, **size})
        ids = [annotation["id"] for annotation in record["annotations"]]
        for annotation, row in zip(record["annotations"], record["occlusion"], strict=True):
            mask = masks.decode(annotation["segmentation"], *size.values())
            entry = {key: annotation[key] for key in ("id", "category_id")}
            hides = [ids[k] for k in np.flatnonzero(row == 1)]
            entries.append(
                {
                    **entry,
                    "image_id": record["image_id"],
                    "mask": masks.encode(mask),
                    "hides": hides,
                }
            )
    write_json(json_file, {"images": images, "annotations": entries, "categories": categories})


CHECKABLE = set(table.checkable())

# --- its row

TOY = table.Format(
    name="toy",
    what="toy.json",
    files=("toy.json",),
    load=load_toy,
    save=save_toy,
    tell=lambda data, keys: "hides" in keys,
    marks="toys 'hides'",
    mask_keys=lambda data: {"modal": "mask"},
    standard=True,
    evaluators=("OrderResults",),
)


@pytest.fixture(autouse=True)
def _added(monkeypatch):
    monkeypatch.setitem(table.FORMATS, "toy", TOY)


@pytest.fixture
def data(records, categories, tmp_path):
    return DataSet(records, categories, str(tmp_path / "images"))


def test_it_is_converted_to_and_from(data, tmp_path):
    (file,), differences = convert(data, "toy", tmp_path / "out")
    assert file == tmp_path / "out" / "toy.json"
    assert not differences.changed and "whole masks" in differences.lost
    back = read_dataset("toy", file, images=data.image_root)
    assert back.categories == data.categories
    for record, before in zip(back.records, data.records, strict=True):
        assert np.array_equal(record["occlusion"], before["occlusion"])
        assert record["file_name"] == before["file_name"]
    parser = argparse.ArgumentParser()
    add_input_options(parser)
    assert parser.parse_args(["--from", "toy", "--input", str(file)]).format == "toy"


def test_it_is_told_and_checked(data, tmp_path, capsys):
    (file,), _ = convert(data, "toy", tmp_path)
    assert detect_format(str(file), read_json(file)) == "toy"
    found = validate(file, images=data.image_root)
    assert found.errors == [] and found.counts["images"] == len(data.records)
    broken = read_json(file)
    height, width = data.records[0]["height"], data.records[0]["width"]
    broken["annotations"][1]["mask"] = masks.encode(np.zeros((height, width), bool))
    write_json(file, broken)
    with pytest.raises(ValueError, match="cannot tell the format.*toys 'hides'"):
        detect_format("x.json", {"annotations": [{"nothing": 1}]})
    (error,) = validate(file, format="toy").errors
    assert "annotation" in error and "covers no pixel" in error


def test_it_is_found_and_registered_where_it_lies(data, tmp_path):
    catalog = pytest.importorskip("detectron2.data")
    from occ_order.formats import builtin

    folder = tmp_path / "datasets" / "own" / "toys" / "train"
    convert(data, "toy", folder)
    ((name, kind, paths),) = find_own(tmp_path / "datasets")
    assert (name, kind) == ("own_toys_train_toy", "toy")
    assert paths == [folder / "toy.json", folder / "images"]
    builtin.register_own(tmp_path / "datasets")
    try:
        records = catalog.DatasetCatalog.get(name)
        entry = catalog.MetadataCatalog.get(name)
        assert len(records) == len(data.records) and entry.evaluator_type == "toy"
        assert entry.thing_classes == [c["name"] for c in data.categories]
        assert builtin.validation_arguments(name)["path"] == str(folder / "toy.json")
    finally:
        catalog.DatasetCatalog.remove(name)
        catalog.MetadataCatalog.remove(name)


def test_results_are_scored_by_it(data, tmp_path, capsys):
    (file,), _ = convert(data, "toy", tmp_path)
    predictions = tmp_path / "order_results.json"
    save_results(predictions, [results_of(r, data.categories) for r in load_toy(file, "")])
    options = ["--gt", str(file), "--format", "toy", "--predictions", str(predictions)]
    assert main(["score", *options, "--json", str(tmp_path / "scores.json")]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scalars"]
    assert scores["occlusion/f1"] == 100


def test_scenes_are_written_in_it(tmp_path):
    make(tmp_path, scene_parameters(train=2, size=(48, 64), instances=(2, 3)))
    records = load_toy(tmp_path / "annotations" / "toy_train.json", tmp_path / "train" / "images")
    assert len(records) == 2 and all(Path(record["file_name"]).is_file() for record in records)
    assert read_categories(tmp_path / "annotations" / "toy_train.json")


def test_the_document_lists_every_format():
    lines = (ROOT / "datasets" / "README.md").read_text(encoding="utf-8").split("\n")
    rows = [line for line in lines if line.startswith("| `") and line.count("|") == 6]
    names = [row.name for row in table.ROWS]
    start = next(k for k, line in enumerate(rows) if line.startswith("| `labelme` |"))
    assert rows[start : start + len(names)] == [in_words(row) for row in table.ROWS]


def in_words(row: table.Format) -> str:
    """The row of a format in datasets/README.md."""
    converted = "yes" if row.save else "from" if row.pages else ""
    masks, checked = ("yes" if there else "" for there in (row.pages, row.name in CHECKABLE))
    return f"| `{row.name}` | {row.what} | {converted} | {masks} | {checked} |"


SAID = {
    "scores": "scores",
    "names": "names beside the class",
    "classes": "classes, which become free text",
    "ids": "ids, unless",
}
"""Words of the table of formats for what a format loses."""


@pytest.mark.parametrize("format", table.convertible())
def test_the_document_says_what_a_format_loses(format):
    text = (ROOT / "datasets" / "OWN_DATA.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{format}` |"))
    _, _, whole, occlusion, depth, others, _ = (cell.strip() for cell in row.split("|"))
    loses = set(table.FORMATS[format].loses)
    assert (whole == "lost") == ("amodal" in loses) and occlusion != "lost"
    assert (depth == "lost") == ("depth" in loses)
    if depth != "lost":  # how many were asked about it goes with it
        assert ("how many people were asked" in others) == ("count" in loses)
    assert {key for key, words in SAID.items() if words in others} == loses & SAID.keys()
