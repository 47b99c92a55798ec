"""Label Studio: its JSON export, and tasks to import, with the order as relations.

    [{"id": 1, "data": {"image": "/data/upload/1/6a2b3c4d-cup.jpg"},
      "annotations": [{"result": [
         {"id": "Dx_aB", "type": "polygonlabels", "original_width": 640, "original_height": 480,
          "value": {"points": [[31.2, 20.1], ...], "polygonlabels": ["cup"]}},
         {"id": "t5sp3", "type": "brushlabels", ...,
          "value": {"format": "rle", "rle": [0, 3, ...], "brushlabels": ["tray"]}},
         {"type": "relation", "from_id": "Dx_aB", "to_id": "t5sp3", "direction": "right",
          "labels": ["occludes"]}]}]}]

Each region is an instance: polygons and ellipses in percent of the image, brushes as run-length
encoded RGBA pixels (:func:`decode_brush`). Of several annotations of a task the first one that was
not cancelled is used, or else the first prediction. Boxes, key points and other regions are skipped
with a warning.

The order is defined by relations: "occludes" (direction "bi": mutual), "closer" and "equal" ("bi"),
the last two optionally with "distinct" or "overlap" as a second label for the depth ranges. If a
task has a relation "occludes", pairs without one do not occlude each other. Information that
relations cannot express is stored in the task's data as "occ_order": which orders are known, and
which pairs are unknown.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from occ_order.files import show, write_json
from occ_order.formats import outlines
from occ_order.formats.checks import Report, field
from occ_order.formats.pages import (
    UNNAMED,
    Found,
    Page,
    Tolerance,
    gathered,
    number_or_text,
    numbered,
)
from occ_order.formats.results import ordered_record
from occ_order.instances import OrderedInstances
from occ_order.order.encoding import (
    CLOSER,
    DEPTH_REVERSED,
    DISTINCT,
    EQUAL,
    OVERLAPPING,
    UNKNOWN,
    empty_depth,
    empty_occlusion,
)

OURS = "occ_order"
"""Key of the task's data for information that relations cannot express."""

RANGES = {"distinct": DISTINCT, "overlap": OVERLAPPING}

RUN_BITS = (3, 4, 8, 16)
"""Sizes in bits of a run length in a brush; each run uses the first one that is large enough."""

_OUTLINES = {"rle", "points", "radiusX"}
"""Keys of the outline in the value of a region; a supported region has one of them."""

_UPLOAD = re.compile(r"[0-9a-f]{8}-")

logger = logging.getLogger(__name__)


def is_label_studio(data: dict[str, Any], keys: set[str]) -> bool:
    """Return whether parsed JSON is of the layout, by the keys of a task or of a list of tasks."""
    task = keys if not data else set(data)
    return "data" in task and bool({"annotations", "predictions", "completions"} & task)


# --- reading -----------------------------------------------------------------------------


def label_studio_pages(path: Path, data: dict[str, Any] | list[Any]) -> list[Page]:
    """Return the tasks of an export with their regions and order as pages.

    Raises:
        ValueError: a task without image or list of regions; names the file and the task.
    """
    found, report = [], Report(path)
    for k, task in enumerate([data] if isinstance(data, dict) else data):
        number = task.get("id", f"number {k}") if isinstance(task, dict) else f"number {k}"
        with report.at(f"task {show(number)}"):
            if not isinstance(task, dict):
                raise ValueError(f"must be an object, got {show(task)}")
            found.append((number, field(task, "data", "an object"), _results(task)))
    labels = (_label(region) for *_, results in found for region in results if _is_region(region))
    kinds = numbered(labels)
    return [_page(path, number, said, results, kinds) for number, said, results in found]


def _results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the regions and relations of a task."""
    names = ("completions" if "completions" in task else "annotations", "predictions")
    done, guesses = (field({**task, key: task.get(key) or []}, key, "a list") for key in names)
    for entry in (*done, *guesses):
        if not isinstance(entry, dict) or not isinstance(entry.get("result"), list):
            raise ValueError(
                f"an annotation needs a list 'result', got {show(entry)}; export as JSON, not as "
                "JSON-MIN"
            )
    kept = [entry for entry in done if not entry.get("was_cancelled")] or guesses
    if len(kept) > 1:
        logger.warning("task %s: %d annotations, the first counts", task.get("id"), len(kept))
    results = kept[0]["result"] if kept else []
    for entry in results:
        if not isinstance(entry, dict):
            raise ValueError(f"a region must be an object, got {show(entry)}")
    return results


def _is_region(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("value"), dict) and "original_width" in entry


def _label(region: dict[str, Any]) -> str:
    """Return the label of a region; "" if it has none."""
    value = region["value"]
    for key, words in value.items():
        if key.endswith("labels") and isinstance(words, list) and words:
            return ", ".join(map(str, words))
    return ""


def _page(
    path: Path,
    number: Any,
    said: dict[str, Any],
    results: list[dict[str, Any]],
    kinds: Mapping[str, int],
) -> Page:
    regions: dict[str, dict[str, Any]] = {}
    for entry in results:  # a shape and its label may be two entries of one id
        if _is_region(entry):
            key = str(entry.get("id", f"region {len(regions) + 1}"))
            before = regions.get(key, {"value": {}})
            regions[key] = {**before, **entry, "value": {**before["value"], **entry["value"]}}

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        entries = []
        for key, region in regions.items():
            place = f"task {show(number)}: region {key}"
            if not _OUTLINES & region["value"].keys():
                logger.warning("%s: %s: outlines nothing, left out", path, place)
                continue
            entries.append((place, lambda key=key, region=region: _found(key, region, size, kinds)))
        found = gathered(path, size, entries, tolerance)
        with Report(path).at(f"task {show(number)}"):
            found = found.replace(**_orders(found, results, said.get(OURS)))
        return found

    image_id = said.get("image_id", number)
    known = type(image_id) is int or (isinstance(image_id, str) and image_id)
    image_id = image_id if known else UNNAMED
    sizes: list[tuple[Any, Any]] = []
    for region in regions.values():
        stated = region.get("original_height"), region.get("original_width")
        sizes += [] if stated in sizes else [stated]
    with Report(path).at(f"task {show(number)}"):
        name = _file_name(said)
        if len(sizes) > 1:
            raise ValueError(f"its regions are of images of several sizes, {show(sizes)}")
    return Page(name, read, image_id, sizes[0] if sizes else None)


def _file_name(said: dict[str, Any]) -> str:
    """Return the file name of the image of a task, from its URL."""
    texts = [value for key, value in said.items() if isinstance(value, str) and key != "image_id"]
    images = [text for text in texts if re.search(r"\.[A-Za-z]{3,4}$", text.split("&")[0])]
    chosen = [said["image"]] if isinstance(said.get("image"), str) else images or texts
    if len(chosen) != 1:
        raise ValueError(f"cannot tell its image among {show(sorted(said))}")
    if "://" not in chosen[0] and not chosen[0].startswith("/"):
        return chosen[0]
    address = urlsplit(chosen[0])
    name = unquote(parse_qs(address.query).get("d", [address.path])[0])  # "d": of local files
    last = name.rsplit("/", 1)[-1]
    if "/upload/" in name:  # which gives each file eight digits of its own
        return _UPLOAD.sub("", last, count=1) if _UPLOAD.match(last) else last
    return last if "://" in chosen[0] else name.lstrip("/")


def _found(
    key: str, region: dict[str, Any], size: tuple[int, int], kinds: Mapping[str, int]
) -> Found:
    if region.get("image_rotation"):
        raise ValueError(f"was drawn on an image turned by {region['image_rotation']} degrees")
    label = _label(region)
    score = field({"score": region.get("score") or 1.0}, "score", "a finite number")
    segmentation = _segmentation(region["value"], size)
    return Found(number_or_text(key), segmentation, kinds.get(label, 1), label, float(score))


def _segmentation(value: dict[str, Any], size: tuple[int, int]) -> Any:
    """Return the mask or polygon of a region, whose lengths are percentages of the image."""
    height, width = size
    if "rle" in value:
        if value.get("format", "rle") != "rle":
            raise ValueError(f"a brush must have the format 'rle', got {show(value['format'])}")
        return decode_brush(field(value, "rle", "a list"), size)
    if "points" in value:
        points = [outlines.numbers(p, 2) for p in field(value, "points", "a list")]
        shares = np.array(points, float).reshape(-1, 2).T / 100
        with np.errstate(over="ignore"):  # beyond floats is refused with what is far outside
            xs, ys = shares * np.array([[width], [height]])
        return outlines.polygon(xs, ys)

    keys = ("x", "y", "radiusX", "radiusY")
    x, y, across, down = (field(value, key, "a finite number") / 100 for key in keys)
    angle = float(field(value, "rotation", "a finite number", 0.0))
    return outlines.ellipse(x * width, y * height, across * width, down * height, angle)


def _orders(
    found: OrderedInstances, results: Sequence[dict[str, Any]], ours: Any
) -> dict[str, Any]:
    """Return the order matrices defined by the relations between instances."""
    place = {str(number): k for k, number in enumerate(found.ids)}
    occlusion, (depth, overlap, _) = empty_occlusion(len(found)), empty_depth(len(found))
    known, unknown = _said_beside(ours)
    for entry in results:
        if entry.get("type") != "relation":
            continue
        i, j, labels, both = _relation(entry, place)
        if min(i, j) < 0 or i == j:
            continue  # one of its regions was left out
        if "occludes" in labels:
            known.add("occlusion")
            occlusion[i, j] = 1
            occlusion[j, i] |= both
        if {"closer", "equal"} & labels:
            known.add("depth")
            depth[i, j] = EQUAL if "equal" in labels else CLOSER
            depth[j, i] = DEPTH_REVERSED[depth[i, j]]
            ranges = [value for word, value in RANGES.items() if word in labels]
            overlap[i, j] = overlap[j, i] = ranges[0] if ranges else UNKNOWN
    for pair in unknown:
        i, j = (place.get(str(number), -1) for number in pair)
        if min(i, j) >= 0 and i != j:
            occlusion[i, j] = UNKNOWN
    return {
        "occlusion": occlusion if "occlusion" in known else None,
        "depth": depth if "depth" in known else None,
        "overlap": overlap if (overlap != UNKNOWN).any() else None,
    }


def _relation(entry: dict[str, Any], place: Mapping[str, int]) -> tuple[int, int, set[str], bool]:
    """Return the indices of both regions (-1 = missing), the labels, and whether mutual."""
    if "from_id" not in entry or "to_id" not in entry:
        raise ValueError(f"a relation needs 'from_id' and 'to_id', got {show(entry)}")
    first, second = (place.get(str(entry[key]), -1) for key in ("from_id", "to_id"))
    if entry.get("direction") == "left":
        first, second = second, first
    labels = field({"labels": entry.get("labels") or []}, "labels", "a list")
    return first, second, set(map(str, labels)), entry.get("direction") == "bi"


def _said_beside(ours: Any) -> tuple[set[str], list[Any]]:
    """Return the known orders and the unknown pairs stored in a task's data."""
    if not isinstance(ours, dict):
        return set(), []
    known, unknown = (field(ours, key, "a list", []) for key in ("orders", "unknown"))
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in unknown):
        raise ValueError(f"'unknown' of {OURS!r} must be pairs of ids, got {show(unknown)}")
    return set(map(str, known)), unknown


def decode_brush(code: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    """Decode the mask of a brush.

    Label Studio encodes RGBA pixels in the format of thi.ng/rle-pack: 32 bits for the number of
    values, 5 bits for (bits per value) - 1, four times 4 bits for (bits per length) - 1; then runs
    of one bit (1 = one repeated value), two bits to select one of the four length sizes, the length
    - 1, and the value or values. Pixels with at least half of the maximum alpha are inside.

    Args:
        code: bytes, as integers.
        size: (H, W) of the image.

    Returns:
        bool (H, W).

    Raises:
        ValueError: not bytes, another number of pixels, or truncated.
    """
    if not all(type(byte) is int and 0 <= byte <= 255 for byte in code):
        raise ValueError("'rle' must be a list of bytes")
    bits = np.unpackbits(np.array(code, np.uint8))
    text = (bits + 48).astype(np.uint8).tobytes().decode("ascii")
    total, at = 4 * size[0] * size[1], 53
    if len(text) < at or int(text[:32], 2) != total:
        stated = int(text[:32] or "0", 2)
        raise ValueError(
            f"the code is of {stated:,} values, expected 4 for each pixel of {size}: {total:,}"
        )
    word = int(text[32:37], 2) + 1
    lengths = [int(text[37 + 4 * k : 41 + 4 * k], 2) + 1 for k in range(4)]
    values, done = np.zeros(total, np.uint32), 0
    while done < total:
        head = text[at : at + 3]
        bits_of_length = lengths[int(head[1:] or "0", 2)]
        at += 3 + bits_of_length
        if at + word > len(text):
            raise ValueError(f"the code ends after {done:,} of {total:,} values")
        count = int(text[at - bits_of_length : at], 2) + 1
        stored = 1 if head[0] == "1" else count
        found = bits[at : at + stored * word].reshape(-1, word)
        if len(found) < stored or done + count > total:
            raise ValueError(f"the code is damaged after {done:,} of {total:,} values")
        values[done : done + count] = found @ (1 << np.arange(word, dtype=np.uint32)[::-1])
        at, done = at + stored * word, done + count
    return values.reshape(*size, 4)[..., 3] * 2 >= 2**word


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask as a brush, for Label Studio and `decode_brush`.

    Args:
        mask: bool (H, W).
    """
    flat = np.repeat(mask.ravel(), 4)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, flat.size]
    parts = [f"{flat.size:032b}", f"{7:05b}", *(f"{bits - 1:04b}" for bits in RUN_BITS)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        value = "1" * 8 if flat[start] else "0" * 8
        while start < end:
            count = min(end - start, 2 ** RUN_BITS[-1])
            which = next(k for k, bits in enumerate(RUN_BITS) if count <= 2**bits)
            parts.append(f"1{which:02b}{count - 1:0{RUN_BITS[which]}b}{value}")
            start += count
    bits = np.frombuffer("".join(parts).encode("ascii"), np.uint8) - 48
    return np.packbits(bits).tolist()


# --- writing -----------------------------------------------------------------------------


def task_of(result: OrderedInstances, *, prediction: bool = True) -> dict[str, Any]:
    """Convert an image to a task to import.

    Modal masks are written as brushes without loss; amodal masks are not supported.

    Args:
        result: instances; their order is written as relations.
        prediction: write a prediction, which annotators can edit; otherwise an annotation.
    """
    height, width = result.size
    regions = [
        {
            "id": str(number),
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": float(result.scores[k]),
            "value": {
                "format": "rle",
                "rle": encode_brush(result.modal[k]),
                "brushlabels": [(result.names[k] if result.names else "") or "instance"],
            },
        }
        for k, number in enumerate(result.ids)
    ]
    done: dict[str, Any] = {"result": [*regions, *_relations(result)]}
    if prediction:
        done |= {"model_version": OURS}
    known = [key for key in ("occlusion", "depth") if getattr(result, key) is not None]
    unknown = [] if result.occlusion is None else np.argwhere(result.occlusion == UNKNOWN).tolist()
    pairs = [[str(result.ids[i]), str(result.ids[j])] for i, j in unknown]
    data = {
        "image": result.file_name or f"{result.image_id}.png",
        "image_id": result.image_id,
        OURS: {"orders": known, "unknown": pairs},
    }
    return {"data": data, "predictions" if prediction else "annotations": [done]}


def _relations(result: OrderedInstances) -> list[dict[str, Any]]:
    """Return the orders as relations of Label Studio; a mutual pair has the direction "bi"."""
    found = []

    def add(i: int, j: int, labels: list[str], both: bool) -> None:
        ends = {"from_id": str(result.ids[i]), "to_id": str(result.ids[j])}
        direction = "bi" if both else "right"
        found.append({"type": "relation", **ends, "direction": direction, "labels": labels})

    occlusion, depth, overlap = result.occlusion, result.depth, result.overlap
    if occlusion is not None:
        for i, j in np.argwhere(occlusion == 1).tolist():
            both = bool(occlusion[j, i] == 1)
            if not both or i < j:
                add(i, j, ["occludes"], both)
    if depth is not None:
        for i, j in np.argwhere(np.isin(depth, (CLOSER, EQUAL))).tolist():
            equal = bool(depth[i, j] == EQUAL)
            if not equal or i < j:
                stated = UNKNOWN if overlap is None else overlap[i, j]
                words = [word for word, value in RANGES.items() if value == stated]
                add(i, j, ["equal" if equal else "closer", *words], equal)
    return found


def save_label_studio(
    records: Iterable[dict[str, Any]],
    path: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as annotated tasks; arguments and errors as for `save_results_records`."""
    tasks = [
        task_of(ordered_record(record, categories, image_root=image_root), prediction=False)
        for record in records
    ]
    write_json(path, tasks)
