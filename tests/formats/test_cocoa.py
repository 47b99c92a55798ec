"""COCOA: hand-made files, the worked example of image 321, and the five photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from occ_order import masks
from occ_order.formats import load_cocoa, save_cocoa
from occ_order.formats.mask_fields import polygon_from_mask


@pytest.fixture
def records(tiny, write):
    return load_cocoa(write(tiny.cocoa()), "root")


def test_tiny_file(records):
    first, empty = records
    assert first["file_name"] == "root/a.png"
    assert [a["id"] for a in first["annotations"]] == [31001, 31002, 31004]
    assert [a["category_id"] for a in first["annotations"]] == [1, 1, 1]
    assert [a.get("name") for a in first["annotations"]] == ["cup", "tray", None]
    assert [a["is_stuff"] for a in first["annotations"]] == [0, 1, 0]
    assert [a["occlude_rate"] for a in first["annotations"]] == [0.0, 0.25, 0.0]
    np.testing.assert_array_equal(first["occlusion"], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert first["annotations"][1]["bbox"] == [3, 2, 7, 6]
    assert empty["annotations"] == []
    assert empty["occlusion"].shape == (0, 0)


def test_modal_is_the_visible_mask_or_the_whole_polygon(records):
    front, behind, _ = records[0]["annotations"]
    assert front["segmentation"] == front["amodal_segmentation"] == [[1, 1, 5, 1, 5, 4, 1, 4]]
    visible = masks.decode(behind["segmentation"], 6, 8)
    expected = np.zeros((6, 8), bool)
    expected[2:6, 3:7] = True
    expected[2:4, 3:5] = False
    np.testing.assert_array_equal(visible, expected)


def test_without_depth_constraint_order_and_overlap_decide(tiny, write, records):
    data = tiny.cocoa()
    del data["annotations"][0]["depth_constraint"]
    derived = load_cocoa(write(data), "")[0]["occlusion"]
    np.testing.assert_array_equal(derived, records[0]["occlusion"])


def test_max_occlude_rate_leaves_pairs_out_by_the_occludee(tiny, write):
    path = write(tiny.cocoa())
    assert load_cocoa(path, "", max_occlude_rate=0.25)[0]["occlusion"].sum() == 1
    assert load_cocoa(path, "", max_occlude_rate=0.2)[0]["occlusion"].sum() == 0


def test_annotations_are_matched_by_image_id(tiny, write):
    data = tiny.cocoa()
    data["images"].reverse()
    by_id = {record["image_id"]: record for record in load_cocoa(write(data), "")}
    assert len(by_id[7]["annotations"]) == 3
    assert by_id[8]["annotations"] == []


def test_fully_hidden_region_keeps_its_row(tiny, write):
    data = tiny.cocoa()
    region = data["annotations"][0]["regions"][1]
    region.update(visible_mask={"size": [6, 8], "counts": [48]}, occlude_rate=1)
    hidden = load_cocoa(write(data), "")[0]["annotations"][1]
    assert hidden["bbox"] == [0, 0, 0, 0]
    assert hidden["amodal_bbox"] == [3, 2, 7, 6]


def test_second_annotator_of_an_image_is_left_out(tiny, write):
    data = tiny.cocoa()
    data["annotations"].append({**data["annotations"][0], "id": 32, "regions": []})
    assert len(load_cocoa(write(data), "")[0]["annotations"]) == 3


def test_round_trip(records, tmp_path, assert_records):
    path = tmp_path / "größe 1" / "x.json"
    save_cocoa(records, path, image_root="root")
    assert_records(load_cocoa(path, "root"), records)


def test_written_regions_have_hidden_masks_only_where_occluded(records, tmp_path):
    save_cocoa(records, tmp_path / "x.json", image_root="root")
    entry = json.loads((tmp_path / "x.json").read_text())["annotations"][0]
    assert (entry["id"], entry["image_id"], entry["size"]) == (31, 7, 3)
    assert entry["depth_constraint"] == "1-2"
    front, behind, _ = entry["regions"]
    assert front["segmentation"] == [1, 1, 5, 1, 5, 4, 1, 4]
    assert "visible_mask" not in front and "invisible_mask" not in front
    assert isinstance(behind["visible_mask"]["counts"], str)
    assert masks.decode(behind["invisible_mask"], 6, 8).sum() == 4
    assert behind["area"] == 16


def test_occluders_are_written_first(records, tmp_path):
    """B stands before A in the record, so the file has them the other way round."""
    record = records[0]
    record["annotations"] = [record["annotations"][k] for k in (1, 0, 2)]
    record["occlusion"] = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], np.int8)
    save_cocoa(records, tmp_path / "x.json")
    read = load_cocoa(tmp_path / "x.json", "")[0]
    names = [annotation.get("name") for annotation in read["annotations"]]
    (i, j) = np.argwhere(read["occlusion"] == 1)[0]
    assert (names[i], names[j]) == ("cup", "tray")
    assert i < j


def test_mutual_occlusion_survives(records, tmp_path, assert_records):
    records[0]["occlusion"][1, 0] = 1
    save_cocoa(records, tmp_path / "x.json", image_root="root")
    assert_records(load_cocoa(tmp_path / "x.json", "root"), records)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a, r: a.pop("amodal_segmentation"), "annotation 31001.*amodal_segmentation"),
        (lambda a, r: r.pop("occlusion"), "image 7.*without occlusion"),
        (lambda a, r: r["occlusion"].fill(-1), "image 7"),
        (
            lambda a, r: a.update(segmentation=[[0, 0, 5, 0, 5, 4, 0, 4]]),
            "visible pixels are not in",
        ),
        (lambda a, r: a.update(amodal_segmentation=[[9, 9, 10, 9, 10, 10]]), "empty"),
        (lambda a, r: r.update(file_name="elsewhere/a.png"), "not inside the image folder"),
    ],
)
def test_writer_refuses_what_the_format_cannot_hold(records, tmp_path, change, message):
    change(records[0]["annotations"][0], records[0])
    with pytest.raises(ValueError, match=message):
        save_cocoa(records, tmp_path / "x.json", image_root="root")
    assert list(tmp_path.glob("x.json")) == []


# Visible region and hidden regions (from 0) of the eight kinds of pixels of COCOA train image 321.
CELLS = [(5, ()), (1, (5,)), (4, (5,)), (1, (4, 5)), (2, (4, 5)), (3, (4, 5)), (0, (1, 4, 5))]
CELLS.append((2, (3, 4, 5)))
CONSTRAINT = "1-2,1-5,1-6,2-5,2-6,3-4,3-5,3-6,4-5,4-6,5-6"


@pytest.mark.parametrize("constraint", [CONSTRAINT, None])
def test_worked_example_321(write, constraint):
    """One 3 x 3 block of pixels for each kind: both ways to the order give the published pairs."""
    amodal = np.zeros((6, 3, 24), bool)
    visible = np.zeros((6, 3, 24), bool)
    for column, (seen, hidden) in enumerate(CELLS):
        block = (slice(None), slice(3 * column, 3 * column + 3))
        visible[seen][block] = True
        for k in (seen, *hidden):
            amodal[k][block] = True
    regions = []
    for k in range(6):
        regions.append({"segmentation": polygon_from_mask(amodal[k]), "order": k + 1})
        if (visible[k] != amodal[k]).any():
            regions[k]["visible_mask"] = masks.encode(visible[k])
    entry = {"id": 1, "image_id": 321, "regions": regions}
    if constraint is not None:
        entry["depth_constraint"] = constraint
    image = {"id": 321, "file_name": "321.jpg", "height": 3, "width": 24}
    (record,) = load_cocoa(write({"images": [image], "annotations": [entry]}), "")
    pairs = {(i + 1, j + 1) for i, j in np.argwhere(record["occlusion"] == 1)}
    assert pairs == {tuple(map(int, pair.split("-"))) for pair in CONSTRAINT.split(",")}
    read = [masks.decode(a["segmentation"], 3, 24) for a in record["annotations"]]
    np.testing.assert_array_equal(read, visible)
    whole = [masks.decode(a["amodal_segmentation"], 3, 24) for a in record["annotations"]]
    np.testing.assert_array_equal(whole, amodal)


def test_photographs_hold_their_published_facts(cocoa_demo):
    path = cocoa_demo / "COCO_amodal_demo5.json"
    records = load_cocoa(path, cocoa_demo.parent)
    regions = [r for a in json.loads(path.read_text())["annotations"] for r in a["regions"]]
    annotations = [(r, a) for r in records for a in r["annotations"]]
    assert len(annotations) == len(regions) == 48
    assert sum(int(record["occlusion"].sum()) for record in records) == 50
    for (record, annotation), region in zip(annotations, regions, strict=True):
        size = record["height"], record["width"]
        amodal = masks.decode(annotation["amodal_segmentation"], *size)
        visible = masks.decode(annotation["segmentation"], *size)
        assert amodal.sum() == region["area"]
        hidden = np.zeros(size, bool)
        if "invisible_mask" in region:
            hidden = masks.decode(region["invisible_mask"], *size)
        np.testing.assert_array_equal(visible | hidden, amodal)
        assert not (visible & hidden).any()
        assert annotation["occlude_rate"] == pytest.approx(hidden.sum() / amodal.sum(), abs=1e-4)


def test_single_photographs_give_the_same_pairs(cocoa_demo):
    """Their files have no depth constraint, and in the fourth one `order` has gaps."""
    whole = load_cocoa(cocoa_demo / "COCO_amodal_demo5.json", cocoa_demo.parent)
    for number, expected in enumerate(whole, start=1):
        (record,) = load_cocoa(cocoa_demo / f"{number}.json", cocoa_demo)
        np.testing.assert_array_equal(record["occlusion"], expected["occlusion"])
        assert record["annotations"] == expected["annotations"]
        assert record["file_name"] == str(cocoa_demo / f"{number}.jpg")
    orders = [annotation["id"] % 1000 for annotation in whole[3]["annotations"]]
    assert orders == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_photographs_round_trip(cocoa_demo, tmp_path, assert_records):
    source = cocoa_demo / "COCO_amodal_demo5.json"
    records = load_cocoa(source, cocoa_demo.parent)
    save_cocoa(records, tmp_path / "x.json", image_root=cocoa_demo.parent)
    assert_records(load_cocoa(tmp_path / "x.json", cocoa_demo.parent), records)
    published, written = (
        json.loads(path.read_text())["annotations"] for path in (source, tmp_path / "x.json")
    )
    for old, new in zip(published, written, strict=True):
        assert (old["id"], old["depth_constraint"]) == (new["id"], new["depth_constraint"])
        for one, other in zip(old["regions"], new["regions"], strict=True):
            assert one.keys() == other.keys()
            same = one.keys() - {"name", "occlude_rate"}
            assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_single_annotation_without_its_image(tiny, write, tmp_path):
    entry = tiny.cocoa()["annotations"][0]
    with pytest.raises(ValueError, match="needs its image"):
        load_cocoa(write(entry, "5.json"), tmp_path)
