"""Results that are still being computed: the CRF runs while the network sees the next image.

The network's side puts a `DeferredOutput` where Detectron2 expects the dictionary of one image's
results. Whoever looks into it waits until it is there, so that nobody needs to know; whoever wants
to profit looks later (`occ_order.engine.overlap`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DeferredOutput(MutableMapping):
    """A dictionary that is filled by a `Future`; every access waits for it."""

    def __init__(self, future: Future) -> None:
        """Take a future whose result is a dictionary."""
        self._future = future
        self._own: dict[str, Any] = {}

    def done(self) -> bool:
        """Whether an access would not wait."""
        return self._future.done()

    def result(self) -> dict[str, Any]:
        """Wait for the computation and return its dictionary; re-raises its exception."""
        if not self._own:
            self._own = dict(self._future.result())
        return self._own

    def __getitem__(self, key: str) -> Any:
        return self.result()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.result()[key] = value

    def __delitem__(self, key: str) -> None:
        del self.result()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.result())

    def __len__(self) -> int:
        return len(self.result())


class Workers:
    """Threads that run functions which release the interpreter's lock; none at all for 0.

    A copy (of a module that holds it) starts threads of its own.
    """

    def __init__(self, number: int) -> None:
        """Remember the number; threads start with the first task.

        Raises:
            ValueError: a negative number.
        """
        if number < 0:
            raise ValueError(f"workers: got {number}, expected 0 or more")
        self.number = number
        self._pool: ThreadPoolExecutor | None = None

    def run(
        self, function: Callable[..., dict[str, Any]], *arguments: Any
    ) -> dict[str, Any] | DeferredOutput:
        """Return result of the call, or a `DeferredOutput` of it where there are threads."""
        if self.number == 0:
            return function(*arguments)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.number, thread_name_prefix="crf")
        return DeferredOutput(self._pool.submit(function, *arguments))

    def __getstate__(self) -> dict[str, Any]:
        return {"number": self.number, "_pool": None}
