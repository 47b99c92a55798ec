"""Textures, relief and backgrounds."""

import numpy as np
import pytest

from occ_order.scenes import textures, world
from occ_order.scenes.layout import window
from occ_order.scenes.shapes import CLASSES, make


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("kind", textures.KINDS)
@pytest.mark.parametrize("size", [(1, 1), (40, 7), (33, 64)])
def test_patterns_stay_in_their_range(kind, size):
    grey = textures.pattern(kind, rng(), *size, 6.0)
    assert grey.shape == size and grey.dtype == np.float32
    assert grey.min() >= 0 and grey.max() <= 1


@pytest.mark.parametrize("kind", [k for k in textures.KINDS if k != "plain"])
def test_patterns_have_contrast(kind):
    assert textures.pattern(kind, rng(1), 64, 64, 8.0).std() > 0.05


def test_relief_of_a_disc_is_a_hemisphere():
    y, x = np.mgrid[:81, :81] - 40
    distance = np.hypot(y, x)
    height = textures.relief(distance < 36, 36.0)
    inside = distance < 30
    expected = np.sqrt(1 - (distance[inside] / 36) ** 2)
    assert np.abs(height[inside] - expected).max() < 0.05
    assert height[distance > 42].max() == 0


def test_the_side_towards_the_light_is_brighter():
    y, x = np.mgrid[:61, :61] - 30
    height = textures.relief(np.hypot(y, x) < 28, 28.0)
    diffuse, spot = textures.shade(height, 28.0, np.array([-0.7, 0.0, 0.714]), 0.5)
    assert diffuse[30, 12] > diffuse[30, 48] + 0.3
    assert spot.max() <= 0.5 and spot[30, :30].max() > spot[30, 31:].max()


@pytest.mark.parametrize("kind", world.KINDS)
def test_floor_disparity_grows_downwards_and_matches_the_foot(kind):
    for seed in range(5):
        place = world.draw_world(rng(seed), kind, 120, 90)
        disparity = place.floor_disparity()[:, 0]
        assert (np.diff(disparity) >= 0).all() and disparity[0] == np.float32(1 / place.back)
        if place.camera:
            row = place.foot(1 / float(disparity[110]))
            assert row == pytest.approx(110.5, abs=0.01)
        image = world.paint_world(rng(seed), place)
        assert image.shape == (120, 90, 3) and np.isfinite(image).all()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("px", [9.0, 40.0, 400.0])
def test_shapes_stand_on_their_foot_and_are_one_high(name, px):
    for seed in range(8):
        points = np.concatenate(make(name, rng(seed), px).outline)
        low, high = points.min(axis=0), points.max(axis=0)
        assert -1.25 < low[1] < -0.7 and -0.3 < high[1] < 0.25
        assert 0.01 < high[0] - low[0] < 5


def test_window_clips_both_sides_alike():
    seen, inside = window((-3, 5, 4, 20), 10, 12)
    assert seen == (slice(0, 4), slice(5, 12))
    assert inside == (slice(3, 7), slice(0, 7))
    outside, _ = window((20, 20, 30, 30), 10, 12)
    assert outside[0].start >= outside[0].stop or outside[1].start >= outside[1].stop
