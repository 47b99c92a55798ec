"""Evaluation that does not wait for results which are still being computed.

Detectron2's loop hands the results of an image to the evaluators before it runs the network on the
next one. Where these results are computed in the background (`DeferredOutput`), looking at them at
once would undo that. `OverlappingEvaluators` looks a few images later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

AHEAD = 8
"""Batches that may wait; their maps are in memory meanwhile."""


class OverlappingEvaluators(DatasetEvaluators):
    """Several evaluators; results in the background reach them in order, but later."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator], ahead: int = AHEAD) -> None:
        """Take the evaluators and how many batches may wait."""
        super().__init__(evaluators)
        self.ahead = ahead
        self._waiting: deque[tuple[Any, Any]] = deque()

    def reset(self) -> None:
        """Forget all images, those that wait as well."""
        self._waiting.clear()
        super().reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Hand over the batches that are finished, and as many more as there are too many."""
        self._waiting.append((inputs, outputs))
        while self._waiting and (len(self._waiting) > self.ahead or _done(self._waiting[0][1])):
            super().process(*self._waiting.popleft())

    def evaluate(self) -> Any:
        """Hand over the rest, then evaluate."""
        while self._waiting:
            super().process(*self._waiting.popleft())
        return super().evaluate()


def _done(outputs: Any) -> bool:
    """Return true unless one of a list of results is still being computed."""
    return all(getattr(output, "done", lambda: True)() for output in outputs)
