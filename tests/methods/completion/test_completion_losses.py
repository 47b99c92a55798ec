"""The loss of hidden parts."""

from __future__ import annotations

import math

import pytest
import torch

from occ_order.methods.completion.losses import hidden_part_loss


def test_by_hand():
    logits = torch.full((1, 2, 2), math.log(3.0))  # a probability of 3/4
    target = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    known = torch.tensor([[[1.0, 1.0], [0.0, 0.5]]])
    error, apart = hidden_part_loss(logits, target, known, torch.tensor([2.0]))
    # 1.5 cells of which 1 is in the instance and 1 is not, and half of one that is.
    assert error == pytest.approx((-1.5 * math.log(0.75) - math.log(0.25)) / 2.5)
    # Shared: 2 + 3/4 + 3/8; either: 2 + 1 + 3/4 + 1/2.
    assert apart == pytest.approx(1 - 3.125 / 4.25)


def test_every_instance_counts_the_same_whatever_is_asked_of_it():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 4), torch.rand(2, 4, 4)
    known, visible = torch.ones(2, 4, 4), torch.tensor([3.0, 5.0])
    known[1, 1:] = 0
    both = hidden_part_loss(logits, target, known, visible)
    alone = [
        hidden_part_loss(*(value[k : k + 1] for value in (logits, target, known, visible)))
        for k in range(2)
    ]
    for value, parts in zip(both, zip(*alone, strict=True), strict=True):
        assert value == pytest.approx(float(sum(parts)) / 2)
    # One of which nothing is asked changes nothing.
    more = [torch.cat([value, value[:1]]) for value in (logits, target, known, visible)]
    more[2][2] = 0
    assert hidden_part_loss(*more) == pytest.approx([float(value) for value in both])


def test_nothing_asked_is_zero_with_a_gradient():
    logits = torch.randn(1, 2, 2, requires_grad=True)
    zero = torch.zeros(1, 2, 2)
    losses = hidden_part_loss(logits, zero, zero, torch.zeros(1))
    sum(losses).backward()
    assert [float(value.detach()) for value in losses] == [0, 0] and not logits.grad.any()
    empty = torch.zeros(0, 2, 2)
    assert [float(v) for v in hidden_part_loss(empty, empty, empty, torch.zeros(0))] == [0, 0]


def test_what_is_not_asked_has_no_gradient():
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    known = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    sum(hidden_part_loss(logits, torch.ones(1, 2, 2), known, torch.ones(1))).backward()
    assert (logits.grad != 0).tolist() == [[[True, False], [False, False]]]
    assert logits.grad[0, 0, 0] < 0
