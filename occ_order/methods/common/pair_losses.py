"""Losses of pairwise orders (Lee & Park, Section 4.1) and of partial completion (PCNet-M).

Without any pair, each loss is a zero with a gradient. Targets of -1 (unknown) are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def occlusion_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the binary cross-entropy of "second occludes first" and "first occludes second".

    Args:
        logits: float (P, 2).
        target: float (P, 2), 1 / 0 / -1.

    Returns:
        float (): mean over the annotated entries.
    """
    known = target >= 0
    loss = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0), reduction="none")
    return _mean(loss, known)


def class_loss(
    logits: torch.Tensor, target: torch.Tensor, *, double_softmax: bool = False
) -> torch.Tensor:
    """Compute the cross-entropy of relation or depth classes.

    Args:
        logits: float (P, C).
        target: int64 (P,), 0 .. C - 1, or -1.
        double_softmax: apply softmax to the logits twice, as the published code does; the loss is
            then at least ``log(1 + (C - 1) / e)``.

    Returns:
        float (): mean over the annotated pairs.
    """
    if double_softmax:
        logits = logits.softmax(dim=1)
    loss = F.cross_entropy(logits, target.clamp(min=0), reduction="none")
    return _mean(loss, target >= 0)


def depth_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    overlap: torch.Tensor,
    *,
    weights: Sequence[float] = (),
    double_softmax: bool = False,
) -> torch.Tensor:
    """Compute the cross-entropy of depth pairs, L_do (Section 4.1).

    The paper weights all pairs equally. The published code computes separate means over distinct
    and over overlapping pairs and adds them with weights 0.9 and 0.1.

    Args:
        logits: float (P, 3).
        target: int64 (P,), 0 closer / 1 farther / 2 equal / -1.
        overlap: (P,), 1 depth ranges overlap, 0 distinct, -1 unknown (treated as distinct).
        weights: weights of distinct and of overlapping pairs; empty = all pairs equally.
        double_softmax: see `class_loss`.

    Returns:
        float ().
    """
    if not len(weights):
        return class_loss(logits, target, double_softmax=double_softmax)
    ignored = torch.full_like(target, -1)
    distinct = torch.where(overlap == 1, ignored, target)
    overlapping = torch.where(overlap == 1, target, ignored)
    return sum(
        weight * class_loss(logits, part, double_softmax=double_softmax)
        for weight, part in zip(weights, (distinct, overlapping), strict=True)
    )


def completion_loss(
    logits: torch.Tensor, target: torch.Tensor, eraser: torch.Tensor, *, inside: float = 5.0
) -> torch.Tensor:
    """Compute the cross-entropy of PCNet-M, with a larger weight inside the eraser.

    Args:
        logits: float (K, 2, S, S), [0] outside and [1] inside of the instance.
        target: (K, S, S), 1 inside the instance, 0 outside.
        eraser: (K, S, S), nonzero = erased.
        inside: weight of erased pixels; that of others is 1.

    Returns:
        float (): weighted sum divided by the number of pixels.
    """
    loss = F.cross_entropy(logits, target.long(), reduction="none")
    weight = torch.where(eraser != 0, inside, 1.0).to(loss)
    return (loss * weight).sum() / max(loss.numel(), 1) + 0.0 * logits.sum()


def _mean(loss: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean over the known entries; a zero with a gradient if there are none."""
    return (loss * known).sum() / known.sum().clamp(min=1)
