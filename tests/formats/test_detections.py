"""Results files of other programs, image by image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from occ_order.formats.detections import DetectionFile, mask_times_class_scores
from occ_order.masks import encode

SIZE = (6, 9)


def square(y, x, side=2):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


A, B = square(0, 0), square(2, 3, 3)


@pytest.fixture
def write(tmp_path):
    """Writes a JSON file and opens it."""

    def opened(data, **options):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return DetectionFile(path, **options)

    return opened


def entry(mask, score=0.5, category=3, image_id=7):
    return {
        "image_id": image_id,
        "category_id": category,
        "segmentation": encode(mask),
        "score": score,
    }


def test_coco_results_are_read_by_image_best_first(write):
    file = write([entry(A, 0.2), entry(B, 0.9, category=4), entry(A, 0.7, image_id=8)])
    found = file.image(7, *SIZE)
    assert file.kind == "coco" and file.image_ids == [7, 8]
    assert np.array_equal(found.modal, [B, A]) and found.amodal is None
    assert found.scores.tolist() == [0.9, 0.2] and found.category_ids.tolist() == [4, 3]


@pytest.mark.parametrize("key", ["visible_mask", "inmodal_seg"])
def test_of_coco_results_with_a_visible_mask_the_other_mask_is_amodal(write, key):
    """As in COCOA-cls and KINS; an instance without the key is not occluded."""
    results = [{**entry(A | B, 0.9), key: encode(A)}, entry(B, 0.2)]
    found = write(results).image(7, *SIZE)
    assert np.array_equal(found.modal, [A, B])
    assert np.array_equal(found.amodal, [A | B, B])


def test_an_image_that_the_file_does_not_name_has_no_instance(write):
    found = write([entry(A)]).image(99, *SIZE)
    assert len(found) == 0 and found.modal.shape == (0, *SIZE)
    assert write([]).image(7, *SIZE).modal.shape == (0, *SIZE)


def test_the_same_score_for_all(write):
    """OOSIS Table 2, "same score": the first version assigns the same score to all masks."""
    file = write([entry(A, 0.2), entry(B, 0.9)], scores="same")
    assert file.image(7, *SIZE).scores.tolist() == [1, 1]
    assert np.array_equal(file.image(7, *SIZE).modal, [A, B])


def test_results_of_this_project(write):
    instances = [{"id": 1, "category_id": 2, "score": 0.5, "segmentation": encode(A)}]
    image = {"image_id": "a", "height": 6, "width": 9, "instances": instances, "occlusion": []}
    found = write({"format": "occ_order/1", "images": [image]}).image("a", *SIZE)
    assert np.array_equal(found.modal, [A]) and found.amodal is None
    instances[0]["amodal_segmentation"] = encode(A | B)
    found = write({"format": "occ_order/1", "images": [image]}).image("a", *SIZE)
    assert np.array_equal(found.amodal, [A | B])


def test_a_panoptic_segmentation(write, tmp_path):
    """A segment's id is R + 256 G + 65536 B of its pixels; stuff stands among the segments."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[A], pixels[B] = (5, 1, 0), (0, 0, 2)
    (tmp_path / "results").mkdir()
    Image.fromarray(pixels).save(tmp_path / "results" / "7.png")
    segments = [
        {"id": 5 + 256, "category_id": 1, "score": 0.4},
        {"id": 2 * 65536, "category_id": 2, "score": 0.6},
        {"id": 0, "category_id": 9, "isthing": False},
    ]
    data = {"annotations": [{"image_id": 7, "file_name": "7.png", "segments_info": segments}]}
    file = write(data)
    found = file.image(7, *SIZE)
    assert file.kind == "panoptic" and np.array_equal(found.modal, [B, A])
    assert found.category_ids.tolist() == [2, 1] and found.scores.tolist() == [0.6, 0.4]
    with pytest.raises(ValueError, match=r"7.png: is \(6, 9\), expected \(3, 3\)"):
        file.image(7, 3, 3)
    segments[1]["id"] = 77
    with pytest.raises(ValueError, match="image 7: 7.png has no pixel of segment 77"):
        write(data).image(7, *SIZE)
    data["annotations"][0]["file_name"] = "../7.png"
    with pytest.raises(ValueError, match=r"\.\."):
        write(data).image(7, *SIZE)


def test_results_of_the_amodal_api(write):
    whole = encode(A | B)
    regions = [
        {"segmentation": whole, "score": 0.9, "invisible_mask": encode(A)},
        {"segmentation": whole, "score": 0.8, "visible_mask": encode(A)},
        {"segmentation": whole, "score": 0.7},
    ]
    file = write([{"image_id": 7, "id": 1, "regions": regions}])
    found = file.image(7, *SIZE)
    assert file.kind == "amodal" and found.category_ids.tolist() == [1, 1, 1]
    assert np.array_equal(found.amodal, [A | B] * 3)
    assert np.array_equal(found.modal, [B, A, A | B])
    assert file.image(8, *SIZE).amodal.shape == (0, *SIZE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"annotations": [{"id": 1}]}, "results.json: expected COCO results"),
        ([3], "results.json: expected COCO results"),
        ([{**entry(A), "image_id": None}], "entry 0 has no image_id"),
        ([{**entry(A), "score": "high"}], "image 7: instance 0: 'score' must be a finite number"),
        ([{**entry(A), "score": float("nan")}], "instance 0: 'score' must be a finite number"),
        ([{**entry(A), "category_id": 1.5}], "instance 0: 'category_id' must be an integer"),
        ([{**entry(A), "category_id": 10**30}], "instance 0: 'category_id' must be an integer"),
        ([{**entry(A), "score": 10**30}], "instance 0: 'score' must be a finite number"),
        ([{**entry(A), "segmentation": {"size": [2, 2], "counts": [4]}}], "image 7: instance 0"),
        ([{"image_id": 7, "segmentation": None, "score": 1}], "image 7: instance 0"),
        ([{"image_id": 7, "regions": 4}], "image 7: 'regions' must be a list of objects"),
        ({"annotations": [{"image_id": 7, "segments_info": []}]}, "needs 'file_name'"),
    ],
)
def test_damage_names_the_file_and_the_entry(write, data, message):
    with pytest.raises(ValueError, match=message):
        write(data).image(7, *SIZE)


def test_no_json(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json: not a JSON file"):
        DetectionFile(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        DetectionFile(tmp_path / "b.json")
    with pytest.raises(ValueError, match="scores must be one of"):
        DetectionFile(tmp_path / "a.json", scores="best")


def test_score_of_mask_times_class():
    """OOSIS, Section 5.5: "multiplying the mask confidence score and class confidence score of each
    pixel"."""
    prob = np.zeros((2, 1, 4))
    prob[0, 0], prob[1, 0] = [0.9, 0.7, 0.2, 0.1], [0.1, 0.1, 0.6, 1.0]
    found = np.zeros((2, 1, 4), bool)
    found[0, 0, :2] = found[1, 0, 2:3] = True
    scores = mask_times_class_scores(prob, [0.5, 0.8], found)
    assert scores.tolist() == pytest.approx([0.5 * (0.9 + 0.7) / 2, 0.8 * 0.6])
    assert mask_times_class_scores(prob, [0.5, 0.8], found & False).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"masks \(2, 1, 4\) need"):
        mask_times_class_scores(prob[:1], [0.5, 0.8], found)
