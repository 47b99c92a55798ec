"""Prediction over a large collection of pictures: in shards, resumable, on any number of workers.

Worker r of R predicts the shards r, r + R, r + 2 R ... and writes each to its own file, which
appears when the shard is complete. Workers do not talk to each other, so one that is killed stops
nobody. Running again, with any number of workers, predicts what is missing and nothing else;
`merge` puts all shards into one `order_results.json`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from occ_order.data.datasets.files import atomic_writer
from occ_order.order import io

logger = logging.getLogger(__name__)

PLAN = "plan.json"
Predict = Callable[[Path], dict[str, Any]]


def make_plan(
    root: Path, names: Sequence[str], *, shard_size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """What a collection's results depend on.

    Args:
        root: folder of the pictures.
        names: pictures, relative to it; sorted here.
        shard_size: pictures of one file of results.
        settings: of the model, JSON-ready: config, weights, opts.

    Raises:
        ValueError: no pictures, or a shard of no pictures.
    """
    if not names:
        raise ValueError(f"{root}: no pictures")
    if shard_size < 1:
        raise ValueError(f"shards need at least one picture, got {shard_size}")
    listed = sorted(names)
    digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    return {
        "format": "occ_order_collection/1",
        "pictures": len(listed),
        "pictures_sha256": digest,
        "shard_size": shard_size,
        "settings": settings,
    }


def start(output: Path, plan: dict[str, Any]) -> None:
    """Writes the plan, or checks that the folder was made by the same one.

    Raises:
        ValueError: the folder holds results of other pictures or another model.
    """
    output.mkdir(parents=True, exist_ok=True)
    file = output / PLAN
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        wrong = sorted(k for k in {*known, *plan} if known.get(k) != plan.get(k))
        if wrong:
            found = ", ".join(f"{k}: {known.get(k)!r} there, {plan.get(k)!r} now" for k in wrong)
            raise ValueError(f"{output} holds the results of another run ({found})")
        return
    with atomic_writer(file) as stream:
        json.dump(plan, stream, indent=2)


def shard_file(output: Path, index: int) -> Path:
    """The results of one shard."""
    return output / "shards" / f"{index:06d}.json"


def shards(names: Sequence[str], shard_size: int) -> list[list[str]]:
    """The pictures of every shard."""
    listed = sorted(names)
    return [listed[k : k + shard_size] for k in range(0, len(listed), shard_size)]


def predict_shards(
    root: Path,
    names: Sequence[str],
    output: Path,
    predict: Predict,
    *,
    shard_size: int,
    worker: int = 0,
    workers: int = 1,
    unreadable: tuple[type[Exception], ...] = (OSError,),
) -> Iterator[int]:
    """Predicts this worker's shards that are not there yet; yields the index of each.

    A picture that cannot be read is listed with its error in the shard (`failed`) and does not stop
    the others.

    Args:
        root: folder of the pictures.
        names: all pictures of the collection, relative to it.
        output: folder of the results.
        predict: from a file to the dict of one image (`occ_order.order.io`); its "image_id" is set
            to the picture's name here.
        shard_size: as in the plan.
        worker: which worker this is, from 0.
        workers: how many there are.
        unreadable: errors of `predict` that belong to one picture; any other ends the run.

    Raises:
        ValueError: `worker` is not one of `workers`.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers}")
    (output / "shards").mkdir(parents=True, exist_ok=True)
    for index, mine in enumerate(shards(names, shard_size)):
        if index % workers != worker or shard_file(output, index).is_file():
            continue
        images, failed = [], []
        for name in mine:
            try:
                images.append({**predict(root / name), "image_id": name, "file_name": name})
            except unreadable as error:
                logger.warning("%s: %s", name, error)
                failed.append({"file_name": name, "error": str(error)})
        with atomic_writer(shard_file(output, index)) as stream:
            json.dump({"images": images, "failed": failed}, stream, allow_nan=False)
        yield index


def merge(output: Path, names: Sequence[str], *, shard_size: int) -> tuple[Path, list[dict]]:
    """Puts all shards into `order_results.json`.

    Returns:
        The file; the pictures that failed, {"file_name", "error"}.

    Raises:
        ValueError: a shard is missing; says how many.
    """
    count = len(shards(names, shard_size))
    files = [shard_file(output, k) for k in range(count)]
    missing = [k for k, file in enumerate(files) if not file.is_file()]
    if missing:
        raise ValueError(
            f"{output}: {len(missing)} of {count} shards are missing (first: {missing[0]}); "
            "run the same command again"
        )
    images: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        images += content["images"]
        failed += content["failed"]
    path = output / "order_results.json"
    io.save_results(path, images)
    return path, failed


def worker_of_environment() -> tuple[int, int]:
    """(worker, workers) as torchrun, SLURM or nothing says.

    Raises:
        ValueError: the variables are not numbers.
    """
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and size in os.environ:
            try:
                return int(os.environ[rank]), int(os.environ[size])
            except ValueError:
                raise ValueError(
                    f"{rank} and {size} must be numbers, got {os.environ[rank]!r} and "
                    f"{os.environ[size]!r}"
                ) from None
    return 0, 1
