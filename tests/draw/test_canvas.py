"""Images as arrays: checks, sizes, labels, files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from occ_order.draw import canvas


def test_grey_becomes_three_equal_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    drawing = canvas.check_image(grey)
    assert drawing.shape == (2, 3, 3)
    assert (drawing == grey[..., None]).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros(4, np.uint8)]
)
def test_what_is_no_image_is_refused_with_its_shape(image):
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H, W, 3\).*got"):
        canvas.check_image(image)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\) but the image is \(4, 3\)"):
        canvas.check_masks(np.zeros((1, 3, 4), bool), (4, 3))


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("shape", [(5, 7, 3), (0, 7, 3), (5, 0, 3)])
def test_enlarge_multiplies_both_sides_also_of_nothing(scale, shape):
    image = np.full(shape, 9, np.uint8)
    large = canvas.enlarge(image, scale)
    assert large.shape == (shape[0] * scale, shape[1] * scale, 3)
    assert (large == 9).all()
    assert canvas.enlarge_mask(image[..., 0] > 0, scale).shape == large.shape[:2]


def test_enlarge_without_smoothing_repeats_pixels():
    image = np.array([[0, 200]], np.uint8)
    assert canvas.enlarge(image, 2, smooth=False).tolist() == [[0, 0, 200, 200]] * 2


def test_enlarge_refuses_a_factor_below_one():
    with pytest.raises(ValueError, match="scale"):
        canvas.enlarge(np.zeros((2, 2), np.uint8), 0)


@pytest.mark.parametrize(("size", "scale"), [((64, 64), 10), ((240, 320), 2), ((640, 480), 1)])
def test_small_images_are_shown_larger(size, scale):
    assert canvas.display_scale(*size) == scale


def test_nothing_is_shown_at_scale_one():
    assert canvas.display_scale(0, 0) == 1


def test_label_point_lies_inside_a_ring():
    y, x = np.mgrid[:41, :41]
    ring = np.abs(np.hypot(y - 20, x - 20) - 14) < 4
    points = canvas.label_points(np.stack([ring, np.zeros_like(ring)]))
    px, py = points[0].astype(int)
    assert ring[py, px]
    assert np.isnan(points[1]).all()


def test_label_point_of_a_square_is_its_centre():
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 4:15, 10:21] = True
    assert canvas.label_points(mask).tolist() == [[15.0, 9.0]]


def test_labels_change_only_their_surroundings_and_stay_inside():
    drawing = np.zeros((60, 80, 3), np.uint8)
    color = np.array([[250, 250, 0]], np.uint8)
    drawn = canvas.draw_labels(drawing, ["7"], np.array([[79.0, 0.0]]), color)
    ys, xs = np.nonzero(drawn.any(2))
    assert ys.min() >= 0 and ys.max() < 30 and xs.min() > 45
    assert (drawn == color[0]).all(2).any()
    assert not drawing.any()


def test_unnamed_and_unplaced_labels_draw_nothing():
    drawing = np.zeros((9, 9, 3), np.uint8)
    points = np.array([[4.0, 4.0], [np.nan, 1.0]])
    drawn = canvas.draw_labels(drawing, ["", "5"], points, np.full((2, 3), 200, np.uint8))
    assert not drawn.any()


@pytest.mark.parametrize(
    ("color", "ink"),
    [((255, 255, 0), canvas.INK), ((0, 0, 120), canvas.PAPER), ((0, 0, 0), canvas.PAPER)],
)
def test_text_contrasts_with_its_plate(color, ink):
    assert canvas.text_color(color) == ink


def test_join_centres_and_keeps_the_pixels():
    small, large = np.full((2, 3, 3), 10, np.uint8), np.full((6, 4, 3), 20, np.uint8)
    row = canvas.join([small, large], gap=5)
    assert row.shape == (6, 12, 3)
    assert (row[2:4, :3] == 10).all() and (row[:, 8:] == 20).all()
    assert (row[:2, :8] == 255).all()
    assert canvas.join([small, large], axis=0, gap=0).shape == (8, 4, 3)
    assert canvas.join([]).shape == (0, 0, 3)


def test_png_comes_back_as_it_was_and_jpeg_nearly():
    drawing = np.zeros((16, 24, 3), np.uint8)
    drawing[:, :12] = (200, 30, 60)
    png = cv2.imdecode(np.frombuffer(canvas.png_bytes(drawing), np.uint8), cv2.IMREAD_COLOR)
    assert (png[..., ::-1] == drawing).all()
    few = canvas.png_bytes(drawing, colors=8)
    assert (cv2.imdecode(np.frombuffer(few, np.uint8), 1)[..., ::-1] == drawing).all()
    jpeg = cv2.imdecode(np.frombuffer(canvas.jpeg_bytes(drawing), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(jpeg[..., ::-1].astype(int) - drawing)[:, :8].max() < 12


def test_an_empty_image_has_no_file():
    with pytest.raises(ValueError, match=r"empty image of shape \(0, 5, 3\)"):
        canvas.png_bytes(np.zeros((0, 5, 3), np.uint8))


def test_fade_goes_grey_and_light():
    image = np.zeros((1, 1, 3), np.uint8)
    image[0, 0] = (255, 0, 0)
    faded = canvas.fade(image, 0.5)[0, 0]
    assert faded[0] == faded[1] == faded[2] == round((76 + 255) / 2)
    assert canvas.fade(np.zeros((0, 3, 3), np.uint8)).shape == (0, 3, 3)
