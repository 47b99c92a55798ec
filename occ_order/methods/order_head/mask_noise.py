"""Annotated masks made a little like found ones."""

from __future__ import annotations

import torch
from detectron2.structures import Instances

from occ_order.methods.common.contact_pooling import dilate


class MaskNoise:
    """Outlines that are off by a pixel, and instances that were not found."""

    def __init__(self, move: float = 0.0, drop: float = 0.0) -> None:
        """Keep the probabilities.

        Args:
            move: of an outline being dilated or eroded by one pixel, half of it each.
            drop: of an instance being left out.
        """
        self.move, self.drop_probability = move, drop

    def drop(self, instances: Instances) -> Instances:
        """Leave out some instances, with their rows and columns."""
        if self.drop_probability <= 0:
            return instances
        return instances[torch.rand(len(instances)) >= self.drop_probability]

    def __call__(self, masks: torch.Tensor) -> torch.Tensor:
        """Move some outlines of bool (N, H, W); a mask that would vanish stays as it is."""
        if self.move <= 0:
            return masks
        chance = torch.rand(len(masks), device=masks.device)[:, None, None]
        smaller = ~dilate(~masks, 1)
        smaller = torch.where(smaller.flatten(1).any(1)[:, None, None], smaller, masks)
        moved = torch.where(chance < self.move / 2, dilate(masks, 1), masks)
        return torch.where(chance >= 1 - self.move / 2, smaller, moved)
