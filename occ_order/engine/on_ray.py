"""Work spread over the machines of a Ray cluster; the only module that imports Ray.

Ray Data hands parts of the work to actors, each of which keeps its model, starts as many of them as
the cluster has room for, and hands out again what a killed worker or machine had in hand. What an
actor does with a part is a function of the caller, the one that a single process calls.
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
"""What goes wrong without being a fault of the program; it is raised as it was."""


def spread(
    parts: Sequence[Part],
    build: Callable[[], Callable[[Part], Made]],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = False,
) -> Iterator[tuple[int, Made]]:
    """Yield what is made of each part as soon as it is there, in any order.

    Parts, `build` and what is made travel between processes: it must be possible to pickle them.

    Args:
        parts: what is worked on; a worker that is killed loses the part that it has in hand, which
            another one does again.
        build: makes what works on a part; called once in each worker.
        address: of the cluster, "auto" for the one that this machine belongs to; None = what
            RAY_ADDRESS names, else this machine alone. Not looked at where Ray is connected.
        workers: how many at most; None = one for each CPU of the cluster, or for each GPU.
        gpu: whether each worker needs a GPU of its own, else a CPU.

    Yields:
        Index of the part, and what was made of it.

    Raises:
        ImportError: Ray is not installed.
        ValueError: the cluster has no GPU, and one is needed.
        ConnectionError: there is no cluster at the address.
        ImportError, OSError, ValueError: what `build`, or what it made, raised first.
        ray.exceptions.RayError: it raised something else, which Ray describes.
    """
    if not parts:
        return
    with _connected(address) as ray:
        there = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if gpu and not there:
            raise ValueError("the Ray cluster has no GPU: take --device cpu")
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
    """From the row of a part to that of what is made of it, or of the error; an actor.

    It is built by its first part, since an error in its making would be raised as one of Ray's.
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
    """Connect to the cluster, unless that is done already; what is begun here is ended here."""
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
    """Set what Ray reads when it is imported.

    It reports nothing to anybody. A cluster of its own listens at this machine's address in the
    network; it answers to a token that nobody else has.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if own and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
