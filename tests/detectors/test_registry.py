"""Detectors that need no PyTorch: functions, and what somebody's detector has written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from occ_order.detectors.detector import Detector
from occ_order.detectors.of_file import image_id_of
from occ_order.detectors.registry import ADAPTERS, build_detector
from occ_order.detectors.sources import CONFIG_ENDINGS, PREFIXES
from occ_order.instances import OrderedInstances
from occ_order.masks import encode

SIZE = (6, 9)
IMAGE = np.full((*SIZE, 3), 80, np.uint8)


def square(y, x, side=2):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


A, B = square(0, 0), square(2, 3, 3)
EMPTY = np.zeros(SIZE, bool)


def test_every_kind_has_its_adapter():
    assert set(ADAPTERS) == {*PREFIXES, *CONFIG_ENDINGS.values(), "file"}


# --- functions


def test_a_function_gets_the_image_as_rgb_and_gives_whatever_holds_masks(tmp_path):
    seen = []

    def find(image):
        seen.append(image)
        return {"masks": np.stack([A, B])[:, None] * 0.8, "labels": [3, 1], "scores": [0.9, 0.2]}

    red = np.zeros((*SIZE, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "cup.png")
    found = build_detector(find)(tmp_path / "cup.png")
    assert seen[0].dtype == np.uint8 and np.array_equal(seen[0], red)
    assert np.array_equal(found.modal, [A, B]) and found.classes.tolist() == [3, 1]
    assert found.scores.tolist() == [0.9, 0.2] and np.array_equal(found.image, red)
    assert (found.image_id, found.file_name) == ("cup", "cup.png")


def test_names_of_classes_are_kept():
    """Of a class that no name is known of, too."""
    said = {"masks": np.stack([A, B]), "labels": [1, 2], "scores": [0.9, 0.8]}
    detector = Detector(lambda pixels, name: said, "two things", class_names=["cat", "dog"])
    found = build_detector(detector)(IMAGE)
    assert found.names == ("dog", "") and found.label(0) == "dog 1"
    known = OrderedInstances(0, SIZE, A[None], names=("cup",))
    assert build_detector(lambda _: known)(IMAGE).label(0) == "cup 1"


def test_low_scores_and_masks_without_a_pixel_are_left_out():
    known = OrderedInstances(
        0, SIZE, np.stack([A, B, EMPTY]), scores=np.array([0.5, 0.49, 0.9]), names=("a", "b", "c")
    )
    assert build_detector(lambda _: known)(IMAGE).names == ("a", "b")
    assert build_detector(lambda _: known, score_threshold=0.5)(IMAGE).names == ("a",)


def test_a_pixel_that_several_claim_is_of_the_best_one():
    row = np.zeros((3, *SIZE), bool)
    row[0, 0, :3] = row[1, 0, 2:5] = row[2, 0, 3:6] = True  # of the third, one of three is left
    said = {"masks": row, "labels": [1, 2, 3], "scores": [0.8, 0.9, 0.7]}
    found = build_detector(lambda _: said)(IMAGE)
    assert found.classes.tolist() == [1, 2]
    assert np.array_equal(found.modal, [row[0] & ~row[1], row[1]])
    whole = OrderedInstances(0, SIZE, row, amodal=row)
    assert np.array_equal(build_detector(lambda _: whole)(IMAGE).modal, row)


def test_nothing_found_is_nothing():
    assert build_detector(lambda _: np.zeros((0, *SIZE), bool))(IMAGE).modal.shape == (0, *SIZE)


def test_what_a_function_gives_wrong_is_said():
    with pytest.raises(ValueError, match=r"must be \(N, 6, 9\) as the image is, got \(1, 4, 4\)"):
        build_detector(lambda _: np.ones((1, 4, 4), bool))(IMAGE)
    with pytest.raises(ValueError, match="masks may be .*; got NoneType"):
        build_detector(lambda _: None)(IMAGE)


@pytest.mark.parametrize(
    ("source", "weights", "message"),
    [
        (3, None, "a name, a file or a function, got int"),
        (len, "w.pth", "weights are for a detector of torchvision or Detectron2, not .* len"),
        ("oosis_mini_scenes", "w.pth", "not oosis_mini_scenes"),
    ],
)
def test_bad_choices(source, weights, message):
    with pytest.raises(ValueError, match=message):
        build_detector(source, weights=weights)


# --- results in a file


def entry(mask, image_id, score=0.5):
    rle = encode(mask)
    return {"image_id": image_id, "category_id": 3, "segmentation": rle, "score": score}


@pytest.fixture
def results(tmp_path):
    """COCO results of two images, and the files of three."""
    entries = [entry(A, 7, 0.2), entry(B, 7, 0.9), entry(B, 8)]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    for name in ("0007", "COCO_val_0008", "0009", "cup"):
        Image.fromarray(IMAGE).save(tmp_path / f"{name}.png")
    return tmp_path


def test_results_of_several_images_are_told_apart_by_file_names(results):
    detector = build_detector(results / "results.json")
    first, second = detector(results / "0007.png"), detector(results / "COCO_val_0008.png")
    assert first.image_id == 7 and first.file_name == "0007.png"
    assert np.array_equal(first.modal, [B, A]) and first.scores.tolist() == [0.9, 0.2]
    assert first.classes.tolist() == [3, 3]
    assert second.image_id == 8 and np.array_equal(second.modal, [B])
    assert np.array_equal(detector(IMAGE, file="x/0007.jpg").modal, first.modal)
    surer = build_detector(results / "results.json", score_threshold=0.5)
    assert np.array_equal(surer(results / "0007.png").modal, [B])


def test_an_image_without_a_result_has_no_instance_and_the_log_says_so(results, caplog):
    assert len(build_detector(results / "results.json")(results / "0009.png")) == 0
    assert "results.json: no result is of image 9" in caplog.text


def test_an_image_that_tells_no_id_is_refused(results):
    detector = build_detector(results / "results.json")
    with pytest.raises(ValueError, match=r"no result is of an image 'cup.png'; there are \[7, 8\]"):
        detector(results / "cup.png")
    with pytest.raises(ValueError, match="several images; give the image as a file"):
        detector(IMAGE)


def test_ids_may_be_texts():
    assert image_id_of("a_1.jpg", ["a_1", 1], "r") == "a_1"
    assert image_id_of("a_1.jpg", ["a_1.jpg"], "r") == "a_1.jpg"


def test_whole_objects_of_a_file_are_kept(tmp_path):
    region = {"segmentation": encode(A | B), "visible_mask": encode(B), "score": 0.5}
    file = tmp_path / "amodal.json"
    file.write_text(json.dumps([{"image_id": 7, "regions": [region]}]))
    found = build_detector(file)(IMAGE, file="7.png")
    assert np.array_equal(found.modal, [B]) and np.array_equal(found.amodal, [A | B])


def test_a_results_list_of_one_image_and_masks_in_a_folder_need_no_ids(tmp_path):
    file = tmp_path / "one.json"
    file.write_text(json.dumps([entry(A, 7), entry(B, 7)]))
    assert np.array_equal(build_detector(file)(IMAGE).modal, [A, B])
    (tmp_path / "labels").mkdir()
    Image.fromarray(A.astype(np.uint8) * 4).save(tmp_path / "labels" / "cup.png")
    found = build_detector(tmp_path / "labels")(IMAGE, file="cup.jpg")
    assert np.array_equal(found.modal, [A]) and found.ids == (4,)


def test_a_panoptic_file_is_read_with_the_names_of_its_classes(tmp_path):
    """A segment's id is R + 256 G + 65536 B; stuff is no instance."""
    ids = np.zeros((*SIZE, 3), np.uint8)
    ids[A] = (3, 1, 0)
    ids[B] = (9, 0, 0)
    (tmp_path / "panoptic").mkdir()
    Image.fromarray(ids).save(tmp_path / "panoptic" / "cup.png")
    segments = [
        {"id": 259, "category_id": 4, "score": 0.75, "iscrowd": 0},
        {"id": 9, "category_id": 5, "iscrowd": 0},
    ]
    annotation = {"image_id": 7, "file_name": "cup.png", "segments_info": segments}
    kinds = [{"id": 4, "name": "cup", "isthing": 1}, {"id": 5, "name": "sky", "isthing": 0}]
    file = tmp_path / "panoptic.json"
    file.write_text(json.dumps({"annotations": [annotation], "categories": kinds}))
    found = build_detector(file)(IMAGE, file="cup.jpg")
    assert np.array_equal(found.modal, [A]) and found.names == ("cup",)
    assert found.scores.tolist() == [0.75] and found.image_id == 7


def test_masks_of_sam_in_a_file_have_its_scores(tmp_path):
    masks = [
        {"segmentation": encode(mask), "predicted_iou": score, "stability_score": 0.9, "area": 4}
        for mask, score in ((A, 0.75), (B, 0.5))
    ]
    file = tmp_path / "cup.json"
    file.write_text(json.dumps(masks))
    found = build_detector(file, score_threshold=0.6)(IMAGE, file="cup.jpg")
    assert np.array_equal(found.modal, [A]) and found.scores.tolist() == [0.75]


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "bad.json"
    file.write_text("[")
    with pytest.raises(ValueError, match=r"bad\.json: not a JSON file"):
        build_detector(file)
