"""Prediction over a large collection of images: in parts, resumable, by any number of processes.

A part is some consecutive images. What is said of them is one file, which appears when the part is
complete, so that whoever is killed loses the part that was in hand. Running again makes the parts
that are missing and no other; `merge` puts all of them into one `order_results.json`, in the order
of the images.

What the results depend on, with digests of it, is the plan of the folder. Every part names the plan
that it was made by, so that results of two models, or of other images, are never merged.

What is said of an image is an entry::

    {"name": ..., "image_id": ..., "result": dict of one image (occ_order.order.io) or null}
    {"name": ..., "error": why there is none, "again": whether it could not even be read}

A part with an image that could not be read is called PARTIAL, and is made again by the next run:
the disk, or the machine that the image lies on, may have been away. It counts as it is until then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from occ_order.files import atomic_writer, read_json, resolve_inside
from occ_order.order import io

PLAN = "plan.json"
FORMAT = "occ_order_collection/3"
PARTIAL = "partial.json"

Entry = dict[str, Any]
T = TypeVar("T")


def make_plan(
    images: Sequence[tuple[str, int]], *, part_size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return what a collection's results depend on.

    Args:
        images: names and sizes in bytes, in their order.
        part_size: images of one part.
        settings: what else the results depend on, JSON-ready: digests of models, options.

    Returns:
        The plan, JSON-ready; of the images it holds a digest of their names and sizes.

    Raises:
        ValueError: no images, or a part of no images.
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


def parts_of(images: Sequence[T], part_size: int) -> list[Sequence[T]]:
    """Return the images of every part."""
    return [images[k : k + part_size] for k in range(0, len(images), part_size)]


def part_file(output: Path, index: int, ending: str = "json") -> Path:
    """Return the file of one part.

    Raises:
        ValueError: the folder of the parts is a link that leads out.
    """
    return resolve_inside(output, f"parts/{index:06d}.{ending}")


def missing(output: Path, number: int) -> list[int]:
    """Return which of so many parts are still to be made, or to be made again."""
    return [k for k in range(number) if not part_file(output, k).is_file()]


def write_part(output: Path, index: int, entries: Sequence[Entry], *, plan: str = "") -> None:
    """Write one part.

    Args:
        output: folder of the results.
        index: which part it is.
        entries: what is said of its images, in their order.
        plan: `digest` of the plan.

    Raises:
        ValueError: it cannot be written safely, or an entry is not JSON-ready.
        OSError: it cannot be written.
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
    """Put all parts into `order_results.json`, if they are all there.

    Args:
        output: folder of the results.
        parts: names of the images of every part.
        free_id: from the id of an image, its name and the ids before it to an id that is free.
        plan: `digest` of the plan.

    Returns:
        How many images have an answer, and the entries of those that failed; None while parts are
        missing.

    Raises:
        ValueError: a part was made by another plan, or is not about the images that it should be
            about.
        OSError: a file cannot be read or written.
    """
    files = [_there(output, k) for k in range(len(parts))]
    if None in files:
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
    """Return the file that holds a part, complete or partial; None = there is none."""
    files = (part_file(output, index), part_file(output, index, PARTIAL))
    return next((file for file in files if file.is_file()), None)


def _read_part(file: Path, names: Sequence[str], plan: str) -> list[Entry]:
    """Return the entries of a part that holds what the plan says.

    Raises:
        ValueError: names the file and says what to do.
    """
    content, remedy = read_json(file), "delete it and run the same command again"
    if content.get("plan") != plan:
        raise ValueError(
            f"{file}: was made by another plan ({content.get('plan')!r:.20}, expected "
            f"{plan!r:.20}), perhaps with other weights; {remedy}"
        )
    entries = content.get("entries")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise ValueError(f"{file}: 'entries' must be a list of what is said of images; {remedy}")
    if [entry["name"] for entry in entries] != list(names):
        raise ValueError(
            f"{file}: is about {len(entries)} images, expected {len(names)}: {names[0]!r} to "
            f"{names[-1]!r}; {remedy}"
        )
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    if "error" in entry:
        return isinstance(entry["error"], str)
    known = isinstance(entry.get("image_id"), int | str)
    return known and isinstance(entry.get("result", 0), dict | type(None))
