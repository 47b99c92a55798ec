"""Losses of OOSIS against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from occ_order.methods.oosis.losses import (
    BOUNDARY_LOSSES,
    boundary_loss,
    combo_loss,
    dice_pp_loss,
    orientation_loss,
    semantic_loss,
    tversky_pp_loss,
    weighted_boundary_ce,
)

# Two pixels of probability 0.8 and 0.25; the first is boundary.
LOGITS = torch.tensor([[[math.log(4.0), -math.log(3.0)]]])
BOUNDARY = torch.tensor([[[1.0, 0.0]]])
VALID = torch.ones(1, 1, 2, dtype=torch.bool)


def test_semantic_loss_is_the_mean_cross_entropy_of_the_pixels_that_count():
    logits = torch.tensor([[[[0.0, 9.0]], [[math.log(3.0), 0.0]]]])  # p(1) = .75 at pixel 0
    assert semantic_loss(logits, torch.tensor([[[1, 255]]])) == pytest.approx(-math.log(0.75))


def test_weighted_cross_entropy():
    expected = -(0.9 * math.log(0.8) + 0.1 * math.log(0.75)) / 2
    assert weighted_boundary_ce(LOGITS, BOUNDARY, VALID) == pytest.approx(expected)


def test_dice_pp():
    # TP .8, FP^2 .0625, FN^2 .04, smoothing 1.
    expected = 1 - (1.6 + 1) / (1.6 + 0.0625 + 0.04 + 1)
    assert dice_pp_loss(LOGITS, BOUNDARY, VALID) == pytest.approx(expected, abs=1e-6)


def test_dice_pp_with_focus_1_is_soft_dice():
    # 2 TP / (sum p + sum B) = 1.6 / 2.05.
    expected = 1 - (1.6 + 1) / (2.05 + 1)
    assert dice_pp_loss(LOGITS, BOUNDARY, VALID, focus=1) == pytest.approx(expected, abs=1e-6)


def test_tversky_pp():
    expected = 1 - (0.8 + 1) / (0.8 + 0.3 * 0.0625 + 0.7 * 0.04 + 1)
    assert tversky_pp_loss(LOGITS, BOUNDARY, VALID) == pytest.approx(expected, abs=1e-6)


def test_tversky_pp_with_the_weights_of_the_paper():
    """Section 5.6: gamma = 2, fine-tuned alpha = 0.8, beta = 0.2; alpha weighs false boundary."""
    options = {"kind": "tversky_pp", "focus": 2.0, "tversky": (0.8, 0.2)}
    expected = 1 - (0.8 + 1) / (0.8 + 0.8 * 0.0625 + 0.2 * 0.04 + 1)
    assert boundary_loss(LOGITS, BOUNDARY, VALID, **options) == pytest.approx(expected, abs=1e-6)


def test_combo_with_the_weight_of_the_paper():
    """Section 5.6: Combo "with fine-tuned alpha = 0.1", the share of the cross-entropy."""
    cross_entropy = -(0.9 * math.log(0.8) + 0.1 * math.log(0.75)) / 2
    expected = 0.1 * cross_entropy + 0.9 * (1 - (1.6 + 1) / (2.05 + 1))
    found = boundary_loss(LOGITS, BOUNDARY, VALID, kind="combo", combo_alpha=0.1)
    assert found == pytest.approx(expected)


def test_combo_is_half_cross_entropy_half_dice():
    cross_entropy = -(0.9 * math.log(0.8) + 0.1 * math.log(0.75)) / 2
    expected = 0.5 * cross_entropy + 0.5 * (1 - (1.6 + 1) / (2.05 + 1))
    assert combo_loss(LOGITS, BOUNDARY, VALID) == pytest.approx(expected)


# Left and top equally, at one boundary pixel of two.
E_LOGITS = torch.log(torch.tensor([0.4, 0.1, 0.3, 0.2]))[None, :, None, None].repeat(1, 1, 1, 2)
E = torch.zeros(1, 4, 1, 2)
E[0, [0, 2], 0, 0] = 0.5


@pytest.mark.parametrize(("norm", "pixels"), [("pixels", 2), ("boundary", 1)])
def test_orientation_loss_is_soft_cross_entropy_on_the_boundary(norm, pixels):
    expected = -(0.5 * math.log(0.4) + 0.5 * math.log(0.3)) / pixels
    got = orientation_loss(E_LOGITS, BOUNDARY, E, VALID, norm=norm)
    assert got == pytest.approx(expected)


@pytest.mark.parametrize("kind", BOUNDARY_LOSSES)
def test_ignored_pixels_change_no_boundary_loss(kind):
    more = torch.cat([LOGITS, torch.full((1, 1, 3), 7.0)], 2)
    truth = torch.cat([BOUNDARY, torch.zeros(1, 1, 3)], 2)
    valid = torch.cat([VALID, torch.zeros(1, 1, 3, dtype=torch.bool)], 2)
    expected = boundary_loss(LOGITS, BOUNDARY, VALID, kind=kind)
    assert boundary_loss(more, truth, valid, kind=kind) == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", BOUNDARY_LOSSES)
@pytest.mark.parametrize("covered", [True, False])
def test_no_boundary_or_no_valid_pixel_gives_a_finite_gradient(kind, covered):
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    valid = torch.full((2, 3, 3), covered)
    loss = boundary_loss(logits, torch.zeros(2, 3, 3), valid, kind=kind)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert bool((logits.grad > 0).all()) == covered


def test_all_terms_are_zero_with_a_gradient_where_nothing_is_valid():
    logits = torch.zeros(1, 4, 2, 2, requires_grad=True)
    nothing = torch.zeros(1, 2, 2)
    total = semantic_loss(logits, torch.full((1, 2, 2), 255)) + orientation_loss(
        logits, nothing, torch.zeros(1, 4, 2, 2), nothing.bool(), norm="boundary"
    )
    total.backward()
    assert total == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("kind", BOUNDARY_LOSSES)
def test_a_better_prediction_has_a_smaller_boundary_loss(kind):
    losses = [
        boundary_loss(BOUNDARY * (2 * size) - size, BOUNDARY, VALID, kind=kind)
        for size in (0.0, 1.0, 4.0)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="got 'focal', expected one of"):
        boundary_loss(LOGITS, BOUNDARY, VALID, kind="focal")
    with pytest.raises(ValueError, match="got 'image', expected one of"):
        orientation_loss(E_LOGITS, BOUNDARY, E, VALID, norm="image")
