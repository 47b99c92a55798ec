"""A matrix over pairs of instances as a field of Detectron2's `Instances`.

A plain (N, N) tensor is not a valid field: `instances[keep]` would select its rows only, and
`Instances.cat` would concatenate rows. `PairMatrix` selects and concatenates rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class PairMatrix:
    """Values of the ordered pairs of N instances; row = first of the pair, column = second.

    Indexing (`m[keep]` with a bool or integer tensor, slice, list, or an integer, which keeps one
    instance) selects rows and columns. `PairMatrix.cat` builds a block-diagonal matrix: pairs of
    instances from different matrices are `fill`.

    Attributes:
        tensor: (N, N) or (N, N, ...); the meaning of the values depends on the field
            (`occ_order.order.encoding` for occlusion and depth).
        fill: value of unknown pairs.
    """

    def __init__(self, tensor: torch.Tensor, *, fill: float = -1) -> None:
        """Wrap a tensor without copying it.

        Raises:
            ValueError: the first two dimensions differ in size, or there are fewer than two.
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
        """Return a matrix of 0 instances; `more` are the sizes of further dimensions."""
        return cls(torch.zeros((0, 0, *more), dtype=dtype), fill=fill)

    @property
    def device(self) -> torch.device:
        """Device of the tensor."""
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
        """Return the matrix on another device or with another dtype, see `Tensor.to`."""
        return PairMatrix(self.tensor.to(*args, **kwargs), fill=self.fill)

    @staticmethod
    def cat(matrices: Sequence[PairMatrix]) -> PairMatrix:
        """Return a block-diagonal matrix, with `fill` elsewhere.

        Raises:
            ValueError: no matrices, or they differ in their further dimensions or in `fill`.
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
