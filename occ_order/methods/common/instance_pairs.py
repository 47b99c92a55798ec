"""Ordered pairs of the instances of a batch as one flat list, without a loop over images.

Sizes: I images, M instances of all images together, Q = sum of n * n ordered pairs, the diagonal
included. Image after image, row after row: the pairs of an image, reshaped to (n, n), are a matrix
with row = first of the pair, column = second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PairLayout:
    """Where each ordered pair of a batch stands.

    Attributes:
        counts: instances of each image.
        image: int64 (M,), image of each instance.
        start: int64 (M,), place of the pair (instance, first instance of its image).
        position: int64 (M,), place of each instance within its image.
        row: int64 (Q,), first instance of each pair, counted over the batch.
        col: int64 (Q,), second instance.
        swapped: int64 (Q,), place of the pair (second, first).
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
        """bool (Q,): the pair has two different instances."""
        return self.row != self.col

    @property
    def pairs(self) -> torch.Tensor:
        """int64 (Q, 2): first and second instance of each pair."""
        return torch.stack([self.row, self.col], 1)

    def place(self, row: torch.Tensor, col: torch.Tensor) -> torch.Tensor:
        """Places of pairs of instances (counted over the batch) of the same image."""
        return self.start[row] + self.position[col]

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Values (Q, ...) of the pairs as one matrix (n, n, ...) for each image."""
        parts = values.split([count * count for count in self.counts])
        return [
            part.reshape(count, count, *values.shape[1:])
            for part, count in zip(parts, self.counts, strict=True)
        ]


def pair_layout(counts: Sequence[int], device: torch.device | str = "cpu") -> PairLayout:
    """Return the layout of images with so many instances.

    Args:
        counts: instances of each image; any of them may be 0, and there may be no image.
        device: where the indices are put.
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
    """int64 (M,): the instances of each image by area, then by where their cells are.

    Both are sums of few binary digits, exact in double precision; masks that agree in both are, but
    for a freak of chance, the same.

    Args:
        cover: float (M, h, w), in the order of the layout.
        layout: the instances.
    """
    cells = cover.flatten(1).double()
    place = torch.arange(cells.shape[1], device=cells.device)
    order = torch.arange(len(cells), device=cells.device)
    for key in ((cells * place).sum(1), cells.sum(1), layout.image):
        order = order[torch.argsort(key[order], stable=True)]
    return order
