"""Levels of whole objects: known colours at known pixels, tiles, legends, no object."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.draw.colors import BACKGROUND_COLOR, instance_colors
from occ_order.draw.levels import (
    LEVEL_COLORS,
    draw_levels,
    draw_overlaps,
    draw_sem_dist,
    overlap_colors,
)
from occ_order.draw.whole import THIN, draw_amodal
from occ_order.targets import sem_dist

IMAGE = np.full((50, 80, 3), 90, np.uint8)


def two_objects() -> np.ndarray:
    """The first wholly visible; the second a square, its left half behind the first."""
    levels = np.full((2, 50, 80), -1, np.int8)
    levels[0, 5:45, 5:40] = 0
    levels[1, 10:40, 25:55] = 0
    levels[1, 10:40, 25:40] = 1
    return levels


def nearest_level(color: np.ndarray) -> int:
    return int(np.abs(LEVEL_COLORS.astype(int) - color).sum(axis=1).argmin())


def test_the_tile_of_a_hidden_object_has_the_colours_of_its_levels():
    image = draw_levels(IMAGE, two_objects(), side=180)
    # The only tile stands in the middle, below a heading of 22 and a gap of 2 pixels.
    left = (image.shape[1] - 180) // 2
    tile = image[24 : 24 + 180, left : left + 180]
    assert nearest_level(tile[90, 60]) == 1 and nearest_level(tile[90, 120]) == 0
    assert np.ptp(tile[2, 2].astype(int)) == 0, "grey outside the object"


def test_only_objects_of_which_a_part_is_hidden_get_a_tile():
    def width(levels, **options):
        return draw_levels(IMAGE, levels, side=400, **options).shape[1]

    one, three = two_objects(), np.concatenate([two_objects()[1:]] * 3)
    assert width(one) == 400 and width(three, width=1300) == 3 * 400 + 2 * 12
    assert width(three, width=1300, most=2) == 2 * 400 + 12
    assert draw_levels(IMAGE, three, side=400, width=400).shape[0] > 3 * 400
    little = one.copy()
    little[1, 10:40, 25:40] = 0
    little[1, 10, 25:40] = 1  # 15 of 900 pixels: the outlines are not that exact
    assert draw_levels(IMAGE, little, side=400).shape[0] < 100


def test_an_unsure_object_has_paler_colours():
    levels = two_objects()
    sure, unsure = (
        draw_levels(IMAGE, levels, confidence=np.where(levels >= 0, c, 0.0)) for c in (1.0, 0.55)
    )
    assert sure.shape == unsure.shape
    chroma = [np.ptp(image.astype(int), axis=2).sum() for image in (sure, unsure)]
    assert chroma[1] < 0.85 * chroma[0]


def test_a_sem_dist_map_is_drawn_as_its_levels():
    levels = two_objects()
    drawn, expected = draw_sem_dist(IMAGE, sem_dist(levels)), draw_levels(IMAGE, levels)
    assert drawn.shape == expected.shape
    assert np.abs(drawn.astype(int) - expected).max() <= 1  # C is 0.999 in the map


def test_how_many_objects_lie_at_a_pixel():
    image = draw_overlaps(two_objects() >= 0, scale=2)
    assert image.shape[1] >= 160
    left = (image.shape[1] - 160) // 2
    colors = overlap_colors(2).tolist()
    assert image[2 * 20, left + 2 * 10].tolist() == colors[0]
    assert image[2 * 20, left + 2 * 30].tolist() == colors[1]
    assert image[2, left + 2].tolist() == list(BACKGROUND_COLOR)


def test_hidden_parts_are_striped_in_the_colour_of_their_object():
    levels = two_objects()
    image = draw_amodal(IMAGE, levels == 0, levels >= 0, scale=4)
    color = instance_colors(2)[1]
    hidden = image[4 * 15 : 4 * 35, 4 * 28 : 4 * 36]
    share = (hidden == color).all(axis=2).mean()
    assert share == pytest.approx(THIN[0] / THIN[1], abs=0.05)
    visible = image[4 * 33 : 4 * 38, 4 * 43 : 4 * 53]
    assert not (visible == color).all(axis=2).any()


def test_no_object_has_images_too():
    none = np.zeros((0, 50, 80), np.int8)
    assert draw_levels(IMAGE, none).ndim == 3
    image = draw_overlaps(none.astype(bool))
    assert image[10, image.shape[1] // 2].tolist() == list(BACKGROUND_COLOR)


@pytest.mark.parametrize(
    ("levels", "confidence", "message"),
    [
        (np.zeros((1, 50, 80)), None, "must be integer"),
        (np.zeros((50, 80), int), None, "must be integer"),
        (np.zeros((1, 50, 81), int), None, "the image is"),
        (np.zeros((1, 50, 80), int), np.zeros((1, 50, 79)), "confidence has shape"),
    ],
)
def test_what_does_not_fit_is_refused(levels, confidence, message):
    with pytest.raises(ValueError, match=message):
        draw_levels(IMAGE, levels, confidence=confidence)
