"""Tiny data files, written by hand: three rectangles in an image of 6 rows and 8 columns.

......CC      A lies in front of B: amodal B is the 4 x 4 square of which A hides 2 x 2 pixels.
.AAAA...      C touches nothing.
.AAAABB.
.AAAABB.
...BBBB.
...BBBB.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

A = [1, 1, 5, 1, 5, 4, 1, 4]
B = [3, 2, 7, 2, 7, 6, 3, 6]
C = [6, 0, 8, 0, 8, 1, 6, 1]
# Visible B in runs, column by column from the top: 22 pixels outside, 2 inside, ...
B_VISIBLE = {"size": [6, 8], "counts": [22, 2, 4, 2, 2, 4, 2, 4, 6]}
# The same compressed, as published COCOA files have it, and what A hides of B.
B_VISIBLE_TEXT = {"size": [6, 8], "counts": "f0240N2004"}
B_HIDDEN_TEXT = {"size": [6, 8], "counts": "d0240`0"}
IMAGE = {"id": 7, "file_name": "a.png", "height": 6, "width": 8}
CATEGORIES = [{"id": 3, "name": "cup"}, {"id": 5, "name": "tray"}]
BOXES = {"A": [1, 1, 4, 3], "B": [3, 2, 4, 4], "C": [6, 0, 2, 1]}


def _cocoa():
    regions = [
        {
            "segmentation": A,
            "name": "cup ",
            "area": 12,
            "isStuff": 0,
            "occlude_rate": 0,
            "order": 1,
        },
        {
            "segmentation": B,
            "name": "tray",
            "area": 16,
            "isStuff": 1,
            "visible_mask": B_VISIBLE_TEXT,
            "invisible_mask": B_HIDDEN_TEXT,
            "occlude_rate": 0.25,
            "order": 2,
        },
        {"segmentation": C, "name": "", "area": 2, "isStuff": 0, "occlude_rate": 0, "order": 4},
    ]
    entry = {
        "author": "x",
        "url": "",
        "regions": regions,
        "image_id": 7,
        "id": 31,
        "size": 3,
        "depth_constraint": "1-2",
    }
    return {"images": [IMAGE, {**IMAGE, "id": 8, "file_name": "b.png"}], "annotations": [entry]}


def _cocoa_cls():
    shared = {"image_id": 7, "iscrowd": 0}
    annotations = [
        {"id": 1, "category_id": 3, "segmentation": [A], "bbox": BOXES["A"], "area": 12},
        {
            "id": 2,
            "category_id": 5,
            "segmentation": [B],
            "bbox": BOXES["B"],
            "area": 16,
            "visible_mask": B_VISIBLE_TEXT,
            "invisible_mask": B_HIDDEN_TEXT,
            "occlude_rate": 0.25,
        },
        {"id": 4, "category_id": 3, "segmentation": [C], "bbox": BOXES["C"], "area": 2},
    ]
    return {
        "images": [IMAGE],
        "annotations": [{**shared, **annotation} for annotation in annotations],
        "categories": CATEGORIES,
    }


def _d2sa():
    data = _cocoa_cls()
    for annotation, depth in zip(data["annotations"], (0, 1, 0), strict=True):
        annotation["occl_depth"] = depth
    return data


def _kins_2019():
    masks = {"A": [A], "B": B_VISIBLE, "C": [C]}
    whole = {"A": [A], "B": [B], "C": [C]}
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "category_id": category_id,
            "iscrowd": 0,
            "segmentation": whole[name],
            "bbox": BOXES[name],
            "inmodal_seg": masks[name],
            "inmodal_bbox": BOXES[name],
            "area": 1,
        }
        for number, (name, category_id) in enumerate({"A": 3, "B": 5, "C": 3}.items(), start=1)
    ]
    return {"images": [IMAGE], "annotations": annotations, "categories": CATEGORIES}


def _kins_2020():
    data = _kins_2019()
    renamed = {"inmodal_seg": "i_segm", "inmodal_bbox": "i_bbox", "segmentation": "a_segm"}
    layers = [(0, 1), (0, 2), (1, 0)]
    for annotation, (cluster, layer) in zip(data["annotations"], layers, strict=True):
        del annotation["area"]
        for old, new in {**renamed, "bbox": "a_bbox"}.items():
            annotation[new] = annotation.pop(old)
        annotation.update(oco_id=cluster, ico_id=layer)
    return data


def _instances():
    """COCO instances in no particular order; 14 is in no InstaOrder entry."""
    annotations = [
        {"id": 13, "image_id": 7, "category_id": 3, "segmentation": [C], "bbox": BOXES["C"]},
        {"id": 22, "image_id": 9, "category_id": 5, "segmentation": [B], "bbox": BOXES["B"]},
        {"id": 14, "image_id": 7, "category_id": 3, "segmentation": [C], "bbox": BOXES["C"]},
        {"id": 11, "image_id": 7, "category_id": 3, "segmentation": [A], "bbox": BOXES["A"]},
        {"id": 12, "image_id": 7, "category_id": 5, "segmentation": B_VISIBLE, "bbox": BOXES["B"]},
        {"id": 21, "image_id": 9, "category_id": 3, "segmentation": [A], "bbox": BOXES["A"]},
    ]
    for annotation in annotations:
        # What A, C, visible B (all runs) and whole B cover.
        areas = {11: 12, 21: 12, 12: 12, 22: 16, 13: 2, 14: 2}
        annotation.update(iscrowd=0, area=areas[annotation["id"]])
    images = [IMAGE, {**IMAGE, "id": 8, "file_name": "b.png"}, {**IMAGE, "id": 9}]
    images[2]["file_name"] = "c.png"
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def _instaorder():
    return {
        "annotations": [
            {
                "image_id": 9,
                "instance_ids": [21, 22],
                "occlusion": [{"order": "0<1 & 1<0", "count": 4}],
                "depth": [{"order": "0=1", "count": 2, "overlap": True}],
            },
            {
                "image_id": 7,
                "instance_ids": [12, 11, 13],
                "occlusion": [{"order": "1<0", "count": 2}],
                "depth": [
                    {"order": "1<0", "count": 2, "overlap": False},
                    {"order": "0=2", "count": 3, "overlap": True},
                ],
            },
        ]
    }


@pytest.fixture
def tiny():
    """Functions that make fresh copies of the tiny files' contents, by format."""
    makers = {
        "cocoa": _cocoa,
        "cocoa_cls": _cocoa_cls,
        "d2sa": _d2sa,
        "kins_2019": _kins_2019,
        "kins_2020": _kins_2020,
        "instances": _instances,
        "instaorder": _instaorder,
    }
    copies = {
        name: lambda make=make: json.loads(json.dumps(make())) for name, make in makers.items()
    }
    return SimpleNamespace(categories=CATEGORIES, **copies)


@pytest.fixture
def assert_records():
    """Asserts that two lists of records are equal, arrays with their dtypes."""

    def check(got, expected):
        assert [record["image_id"] for record in got] == [r["image_id"] for r in expected]
        for one, other in zip(got, expected, strict=True):
            assert one.keys() == other.keys()
            for key, value in other.items():
                if isinstance(value, np.ndarray):
                    assert one[key].dtype == value.dtype
                    np.testing.assert_array_equal(one[key], value, err_msg=key)
                else:
                    assert one[key] == value, key

    return check
