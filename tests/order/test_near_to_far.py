"""Both orders on one scale: occlusion decides, depth ranks what it leaves open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occ_order.order import graph, nearness
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER, UNKNOWN


def occlusion_of(count, *edges):
    matrix = np.zeros((count, count), np.int8)
    for i, j in edges:
        matrix[i, j] = 1
    return matrix


def depth_of(count, closer=(), equal=()):
    matrix = np.full((count, count), UNKNOWN, np.int8)
    for i, j in closer:
        matrix[i, j], matrix[j, i] = CLOSER, FARTHER
    for i, j in equal:
        matrix[i, j] = matrix[j, i] = EQUAL
    return matrix


def test_occlusion_alone_gives_the_places_of_relative_depth_and_leaves_the_others_unknown():
    places, known = nearness(occlusion_of(4, (0, 1), (1, 2)))
    assert places.tolist() == [2, 1, 0, 0] and known.tolist() == [True, True, True, False]


def test_depth_ranks_what_does_not_occlude():
    """0 occludes 1; 2 is nearer than both and 3 farther, which depth alone says."""
    depth = depth_of(4, closer=[(2, 0), (2, 1), (0, 1), (0, 3), (1, 3), (2, 3)])
    places, known = nearness(occlusion_of(4, (0, 1)), depth)
    assert places.tolist() == [2, 1, 3, 0] and known.all()


def test_depth_that_is_known_of_few_pairs_follows_chains():
    """0 before 1, and 1 before three others: 0 has fewer pairs than 1, but is nearer."""
    places, _ = nearness(None, depth_of(5, closer=[(0, 1), (1, 2), (1, 3), (1, 4)]))
    assert places[0] > places[1] > places[2] == places[3] == places[4] == 0


def test_equal_depth_is_one_place():
    places, known = nearness(None, depth_of(4, closer=[(0, 1)], equal=[(1, 2)]))
    assert places.tolist() == [1, 0, 0, 0] and known.tolist() == [True, True, True, False]


def test_where_the_orders_contradict_each_other_occlusion_decides():
    """Depth says 2, 1, 0 from the front; but 0 occludes 2."""
    places, _ = nearness(occlusion_of(3, (0, 2)), depth_of(3, closer=[(2, 1), (1, 0), (2, 0)]))
    assert places[0] > places[2] > places[1]


def test_a_depth_order_that_goes_round_in_a_circle_still_tells_its_instances_apart():
    """0 before 1, 1 before 2, 2 before 0; and 0 before 3, which 1 and 2 say nothing of."""
    places, _ = nearness(None, depth_of(4, closer=[(0, 1), (1, 2), (2, 0), (0, 3)]))
    assert places[0] > places[1] == places[2] > places[3]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.integers(0, 2**32 - 1), st.booleans())
def test_an_occluder_is_nearer_and_consistent_depth_is_kept(count, seed, contradictory):
    rng = np.random.default_rng(seed)
    occlusion = (rng.random((count, count)) < 0.25).astype(np.int8)
    np.fill_diagonal(occlusion, 0)
    rank = rng.permutation(count)
    if not contradictory:  # nobody occludes what is nearer
        occlusion[rank[:, None] < rank[None, :]] = 0
    depth = np.where(rank[:, None] > rank[None, :], CLOSER, FARTHER).astype(np.int8)
    np.fill_diagonal(depth, UNKNOWN)
    for order in (None, depth):
        places, known = nearness(occlusion, order)
        group = graph.group_labels(occlusion)
        for i, j in np.argwhere(occlusion == 1):
            assert known[i] and known[j]
            assert places[i] == places[j] if group[i] == group[j] else places[i] > places[j]
    if not contradictory and count > 1:
        assert places.tolist() == rank.tolist()


def test_nothing_and_nobody():
    with pytest.raises(ValueError, match="there is neither"):
        nearness(None)
    with pytest.raises(ValueError, match="occlusion has 2 instances, depth 3"):
        nearness(occlusion_of(2), depth_of(3))
    for places in nearness(occlusion_of(0), depth_of(0)):
        assert places.shape == (0,)
