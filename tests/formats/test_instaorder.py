"""InstaOrder: what row k of a matrix belongs to, and the file written from records."""

from __future__ import annotations

import json

import numpy as np
import pytest

from occ_order.formats import load_instaorder, save_instaorder


@pytest.fixture
def records(tiny, write):
    order, instances = write(tiny.instaorder(), "o.json"), write(tiny.instances(), "i.json")
    return load_instaorder(order, instances, "root")


def test_matrices_follow_instance_ids(records):
    """Entries are unsorted and one annotation is in no entry: two ways to misalign the matrix."""
    assert [record["image_id"] for record in records] == [9, 7]
    record = records[1]
    assert record["file_name"] == "root/a.png"
    assert [annotation["id"] for annotation in record["annotations"]] == [12, 11, 13]
    assert [annotation["category_id"] for annotation in record["annotations"]] == [5, 3, 3]
    np.testing.assert_array_equal(record["occlusion"], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(record["depth"], [[-1, 0, 2], [1, -1, -1], [2, -1, -1]])
    np.testing.assert_array_equal(record["overlap"], [[-1, 0, 1], [0, -1, -1], [1, -1, -1]])
    np.testing.assert_array_equal(record["count"], [[-1, 2, 3], [2, -1, -1], [3, -1, -1]])
    assert [record[key].dtype for key in ("occlusion", "depth", "overlap", "count")] == [
        np.int8,
        np.int8,
        np.int8,
        np.int16,
    ]


def test_mutual_occlusion_and_equal_depth(records):
    np.testing.assert_array_equal(records[0]["occlusion"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(records[0]["depth"], [[-1, 2], [2, -1]])


def test_boxes_are_corners(records):
    assert records[1]["annotations"][1]["bbox"] == [1.0, 1.0, 5.0, 4.0]


def test_occlusion_is_the_published_direction(records):
    """ "1<0" with instance_ids [12, 11]: annotation 11 (A) occludes annotation 12 (B)."""
    record = records[1]
    (i, j) = np.argwhere(record["occlusion"] == 1)[0]
    assert (record["annotations"][i]["id"], record["annotations"][j]["id"]) == (11, 12)


def test_counts_of_occlusions_come_back(tiny, write, tmp_path):
    """A conversion must not write 2 for the 3 and 4 workers that were asked."""
    data = tiny.instaorder()
    items = [item for entry in data["annotations"] for item in entry.get("occlusion", [])]
    for number, item in enumerate(items):
        item["count"] = 3 + number
    assert len(items) >= 2
    order, instances = write(data, "o.json"), write(tiny.instances(), "i.json")
    records = load_instaorder(order, instances, "root")
    save_instaorder(records, tmp_path / "o2.json", tmp_path / "i2.json", tiny.categories)
    written = json.loads((tmp_path / "o2.json").read_text())["annotations"]
    found = [item["count"] for entry in written for item in entry.get("occlusion", [])]
    assert found == [item["count"] for item in items]


def test_round_trip(records, tiny, tmp_path, assert_records):
    order, instances = tmp_path / "ö" / "o 1.json", tmp_path / "ö" / "i 1.json"
    save_instaorder(records, order, instances, tiny.categories, image_root="root")
    assert_records(load_instaorder(order, instances, "root"), records)


def test_written_keys_are_those_of_the_published_files(records, tiny, tmp_path):
    order, instances = tmp_path / "o.json", tmp_path / "i.json"
    save_instaorder(records, order, instances, tiny.categories, image_root="root")
    entry = json.loads(order.read_text())["annotations"][1]
    assert entry["instance_ids"] == [12, 11, 13]
    assert entry["occlusion"] == [{"order": "1<0", "count": 2}]
    assert {"order": "1<0", "count": 2, "overlap": False} in entry["depth"]
    coco = json.loads(instances.read_text())
    assert coco["images"][1] == {"id": 7, "file_name": "a.png", "height": 6, "width": 8}
    first = coco["annotations"][2]
    assert (first["id"], first["bbox"], first["area"]) == (12, [3.0, 2.0, 4.0, 4.0], 12.0)


@pytest.mark.parametrize("key, others", [("occlusion", 3), ("depth", 1)])
def test_absent_order_is_absent_not_zero(tiny, write, key, others):
    data = tiny.instaorder()
    for entry in data["annotations"]:
        del entry[key]
    records = load_instaorder(write(data, "o.json"), write(tiny.instances(), "i.json"), "")
    assert all(key not in record for record in records)
    matrices = {"occlusion", "depth", "overlap", "count"}
    assert [len(matrices & record.keys()) for record in records] == [others, others]


def test_no_entries_and_no_instances(tiny, write):
    instances = write(tiny.instances(), "i.json")
    assert load_instaorder(write({"annotations": []}, "o.json"), instances, "") == []
    entry = {"image_id": 7, "instance_ids": [], "occlusion": [], "depth": []}
    (record,) = load_instaorder(write({"annotations": [entry]}, "o.json"), instances, "")
    assert record["annotations"] == []
    assert record["occlusion"].shape == record["depth"].shape == (0, 0)


def test_pairs_without_known_occlusion_cannot_be_written(records, tiny, tmp_path):
    records[0]["occlusion"][0, 1] = -1
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="image 9"):
        save_instaorder(records, out / "o.json", out / "i.json", tiny.categories)
    assert not out.exists()


def test_writer_refuses_ids_used_twice(records, tiny, tmp_path):
    records[0]["annotations"][0]["id"] = 12
    with pytest.raises(ValueError, match="annotation 12: .*used twice"):
        save_instaorder(records, tmp_path / "o.json", tmp_path / "i.json", tiny.categories)


@pytest.fixture
def files_of(tiny, write):
    """Files whose one image, 7, has an entry."""

    def files_of(entry, data=None):
        order = write({"annotations": [{"image_id": 7, **entry}]}, "order.json")
        return order, write(data or tiny.cocoa_cls(), "instances.json")

    return files_of


BOTH = {"instance_ids": [1, 2], "occlusion": [{"order": "0<1 & 1<0", "count": 2}]}


def test_mutual_occlusion_is_kept(files_of):
    (record,) = load_instaorder(*files_of(BOTH), "")
    assert record["occlusion"].tolist() == [[0, 1], [1, 0]]


ORDERS = {
    "out of range": "0<2",
    "with itself": "1<1",
    "another separator": "0>1",
    "no numbers": "a<b",
    "negative": "-1<0",
    "half": "0<",
    "twice": "0<1 & 0<1",
    "comma": "0<1,1<0",
}


@pytest.mark.parametrize("case", ORDERS)
@pytest.mark.parametrize("kind", ["occlusion", "depth"])
def test_a_wrong_order_is_named(files_of, case, kind):
    item = {"order": ORDERS[case], "count": 2, "overlap": False}
    entry = {"instance_ids": [1, 2], kind: [item]}
    with pytest.raises(ValueError) as error:
        load_instaorder(*files_of(entry), "")
    text = str(error.value)
    assert "order.json" in text and "image 7" in text and repr(ORDERS[case]) in text


def test_an_annotation_without_segmentation_or_an_image_without_order_is_refused(tiny, files_of):
    data = tiny.cocoa_cls()
    del data["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match="annotation 1: key 'segmentation' is missing"):
        load_instaorder(*files_of(BOTH, data), "")
    with pytest.raises(ValueError, match="image 7: .*neither 'occlusion' nor 'depth'"):
        load_instaorder(*files_of({"instance_ids": [1, 2]}), "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(annotations=3), "'annotations' must be a list, got 3"),
        (lambda data: data.pop("annotations"), "key 'annotations' is missing"),
        (lambda data: data["annotations"].append(5), r"annotations\[\d+\]: must be an object"),
        (lambda data: data["annotations"][0].update(id=2**70), "'id' must be an integer, got"),
        (lambda data: data["annotations"][0].update(id=True), "'id' must be an integer, got True"),
        (lambda data: data["annotations"][0].pop("id"), "annotation number 0: key 'id' is missing"),
        (lambda data: data["annotations"][0].update(id=2), "annotation 2: the annotation id is"),
    ],
)
def test_what_is_wrong_with_ids_of_instances_is_named(tiny, files_of, change, message):
    data = tiny.cocoa_cls()
    change(data)
    with pytest.raises(ValueError, match=f"instances.json: .*{message}"):
        load_instaorder(*files_of(BOTH, data), "")
