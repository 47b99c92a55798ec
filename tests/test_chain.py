"""What `predict` writes is scored, viewed, converted and ordered again, by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from occ_order import load_all
from occ_order.cli import main
from occ_order.formats import save_instaorder
from occ_order.formats.convert import read_dataset
from occ_order.scenes import CLASSES, generate, to_record

CONFIG = "configs/InstaOrder/scenes/area.yaml"


@pytest.fixture
def place(tmp_path, pytestconfig):
    """Images of two scenes, their masks as one COCO file, and their annotated order."""
    images, annotations, records = [], [], []
    (tmp_path / "photos").mkdir()
    for number, seed in ((41, 3), (42, 5)):
        scene = generate(seed, size=(72, 96), num_instances=4)
        name = f"{number}.png"
        Image.fromarray(scene.image).save(tmp_path / "photos" / name)
        record = to_record(scene, image_id=number, file_name=str(tmp_path / "photos" / name))
        for annotation in record["annotations"]:
            annotation["id"] += 10 * number
        records.append(record)
        images.append({"id": number, "file_name": name, "height": 72, "width": 96})
        annotations += [
            {key: one[key] for key in ("id", "category_id", "segmentation", "bbox", "iscrowd")}
            | {"image_id": number}
            for one in record["annotations"]
        ]
    names = [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)]
    data = {"images": images, "annotations": annotations, "categories": names}
    (tmp_path / "masks.json").write_text(json.dumps(data))
    files = (tmp_path / "order.json", tmp_path / "instances.json")
    save_instaorder(records, *files, names, image_root=tmp_path / "photos")
    config = str(pytestconfig.rootpath / CONFIG)
    words = ["predict", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks.json")]
    words += ["--config-file", config, "--output", str(tmp_path / "out"), "--json-only"]
    assert main(words) == 0
    return tmp_path, data


def test_predictions_on_masks_of_a_coco_file_are_scored_by_its_ids(place):
    folder, data = place
    results = load_all(folder / "out" / "order_results.json")
    assert [one.image_id for one in results] == [41, 42]
    assert [number for one in results for number in one.ids] == [
        annotation["id"] for annotation in data["annotations"]
    ]
    assert set(results[0].names) <= set(CLASSES)
    words = ["score", "--gt", str(folder / "order.json"), "--format", "instaorder"]
    words += ["--instances", str(folder / "instances.json"), "--match", "id", "--predictions"]
    words += [str(folder / "out" / "order_results.json"), "--json", str(folder / "scores.json")]
    assert main(words) == 0
    report = json.loads((folder / "scores.json").read_text())
    assert report["counts"]["images"] == 2
    assert report["counts"]["unmatched_gt_instances"] == 0
    assert report["scalars"]["occlusion/recall"] is not None


def test_predictions_are_scored_by_the_file_that_gave_the_masks(place):
    """The COCO file itself is the ground truth, with order.csv beside it."""
    folder, data = place
    results = str(folder / "out" / "order_results.json")
    words = ["convert", "--from", "instaorder", "--input", str(folder / "order.json")]
    words += ["--instances", str(folder / "instances.json"), "--images", str(folder / "photos")]
    assert main([*words, "--to", "coco", "--output", str(folder / "truth")]) == 0
    truth = ["--gt", str(folder / "truth" / "instances.json"), "--format", "coco"]
    words = ["score", *truth, "--images", str(folder / "photos"), "--match", "id"]
    scores = folder / "scores.json"
    assert main([*words, "--predictions", results, "--json", str(scores)]) == 0
    counts = json.loads(scores.read_text())["counts"]
    assert counts["images"] == 2 and counts["unmatched_gt_instances"] == 0
    assert counts["gt_instances"] == len(data["annotations"])


def test_many_images_in_parts_take_the_ids_of_the_file_of_masks(place, pytestconfig, capsys):
    folder, data = place
    masks = folder / "masks.json"
    words = ["predict", str(folder / "photos"), "--output", str(folder / "parts")]
    words += ["--config-file", str(pytestconfig.rootpath / CONFIG), "--part-size", "1"]
    words += ["--shard", "0/1", "--masks", str(masks)]
    assert main(words) == 0
    found = (folder / "parts" / "order_results.json").read_bytes()
    assert found == (folder / "out" / "order_results.json").read_bytes()
    capsys.readouterr()
    data["annotations"][0]["segmentation"] = {"size": [72, 96], "counts": [1]}
    masks.write_text(json.dumps(data))
    assert main(words) == 2
    assert "holds the results of another run (settings: " in capsys.readouterr().err
    words[words.index(str(folder / "parts"))] = str(folder / "again")
    assert main(words) == 1
    assert "41.png: " in capsys.readouterr().err
    assert [one.image_id for one in load_all(folder / "again" / "order_results.json")] == [42]


def test_predictions_are_viewed_and_converted_into_data_to_train_on(place):
    folder, data = place
    results, photos = str(folder / "out"), str(folder / "photos")
    page = folder / "view.html"
    assert main(["view", "--results", results, "--images", photos, "--output", str(page)]) == 0
    assert "41.png" in page.read_text(encoding="utf-8")
    words = ["convert", "--from", "results", "--input", f"{results}/order_results.json"]
    words += ["--images", photos, "--to", "instaorder", "--output", str(folder / "made")]
    assert main(words) == 0
    back = read_dataset(
        "instaorder",
        folder / "made" / "instaorder.json",
        instances=folder / "made" / "instances.json",
        images=photos,
    )
    found = {category["id"]: category["name"] for category in back.categories}
    assert found.items() <= dict(enumerate(CLASSES, start=1)).items()
    assert sum(len(record["annotations"]) for record in back.records) == len(data["annotations"])
    predicted = load_all(folder / "out" / "order_results.json")
    for record, one in zip(back.records, predicted, strict=True):
        assert np.array_equal(record["occlusion"], one.occlusion)


def test_predictions_are_masks_for_another_prediction(place, pytestconfig):
    folder, _ = place
    first = folder / "out" / "order_results.json"
    words = ["predict", str(folder / "photos"), "--masks", str(first), "--json-only"]
    words += ["--config-file", str(pytestconfig.rootpath / CONFIG)]
    assert main([*words, "--output", str(folder / "again")]) == 0
    assert json.loads((folder / "again" / "order_results.json").read_text()) == json.loads(
        first.read_text()
    )
