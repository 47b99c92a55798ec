"""Flat arrays of the N x N pair matrices of many images, for metrics without loops over pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class FlatPairs:
    """Entries of the pair matrices of all images, in row-major order.

    Attributes:
        values: name -> int64 (E,), entries of the matrices of that name.
        image: int64 (E,), index of the image.
        row: int64 (E,), first instance of the pair.
        col: int64 (E,), second instance of the pair.
        transposed: int64 (E,), index of the entry of the swapped pair.
        num_images: number of matrices in each list.
    """

    values: dict[str, np.ndarray]
    image: np.ndarray
    row: np.ndarray
    col: np.ndarray
    transposed: np.ndarray
    num_images: int


def flatten(lists: dict, allowed: dict) -> FlatPairs:
    """Validate parallel lists of pair matrices and flatten them.

    Args:
        lists: name -> list of (N, N) integer matrices, one per image; N may differ between images,
            but not between lists.
        allowed: name -> (minimum, maximum) of the entries.

    Returns:
        FlatPairs.

    Raises:
        ValueError: lists of different lengths; a matrix that is not square; matrices of an image
            with different shapes (both are printed); values that are out of range or not
            integers.
    """
    arrays = {name: [np.asarray(matrix) for matrix in items] for name, items in lists.items()}
    lengths = {name: len(items) for name, items in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lists hold different numbers of images: {lengths}")
    first = next(iter(arrays.values()))
    _check_shapes(arrays)
    values = {name: _concatenate(name, items, allowed[name]) for name, items in arrays.items()}
    side = np.array([len(matrix) for matrix in first], np.int64)
    entries = side**2
    start = np.repeat(np.cumsum(entries) - entries, entries)
    long_side = np.repeat(side, entries)
    position = np.arange(entries.sum()) - start
    row, col = np.divmod(position, np.maximum(long_side, 1))
    return FlatPairs(
        values=values,
        image=np.repeat(np.arange(len(side)), entries),
        row=row,
        col=col,
        transposed=start + col * long_side + row,
        num_images=len(side),
    )


def _check_shapes(arrays: dict[str, list[np.ndarray]]) -> None:
    """Check that matrices are square and that those of an image have the same shape."""
    for index, matrices in enumerate(zip(*arrays.values(), strict=True)):
        shape = matrices[0].shape
        if len(shape) != 2 or shape[0] != shape[1] or any(m.shape != shape for m in matrices):
            found = ", ".join(f"{n} {m.shape}" for n, m in zip(arrays, matrices, strict=True))
            raise ValueError(f"image {index}: expected matrices of one shape (N, N), got {found}")


def _concatenate(name: str, items: list[np.ndarray], allowed: tuple[int, int]) -> np.ndarray:
    """Return all entries as an int64 vector; check their values."""
    flat = np.concatenate([np.empty(0, np.int64), *(matrix.ravel() for matrix in items)])
    with np.errstate(invalid="ignore"):  # NaN is rejected by the comparison below
        whole = flat.astype(np.int64)
    bad = (whole != flat) | (whole < allowed[0]) | (whole > allowed[1])
    if bad.any():
        at = int(bad.argmax())
        sizes = np.cumsum([matrix.size for matrix in items])
        image = int(np.searchsorted(sizes, at, side="right"))
        raise ValueError(
            f"image {image}: {name} holds {flat[at]}, expected a whole number from {allowed[0]} "
            f"to {allowed[1]}"
        )
    return whole


def ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: float) -> np.ndarray:
    """Return the elementwise quotient, `undefined` where the denominator is 0."""
    safe = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / safe, undefined)


def mean_or_nan(values: ArrayLike) -> float:
    """Return the mean of the entries that are not NaN; NaN if there are none.

    The sum is correctly rounded, hence independent of the order, as that of
    `occ_order.metrics.sums.ExactSums`.
    """
    defined = np.asarray(values, float)
    defined = defined[~np.isnan(defined)]
    return math.fsum(defined.ravel().tolist()) / defined.size if defined.size else float("nan")


@contextmanager
def of_one_image() -> Iterator[None]:
    """Leave out "image 0: " from the errors of a function of lists that is given one image."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).removeprefix("image 0: ")) from error


def image_pairs(
    gt_images: Iterable[Any], pred_images: Iterable[Any]
) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Iterate over ground truth and predictions of images in parallel.

    Args:
        gt_images: iterable.
        pred_images: iterable.

    Yields:
        (index, (ground truth, prediction)).

    Raises:
        ValueError: different lengths; names the shorter one and its length.
    """
    gt_images, pred_images = iter(gt_images), iter(pred_images)
    nothing = object()
    index = 0
    while True:
        gt, pred = next(gt_images, nothing), next(pred_images, nothing)
        if gt is nothing and pred is nothing:
            return
        if gt is nothing or pred is nothing:
            short = "ground truth" if gt is nothing else "predictions"
            raise ValueError(f"different numbers of images: the {short} end after {index}")
        yield index, (gt, pred)
        index += 1
