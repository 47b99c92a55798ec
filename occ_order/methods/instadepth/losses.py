"""Losses for disparity maps learned from the depth order of instances (CVPR 2022, Section 4.2).

A disparity map D (larger = nearer) has no ground truth; only the depth order of instances is known.
If the depth ranges of two instances are distinct, every pixel of the closer one should have a
larger disparity than every pixel of the farther one. Equation 1 of the paper counts violating
pixels, divided by 2 N; `order_violation` computes this count. Since a count has no gradient,
training uses the surrogate `instance_disparity_loss`.

Shapes: P pairs, B images, (H, W) pixels. ``sign`` encodes which instance of a pair is closer: +1
    the
first, -1 the second, 0 neither (equal, overlapping or unknown; ignored by the losses).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHNESS_FORMS = ("paper", "published")

CLOSER, FARTHER, DISTINCT = 1, 0, 0  # as in occ_order.order.encoding and the overlap matrices


def closer_sign(depth: Tensor, overlap: Tensor) -> Tensor:
    """Compute the sign d of Equation 1 for pairs of instances.

    Args:
        depth: integer (P,), 1 = first closer, 0 = first farther, 2 = equal, -1 = unknown.
        overlap: integer (P,), 0 = distinct depth ranges, 1 = overlapping, -1 = unknown.

    Returns:
        int64 (P,): +1 or -1; 0 if the pair is equal, unknown or not known to be distinct.
    """
    distinct = overlap == DISTINCT
    return (distinct & (depth == CLOSER)).long() - (distinct & (depth == FARTHER)).long()


def erode(masks: Tensor) -> Tensor:
    """Remove the outermost pixels of masks, where disparities of adjacent surfaces mix.

    Binary erosion with the 3x3 cross; pixels outside the image count as background. Masks that
    would vanish (single pixels, thin lines) are returned unchanged.

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
    """Compute Equation 1: half the fraction of pixels of two instances that violate their order.

    With sign d, first instance A and second instance B, a pixel of A is counted if
    d D_A(i) <= max(d D_B), a pixel of B if min(d D_A) <= d D_B(i). The extremes are those of d D:
    for d = -1, the smallest disparity of B and the largest of A. The count is divided by 2 N, where
    N is the number of pixels in A or B.

    Args:
        disparity: float (P, H, W), larger = nearer.
        first: bool (P, H, W).
        second: bool (P, H, W).
        sign: integer (P,).

    Returns:
        float32 (P,) without gradient: 0 = no violation, 1/2 = all pixels violate the order (up to 1
        if masks overlap). 0 if the sign is 0 or a mask is empty.
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
    """Compute a differentiable surrogate of Equation 1 with the same zeros.

    Instead of counting, each pixel is penalised linearly for a violation of the order, with a
    `margin`. With s = d D / mean(D), first instance A and second instance B:

        1 / |A or B| * ( sum_{i in A} [margin + top(s_B) - s_i]_+
                       + sum_{i in B} [margin + s_i - bottom(s_A)]_+ )

    The loss is 0 exactly if the instances are in order by the margin. Division by the mean of the
    map makes the margin independent of the scale of D, which orders do not determine. The gradient
    flows through the mean as well, so that it has no component that only scales the map (which
    could drive a map to zero when training from scratch). This adds a small gradient, the same at
    every pixel of the image.

    Top and bottom are means of s weighted by exp(s / t) and exp(-s / t), with temperature t. They
    never exceed the maximum and minimum, which they equal at t = 0. At t = 0 they are detached,
    every violation of Equation 1 costs at least the margin, and the loss divided by twice the
    margin is an upper bound of the equation; but then a few pixels that do not change block all
    others, and a network may fail to fit even four images. Soft extremes have a gradient, which
    avoids this; the loss is then 0 slightly before all pixels are in order.

    Args:
        disparity: float (P, H, W), larger = nearer, >= 0; bfloat16 and float16 are computed in
            float32.
        first: bool (P, H, W).
        second: bool (P, H, W).
        sign: integer (P,).
        margin: required gap between the instances, as a fraction of the mean disparity.
        temperature: softness of the extremes, as a fraction of the mean disparity.

    Returns:
        float32 scalar, the mean over pairs with non-zero sign and non-empty masks; 0 without such
        pairs, still part of the graph.
    """
    usable = _usable(first, second, sign)
    if not usable.any():
        return disparity.float().sum() * 0.0
    disparity, first, second = disparity[usable].float(), first[usable], second[usable]
    mean = disparity.flatten(1).mean(1)
    mean = torch.where(mean > 1e-12, mean, torch.ones_like(mean))  # avoid division by zero
    signed = (sign[usable] / mean)[:, None, None] * disparity
    top = _top(signed, second, temperature)
    bottom = -_top(-signed, first, temperature)
    cost = first * F.relu(margin + top - signed) + second * F.relu(margin + signed - bottom)
    return (cost.flatten(1).sum(1) / (first | second).flatten(1).sum(1)).mean()


def _usable(first: Tensor, second: Tensor, sign: Tensor) -> Tensor:
    """Return bool (P,): the pair has a non-zero sign and two non-empty masks."""
    return (sign != 0) & first.flatten(1).any(1) & second.flatten(1).any(1)


def _top(values: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Return the maximum in each mask, (P, 1, 1); a soft maximum for positive temperatures."""
    inside = values.masked_fill(~masks, -torch.inf).flatten(1)
    if temperature <= 0:
        return inside.detach().amax(1)[:, None, None]
    weights = (inside / temperature).softmax(1)
    return (weights * values.flatten(1)).sum(1)[:, None, None]


def smoothness_loss(disparity: Tensor, image: Tensor, *, form: str = "paper") -> Tensor:
    """Compute the edge-aware smoothness of a disparity map, L_s.

    "paper" (Section 4.2), with image I of N pixels:

        1 / N * sum_i ( |dx D(i)| exp(-||dx I(i)||) + |dy D(i)| exp(-||dy I(i)||) )

    "published", as in the code: D* = (D - min D) / mean(D - min D) instead of D, which is invariant
    to scale and offset of the map; the mean of |dx I| over the channels instead of the norm; and
    the mean over the differences along each axis.

    Args:
        disparity: float (B, H, W).
        image: float (B, C, H, W), normalised as for the network; the paper does not specify the
            range of the image.
        form: one of `SMOOTHNESS_FORMS`.

    Returns:
        float32 scalar, the mean over images; 0 for constant maps and for B = 0.

    Raises:
        ValueError: unknown `form`.
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
    """Return absolute differences of (B, h, w) values and differences of the image, per axis."""
    return [(values.diff(dim=axis).abs(), image.diff(dim=axis)) for axis in (-1, -2)]
