"""Sums and compact records of many images that do not depend on the order of the images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_PLACES = 1074
_UNIT = 1 << _PLACES
"""Every finite float64 is an integer multiple of 2**-1074, the smallest positive one."""


class ExactSums:
    """Sums and means of K quantities, the same to the last bit in any order of addition.

    The sums are kept as integer multiples of 2**-1074 and are rounded once, when they are read, so
    that images can be added by any number of processes. NaN is ignored.

    Args:
        size: K.
    """

    def __init__(self, size: int) -> None:
        self._units = [0] * size
        self._numbers = [0] * size

    def add(self, values: ArrayLike) -> None:
        """Add one value, or NaN for none, of each quantity: finite or NaN (K,)."""
        for k, value in enumerate(np.asarray(values, float).tolist()):
            if not math.isnan(value):
                above, below = value.as_integer_ratio()
                self._units[k] += above << (_PLACES + 1 - below.bit_length())
                self._numbers[k] += 1

    def __iadd__(self, other: ExactSums) -> ExactSums:
        """Add the values of other sums of K quantities."""
        for mine, theirs in ((self._units, other._units), (self._numbers, other._numbers)):
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]
        return self

    def totals(self) -> np.ndarray:
        """Return the sums, float64 (K,), correctly rounded; 0 without values."""
        return np.array([units / _UNIT for units in self._units])

    def means(self) -> np.ndarray:
        """Return the sums divided by the numbers of values, float64 (K,); NaN without values."""
        numbers = np.array(self._numbers, float)
        return self.totals() / np.where(numbers > 0, numbers, np.nan)


class ImageRecords:
    """Records of fixed size, such as one per detection, of many images.

    For metrics that need all detections at once, such as average precision, which ranks them by
    score: this is the least that they need. A record takes the bytes of its fields and four for its
    image, an image its id.

    Args:
        kinds: name of a kind of records -> fields as of `numpy.dtype`.
    """

    def __init__(self, **kinds: list[Any]) -> None:
        self.image_ids: list[Any] = []
        self._dtypes = {
            name: np.dtype([("image", np.int32), *fields]) for name, fields in kinds.items()
        }
        self._buffers = {name: bytearray() for name in kinds}

    def add(self, image_id: Any, **kinds: dict[str, ArrayLike]) -> None:
        """Add an image with (N, ...) values of each field of some kinds of records."""
        for name, fields in kinds.items():
            number = len(np.asarray(next(iter(fields.values()))))
            records = np.zeros(number, self._dtypes[name])
            records["image"] = len(self.image_ids)
            for field, values in fields.items():
                records[field] = values
            self._buffers[name] += records.tobytes()
        self.image_ids.append(image_id)

    def __iadd__(self, other: ImageRecords) -> ImageRecords:
        """Add the images of other records of the same kinds."""
        for name, buffer in other._buffers.items():
            records = np.frombuffer(buffer, self._dtypes[name]).copy()
            records["image"] += len(self.image_ids)
            self._buffers[name] += records.tobytes()
        self.image_ids += other.image_ids
        return self

    def sorted(self, name: str) -> np.ndarray:
        """Return the records of a kind in the order of image ids, those of an image as added.

        Returns:
            Structured array (N,) with the fields of the kind, and "image", the position of the
            image among all images in the order of their ids.

        Raises:
            ValueError: two images have the same id.
        """
        records = np.frombuffer(self._buffers[name], self._dtypes[name]).copy()
        position = np.empty(len(self.image_ids), np.int32)
        position[sorted_ids(self.image_ids)] = np.arange(len(position))
        records["image"] = position[records["image"]]
        return records[np.argsort(records["image"], kind="stable")]


def sorted_ids(image_ids: Iterable[Any]) -> list[int]:
    """Return the positions of image ids, ints or strings, in ascending order of the ids.

    Raises:
        ValueError: an id is there twice.
    """
    keys = [(str(type(image_id)), image_id) for image_id in image_ids]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for one, other in itertools.pairwise(order):
        if keys[one] == keys[other]:
            raise ValueError(f"image {keys[one][1]!r} is duplicated")
    return order
