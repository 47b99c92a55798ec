"""Index arithmetic for the ordered pairs of the instances of a batch, without a loop over images.

Sizes: I images, M instances of all images, Q = sum of n * n ordered pairs, including the diagonal.
Pairs are listed image by image in row-major order: the Q entries of an image with n instances,
reshaped to (n, n), are a matrix with row = first instance of the pair, column = second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PairLayout:
    """Indices of all ordered pairs of a batch.

    Attributes:
        counts: number of instances of each image.
        image: int64 (M,), image of each instance.
        start: int64 (M,), index of the pair (instance, first instance of its image).
        position: int64 (M,), index of each instance within its image.
        row: int64 (Q,), first instance of each pair, index in the batch.
        col: int64 (Q,), second instance.
        swapped: int64 (Q,), index of the pair (second, first).
    """

    counts: tuple[int, ...]
    image: torch.Tensor
    start: torch.Tensor
    position: torch.Tensor
    row: torch.Tensor
    col: torch.Tensor
    swapped: torch.Tensor

    @property
    def off_diagonal(self) -> torch.Tensor:
        """Whether each pair has two different instances, bool (Q,)."""
        return self.row != self.col

    @property
    def pairs(self) -> torch.Tensor:
        """First and second instance of each pair, int64 (Q, 2)."""
        return torch.stack([self.row, self.col], 1)

    def place(self, row: torch.Tensor, col: torch.Tensor) -> torch.Tensor:
        """Return the indices of pairs, given two instances (indices in the batch) of one image."""
        return self.start[row] + self.position[col]

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Split values (Q, ...) of the pairs into one matrix (n, n, ...) per image."""
        parts = values.split([count * count for count in self.counts])
        return [
            part.reshape(count, count, *values.shape[1:])
            for part, count in zip(parts, self.counts, strict=True)
        ]


def pair_layout(counts: Sequence[int], device: torch.device | str = "cpu") -> PairLayout:
    """Build the layout of a batch.

    Args:
        counts: number of instances of each image; may be 0, and there may be no image.
        device: device of the index tensors.
    """
    sizes = torch.tensor(list(counts), dtype=torch.int64, device=device)
    image = torch.repeat_interleave(sizes)
    size = sizes[image]
    first = (sizes.cumsum(0) - sizes)[image]
    start = size.cumsum(0) - size
    row = torch.repeat_interleave(size)
    position = torch.arange(len(image), device=device) - first
    col = torch.arange(len(row), device=device) - start[row] + first[row]
    swapped = start[col] + position[row]
    return PairLayout(tuple(counts), image, start, position, row, col, swapped)


def canonical_order(cover: torch.Tensor, layout: PairLayout) -> torch.Tensor:
    """Sort the instances of each image by area, then by the sum of their cell indices.

    Both keys are exact in float64, so the result does not depend on the input order. Masks with
    equal keys are almost surely identical.

    Args:
        cover: float (M, h, w), in the order of the layout.
        layout: the instances.

    Returns:
        int64 (M,), permutation of the instances.
    """
    cells = cover.flatten(1).double()
    place = torch.arange(cells.shape[1], device=cells.device)
    order = torch.arange(len(cells), device=cells.device)
    for key in ((cells * place).sum(1), cells.sum(1), layout.image):
        order = order[torch.argsort(key[order], stable=True)]
    return order
