"""Losses on a disparity map that learns from the depth order of instances (CVPR 2022, Section 4.2).

A disparity map D (larger = nearer) has no ground truth; all that is known is that instance A is
closer than instance B, or farther. Where the depth ranges of the two are distinct, every pixel of
the closer one should have a larger disparity than every pixel of the farther one. Equation 1 of the
paper counts the pixels that do not, over 2 N; `order_violation` is that count. A count has no
gradient, so `instance_disparity_loss` is what is trained instead.

Shapes: P pairs, B images, (H, W) pixels. ``sign`` says which instance of a pair is closer: +1 the
first, -1 the second, 0 neither (equal, overlapping or unknown; such a pair has no part in a loss).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHNESS_FORMS = ("paper", "published")

CLOSER, FARTHER, DISTINCT = 1, 0, 0  # as in occ_order.order.encoding and the overlap matrices


def closer_sign(depth: Tensor, overlap: Tensor) -> Tensor:
    """Sign d of Equation 1 for pairs of instances.

    Args:
        depth: integer (P,), 1 = first closer, 0 = first farther, 2 = equal, -1 = unknown.
        overlap: integer (P,), 0 = distinct depth ranges, 1 = overlapping, -1 = unknown.

    Returns:
        int64 (P,): +1, -1, and 0 where the pair is equal, unknown or not known to be distinct.
    """
    distinct = overlap == DISTINCT
    return (distinct & (depth == CLOSER)).long() - (distinct & (depth == FARTHER)).long()


def erode(masks: Tensor) -> Tensor:
    """Masks without their outermost pixels, where neighbouring surfaces mix.

    One step with the 3x3 cross; beyond the edge of the image counts as outside. A mask of which
    nothing would be left (one pixel, a thin line) stays as it is.

    Args:
        masks: bool (P, H, W).

    Returns:
        bool (P, H, W).
    """
    around = F.pad(masks, (1, 1, 1, 1))
    inner = masks & around[:, :-2, 1:-1] & around[:, 2:, 1:-1]
    inner = inner & around[:, 1:-1, :-2] & around[:, 1:-1, 2:]
    vanished = ~inner.flatten(1).any(1)
    return torch.where(vanished[:, None, None], masks, inner)


def order_violation(disparity: Tensor, first: Tensor, second: Tensor, sign: Tensor) -> Tensor:
    """Equation 1: half the share of the pixels of two instances that contradict their depth order.

    With d the sign, A the first and B the second instance, a pixel of A is counted where
    d D_A(i) <= max(d D_B), a pixel of B where min(d D_A) <= d D_B(i): the extreme is taken of d D,
    so that for d = -1 it is the smallest disparity of B and the largest of A that decide. The
    number is divided by 2 N, N the pixels in A or B.

    Args:
        disparity: float (P, H, W), larger = nearer.
        first: bool (P, H, W).
        second: bool (P, H, W).
        sign: integer (P,).

    Returns:
        float32 (P,) without gradient: 0 = in order, 1/2 = every pixel contradicts (up to 1 where
        masks overlap). 0 where the sign is 0 or a mask is empty: there is nothing to contradict.
    """
    with torch.no_grad():
        signed = sign[:, None, None] * disparity.float()
        highest = signed.masked_fill(~second, -torch.inf).flatten(1).amax(1)[:, None, None]
        lowest = signed.masked_fill(~first, torch.inf).flatten(1).amin(1)[:, None, None]
        wrong = (first & (signed <= highest)).float() + (second & (lowest <= signed)).float()
        share = wrong.flatten(1).sum(1) / (2 * (first | second).flatten(1).sum(1)).clamp(min=1)
        return torch.where(_usable(first, second, sign), share, torch.zeros_like(share))


def instance_disparity_loss(
    disparity: Tensor,
    first: Tensor,
    second: Tensor,
    sign: Tensor,
    *,
    margin: float = 0.2,
    temperature: float = 0.5,
) -> Tensor:
    """Return a loss with the zeros of Equation 1 that has a gradient.

    In place of counting, every pixel pays for how far it is on the wrong side, and for less than
    `margin` on the right side. With s = d D / mean(D), A the first and B the second instance:

        1 / |A or B| * ( sum_{i in A} [margin + top(s_B) - s_i]_+
                       + sum_{i in B} [margin + s_i - bottom(s_A)]_+ )

    so pixels of the closer instance move nearer, pixels of the farther one away, and it is exactly
    0 once the two are in order by the margin. Dividing by the mean of the map makes the margin
    independent of the scale of D, which order cannot fix. The gradient passes through the mean as
    well: it has no part that only scales the map (such a part could drive a map that learns from
    scratch towards zeros). The price is a small gradient, the same at every pixel of the image.

    Top and bottom are means of s weighted by exp(s / t) and exp(-s / t), t the temperature. They
    never lie beyond maximum and minimum, which they reach at t = 0. There they have no gradient,
    every violation of Equation 1 pays at least the margin, and the loss divided by twice the margin
    bounds the equation from above; but a few pixels that do not move hold up all others, and a
    network may not learn even four images that way. With soft extremes, which have a gradient,
    it does; the loss is then 0 a little before the last pixel is in order.

    Args:
        disparity: float (P, H, W), larger = nearer, >= 0; bfloat16 and float16 are computed in
            float32.
        first: bool (P, H, W).
        second: bool (P, H, W).
        sign: integer (P,).
        margin: by how much the instances must be apart, as a share of the mean disparity.
        temperature: softness of the extremes, as a share of the mean disparity.

    Returns:
        float32 scalar, the mean over the pairs with a sign and two masks that are not empty;
        without such a pair 0, still connected to the disparity.
    """
    usable = _usable(first, second, sign)
    if not usable.any():
        return disparity.float().sum() * 0.0
    disparity, first, second = disparity[usable].float(), first[usable], second[usable]
    mean = disparity.flatten(1).mean(1)
    mean = torch.where(mean > 1e-12, mean, torch.ones_like(mean))  # a map of zeros has no scale
    signed = (sign[usable] / mean)[:, None, None] * disparity
    top = _top(signed, second, temperature)
    bottom = -_top(-signed, first, temperature)
    cost = first * F.relu(margin + top - signed) + second * F.relu(margin + signed - bottom)
    return (cost.flatten(1).sum(1) / (first | second).flatten(1).sum(1)).mean()


def _usable(first: Tensor, second: Tensor, sign: Tensor) -> Tensor:
    """Bool (P,): the pair has a sign and two masks with pixels."""
    return (sign != 0) & first.flatten(1).any(1) & second.flatten(1).any(1)


def _top(values: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Largest value in each mask, (P, 1, 1); soft for a positive temperature."""
    inside = values.masked_fill(~masks, -torch.inf).flatten(1)
    if temperature <= 0:
        return inside.detach().amax(1)[:, None, None]
    weights = (inside / temperature).softmax(1)
    return (weights * values.flatten(1)).sum(1)[:, None, None]


def smoothness_loss(disparity: Tensor, image: Tensor, *, form: str = "paper") -> Tensor:
    """Edge-aware smoothness of a disparity map, L_s.

    "paper" (Section 4.2), I the image, N its pixels:

        1 / N * sum_i ( |dx D(i)| exp(-||dx I(i)||) + |dy D(i)| exp(-||dy I(i)||) )

    "published", the code: D* = (D - min D) / mean(D - min D) in place of D, so that neither the
    scale nor the offset of the map matters; the mean of |dx I| over the channels in place of the
    norm; and a mean over the steps of each axis.

    Args:
        disparity: float (B, H, W).
        image: float (B, C, H, W), normalised as the network sees it; the paper does not say in
            which range its image is.
        form: one of `SMOOTHNESS_FORMS`.

    Returns:
        float32 scalar, the mean over images; 0 for a constant map and for no image.

    Raises:
        ValueError: unknown form.
    """
    if form not in SMOOTHNESS_FORMS:
        raise ValueError(f"smoothness: got {form!r}, expected one of {SMOOTHNESS_FORMS}")
    disparity, image = disparity.float(), image.float()
    if disparity.numel() == 0:
        return disparity.sum() * 0.0
    if form == "paper":
        return sum(
            (steps * torch.exp(-gradient.norm(dim=1))).sum() / disparity.numel()
            for steps, gradient in _steps(disparity, image)
        )
    above = disparity - disparity.flatten(1).amin(1)[:, None, None]
    relative = above / (above.flatten(1).mean(1)[:, None, None] + 1e-7)
    return sum(
        (steps * torch.exp(-gradient.abs().mean(1))).sum() / max(steps.numel(), 1)
        for steps, gradient in _steps(relative, image)
    )


def _steps(values: Tensor, image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Absolute steps of the values (B, h, w), steps of the image (B, C, h, w), along x and y."""
    return [(values.diff(dim=axis).abs(), image.diff(dim=axis)) for axis in (-1, -2)]
