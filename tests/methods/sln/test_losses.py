from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occ_order.methods.sln import losses
from occ_order.targets import (
    decode_level_set,
    decode_ordinal,
    global_layers,
    instance_layers,
    level_set,
    ordinal_targets,
)

K = 4


def logits_of(levels: np.ndarray, certainty: float = 20.0) -> torch.Tensor:
    """Instance layering logits (R, K + 1, S, S) that are sure of given levels."""
    return torch.from_numpy(instance_layers(levels, num_levels=K)).float() * certainty


def test_layer_probabilities_by_hand() -> None:
    # Counts 0, 1, 2+ with probabilities .2, .3, .5: P(> 0) = .8, P(> 1) = .5.
    logits = torch.tensor([0.2, 0.3, 0.5]).log().reshape(1, 3, 1, 1)
    found = losses.layer_logits(logits).sigmoid().flatten()
    torch.testing.assert_close(found, torch.tensor([0.8, 0.5]))


def test_layers_are_nested_and_equal_the_reverse_cumulative_sum_of_the_softmax() -> None:
    logits = 3 * torch.randn(2, K + 1, 5, 6)
    found = losses.layer_logits(logits).sigmoid()
    counts = logits.softmax(1)
    expected = torch.stack([counts[:, level + 1 :].sum(1) for level in range(K)], dim=1)
    torch.testing.assert_close(found, expected)
    assert (found[:, 1:] <= found[:, :-1] + 1e-6).all()


def test_global_loss_falls_to_zero_at_the_true_counts_and_is_that_of_the_probabilities() -> None:
    amodal = np.zeros((3, 4, 6), bool)
    amodal[0, :, :3], amodal[1, 1:, 1:5], amodal[2, 2:, 2:] = True, True, True
    layers = torch.from_numpy(global_layers(amodal, num_levels=K))[None]
    counts = F.one_hot(torch.from_numpy(amodal.sum(0)), K + 1).movedim(-1, 0)[None]
    assert losses.global_layering_loss(30.0 * counts, layers) < 1e-6
    logits = torch.randn(1, K + 1, 4, 6)
    prob = losses.layer_logits(logits).sigmoid()
    expected = F.binary_cross_entropy(prob, layers.float())
    torch.testing.assert_close(losses.global_layering_loss(logits, layers), expected)


def test_certain_and_wrong_predictions_keep_losses_and_gradients_finite() -> None:
    logits = (1e4 * torch.randn(1, K + 1, 3, 3)).requires_grad_()
    levels = torch.randint(-1, K, (1, 3, 3))
    layers = torch.rand(1, K, 3, 3) > 0.5
    total = (
        losses.global_layering_loss(logits, layers)
        + losses.instance_layering_loss(logits, levels)
        + losses.ordinal_loss(logits[:, 1:], levels)
    )
    total.backward()
    assert math.isfinite(total.item())
    assert torch.isfinite(logits.grad).all()


def test_instance_loss_by_hand() -> None:
    # Two channels with probabilities .25 ("not the object") and .75 ("visible"), truth visible:
    # both binary cross-entropies are -log .75, and so is the cross-entropy.
    logits = torch.tensor([0.25, 0.75]).log().reshape(1, 2, 1, 1)
    visible = torch.zeros(1, 1, 1, dtype=torch.int8)
    for kind in ("bce", "ce"):
        found = losses.instance_layering_loss(logits, visible, kind=kind)
        assert found.item() == pytest.approx(-math.log(0.75), abs=1e-6)
    outside = losses.instance_layering_loss(logits, visible - 1)
    assert outside.item() == pytest.approx(-math.log(0.25), abs=1e-6)


def test_instance_loss_is_the_mean_over_channels_of_the_softmax() -> None:
    logits = torch.randn(3, K + 1, 4, 4)
    levels = torch.randint(-1, K, (3, 4, 4))
    target = torch.from_numpy(instance_layers(levels.numpy(), num_levels=K)).float()
    expected = F.binary_cross_entropy(logits.softmax(1), target)
    torch.testing.assert_close(losses.instance_layering_loss(logits, levels), expected)


def test_level_probabilities_decode_to_the_levels_they_were_made_from() -> None:
    levels = np.random.default_rng(0).integers(-1, K, (3, 6, 6)).astype(np.int8)
    prob = losses.nearer_logits(logits_of(levels)).sigmoid()
    np.testing.assert_array_equal(decode_ordinal(prob.numpy()).levels, levels)
    values = losses.soft_level_set(logits_of(levels))[:, 0]
    np.testing.assert_allclose(values, level_set(levels, num_levels=K), atol=1e-5)
    np.testing.assert_array_equal(decode_level_set(values.numpy(), num_levels=K).levels, levels)


def test_refined_values_decode_to_the_levels_they_were_made_from() -> None:
    levels = np.random.default_rng(1).integers(-1, K, (3, 6, 6)).astype(np.int8)
    values = torch.from_numpy(level_set(levels, num_levels=K))[:, None]
    prob = losses.thresholded_logits(values, K).sigmoid()
    np.testing.assert_array_equal(decode_ordinal(prob.numpy()).levels, levels)
    np.testing.assert_array_equal((prob > 0.5).numpy(), ordinal_targets(levels, num_levels=K))


def test_nearer_probabilities_are_sums_of_the_softmax() -> None:
    logits = 3 * torch.randn(2, K + 1, 3, 3)
    found = losses.nearer_logits(logits).sigmoid()
    torch.testing.assert_close(found, logits.softmax(1)[:, 1:].cumsum(1))


def test_no_correction_leaves_nested_masks_as_they_are() -> None:
    logits = losses.nearer_logits(torch.randn(2, K + 1, 3, 3))
    torch.testing.assert_close(losses.nested_logits(logits, torch.zeros_like(logits)), logits)


def test_only_nested_masks_can_say_visible_or_not_there() -> None:
    # One half visible, one half not there: no hidden level is likely. One value that gives the
    # modal mask one half makes the object certain to be there.
    halves = torch.tensor([0.5, 0.5, 0, 0, 0]).clamp(min=1e-6).log().reshape(1, K + 1, 1, 1)
    nested = losses.nested_logits(losses.nearer_logits(halves), torch.zeros(1, K, 1, 1)).sigmoid()
    torch.testing.assert_close(nested.flatten(), torch.full((K,), 0.5), atol=1e-4, rtol=0)
    single = losses.thresholded_logits(torch.full((1, 1, 1, 1), 0.5), K).sigmoid().flatten()
    assert single[0] == 0.5
    assert single[1] > 0.99


@pytest.mark.parametrize("kind", ["masks", "map", "unrefined"])
def test_masks_of_any_prediction_are_nested(kind: str) -> None:
    noise = 5 * torch.randn(4, K + 1, 7, 7)
    if kind == "map":
        prob = losses.thresholded_logits(noise[:, :1], K).sigmoid()
    elif kind == "masks":
        prob = losses.nested_logits(noise[:, 1:], 5 * torch.randn(4, K, 7, 7)).sigmoid()
    else:
        prob = losses.nearer_logits(noise).sigmoid()
    assert (prob[:, 1:] >= prob[:, :-1] - 1e-6).all()
    decoded = decode_ordinal(prob.numpy())
    assert not (decoded.modal & ~decoded.amodal).any()


def test_ordinal_loss_by_hand_and_at_the_truth() -> None:
    # z = c: y_0 = sigmoid(0) = .5, y_1 = sigmoid(8); the object is there at level 1.
    logits = losses.thresholded_logits(torch.full((1, 1, 1, 1), 0.5), 2)
    found = losses.ordinal_loss(logits, torch.ones(1, 1, 1))
    assert found.item() == pytest.approx((math.log(2) + math.log1p(math.exp(-8))) / 2, abs=1e-6)
    levels = np.random.default_rng(2).integers(-1, K, (2, 5, 5))
    values = torch.from_numpy(level_set(levels, num_levels=K))[:, None]
    truth = losses.thresholded_logits(values, K, sharpness=40.0)
    assert losses.ordinal_loss(truth, torch.from_numpy(levels)) < 1e-6


def test_no_region_gives_a_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, K + 1, 7, 7, requires_grad=True)
    levels = torch.zeros(0, 7, 7, dtype=torch.int8)
    for kind in ("bce", "ce"):
        assert losses.instance_layering_loss(logits, levels, kind=kind).item() == 0
    loss = losses.ordinal_loss(logits[:, 1:], levels)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == logits.shape
    assert losses.nearer_logits(logits).shape == (0, K, 7, 7)
    assert losses.nested_logits(logits[:, 1:], logits[:, 1:]).shape == (0, K, 7, 7)
    assert losses.soft_level_set(logits).shape == (0, 1, 7, 7)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="'bce' or 'ce', got 'dice'"):
        losses.instance_layering_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2), kind="dice")
