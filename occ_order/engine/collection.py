"""Prediction over a large collection of images: in shards, resumable, on any number of workers.

Worker r of R predicts the shards r, r + R, r + 2 R ... and writes each to its own file, which
appears when the shard is complete. Workers do not talk to each other, so one that is killed stops
nobody. Running again, with any number of workers, predicts what is missing and nothing else;
`merge` puts all shards into one `order_results.json`.

What the results depend on, with digests of it, is the plan of the folder. Every shard names the
plan that it was made by, so that results of two models, or of other images, are never merged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from occ_order.files import atomic_writer, read_json, resolve_inside
from occ_order.order import io

logger = logging.getLogger(__name__)

PLAN = "plan.json"
FORMAT = "occ_order_collection/2"
Predict = Callable[[Path], dict[str, Any]]


def make_plan(
    root: Path, names: Sequence[str], *, shard_size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return what a collection's results depend on.

    Args:
        root: folder of the images.
        names: images, relative to it; sorted here.
        shard_size: images of one file of results.
        settings: of the model, JSON-ready, with digests of its weights and configuration.

    Returns:
        The plan, JSON-ready; of the images it holds a digest of their names and sizes in bytes.

    Raises:
        ValueError: no images, or a shard of no images.
        OSError: an image is not there.
    """
    if not names:
        raise ValueError(f"{root}: no images")
    if shard_size < 1:
        raise ValueError(f"shards need at least one image, got {shard_size}")
    listed = sorted(names)
    sizes = [(name, os.path.getsize(Path(root, name))) for name in listed]
    return {
        "format": FORMAT,
        "images": len(listed),
        "images_sha256": digest(sizes),
        "shard_size": shard_size,
        "settings": settings,
    }


def digest(value: Any) -> str:
    """SHA-256 of a JSON-ready value, as hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def start(output: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or check that the folder was made by the same one.

    Raises:
        ValueError: the folder holds results of other images or another model, or a plan that
            cannot be read.
    """
    output.mkdir(parents=True, exist_ok=True)
    file = resolve_inside(output, PLAN)
    if file.is_file():
        known = read_json(file)
        wrong = sorted(k for k in {*known, *plan} if known.get(k) != plan.get(k))
        if wrong:
            found = ", ".join(f"{k}: {known.get(k)!r} there, {plan.get(k)!r} now" for k in wrong)
            raise ValueError(f"{output} holds the results of another run ({found})")
        return
    with atomic_writer(file) as stream:
        json.dump(plan, stream, indent=2)


def shard_file(output: Path, index: int) -> Path:
    """Return the results of one shard.

    Raises:
        ValueError: the folder of the shards is a link that leads out.
    """
    return resolve_inside(output, f"shards/{index:06d}.json")


def shards(names: Sequence[str], shard_size: int) -> list[list[str]]:
    """Return the images of every shard."""
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
    plan: str = "",
    keep_ids: bool = False,
) -> Iterator[int]:
    """Predict this worker's shards that are not there yet; yields the index of each.

    An image that cannot be read is listed with its error in the shard (`failed`) and does not stop
    the others.

    Args:
        root: folder of the images.
        names: all images of the collection, relative to it.
        output: folder of the results.
        predict: from a file to the dict of one image (`occ_order.order.io`).
        shard_size: as in the plan.
        worker: which worker this is, from 0.
        workers: how many there are.
        unreadable: errors of `predict` that belong to one image; any other ends the run.
        plan: `digest` of the plan, which every shard gets.
        keep_ids: keep the image ids that `predict` gives, such as those of a file of masks; by
            default an image's id is its name.

    Raises:
        ValueError: `worker` is not one of `workers`, or a shard cannot be written safely.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers}")
    for index, mine in enumerate(shards(names, shard_size)):
        if index % workers != worker or shard_file(output, index).is_file():
            continue
        images, failed = [], []
        for name in mine:
            try:
                found = predict(root / name)
                number = found["image_id"] if keep_ids else name
                images.append({**found, "image_id": number, "file_name": name})
            except unreadable as error:
                logger.warning("%s: %s", name, error)
                failed.append({"file_name": name, "error": str(error)})
        with atomic_writer(shard_file(output, index)) as stream:
            content = {"plan": plan, "images": images, "failed": failed}
            json.dump(content, stream, allow_nan=False)
        yield index


def merge(
    output: Path, names: Sequence[str], *, shard_size: int, plan: str = ""
) -> tuple[Path, list[dict]]:
    """Put all shards into `order_results.json`.

    Args:
        output: folder of the results.
        names: all images of the collection.
        shard_size: as in the plan.
        plan: `digest` of the plan.

    Returns:
        The file; the images that failed, {"file_name", "error"}.

    Raises:
        ValueError: a shard is missing (says how many), was made by another plan, or is not about
            the images that it should be about.
    """
    parts = shards(names, shard_size)
    files = [shard_file(output, k) for k in range(len(parts))]
    missing = [k for k, file in enumerate(files) if not file.is_file()]
    if missing:
        raise ValueError(
            f"{output}: {len(missing)} of {len(parts)} shards are missing (first: {missing[0]}); "
            "run the same command again"
        )
    images: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for file, expected in zip(files, parts, strict=True):
        content = _read_shard(file, expected, plan)
        images += content["images"]
        failed += content["failed"]
    path = output / "order_results.json"
    io.save_results(path, images)
    return path, failed


def _read_shard(file: Path, names: Sequence[str], plan: str) -> dict[str, list[dict[str, Any]]]:
    """Return a shard that holds what the plan says.

    Raises:
        ValueError: names the file and says what to do.
    """
    content = read_json(file)
    if content.get("plan") != plan:
        raise ValueError(
            f"{file}: was made by another plan ({content.get('plan')!r:.20}, expected "
            f"{plan!r:.20}), perhaps with other weights; delete it and run the same command again"
        )
    entries = [content.get("images"), content.get("failed")]
    if not all(isinstance(e, list) and all(isinstance(x, dict) for x in e) for e in entries):
        raise ValueError(f"{file}: must hold the lists of objects 'images' and 'failed'")
    found = [entry.get("file_name") for part in entries for entry in part]
    if sorted(map(str, found)) != sorted(names):
        raise ValueError(
            f"{file}: is about {len(found)} images, expected {len(names)}: {names[0]!r} to "
            f"{names[-1]!r}; delete it and run the same command again"
        )
    return content


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
