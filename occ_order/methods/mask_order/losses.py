"""Losses of networks that order given masks and predict relative depth."""

from __future__ import annotations

import torch


def log_depth_loss(
    log_depth: torch.Tensor, depth: torch.Tensor, *, shift_weight: float = 0.85
) -> torch.Tensor:
    """Compute the scale-invariant error of logarithmic depth (Eigen et al., NIPS 2014, Eq. 4).

    Of each image d = predicted - true logarithm over the pixels that are known; the loss is the
    root of mean(d ** 2) - shift_weight * mean(d) ** 2, averaged over images with a known pixel.

    Args:
        log_depth: float (I, h, w), natural logarithm.
        depth: float (I, h, w), > 0; 0 = unknown.
        shift_weight: 1 = a factor common to the image costs nothing, 0 = plain squares.

    Returns:
        float (); 0 with a gradient where nothing is known.
    """
    known = depth > 0
    apart = torch.where(known, log_depth - depth.clamp(min=1e-3).log(), 0.0).flatten(1)
    number = known.flatten(1).sum(1)
    count = number.clamp(min=1)
    variance = apart.square().sum(1) / count - shift_weight * (apart.sum(1) / count).square()
    root = (variance.clamp(min=0) + 1e-6).sqrt()
    some = number > 0
    return (root * some).sum() / some.sum().clamp(min=1)
