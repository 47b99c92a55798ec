"""Augmentation of ground-truth masks to resemble predicted ones."""

from __future__ import annotations

import torch
from detectron2.structures import Instances

from occ_order.methods.common.contact_pooling import dilate


class MaskNoise:
    """Shift contours by a pixel and drop instances, at random."""

    def __init__(self, move: float = 0.0, drop: float = 0.0) -> None:
        """Set the probabilities.

        Args:
            move: probability of dilation or erosion by one pixel (each with half of it).
            drop: probability that an instance is dropped.
        """
        self.move, self.drop_probability = move, drop

    def drop(self, instances: Instances) -> Instances:
        """Drop random instances and their rows and columns."""
        if self.drop_probability <= 0:
            return instances
        return instances[torch.rand(len(instances)) >= self.drop_probability]

    def __call__(self, masks: torch.Tensor) -> torch.Tensor:
        """Dilate or erode random masks of bool (N, H, W); masks that would vanish are kept."""
        if self.move <= 0:
            return masks
        chance = torch.rand(len(masks), device=masks.device)[:, None, None]
        smaller = ~dilate(~masks, 1)
        smaller = torch.where(smaller.flatten(1).any(1)[:, None, None], smaller, masks)
        moved = torch.where(chance < self.move / 2, dilate(masks, 1), masks)
        return torch.where(chance >= 1 - self.move / 2, smaller, moved)
