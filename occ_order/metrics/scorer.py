"""Base class of the scorers of a data set."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


class Scorer(Generic[Row]):
    """A metric over a data set, computed image by image.

        scorer = CoverageScorer()
        for truth, prediction in images:
            scorer.update(truth, prediction)
        scores = scorer.compute()

    A scorer keeps a state, not the images: counts and sums, whose size does not depend on the
    number of images, and for metrics that need all detections at once a few bytes of each. Images
    can be scored by several processes and their scorers merged: the scores depend only on the set
    of images, to the last bit, not on their order or on the process that scored them.

    Subclasses implement `empty`, `row`, `add` and `compute`.

    Args:
        options: options of the metric; only scorers with the same options can be merged.

    Attributes:
        state: name -> part of the state, which can be pickled. Parts are merged by ``+=``: integer
            arrays, `occ_order.metrics.sums.ExactSums` and `ImageRecords`, and bytearrays.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.state: dict[str, Any] = self.empty()

    def empty(self) -> dict[str, Any]:
        """Return the state without images."""
        raise NotImplementedError(f"{type(self).__name__} has no empty()")

    def row(self, truth: Any, prediction: Any) -> Row:
        """Return the contribution of an image; does not change the state."""
        raise NotImplementedError(f"{type(self).__name__} has no row()")

    def add(self, row: Row) -> None:
        """Add the contribution of an image to the state."""
        raise NotImplementedError(f"{type(self).__name__} has no add()")

    def update(self, truth: Any, prediction: Any, **known: Any) -> Row:
        """Add an image and return its contribution.

        Args:
            truth: see `row`.
            prediction: see `row`.
            known: further arguments of `row`.
        """
        row = self.row(truth, prediction, **known)
        self.add(row)
        return row

    def merge(self, other: Scorer[Row]) -> None:
        """Add the images of another scorer, which is not changed.

        Raises:
            ValueError: the other one is of another class or has other options.
        """
        if type(self) is not type(other) or self.options != other.options:
            raise ValueError(
                f"cannot merge {type(other).__name__} with options {other.options} into "
                f"{type(self).__name__} with options {self.options}"
            )
        for name, part in other.state.items():
            self.state[name] += part

    def compute(self) -> dict[str, Any]:
        """Return the scores: always the same keys, NaN if undefined."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")
