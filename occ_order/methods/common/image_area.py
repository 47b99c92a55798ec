"""A region of the image as a field of Detectron2's `Instances`."""

from __future__ import annotations

import torch
from torch.nn import functional as F


class ImageArea:
    """A region of the image shared by N instances; indexing instances does not change it.

    Attributes:
        mask: bool (H, W), True = inside.
    """

    def __init__(self, mask: torch.Tensor, num_instances: int) -> None:
        """Wrap a mask without copying it.

        Raises:
            ValueError: the mask is not bool (H, W).
        """
        if mask.dtype != torch.bool or mask.ndim != 2:
            raise ValueError(f"an area must be bool (H, W), got {mask.dtype} {tuple(mask.shape)}")
        self.mask = mask
        self._num_instances = num_instances

    def __len__(self) -> int:
        return self._num_instances

    def __getitem__(self, item: int | slice | list[int] | torch.Tensor) -> ImageArea:
        chosen = torch.arange(self._num_instances)[item.cpu() if hasattr(item, "cpu") else item]
        return ImageArea(self.mask, chosen.numel())

    def to(self, device: torch.device | str) -> ImageArea:
        """Return the same area on another device."""
        return ImageArea(self.mask.to(device), self._num_instances)

    def fractions(self, boxes: torch.Tensor) -> torch.Tensor:
        """Compute the fraction of each box inside the area.

        Args:
            boxes: (N, 4) x0, y0, x1, y1 in pixels, on the mask's device; corners are rounded, and
                boxes are clipped to the image.

        Returns:
            float (N,) in [0, 1]; 1 for a box entirely outside the image.
        """
        height, width = self.mask.shape
        sums = F.pad(self.mask.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
        x0, y0, x1, y1 = boxes.round().long().unbind(1)
        x0, x1 = x0.clamp(0, width), x1.clamp(0, width)
        y0, y1 = y0.clamp(0, height), y1.clamp(0, height)
        size = (x1 - x0) * (y1 - y0)
        inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        return torch.where(size > 0, inside / size.clamp(min=1), 1.0)
