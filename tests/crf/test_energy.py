"""The CRF energy and its inputs, against values computed by hand."""

import numpy as np
import pytest

from occ_order.crf import energy, occludes_from_heads, occludes_from_target
from occ_order.crf.energy import SCALE, make_problem, scaled_energy
from occ_order.targets.oriented_boundary import oriented_boundary

LEFT, RIGHT, TOP, BOTTOM = range(4)


def test_two_pixels_by_hand():
    sigma = np.array([[0.25, 0.5]])
    occludes = np.zeros((4, 1, 2), bool)
    occludes[RIGHT, 0, 0] = True
    weights = {"smoothness": 7, "occlusion": 11}
    assert energy(np.array([[0, 0]]), sigma, occludes, **weights) == pytest.approx(0.75 + 0.5)
    # One pair of different labels, and it is the occlusion pair.
    assert energy(np.array([[1, 0]]), sigma, occludes, **weights) == pytest.approx(
        0.25 + 0.5 + 7 - 11
    )
    assert energy(np.array([[4, 4]]), sigma, occludes, **weights) == pytest.approx(0.25 + 0.5)
    assert energy(np.array([[1, 2]]), sigma, occludes, **weights) == np.inf


def test_worked_example_of_two_overlapping_squares():
    ids = np.zeros((6, 6), int)
    ids[1:4, 1:4] = 1
    ids[2:5, 4] = ids[3:5, 3] = 2
    occ = np.array([[0, 1], [0, 0]], np.int8)
    boundary, orientation = oriented_boundary(ids, occ)
    occludes = occludes_from_target(boundary, orientation)
    assert occludes.sum() == 19
    sigma = np.where(ids > 0, 0.05, 0.95)
    layers = np.where(ids == 1, 2, np.where(ids == 2, 1, 0))
    # Unary 36 * .05, and all 19 pairs of O are active, each once between different labels.
    for smoothness, expected in ((20, -1518.2), (40, -1138.2)):
        assert energy(layers, sigma, occludes, smoothness=smoothness) == pytest.approx(expected)


def test_scaled_energy_agrees_where_sigma_is_a_multiple_of_the_unit():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 3, (5, 6)).astype(np.int32)
        sigma = rng.integers(0, SCALE + 1, labels.shape) / SCALE
        occludes = np.zeros((4, *labels.shape), bool)
        occludes[RIGHT, :, :-1] = (labels[:, :-1] >= labels[:, 1:]) & (rng.random((5, 5)) < 0.5)
        occludes[TOP, 1:] = (labels[1:] >= labels[:-1]) & (rng.random((4, 6)) < 0.5)
        problem = make_problem(sigma, occludes, smoothness=40, occlusion=100)
        assert scaled_energy(problem, labels) == SCALE * energy(labels, sigma, occludes)


def test_the_empty_image_has_no_energy():
    empty = np.zeros((0, 0))
    assert energy(empty.astype(int), empty, np.zeros((4, 0, 0), bool)) == 0


def _valid():
    return {
        "labels": np.zeros((3, 4), int),
        "background_prob": np.full((3, 4), 0.5),
        "occludes": np.zeros((4, 3, 4), bool),
    }


def _leaving(direction):
    occludes = np.zeros((4, 3, 4), bool)
    index = {LEFT: (1, 0), RIGHT: (1, 3), TOP: (0, 2), BOTTOM: (2, 2)}[direction]
    occludes[(direction, *index)] = True
    return occludes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"background_prob": np.zeros(12)}, r"background_prob: got shape \(12,\)"),
        ({"background_prob": np.full((3, 4), np.nan)}, "background_prob: got values from nan"),
        ({"background_prob": np.full((3, 4), 1.01)}, r"expected probabilities in \[0, 1\]"),
        ({"background_prob": np.full((3, 4), -0.01)}, "background_prob: got values from -0.01"),
        ({"background_prob": np.full((3, 4), "a")}, "background_prob: got dtype"),
        ({"occludes": np.zeros((4, 4, 3), bool)}, r"occludes: got shape \(4, 4, 3\)"),
        ({"occludes": np.zeros((4, 3, 4))}, "occludes: got dtype float64, expected bool"),
        ({"occludes": _leaving(LEFT)}, "1 pair.s. of direction 'left' leave the image"),
        ({"occludes": _leaving(RIGHT)}, "direction 'right'"),
        ({"occludes": _leaving(TOP)}, "direction 'top'"),
        ({"occludes": _leaving(BOTTOM)}, "direction 'bottom'"),
        ({"smoothness": -1}, "smoothness: got -1"),
        ({"smoothness": np.inf}, "smoothness: got inf"),
        ({"occlusion": np.nan}, "occlusion: got nan"),
        ({"occlusion": 1e9}, "occlusion: got 1000000000"),
        ({"labels": np.zeros((4, 3), int)}, r"labels: got shape \(4, 3\), expected \(3, 4\)"),
        ({"labels": np.zeros((3, 4))}, "labels: got dtype float64"),
        ({"labels": np.full((3, 4), -2)}, "labels: got a label of -2"),
        ({"labels": np.full((3, 4), 2**32)}, "labels: got a label of 4294967296, expected at most"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        energy(**{**_valid(), **change})


def test_heads_keep_the_larger_of_opposite_directions():
    orientation = np.zeros((4, 3, 3))
    orientation[:, 1, 1] = (0.5, 0.3, 0.1, 0.1)
    boundary = np.zeros((3, 3))
    boundary[1, 1] = 0.9
    occludes = occludes_from_heads(boundary, orientation, threshold=0.05)
    # left .45 beats right .27; top and bottom tie at .09, which both keep (o > threshold).
    assert np.argwhere(occludes).tolist() == [[LEFT, 1, 1], [TOP, 1, 1], [BOTTOM, 1, 1]]
    assert not occludes_from_heads(boundary, orientation, threshold=0.45).any()


def test_heads_settle_contradictions_by_the_larger_probability():
    boundary = np.array([[0.9, 0.8, 0.0]])
    orientation = np.zeros((4, 1, 3))
    orientation[RIGHT, 0, 0] = 1
    orientation[LEFT, 0, 1] = 1
    assert np.argwhere(occludes_from_heads(boundary, orientation)).tolist() == [[RIGHT, 0, 0]]
    tie = np.array([[0.8, 0.8, 0.0]])
    assert not occludes_from_heads(tie, orientation).any()


def test_heads_drop_pairs_that_leave_the_image():
    orientation = np.full((4, 1, 1), 0.25)
    assert not occludes_from_heads(np.ones((1, 1)), orientation).any()


def test_heads_refuse_what_is_no_probability():
    with pytest.raises(ValueError, match="orientation_prob: got values from 0.0 to 2.0"):
        occludes_from_heads(np.ones((1, 2)), np.array([0, 0, 0, 2.0])[:, None, None] * np.ones(2))
    with pytest.raises(ValueError, match=r"expected \(H, W\) and \(4, H, W\)"):
        occludes_from_heads(np.ones((2, 2)), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="threshold: got nan"):
        occludes_from_heads(np.ones((1, 1)), np.zeros((4, 1, 1)), threshold=np.nan)


def test_target_gives_every_direction_of_a_corner():
    boundary = np.zeros((2, 2), bool)
    boundary[1, 1] = True
    orientation = np.zeros((4, 2, 2), np.float32)
    orientation[[LEFT, TOP], 1, 1] = 0.5
    occludes = occludes_from_target(boundary, orientation)
    assert np.argwhere(occludes).tolist() == [[LEFT, 1, 1], [TOP, 1, 1]]
