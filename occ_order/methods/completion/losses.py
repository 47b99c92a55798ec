"""Losses of the completion network."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def hidden_part_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, visible: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the losses of the occluded regions of K instances with equal weights.

    Args:
        logits: float32 (K, S, S), logits of the amodal mask.
        target: float32 (K, S, S) in [0, 1], fraction of a cell covered by the amodal mask.
        known: float32 (K, S, S) in [0, 1], weight of a cell: the fraction behind possible
            occluders where the amodal mask is known.
        visible: float32 (K,), area of the modal mask in cells.

    Returns:
        Cross-entropy, float32 (): weighted mean over the cells, averaged over the instances; and
        overlap loss, float32 (): 1 minus the soft IoU of the amodal masks. Both are 0 with a
        gradient if all weights are 0.
    """
    area = known.flatten(1).sum(1)
    some = area > 0
    count = some.sum().clamp(min=1)
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    error = (error * known).flatten(1).sum(1) / area.clamp(min=1e-6)
    guess = logits.sigmoid()
    shared = visible + (guess * target * known).flatten(1).sum(1)
    either = visible + ((guess + target - guess * target) * known).flatten(1).sum(1)
    apart = 1 - shared / either.clamp(min=1e-6)
    return (error * some).sum() / count, (apart * some).sum() / count
