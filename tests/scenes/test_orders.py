"""Depth order from depth ranges, and simulated workers."""

import numpy as np
import pytest

from occ_order.scenes.orders import annotator_counts, depth_from_ranges


def test_known_answer():
    # 0 well in front of 1; 2 inside 1's range, so behind its start; 3 the same as 1 but for 1 %
    ranges = np.array([[1.0, 2.0], [4.0, 6.0], [4.2, 5.2], [4.02, 6.02]])
    depth, overlap = depth_from_ranges(ranges)
    assert depth.tolist() == [[-1, 1, 1, 1], [0, -1, 1, 2], [0, 0, -1, 0], [0, 2, 1, -1]]
    assert overlap.tolist() == [[-1, 0, 0, 0], [0, -1, 1, 1], [0, 1, -1, 1], [0, 1, 1, -1]]


def test_thin_things_at_nearly_one_depth_are_equal_and_distinct():
    depth, overlap = depth_from_ranges([[5.0, 5.01], [5.02, 5.03]])
    assert depth[0, 1] == depth[1, 0] == 2
    assert overlap[0, 1] == 0


def test_touching_ranges_overlap():
    depth, overlap = depth_from_ranges([[1.0, 2.0], [2.0, 3.0]])
    assert (depth[0, 1], depth[1, 0], overlap[0, 1]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 3), (4, 6), ("closer", "distinct")),  # A_E < B_S
        ((5, 5), (5, 5), ("equal", "distinct")),  # A_S = B_S = A_E = B_E
        ((1, 10), (2, 4), ("closer", "overlapping")),  # (i) A_S < B_S < A_E, B inside A
        ((1, 5), (3, 9), ("closer", "overlapping")),  # (i), B ends behind A
        ((2, 4), (2, 9), ("closer", "overlapping")),  # (ii) A_S = B_S and A_E < B_E
        ((2, 9), (2, 9), ("equal", "overlapping")),  # A_S = B_S, A_E = B_E, A_S != A_E
    ],
)
def test_the_six_cases_of_section_3_2(a, b, expected):
    """InstaOrder, Section 3.2: where depth ranges overlap, the instance that starts nearer is the
    closer one, wherever the ranges end; where they start together, the one that ends first."""
    depth, overlap = depth_from_ranges([a, b])
    back = {"closer": 0, "equal": 2}
    assert depth[0, 1] == {"closer": 1, "equal": 2}[expected[0]]
    assert depth[1, 0] == back[expected[0]]
    assert overlap[0, 1] == overlap[1, 0] == (expected[1] == "overlapping")


def test_equal_ranges_without_extent_are_distinct():
    """Section 3.2: equal and distinct means that all four ends agree, here up to the tolerance."""
    _, overlap = depth_from_ranges([[5.0, 5.01], [5.005, 5.015]])
    assert overlap[0, 1] == 0


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
