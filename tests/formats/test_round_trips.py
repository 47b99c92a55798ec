"""Any small data set survives every format that can hold it, or is refused by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from occ_order import masks
from occ_order.formats.convert import DataSet, convert
from occ_order.formats.table import convertible
from occ_order.formats.user_masks import load_masks
from occ_order.order.encoding import DEPTH_REVERSED, UNKNOWN, empty_depth

SIZE = 7, 9
CATEGORIES = [{"id": 4, "name": "cup"}, {"id": 9, "name": "tray ü"}]


@st.composite
def records(draw):
    """One image of up to four instances with whole masks and orders, both from random numbers."""
    count, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    owner = rng.integers(-1, count, SIZE)
    owner[0, :count] = np.arange(count)  # something of each is visible
    visible = [owner == k for k in range(count)]
    occlusion = np.triu(rng.integers(0, 2, (count, count)), 1).astype(np.int8)
    depth, overlap, number = empty_depth(count)
    for i in range(count):
        for j in range(i):
            relation = int(rng.integers(-1, 3))
            depth[j, i], depth[i, j] = relation, DEPTH_REVERSED[relation] if relation >= 0 else -1
            overlap[i, j] = overlap[j, i] = rng.integers(0, 2) if relation >= 0 else UNKNOWN
            number[i, j] = number[j, i] = rng.integers(1, 9) if relation >= 0 else UNKNOWN
    annotations = []
    for k, mask in enumerate(visible):
        hidden = (rng.random(SIZE) < 0.3) & np.isin(owner, np.flatnonzero(occlusion[:, k]))
        annotations.append(
            {
                "id": 10 + k,
                "category_id": CATEGORIES[int(rng.integers(2))]["id"],
                "iscrowd": 0,
                "segmentation": masks.encode(mask),
                "bbox": masks.bounding_box(mask).tolist(),
                "amodal_segmentation": masks.encode(mask | hidden),
                "amodal_bbox": masks.bounding_box(mask | hidden).tolist(),
            }
        )
    orders = {"occlusion": occlusion, "depth": depth, "overlap": overlap, "count": number}
    size = {"height": SIZE[0], "width": SIZE[1]}
    return [{"image_id": 5, **size, "annotations": annotations, **orders}]


def in_folder(found, folder):
    """The data set with its image."""
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png")
    records = [{**record, "file_name": str(folder / "a.png")} for record in found]
    return DataSet(records, CATEGORIES, str(folder))


@pytest.mark.parametrize("format", convertible())
@settings(max_examples=15)
@given(found=records())
def test_what_comes_back_says_the_same(format, found):
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder(found, Path(folder))
        try:
            files, differences = convert(data, format, Path(folder, "out"), assume_none=True)
        except ValueError as error:
            assert format not in ("coco", "labelme", "results")  # which can say everything
            assert "image 5" in str(error) or "would say something else" in str(error)
            assert not list(Path(folder).glob("out/*.json"))
            return
        assert files and not differences.changed


@settings(max_examples=15)
@given(found=records())
def test_visible_parts_are_the_masks_of_every_format_that_has_them_in_coco(found):
    """Given as masks of the image, COCOA-cls, KINS, COCO and results mean the same pixels."""
    expected = masks.decode_all([a["segmentation"] for a in found[0]["annotations"]], *SIZE)
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder(found, Path(folder))
        for format in ("coco", "cocoa_cls", "kins", "results", "labelme"):
            try:
                files, _ = convert(data, format, Path(folder, format), allow_changes=True)
            except ValueError:
                continue
            given = load_masks(files[0], SIZE, image_name="a.png")
            assert sorted(map(bytes, given.modal)) == sorted(map(bytes, expected)), format
