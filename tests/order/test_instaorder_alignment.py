"""The InstaOrder loader must join matrices and annotations by id, never by position.

Two published Detectron2 loaders misalign them: one zips *sorted* image ids with the entries in the
order of the file, both attach *all* COCO annotations of an image instead of ``instance_ids``. The
files made here are such that either mistake changes a matrix or the annotation of a row.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from occ_order.order import occlusion_from_instaorder

instaorder = pytest.importorskip("occ_order.formats.instaorder")

SIZE = {"height": 20, "width": 30}
# Image 9 comes first in the order file, image 4 second: sorting ids swaps the two.
ORDER = {
    "annotations": [
        {
            "image_id": 9,
            "instance_ids": [103, 101],
            "occlusion": [{"order": "0<1", "count": 2}],
            "depth": [{"order": "1<0", "count": 3, "overlap": True}],
        },
        {
            "image_id": 4,
            "instance_ids": [204, 202, 201],
            "occlusion": [{"order": "2<1", "count": 2}],
            "depth": [{"order": "0=2", "count": 2, "overlap": False}],
        },
    ]
}
# Four annotations for two instances in image 9, four for three in image 4, in yet another order.
COLUMN = {100: 0, 101: 3, 102: 6, 103: 9, 201: 12, 202: 15, 203: 18, 204: 21}
IMAGE = {annotation_id: 9 if annotation_id < 200 else 4 for annotation_id in COLUMN}


def annotation(annotation_id):
    x = COLUMN[annotation_id]
    return {
        "id": annotation_id,
        "image_id": IMAGE[annotation_id],
        "category_id": annotation_id % 3 + 1,
        "bbox": [x, 2, 2, 6],
        "area": 12,
        "iscrowd": 0,
        "segmentation": [[x, 2, x + 2, 2, x + 2, 8, x, 8]],
    }


@pytest.fixture
def records(tmp_path):
    instances = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", **SIZE} for i in (4, 9)],
        "annotations": [annotation(k) for k in (202, 100, 103, 204, 102, 201, 101, 203)],
        "categories": [{"id": k, "name": f"thing {k}"} for k in (1, 2, 3)],
    }
    paths = tmp_path / "InstaOrder_val2017.json", tmp_path / "instances_val2017.json"
    for path, content in zip(paths, (ORDER, instances), strict=True):
        path.write_text(json.dumps(content))
    loaded = instaorder.load_instaorder(*paths, tmp_path)
    return {record["image_id"]: record for record in loaded}


def by_id(record, key):
    """``{(id of the row, id of the column): value}``: independent of the order of the rows."""
    ids = [a["id"] for a in record["annotations"]]
    matrix = record[key]
    assert matrix.shape == (len(ids), len(ids))
    return {
        (ids[i], ids[j]): int(matrix[i, j])
        for i in range(len(ids))
        for j in range(len(ids))
        if i != j
    }


def test_rows_are_the_listed_instances_and_no_others(records):
    assert [a["id"] for a in records[9]["annotations"]] == [103, 101]
    assert [a["id"] for a in records[4]["annotations"]] == [204, 202, 201]


def test_every_row_has_the_mask_and_box_of_its_own_annotation(records):
    for record in records.values():
        assert record["file_name"].endswith(f"{record['image_id']:012d}.jpg")
        for found in record["annotations"]:
            expected = annotation(found["id"])
            assert IMAGE[found["id"]] == record["image_id"]
            assert found["segmentation"] == expected["segmentation"]
            assert found["category_id"] == expected["category_id"]
            assert found["bbox"][0] == COLUMN[found["id"]]


def test_occlusion_belongs_to_the_right_image_and_pair(records):
    assert by_id(records[9], "occlusion") == {(103, 101): 1, (101, 103): 0}
    nine, four = (by_id(records[k], "occlusion") for k in (9, 4))
    assert [pair for pair, value in nine.items() if value] == [(103, 101)]
    assert [pair for pair, value in four.items() if value] == [(201, 202)]


def test_depth_overlap_and_count_belong_to_the_right_image_and_pair(records):
    assert by_id(records[9], "depth") == {(103, 101): 0, (101, 103): 1}
    assert by_id(records[9], "overlap") == {(103, 101): 1, (101, 103): 1}
    assert by_id(records[9], "count") == {(103, 101): 3, (101, 103): 3}
    depth = by_id(records[4], "depth")
    assert {pair for pair, value in depth.items() if value == 2} == {(204, 201), (201, 204)}
    assert by_id(records[4], "overlap")[204, 201] == 0


@pytest.mark.parametrize("mistake", ["sorted image ids", "all annotations"])
def test_the_files_would_show_either_mistake(records, mistake):
    """The fixture itself: each published mistake leads to another answer on these files."""
    right = {k: [a["id"] for a in record["annotations"]] for k, record in records.items()}
    entries = ORDER["annotations"]
    if mistake == "sorted image ids":
        image_ids = sorted(entry["image_id"] for entry in entries)
        wrong = {k: e["occlusion"] for k, e in zip(image_ids, entries, strict=True)}
        rows = right
    else:
        wrong = {e["image_id"]: e["occlusion"] for e in entries}
        rows = {k: sorted(i for i in COLUMN if IMAGE[i] == k) for k in right}
    for image_id, record in records.items():
        expected = by_id(record, "occlusion")
        occ = occlusion_from_instaorder(wrong[image_id], max(3, len(rows[image_id])))
        found = {
            (rows[image_id][i], rows[image_id][j])
            for i, j in np.argwhere(occ == 1)
            if max(i, j) < len(rows[image_id])
        }
        assert found != {pair for pair, value in expected.items() if value}
