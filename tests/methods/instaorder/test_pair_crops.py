"""Where the crop of a pair lies, and what is in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from occ_order.methods.common.pair_crops import (
    crop_images,
    crop_masks,
    expanded_boxes,
    mask_boxes,
    pair_squares,
    paste_masks,
    resize_images,
    resize_masks,
    union_boxes,
)

BOTH = torch.tensor([[0, 1]])


def square(*boxes, **options):
    return pair_squares(torch.tensor(boxes, dtype=torch.float32), BOTH, **options)[0].tolist()


def test_union_is_the_box_around_both():
    boxes = torch.tensor([[10.0, 20, 30, 60], [20, 30, 50, 50]])
    assert union_boxes(boxes, BOTH).tolist() == [[10, 20, 50, 60]]


def test_crop_inside_the_image_by_hand():
    # Union 40 x 40 around (30, 40): side sqrt(2 * 1600) = 56.57 -> 56; corner 1.7, 11.7 -> 1, 11.
    assert square((10, 20, 30, 60), (20, 30, 50, 50)) == [1, 11, 56]


def test_a_long_pair_gets_a_tenth_more_than_its_length():
    # 100 x 10: sqrt(2000) = 44.7 < 110; centre (50, 5): corner -5, -50.
    assert square((0, 0, 100, 10), (0, 0, 100, 10)) == [-5, -50, 110]


def test_corners_beyond_the_border_are_cut_off_towards_zero():
    # Side 28.28; corner 10 - 14.14 = -4.14, which is -4, not the floor -5.
    assert square((0, 0, 20, 20), (0, 0, 20, 20)) == [-4, -4, 28]


def test_identical_boxes_expanded_twice_by_hand():
    # Alone: side sqrt(3 * 400) = 34.64 -> 34, corner -7.32 -> -7. Then the pair's square around
    # (-7, -7, 27, 27): sqrt(2) * 34 = 48.08 -> 48, corner 10 - 24.04 = -14.04 -> -14.
    assert expanded_boxes(torch.tensor([[0.0, 0, 20, 20]])).tolist() == [[-7, -7, 27, 27]]
    assert square((0, 0, 20, 20), (0, 0, 20, 20), expand_first=True) == [-14, -14, 48]


@pytest.mark.parametrize(
    ("boxes", "ratio"),
    [(((30, 30, 90, 90), (30, 30, 90, 90)), 1.73), (((0, 0, 60, 60), (60, 60, 120, 120)), 1.37)],
)
def test_double_expansion_makes_the_test_crop_larger(boxes, ratio):
    assert square(*boxes, expand_first=True)[2] / square(*boxes)[2] == pytest.approx(
        ratio, abs=0.02
    )


def test_jitter_moves_by_sides_and_divides_by_the_scale():
    # Side 56.57 around (30, 40): centre moves by (0.1, -0.2) * 56.57, side / 0.8 = 70.7.
    jitter = torch.tensor([[0.1, -0.2, 0.8]])
    expected = [30 + 5.657 - 35.355, 40 - 11.314 - 35.355, 70.71]
    found = square((10, 20, 30, 60), (20, 30, 50, 50), jitter=jitter)
    assert found == [int(value) for value in expected]


def test_a_pair_and_its_reverse_have_the_same_crop():
    boxes = torch.rand(6, 2).repeat(1, 2) * 50
    boxes[:, 2:] += 5 + 30 * torch.rand(6, 2)
    pairs = torch.tensor([[0, 1], [2, 5], [4, 3]])
    assert pair_squares(boxes, pairs).tolist() == pair_squares(boxes, pairs.flip(1)).tolist()


def test_empty_masks_have_a_zero_box_and_a_crop_of_one_pixel():
    masks = torch.zeros((2, 9, 7))
    assert mask_boxes(masks).tolist() == [[0, 0, 0, 0]] * 2
    assert pair_squares(mask_boxes(masks), BOTH).tolist() == [[0, 0, 1]]
    assert mask_boxes(torch.zeros((0, 9, 7))).shape == (0, 4)


def test_boxes_are_tight_and_exclusive():
    masks = torch.zeros((1, 9, 7))
    masks[0, 2:5, 3] = 1
    assert mask_boxes(masks).tolist() == [[3, 2, 4, 5]]


def padded_crop(array, x, y, side):
    """The square of an array (H, W, ...) with zeros around it, by NumPy."""
    room = 300
    padding = [(room, room)] * 2 + [(0, 0)] * (array.ndim - 2)
    padded = np.pad(array, padding)
    return padded[y + room : y + room + side, x + room : x + room + side]


SQUARES = [(3, 4, 20), (-9, 5, 37), (20, -30, 64), (-40, -40, 150), (30, 22, 9), (200, 200, 8)]


def test_mask_crops_are_those_of_opencv():
    masks = torch.rand(3, 50, 60) > 0.5
    index = torch.tensor([0, 1, 2, 0, 1, 2])
    found = crop_masks(masks, index, torch.tensor(SQUARES), 32)
    for crop, k, place in zip(found, index, SQUARES, strict=True):
        expected = padded_crop(masks[k].numpy().astype(np.uint8), *place)
        expected = cv2.resize(expected, (32, 32), interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(crop.numpy(), expected)


def test_image_crops_are_those_of_opencv_inside_and_black_outside():
    pixels = cv2.GaussianBlur(np.random.rand(50, 60, 3).astype(np.float32) * 255, (0, 0), 2)
    found = crop_images(torch.from_numpy(pixels).permute(2, 0, 1), torch.tensor(SQUARES), 32)
    for crop, (x, y, side) in zip(found, SQUARES, strict=True):
        expected = cv2.resize(
            padded_crop(pixels, x, y, side), (32, 32), interpolation=cv2.INTER_CUBIC
        )
        rim = int(np.ceil(2 * 32 / side))  # there OpenCV repeats the last pixel of the crop
        inside = slice(rim, 32 - rim)
        np.testing.assert_allclose(
            crop.permute(1, 2, 0)[inside, inside], expected[inside, inside], atol=0.05
        )
    assert not found[-1].any()


def test_stretching_is_that_of_opencv():
    pixels = np.random.rand(50, 60, 3).astype(np.float32) * 255
    found = resize_images(torch.from_numpy(pixels).permute(2, 0, 1), (32, 32))
    expected = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=0.01)
    mask = (pixels[:, :, 0] > 100).astype(np.uint8)
    stretched = cv2.resize(mask, (32, 32), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(resize_masks(torch.from_numpy(mask)[None], (32, 32))[0], stretched)


def test_pasting_undoes_a_crop_of_the_same_size():
    masks = torch.rand(2, 30, 40) > 0.5
    places = torch.tensor([[4, 5, 16], [-6, 20, 16]])
    crops = crop_masks(masks, torch.tensor([0, 1]), places, 16)
    pasted = paste_masks(crops, places, (30, 40))
    assert torch.equal(pasted[0, 5:21, 4:20], masks[0, 5:21, 4:20])
    assert torch.equal(pasted[1, 20:30, 0:10], masks[1, 20:30, 0:10])
    assert pasted[0].sum() == masks[0, 5:21, 4:20].sum()
    assert pasted[1].sum() == masks[1, 20:30, 0:10].sum()


def test_nothing_gives_nothing():
    none = torch.zeros((0, 3), dtype=torch.int64)
    masks, image = torch.zeros((0, 9, 7)), torch.zeros((3, 9, 7))
    assert crop_masks(masks, none[:, 0], none, 8).shape == (0, 8, 8)
    assert crop_images(image, none, 8).shape == (0, 3, 8, 8)
    assert resize_masks(masks, (8, 8)).shape == (0, 8, 8)
    assert paste_masks(masks, none, (5, 6)).shape == (0, 5, 6)
    assert pair_squares(torch.zeros((0, 4)), none[:, :2]).shape == (0, 3)
