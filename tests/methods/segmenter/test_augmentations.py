"""Large-scale jitter: sizes, and that masks and points go where the pixels go."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from occ_order.methods.segmenter.augmentations import LargeScaleJitter, ResizedWindow


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [(60, 80), (200, 30), (1, 1), (37, 91)])
def test_the_result_fits_and_keeps_the_shape_of_things(seed, shape):
    np.random.seed(seed)
    image = np.zeros((*shape, 3), np.uint8)
    change = LargeScaleJitter((48, 64), (0.5, 2.0)).get_transform(image)
    result = change.apply_image(image)
    assert result.shape[0] <= 48 and result.shape[1] <= 64 and min(result.shape[:2]) >= 1
    x0, y0, x1, y1 = change.window
    assert 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]
    factors = result.shape[0] / (y1 - y0), result.shape[1] / (x1 - x0)
    if min(y1 - y0, x1 - x0) > 10:  # rounding counts for less
        assert 0.9 < factors[0] / factors[1] < 1.1


def test_factor_1_is_all_of_the_image():
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    change = LargeScaleJitter((60, 80), (1.0, 1.0)).get_transform(image)
    assert change.window == (0, 0, 40, 30) and change.size == (60, 80)
    same = LargeScaleJitter((30, 99), (1.0, 1.0)).get_transform(image)
    assert np.array_equal(same.apply_image(image), image)


def test_factors_are_spread_over_all_that_are_asked_for():
    np.random.seed(0)
    image = np.zeros((100, 100, 3), np.uint8)
    jitter = LargeScaleJitter((100, 100), (0.5, 2.0))
    changes = [jitter.get_transform(image) for _ in range(300)]
    factors = [c.size[0] / (c.window[3] - c.window[1]) for c in changes]
    assert 0.5 <= min(factors) < 0.55 and 1.9 < max(factors) <= 2.02
    assert abs(np.mean(factors) - 1.25) < 0.1
    corners = {c.window[:2] for c in changes if c.window[2] - c.window[0] < 90}
    assert len(corners) > 100  # windows lie everywhere


@pytest.mark.parametrize(
    ("window", "size"),
    [((2, 1, 10, 9), (24, 24)), ((0, 0, 12, 16), (8, 6)), ((3, 3, 9, 9), (6, 6))],
)
def test_masks_and_points_go_where_the_pixels_go(window, size):
    mask = np.zeros((16, 12), np.uint8)
    mask[4:8, 4:8] = 1
    change = ResizedWindow(window, size)
    image = np.repeat(255 * mask[..., None], 3, axis=2)
    moved = change.apply_segmentation(mask)
    found = change.apply_image(image)[..., 0] > 127
    assert np.count_nonzero(moved != found) <= 4  # averages round the corners
    assert set(np.unique(moved)) == {0, 1}
    corners = change.apply_coords(np.array([[4.0, 4.0], [8.0, 8.0]]))
    ys, xs = np.nonzero(moved)
    assert np.array_equal(corners, [[xs.min(), ys.min()], [xs.max() + 1, ys.max() + 1]])


@pytest.mark.parametrize(
    ("size", "scale"), [((0, 5), (1, 1)), ((5, 5), (0, 1)), ((5, 5), (2, 1)), ((5, 5), (-1, 1))]
)
def test_impossible_jitter_is_refused(size, scale):
    with pytest.raises(ValueError, match="large-scale jitter needs"):
        LargeScaleJitter(size, scale)


def test_mirrored_images_can_be_resized():
    """A flip gives a view with negative strides, which OpenCV does not take."""
    image = T.HFlipTransform(30).apply_image(np.zeros((20, 30, 3), np.uint8))
    assert ResizedWindow((0, 0, 30, 20), (10, 15)).apply_image(image).shape == (10, 15, 3)
