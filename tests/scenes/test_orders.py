"""Depth order from depth ranges, and simulated workers."""

import numpy as np
import pytest

from occ_order.scenes.orders import annotator_counts, depth_from_ranges


def test_known_answer():
    # 0 well in front of 1; 2 inside 1's range with a nearer middle; 3 the same as 1 but for 1 %
    ranges = np.array([[1.0, 2.0], [4.0, 6.0], [4.2, 5.2], [4.02, 6.02]])
    depth, overlap = depth_from_ranges(ranges)
    assert depth.tolist() == [[-1, 1, 1, 1], [0, -1, 0, 2], [0, 1, -1, 1], [0, 2, 0, -1]]
    assert overlap.tolist() == [[-1, 0, 0, 0], [0, -1, 1, 1], [0, 1, -1, 1], [0, 1, 1, -1]]


def test_thin_things_at_nearly_one_depth_are_equal_and_distinct():
    depth, overlap = depth_from_ranges([[5.0, 5.01], [5.02, 5.03]])
    assert depth[0, 1] == depth[1, 0] == 2
    assert overlap[0, 1] == 0


def test_touching_ranges_overlap():
    depth, overlap = depth_from_ranges([[1.0, 2.0], [2.0, 3.0]])
    assert (depth[0, 1], depth[1, 0], overlap[0, 1]) == (1, 0, 1)


def test_exact_tie_of_the_middles_goes_to_the_nearer_end():
    depth, _ = depth_from_ranges([[4.0, 6.0], [3.0, 7.0]])
    assert (depth[0, 1], depth[1, 0]) == (0, 1)


def test_tolerance_is_relative():
    assert depth_from_ranges([[1.0, 2.0], [1.01, 2.01]])[0][0, 1] == 2
    assert depth_from_ranges([[1.0, 2.0], [1.05, 2.05]])[0][0, 1] == 1
    assert depth_from_ranges([[100.0, 200.0], [101.0, 201.0]])[0][0, 1] == 2
    assert depth_from_ranges([[1.0, 2.0], [1.05, 2.05]], tolerance=0.1)[0][0, 1] == 2


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs(count):
    ranges = np.ones((count, 2))
    depth, overlap = depth_from_ranges(ranges)
    workers = annotator_counts(np.random.default_rng(0), ranges, depth, overlap)
    assert depth.shape == overlap.shape == workers.shape == (count, count)
    assert (depth == -1).all() and (workers == -1).all()


def test_harder_pairs_need_more_workers():
    easy = np.stack([np.arange(1, 41) * 10.0, np.arange(1, 41) * 10.0 + 1], axis=1)
    hard = np.tile([5.0, 6.0], (40, 1))
    means = []
    for ranges in (easy, hard):
        depth, overlap = depth_from_ranges(ranges)
        count = annotator_counts(np.random.default_rng(1), ranges, depth, overlap)
        pairs = count[np.triu_indices(40, 1)]
        assert pairs.min() >= 2 and pairs.max() <= 5
        means.append(pairs.mean())
    assert means[0] + 0.3 < means[1]
