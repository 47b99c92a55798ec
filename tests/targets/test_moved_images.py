"""Targets of an image that is flipped, turned or cropped are its targets, moved with it."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order import masks, targets


def scene_of(seed):
    rng = np.random.default_rng(seed)
    stack = np.zeros((4, 10, 12), bool)
    for mask in stack:
        y, x = rng.integers(0, 7), rng.integers(0, 9)
        mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 7)] = True
    occ = np.triu(np.ones((4, 4), np.int8), 1)
    shuffle = rng.permutation(4)
    return stack, occ[np.ix_(shuffle, shuffle)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_flipping_commutes_with_boundary_targets(seed, axis):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    pixels = -1 if axis == "horizontal" else -2
    boundary, orientation = targets.oriented_boundary(ids, occ)
    turned = targets.oriented_boundary(np.flip(ids, pixels), occ)
    np.testing.assert_array_equal(turned[0], np.flip(boundary, pixels))
    np.testing.assert_allclose(turned[1], targets.flip_orientation(orientation, axis=axis))
    # The maps themselves are moved and their directions swapped; flipping only pixels is wrong.
    assert not np.allclose(turned[1], np.flip(orientation, pixels))


@pytest.mark.parametrize("seed", range(6))
def test_a_quarter_turn_commutes_with_boundary_targets(seed):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    occluded = targets.occluded_neighbours(ids, occ)
    turned = targets.occluded_neighbours(np.rot90(ids), occ)
    # Counterclockwise: what was right becomes top, top left, left bottom, bottom right.
    expected = np.rot90(occluded[[2, 3, 1, 0]], axes=(1, 2))
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize("seed", range(6))
def test_cropping_commutes_away_from_the_cut(seed):
    stack, occ = scene_of(seed)
    ids = masks.paint(stack, occlusion=occ)
    whole = targets.occluded_neighbours(ids, occ)[:, 2:8, 3:10]
    part = targets.occluded_neighbours(ids[2:8, 3:10], occ)
    np.testing.assert_array_equal(part[:, 1:-1, 1:-1], whole[:, 1:-1, 1:-1])


@pytest.mark.parametrize("seed", range(6))
def test_permuted_instances_permute_the_order(seed):
    stack, occ = scene_of(seed)
    o = np.random.default_rng(seed + 50).permutation(4)
    levels = targets.visibility_levels(stack, occ)
    np.testing.assert_array_equal(targets.visibility_levels(stack[o], occ[np.ix_(o, o)]), levels[o])
    for axis in (1, 2):
        flipped = targets.visibility_levels(np.flip(stack, axis), occ)
        np.testing.assert_array_equal(flipped, np.flip(levels, axis))
    ids = masks.paint(stack, occlusion=occ)
    permuted = masks.paint(stack[o], occlusion=occ[np.ix_(o, o)])
    np.testing.assert_array_equal(np.concatenate([[0], o + 1])[permuted], ids)
