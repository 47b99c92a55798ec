"""Reading instances off a labelling."""

import networkx as nx
import numpy as np
import pytest
import scipy.ndimage

from occ_order.crf import InstanceMap, instances
from occ_order.crf.energy import neighbour_pairs
from occ_order.crf.instances import components

FRONT_OF_TWO = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 3, 3, 3, 0, 1],
    ]
)


def test_instances_by_hand():
    found = instances(FRONT_OF_TWO)
    assert found.ids.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 3, 3, 0],
        [0, 1, 1, 3, 3, 0],
        [0, 4, 4, 4, 0, 2],
    ]
    assert found.relative_depth.tolist() == [1, 1, 2, 3]
    # Instance 2 (index 2) occludes the first, the nearest occludes both; the lone pixel none.
    assert np.argwhere(found.occlusion).tolist() == [[2, 0], [3, 0], [3, 2]]
    assert np.isnan(found.scores).all() and found.classes.tolist() == [0, 0, 0, 0]
    assert found.masks.sum((1, 2)).tolist() == [4, 1, 4, 3]


def test_a_resized_map_loses_instances_without_a_pixel_and_their_rows():
    found = instances(FRONT_OF_TWO)
    # The nearest pixel centres of half the size are those of rows 1, 3 and columns 1, 3, 5.
    small = found.resized((2, 3))
    assert small.ids.tolist() == [[1, 3, 0], [4, 4, 2]] == found.ids[1::2, 1::2].tolist()
    smaller = found.resized((1, 3))  # row 2, where neither the lone pixel nor the front is
    assert smaller.ids.tolist() == [[1, 2, 0]] and len(smaller) == 2
    assert smaller.relative_depth.tolist() == [1, 2]
    assert smaller.occlusion.tolist() == [[0, 0], [1, 0]]
    void = InstanceMap(np.array([[-1, 2, 0]]), np.array([7, 8]), np.array([[0, 1], [-1, 0]]))
    kept = void.resized((1, 3))
    assert kept.ids.tolist() == [[-1, 1, 0]] and kept.classes.tolist() == [8]
    assert kept.scores is None and kept.occlusion.tolist() == [[0]]


def test_ordered_instances_of_a_map():
    found = instances(FRONT_OF_TWO, boundary_prob=np.full(FRONT_OF_TWO.shape, 0.5))
    ordered = found.ordered("photo")
    assert ordered.image_id == "photo" and ordered.size == (4, 6) and ordered.ids == (1, 2, 3, 4)
    assert np.array_equal(ordered.modal, found.masks)
    assert ordered.scores.tolist() == found.scores.tolist() and ordered.classes.tolist() == [0] * 4
    assert ordered.relations()[0] == "instance 3 occludes instance 1 (1.00)"
    nothing = instances(np.zeros((2, 3), int)).ordered()
    assert len(nothing) == 0 and nothing.modal.shape == (0, 2, 3)


def test_small_components_are_dropped_not_merged():
    labels = np.array([[2, 2, 2, 1, 2, 2, 2]])
    found = instances(labels, min_area=2)
    assert found.ids.tolist() == [[1, 1, 1, 0, 2, 2, 2]]
    assert not found.occlusion.any()
    assert len(instances(labels, min_area=4)) == 0


def test_class_by_majority_of_foreground_and_background_dropped():
    labels = np.array([[1, 1, 1, 0, 2, 2, 2]])
    class_prob = np.zeros((3, 1, 7))
    class_prob[2, 0, :2] = class_prob[1, 0, 2] = 1  # two pixels of class 1, one of class 0
    class_prob[0, 0, 4:6] = class_prob[1, 0, 6] = 1  # two of background, one of class 0
    class_prob[0, 0, 3] = 1
    found = instances(labels, class_prob=class_prob)
    assert found.classes.tolist() == [1]
    assert found.ids.tolist() == [[1, 1, 1, 0, 0, 0, 0]]


def test_score_is_boundary_on_the_rim_minus_inside():
    labels = np.zeros((7, 7), int)
    labels[1:6, 1:6] = 1
    boundary = np.full((7, 7), 0.5)
    boundary[2:5, 2:5] = 0.25
    # 16 rim pixels at .5; 9 inner ones at .25.
    assert instances(labels, boundary_prob=boundary).scores == pytest.approx([16 * 0.5 - 9 * 0.25])
    # At the image border there is no neighbour to differ from: nothing is rim.
    whole = instances(np.ones((3, 3), int), boundary_prob=np.full((3, 3), 0.5))
    assert whole.scores == pytest.approx([-4.5])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (4, 5)])
def test_no_instance(shape):
    found = instances(
        np.zeros(shape, int), class_prob=np.zeros((2, *shape)), boundary_prob=np.zeros(shape)
    )
    assert len(found) == 0
    assert found.ids.shape == shape and found.occlusion.shape == (0, 0)
    assert found.masks.shape == (0, *shape)


def test_components_agree_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(30):
        labels = rng.integers(0, 3, rng.integers(1, 12, 2))
        found = components(labels, labels > 0)
        assert np.array_equal(found > 0, labels > 0)
        for value in (1, 2):
            expected, count = scipy.ndimage.label(labels == value)
            pairs = np.unique(np.stack([expected, found])[:, labels == value], axis=1)
            assert pairs.shape[1] == count == len(np.unique(pairs[1]))
        first = [np.flatnonzero(found == k)[0] for k in range(1, found.max(initial=0) + 1)]
        assert first == sorted(first)


@pytest.mark.parametrize("scale", [1, 4])  # runs of one pixel, and long ones
def test_components_with_holes_and_cuts_agree_with_a_graph(scale):
    rng = np.random.default_rng(scale)
    for _ in range(40):
        coarse = rng.integers(0, rng.integers(1, 4), rng.integers(1, 20, 2))
        labels = np.kron(coarse, np.ones((scale, scale), int))
        inside = rng.random(labels.shape) < rng.choice([0.5, 0.8, 1.0])
        cut = rng.random((4, *labels.shape)) < rng.choice([0, 0.05, 0.5])
        pixel = np.arange(labels.size).reshape(labels.shape)
        graph = nx.Graph()
        graph.add_nodes_from(pixel[inside])
        for axis, (to_q, to_p) in ((1, (1, 0)), (0, (3, 2))):
            inside_p, inside_q = neighbour_pairs(inside, axis)
            label_p, label_q = neighbour_pairs(labels, axis)
            apart = neighbour_pairs(cut[to_q], axis)[0] | neighbour_pairs(cut[to_p], axis)[1]
            joined = inside_p & inside_q & (label_p == label_q) & ~apart
            graph.add_edges_from(np.stack(neighbour_pairs(pixel, axis))[:, joined].T)
        expected = np.zeros(labels.size, int)
        for number, group in enumerate(sorted(nx.connected_components(graph), key=min), start=1):
            expected[list(group)] = number
        found = components(labels, inside, cut)
        assert np.array_equal(found, expected.reshape(labels.shape))


def test_a_cut_from_either_side_separates():
    ones = np.ones((1, 4), bool)
    cut = np.zeros((4, 1, 4), bool)
    cut[1, 0, 0] = True  # to the right of the first
    cut[0, 0, 3] = True  # to the left of the last
    assert components(ones, ones, cut).tolist() == [[1, 2, 2, 3]]


def test_random_labels_never_give_a_cycle():
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = instances(rng.integers(0, 5, (8, 8)))
        i, j = np.nonzero(found.occlusion)
        assert (found.relative_depth[i] > found.relative_depth[j]).all()


@pytest.mark.parametrize(
    ("labels", "maps", "message"),
    [
        (np.zeros(3, int), {}, r"labels: got shape \(3,\)"),
        (np.full((2, 2), -1), {}, "labels: got a label of -1"),
        (np.zeros((2, 2)), {}, "labels: got dtype float64"),
        (np.zeros((2, 2), int), {"class_prob": np.zeros((3, 2, 3))}, "class_prob: got shape"),
        (np.zeros((2, 2), int), {"class_prob": np.zeros((1, 2, 2))}, "class_prob: got 1 channel"),
        (np.zeros((2, 2), int), {"boundary_prob": np.zeros((2, 3))}, "boundary_prob: got shape"),
        (np.zeros((2, 2), int), {"boundary_prob": np.full((2, 2), np.nan)}, "boundary_prob: got N"),
    ],
)
def test_bad_input_is_refused(labels, maps, message):
    with pytest.raises(ValueError, match=message):
        instances(labels, **maps)
