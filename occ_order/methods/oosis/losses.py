"""Losses of the OOSIS network (Eq. 4 and Table 3b).

Shapes: ``N`` images, ``K`` classes with background as class 0, ``H, W`` pixels. Targets:
``semantic`` int64 (N, H, W), `IGNORE` where unknown (padding, crowd); ``boundary`` float (N, H, W)
in {0, 1}, B; ``orientation`` float (N, 4, H, W), left, right, top, bottom, E: sums to 1 on the
boundary and is 0 elsewhere. All three terms skip ignored pixels.

Without valid pixels a loss is a zero that is part of the graph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

IGNORE = 255
"""Value of ``semantic`` at pixels that all terms ignore."""

BOUNDARY_LOSSES = ("weighted_ce", "dice_pp", "tversky_pp", "combo")
ORIENTATION_NORMS = ("pixels", "boundary")

FOCUS = 2.0
"""gamma of Dice++ and Tversky++ (Yeung et al., "Calibrating the Dice loss"; 2 in Section 5.6):
larger values reduce the weight of the many easy pixels."""

FALSE, MISSED = 0.3, 0.7
"""alpha and beta of Tversky++: weights of false positives and false negatives."""

COMBO_ALPHA = 0.5
"""alpha of the Combo loss: the weight of the cross-entropy."""

SMOOTH = 1.0
"""Added to numerator and denominator of the overlap ratios: defined without boundary pixels."""


def semantic_loss(logits: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
    """Compute CE(S | s), the mean over valid pixels (first term of Eq. 4).

    Args:
        logits: (N, K, H, W).
        semantic: int64 (N, H, W).

    Returns:
        Scalar, nats per pixel.
    """
    total = F.cross_entropy(logits, semantic, ignore_index=IGNORE, reduction="sum")
    return total / (semantic != IGNORE).sum().clamp(min=1)


def weighted_boundary_ce(
    logits: torch.Tensor, boundary: torch.Tensor, valid: torch.Tensor, *, weight: float = 0.9
) -> torch.Tensor:
    """Compute CE_w(B | b) = -[w B log b + (1 - w)(1 - B) log(1 - b)], mean over valid pixels.

    The boundary term of Eq. 4.

    Args:
        logits: (N, H, W), b before the sigmoid.
        boundary: float (N, H, W) in {0, 1}.
        valid: bool (N, H, W).
        weight: w; 0.9 in the paper, because boundary pixels are rare.

    Returns:
        Scalar, nats per pixel.
    """
    each = F.binary_cross_entropy_with_logits(logits, boundary, reduction="none")
    each = each * torch.where(boundary > 0, weight, 1.0 - weight)
    return _mean(each, valid)


def dice_pp_loss(
    logits: torch.Tensor, boundary: torch.Tensor, valid: torch.Tensor, *, focus: float = FOCUS
) -> torch.Tensor:
    """Compute 1 - Dice++, Dice++ = 2 TP / (2 TP + FP^g + FN^g), with sums over the batch.

    TP = sum p B; FP^g = sum (p (1 - B))^g; FN^g = sum ((1 - p) B)^g.

    Args:
        logits: (N, H, W).
        boundary: float (N, H, W).
        valid: bool (N, H, W).
        focus: g; 1 is the soft Dice loss.

    Returns:
        Scalar in [0, 1].
    """
    hit, false, missed = _overlap(logits, boundary, valid, focus)
    return 1 - (2 * hit + SMOOTH) / (2 * hit + false + missed + SMOOTH)


def tversky_pp_loss(
    logits: torch.Tensor,
    boundary: torch.Tensor,
    valid: torch.Tensor,
    *,
    focus: float = FOCUS,
    alpha: float = FALSE,
    beta: float = MISSED,
) -> torch.Tensor:
    """Compute 1 - Tversky++ = 1 - TP / (TP + alpha FP^g + beta FN^g); symbols as in `dice_pp_loss`.

    OOSIS (Section 5.6) uses alpha = 0.8 and beta = 0.2 without defining them; here they are those
    of Tversky's index, where alpha weights false positives.

    Args:
        logits: (N, H, W).
        boundary: float (N, H, W).
        valid: bool (N, H, W).
        focus: g; 1 is the Tversky loss.
        alpha: weight of false positives.
        beta: weight of false negatives.

    Returns:
        Scalar in [0, 1].
    """
    hit, false, missed = _overlap(logits, boundary, valid, focus)
    return 1 - (hit + SMOOTH) / (hit + alpha * false + beta * missed + SMOOTH)


def combo_loss(
    logits: torch.Tensor,
    boundary: torch.Tensor,
    valid: torch.Tensor,
    *,
    weight: float = 0.9,
    alpha: float = COMBO_ALPHA,
) -> torch.Tensor:
    """Compute alpha CE_w + (1 - alpha)(1 - soft Dice) (Taghanaki et al., "Combo loss").

    OOSIS (Section 5.6) uses alpha = 0.1.

    Args:
        logits: (N, H, W).
        boundary: float (N, H, W).
        valid: bool (N, H, W).
        weight: w of `weighted_boundary_ce`.
        alpha: weight of the cross-entropy.

    Returns:
        Scalar.
    """
    cross_entropy = weighted_boundary_ce(logits, boundary, valid, weight=weight)
    prob, truth = torch.sigmoid(logits) * valid, boundary * valid
    dice = (2 * (prob * truth).sum() + SMOOTH) / (prob.sum() + truth.sum() + SMOOTH)
    return alpha * cross_entropy + (1 - alpha) * (1 - dice)


def boundary_loss(
    logits: torch.Tensor,
    boundary: torch.Tensor,
    valid: torch.Tensor,
    *,
    kind: str = "weighted_ce",
    weight: float = 0.9,
    focus: float = FOCUS,
    tversky: tuple[float, float] = (FALSE, MISSED),
    combo_alpha: float = COMBO_ALPHA,
) -> torch.Tensor:
    """Compute the boundary term by name (Table 3b).

    Args:
        logits: (N, H, W).
        boundary: float (N, H, W).
        valid: bool (N, H, W).
        kind: one of `BOUNDARY_LOSSES`.
        weight: w, for "weighted_ce" and "combo".
        focus: gamma, for "dice_pp" and "tversky_pp".
        tversky: alpha and beta, for "tversky_pp".
        combo_alpha: alpha, for "combo".

    Returns:
        Scalar.

    Raises:
        ValueError: unknown `kind`.
    """
    if kind == "weighted_ce":
        return weighted_boundary_ce(logits, boundary, valid, weight=weight)
    if kind == "combo":
        return combo_loss(logits, boundary, valid, weight=weight, alpha=combo_alpha)
    if kind == "dice_pp":
        return dice_pp_loss(logits, boundary, valid, focus=focus)
    if kind == "tversky_pp":
        alpha, beta = tversky
        return tversky_pp_loss(logits, boundary, valid, focus=focus, alpha=alpha, beta=beta)
    raise ValueError(f"boundary loss: got {kind!r}, expected one of {BOUNDARY_LOSSES}")


def orientation_loss(
    logits: torch.Tensor,
    boundary: torch.Tensor,
    orientation: torch.Tensor,
    valid: torch.Tensor,
    *,
    norm: str = "pixels",
) -> torch.Tensor:
    """Compute B CE(E | e) with the soft target E: -sum_d E^d log e^d on the boundary (Eq. 4).

    Args:
        logits: (N, 4, H, W), e before the softmax.
        boundary: float (N, H, W).
        orientation: float (N, 4, H, W).
        valid: bool (N, H, W).
        norm: denominator of the mean. "pixels": all valid pixels, the literal reading of Eq. 4,
            which Theorem 1 of the supplement requires. "boundary": the valid boundary pixels.

    Returns:
        Scalar, nats.

    Raises:
        ValueError: unknown `norm`.
    """
    if norm not in ORIENTATION_NORMS:
        raise ValueError(f"orientation norm: got {norm!r}, expected one of {ORIENTATION_NORMS}")
    each = -(orientation * F.log_softmax(logits, dim=1)).sum(1) * boundary
    return _mean(each, valid, valid if norm == "pixels" else valid & (boundary > 0))


def _mean(
    each: torch.Tensor, valid: torch.Tensor, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Divide the sum over valid pixels by the number of `counted` (default: valid) pixels."""
    counted = valid if counted is None else counted
    return (each * valid).sum() / counted.sum().clamp(min=1)


def _overlap(
    logits: torch.Tensor, boundary: torch.Tensor, valid: torch.Tensor, focus: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the soft TP and the focal FP and FN of the batch."""
    prob, truth = torch.sigmoid(logits) * valid, boundary * valid
    hit = (prob * truth).sum()
    false = (prob * (1 - truth)).pow(focus).sum()
    missed = ((1 - prob) * truth).pow(focus).sum()
    return hit, false, missed
