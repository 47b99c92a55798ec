"""What all scorers of a data set have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


class Scorer(Generic[Row]):
    """One metric over a data set, image by image.

        scorer = CoverageScorer()
        for truth, prediction in images:
            scorer.update(truth, prediction)
        scores = scorer.compute()

    A subclass says what is kept of an image, in `row`, and what the rows of all images give, in
    `compute`. Rows are plain values and small, so that several processes can make them apart: a
    scorer of all their rows gives what one that has seen all images gives.

    Args:
        rows: of images that were seen already.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)

    def row(self, truth: Any, prediction: Any) -> Row:
        """Return what is kept of one image."""
        raise NotImplementedError(f"{type(self).__name__} has no row()")

    def update(self, truth: Any, prediction: Any) -> Row:
        """Add an image, and return what is kept of it."""
        self.rows.append(self.row(truth, prediction))
        return self.rows[-1]

    def compute(self) -> dict[str, Any]:
        """Return the scores: the same keys whatever the data, NaN where undefined."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")
