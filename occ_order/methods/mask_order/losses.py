"""Loss of the relative depth map."""

from __future__ import annotations

import torch


def log_depth_loss(
    log_depth: torch.Tensor, depth: torch.Tensor, *, shift_weight: float = 0.85
) -> torch.Tensor:
    """Compute the scale-invariant loss of log depth (Eigen et al., NIPS 2014, Eq. 4).

    With d = predicted - true log depth over the known pixels of an image, the loss is the square
    root of mean(d ** 2) - shift_weight * mean(d) ** 2, averaged over the images with known pixels.

    Args:
        log_depth: float (I, h, w), natural logarithm.
        depth: float (I, h, w), > 0; 0 = unknown.
        shift_weight: lambda of Eq. 4: 1 = invariant to the scale of an image, 0 = mean squares.

    Returns:
        float (); 0 with a gradient if no pixel is known.
    """
    known = depth > 0
    apart = torch.where(known, log_depth - depth.clamp(min=1e-3).log(), 0.0).flatten(1)
    number = known.flatten(1).sum(1)
    count = number.clamp(min=1)
    variance = apart.square().sum(1) / count - shift_weight * (apart.sum(1) / count).square()
    root = (variance.clamp(min=0) + 1e-6).sqrt()
    some = number > 0
    return (root * some).sum() / some.sum().clamp(min=1)
