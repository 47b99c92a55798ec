"""A figure without axes: places, discs and layers of what is drawn, at two resolutions."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.draw.pixel_figure import PixelFigure

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain(color: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


@pytest.mark.parametrize("sharpness", [1, 2])
def test_points_are_pixels_from_the_top_left(sharpness):
    figure = PixelFigure(60, 40, sharpness=sharpness)
    figure.circle(np.array([15.0, 30.0]), 5, facecolor="red", linewidth=0)
    drawn = figure.render()
    assert drawn.shape == (40 * sharpness, 60 * sharpness, 3)
    red = np.argwhere((drawn == RED).all(-1)) / sharpness
    assert np.abs(red.mean(0) + 0.5 / sharpness - (30, 15)).max() < 0.1
    assert len(red) == pytest.approx(np.pi * 25 * sharpness**2, rel=0.25)


def test_an_image_is_copied_below_everything_else():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    figure = PixelFigure(50, 36)
    figure.circle(np.array([25.0, 15.0]), 4, facecolor="red", zorder=0, linewidth=0)
    figure.image(photo)
    drawn = figure.render()
    assert (drawn[:30, :20] == photo[:, :20]).all() and (drawn[30:] == 255).all()
    assert tuple(drawn[15, 25]) == RED


@pytest.mark.parametrize("sharpness", [1, 1.5])
def test_a_disc_shows_its_image_the_right_way_up(sharpness):
    square = np.concatenate([plain(RED, 20, 40), plain(BLUE, 20, 40)])
    figure = PixelFigure(60, 50, sharpness=sharpness)
    figure.disc(square, np.array([30.0, 25.0]), 12, zorder=2)
    drawn = figure.render()

    def at(x: float, y: float) -> tuple[int, ...]:
        return tuple(drawn[int(y * sharpness), int(x * sharpness)].tolist())

    assert at(30, 16) == RED and at(30, 34) == BLUE
    assert at(30, 11) == at(30, 39) == at(16, 25) == at(44, 25) == (255, 255, 255)
    assert at(20, 15) == at(40, 35) == (255, 255, 255)  # the corners of the square are cut off
