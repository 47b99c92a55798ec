"""Probabilities and losses of layering maps (SLN, Zhang et al., ACM MM 2019, sections 4.3 to 4.6).

Shape shorthand: ``B`` images, ``R`` regions of interest, ``K`` levels, ``S`` side of a region's
map. A *level* counts the objects in front: 0 = visible, l = hidden behind l objects, -1 = outside
the object; levels of K - 1 and more share one channel. `occ_order.targets.layering` has the same
meanings as arrays, with the ground truth and the decoding.

Everything is computed as logits, so that half precision and certain predictions stay finite.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

_ALMOST_ZERO = -1e-6
_TINY = 1e-12


def layer_logits(count_logits: torch.Tensor) -> torch.Tensor:
    """Logits of "more than l objects cover the pixel" from scores of the number of objects.

    With q the softmax over the counts 0..K (the last means "K or more"), the global layering map
    (section 4.3) is ``M_G[l] = sum of q[k] over k > l``: a reverse cumulative sum. So one pixel can
    be set in several layers although the counts exclude each other, and a layer never exceeds the
    one before it.

    Args:
        count_logits: float (B, K + 1, H, W).

    Returns:
        float32 (B, K, H, W) in about [-28, 28]; ``sigmoid`` of it is M_G.
    """
    scores = count_logits.float()
    # Sums of exponentials below the largest one: `logcumsumexp` is thirty times slower on a CPU.
    shares = (scores - scores.detach().amax(dim=1, keepdim=True)).exp()
    up_to = shares.cumsum(dim=1)[:, :-1]
    more_than = shares.flip(1).cumsum(dim=1).flip(1)[:, 1:]
    return more_than.clamp(min=_TINY).log() - up_to.clamp(min=_TINY).log()


def global_layering_loss(count_logits: torch.Tensor, layers: torch.Tensor) -> torch.Tensor:
    """l_G: mean binary cross-entropy between M_G and the overlap layers (section 4.6).

    Args:
        count_logits: float (B, K + 1, H, W).
        layers: bool (B, K, H, W), ``layers[:, l]`` = more than l amodal masks cover the pixel.

    Returns:
        float32 scalar; a zero that still has a gradient if there is no pixel.
    """
    return _mean_bce(layer_logits(count_logits), layers)


def instance_layering_loss(
    logits: torch.Tensor, levels: torch.Tensor, *, kind: str = "bce"
) -> torch.Tensor:
    """l_I: are the pixels of a region in the right one of {not the object, level 0..K-1}?

    Args:
        logits: float (R, K + 1, S, S); channel 0 "not the object", channel l + 1 "level l".
        levels: integer (R, S, S) in -1..K-1.
        kind: "bce" = binary cross-entropy of each channel of the softmax (the paper), "ce" =
            cross-entropy.

    Returns:
        float32 scalar; a zero that still has a gradient if there is no region.

    Raises:
        ValueError: another name for `kind`.
    """
    if kind not in ("bce", "ce"):
        raise ValueError(f"kind must be 'bce' or 'ce', got {kind!r}")
    classes = levels.long() + 1
    if not logits.numel():
        return logits.float().sum() * 0
    if kind == "ce":
        return F.cross_entropy(logits.float(), classes)
    log_prob = logits.float().log_softmax(dim=1).clamp(max=_ALMOST_ZERO)
    log_rest = torch.log(-torch.expm1(log_prob))
    chosen = F.one_hot(classes, logits.shape[1]).movedim(-1, 1).bool()
    return -torch.where(chosen, log_prob, log_rest).mean()


def nearer_logits(logits: torch.Tensor) -> torch.Tensor:
    """Logits of "the object is here, at level l or nearer" from an instance layering map.

    Args:
        logits: float (R, K + 1, S, S), channels as in `instance_layering_loss`.

    Returns:
        float32 (R, K, S, S), never decreasing with l: [:, 0] is the modal (visible), [:, -1] the
        amodal (whole) mask.
    """
    outside_last = torch.cat([logits[:, 1:], logits[:, :1]], dim=1)
    return -layer_logits(outside_last)


def soft_level_set(logits: torch.Tensor) -> torch.Tensor:
    """Compute the expected level-set value of a layering map, the input of the refinement block.

    The level-set view of the sem-dist map (Fig. 2) is 1 where the object is visible, 1 - l where it
    is hidden behind l objects, and 1 - K outside. Its expectation stands in for ``M = C - L``
    (Eq. 1), of which the arg max has no gradient.

    Args:
        logits: float (R, K + 1, S, S), channels as in `instance_layering_loss`.

    Returns:
        float32 (R, 1, S, S) in [1 - K, 1].
    """
    num_levels = logits.shape[1] - 1
    values = 1.0 - torch.arange(num_levels, device=logits.device)
    values = torch.cat([values.new_tensor([1.0 - num_levels]), values])
    return (logits.float().softmax(dim=1) * values[:, None, None]).sum(dim=1, keepdim=True)


def nested_logits(logits: torch.Tensor, correction: torch.Tensor) -> torch.Tensor:
    """Correct nested masks and keep them nested: refinement of all levels at once.

    Args:
        logits: float (R, K, S, S), as of `nearer_logits`.
        correction: float (R, K, S, S), added to them.

    Returns:
        float32 (R, K, S, S), never decreasing with l (the running maximum is taken).
    """
    return (logits + correction.float()).cummax(dim=1).values


def thresholded_logits(
    values: torch.Tensor, num_levels: int, *, threshold: float = 0.5, sharpness: float = 8.0
) -> torch.Tensor:
    """Logits of nested masks from one refined level-set value for each pixel.

    ``y_l = sigmoid(sharpness * (z - (c - l)))``: the literal reading of a refined sem-dist map. The
    single value cannot say "visible or not there at all": between the two it passes through the
    hidden levels, and so do borders of an uncertain object. `nested_logits` can.

    Args:
        values: float (R, 1, S, S), z: about 1 visible, 1 - l hidden behind l, 1 - K outside.
        num_levels: K.
        threshold: c.
        sharpness: how fast y_l rises around its threshold, per unit of level.

    Returns:
        float32 (R, K, S, S), never decreasing with l.
    """
    steps = torch.arange(num_levels, device=values.device)[:, None, None]
    return sharpness * (values.float() - threshold + steps)


def ordinal_loss(logits: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """l_M: mean binary cross-entropy of the nested masks "at level l or nearer" (section 4.6).

    Args:
        logits: float (R, K, S, S).
        levels: integer (R, S, S) in -1..K-1.

    Returns:
        float32 scalar; a zero that still has a gradient if there is no region.
    """
    steps = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    there = levels.long()[:, None]
    return _mean_bce(logits, (there >= 0) & (there <= steps))


def _mean_bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if not logits.numel():
        return logits.float().sum() * 0
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float())
