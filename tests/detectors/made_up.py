"""Weights of a real network that make it find a known thing: no part looks at the image."""

from __future__ import annotations

import torch
from torch import Tensor

LOGIT = 9.0
"""Of the class that everything is, 0 for all others, and of every pixel of a mask."""


def made_up(shapes: dict[str, Tensor], *, boxes: str, masks: str, chosen: int) -> dict[str, Tensor]:
    """Return weights for a Mask R-CNN by which every anchor is a thing that fills its box.

    Args:
        shapes: state dict of the network, on any device.
        boxes, masks: names of the biases of class scores and of masks.
        chosen: index of the class among the scores.

    Returns:
        All weights 0, so that anchors do not move, but the biases above and norms. Tensors of one
        element, expanded: the file of a network of 170 MB has a few kB.
    """
    state = {}
    for name, weight in shapes.items():
        value = 1.0 if name.endswith("running_var") else 0.0
        state[name] = torch.tensor(value).to(weight.dtype).expand(weight.shape)
    state[boxes] = torch.zeros(shapes[boxes].shape)
    state[boxes][chosen] = LOGIT
    state[masks] = torch.full(shapes[masks].shape, LOGIT)
    return state


def probability(classes: int) -> float:
    """Return the score of everything, among so many classes with the background."""
    logits = torch.zeros(classes)
    logits[0] = LOGIT
    return float(logits.softmax(0)[0])
