"""Prediction of the maps of an image: padding to t k + 1, sliding windows, flip averaging.

Maps of one image: ``semantic`` (K, H, W) and ``orientation`` (4, H, W), probabilities that sum to
1; ``boundary`` (H, W) in [0, 1]; ``order`` (L + 1, H, W), probabilities, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

from occ_order.methods.oosis.head import Logits
from occ_order.targets.oriented_boundary import OPPOSITE

SURE = 0.95
"""Probability of the ground-truth class in maps computed from ground truth (Table 4)."""


class Maps(NamedTuple):
    """Probabilities, see the module docstring; with a leading batch axis where stated."""

    semantic: torch.Tensor
    orientation: torch.Tensor
    boundary: torch.Tensor
    order: torch.Tensor | None = None

    def numpy(self) -> Maps:
        """Return the same maps as float32 arrays on the CPU."""
        parts = (None if part is None else part.float().cpu().numpy() for part in self)
        return Maps(*parts)

    def mirrored(self) -> Maps:
        """Flip horizontally, which also swaps the orientation channels left and right."""
        swap = [*OPPOSITE[:2], 2, 3]
        return Maps(
            semantic=self.semantic.flip(-1),
            orientation=self.orientation.flip(-1)[..., swap, :, :],
            boundary=self.boundary.flip(-1),
            order=None if self.order is None else self.order.flip(-1),
        )


def probabilities(logits: Logits) -> Maps:
    """Apply softmax to classes and directions, sigmoid to the boundary; leading batch axis."""
    return Maps(
        semantic=logits.semantic.softmax(1),
        orientation=logits.orientation.softmax(1),
        boundary=logits.boundary.sigmoid(),
        order=None if logits.order is None else logits.order.softmax(1),
    )


def composed(maps: Maps) -> torch.Tensor:
    """Compute o = [b e, 1 - b] (5, H, W): left, right, top, bottom, none; sums to 1 (Eq. 3)."""
    return torch.cat([maps.boundary * maps.orientation, 1 - maps.boundary[None]])


def padded_size(size: int, multiple: int) -> int:
    """Return the smallest m k + 1 >= ``size``: 615 -> 617 and 2048 -> 2049 for m = 8."""
    return -(-max(size - 1, 0) // multiple) * multiple + 1


def pad_to_grid(batch: torch.Tensor, multiple: int, value: float = 0.0) -> torch.Tensor:
    """Pad (..., H, W) on the bottom and right so that both sides are m k + 1."""
    height, width = batch.shape[-2:]
    more = (0, padded_size(width, multiple) - width, 0, padded_size(height, multiple) - height)
    return F.pad(batch, more, value=value)


def window_starts(size: int, crop: int, stride: int) -> list[int]:
    """Return the starts of windows of ``crop`` pixels that cover ``size``; the last ends there.

    Example: 615 pixels, windows of 225, stride 150: 0, 150, 300, 390.
    """
    last = max(size - crop, 0)
    return [min(k * stride, last) for k in range(-(-last // stride) + 1)]


def windows(height: int, width: int, crop: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """Yield all windows over an image in row-major order; ``crop`` 0 yields the whole image."""
    if crop == 0:
        yield slice(0, height), slice(0, width)
        return
    for y in window_starts(height, crop, stride):
        for x in window_starts(width, crop, stride):
            yield slice(y, min(y + crop, height)), slice(x, min(x + crop, width))


@torch.no_grad()
def predict_maps(
    network: Callable[[torch.Tensor], Maps],
    image: torch.Tensor,
    *,
    multiple: int = 8,
    crop: int = 0,
    stride: int = 150,
    flip: bool = False,
) -> Maps:
    """Predict the maps of an image, averaged over overlapping windows and its horizontal flip.

    Args:
        network: (N, C, H, W) with sides m k + 1 -> `Maps` with a batch axis.
        image: float (C, H, W), normalised.
        multiple: m, the backbone's stride.
        crop: side of the windows, m k + 1; 0 = the whole image.
        stride: step between windows.
        flip: average with the horizontally flipped image.

    Returns:
        Maps of size (H, W).
    """
    height, width = image.shape[-2:]
    total: Maps | None = None
    count = image.new_zeros(height, width)
    for rows, cols in windows(height, width, crop, stride):
        part = image[:, rows, cols]
        batch = torch.stack([part, part.flip(-1)]) if flip else part[None]
        maps = network(pad_to_grid(batch, multiple))
        cut = (..., slice(0, part.shape[-2]), slice(0, part.shape[-1]))
        maps = Maps(*(None if m is None else m[cut] for m in maps))
        found = _of_batch(maps, 0)
        if flip:
            back = _of_batch(maps, 1).mirrored()
            found = Maps(
                *(None if a is None else (a + b) / 2 for a, b in zip(found, back, strict=True))
            )
        if total is None:
            shapes = [None if m is None else (*m.shape[:-2], height, width) for m in found]
            total = Maps(*(None if s is None else image.new_zeros(s) for s in shapes))
        for sums, value in zip(total, found, strict=True):
            if sums is not None:
                sums[..., rows, cols] += value
        count[rows, cols] += 1
    assert total is not None  # there is at least one window
    return Maps(*(None if sums is None else sums / count for sums in total))


def _of_batch(maps: Maps, index: int) -> Maps:
    return Maps(*(None if part is None else part[index] for part in maps))


def maps_from_targets(
    semantic: torch.Tensor, boundary: torch.Tensor, orientation: torch.Tensor, num_classes: int
) -> Maps:
    """Return the maps of a perfect network, for the upper bound of Table 4.

    Args:
        semantic: int64 (H, W), 0 = background; ignored pixels count as background.
        boundary: (H, W) in {0, 1}.
        orientation: (4, H, W), sums to 1 on the boundary.
        num_classes: K, with background.

    Returns:
        Maps with probability `SURE` for the ground-truth class and the rest distributed evenly
        over the others; the orientation is uniform off the boundary.
    """
    known = torch.where(semantic < num_classes, semantic, 0)
    one_hot = F.one_hot(known, num_classes).permute(2, 0, 1).float()
    prob = one_hot * SURE + (1 - one_hot) * (1 - SURE) / max(num_classes - 1, 1)
    boundary = boundary.float()
    uniform = torch.full_like(orientation, 0.25)
    return Maps(prob, torch.where(boundary > 0, orientation, uniform), boundary)
