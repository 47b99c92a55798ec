"""A matrix over pairs of instances that can be a field of Detectron2's `Instances`.

A plain (N, N) tensor as a field loses its meaning as soon as instances are chosen or put together:
`instances[keep]` chooses rows only, and `Instances.cat` stacks rows under one another. `PairMatrix`
moves rows and columns together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class PairMatrix:
    """A value for each ordered pair of N instances; row = first of the pair, column = second.

    Choosing instances (`m[keep]`: bool or integer tensor, slice, list, or one integer, which keeps
    one instance) chooses rows and columns. `PairMatrix.cat` puts several matrices along the
    diagonal: pairs of instances that come from different matrices get `fill`.

    Attributes:
        tensor: (N, N) or (N, N, ...); what the values mean is said by whoever makes the matrix
            (`occ_order.order.encoding` for occlusion and depth).
        fill: the value of a pair that nothing is known about.
    """

    def __init__(self, tensor: torch.Tensor, *, fill: float = -1) -> None:
        """Wrap a tensor without copying it.

        Raises:
            ValueError: the first two sizes differ, or there are fewer than two.
        """
        tensor = torch.as_tensor(tensor)
        if tensor.ndim < 2 or tensor.shape[0] != tensor.shape[1]:
            raise ValueError(
                f"a PairMatrix needs a tensor of shape (N, N, ...), got {tuple(tensor.shape)}"
            )
        self.tensor = tensor
        self.fill = fill

    @classmethod
    def empty(cls, *more: int, dtype: torch.dtype = torch.int8, fill: float = -1) -> PairMatrix:
        """Return a matrix for no instances; `more` are the sizes after the first two."""
        return cls(torch.zeros((0, 0, *more), dtype=dtype), fill=fill)

    @property
    def device(self) -> torch.device:
        """Where the values lie."""
        return self.tensor.device

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __getitem__(self, item: int | slice | Sequence[int] | torch.Tensor) -> PairMatrix:
        if isinstance(item, int):
            item = slice(item, item + 1) if item != -1 else slice(item, None)
            if len(range(*item.indices(len(self)))) != 1:
                raise IndexError(f"instance {item.start} of {len(self)}")
        elif isinstance(item, list | tuple):
            item = torch.as_tensor(item, dtype=torch.long if not item else None)
        if isinstance(item, torch.Tensor):
            item = item.to(self.device)
        return PairMatrix(self.tensor[item][:, item], fill=self.fill)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Iterate over rows, as `Instances` expects of a field."""
        yield from self.tensor

    def to(self, *args, **kwargs) -> PairMatrix:
        """Return same matrix on another device or of another dtype; arguments as `Tensor.to`."""
        return PairMatrix(self.tensor.to(*args, **kwargs), fill=self.fill)

    @staticmethod
    def cat(matrices: Sequence[PairMatrix]) -> PairMatrix:
        """Put matrices along the diagonal of a new one, with `fill` elsewhere.

        Raises:
            ValueError: no matrix, or matrices that differ in sizes after the second or in `fill`.
        """
        if not matrices:
            raise ValueError("PairMatrix.cat needs at least one matrix")
        first = matrices[0]
        for other in matrices[1:]:
            if other.tensor.shape[2:] != first.tensor.shape[2:] or other.fill != first.fill:
                raise ValueError(
                    f"cannot join matrices of shapes {tuple(first.tensor.shape)} (fill "
                    f"{first.fill}) and {tuple(other.tensor.shape)} (fill {other.fill})"
                )
        total = sum(map(len, matrices))
        joined = first.tensor.new_full((total, total, *first.tensor.shape[2:]), first.fill)
        start = 0
        for matrix in matrices:
            end = start + len(matrix)
            joined[start:end, start:end] = matrix.tensor
            start = end
        return PairMatrix(joined, fill=first.fill)

    def __repr__(self) -> str:
        size = ", ".join(map(str, self.tensor.shape))
        return f"PairMatrix({size}; {self.tensor.dtype}, fill {self.fill})"
