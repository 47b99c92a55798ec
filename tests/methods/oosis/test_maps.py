"""From an image to maps: sizes, windows, mirrored averaging, composition."""

from __future__ import annotations

import pytest
import torch

from occ_order.methods.oosis.head import Logits
from occ_order.methods.oosis.maps import (
    SURE,
    Maps,
    composed,
    maps_from_targets,
    pad_to_grid,
    padded_size,
    predict_maps,
    probabilities,
    window_starts,
)


def random_maps(*size: int, classes: int = 3) -> Maps:
    """Probabilities of a batch."""
    logits = Logits(
        torch.randn(size[0], classes, *size[1:]),
        torch.randn(size[0], 4, *size[1:]),
        torch.randn(size),
    )
    return probabilities(logits)


def test_padding_of_the_kins_size():
    assert [padded_size(size, 8) for size in (615, 2048, 225, 1)] == [617, 2049, 225, 1]
    assert pad_to_grid(torch.ones(3, 615, 2048), 8).shape == (3, 617, 2049)
    padded = pad_to_grid(torch.ones(3, 5), 8, value=255)
    assert padded[:3, :5].eq(1).all() and padded[3:].eq(255).all() and padded[:, 5:].eq(255).all()


def test_windows_of_the_published_protocol():
    rows, cols = window_starts(615, 225, 150), window_starts(2048, 225, 150)
    assert rows == [0, 150, 300, 390]
    assert len(rows) * len(cols) == 56
    assert cols[-1] + 225 == 2048
    assert window_starts(100, 225, 150) == [0]


def test_composed_probabilities_sum_to_one():
    maps = random_maps(2, 5, 6)
    for k in range(2):
        o = composed(Maps(*(part[k] for part in maps[:3])))
        assert o.shape == (5, 5, 6)
        assert torch.allclose(o.sum(0), torch.ones(5, 6), atol=1e-6)
        assert torch.allclose(o[4], 1 - maps.boundary[k])


def test_mirroring_exchanges_left_and_right_and_nothing_else():
    maps = Maps(*(part[0] for part in random_maps(1, 3, 4)[:3]))
    back = maps.mirrored()
    assert torch.equal(back.orientation[0], maps.orientation[1].flip(-1))
    assert torch.equal(back.orientation[2], maps.orientation[2].flip(-1))
    assert torch.equal(back.boundary, maps.boundary.flip(-1))
    for once, twice in zip(maps[:3], back.mirrored()[:3], strict=True):
        assert torch.equal(once, twice)


def by_pixel(batch: torch.Tensor) -> Maps:
    """A network whose answer depends on the pixel alone, and that knows left from right."""
    value = batch[:, 0]
    left = torch.sigmoid(value)
    rest = (1 - left) / 3
    return Maps(torch.stack([value, 1 - value], 1), torch.stack([left, rest, rest, rest], 1), value)


@pytest.mark.parametrize("size", [(9, 9), (20, 31), (5, 40)])
def test_windows_give_what_the_whole_image_gives(size):
    image = torch.rand(3, *size)
    whole = predict_maps(by_pixel, image, multiple=8)
    windows = predict_maps(by_pixel, image, multiple=8, crop=17, stride=10)
    assert whole.boundary.shape == size
    for one, other in zip(whole[:3], windows[:3], strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_averaging_with_the_mirror_commutes_with_mirroring():
    image = torch.rand(3, 12, 17)
    maps = predict_maps(by_pixel, image, flip=True)
    mirrored = predict_maps(by_pixel, image.flip(-1), flip=True)
    for one, other in zip(maps.mirrored()[:3], mirrored[:3], strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    # by_pixel says "left" more often; averaged with the mirror, left and right are equal.
    assert torch.allclose(maps.orientation[0], maps.orientation[1])


def test_maps_from_targets_are_sure_of_the_annotation():
    semantic = torch.tensor([[0, 2, 255]])
    boundary = torch.tensor([[False, True, False]])
    orientation = torch.zeros(4, 1, 3)
    orientation[1, 0, 1] = 1
    maps = maps_from_targets(semantic, boundary, orientation, 3)
    assert maps.semantic[:, 0, 1].tolist() == pytest.approx([0.025, 0.025, SURE])
    assert maps.semantic[0, 0].tolist() == pytest.approx([SURE, 0.025, SURE])
    assert maps.orientation[:, 0, 1].tolist() == [0, 1, 0, 0]
    assert torch.allclose(maps.orientation.sum(0), torch.ones(1, 3))
