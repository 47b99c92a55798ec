from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order.methods.sln.level_maps import LevelMaps, coarser_levels
from occ_order.targets import visibility_levels


def scene(seed: int = 0, num: int = 4, size: int = 24) -> np.ndarray:
    """Levels int8 (N, H, W) of random rectangles, the first in front."""
    rng = np.random.default_rng(seed)
    amodal = np.zeros((num, size, size), bool)
    for mask in amodal:
        y, x = rng.integers(0, size - 8, 2)
        mask[y : y + rng.integers(4, 14), x : x + rng.integers(4, 14)] = True
    order = np.triu(np.ones((num, num), np.int8), 1)
    return visibility_levels(amodal, order)


def test_cells_equal_pixels_where_a_box_has_as_many_cells_as_pixels() -> None:
    levels = torch.from_numpy(scene())
    boxes = torch.tensor([[4.0, 6.0, 20.0, 22.0]]).expand(len(levels), 4)
    found = LevelMaps(levels).crop_and_resize(boxes, 16, num_levels=4)
    assert found.dtype == torch.int8
    assert found.equal(levels[:, 6:22, 4:20])


def test_deeper_levels_fall_into_the_last_one() -> None:
    levels = torch.from_numpy(scene(num=9))
    assert levels.max() >= 2
    boxes = torch.tensor([[0.0, 0.0, 24.0, 24.0]]).expand(len(levels), 4)
    found = LevelMaps(levels).crop_and_resize(boxes, 24, num_levels=2)
    assert found.equal(levels.clamp(max=1))


def test_masks_inside_boxes_are_those_of_detectron2_for_each_level() -> None:
    levels = torch.from_numpy(scene(3))
    rng = np.random.default_rng(1)
    pick = torch.from_numpy(rng.integers(0, len(levels), 9))
    corner = rng.uniform(0, 12, (9, 2))
    boxes = torch.from_numpy(np.hstack([corner, corner + rng.uniform(3, 12, (9, 2))])).float()
    found = LevelMaps(levels)[pick].crop_and_resize(boxes, 7, num_levels=4)
    for level in range(4):
        nearer = BitMasks(((levels >= 0) & (levels <= level))[pick])
        expected = nearer.crop_and_resize(boxes, 7)
        assert ((found >= 0) & (found <= level)).equal(expected)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_coarser_cells_are_those_that_regions_are_resampled_to(factor) -> None:
    levels = torch.from_numpy(scene(2, num=7))
    boxes = torch.tensor([[0.0, 0.0, 24.0, 24.0]]).expand(len(levels), 4)
    found = coarser_levels(levels, factor, num_levels=4)
    assert found.dtype == torch.int8
    assert found.equal(LevelMaps(levels).crop_and_resize(boxes, 24 // factor, num_levels=4))
    assert coarser_levels(levels[:0], factor, num_levels=4).shape == (0, 24 // factor, 24 // factor)


@pytest.mark.parametrize(
    "item", [2, slice(1, 3), [3, 0, 0], torch.tensor([True, False, True, True])]
)
def test_choosing_is_that_of_the_tensor_and_copies_no_map(item) -> None:
    levels = torch.from_numpy(scene())
    chosen = LevelMaps(levels)[item]
    expected = levels[[item]] if isinstance(item, int) else levels[item]
    assert chosen.tensor.equal(expected)
    assert len(chosen) == len(expected)
    assert chosen.maps.data_ptr() == levels.data_ptr()


def test_lives_in_instances_and_concatenates() -> None:
    levels = torch.from_numpy(scene())
    instances = Instances((24, 24), gt_boxes=Boxes(torch.zeros(4, 4)), gt_levels=LevelMaps(levels))
    both = Instances.cat([instances[[1, 2]], instances[torch.tensor([3])]])
    assert both.gt_levels.tensor.equal(levels[1:])
    assert both.to("cpu").gt_levels.device.type == "cpu"


def test_no_object_and_no_box() -> None:
    empty = LevelMaps(torch.zeros(0, 5, 5, dtype=torch.int8))
    assert empty.crop_and_resize(torch.zeros(0, 4), 7, 4).shape == (0, 7, 7)
    none_chosen = LevelMaps(torch.from_numpy(scene()))[[]]
    assert none_chosen.crop_and_resize(torch.zeros(0, 4), 7, 4).shape == (0, 7, 7)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: LevelMaps(torch.zeros(2, 3, dtype=torch.int8)),
            r"int8 \(N, H, W\), got .*\(2, 3\)",
        ),
        (lambda: LevelMaps(torch.zeros(2, 3, 3)), "got torch.float32"),
        (
            lambda: LevelMaps(torch.zeros(2, 3, 3, dtype=torch.int8)).crop_and_resize(
                torch.zeros(1, 4), 7, 4
            ),
            "1 boxes for 2 level maps",
        ),
    ],
)
def test_bad_input_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
