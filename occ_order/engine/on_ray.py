"""Distribution of work in a Ray cluster; the only module that imports Ray.

Ray Data assigns parts of the work to actors, each of which keeps its model. It starts as many
actors as the cluster has resources for, and reassigns the parts of killed workers or machines. An
actor applies a function of the caller, the same that a single process calls.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")

EXPECTED = (ImportError, OSError, ValueError)
"""Errors that are not programming errors; they are raised unchanged."""


def spread(
    parts: Sequence[Part],
    build: Callable[[], Callable[[Part], Made]],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = False,
) -> Iterator[tuple[int, Made]]:
    """Yield the result of each part as soon as it is available, in any order.

    Parts, `build` and results are sent between processes and must be picklable.

    Args:
        parts: inputs; the current part of a killed worker is repeated by another one.
        build: constructs the function that processes a part; called once per worker.
        address: address of the cluster, "auto" for that of this machine; None = RAY_ADDRESS if set,
            else this machine. Ignored if Ray is connected already.
        workers: maximum number; None = one for each CPU, or each GPU, of the cluster.
        gpu: whether each worker uses a GPU instead of a CPU.

    Yields:
        Index of the part, and its result.

    Raises:
        ImportError: Ray is not installed.
        ValueError: `gpu`, but the cluster has no GPU.
        ConnectionError: there is no cluster at the address.
        ImportError, OSError, ValueError: the first error of `build` or of its function.
        ray.exceptions.RayError: another error, described by Ray.
    """
    if not parts:
        return
    with _connected(address) as ray:
        there = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if gpu and not there:
            raise ValueError("the Ray cluster has no GPU: use --device cpu")
        rows = [{"part": k, "content": pickle.dumps(part)} for k, part in enumerate(parts)]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(build,),
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=min(workers or max(there, 1), len(parts))
            ),
            num_cpus=0 if gpu else 1,
            num_gpus=1 if gpu else 0,
        )
        for row in data.iter_rows():
            made, error = pickle.loads(row["content"])
            if error is not None:
                raise error
            yield row["part"], made


class _Worker:
    """Actor that maps the row of a part to that of its result or error.

    It is constructed lazily at the first part, since Ray would wrap errors of the constructor.
    """

    def __init__(self, build: Callable[[], Callable[[Any], Any]]) -> None:
        self._build = functools.cache(build)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        made, wrong = None, None
        try:
            made = self._build()(pickle.loads(row["content"]))
        except EXPECTED as error:
            wrong = error
        return {"part": row["part"], "content": pickle.dumps((made, wrong))}


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to the cluster if not yet connected; disconnect at the end in that case."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _prepare(own=address == "local")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ImportError(
            f'--engine ray needs {error.name}: pip install "occ_order[ray]"'
        ) from error
    begun = not ray.is_initialized()
    if begun:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()


def _prepare(*, own: bool) -> None:
    """Set the environment variables that Ray reads on import.

    Usage statistics are off. A cluster of its own listens on this machine's network address and
    requires a secret token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if own and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
