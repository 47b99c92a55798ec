"""Polygons of masks."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given

from occ_order import masks
from occ_order.formats.mask_fields import as_polygons, polygon_from_mask


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
