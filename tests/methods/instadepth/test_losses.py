"""Losses on disparity maps: hand values, where the gradient points, what is empty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from occ_order.methods.instadepth.losses import (  # noqa: E402
    SMOOTHNESS_FORMS,
    closer_sign,
    erode,
    instance_disparity_loss,
    order_violation,
    smoothness_loss,
)

A = torch.tensor([[1, 1, 1, 0, 0, 0, 0]], dtype=torch.bool)[None]
B = torch.tensor([[0, 0, 0, 1, 1, 1, 0]], dtype=torch.bool)[None]
PLUS, MINUS = torch.tensor([1]), torch.tensor([-1])


def row(*values: float) -> torch.Tensor:
    """Disparity (1, 1, 7): three pixels of A, three of B, one outside with the mean of these."""
    return torch.tensor([*values, sum(values) / 6], dtype=torch.float32)[None, None]


def random_pairs(seed: int, pairs: int = 20, size: int = 6):
    """Random disparities, disjoint masks (some empty) and signs."""
    rng = np.random.default_rng(seed)
    disparity = torch.from_numpy(rng.uniform(0.1, 3, (pairs, size, size)).astype(np.float32))
    owner = torch.from_numpy(rng.integers(0, 4, (pairs, size, size)))
    sign = torch.from_numpy(rng.integers(-1, 2, pairs))
    first, second = owner == 1, owner == 2
    first[0], second[1] = False, False
    return disparity, first, second, sign


def count_by_loops(disparity, first, second, sign) -> list[float]:
    """Equation 1 pixel by pixel."""
    shares = []
    for values, a, b, d in zip(disparity, first, second, sign, strict=True):
        inside_a, inside_b = (d * values)[a].tolist(), (d * values)[b].tolist()
        wrong = 0
        if d != 0 and inside_a and inside_b:
            wrong += sum(v <= max(inside_b) for v in inside_a)
            wrong += sum(v >= min(inside_a) for v in inside_b)
        shares.append(wrong / max(2 * int((a | b).sum()), 1))
    return shares


# --- Equation 1


@pytest.mark.parametrize(
    ("values", "sign", "wrong"),
    [
        ((4, 5, 6, 1, 2, 3), PLUS, 0),  # A above B
        ((4, 5, 6, 1, 2, 3), MINUS, 6),  # everything reversed
        ((1, 2, 3, 4, 5, 6), MINUS, 0),  # A below B, as d = -1 says
        ((1, 2, 3, 4, 5, 6), PLUS, 6),
        # A = 2, 5, 6 and B = 1, 2, 3: of A the 2 is not above 3; of B the 2 and the 3 are not
        # below 2. A tie counts.
        ((2, 5, 6, 1, 2, 3), PLUS, 3),
        # d = -1: A must stay below min B = 1 (all three fail) and B above max A = 6 (all fail).
        ((2, 5, 6, 1, 2, 3), MINUS, 6),
        # d = -1: A = 1, 2, 5 below min B = 4 except 5; B = 4, 6, 7 above max A = 5 except 4.
        ((1, 2, 5, 4, 6, 7), MINUS, 2),
        ((3, 3, 3, 3, 3, 3), PLUS, 6),
    ],
)
def test_violations_counted_by_hand(values, sign, wrong):
    assert order_violation(row(*values), A, B, sign).tolist() == pytest.approx([wrong / 12])


def test_the_factor_of_equation_1():
    """Equation 1 divides by 2 N: a pair of disjoint instances of which every pixel contradicts the
    order costs one half."""
    assert order_violation(row(1, 2, 3, 4, 5, 6), A, B, PLUS).item() == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_violations_agree_with_loops(seed):
    pairs = random_pairs(seed)
    assert order_violation(*pairs).tolist() == pytest.approx(count_by_loops(*pairs))


def test_swapping_the_pair_and_the_sign_changes_nothing():
    disparity, first, second, sign = random_pairs(7)
    forward = order_violation(disparity, first, second, sign)
    assert torch.equal(forward, order_violation(disparity, second, first, -sign))
    forward = instance_disparity_loss(disparity, first, second, sign)
    swapped = instance_disparity_loss(disparity, second, first, -sign)
    assert forward.item() == pytest.approx(swapped.item())


def test_sign_of_each_relation():
    depth = torch.tensor([1, 0, 2, -1, 1, 0, 1])
    overlap = torch.tensor([0, 0, 0, -1, 1, 1, -1])
    assert closer_sign(depth, overlap).tolist() == [1, -1, 0, 0, 0, 0, 0]


# --- the loss that is trained


def test_loss_by_hand():
    """A = 2, 5, 6; B = 1, 2, 2, mean 3. Margin 1/3 is 1 in units of disparity.

    Of A only 2 is short: 1 + 2 - 2 = 1. Of B: 1 + 1 - 2 = 0, and twice 1 + 2 - 2 = 1. So
    (1 + 2) / 3 (unit) / 6 (pixels).
    """
    loss = instance_disparity_loss(row(2, 5, 6, 1, 2, 2), A, B, PLUS, margin=1 / 3, temperature=0)
    assert loss.item() == pytest.approx(3 / 3 / 6)


def test_loss_by_hand_of_the_other_sign():
    """A = 1, 2, 5; B = 4, 6, 6, mean 4, d = -1. Margin 1/4 is 1 in units of disparity.

    min B = 4: of A the 5 costs 1 + 5 - 4 = 2, the 2 nothing. max A = 5: of B the 4 costs
    1 + 5 - 4 = 2, each 6 costs 1 + 5 - 6 = 0.
    """
    loss = instance_disparity_loss(row(1, 2, 5, 4, 6, 6), A, B, MINUS, margin=1 / 4, temperature=0)
    assert loss.item() == pytest.approx(4 / 4 / 6)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize(
    ("sign", "values"), [(PLUS, (7, 8, 9, 1, 2, 3)), (MINUS, (1, 2, 3, 7, 8, 9))]
)
def test_loss_is_zero_when_the_order_holds(temperature, sign, values):
    disparity = row(*values).requires_grad_()
    loss = instance_disparity_loss(disparity, A, B, sign, margin=0.5, temperature=temperature)
    loss.backward()
    assert loss.item() == 0
    assert not disparity.grad.any()


@pytest.mark.parametrize("temperature", [0.0, 0.05])
def test_gradient_moves_the_closer_one_nearer_and_the_other_away(temperature):
    """A = 2, 5, 6 closer than B = 1, 2, 4: descent lifts the 2 of A and lowers the 2 and 4 of B.

    The last pixel is in neither. It gets what comes through the mean, which all pixels get; apart
    from that, it and the pixels that are in order are left alone.
    """
    disparity = row(2, 5, 6, 1, 2, 4).requires_grad_()
    options = {"margin": 0.01, "temperature": temperature}
    instance_disparity_loss(disparity, A, B, PLUS, **options).backward()
    direction = -disparity.grad.flatten()
    assert direction[0] > 0 and direction[4] < 0 and direction[5] < 0
    own = direction - direction[6]
    assert own[0] > 0 and own[4] < 0 and own[5] < 0
    assert own[1:4].abs().max() < 1e-6
    mirrored = row(2, 5, 6, 1, 2, 4).requires_grad_()
    instance_disparity_loss(mirrored, B, A, MINUS, **options).backward()
    assert torch.allclose(mirrored.grad, disparity.grad)


def test_gradient_does_not_scale_the_map():
    disparity, first, second, sign = random_pairs(8)
    disparity.requires_grad_()
    instance_disparity_loss(disparity, first, second, sign).backward()
    along = (disparity * disparity.grad).flatten(1).sum(1)
    assert disparity.grad.abs().max() > 1e-4
    assert along.abs().max() < 1e-7


def test_gradient_of_the_count_is_none():
    disparity = row(1, 2, 3, 4, 5, 6).requires_grad_()
    assert not order_violation(disparity, A, B, PLUS).requires_grad


@pytest.mark.parametrize("seed", range(5))
def test_loss_bounds_the_count(seed):
    """Every pixel that Equation 1 counts pays at least the margin."""
    disparity, first, second, sign = random_pairs(seed)
    for k in range(len(sign)):
        one = slice(k, k + 1)
        pair = disparity[one], first[one], second[one], sign[one]
        bound = instance_disparity_loss(*pair, margin=0.2, temperature=0) / 0.4
        assert bound.item() >= order_violation(*pair).item() - 1e-5


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("sign", [PLUS, MINUS])
def test_loss_falls_with_the_count(temperature, sign):
    """Along a path from reversed to right, the count and the loss both fall to zero."""
    good, bad = torch.tensor([4.0, 5, 6, 1, 2, 3, 3.5]), torch.tensor([1.0, 2, 3, 4, 5, 6, 3.5])
    if sign == MINUS:
        good, bad = bad, good
    counts, losses = [], []
    for step in torch.linspace(0, 1, 11):
        disparity = ((1 - step) * bad + step * good)[None, None]
        counts.append(order_violation(disparity, A, B, sign).item())
        loss = instance_disparity_loss(disparity, A, B, sign, margin=0.1, temperature=temperature)
        losses.append(loss.item())
    assert counts[0] == 0.5 and counts[-1] == losses[-1] == 0
    assert all(after <= before for before, after in itertools.pairwise(counts))
    assert all(after <= before for before, after in itertools.pairwise(losses))


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_descent_puts_random_maps_in_order(temperature):
    disparity, first, second, sign = random_pairs(3, pairs=6, size=4)
    before = order_violation(disparity, first, second, sign)
    for _ in range(150):
        disparity.requires_grad_()
        options = {"margin": 0.1, "temperature": temperature}
        loss = instance_disparity_loss(disparity, first, second, sign, **options)
        (gradient,) = torch.autograd.grad(loss, disparity)
        disparity = (disparity - 2.0 * gradient).detach()
    assert before.mean() > 0.15
    assert order_violation(disparity, first, second, sign).max() == 0


def test_scale_of_the_map_does_not_matter():
    pairs = random_pairs(2)
    loss = instance_disparity_loss(*pairs)
    for scale in (1000, 1e-9):
        scaled = instance_disparity_loss(scale * pairs[0], *pairs[1:])
        assert loss.item() == pytest.approx(scaled.item(), rel=1e-4)


def test_a_map_of_zeros_pays_the_margin_and_has_a_finite_gradient():
    disparity = torch.zeros(1, 1, 7, requires_grad=True)
    loss = instance_disparity_loss(disparity, A, B, PLUS, margin=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0.1) and disparity.grad.abs().max() < 1


def test_soft_extremes_approach_hard_ones():
    pairs = random_pairs(4)
    hard = instance_disparity_loss(*pairs, temperature=0).item()
    soft = [instance_disparity_loss(*pairs, temperature=t).item() for t in (1.0, 0.1, 0.001)]
    assert soft[0] < soft[1] < hard
    assert soft[2] == pytest.approx(hard, rel=1e-3)


# --- nothing to learn from


@pytest.mark.parametrize(
    "sign", [torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.long)]
)
def test_no_pair_costs_nothing_and_keeps_the_graph(sign):
    disparity = row(1, 2, 3, 4, 5, 6).requires_grad_()
    count = len(sign)
    loss = instance_disparity_loss(disparity[:count], A[:count], B[:count], sign)
    loss.backward()
    assert loss.item() == 0 and not disparity.grad.any()
    violation = order_violation(disparity[:count], A[:count], B[:count], sign)
    assert violation.tolist() == [0.0] * count


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("empty", ["first", "second", "both"])
def test_empty_masks_cost_nothing(temperature, empty):
    disparity = row(1, 2, 3, 4, 5, 6).requires_grad_()
    first = A if empty == "second" else torch.zeros_like(A)
    second = B if empty == "first" else torch.zeros_like(B)
    loss = instance_disparity_loss(disparity, first, second, PLUS, temperature=temperature)
    loss.backward()
    assert loss.item() == 0 and not disparity.grad.any()
    assert order_violation(disparity, first, second, PLUS).item() == 0


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_masks_of_one_pixel(temperature):
    """One pixel of disparity 1 should be closer than one of 3; mean 2: 0.1 + (3 - 1) / 2, twice."""
    disparity = torch.tensor([[[1.0, 2.0, 3.0]]])
    first = torch.tensor([[[True, False, False]]])
    pair = disparity, first, first.flip(-1), PLUS
    loss = instance_disparity_loss(*pair, margin=0.1, temperature=temperature)
    assert loss.item() == pytest.approx(1.1)
    assert order_violation(*pair).item() == 0.5


def test_an_unusable_pair_does_not_change_the_mean_of_the_others():
    both = torch.cat([A, A]), torch.cat([B, torch.zeros_like(B)])
    disparity = row(1, 2, 3, 4, 5, 6)
    alone = instance_disparity_loss(disparity, A, B, PLUS)
    together = instance_disparity_loss(disparity.expand(2, 1, 7), *both, torch.tensor([1, 1]))
    assert together.item() == pytest.approx(alone.item())


# --- erosion


def test_erosion_agrees_with_scipy_where_something_is_left():
    rng = np.random.default_rng(0)
    masks = rng.random((30, 9, 7)) < 0.8
    expected = np.stack([ndimage.binary_erosion(mask) for mask in masks])
    assert expected.any((1, 2)).all()
    assert torch.equal(erode(torch.from_numpy(masks)), torch.from_numpy(expected))


@pytest.mark.parametrize("pixels", [[], [(2, 2)], [(2, 1), (2, 2), (2, 3)]])
def test_masks_that_would_vanish_stay(pixels):
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    for y, x in pixels:
        mask[0, y, x] = True
    assert torch.equal(erode(mask), mask)
    assert erode(mask[:0]).shape == (0, 5, 5)


# --- half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.0, 0.05])
def test_half_precision_is_computed_in_full(dtype, temperature):
    disparity, first, second, sign = random_pairs(5)
    half = (1000 * disparity).to(dtype).requires_grad_()
    loss = instance_disparity_loss(half, first, second, sign, temperature=temperature)
    full = instance_disparity_loss(half.float(), first, second, sign, temperature=temperature)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == full.item()
    assert half.grad.dtype == dtype and half.grad.isfinite().all()
    assert order_violation(half, first, second, sign).dtype == torch.float32


def test_losses_inside_autocast():
    disparity, first, second, sign = random_pairs(6)
    image = torch.rand(20, 3, 6, 6)
    outside = (
        instance_disparity_loss(disparity, first, second, sign),
        smoothness_loss(disparity, image),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = (
            instance_disparity_loss(disparity, first, second, sign),
            smoothness_loss(disparity, image),
        )
    assert inside == outside


# --- smoothness


def test_smoothness_as_section_4_2_writes_it():
    """L_s = 1 / N sum |dx D| exp(-||dx I||) + |dy D| exp(-||dy I||): on the map itself, with the
    norm of the gradient over the channels.

    Map 1, 1, 3 above 1, 1, 7: steps along x 2 and 6, along y 4; N = 6.
    """
    disparity = torch.tensor([[[1.0, 1, 3], [1, 1, 7]]])
    flat = torch.zeros(1, 3, 2, 3)
    assert smoothness_loss(disparity, flat).item() == pytest.approx((2 + 6 + 4) / 6)
    assert smoothness_loss(10 * disparity, flat).item() == pytest.approx(10 * (2 + 6 + 4) / 6)
    edge = flat.clone()
    edge[0, :2, :, 2] = torch.tensor([3.0, 4.0])[:, None]  # along x, of norm 5
    expected = ((2 + 6) * np.exp(-5) + 4) / 6
    assert smoothness_loss(disparity, edge).item() == pytest.approx(expected)


def test_unknown_form_of_smoothness():
    with pytest.raises(ValueError, match="smoothness: got 'other', expected one of"):
        smoothness_loss(torch.zeros(1, 2, 2), torch.zeros(1, 3, 2, 2), form="other")


def test_published_smoothness_by_hand():
    """Map 1, 1, 3 above 1, 1, 3: minus its minimum 0, 0, 2, mean 2/3, so D* = 0, 0, 3.

    Steps along x: 0 and 3 in both rows, mean 1.5; along y none. The image steps by ln 2 in every
    channel where the map does: weight 1/2.
    """
    disparity = torch.tensor([[[1.0, 1, 3], [1, 1, 3]]])
    flat = torch.zeros(1, 3, 2, 3)
    assert smoothness_loss(disparity, flat, form="published").item() == pytest.approx(1.5, rel=1e-5)
    edge = flat.clone()
    edge[..., 2] = np.log(2.0)
    assert smoothness_loss(disparity, edge, form="published").item() == pytest.approx(
        0.75, rel=1e-5
    )


def test_published_smoothness_needs_no_scale_and_no_offset():
    disparity, image = torch.rand(2, 5, 6), torch.rand(2, 3, 5, 6)
    loss = smoothness_loss(disparity, image, form="published")
    moved = smoothness_loss(30 * disparity + 7, image, form="published")
    assert moved.item() == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("form", SMOOTHNESS_FORMS)
@pytest.mark.parametrize("shape", [(1, 4, 4), (0, 4, 4), (1, 1, 4), (1, 1, 1)])
def test_constant_and_tiny_maps_are_smooth(shape, form):
    disparity = torch.full(shape, 2.0, requires_grad=True)
    loss = smoothness_loss(disparity, torch.rand(shape[0], 3, *shape[1:]), form=form)
    loss.backward()
    assert loss.item() == 0 and disparity.grad.isfinite().all()
