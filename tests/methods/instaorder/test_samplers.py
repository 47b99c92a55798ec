"""Which pairs are drawn, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.methods.common.pair_samplers import (
    annotated_pairs,
    draw_jitter,
    sample_depth_pairs,
    sample_occlusion_pairs,
    sample_pairs,
)

# 0 occludes 1, 2 and 3 each other; 1-3 not annotated; the rest 0.
OCCLUSION = np.array([[0, 1, 0, 0], [0, 0, 0, -1], [0, 0, 0, 1], [0, -1, 1, 0]])
DEPTH = np.full((4, 4), -1)
DEPTH[0, 1], DEPTH[1, 0], DEPTH[2, 3], DEPTH[3, 2] = 1, 0, 2, 2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_share_of_occlusions(rng, ratio):
    pairs = sample_occlusion_pairs(OCCLUSION, rng, num_pairs=4000, positive_ratio=ratio)
    # A drawn 1 may have been turned; 0-1 is a zero in the other direction, so leave it out.
    mutual = (np.sort(pairs, 1) == [2, 3]).all(1).mean()
    # Two of three ones are those of 2 and 3.
    assert mutual == pytest.approx(ratio * 2 / 3, abs=0.03)


def test_half_of_the_pairs_are_turned(rng):
    pairs = sample_occlusion_pairs(OCCLUSION, rng, num_pairs=4000, positive_ratio=1.0)
    first = pairs[(np.sort(pairs, 1) == [0, 1]).all(1)]
    assert (first[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["occlusion", "depth", "all"])
def test_only_annotated_pairs_are_drawn(rng, name):
    pairs = sample_pairs(name, OCCLUSION, DEPTH, rng, num_pairs=500)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert not (np.sort(pairs, 1) == [1, 3]).all(1).any()


def test_an_image_without_occlusion_gives_nothing(rng):
    assert sample_occlusion_pairs(np.zeros((3, 3)), rng).shape == (0, 2)
    unknown = np.full((3, 3), -1)
    np.fill_diagonal(unknown, 0)
    assert sample_occlusion_pairs(unknown, rng).shape == (0, 2)


def test_without_zeros_all_are_occlusions(rng):
    mutual = np.array([[0, 1], [1, 0]])
    pairs = sample_occlusion_pairs(mutual, rng, num_pairs=10, positive_ratio=0.0)
    assert np.sort(pairs, 1).tolist() == [[0, 1]] * 10


def test_every_depth_pair_is_as_likely(rng):
    pairs = np.sort(sample_depth_pairs(DEPTH, rng, num_pairs=2000), 1)
    assert {tuple(pair) for pair in pairs.tolist()} == {(0, 1), (2, 3)}
    assert (pairs[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_annotated_pairs_of_two_matrices():
    pairs = annotated_pairs(OCCLUSION, DEPTH).tolist()
    assert pairs == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]
    assert annotated_pairs(DEPTH).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", ["occlusion", "depth", "all"])
def test_no_pair_of_fewer_than_two(rng, name, count):
    occlusion, depth = np.zeros((count, count), int), np.full((count, count), -1)
    assert sample_pairs(name, occlusion, depth, rng).shape == (0, 2)


def test_jitter_stays_in_its_range(rng):
    jitter = draw_jitter(2000, rng, shift=0.2, scale=(0.8, 1.2))
    assert np.abs(jitter[:, :2]).max() <= 0.2 < np.abs(jitter[:, :2]).max() + 0.01
    assert 0.8 <= jitter[:, 2].min() < 0.81 and 1.19 < jitter[:, 2].max() <= 1.2


def test_unknown_sampler(rng):
    with pytest.raises(ValueError, match="SAMPLER.NAME must be one of"):
        sample_pairs("some", OCCLUSION, DEPTH, rng)
