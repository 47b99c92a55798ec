"""Losses of pairs and of completion, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from occ_order.methods.common.pair_losses import (
    class_loss,
    completion_loss,
    depth_loss,
    occlusion_loss,
)


def test_occlusion_is_binary_cross_entropy_over_what_is_known():
    logits = torch.tensor([[0.0, math.log(3)], [5.0, -5.0]])
    target = torch.tensor([[1.0, 0.0], [-1.0, -1.0]])
    # -log 0.5 and -log(1 - 0.75)
    expected = (math.log(2) + math.log(4)) / 2
    assert occlusion_loss(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize(("classes", "floor"), [(3, 0.5514), (4, 0.7437)])
def test_double_softmax_has_the_published_floor(classes, floor):
    logits = torch.zeros(1, classes)
    logits[0, 1] = 100.0
    right = torch.tensor([1])
    assert class_loss(logits, right).item() == pytest.approx(0, abs=1e-6)
    assert class_loss(logits, right, double_softmax=True).item() == pytest.approx(floor, abs=1e-4)


def test_depth_is_the_cross_entropy_of_all_pairs_alike():
    """Section 4.1: the depth order "is trained with cross-entropy loss"; it knows no weights."""
    logits = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [0, 0, 0]])
    target, overlap = torch.tensor([0, 0, 1, -1]), torch.tensor([0, 0, 1, 0])
    each = -logits.log_softmax(1)
    expected = (each[0, 0] + each[1, 0] + each[2, 1]) / 3
    assert depth_loss(logits, target, overlap).item() == pytest.approx(expected.item())


def test_the_published_depth_loss_weighs_the_means_of_distinct_and_overlapping_pairs():
    logits = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [0, 0, 0]])
    target, overlap = torch.tensor([0, 0, 1, -1]), torch.tensor([0, 0, 1, 0])
    each = -logits.log_softmax(1)
    expected = 0.9 * (each[0, 0] + each[1, 0]) / 2 + 0.1 * each[2, 1]
    loss = depth_loss(logits, target, overlap, weights=(0.9, 0.1))
    assert loss.item() == pytest.approx(expected.item())


def test_depth_of_an_unknown_kind_counts_as_distinct():
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    unknown = depth_loss(logits, target, torch.full((4,), -1), weights=(0.9, 0.1))
    assert unknown.item() == depth_loss(logits, target, torch.zeros(4), weights=(0.9, 0.1)).item()


def test_erased_pixels_weigh_five_times_as_much():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1] = math.log(3)  # P(inside) = 0.75
    target = torch.tensor([[[1, 0], [1, 1]]])
    eraser = torch.tensor([[[1, 0], [0, 0]]])
    inside, outside = -math.log(0.75), -math.log(0.25)
    expected = (5 * inside + outside + 2 * inside) / 4
    assert completion_loss(logits, target, eraser).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: occlusion_loss(x[:, :2], torch.full((len(x), 2), -1.0)),
        lambda x: class_loss(x, torch.full((len(x),), -1)),
        lambda x: depth_loss(x, torch.full((len(x),), -1), torch.zeros(len(x))),
        lambda x: depth_loss(x, torch.full((len(x),), -1), torch.zeros(len(x)), weights=(1, 2)),
    ],
)
@pytest.mark.parametrize("count", [0, 3])
def test_nothing_known_is_a_zero_with_a_gradient_of_zero(loss, count):
    logits = torch.randn(count, 3, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert value.item() == 0 and not logits.grad.any()


def test_completion_of_nothing_is_zero():
    logits = torch.zeros((0, 2, 4, 4), requires_grad=True)
    value = completion_loss(logits, torch.zeros(0, 4, 4), torch.zeros(0, 4, 4))
    value.backward()
    assert value.item() == 0


def test_an_unknown_pair_has_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    class_loss(logits, torch.tensor([2, -1])).backward()
    assert logits.grad[0].any() and not logits.grad[1].any()
