"""The order graph against networkx, plain loops and hand-made examples."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from occ_order import order
from occ_order.order import graph, io
from occ_order.order.encoding import occlusion_from_edges


@st.composite
def occlusions(draw, values=(-1, 0, 0, 1)):
    n = draw(st.integers(0, 8))
    occ = draw(hnp.arrays(np.int8, (n, n), elements=st.sampled_from(values)))
    np.fill_diagonal(occ, 0)
    return occ


def as_networkx(occ):
    reference = nx.DiGraph()
    reference.add_nodes_from(range(len(occ)))
    reference.add_edges_from(zip(*np.nonzero(occ == 1), strict=True))
    return reference


# 0 -> 1 <-> 2, 1 -> 3, 4 alone, 5 -> 6 -> 7 -> 5
TANGLE = occlusion_from_edges([(0, 1), (1, 2), (2, 1), (1, 3), (5, 6), (6, 7), (7, 5)], 8)


def test_known_graph():
    assert graph.groups(TANGLE) == [[0], [1, 2], [3], [4], [5, 6, 7]]
    assert graph.group_labels(TANGLE).tolist() == [0, 1, 1, 2, 3, 4, 4, 4]
    assert graph.connected_labels(TANGLE).tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
    assert graph.cycles(TANGLE) == [[1, 2], [5, 6, 7]]
    assert graph.simple_cycles(TANGLE) == [[1, 2], [5, 6, 7]]
    assert (
        graph.instances_in_cycles(TANGLE).tolist() == [False, True, True, False, False] + [True] * 3
    )
    assert graph.layers(TANGLE).tolist() == [0, 1, 1, 2, 0, 0, 0, 0]
    assert graph.relative_depth(TANGLE).tolist() == [3, 2, 2, 1, 1, 1, 1, 1]
    assert graph.has_path(TANGLE, 0, 3)
    assert graph.has_path(TANGLE, 6, 6)
    assert not graph.has_path(TANGLE, 3, 0)
    assert not graph.has_path(TANGLE, 0, 0)


def test_layer_is_the_longest_chain_not_the_shortest():
    occ = occlusion_from_edges([(0, 1), (1, 2), (2, 3), (0, 3)], 4)
    assert graph.layers(occ).tolist() == [0, 1, 2, 3]
    assert graph.relative_depth(occ).tolist() == [4, 3, 2, 1]


def test_layer_and_relative_depth_count_from_either_end():
    occ = occlusion_from_edges([(0, 1), (1, 2), (3, 2)], 4)
    assert graph.layers(occ).tolist() == [0, 1, 2, 0]
    assert graph.relative_depth(occ).tolist() == [3, 2, 1, 2]


def test_unknown_pairs_are_no_edges():
    occ = np.array([[0, -1, 1], [-1, 0, -1], [0, -1, 0]], dtype=np.int8)
    assert graph.layers(occ).tolist() == [0, 0, 1]
    assert graph.cycles(occ) == []
    assert list(graph.to_networkx(occ).edges) == [(0, 2)]


def test_oosis_cycle_example():
    # A, B, C, D, E = 0 .. 4, F = 5; D -> F -> B closes a cycle through B, C, D, F: 4 of 6.
    edges = [(0, 1), (1, 2), (2, 3), (1, 4)]
    assert graph.instances_in_cycles(occlusion_from_edges(edges, 6)).sum() == 0
    closed = occlusion_from_edges([*edges, (3, 5), (5, 1)], 6)
    assert graph.instances_in_cycles(closed).sum() == 4
    assert graph.cycles(closed) == [[1, 2, 3, 5]]


@pytest.mark.parametrize("n", [0, 1])
def test_tiny_graphs(n):
    occ = np.zeros((n, n), dtype=np.int8)
    assert graph.layers(occ).tolist() == [0] * n
    assert graph.relative_depth(occ).tolist() == [1] * n
    assert graph.groups(occ) == [[k] for k in range(n)]
    assert graph.cycles(occ) == graph.simple_cycles(occ) == []
    assert graph.instances_in_cycles(occ).tolist() == [False] * n
    assert graph.connected_labels(occ).tolist() == [0] * n
    assert graph.reachability(occ).shape == (n, n)
    assert graph.break_cycles(occ, rng=0).shape == (n, n)
    assert len(graph.to_networkx(occ)) == n


@given(occlusions())
def test_agreement_with_networkx(occ):
    reference = as_networkx(occ)
    strong = sorted(sorted(g) for g in nx.strongly_connected_components(reference))
    weak = sorted(sorted(g) for g in nx.weakly_connected_components(reference))
    assert graph.groups(occ) == strong
    labels = graph.connected_labels(occ)
    assert [np.flatnonzero(labels == k).tolist() for k in range(len(weak))] == weak
    expected = [
        [any(nx.has_path(reference, k, j) for k in reference[i]) for j in reference]
        for i in reference
    ]
    reach = graph.reachability(occ)
    np.testing.assert_array_equal(reach, np.array(expected, dtype=bool).reshape(occ.shape))
    for i in reference:
        for j in reference:
            assert graph.has_path(occ, i, j) == reach[i, j]
    np.testing.assert_array_equal(graph.instances_in_cycles(occ), np.diagonal(reach))


@given(occlusions())
def test_layers_agree_with_networkx_condensation(occ):
    condensed = nx.condensation(as_networkx(occ))
    expected = np.zeros(len(occ), dtype=int)
    for level, generation in enumerate(nx.topological_generations(condensed)):
        for group in generation:
            expected[list(condensed.nodes[group]["members"])] = level
    np.testing.assert_array_equal(graph.layers(occ), expected)
    np.testing.assert_array_equal(graph.relative_depth(occ), graph.layers(occ.T) + 1)


@given(occlusions())
def test_layers_respect_every_edge_outside_groups(occ):
    layers, nearness = graph.layers(occ), graph.relative_depth(occ)
    labels = graph.group_labels(occ)
    for i, j in np.argwhere(occ == 1):
        if labels[i] == labels[j]:
            assert layers[i] == layers[j]
            assert nearness[i] == nearness[j]
        else:
            assert layers[i] < layers[j]
            assert nearness[i] > nearness[j]


@given(occlusions(), st.randoms(use_true_random=False))
def test_permutation_equivariance(occ, random):
    order = list(range(len(occ)))
    random.shuffle(order)
    turned = occ[np.ix_(order, order)]
    np.testing.assert_array_equal(graph.layers(turned), graph.layers(occ)[order])
    np.testing.assert_array_equal(graph.relative_depth(turned), graph.relative_depth(occ)[order])
    np.testing.assert_array_equal(
        graph.instances_in_cycles(turned), graph.instances_in_cycles(occ)[order]
    )
    np.testing.assert_array_equal(
        graph.reachability(turned), graph.reachability(occ)[np.ix_(order, order)]
    )


@given(occlusions(), st.integers(0, 5))
def test_decycling(occ, seed):
    before = occ.copy()
    broken = graph.break_cycles(occ, rng=seed)
    np.testing.assert_array_equal(occ, before)
    assert nx.is_directed_acyclic_graph(as_networkx(broken))
    removed = broken != occ
    assert (broken[removed] == 0).all()
    assert (occ[removed] == 1).all()
    labels = graph.group_labels(occ)
    for i, j in np.argwhere(removed):
        assert labels[i] == labels[j]  # an edge is on a cycle iff its ends share a group
    if not graph.cycles(occ):
        assert not removed.any()
    np.testing.assert_array_equal(graph.break_cycles(occ, rng=np.random.default_rng(seed)), broken)


def test_decycling_removes_every_edge_of_a_cycle_equally_often():
    ring = occlusion_from_edges([(0, 1), (1, 2), (2, 0)], 3)
    removed = np.zeros((3, 3), dtype=int)
    rng = np.random.default_rng(0)
    for _ in range(300):
        removed += ring - graph.break_cycles(ring, rng=rng)
    assert removed.sum() == 300  # exactly one edge each time
    assert removed[ring == 1].min() > 70


def test_decycling_walks_again_behind_a_cut():
    # Cutting 0 -> 1 hides 1, 2, 3 from the walk; the cycle 1 -> 2 -> 3 -> 1 must still be found.
    occ = occlusion_from_edges([(0, 1), (1, 2), (2, 3), (3, 1), (3, 0)], 4)
    for seed in range(30):
        assert graph.cycles(graph.break_cycles(occ, rng=seed)) == []


@pytest.mark.parametrize("density", [0.01, 0.05, 1.0])
def test_many_instances(density):
    rng = np.random.default_rng(0)
    occ = (rng.random((120, 120)) < density).astype(np.int8)
    np.fill_diagonal(occ, 0)
    reference = as_networkx(occ)
    strong = sorted(sorted(g) for g in nx.strongly_connected_components(reference))
    assert graph.groups(occ) == strong
    assert sorted(i for group in graph.groups(occ) for i in group) == list(range(120))
    assert nx.is_directed_acyclic_graph(as_networkx(graph.break_cycles(occ, rng=rng)))


def test_long_chain_and_long_ring():
    chain = np.eye(300, k=1, dtype=np.int8)
    assert graph.layers(chain).tolist() == list(range(300))
    assert graph.has_path(chain, 0, 299)
    chain[299, 0] = 1
    assert graph.cycles(chain) == [list(range(300))]
    assert (graph.layers(chain) == 0).all()
    assert graph.break_cycles(chain, rng=0).sum() == 299


def test_a_total_order_of_thousands():
    place = np.random.default_rng(0).permutation(3000)
    occ = (place[:, None] < place).astype(np.int8)
    np.testing.assert_array_equal(graph.layers(occ), place)
    np.testing.assert_array_equal(graph.relative_depth(occ), 3000 - place)
    assert not graph.instances_in_cycles(occ).any()


@pytest.mark.parametrize("edges", [2000, 5000])
def test_a_sparse_graph_of_thousands_agrees_with_networkx(edges):
    """Without and with a large group."""
    rng = np.random.default_rng(1)
    pairs = np.unique(rng.integers(0, 4000, (edges, 2)), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    occ = occlusion_from_edges(pairs.tolist(), 4000)
    reference = as_networkx(occ)
    strong = sorted(sorted(g) for g in nx.strongly_connected_components(reference))
    assert graph.groups(occ) == strong
    assert (max(map(len, strong)) > 100) == (edges == 5000)
    condensed = nx.condensation(reference)
    expected = np.zeros(4000, dtype=int)
    for level, generation in enumerate(nx.topological_generations(condensed)):
        for group in generation:
            expected[list(condensed.nodes[group]["members"])] = level
    np.testing.assert_array_equal(graph.layers(occ), expected)
    repeated = csr_array((np.ones(2 * len(pairs)), np.concatenate([pairs, pairs]).T), (4000, 4000))
    np.testing.assert_array_equal(graph.strong_labels(repeated), graph.group_labels(occ))


def test_chain_lengths_of_a_sparse_graph():
    tails, heads = [0, 1, 0, 0, 4], [1, 2, 2, 1, 2]  # 0 -> 1 is named twice
    found = graph.chain_lengths(csr_array((np.ones(5), (tails, heads)), shape=(5, 5)))
    assert found.tolist() == [0, 1, 2, 0, 0]
    with pytest.raises(ValueError, match="node 1 is on a cycle or behind one"):
        graph.chain_lengths(csr_array((np.ones(3), ([0, 1, 2], [1, 2, 1])), shape=(3, 3)))


@given(occlusions())
def test_simple_cycles_are_cycles(occ):
    found = graph.simple_cycles(occ, limit=50)
    assert len(found) <= 50
    assert bool(found) == bool(graph.cycles(occ))
    for cycle in found:
        assert cycle[0] == min(cycle)
        assert len(set(cycle)) == len(cycle)
        for i, j in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert occ[i, j] == 1


def test_simple_cycles_stop_at_the_limit():
    occ = np.ones((40, 40), dtype=np.int8) - np.eye(40, dtype=np.int8)
    assert len(graph.simple_cycles(occ, limit=7)) == 7
    assert graph.simple_cycles(occ, limit=0) == []
    with pytest.raises(ValueError, match="limit"):
        graph.simple_cycles(occ, limit=-1)


@pytest.mark.parametrize(
    "function",
    [
        graph.reachability,
        graph.groups,
        graph.cycles,
        graph.simple_cycles,
        graph.layers,
        graph.relative_depth,
        graph.instances_in_cycles,
        graph.connected_labels,
        graph.to_networkx,
        lambda occ: graph.break_cycles(occ, rng=0),
        lambda occ: graph.has_path(occ, 0, 1),
    ],
)
def test_self_loops_and_other_shapes_are_refused(function):
    with pytest.raises(ValueError, match="diagonal"):
        function(np.eye(3, dtype=np.int8))
    with pytest.raises(ValueError, match="expected"):
        function(np.zeros((2, 3)))


def test_arguments():
    with pytest.raises(ValueError, match="instance 8 is out of range"):
        graph.has_path(TANGLE, 0, 8)
    with pytest.raises(ValueError, match="instance -1 is out of range"):
        graph.has_path(TANGLE, -1, 0)
    with pytest.raises(ValueError, match="rng"):
        graph.break_cycles(TANGLE, rng=None)
    with pytest.raises(ValueError, match="1 attributes for 8"):
        graph.to_networkx(TANGLE, attributes=[{}])


def test_to_networkx_keeps_isolated_nodes_and_attributes():
    found = graph.to_networkx(TANGLE, attributes=[{"name": f"n{k}"} for k in range(8)])
    assert list(found.nodes) == list(range(8))
    assert found.nodes[4] == {"name": "n4"}
    assert nx.utils.graphs_equal(graph.to_networkx(TANGLE), as_networkx(TANGLE))


RING = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], np.int8)


def test_cycles_share_a_layer_and_are_listed():
    before = RING.copy()
    assert order.layers(RING).tolist() == [0, 0, 0, 1]
    assert order.cycles(RING) == [[0, 1, 2]]
    assert order.instances_in_cycles(RING).tolist() == [True, True, True, False]
    two = np.array([[0, 1], [1, 0]], np.int8)
    assert order.layers(two).tolist() == [0, 0] and order.cycles(two) == [[0, 1]]
    np.testing.assert_array_equal(RING, before)


def test_isolated_nodes_are_in_layer_0_and_no_nodes_have_no_layer():
    assert order.layers(np.zeros((3, 3), np.int8)).tolist() == [0, 0, 0]
    assert order.layers(np.zeros((0, 0), np.int8)).shape == (0,)
    assert order.cycles(np.zeros((0, 0), np.int8)) == []


@pytest.mark.parametrize(
    "function", [order.layers, order.cycles, order.relative_depth, order.instances_in_cycles]
)
def test_an_instance_in_front_of_itself_is_refused(function):
    with pytest.raises(ValueError, match="diagonal"):
        function(np.eye(3, dtype=np.int8))


@pytest.mark.parametrize("n", [53, 120])
def test_more_instances_than_letters_have_different_names(n, tmp_path):
    rng = np.random.default_rng(n)
    occ = (rng.random((n, n)) < 1.5 / n).astype(np.int8)
    np.fill_diagonal(occ, 0)
    before = occ.copy()
    graph = order.to_networkx(occ)
    groups = {frozenset(g) for g in nx.strongly_connected_components(graph) if len(g) > 1}
    assert {frozenset(g) for g in order.cycles(occ)} == groups
    cut = order.break_cycles(occ, rng=0)
    assert nx.is_directed_acyclic_graph(order.to_networkx(cut))
    np.testing.assert_array_equal(occ, before)
    image = io.results_image(
        image_id=1, height=1, width=n, modal=np.eye(n, dtype=bool)[:, None], classes=[1] * n,
        scores=[1.0] * n, occlusion=occ,
    )  # fmt: skip
    io.save_dot(tmp_path / "g.dot", image)
    names = [
        line for line in (tmp_path / "g.dot").read_text("utf-8").splitlines() if "label=" in line
    ]
    assert len(set(names)) == len(names) >= n


# --- cycles resolved by probability


def test_the_least_probable_occlusion_of_a_cycle_goes():
    ring = occlusion_from_edges([(0, 1), (1, 2), (2, 0)], 3)
    chance = np.array([[0, 0.9, 0], [0, 0, 0.6], [0.8, 0, 0]])
    assert np.argwhere(graph.resolve_cycles(ring, chance)).tolist() == [[0, 1], [2, 0]]
    # Without probabilities the last one goes that would close the cycle.
    assert np.argwhere(graph.resolve_cycles(ring)).tolist() == [[0, 1], [1, 2]]


def test_only_what_closes_a_cycle_with_likelier_ones_goes():
    """The likeliest, 1 -> 2, makes 2 -> 1 impossible; all others of the tangle may stay."""
    chance = np.full(TANGLE.shape, 0.7)
    chance[1, 2], chance[2, 1], chance[6, 7] = 0.95, 0.9, 0.55
    kept = graph.resolve_cycles(TANGLE, chance)
    assert np.argwhere(kept != TANGLE).tolist() == [[2, 1], [6, 7]]


@given(occlusions(), st.integers(0, 2**32 - 1))
def test_nothing_more_could_be_kept_and_what_is_on_no_cycle_stays(occ, seed):
    chance = np.random.default_rng(seed).random(occ.shape)
    kept = graph.resolve_cycles(occ, chance)
    assert graph.cycles(kept) == [] and ((kept == occ) | ((occ == 1) & (kept == 0))).all()
    for i, j in np.argwhere(kept != occ):
        likelier = np.where(chance >= chance[i, j], kept, 0)
        assert nx.has_path(as_networkx(likelier), j, i)


def test_probabilities_that_do_not_fit_are_refused():
    for chance in (np.ones((2, 2)), np.where(TANGLE == 1, np.nan, 0)):
        with pytest.raises(ValueError, match=r"must be finite and \(8, 8\)"):
            graph.resolve_cycles(TANGLE, chance)
