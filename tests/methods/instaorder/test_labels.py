"""What the classes mean: labels from matrices, matrices from answers."""

from __future__ import annotations

import pytest
import torch

from occ_order.methods.common import pair_labels as labels

# 0 occludes 1; 1 and 2 each other; 0 and 2 not annotated.
OCCLUSION = torch.tensor([[0, 1, -1], [0, 0, 1], [-1, 1, 0]])
# 0 is closer than 1; 1 equals 2; 0 and 2 not annotated.
DEPTH = torch.tensor([[-1, 1, -1], [0, -1, 2], [-1, 2, -1]])
PAIRS = torch.tensor([[0, 1], [1, 0], [1, 2], [0, 2]])


def test_occlusion_labels_are_second_over_first_then_first_over_second():
    expected = [[0, 1], [1, 0], [1, 1], [-1, -1]]
    assert labels.occlusion_labels(OCCLUSION, PAIRS).tolist() == expected


def test_depth_labels_are_closer_farther_equal():
    assert labels.depth_labels(DEPTH, PAIRS).tolist() == [0, 1, 2, -1]


@pytest.mark.parametrize(("size", "expected"), [(3, [1, 0, 1, -1]), (4, [1, 0, 3, -1])])
def test_relation_labels(size, expected):
    assert labels.relation_labels(OCCLUSION, PAIRS, size).tolist() == expected


def test_neither_is_a_relation_and_half_known_is_none():
    occlusion = torch.tensor([[0, 0, 1], [0, 0, 0], [-1, 0, 0]])
    pairs = torch.tensor([[0, 1], [0, 2]])
    assert labels.relation_labels(occlusion, pairs, 4).tolist() == [2, -1]


def test_averages_are_the_published_ones():
    first, second = torch.randn(5, 4), torch.randn(5, 4)
    both = torch.cat([first, second])
    one, two = first.softmax(1), second.softmax(1)
    expected = [(one[:, 1] + two[:, 0]) / 2, (one[:, 0] + two[:, 1]) / 2]
    expected += [(one[:, 2] + two[:, 2]) / 2, (one[:, 3] + two[:, 3]) / 2]
    torch.testing.assert_close(labels.average_relation(both), torch.stack(expected, 1))
    one, two = first[:, :3].softmax(1), second[:, :3].softmax(1)
    expected = [(one[:, 0] + two[:, 1]) / 2, (one[:, 1] + two[:, 0]) / 2]
    expected += [(one[:, 2] + two[:, 2]) / 2]
    torch.testing.assert_close(labels.average_depth(both[:, :3]), torch.stack(expected, 1))
    one, two = first[:, :2].sigmoid(), second[:, :2].sigmoid()
    expected = [(one[:, 1] + two[:, 0]) / 2, (one[:, 0] + two[:, 1]) / 2]
    torch.testing.assert_close(labels.average_occlusion(both[:, :2]), torch.stack(expected, 1))


@pytest.mark.parametrize(
    ("average", "size", "permutation"),
    [
        (labels.average_occlusion, 2, [1, 0]),
        (labels.average_depth, 3, [1, 0, 2]),
        (labels.average_relation, 4, [1, 0, 2, 3]),
    ],
)
def test_swapping_the_directions_swaps_the_answer_exactly(average, size, permutation):
    first, second = torch.randn(9, size), torch.randn(9, size)
    straight = average(torch.cat([first, second]))
    turned = average(torch.cat([second, first]))
    assert torch.equal(turned, straight[:, permutation])


def test_right_logits_give_the_matrices_that_the_labels_came_from():
    pairs = torch.tensor([[0, 1], [1, 2]])
    both = torch.cat([pairs, pairs.flip(1)])
    logits = 20 * (labels.occlusion_labels(OCCLUSION, both) - 0.5)
    known = OCCLUSION.clamp(min=0).to(torch.int8)
    found, probability = labels.occlusion_matrices(labels.average_occlusion(logits), pairs, 3)
    assert torch.equal(found, known)
    torch.testing.assert_close(probability, known.float(), atol=1e-3, rtol=0)
    one_hot = torch.eye(4)[labels.relation_labels(OCCLUSION, both, 4)] * 20
    found, _ = labels.relation_matrices(labels.average_relation(one_hot), pairs, 3)
    assert torch.equal(found, known)
    one_hot = torch.eye(3)[labels.depth_labels(DEPTH, both)] * 20
    found, probability = labels.depth_matrices(labels.average_depth(one_hot), pairs, 3)
    assert torch.equal(found, DEPTH.to(torch.int8))
    torch.testing.assert_close(probability[0, 1], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(probability[1, 0], torch.tensor([0.0, 1, 0]))


def test_threshold_is_strict_and_both_directions_may_hold():
    pairs = torch.tensor([[0, 1], [0, 2]])
    probability = torch.tensor([[0.5, 0.51], [0.9, 0.8]])
    found, _ = labels.occlusion_matrices(probability, pairs, 3)
    assert found.tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0]]
    found, _ = labels.occlusion_matrices(probability, pairs, 3, threshold=0.85)
    assert found.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_two_directions_that_are_exactly_alike_are_a_tie():
    pairs = torch.tensor([[0, 1]])
    depth, _ = labels.depth_matrices(torch.tensor([[0.4, 0.4, 0.2]]), pairs, 2)
    assert depth.tolist() == [[-1, 2], [2, -1]]
    alike = torch.tensor([[0.4, 0.4, 0.15, 0.05]])
    assert not labels.relation_matrices(alike, pairs, 2)[0].any()
    mutual = torch.tensor([[0.3, 0.3, 0.15, 0.25]])
    assert labels.relation_matrices(mutual, pairs, 2)[0].tolist() == [[0, 1], [1, 0]]


def test_no_pairs():
    none = torch.zeros((0, 2), dtype=torch.int64)
    assert labels.depth_matrices(torch.zeros(0, 3), none, 1)[0].tolist() == [[-1]]
    assert labels.occlusion_matrices(torch.zeros(0, 2), none, 0)[0].shape == (0, 0)
    assert labels.relation_matrices(torch.zeros(0, 4), none, 2)[0].tolist() == [[0, 0], [0, 0]]


# --- a pair and its mirror


@pytest.mark.parametrize("seed", range(5))
def test_both_directions_give_transposed_matrices(seed):
    """Swapping which instance is asked first, for every pair, changes nothing at all."""
    torch.manual_seed(seed)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
    back = torch.cat([torch.arange(3, 6), torch.arange(3)])
    for channels, average, matrices in (
        (2, labels.average_occlusion, labels.occlusion_matrices),
        (3, labels.average_depth, labels.depth_matrices),
        (3, labels.average_relation, labels.relation_matrices),
        (4, labels.average_relation, labels.relation_matrices),
    ):
        logits = torch.randn(6, channels)
        one = matrices(average(logits), pairs, 3)
        other = matrices(average(logits[back]), pairs.flip(1), 3)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_equal_depth_is_symmetric_and_closer_is_not():
    logits = torch.randn(6, 3)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
    depth, probability = labels.depth_matrices(labels.average_depth(logits), pairs, 3)
    off = ~torch.eye(3, dtype=torch.bool)
    assert torch.equal((depth == 2), (depth == 2).T)
    assert torch.equal((depth == 1) & off, ((depth == 0) & off).T)
    assert torch.equal(probability[..., 0], probability[..., 1].T)
    assert torch.equal(probability[..., 2], probability[..., 2].T)
