"""A loss over no pair, no pixel or no region is a zero that still has a gradient."""

from __future__ import annotations

import pytest
import torch

from occ_order.methods.common import pair_losses as pairwise
from occ_order.methods.instadepth import losses as disparity
from occ_order.methods.oosis import losses as oosis
from occ_order.methods.sln import losses as layering


def nothing():
    """(name, loss, its input) where there is no pair, no pixel or no region to look at."""

    def grad(*shape):
        return torch.zeros(shape, requires_grad=True)

    ones = torch.full((4,), -1)
    x = grad(0, 2)
    yield "no pairs", pairwise.occlusion_loss(x, torch.zeros(0, 2)), x
    x = grad(4, 2)
    yield "all unknown", pairwise.occlusion_loss(x, torch.full((4, 2), -1.0)), x
    x = grad(4, 3)
    yield "unknown relations", pairwise.class_loss(x, ones), x
    x = grad(0, 3)
    none = torch.zeros(0, dtype=torch.long)
    yield "no depth pairs", pairwise.depth_loss(x, none, none), x
    x = grad(4, 3)
    yield "unknown depth", pairwise.depth_loss(x, ones, ones), x
    x = grad(1, 3, 4, 5)
    semantic = torch.full((1, 4, 5), oosis.IGNORE)
    yield "all void", oosis.semantic_loss(x, semantic), x
    x, off = grad(1, 4, 5), torch.zeros(1, 4, 5)
    yield "no boundary pixel counts", oosis.boundary_loss(x, off, off > 0), x
    x = grad(1, 4, 4, 5)
    yield "no direction", oosis.orientation_loss(x, off, torch.zeros(1, 4, 4, 5), off > 0), x
    x = grad(0, 4, 6, 6)
    yield "no region", layering.instance_layering_loss(x, torch.zeros(0, 6, 6).long()), x
    x, empty = grad(0, 4, 5), torch.zeros(0, 4, 5, dtype=torch.bool)
    loss = disparity.instance_disparity_loss(x, empty, empty, torch.zeros(0).long())
    yield "no pair of instances", loss.sum(), x
    x = grad(0, 4, 5)
    yield "no image", disparity.smoothness_loss(x, torch.zeros(0, 3, 4, 5)), x


@pytest.mark.parametrize("case", [case[0] for case in nothing()])
def test_a_loss_of_nothing_is_a_zero_with_a_gradient(case):
    loss, x = next(rest for name, *rest in nothing() if name == case)
    assert loss.item() == 0 and loss.requires_grad
    loss.backward()
    assert x.grad is not None and torch.equal(x.grad, torch.zeros_like(x))


def test_only_negatives_and_only_positives_are_no_special_case():
    logits = torch.tensor([[3.0, -3.0]], requires_grad=True)
    for target in ([[0.0, 0.0]], [[1.0, 1.0]], [[1.0, -1.0]]):
        loss = pairwise.occlusion_loss(logits, torch.tensor(target))
        assert loss.isfinite() and loss > 0
