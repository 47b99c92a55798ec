"""Moves on whole regions: graphs, layers, local search."""

import itertools

import numpy as np
import pytest

from occ_order.crf import occludes_from_target
from occ_order.crf.energy import (
    SCALE,
    make_problem,
    neighbour_pairs,
    occlusion_pairs,
    pair_counts,
    scaled_energy,
)
from occ_order.crf.instances import components
from occ_order.crf.regions import (
    closed_region_layers,
    longest_paths,
    region_graph,
    search_regions,
    take_where_feasible,
)
from occ_order.targets.oriented_boundary import oriented_boundary


def problem_from_instances(ids, occ, *, smoothness=40, occlusion=100):
    boundary, orientation = oriented_boundary(ids, occ)
    return make_problem(
        np.where(ids > 0, 0.05, 0.95),
        occludes_from_target(boundary, orientation),
        smoothness=smoothness,
        occlusion=occlusion,
    )


def random_problem(rng, shape):
    occludes = rng.random((4, *shape)) < 0.08
    occludes[0, :, 0] = occludes[1, :, -1] = occludes[2, 0] = occludes[3, -1] = False
    sigma = rng.integers(0, SCALE + 1, shape) / SCALE
    return make_problem(sigma, occludes, smoothness=20, occlusion=100)


def test_graph_by_hand():
    ids = np.array([[0, 1, 1], [0, 0, 2]], np.int32)
    occludes = np.zeros((4, 2, 3), bool)
    occludes[0, 0, 1] = True  # 1 over 0, towards the left
    occludes[2, 1, 1] = True  # 0 over 1, towards the top
    occludes[3, 0, 2] = True  # 1 over 2, towards the bottom
    problem = make_problem(np.zeros((2, 3)), occludes, smoothness=1, occlusion=1)
    graph = region_graph(problem, ids)
    assert graph.start.tolist() == [0, 2, 4, 6]
    assert graph.neighbour.tolist() == [1, 2, 0, 2, 0, 1]
    assert graph.length.tolist() == [2, 1, 2, 1, 1, 1]
    assert graph.front.tolist() == [1, 0, 1, 1, 0, 0]
    assert graph.behind.tolist() == [1, 0, 1, 0, 0, 1]
    assert graph.unary.tolist() == [-3 * SCALE, -2 * SCALE, -SCALE]


def wide_regions(rng, width):
    """Regions with long straight borders both ways, and single pixels: int32 (20, width)."""
    ids = np.zeros((20, width), np.int32)
    for number in range(1, 30):
        y, x = rng.integers(0, 20), rng.integers(0, width)
        size = (1, 1) if number % 3 == 0 else (rng.integers(1, 12), rng.integers(1, width + 1))
        ids[y : y + size[0], x : x + size[1]] = number
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.int32)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 130, 300])
def test_graph_counts_every_pair_of_pixels(width):
    rng = np.random.default_rng(width)
    for _ in range(6):
        ids = wide_regions(rng, width)
        problem = random_problem(rng, ids.shape)
        expected = {}
        for axis in (0, 1):
            pairs = neighbour_pairs(ids, axis)
            orders = occlusion_pairs(problem.occludes, axis)
            columns = [column.ravel().tolist() for column in (*pairs, *orders)]
            for p, q, p_front, q_front in zip(*columns, strict=True):
                for edge, front, behind in (((p, q), p_front, q_front), ((q, p), q_front, p_front)):
                    if p != q:
                        counts = expected.setdefault(edge, [0, 0, 0])
                        counts[0] += 1
                        counts[1] += front
                        counts[2] += behind
        graph = region_graph(problem, ids)
        rows = np.repeat(np.arange(len(graph.unary)), np.diff(graph.start)).tolist()
        edges = list(zip(rows, graph.neighbour.tolist(), strict=True))
        counts = np.stack([graph.length, graph.front, graph.behind], axis=1).tolist()
        assert edges == sorted(expected)
        assert counts == [expected[edge] for edge in edges]
        assert graph.unary.tolist() == [
            problem.unary[ids == number].sum() for number in range(ids.max() + 1)
        ]


def test_longest_paths_drop_the_weakest_edge_of_a_cycle():
    front, back = np.array([0, 1, 2, 3]), np.array([1, 2, 0, 0])
    weight = np.array([5, 1, 7, 1])
    # 1 -> 2 is the weakest of the cycle 0 1 2; 3 -> 0 is as weak, but in no cycle.
    assert longest_paths(5, front, back, weight).tolist() == [1, 0, 2, 2, 0]
    assert longest_paths(0, front[:0], back[:0], weight[:0]).tolist() == []


def test_closed_boundaries_give_the_layers_at_once():
    ids = np.zeros((12, 16), int)
    ids[2:10, 1:6] = 1
    ids[4:11, 6:10] = 2
    ids[3:9, 10:15] = 3
    occ = np.zeros((3, 3), np.int8)
    occ[0, 1] = occ[1, 2] = 1
    layers = closed_region_layers(problem_from_instances(ids, occ))
    assert np.array_equal(layers, np.array([0, 3, 2, 1])[ids])


def test_a_violated_pair_keeps_the_current_labels():
    occludes = np.zeros((4, 1, 5), bool)
    occludes[1, 0, 1] = True  # pixel 1 over pixel 2
    problem = make_problem(np.zeros((1, 5)), occludes, smoothness=1, occlusion=1)
    labels = np.array([[1, 2, 1, 1, 1]], np.int32)
    proposal = np.array([[3, 3, 4, 4, 4]], np.int32)
    assert take_where_feasible(problem, labels, proposal).tolist() == [[3, 2, 1, 4, 4]]
    assert proposal.tolist() == [[3, 3, 4, 4, 4]]


def test_search_absorbs_a_strip():
    # The constant bound's typical leftover: front 2 | strip 1 | interior 2.
    ids = np.zeros((8, 20), int)
    ids[1:7, 1:10] = 1
    ids[1:7, 10:19] = 2
    problem = problem_from_instances(ids, np.array([[0, 1], [0, 0]], np.int8))
    stripes = np.where(ids > 0, 2, 0).astype(np.int32)
    stripes[1:7, 10] = 1
    found, _ = search_regions(problem, stripes)
    assert len(np.unique(found[ids == 1])) == len(np.unique(found[ids == 2])) == 1
    assert found[2, 2] > found[2, 15] > 0


def test_search_takes_along_what_must_stay_in_front():
    # 3 over 2 over 1. Filling the strip between 2 and 1 needs 2 and 3 to rise with it, at once.
    ids = np.zeros((8, 20), int)
    ids[1:7, 1:7], ids[1:7, 7:13], ids[1:7, 13:19] = 3, 2, 1
    occ = np.zeros((3, 3), np.int8)
    occ[1, 0] = occ[2, 1] = 1
    problem = problem_from_instances(ids, occ)
    labels = np.array([0, 2, 2, 3], np.int32)[ids]
    labels[1:7, 13] = 1
    assert np.array_equal(search_regions(problem, labels)[0], np.array([0, 2, 3, 4])[ids])


def test_search_never_raises_the_energy_and_stays_feasible():
    rng = np.random.default_rng(2)
    lowered = 0
    for _ in range(60):
        problem = random_problem(rng, (7, 8))
        labels = np.zeros(problem.unary.shape, np.int32)
        proposal = rng.integers(0, 4, labels.shape).astype(np.int32)
        labels = take_where_feasible(problem, labels, proposal)
        found, change = search_regions(problem, labels)
        assert pair_counts(found, problem.occludes)[2] == 0
        assert change == scaled_energy(problem, found) - scaled_energy(problem, labels) <= 0
        lowered += change < 0
    assert lowered > 30


def test_search_is_a_local_minimum_of_single_components():
    rng = np.random.default_rng(3)
    for _ in range(15):
        problem = random_problem(rng, (5, 5))
        labels = search_regions(problem, np.zeros((5, 5), np.int32))[0]
        ids = components(labels, np.ones(labels.shape, bool))
        best = scaled_energy(problem, labels)
        for region, value in itertools.product(range(1, ids.max() + 1), range(labels.max() + 2)):
            moved = np.where(ids == region, value, labels).astype(np.int32)
            if pair_counts(moved, problem.occludes)[2] == 0:
                assert scaled_energy(problem, moved) >= best


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (0, 4)])
def test_smallest_images(shape):
    problem = make_problem(np.zeros(shape), np.zeros((4, *shape), bool), smoothness=1, occlusion=1)
    assert closed_region_layers(problem).shape == shape
    assert search_regions(problem, np.zeros(shape, np.int32))[0].shape == shape
