"""Base class of the scorers of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


class Scorer(Generic[Row]):
    """A metric over a data set, computed image by image.

        scorer = CoverageScorer()
        for truth, prediction in images:
            scorer.update(truth, prediction)
        scores = scorer.compute()

    Subclasses implement `row`, which computes the contribution of an image, and `compute`, which
    computes the scores from the rows of all images. Rows are small plain values, so that several
    processes can compute them: the result depends only on the rows.

    Args:
        rows: rows of images that were already evaluated.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)

    def row(self, truth: Any, prediction: Any) -> Row:
        """Return the contribution of an image."""
        raise NotImplementedError(f"{type(self).__name__} has no row()")

    def update(self, truth: Any, prediction: Any) -> Row:
        """Add an image and return its row."""
        self.rows.append(self.row(truth, prediction))
        return self.rows[-1]

    def compute(self) -> dict[str, Any]:
        """Return the scores: always the same keys, NaN if undefined."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")
