"""The loss of the completion network."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def hidden_part_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, visible: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the error of the hidden parts of K instances, each counting the same.

    Args:
        logits: float32 (K, S, S), of "the instance is here, too".
        target: float32 (K, S, S) in [0, 1], how much of a cell the whole instance fills.
        known: float32 (K, S, S) in [0, 1], how much of a cell is asked: where something may hide
            the instance, and it is known whether it does.
        visible: float32 (K,), cells that the modal mask fills.

    Returns:
        float32 (), the mean cross-entropy of what is asked, averaged over the instances; and 1
        minus the soft intersection over union of whole instances. Both are 0 with a gradient where
        nothing is asked.
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
