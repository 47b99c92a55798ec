"""Generated scenes through every file format and back."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order import masks
from occ_order.formats import (
    load_cocoa,
    load_cocoa_cls,
    load_instaorder,
    load_kins,
    save_cocoa,
    save_cocoa_cls,
    save_instaorder,
    save_kins,
)
from occ_order.formats.validate import validate
from occ_order.scenes import CLASSES, generate, to_record

CATEGORIES = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]


@pytest.fixture(scope="module")
def records():
    scenes = [generate(seed, size=(96, 128), num_instances=2 + seed) for seed in range(8)]
    made = [
        to_record(scene, image_id=k + 1, file_name=f"r/{k}.png", front_to_back=True)
        for k, scene in enumerate(scenes)
    ]
    mutual = [(r["occlusion"] == 1) & (r["occlusion"].T == 1) for r in made]
    assert any(pairs.any() for pairs in mutual), "the scenes should hold mutual occlusion"
    return made


def written(kind, records, folder):
    """Writes and reads; returns (records again, file)."""
    path = folder / f"{kind}.json"
    if kind == "instaorder":
        instances = folder / "instances.json"
        save_instaorder(records, path, instances, CATEGORIES, image_root="r")
        return load_instaorder(path, instances, "r"), path
    if kind == "cocoa":
        save_cocoa(records, path, image_root="r")
        return load_cocoa(path, "r"), path
    save, load = {
        "cocoa_cls": (save_cocoa_cls, load_cocoa_cls),
        "kins": (save_kins, load_kins),
    }[kind]
    save(records, path, CATEGORIES, image_root="r")
    return load(path, "r"), path


KINDS = ("instaorder", "cocoa", "cocoa_cls", "kins")


@pytest.mark.parametrize("kind", KINDS)
def test_masks_boxes_and_ids_survive(records, tmp_path, kind):
    again, _ = written(kind, records, tmp_path)
    for record, other in zip(records, again, strict=True):
        size = record["height"], record["width"]
        for key in ("file_name", "image_id", "height", "width"):
            assert record[key] == other[key]
        for one, two in zip(record["annotations"], other["annotations"], strict=True):
            assert (one["id"], one["bbox"], one["iscrowd"]) == (two["id"], two["bbox"], 0)
            assert two["category_id"] == (1 if kind == "cocoa" else one["category_id"])
            for key in ("segmentation", "amodal_segmentation"):
                if key in two:
                    np.testing.assert_array_equal(
                        masks.decode(one[key], *size), masks.decode(two[key], *size)
                    )
            if kind != "instaorder":
                assert one["amodal_bbox"] == two["amodal_bbox"]


@pytest.mark.parametrize("kind", KINDS)
def test_orders_survive(records, tmp_path, kind):
    """Layers (KINS, D2SA) cannot hold mutual occlusion: exactly those pairs become unknown."""
    again, _ = written(kind, records, tmp_path)
    for record, other in zip(records, again, strict=True):
        expected = record["occlusion"].copy()
        if kind in ("cocoa_cls", "kins"):
            expected[(expected == 1) & (expected.T == 1)] = -1
        np.testing.assert_array_equal(other["occlusion"], expected)
        assert other["occlusion"].dtype == np.int8
        for key in ("depth", "overlap", "count"):
            if kind == "instaorder":
                np.testing.assert_array_equal(other[key], record[key])
            else:
                assert key not in other


@pytest.mark.parametrize("kind", KINDS)
def test_written_files_are_valid(records, tmp_path, kind):
    _, path = written(kind, records, tmp_path)
    instances = tmp_path / "instances.json" if kind == "instaorder" else None
    result = validate(path, instances=instances)
    assert result.errors == []
    assert result.counts["images"] == len(records)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_again_gives_the_same_bytes(records, tmp_path, kind):
    again, path = written(kind, records, tmp_path)
    first = path.read_bytes()
    if kind in ("cocoa_cls", "kins"):  # they refuse unknown pairs, which mutual ones have become
        for record, original in zip(again, records, strict=True):
            record["occlusion"] = original["occlusion"]
    written(kind, again, tmp_path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("kind", KINDS)
def test_no_records_at_all(tmp_path, kind):
    again, _ = written(kind, [], tmp_path)
    assert again == []
