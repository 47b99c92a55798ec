"""Asynchronous results: the CRF of an image runs during the network's pass over the next.

The model returns a `DeferredOutput` in place of the dictionary of results of an image. Reading it
waits for the computation, so that callers need not distinguish the two. Callers that read the
results of an image after the next forward pass let both overlap (`occ_order.engine.overlap`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DeferredOutput(MutableMapping):
    """Dictionary that is the result of a `Future`; every access waits for it."""

    def __init__(self, future: Future) -> None:
        """Wrap a future whose result is a dictionary."""
        self._future = future
        self._own: dict[str, Any] = {}

    def done(self) -> bool:
        """Return whether the result is available without waiting."""
        return self._future.done()

    def result(self) -> dict[str, Any]:
        """Wait for the result and return it; re-raise the exception of the computation."""
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
    """Thread pool for functions that release the GIL; 0 threads call them directly.

    A copy (such as that of a module with workers) starts threads of its own.
    """

    def __init__(self, number: int) -> None:
        """Set the number of threads, which start with the first task.

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
        """Return the result of a call, or a `DeferredOutput` of it if there are threads."""
        if self.number == 0:
            return function(*arguments)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.number, thread_name_prefix="crf")
        return DeferredOutput(self._pool.submit(function, *arguments))

    def __getstate__(self) -> dict[str, Any]:
        return {"number": self.number, "_pool": None}
