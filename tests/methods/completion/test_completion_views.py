"""The square views of instances and of what may hide them."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.methods.completion import views

NOTHING = np.zeros((0, 4))


def test_the_square_shows_the_instance_and_what_may_hide_it():
    box = np.array([10, 10, 30, 20])
    # Longer side 20, a tenth more: 22, around (20, 15).
    assert views.view_square(box, NOTHING).tolist() == [9, 4, 22]
    # A neighbour from x = 25 to 40: 10 to 40 are shown, 33 with the margin, around (25, 15).
    near = [[25, 12, 40, 18]]
    assert views.view_square(box, near).tolist() == [8, -2, 33]
    # Of one that goes on for ever, as much as lies within 3 sides: up to 20 + 30.
    assert views.view_square(box, [[25, 12, 900, 18]]).tolist() == [8, -7, 44]
    # One that lies beyond is not looked at.
    assert views.view_square(box, [[51, 12, 60, 18]]).tolist() == [9, 4, 22]
    assert views.view_square(box, NOTHING, margin=1.0).tolist() == [10, 5, 20]
    assert views.view_square(np.zeros(4), NOTHING)[2] == 1  # of an empty mask


def test_a_cell_is_the_mean_of_its_pixels_and_nothing_beyond_the_image():
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True
    assert views.crop(mask, (0, 0, 4), 2).tolist() == [[1, 0.5], [0, 0]]
    assert views.crop(mask, (-2, -2, 4), 2).tolist() == [[0, 0], [0, 1]]
    assert views.crop(mask, (0, 0, 4), 4).tolist() == mask[:, :4].astype(float).tolist()
    assert not views.crop(mask, (50, -90, 4), 2).any()


@pytest.mark.parametrize("square", [(0, 0, 8), (-3, 2, 8), (4, -5, 8), (-20, 0, 8), (3, 30, 8)])
def test_what_is_pasted_is_what_was_cropped(square):
    mask = np.random.default_rng(0).random((11, 9)) < 0.5
    pasted = np.zeros(mask.shape)
    pasted[views.shown(square, mask.shape)] = views.paste(
        views.crop(mask, square, 8), square, mask.shape
    )
    x, y, side = square
    inside = np.zeros_like(mask)
    inside[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = True
    assert (pasted == (mask & inside)).all()


def test_a_constant_stays_one_at_any_size():
    for side in (5, 16, 37):
        pasted = views.paste(np.full((16, 16), 0.25, np.float32), (2, 3, side), (60, 60))
        assert pasted.shape == (side, side) and (pasted == 0.25).all()


def test_the_maps_of_a_view():
    modal = np.zeros((4, 8, 8), bool)
    modal[0, 2:6, 2] = modal[0, 5, 2:6] = True  # an L
    modal[1, 0, 0], modal[2, 0, :2], modal[3, 7, 7] = True, True, True
    boxes = np.array([[2, 2, 6, 6], [0, 0, 1, 1], [0, 0, 2, 1], [7, 7, 8, 8]])
    view = views.mask_view(modal, boxes, 0, np.array([1.0, 0.5, 0.25, 0.0]), np.array([0, 0, 9]), 9)
    own, hiding, others, image, hull = view[:, :8, :8]
    assert view.shape == (views.CHANNELS, 9, 9) and view.dtype == np.float32
    assert (own == modal[0]).all()
    # The larger of two chances; the instance's own place in `weights` says nothing.
    assert hiding[0, :3].tolist() == [0.5, 0.25, 0] and hiding.sum() == 0.75
    assert (others == modal[3]).all()
    assert image.all() and not view[:, 8].any() and not view[:, :, 8].any()
    triangle = np.tril(np.ones((4, 4), bool))
    assert (hull[2:6, 2:6] == triangle).all() and hull.sum() == triangle.sum()


def test_boxes_that_meet():
    boxes = [[0, 0, 4, 4], [4, 0, 8, 4], [6, 0, 8, 4]]
    assert views.meets(boxes, [2, 2, 4, 4]).tolist() == [True, False, False]
    assert views.meets(boxes, [2, 2, 4, 4], gap=1).tolist() == [True, True, False]
    assert views.meets([], [0, 0, 1, 1]).shape == (0,)
