"""Paths that stay in their folder, files that appear whole or not at all, polygons from masks."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from occ_order import masks
from occ_order.data.datasets.files import (
    image_size,
    join_path,
    read_json,
    relative_name,
    write_json,
)
from occ_order.data.datasets.mask_fields import as_polygons, polygon_from_mask


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.png", "r/a.png"),
        ("./x//a b.png", "r/x/a b.png"),
        ("ä/..a.png", "r/ä/..a.png"),
    ],
)
def test_join_path(name, expected):
    assert join_path("r", name) == expected
    assert relative_name(expected, "r") == expected[2:]


def test_relative_name_without_folder_changes_nothing():
    assert relative_name("x/../a.png", None) == "x/../a.png"


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "ä b" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [child.name for child in path.parent.iterdir()] == ["x.json"]


def test_written_files_can_be_read_by_others(tmp_path):
    write_json(tmp_path / "x.json", {"name": "é"})
    (tmp_path / "y.json").write_text("{}")
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "y.json").stat().st_mode


def test_image_size_is_that_of_the_upright_picture(tmp_path):
    picture = Image.new("RGB", (5, 3))
    picture.save(tmp_path / "plain.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "plain.jpg") == (5, 3)
    assert image_size(tmp_path / "turned.jpg") == (3, 5)


@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_one_polygon_holds_any_mask(mask):
    """Also with holes and many parts: the published rasteriser gives the same pixels back."""
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            polygon_from_mask(mask)
        return
    polygon = polygon_from_mask(mask)
    np.testing.assert_array_equal(masks.decode([polygon], *mask.shape), mask)


def test_polygon_of_a_rectangle_has_its_four_corners():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    corners = np.reshape(polygon_from_mask(mask), (-1, 2)).tolist()
    assert sorted(corners) == [[2, 1], [2, 4], [7, 1], [7, 4]]


def test_polygons_stay_as_they_are():
    polygons = [[1.5, 1, 5, 1, 5, 4.25]]
    assert as_polygons(polygons, 6, 8) is polygons
    assert as_polygons(polygons[0], 6, 8) == polygons
