"""COCOA-cls, D2SA and both versions of KINS: one image, four files, one order."""

from __future__ import annotations

import json

import numpy as np
import pytest

from occ_order import masks
from occ_order.formats import load_cocoa_cls, load_kins, read_categories, save_cocoa_cls, save_kins

EXPECTED = [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
LOADERS = {
    "cocoa_cls": load_cocoa_cls,
    "d2sa": load_cocoa_cls,
    "kins_2019": load_kins,
    "kins_2020": load_kins,
}


@pytest.mark.parametrize("kind", LOADERS)
def test_tiny_file(tiny, write, kind):
    (record,) = LOADERS[kind](write(getattr(tiny, kind)()), "root")
    assert [a["category_id"] for a in record["annotations"]] == [3, 5, 3]
    behind = record["annotations"][1]
    assert behind["bbox"] == behind["amodal_bbox"] == [3.0, 2.0, 7.0, 6.0]
    assert masks.decode(behind["segmentation"], 6, 8).sum() == 12
    assert masks.decode(behind["amodal_segmentation"], 6, 8).sum() == 16
    if kind == "cocoa_cls":
        assert "occlusion" not in record
    else:
        np.testing.assert_array_equal(record["occlusion"], EXPECTED)
        assert record["occlusion"].dtype == np.int8


def test_order_of_d2sa_needs_every_depth(tiny, write):
    data = tiny.d2sa()
    del data["annotations"][2]["occl_depth"]
    assert "occlusion" not in load_cocoa_cls(write(data), "")[0]


@pytest.mark.parametrize("kind", ["d2sa", "kins_2020"])
def test_equal_layers_are_unknown_where_masks_meet(tiny, write, kind):
    data = getattr(tiny, kind)()
    for annotation in data["annotations"][:2]:
        annotation.update({"occl_depth": 1} if kind == "d2sa" else {"ico_id": 1})
    (record,) = LOADERS[kind](write(data), "")
    np.testing.assert_array_equal(record["occlusion"], [[0, -1, 0], [-1, 0, 0], [0, 0, 0]])


def test_layers_order_only_what_overlaps(tiny, write):
    """C is in the cluster and behind both, but touches neither."""
    data = tiny.kins_2020()
    data["annotations"][2].update(oco_id=0, ico_id=3)
    np.testing.assert_array_equal(load_kins(write(data), "")[0]["occlusion"], EXPECTED)


def test_clusters_are_separate(tiny, write):
    data = tiny.kins_2020()
    data["annotations"][1]["oco_id"] = 5
    assert not load_kins(write(data), "")[0]["occlusion"].any()


def test_2019_order_comes_from_masks_not_from_the_list(tiny, write):
    data = tiny.kins_2019()
    data["annotations"].reverse()
    (record,) = load_kins(write(data), "")
    np.testing.assert_array_equal(record["occlusion"], [[0, 0, 0], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("kind", ["kins_2019", "kins_2020"])
def test_kins_without_order(tiny, write, kind):
    (record,) = load_kins(write(getattr(tiny, kind)()), "", with_order=False)
    assert "occlusion" not in record
    assert len(record["annotations"]) == 3


@pytest.mark.parametrize("kind", ["cocoa_cls", "d2sa"])
def test_coco_amodal_round_trip(tiny, write, tmp_path, assert_records, kind):
    records = load_cocoa_cls(write(getattr(tiny, kind)()), "root")
    save_cocoa_cls(records, tmp_path / "x.json", tiny.categories, image_root="root")
    again = load_cocoa_cls(tmp_path / "x.json", "root")
    for annotation in again[0]["annotations"]:  # the writer always writes visible masks and rates
        annotation["segmentation"] = masks.decode(annotation["segmentation"], 6, 8).tolist()
    for annotation in records[0]["annotations"]:
        annotation["segmentation"] = masks.decode(annotation["segmentation"], 6, 8).tolist()
        annotation.setdefault("occlude_rate", 0.0)
    assert_records(again, records)


def test_kins_round_trip(tiny, write, tmp_path, assert_records):
    records = load_kins(write(tiny.kins_2020()), "root")
    for annotation in records[0]["annotations"]:  # KINS holds visible masks as RLE
        visible = masks.decode(annotation["segmentation"], 6, 8)
        annotation["segmentation"] = masks.encode(visible)
    save_kins(records, tmp_path / "x y.json", tiny.categories, image_root="root")
    assert_records(load_kins(tmp_path / "x y.json", "root"), records)
    assert read_categories(tmp_path / "x y.json") == tiny.categories


def test_written_kins_has_the_keys_of_2020(tiny, write, tmp_path):
    records = load_kins(write(tiny.kins_2019()), "")
    save_kins(records, tmp_path / "x.json", tiny.categories)
    annotations = json.loads((tmp_path / "x.json").read_text())["annotations"]
    assert [(a["oco_id"], a["ico_id"]) for a in annotations][:2] == [(0, 1), (0, 2)]
    assert annotations[2]["ico_id"] == 0
    behind = annotations[1]
    assert (behind["a_area"], behind["i_area"]) == (16, 12)
    assert behind["a_segm"] == [[3, 2, 7, 2, 7, 6, 3, 6]]
    assert isinstance(behind["i_segm"]["counts"], str)
    assert behind["a_bbox"] == behind["i_bbox"] == [3.0, 2.0, 4.0, 4.0]


def test_mutual_occlusion_reads_back_as_unknown(tiny, write, tmp_path):
    records = load_kins(write(tiny.kins_2020()), "")
    records[0]["occlusion"][1, 0] = 1
    save_kins(records, tmp_path / "x.json", tiny.categories)
    save_cocoa_cls(records, tmp_path / "y.json", tiny.categories)
    for again in (load_kins(tmp_path / "x.json", ""), load_cocoa_cls(tmp_path / "y.json", "")):
        assert again[0]["occlusion"][0, 1] == again[0]["occlusion"][1, 0] == -1


def test_images_without_annotations(tiny, write):
    for kind, load in LOADERS.items():
        data = {**getattr(tiny, kind)(), "annotations": []}
        (record,) = load(write(data), "")
        assert record["annotations"] == []
    assert (
        load_kins(write({"images": [], "annotations": [], "categories": tiny.categories}), "") == []
    )


def test_categories_are_sorted_by_id(tiny, write):
    data = tiny.kins_2019()
    data["categories"].reverse()
    assert read_categories(write(data)) == tiny.categories
    assert read_categories(write(tiny.cocoa())) == [{"id": 1, "name": "object"}]


@pytest.mark.parametrize("save", [save_kins, save_cocoa_cls])
def test_writers_refuse_unknown_categories_and_missing_amodal_masks(tiny, write, tmp_path, save):
    records = load_kins(write(tiny.kins_2020()), "")
    with pytest.raises(ValueError, match="annotation 2: category_id 5 is not among"):
        save(records, tmp_path / "x.json", [{"id": 3, "name": "cup"}])
    del records[0]["annotations"][1]["amodal_segmentation"]
    with pytest.raises(ValueError, match="annotation 2: .*amodal_segmentation"):
        save(records, tmp_path / "x.json", tiny.categories)
