"""Prediction for large collections of images: in parts, resumable, in any number of processes.

A part is a sequence of consecutive images. Its results are one file, written atomically when the
part is complete, so that a killed process loses only its current part. Another run computes only
the missing parts; `merge` combines all into one `order_results.json` in the order of the images.

The plan of the folder contains digests of everything that the results depend on; of the images,
names and sizes in bytes. Every part names its plan, so that results of different models or images
are never merged. A part has the digests of its images as they were read, which a resumed run
compares with the files (`check_images`): to plan with them, every process of a run would have to
read the whole collection.

The result of an image is an entry::

    {"name": ..., "sha256": of the file, "image_id": ...,
     "result": dict of one image (occ_order.order.io) or null}
    {"name": ..., "error": reason, "again": whether the image could not be read}

A part with an unreadable image is PARTIAL and is computed again by the next run, since a disk or
machine may have been unavailable. Until then it is used as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from occ_order.files import atomic_writer, read_json, resolve_inside, sha256_of
from occ_order.order import io

PLAN = "plan.json"
FORMAT = "occ_order_collection/4"
PARTIAL = "partial.json"

_REMEDY = "delete it and run the same command again"

Entry = dict[str, Any]
T = TypeVar("T")


def make_plan(
    images: Sequence[tuple[str, int]], *, part_size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Build the plan of a collection: everything that its results depend on.

    Args:
        images: names and sizes in bytes, in order.
        part_size: number of images per part.
        settings: other dependencies, JSON-ready: digests of models, options.

    Returns:
        The plan, JSON-ready, with a digest of names and sizes of the images.

    Raises:
        ValueError: no images, or `part_size` below 1.
    """
    if not images:
        raise ValueError("there are no images")
    if part_size < 1:
        raise ValueError(f"parts need at least one image, got {part_size}")
    return {
        "format": FORMAT,
        "images": len(images),
        "images_sha256": digest([list(image) for image in images]),
        "part_size": part_size,
        "settings": settings,
    }


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-ready value as hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def start(output: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or check that the plan in the folder is the same.

    Raises:
        ValueError: the folder has results of other images or another model, or an invalid
            plan.
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


def parts_of(images: Sequence[T], part_size: int) -> list[Sequence[T]]:
    """Split the images into parts."""
    return [images[k : k + part_size] for k in range(0, len(images), part_size)]


def part_file(output: Path, index: int, ending: str = "json") -> Path:
    """Return the file of one part.

    Raises:
        ValueError: the folder of the parts is a link to the outside.
    """
    return resolve_inside(output, f"parts/{index:06d}.{ending}")


def missing(output: Path, number: int) -> list[int]:
    """Return the indices of parts that are missing or partial."""
    return [k for k in range(number) if not part_file(output, k).is_file()]


def check_images(output: Path, index: int, files: Sequence[Path | None], *, plan: str = "") -> None:
    """Check that the images of a part are those that its results were made of.

    Args:
        output: folder of the results.
        index: index of the part; nothing is checked if it is missing or partial.
        files: its images, in order; None = not a file of this machine, not checked.
        plan: `digest` of the plan.

    Raises:
        ValueError: an image has changed, or the part is damaged; names the file and the remedy.
        OSError: a file cannot be read.
    """
    part = part_file(output, index)
    if not part.is_file():
        return
    for entry, file in zip(_entries_of(part, plan), files, strict=False):
        if file is not None and "error" not in entry and sha256_of(file) != entry["sha256"]:
            raise ValueError(
                f"{file}: is another image than the one that {part} was made of; delete that part "
                "and run the same command again"
            )


def write_part(output: Path, index: int, entries: Sequence[Entry], *, plan: str = "") -> None:
    """Write one part.

    Args:
        output: folder of the results.
        index: index of the part.
        entries: entries of its images, in order.
        plan: `digest` of the plan.

    Raises:
        ValueError: an unsafe path, or an entry that is not JSON-ready.
        OSError: the file cannot be written.
    """
    whole, partial = part_file(output, index), part_file(output, index, PARTIAL)
    again = any(entry.get("again") for entry in entries)
    with atomic_writer(partial if again else whole) as stream:
        json.dump({"plan": plan, "entries": list(entries)}, stream, allow_nan=False)
    if not again:
        partial.unlink(missing_ok=True)


def merge(
    output: Path,
    parts: Sequence[Sequence[str]],
    free_id: Callable[[int | str, str, set[int | str]], int | str],
    *,
    plan: str = "",
) -> tuple[int, list[Entry]] | None:
    """Merge all parts into `order_results.json`, if they are complete.

    Args:
        output: folder of the results.
        parts: names of the images of every part.
        free_id: maps the id of an image, its name and the ids before it to an unused id.
        plan: `digest` of the plan.

    Returns:
        Number of images with results, and entries of those that failed; None while parts are
        missing.

    Raises:
        ValueError: a part has another plan or other images.
        OSError: a file cannot be read or written.
    """
    known = (_there(output, k) for k in range(len(parts)))
    files = [file for file in known if file is not None]
    if len(files) < len(parts):
        return None
    images: list[Mapping[str, Any]] = []
    failed: list[Entry] = []
    taken: set[int | str] = set()
    for file, names in zip(files, parts, strict=True):
        for entry in _read_part(file, names, plan):
            if "error" in entry:
                failed.append(entry)
                continue
            number = free_id(entry["image_id"], entry["name"], taken)
            taken.add(number)
            if entry["result"] is not None:
                images.append({**entry["result"], "image_id": number})
    io.save_results(output / "order_results.json", images)
    return sum(map(len, parts)) - len(failed), failed


def _there(output: Path, index: int) -> Path | None:
    """Return the file of a part, complete or partial; None if there is none."""
    files = (part_file(output, index), part_file(output, index, PARTIAL))
    return next((file for file in files if file.is_file()), None)


def _read_part(file: Path, names: Sequence[str], plan: str) -> list[Entry]:
    """Read the entries of a part and check them against the plan.

    Raises:
        ValueError: names the file and the remedy.
    """
    entries = _entries_of(file, plan)
    if [entry["name"] for entry in entries] != list(names):
        raise ValueError(
            f"{file}: has {len(entries)} images, expected {len(names)}: {names[0]!r} to "
            f"{names[-1]!r}; {_REMEDY}"
        )
    return entries


def _entries_of(file: Path, plan: str) -> list[Entry]:
    content = read_json(file)
    if content.get("plan") != plan:
        raise ValueError(
            f"{file}: belongs to another plan ({content.get('plan')!r:.20}, expected "
            f"{plan!r:.20}), perhaps with other weights; {_REMEDY}"
        )
    entries = content.get("entries")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise ValueError(f"{file}: 'entries' must be a list of results of images; {_REMEDY}")
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    if "error" in entry:
        return isinstance(entry["error"], str)
    known = isinstance(entry.get("image_id"), int | str) and isinstance(entry.get("sha256"), str)
    return known and isinstance(entry.get("result", 0), dict | type(None))
