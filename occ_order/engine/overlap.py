"""Evaluation that does not wait for asynchronous results.

Detectron2's loop passes the results of an image to the evaluators before it runs the network on the
next image. If results are computed asynchronously (`DeferredOutput`), reading them immediately
would block. `OverlappingEvaluators` reads them a few images later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

AHEAD = 8
"""Maximum number of batches in the queue; their maps are kept in memory."""


class OverlappingEvaluators(DatasetEvaluators):
    """Several evaluators that process asynchronous results in order, but with a delay."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator], ahead: int = AHEAD) -> None:
        """Set the evaluators and the maximum number of batches in the queue."""
        super().__init__(evaluators)
        self.ahead = ahead
        self._waiting: deque[tuple[Any, Any]] = deque()

    def reset(self) -> None:
        """Reset the evaluators and clear the queue."""
        self._waiting.clear()
        super().reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Process finished batches, and wait for others only if the queue is too long."""
        self._waiting.append((inputs, outputs))
        while self._waiting and (len(self._waiting) > self.ahead or _done(self._waiting[0][1])):
            super().process(*self._waiting.popleft())

    def evaluate(self) -> Any:
        """Process the remaining batches, then evaluate."""
        while self._waiting:
            super().process(*self._waiting.popleft())
        return super().evaluate()


def _done(outputs: Any) -> bool:
    """Return False if a result in a list is still being computed."""
    return all(getattr(output, "done", lambda: True)() for output in outputs)
