"""Label Studio: exports as masks and as data, tasks with relations, its brush code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from occ_order.formats.label_studio import decode_brush, encode_brush, task_of
from occ_order.formats.table import FORMATS
from occ_order.formats.user_masks import load_masks
from occ_order.formats.validate import validate
from occ_order.instances import OrderedInstances
from tests.formats.boxes import CUP, SIZE, TRAY, box


def region(key, kind, value, label):
    return {
        "id": key,
        "type": kind,
        "from_name": "tag",
        "to_name": "img",
        "original_width": 20,
        "original_height": 10,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def polygon(key="Dx_aB", label="cup"):
    """CUP: x 2 to 10 of 20, y 2 to 6 of 10, in percent."""
    points = [[10, 20], [50, 20], [50, 60], [10, 60]]
    return region(key, "polygonlabels", {"points": points, "closed": True}, label)


def brush(key="t5sp3", label="tray"):
    value = {"format": "rle", "rle": encode_brush(TRAY)}
    return region(key, "brushlabels", value, label)


def export(*results, **task):
    known = {"image": "/data/upload/1/6a2b3c4d-my%20cup.jpg"}
    return [{"id": 7, "data": known, "annotations": [{"id": 1, "result": list(results)}], **task}]


def write(folder, tasks):
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def relation(first, second, *labels, direction="right"):
    ends = {"from_id": first, "to_id": second}
    return {"type": "relation", **ends, "direction": direction, "labels": list(labels)}


# --- the code of brushes


def reference_decode(code, size):
    """As Label Studio's converter does it: a string of bits, value by value."""
    bits = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def read(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        same = read(1)
        count = read(lengths[read(2)]) + 1
        values += [read(word)] * count if same else [read(word) for _ in range(count)]
    return np.array(values).reshape(*size, 4)[..., 3] > 127


@pytest.mark.parametrize("seed", range(4))
def test_the_code_of_a_brush_there_and_back(seed):
    mask = np.random.default_rng(seed).random(SIZE) < (0.1, 0.5, 0.9, 1.1)[seed]
    code = encode_brush(mask)
    assert np.array_equal(decode_brush(code, SIZE), mask)
    assert np.array_equal(reference_decode(code, SIZE), mask)


def test_long_runs_and_values_one_by_one():
    large = np.zeros((300, 200), bool)
    large[100:250] = True  # runs beyond 2 ** 16 values
    assert np.array_equal(decode_brush(encode_brush(large), large.shape), large)
    assert np.array_equal(reference_decode(encode_brush(large), large.shape), large)
    rim = [[255, 0, 0, 255], [255, 0, 0, 100], [255, 0, 0, 128]]  # soft, as the rim of a brush
    values = "".join(f"{value:08b}" for pixel in rim for value in pixel)
    text = f"{12:032b}{7:05b}" + "".join(f"{bits - 1:04b}" for bits in (3, 4, 8, 16))
    text += f"0{1:02b}{11:04b}" + values
    code = [int(text[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(text), 8)]
    assert decode_brush(code, (1, 3)).tolist() == [[True, False, True]]
    assert reference_decode(code, (1, 3)).tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([], "of 0 values, expected 4 for each pixel"),
        (["a"], "must be a list of bytes"),
        ([300], "must be a list of bytes"),
        (encode_brush(np.zeros((5, 5), bool)), "of 100 values, expected 4 .* 800"),
        (encode_brush(TRAY)[:20], "ends after|damaged after"),
        (encode_brush(TRAY)[:7], "ends after 0 of 800"),
    ],
)
def test_a_damaged_code_says_why(code, message):
    with pytest.raises(ValueError, match=message):
        decode_brush(code, SIZE)


# --- masks


def test_polygons_and_brushes_are_masks(tmp_path):
    path = write(tmp_path, export(polygon(), brush()))
    found = load_masks(path, SIZE, image_name="my cup.jpg")
    assert np.array_equal(found.modal, [CUP, TRAY])
    assert found.ids == ("Dx_aB", "t5sp3") and found.names == ("cup", "tray")
    assert found.classes.tolist() == [1, 2] and found.image_id == 7
    assert found.occlusion is None and found.depth is None


def test_an_ellipse_and_a_shape_apart_from_its_label(tmp_path):
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 40, "rotation": 0}
    round_one = {**region("e", "ellipse", value, ""), "value": value}
    label = region("e", "labels", {}, "plate")
    found = load_masks(write(tmp_path, export(round_one, label)), SIZE)
    assert found.names == ("plate",)
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((xs - 10) / 4) ** 2 + ((ys - 5) / 4) ** 2
    assert found.modal[0][inside < 0.7].all() and not found.modal[0][inside > 1.4].any()


def test_boxes_are_left_out_by_name_and_nothing_left_is_told(tmp_path, caplog):
    value = {"x": 5, "y": 5, "width": 10, "height": 10, "rotation": 0}
    path = write(tmp_path, export(region("b", "rectanglelabels", value, "cup")))
    assert len(load_masks(path, SIZE)) == 0
    assert "export.json: task 7: region b: outlines nothing, left out" in caplog.text
    assert "export.json: no instances of image 7" in caplog.text


def test_annotations_come_before_predictions_and_cancelled_ones_do_not_count(tmp_path):
    tasks = export(polygon(), predictions=[{"result": [brush()]}])
    assert load_masks(write(tmp_path, tasks), SIZE).ids == ("Dx_aB",)
    tasks[0]["annotations"][0]["was_cancelled"] = True
    assert load_masks(write(tmp_path, tasks), SIZE).ids == ("t5sp3",)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/6a2b3c4d-a.jpg", "a.jpg"),
        ("/data/local-files/?d=photos/a.jpg", "photos/a.jpg"),
        ("https://example.com/x/a.jpg?size=2", "a.jpg"),
        ("s3://bucket/x/a%20b.jpg", "a b.jpg"),
        ("photos/50% #1.jpg", "photos/50% #1.jpg"),
    ],
)
def test_images_are_found_by_their_address(tmp_path, address, name):
    other = {**export(brush())[0], "id": 8, "data": {"image": "other.jpg"}}
    path = write(tmp_path, [{**export(polygon())[0], "data": {"image": address}}, other])
    assert load_masks(path, SIZE, image_name=name).ids == ("Dx_aB",)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (export({**polygon(), "image_rotation": 90}), "task 7: region Dx_aB: .* turned by 90"),
        (export(polygon(), {**brush(), "original_width": 30}), "task 7: .* several sizes"),
        (export({**polygon(), "original_height": 11}), r"image 7 has height and width \(11, 20\)"),
        (
            export(region("p", "polygonlabels", {"points": [[1, 2], [3, 4]]}, "x")),
            "region p: a poly",
        ),
        (export(region("p", "polygonlabels", {"points": [[1, "a"]]}, "x")), "region p: .*numbers"),
        (export(region("p", "brushlabels", {"format": "png", "rle": []}, "x")), "format 'rle'"),
        (export({**polygon(), "score": "x"}), "region Dx_aB: 'score' must be a finite number"),
        (export(3), "task 7: a region must be an object"),
        (
            export(polygon(), {"type": "relation", "from_id": "Dx_aB"}),
            "needs 'from_id' and 'to_id'",
        ),
        (
            [{"id": 7, "data": {"a": "x.jpg", "b": "y.jpg"}, "annotations": []}],
            "cannot tell its im",
        ),
        ([{"id": 7, "data": {"image": "a.jpg"}, "annotations": [{"x": 1}]}], "JSON-MIN"),
        ([{"id": 7, "data": {"image": "a.jpg"}, "annotations": 3}], "'annotations' must be a list"),
        (export(polygon(), {**relation("a", "b"), "labels": 3}), "task 7: 'labels' must be a list"),
        (
            export(polygon(), data={"image": "a.jpg", "occ_order": {"orders": 3}}),
            "'orders' must be",
        ),
        (export(polygon(), data={"image": "a.jpg", "occ_order": {"unknown": [3]}}), "pairs of ids"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, tasks, message):
    with pytest.raises(ValueError, match=f"export.json: .*{message}"):
        load_masks(write(tmp_path, tasks), SIZE)


# --- relations


def test_relations_are_the_order(tmp_path):
    tasks = export(
        polygon("a"), brush("b"), polygon("c"),
        relation("a", "b", "occludes"), relation("c", "b", "occludes", direction="left"),
        relation("a", "c", "occludes", direction="bi"),
        relation("a", "b", "closer", "distinct"), relation("b", "c", "equal", "overlap"),
    )  # fmt: skip
    found = load_masks(write(tmp_path, tasks), SIZE)
    assert found.occlusion.tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]
    assert found.depth.tolist() == [[-1, 1, -1], [0, -1, 2], [-1, 2, -1]]
    assert found.overlap.tolist() == [[-1, 0, -1], [0, -1, 1], [-1, 1, -1]]


def test_a_relation_to_what_was_left_out_is_left_out_too(tmp_path):
    damaged = region("d", "polygonlabels", {"points": []}, "x")
    tasks = export(polygon("a"), brush("b"), damaged, relation("a", "b", "occludes"),
                   relation("d", "a", "occludes"))  # fmt: skip
    found = load_masks(write(tmp_path, tasks), SIZE, skip_damaged=True)
    assert found.ids == ("a", "b") and found.occlusion.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("prediction", [True, False])
def test_a_task_says_the_same_as_the_result(tmp_path, prediction):
    occlusion = np.array([[0, 1, -1], [1, 0, 0], [0, 0, 0]], np.int8)
    depth = np.array([[-1, 1, 2], [0, -1, -1], [2, -1, -1]], np.int8)
    result = OrderedInstances(
        "photo", SIZE, np.stack([CUP, TRAY, box(0, 2, 0, 3)]), ids=(4, "b", 9),
        names=("cup", "tray", "cup"), scores=[0.5, 1.0, 0.75], classes=[1, 2, 1],
        occlusion=occlusion, depth=depth, file_name="photos/a.jpg",
    )  # fmt: skip
    task = task_of(result, prediction=prediction)
    if prediction:
        assert result.to_label_studio() == task
    found = load_masks(write(tmp_path, [task]), SIZE, image_name="photos/a.jpg")
    for key in ("modal", "occlusion", "depth", "overlap", "scores", "classes"):
        assert np.array_equal(getattr(found, key), getattr(result, key)), key
    assert (found.ids, found.names, found.image_id) == (result.ids, result.names, "photo")


def test_an_export_is_a_data_set_and_is_validated(tmp_path):
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "my cup.jpg")
    path = write(tmp_path, export(polygon(), brush(), relation("Dx_aB", "t5sp3", "occludes")))
    report = validate(path)
    assert report.errors == [] and report.counts == {"images": 1, "instances": 2}
    from occ_order.formats.convert import read_dataset

    data = read_dataset("label_studio", path)
    (record,) = data.records
    assert record["image_id"] == 7 and [a["id"] for a in record["annotations"]] == [7001, 7002]
    assert record["occlusion"].tolist() == [[0, 1], [0, 0]]
    assert [c["name"] for c in data.categories] == ["cup", "tray"]
    data = read_dataset("label_studio", path, classes=["tray", "cup"])
    assert [a["category_id"] for a in data.records[0]["annotations"]] == [2, 1]
    with pytest.raises(ValueError, match=r"label 'cup' is not among \['tray'\]"):
        read_dataset("label_studio", path, classes=["tray"])
    with pytest.raises(ValueError, match="a.json: is no file of via"):
        (tmp_path / "a.json").write_text("[]")
        FORMATS["via"].pages_of(tmp_path / "a.json")
    assert "region t5sp3" in validate(write(tmp_path, export(
        region("t5sp3", "brushlabels", {"rle": [1]}, "x")))).errors[0]  # fmt: skip
