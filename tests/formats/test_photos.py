"""Photographs with measured order: a corpus made here, damaged copies of it, and a real one."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from occ_order import masks
from occ_order.cli import main
from occ_order.formats import load_photos, read_depth, read_photo_categories, save_photos
from occ_order.formats.photos import GAP
from occ_order.formats.statistics import order_statistics
from occ_order.formats.validate import validate
from occ_order.metrics import given_mask_row, given_mask_scores
from occ_order.order import bottom_edge_order, check_depth, check_occlusion, io

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 24, 48


def bar(left, right):
    """RLE of whole columns of the image; column `right` is outside."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, left:right] = True
    return masks.encode(mask)


def instance(number, image_id, left, right, category="cup", **more):
    own = {"id": number, "image_id": image_id, "category": category, "modal": bar(left, right)}
    return {**own, "amodal": None, **more}


def corpus():
    """Five bars in the first image, from left to right:

    1 (cup, 0-9), 2 (wall, 10-19, stuff), 3 (cup, 22-29, whole), a gap of GAP, 4 (38-43), and 5 over
    all of 3 and more. Image 2 is of the other split; image 3 has no instance.
    """
    size = {"width": WIDTH, "height": HEIGHT}
    return {
        "source": "bars",
        "depth_unit": 0.01,
        "images": [
            {"id": 1, "file": "images/1.png", "split": "train", "depth_file": "d/1.png", **size},
            {"id": 2, "file": "images/2.png", "split": "val", **size},
            {"id": 3, "file": "images/3.png", "split": "train", **size},
        ],
        "instances": [
            instance(11, 1, 0, 10),
            instance(12, 1, 10, 20, "wall", stuff=1),
            instance(13, 1, 22, 30, amodal=bar(22, 32), complete="seen from all sides"),
            instance(21, 2, 0, 5, "plate"),
            instance(14, 1, 30 + GAP, 44),
            instance(15, 1, 45, 48),
        ],
        "occlusion": [
            [1, 11, 12, "kinect_step", 0.3],
            [1, 13, 12, "weak_ground_contact"],
        ],
        "depth_order": [
            [1, 11, 12, "kinect_distinct"],
            [1, 13, 14, "kinect_overlap"],
            [1, 15, 11, "asked"],
            [1, 15, 12, "weak_ground_contact"],
        ],
    }


@pytest.fixture
def write(tmp_path):
    """Writes a corpus; returns its json file and its folder."""

    def save(data):
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return path, tmp_path

    return save


def test_masks_classes_and_what_is_known_of_the_whole_object(write):
    path, root = write(corpus())
    first, empty = load_photos(path, root, split="train")
    assert (first["image_id"], empty["image_id"]) == (1, 3)
    assert first["file_name"] == str(root / "images" / "1.png")
    assert (first["height"], first["width"]) == (HEIGHT, WIDTH)
    assert read_photo_categories(path) == [
        {"id": 1, "name": "cup"},
        {"id": 2, "name": "plate"},
        {"id": 3, "name": "wall"},
    ]
    found = first["annotations"]
    assert [one["id"] for one in found] == [11, 12, 13, 14, 15]
    assert [one["category_id"] for one in found] == [1, 3, 1, 1, 1]
    assert [one["is_stuff"] for one in found] == [0, 1, 0, 0, 0]
    assert {one["iscrowd"] for one in found} == {0}
    assert found[1]["bbox"] == [10, 0, 20, HEIGHT]
    assert found[2]["segmentation"] == bar(22, 30)
    assert found[2]["amodal_segmentation"] == bar(22, 32)
    assert found[2]["amodal_bbox"] == [22, 0, 32, HEIGHT]
    assert found[2]["complete"] == "seen from all sides"
    # null says that the whole is unknown, not that it is the visible part.
    assert [k for k, one in enumerate(found) if "amodal_segmentation" in one] == [2]


def test_pairs_that_meet_and_are_not_listed_are_unknown(write):
    path, root = write(corpus())
    first, empty = load_photos(path, root, split="train")
    # 11 and 12 are listed; 12-13 (two pixels apart, listed as a rule only), 13-14 (GAP apart) and
    # 14-15 meet; 13-15 and 12-14 are farther apart than GAP.
    expected = np.zeros((5, 5), np.int8)
    expected[0, 1] = 1
    for a, b in ((1, 2), (2, 3), (3, 4)):
        expected[a, b] = expected[b, a] = -1
    np.testing.assert_array_equal(first["occlusion"], expected)
    assert first["occlusion"].dtype == np.int8
    assert empty["occlusion"].shape == (0, 0)
    assert empty["annotations"] == []


def test_depth_and_overlap_are_known_for_listed_pairs_only(write):
    path, root = write(corpus())
    first, empty = load_photos(path, root, split="train")
    depth, overlap = np.full((5, 5), -1), np.full((5, 5), -1)
    depth[0, 1], depth[1, 0] = 1, 0
    overlap[0, 1] = overlap[1, 0] = 0
    depth[2, 3], depth[3, 2] = 1, 0
    overlap[2, 3] = overlap[3, 2] = 1
    depth[4, 0], depth[0, 4] = 1, 0  # its provenance says nothing about the ranges
    np.testing.assert_array_equal(first["depth"], depth)
    np.testing.assert_array_equal(first["overlap"], overlap)
    assert (first["count"] == -1).all()
    assert [first[key].dtype for key in ("depth", "overlap", "count")] == [
        np.int8,
        np.int8,
        np.int16,
    ]
    assert empty["depth"].shape == (0, 0)


def test_a_file_may_list_what_is_not_annotated_and_mutual_occlusion(write):
    data = corpus()
    data["occlusion"] = [[1, 11, 12, "known"], [1, 14, 15, "known"], [1, 15, 14, "known"]]
    data["unknown_occlusion"] = [[1, 15, 11, "not_annotated"]]
    data["categories"] = ["bowl", "cup"]
    path, root = write(data)
    first = load_photos(path, root, split="train")[0]
    expected = np.zeros((5, 5), np.int8)
    expected[0, 1] = expected[3, 4] = expected[4, 3] = 1
    expected[4, 0] = expected[0, 4] = -1  # though far apart; 12-13 meet and do not occlude
    np.testing.assert_array_equal(first["occlusion"], expected)
    assert [one["category_id"] for one in first["annotations"]] == [2, 4, 2, 2, 2]
    names = [category["name"] for category in read_photo_categories(path)]
    assert names == ["bowl", "cup", "plate", "wall"]


def test_what_is_written_reads_back_the_same(write, tmp_path):
    path, root = write(corpus())
    records = load_photos(path, root, split="train")
    records[0]["occlusion"][3, 4] = records[0]["occlusion"][4, 3] = 1
    again = tmp_path / "again.json"
    categories = read_photo_categories(path)
    save_photos(records, again, categories, source="bars", split="val", image_root=root)
    assert read_photo_categories(again) == categories
    for before, after in zip(records, load_photos(again, root, split="val"), strict=True):
        for key in ("depth_file_name", "depth_unit"):  # have no place in what is written
            before.pop(key, None)
        assert before.keys() == after.keys()
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value)


def test_splits_and_a_file_without_depth_order(write):
    data = corpus()
    data["depth_order"] = data["depth_order"][-1:]
    path, root = write(data)
    assert [r["image_id"] for r in load_photos(path, root, split="val")] == [2]
    everything = load_photos(path, root, split=None)
    assert [r["image_id"] for r in everything] == [1, 2, 3]
    assert all("depth" not in record and "overlap" not in record for record in everything)
    with pytest.raises(ValueError, match="split must be one of .*'test'"):
        load_photos(path, root, split="test")


def test_records_survive_the_way_to_a_worker(write):
    path, root = write(corpus())
    first = load_photos(path, root, split="train")[0]
    again = pickle.loads(pickle.dumps(first))
    assert again["annotations"] == first["annotations"]
    np.testing.assert_array_equal(again["occlusion"], first["occlusion"])


def test_depth_maps_come_in_metres_at_the_size_of_the_image(write, tmp_path):
    path, root = write(corpus())
    (tmp_path / "d").mkdir()
    small = np.arange(12 * 24, dtype=np.uint16).reshape(12, 24)
    cv2.imwrite(str(tmp_path / "d" / "1.png"), small)
    first, empty = load_photos(path, root, split="train")
    assert "depth_file_name" not in empty
    depth = read_depth(first)
    assert depth.dtype == np.float32
    # Each value fills two by two pixels; 0 stays 0, unknown.
    np.testing.assert_allclose(depth, np.kron(small, np.ones((2, 2))) * 0.01, rtol=1e-6)
    cv2.imwrite(str(tmp_path / "d" / "1.png"), np.full((HEIGHT, WIDTH), 255, np.uint8))
    np.testing.assert_allclose(read_depth({**first, "depth_unit": 10 / 255}), 10)


def test_depth_maps_that_cannot_be_read_are_named(write, tmp_path):
    path, root = write(corpus())
    first, empty = load_photos(path, root, split="train")
    with pytest.raises(ValueError, match="image 3 has no depth map"):
        read_depth(empty)
    with pytest.raises(ValueError, match=r"no such depth map: .*d/1.png"):
        read_depth(first)
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "1.png"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a readable depth map: .*1.png"):
        read_depth(first)
    file.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"not a readable depth map: .*1.png"):
        read_depth(first)
    cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="1.png: .*8-bit or 16-bit grey PNG, got mode 'RGB'"):
        read_depth(first)


def _no_unit(data):
    del data["depth_unit"]


def _change(*keys, to):
    def change(data):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = to

    return change


DAMAGE = {
    "no depth unit": (_no_unit, "image 1: has a depth map, but the file has no 'depth_unit'"),
    "negative unit": (_change("depth_unit", to=-1), "'depth_unit' must be metres .* got -1"),
    "split": (_change("images", 0, "split", to="test"), "image 1: 'split' must be one of .*'test'"),
    "path": (_change("images", 0, "file", to="../1.png"), "image 1: file name must stay inside"),
    "image twice": (_change("images", 2, "id", to=1), "image 1: the image id is used twice"),
    "unknown image": (
        _change("instances", 0, "image_id", to=9),
        "image 9: instance 11: image_id 9 is not among the 3 images",
    ),
    "instance twice": (
        _change("instances", 1, "id", to=11),
        "image 1: instance 11: the instance id is used twice",
    ),
    "category": (_change("instances", 0, "category", to=3), "instance 11: 'category' must be"),
    "stuff": (_change("instances", 0, "stuff", to=2), "image 1: instance 11: 'stuff' must be 0 or"),
    "size": (
        _change("instances", 0, "modal", "size", to=[WIDTH, HEIGHT]),
        r"image 1: instance 11: 'modal' must have the image's size \[24, 48\]",
    ),
    "counts": (
        _change("instances", 0, "modal", "counts", to="garbage"),
        "image 1: instance 11: 'modal': RLE",
    ),
    "amodal": (
        _change("instances", 2, "amodal", "counts", to="01"),
        "image 1: instance 13: 'amodal': RLE",
    ),
    "no occlusion": (lambda data: data.pop("occlusion"), "key 'occlusion' is missing"),
    "row": (
        _change("occlusion", 0, to=[1, 11, "12", "kinect_step"]),
        r"image 1: occlusion\[0\]: must be \[image id, first id, second id, provenance",
    ),
    "pair of another image": (
        _change("occlusion", 0, to=[1, 11, 21, "kinect_step"]),
        "image 1: 'occlusion' has instance 21, which is not one of the image's",
    ),
    "pair of an unknown image": (
        _change("depth_order", 0, to=[9, 11, 12, "asked"]),
        r"image 9: depth_order\[0\]: image_id 9 is not among",
    ),
    "occlusion twice": (
        lambda data: data["occlusion"].append([1, 11, 12, "again"]),
        "image 1: 'occlusion' has the pair of instances 11 and 12 twice",
    ),
    "unknown twice": (
        lambda data: data.update(unknown_occlusion=[[1, 11, 13, ""], [1, 13, 11, ""]]),
        "image 1: 'unknown_occlusion' has the pair of instances 13 and 11 twice",
    ),
    "categories": (
        lambda data: data.update(categories=["cup", 3]),
        r"'categories' must be names, got \['cup', 3\]",
    ),
    "source": (_change("source", to={}), "'source' must be a string, got {}"),
    "itself": (
        _change("depth_order", 0, to=[1, 12, 12, "asked"]),
        "image 1: 'depth_order' relates instance 12 to itself",
    ),
    "both directions": (
        _change("depth_order", 1, to=[1, 12, 11, "asked"]),
        "image 1: 'depth_order' has the pair of instances 12 and 11 twice",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_with_file_image_and_instance(write, kind):
    change, message = DAMAGE[kind]
    data = copy.deepcopy(corpus())
    change(data)
    path, root = write(data)
    with pytest.raises(ValueError, match=f"annotations.json: .*{message}"):
        load_photos(path, root, split="train")


def test_problems_are_collected_and_their_images_left_out(write):
    data = corpus()
    data["instances"][0]["modal"]["counts"] = "garbage"
    data["instances"][3]["image_id"] = 9
    data["occlusion"].append([3, 1, 2, "kinect_step"])
    path, root = write(data)
    problems = []
    records = load_photos(path, root, split=None, problems=problems)
    assert [record["image_id"] for record in records] == [2]
    assert len(problems) == 3
    assert "image 9: instance 21" in problems[0]
    assert "image 1: instance 11: 'modal': RLE" in problems[1]
    assert "image 3: 'occlusion' has instance 1," in problems[2]


# --- the validator


@pytest.fixture
def image_files(tmp_path):
    """Writes the images and the depth map of the corpus."""
    for folder in ("images", "d"):
        (tmp_path / folder).mkdir()
    for number in (1, 2, 3):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), pixels)
    cv2.imwrite(str(tmp_path / "d" / "1.png"), np.ones((12, 24), np.uint16))
    return tmp_path


def test_the_validator_tells_the_format_and_counts(write, image_files, capsys):
    path, root = write(corpus())
    assert main(["validate", str(path), "--images", str(root)]) == 0
    assert capsys.readouterr().out == (
        "no errors; read 3 images, 6 instances, 1 one-way occlusions, 0 mutual occlusions, "
        "3 pairs without known occlusion, 3 closer/farther pairs, 0 equally deep pairs, "
        "7 pairs without known depth\n"
    )
    counts = validate(path, options={"split": "val"}).counts
    assert counts["images"] == counts["instances"] == 1


def test_the_validator_looks_at_pixels_images_and_depth_maps(write, image_files):
    data = corpus()
    data["instances"][2]["amodal"] = bar(22, 26)  # a whole that is smaller than what is visible
    data["images"][1]["width"] = 40
    path, root = write(data)
    first, second = validate(path, images=root).errors
    assert "annotations.json: image 2: instance 21: 'modal' must have the image's size" in first
    assert "annotations.json: image 1: instance 13: 96 of 192 visible pixels are outside" in second
    data = corpus()
    data["images"][2]["width"] = 40
    (image_files / "d" / "1.png").write_bytes(b"")
    path, root = write(data)
    first, second = validate(path, images=root).errors
    assert "annotations.json: image 1: not a readable depth map" in first
    assert "annotations.json: image 3: " in second and "has height and width (24, 40)" in second


# --- what the records are used for


def test_statistics_leave_unknown_pairs_out(write):
    path, root = write(corpus())
    found = order_statistics(load_photos(path, root, split="train"))
    assert (found["pairs"], found["occlusion_pairs"], found["depth_pairs"]) == (10, 7, 3)
    assert found["occlusion_types"]["one_way"] == pytest.approx(1 / 7)
    assert found["depth_types"]["unequal_unspecified"] == pytest.approx(1 / 3)


def test_results_are_scored_over_known_pairs_alone(write, tmp_path, capsys):
    path, root = write(corpus())
    (record,) = load_photos(path, root, split="train")[:1]
    annotations = record["annotations"]
    # Right on the one listed pair, and "occludes" for every pair that is not annotated.
    said = (record["occlusion"] != 0).astype(np.int8)
    image = io.results_image(
        image_id=1,
        height=HEIGHT,
        width=WIDTH,
        modal=masks.decode_all([one["segmentation"] for one in annotations], HEIGHT, WIDTH),
        classes=[one["category_id"] for one in annotations],
        scores=[1.0] * 5,
        ids=[one["id"] for one in annotations],
        occlusion=said,
    )
    io.save_results(tmp_path / "order_results.json", [image])
    files = ["score", "--gt", str(path), "--predictions", str(tmp_path / "order_results.json")]
    words = [*files, "--format", "photos", "--split", "train", "--json", str(tmp_path / "s.json")]
    assert main(words) == 0
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["scalars"]["occlusion/f1"] == 100
    assert report["scalars"]["modal/AP"] == 100
    assert report["counts"]["images"] == 2
    with pytest.raises(SystemExit):
        main([*files, "--format", "cocoa", "--split", "train"])
    assert "--split belongs to --format photos" in capsys.readouterr().err


# --- a real corpus


@pytest.fixture(scope="module")
def indoors(photos):
    folder = photos / "nyuv2"
    return load_photos(folder / "annotations.json", folder, split="val")


def test_measured_pairs_of_indoor_photographs(indoors):
    for record in indoors:
        occlusion = check_occlusion(record["occlusion"])
        check_depth(record["depth"], record["overlap"], record["count"])
        # The camera measured depth: hardly anything occludes what is nearer than itself.
        assert record["depth_unit"] == 10 / 255
        assert occlusion.shape == (len(record["annotations"]),) * 2
    edges = [record["occlusion"] == 1 for record in indoors]
    depth = [record["depth"][edge] for record, edge in zip(indoors, edges, strict=True)]
    depth = np.concatenate(depth)
    assert (depth == 1).sum() > 20 * (depth == 0).sum() > 0
    metres = read_depth(indoors[0])
    assert metres.shape == (indoors[0]["height"], indoors[0]["width"])
    assert 0.5 < np.median(metres) < 10


def test_the_lower_bottom_edge_is_nearer_in_three_of_four_measured_pairs(indoors):
    rows = []
    for record in indoors[:25]:
        size = record["height"], record["width"]
        modal = masks.decode_all([one["segmentation"] for one in record["annotations"]], *size)
        orders = {
            "occlusion": bottom_edge_order(modal, gap=GAP),
            "depth": bottom_edge_order(modal, order="depth"),
        }
        rows.append(given_mask_row(record, **orders))
    scores = given_mask_scores(rows)
    assert 15 < scores["depth/whdr_distinct"] < 30
    assert 65 < scores["direction/objects"] < 85


@pytest.mark.parametrize("source", ["balloon", "fruitsnuts", "pennfudan", "voc2007"])
def test_sources_without_measured_order_know_only_what_does_not_meet(photos, source):
    folder = photos / source
    records = load_photos(folder / "annotations.json", folder, split=None)
    assert {value for r in records for value in np.unique(r["occlusion"])} == {0, -1}
    assert all("depth" not in record for record in records)
