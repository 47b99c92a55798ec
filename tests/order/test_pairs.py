"""Pairs: known answers, one canonical order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order.order import pairs

STACKS = hnp.arrays(bool, st.tuples(st.integers(0, 5), st.just(3), st.just(5)))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 60])
def test_all_pairs_are_the_combinations_in_order(n):
    found = pairs.all_pairs(n)
    assert found.dtype == np.int64
    assert found.shape == (n * (n - 1) // 2, 2)
    assert [tuple(pair) for pair in found.tolist()] == list(itertools.combinations(range(n), 2))


def test_bordering_and_overlapping_known_answer():
    masks = np.zeros((4, 3, 8), dtype=bool)
    masks[0, :, 0:2] = masks[1, :, 2:4] = masks[2, :, 3:5] = masks[3, :, 6:8] = True
    assert pairs.bordering_pairs(masks).tolist() == [[0, 1], [1, 2]]
    assert pairs.overlapping_pairs(masks).tolist() == [[1, 2]]
    assert pairs.overlapping_pairs(masks, min_area=3).tolist() == [[1, 2]]
    assert pairs.overlapping_pairs(masks, min_area=4).shape == (0, 2)


@given(STACKS)
def test_the_kinds_are_nested_and_sorted(masks):
    kinds = [pairs.select_pairs(masks, kind).tolist() for kind in pairs.KINDS]
    everything, bordering, overlapping = kinds
    for found in kinds:
        assert found == sorted(found)
        assert all(i < j for i, j in found)
    assert {*map(tuple, overlapping)} <= {*map(tuple, bordering)} <= {*map(tuple, everything)}


@given(STACKS)
def test_overlapping_agrees_with_a_product(masks):
    area = np.einsum("ihw,jhw->ij", masks.astype(int), masks.astype(int))
    expected = [[i, j] for i, j in itertools.combinations(range(len(masks)), 2) if area[i, j]]
    assert pairs.overlapping_pairs(masks).tolist() == expected


def test_pairs_where_takes_either_direction_and_no_diagonal():
    assert pairs.pairs_where([[1, 0, 0], [1, 0, 0], [0, 0, 0]]).tolist() == [[0, 1]]
    assert pairs.pairs_where(np.zeros((0, 0))).shape == (0, 2)


def test_both_directions():
    found = pairs.both_directions(pairs.all_pairs(3))
    assert found.tolist() == [[0, 1], [0, 2], [1, 2], [1, 0], [2, 0], [2, 1]]
    assert pairs.both_directions(pairs.all_pairs(1)).shape == (0, 2)


def test_arguments():
    with pytest.raises(ValueError, match="at least 0"):
        pairs.all_pairs(-1)
    with pytest.raises(ValueError, match="min_area"):
        pairs.overlapping_pairs(np.zeros((1, 2, 2)), min_area=0)
    with pytest.raises(ValueError, match="all, bordering, overlapping, got 'nbor'"):
        pairs.select_pairs(np.zeros((1, 2, 2)), "nbor")
    with pytest.raises(ValueError, match=r"\(N, N\)"):
        pairs.pairs_where(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(P, 2\)"):
        pairs.both_directions(np.zeros((2, 3)))
