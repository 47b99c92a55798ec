"""`occ-order score` on files of every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from occ_order.cli import main
from occ_order.formats import cocoa, cocoa_cls, instaorder, kins
from occ_order.order.io import load_results, results_image, save_results
from occ_order.scenes import CLASSES, generate, to_record

ROOT = Path(__file__).resolve().parents[2]

SIZE = (64, 80)
CATEGORIES = [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)]
FORMATS = ("instaorder", "cocoa", "cocoa_cls", "kins")


@pytest.fixture
def files(tmp_path):
    """Three scenes in every format, and exact predictions of them."""
    records, images, first_id = [], [], 1
    for image_id in (1, 2, 3):
        scene = generate(image_id, size=SIZE, num_instances=4)
        record = to_record(scene, image_id=image_id, file_name=f"{image_id}.png")
        for annotation in record["annotations"]:
            annotation["id"], first_id = first_id, first_id + 1
        records.append(record)
        images.append(
            results_image(
                image_id=image_id,
                height=SIZE[0],
                width=SIZE[1],
                modal=scene.modal,
                classes=scene.classes + 1,
                scores=np.linspace(0.9, 0.6, len(scene.classes)),
                occlusion=scene.occlusion,
                depth=scene.depth,
                overlap=scene.overlap,
                ids=[annotation["id"] for annotation in record["annotations"]],
            )
        )
    order, instances = tmp_path / "order_val2017.json", tmp_path / "instances_val2017.json"
    instaorder.save_instaorder(records, order, instances, CATEGORIES)
    cocoa.save_cocoa(records, tmp_path / "cocoa.json")
    cocoa_cls.save_cocoa_cls(records, tmp_path / "cocoa_cls.json", CATEGORIES)
    kins.save_kins(records, tmp_path / "kins.json", CATEGORIES)
    save_results(tmp_path / "order_results.json", images)
    return tmp_path


def arguments(files, name, *more):
    gt = files / ("order_val2017.json" if name == "instaorder" else f"{name}.json")
    line = ["score", "--gt", gt, "--format", name, "--predictions", files / "order_results.json"]
    if name == "instaorder":
        line += ["--instances", files / "instances_val2017.json"]
    return [str(part) for part in (*line, *more)]


@pytest.mark.parametrize("name", FORMATS)
def test_exact_predictions_in_every_format(files, name, capsys):
    out = files / "out.json"
    assert main(arguments(files, name, "--class-agnostic", "--json", out)) == 0
    report = json.loads(out.read_text())
    scalars = report["scalars"]
    assert scalars["modal/AP"] == scalars["coverage/weighted"] == pytest.approx(100)
    assert report["counts"]["images"] == 3
    printed = capsys.readouterr().out
    assert "occlusion/recall" in printed and "OAIR by IoU" in printed
    assert scalars["occlusion/recall"] == scalars["oair/recall_50"] == 100
    if name == "instaorder":
        assert scalars["depth/whdr_all"] == 0 and scalars["occlusion/precision"] == 100
    else:
        assert scalars["depth/whdr_all"] is None
        assert "the ground truth has no depth order" in printed


def test_every_format_gives_the_same_keys(files):
    keys = []
    for name in FORMATS:
        out = files / f"{name}_out.json"
        assert main(arguments(files, name, "--json", out)) == 0
        report = json.loads(out.read_text())
        keys.append([list(report[part]) for part in ("scalars", "curves", "counts")])
    assert keys[0] == keys[1] == keys[2] == keys[3]
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyzAPR0123456789/_") for key in keys[0][0])


def test_reversed_order_scores_nothing(files):
    images = load_results(files / "order_results.json")
    for image in images:
        image["occlusion"] = [[j, i, p] for i, j, p in image["occlusion"]]
        image["depth"] = [
            [j, i, r, *rest] if r == "closer" else [i, j, r, *rest]
            for i, j, r, *rest in image["depth"]
        ]
    save_results(files / "order_results.json", images)
    out = files / "out.json"
    assert main(arguments(files, "instaorder", "--match", "id", "--json", out)) == 0
    scalars = json.loads(out.read_text())["scalars"]
    assert scalars["occlusion_unidirectional/recall"] == 0 and scalars["oair/accuracy_50"] == 0
    assert scalars["depth/whdr_all_not_equal"] == 100


def test_missing_images_are_counted_and_unknown_ones_refused(files, capsys):
    images = load_results(files / "order_results.json")
    save_results(files / "order_results.json", images[:1])
    assert main(arguments(files, "instaorder")) == 0
    assert "2 of 3 images have no predictions" in capsys.readouterr().out
    save_results(files / "order_results.json", [*images, {**images[0], "image_id": 77}])
    assert main(arguments(files, "instaorder")) == 2
    message = capsys.readouterr().err
    assert "predictions for 1 images" in message and "77" in message


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"format": "occ_order/1"}'])
def test_damaged_predictions_name_the_file(files, capsys, content):
    (files / "order_results.json").write_text(content)
    assert main(arguments(files, "cocoa")) == 2
    printed = capsys.readouterr()
    assert "order_results.json" in printed.err and printed.out == ""


def test_damaged_or_missing_ground_truth(files, capsys):
    (files / "cocoa.json").write_text('{"images": [')
    assert main(arguments(files, "cocoa")) == 2
    assert "cocoa.json" in capsys.readouterr().err
    (files / "cocoa.json").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(arguments(files, "cocoa"))
    assert "cocoa.json" in capsys.readouterr().err


def test_json_that_cannot_be_written(files, capsys):
    assert main(arguments(files, "kins", "--json", files / "missing" / "out.json")) == 2
    assert "missing" in capsys.readouterr().err
    assert main(arguments(files, "kins", "--json", files)) == 2  # a folder
    assert not [path for path in files.parent.rglob("*.tmp")]


def test_instances_file_goes_with_instaorder_only(files, capsys):
    with pytest.raises(SystemExit):
        main(arguments(files, "instaorder")[:-2])
    with pytest.raises(SystemExit):
        main(arguments(files, "cocoa", "--instances", files / "kins.json"))
    assert "--instances" in capsys.readouterr().err


def test_runs_where_torch_and_detectron2_are_missing(files, run_bare):
    code = "from occ_order.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    assert "occlusion/recall" in run_bare(code, *arguments(files, "kins")).stdout
