"""Level maps of objects as a field of Detectron2's `Instances`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torchvision.ops import roi_align


class LevelMaps:
    """How many objects lie in front of each of N objects, pixel by pixel.

    Detectors choose the same object for many proposals. Choosing here (`maps[keep]`) therefore
    only notes which object is meant, and maps are not copied.

    Attributes:
        maps: int8 (M, H, W): -1 outside the amodal mask, 0 visible, l hidden behind l objects
            (`occ_order.targets.visibility_levels`).
        index: int64 (N,), which map belongs to each object.
    """

    def __init__(self, maps: torch.Tensor, index: torch.Tensor | None = None) -> None:
        """Wrap maps without copying them; `index` None means each map once, in order.

        Raises:
            ValueError: `maps` is not an int8 tensor with three axes.
        """
        if maps.ndim != 3 or maps.dtype != torch.int8:
            raise ValueError(
                f"level maps must be int8 (N, H, W), got {maps.dtype} {tuple(maps.shape)}"
            )
        self.maps = maps
        self.index = torch.arange(len(maps), device=maps.device) if index is None else index

    @property
    def device(self) -> torch.device:
        """Where the maps lie."""
        return self.maps.device

    @property
    def tensor(self) -> torch.Tensor:
        """int8 (N, H, W), one map for each object."""
        return self.maps[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int | slice | Sequence[int] | torch.Tensor) -> LevelMaps:
        if isinstance(item, int):
            item = [item]
        if isinstance(item, list | tuple):
            item = torch.as_tensor(item, dtype=torch.long)
        if isinstance(item, torch.Tensor):
            item = item.to(self.device)
        return LevelMaps(self.maps, self.index[item])

    def to(self, *args, **kwargs) -> LevelMaps:
        """Return the same maps on another device; arguments as `Tensor.to`."""
        return LevelMaps(self.maps.to(*args, **kwargs), self.index.to(*args, **kwargs))

    @staticmethod
    def cat(parts: Sequence[LevelMaps]) -> LevelMaps:
        """Put the objects of several fields (of one image size) behind one another."""
        shift, indices = 0, []
        for part in parts:
            indices.append(part.index + shift)
            shift += len(part.maps)
        return LevelMaps(torch.cat([part.maps for part in parts]), torch.cat(indices))

    def crop_and_resize(self, boxes: torch.Tensor, size: int, num_levels: int) -> torch.Tensor:
        """Levels inside boxes, resampled: the targets of a head that works on regions.

        The nested masks "there, at level l or nearer" are averaged over each cell and cut at one
        half, so that no level appears between two others along a border.

        Args:
            boxes: float (N, 4), x0 y0 x1 y1 in pixels, one for each object.
            size: S, cells per side.
            num_levels: K; deeper levels fall into the last one.

        Returns:
            int8 (N, S, S) in -1..K-1.

        Raises:
            ValueError: the numbers of boxes and of objects differ.
        """
        if len(boxes) != len(self):
            raise ValueError(f"{len(boxes)} boxes for {len(self)} level maps")
        behind = torch.zeros((len(self), size, size), dtype=torch.int8, device=self.device)
        if not len(self):
            return behind
        boxes = boxes.to(self.device, torch.float32)
        regions = torch.cat([self.index[:, None].to(boxes), boxes], dim=1)
        deepest = min(num_levels - 1, max(int(self.maps.max()), 0))
        for level in range(deepest + 1):
            last = level == deepest
            mask = (self.maps >= 0) if last else (self.maps >= 0) & (self.maps <= level)
            share = roi_align(mask[:, None].float(), regions, size, aligned=True)[:, 0]
            behind += share < 0.5
        return torch.where(behind > deepest, -1, behind)


def coarser_levels(levels: torch.Tensor, factor: int, num_levels: int) -> torch.Tensor:
    """Levels of cells of `factor` x `factor` cells, as `LevelMaps.crop_and_resize` decides them.

    Args:
        levels: int8 (R, S, S) in -1..K-1.
        factor: divides S.
        num_levels: K.

    Returns:
        int8 (R, S / factor, S / factor) in -1..K-1: at least half of the cell is at that level or
        nearer, and less than half at the next nearer one.
    """
    if factor == 1:
        return levels
    steps = torch.arange(num_levels, device=levels.device, dtype=levels.dtype)[:, None, None]
    nearer = (levels[:, None] >= 0) & (levels[:, None] <= steps)
    behind = (F.avg_pool2d(nearer.float(), factor) < 0.5).sum(dim=1)
    return torch.where(behind == num_levels, -1, behind).to(levels.dtype)
