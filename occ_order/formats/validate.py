"""Validation of data files, entry by entry, for `occ-order validate`.

Checks the structure and the order of the whole file, then masks, areas and occlusion ratios pixel
by pixel and, if the image folder is given, that the images exist and have the stated size.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from occ_order import masks
from occ_order.files import DataError, image_size, parse_json, read_json
from occ_order.formats import read_depth, read_depth_png
from occ_order.formats.checks import Report, each_listed, field, listed, size_mismatch
from occ_order.formats.coco_nesting import read_images
from occ_order.formats.mask_fields import checked_mask, read_rate
from occ_order.formats.pages import Tolerance, size_of_image
from occ_order.formats.stored_json import StoredList, read_stored
from occ_order.formats.table import FORMATS, Format, checkable, entry_keys, row_of
from occ_order.formats.user_masks import read_page
from occ_order.order import instances_in_cycles

RATE_TOLERANCE = 0.01
"""Maximum difference between the stated and the computed `occlude_rate`."""


@dataclasses.dataclass
class Validation:
    """Result of a validation: errors, notes, and counts of valid entries."""

    errors: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def text(self) -> str:
        """Return the report as lines: errors, notes, one line of counts."""
        lines = [f"error: {line}" for line in self.errors]
        lines += [f"note: {line}" for line in self.notes]
        counts = ", ".join(f"{number:,} {name}" for name, number in self.counts.items())
        found = f"{len(self.errors):,}" if self.errors else "no"
        verdict = f"{found} error{'' if len(self.errors) == 1 else 's'}"
        return "\n".join([*lines, f"{verdict}; read {counts or 'nothing'}"])


def validate(
    path: str | os.PathLike,
    *,
    format: str | None = None,
    images: str | os.PathLike | None = None,
    instances: str | os.PathLike | None = None,
    limit: int | None = None,
    options: dict[str, Any] | None = None,
    watch: Callable[[Sequence], Iterable] = iter,
) -> Validation:
    """Check a data file.

    Args:
        path: the file.
        format: one of `table.checkable()`; None = detect it by the keys.
        images: image folder (for KITTI: with the folders of images and depth maps in it); None =
            do not check images.
        instances: for InstaOrder, the COCO instances file; None = searched beside `path`.
        limit: maximum number of images whose masks and image files are checked; None = all.
        options: additional arguments of the reader of the format.
        watch: wraps the iteration over the masks, for progress reports.

    Returns:
        The report; `errors` is empty if the file is valid.

    Raises:
        ValueError: unknown format, or a second file is needed and not found.
        OSError: the file cannot be opened.
    """
    path = os.fspath(path)
    root = "" if images is None else os.fspath(images)
    by_ending = _by_ending(path) if format is None else FORMATS.get(format)
    if by_ending is not None and by_ending.pages and not by_ending.tell:
        return _validate_pages(path, by_ending, None, root)
    data = None if by_ending is not None and by_ending.ending else _parse(path)
    if isinstance(data, Validation):
        return data
    row = row_of(format or detect_format(path, data), checkable())
    if row.load is None:
        data = read_json(path) if isinstance(data, dict) else data
        return _validate_pages(path, row, data, root)
    if row.ending:
        return _validate_points(path, row, root, limit, options or {})
    data = cast("dict[str, Any]", data)  # lists were handled above
    result, paths = Validation(), [path]
    if row.inputs == 2:
        paths.append(os.fspath(instances or _beside(path)))
    try:
        root = root or _folder_of(path, data)
        read = row.iterate or row.load
        records = read(*paths, root, problems=result.errors, **(options or {}))
        found = _read(records, path, limit, look_at_images=images is not None)
    except DataError as error:  # the file as a whole
        result.errors.append(str(error))
        return result
    assert row.mask_keys is not None  # of every format whose JSON is loaded
    keys = row.mask_keys(data)
    wanted = None
    if row.inputs == 2:
        wanted, path, data = _instance_ids(data), paths[1], read_stored(paths[1], "annotations")
    found.sizes |= _sizes(path, data)
    _check_pixels(path, data, keys, found, result, wanted, watch)
    result.errors += found.errors
    result.notes += found.notes
    result.counts = found.counted()
    return result


@dataclasses.dataclass
class _Read:
    """What the records of a file say, which are not kept.

    Attributes:
        sizes: image id -> (height, width).
        shown: ids of the images whose masks are checked; None = all.
        errors: errors of image files.
        notes: notes on cycles.
        counts: see `Validation`.
        images: number of records.
        instances: number of annotations.
    """

    sizes: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    shown: set[int] | None = None
    errors: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    images: int = 0
    instances: int = 0

    def counted(self) -> dict[str, int]:
        """Return all numbers by name."""
        return {"images": self.images, "instances": self.instances, **self.counts}

    def count(self, name: str, number: Any) -> None:
        """Add to the number of a name."""
        self.counts[name] = self.counts.get(name, 0) + int(number)


def _read(
    records: Iterable[dict[str, Any]], path: str, limit: int | None, *, look_at_images: bool
) -> _Read:
    """Go through the records of a file once: count, find cycles, look at the first image files."""
    found = _Read(shown=None if limit is None else set())
    for record in records:
        first = limit is None or found.images < limit
        found.images += 1
        found.instances += len(record["annotations"])
        found.sizes[record["image_id"]] = record["height"], record["width"]
        if first and found.shown is not None:
            found.shown.add(record["image_id"])
        if first and look_at_images:
            _check_image(record, path, found.errors)
        _count_orders(record, found)
        _check_order(record, os.path.basename(path), found.notes)
    return found


def _parse(path: str) -> dict | list | Validation | None:
    """Return parsed JSON, None for a text file, or a report if it is neither."""
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    if not start.startswith((b"{", b"[")) and path.lower().endswith((".csv", ".txt")):
        return None
    try:
        data = read_stored(path, "annotations") if start.startswith(b"{") else parse_json(path)
        return data if any(row.told(data) for row in FORMATS.values()) else read_json(path)
    except ValueError as error:
        return Validation(errors=[str(error)])


def _by_ending(path: str) -> Format | None:
    """Return the format of a file by its extension, except for text files."""
    ending = os.path.splitext(path)[1].lower()
    found = [row for row in FORMATS.values() if row.pages and not row.tell]
    return next((row for row in found if ending in row.endings and ending != ".txt"), None)


def _validate_pages(path: str, row: Format, data: Any, root: str) -> Validation:
    """Validate a file of masks, for images with a stated size or an image file below `root`."""
    result, images, instances = Validation(), 0, 0
    assert row.pages is not None  # the callers ask for it
    try:
        pages = row.pages(Path(path), data)
    except DataError as error:
        result.errors.append(str(error))
        return result
    for page in pages:
        try:
            size = page.size if not root else size_of_image(page, root)
            if size is None:
                result.notes.append(f"{path}: does not say how large its images are; name --images")
                break
            found = read_page(path, page, size, Tolerance(keep_crowds=True))
            empty = [found.ids[k] for k in np.flatnonzero(~found.modal.any(axis=(1, 2)))]
            result.errors += [f"{path}: mask {number} covers no pixel" for number in empty]
            images, instances = images + 1, instances + len(found)
        except (ValueError, OSError) as error:
            result.errors += str(error).splitlines()
    result.counts = {"images": images, "instances": instances}
    return result


def detect_format(path: str, data: dict | list | None) -> str:
    """Detect the format of a file by its keys.

    Args:
        path: the file.
        data: its parsed JSON, None if it is a text file.

    Returns:
        One of `table.checkable()`.

    Raises:
        ValueError: no format matches; the message lists the tested keys.
    """
    if data is None:
        endings = {row.ending: name for name, row in FORMATS.items() if row.ending}
        return endings.get(os.path.splitext(path)[1].lower(), "kitti_depth")
    for name, row in FORMATS.items():
        if row.told(data):
            return name
    marks = ", ".join(row.marks for row in FORMATS.values() if row.marks)
    raise ValueError(
        f"{path}: cannot tell the format. Annotations have: {marks}; the keys are {sorted(data)} "
        f"and, in annotations, {sorted(entry_keys(data))}. Name one with --format: "
        f"{', '.join(checkable())}"
    )


def _beside(path: str) -> str:
    folder, name = os.path.split(path)
    guess = os.path.join(folder, re.sub("instaorder", "instances", name, flags=re.IGNORECASE))
    if guess == path or not os.path.isfile(guess):
        raise ValueError(f"{path}: InstaOrder needs the COCO instances file, name it: --instances")
    return guess


def _folder_of(path: str, data: dict) -> str:
    """Return the image folder: for a single COCOA annotation, the folder of the file."""
    return os.path.dirname(path) if "regions" in data else ""


def _instance_ids(order: dict) -> set[int]:
    """Return the ids of the annotations that InstaOrder entries list."""
    wanted: set[int] = set()
    for entry in each_listed(order, "annotations"):
        ids = entry.get("instance_ids")
        wanted.update(n for n in (ids if isinstance(ids, list) else ()) if isinstance(n, int))
    return wanted


def _check_pixels(
    path: str,
    data: dict,
    keys: Mapping[str, str],
    found: _Read,
    result: Validation,
    wanted: set[int] | None,
    watch: Callable[[Sequence], Iterable],
) -> None:
    """Decode all masks of the file, including those of images rejected for another error.

    Args:
        path: the file.
        data: its content.
        keys: see `Format.mask_keys`.
        found: sizes of the images, and those to look at.
        result: takes the errors and notes.
        wanted: ids of the annotations to look at; None = all.
        watch: wraps the iteration over the entries of the file.
    """
    known = {line[len(path) + 2 :] for line in result.errors if line.startswith(path)}
    known = {": ".join(line.split(": ")[:depth]) for line in known for depth in (2, 3)}
    for image_id, place, entry in _mask_entries(data, wanted, watch):
        chosen = found.shown is None or image_id in found.shown
        if image_id not in found.sizes or place in known or not chosen:
            continue
        report = Report(path, result.errors)
        with report.at(place):
            _check_masks(entry, keys, found.sizes[image_id], report, result)


def _sizes(path: str, data: dict) -> dict[int, tuple[int, int]]:
    """Return image id -> (height, width) of all images with a valid entry."""
    if "annotations" not in data:
        return {}
    # Errors of the `images` list were reported by the reader.
    images = read_images(data, "", Report(path, [])).values()
    return {image["image_id"]: (image["height"], image["width"]) for image in images}


def _mask_entries(
    data: dict, wanted: set[int] | None, watch: Callable[[Sequence], Iterable]
) -> Iterator[tuple[Any, str, dict]]:
    """Yield (image id, location, object with masks)."""
    for entry in listed(data, "instances"):
        if isinstance(entry.get("image_id"), int):
            place = f"image {entry['image_id']}: instance {entry.get('id')}"
            yield entry["image_id"], place, {k: v for k, v in entry.items() if v is not None}
    items = [data] if "regions" in data else data.get("annotations", [])
    items = items if isinstance(items, list | StoredList) else []
    for index, entry in enumerate(entry for entry in watch(items) if isinstance(entry, dict)):
        image_id = entry.get("image_id", "(none)")
        place = f"image {image_id}: annotation {entry.get('id', f'number {index}')}"
        if not isinstance(image_id, int):
            continue
        if wanted is not None and not (isinstance(entry.get("id"), int) and entry["id"] in wanted):
            continue
        if not isinstance(entry.get("regions"), list):
            yield image_id, place, entry
            continue
        for number, region in enumerate(entry["regions"]):
            if isinstance(region, dict):
                yield image_id, f"{place}: region {number + 1}", region


def _check_masks(
    entry: dict,
    keys: Mapping[str, str],
    size: tuple[int, int],
    report: Report,
    result: Validation,
) -> None:
    """Compare the masks of one object with each other and with the stated areas and rate."""
    decoded: dict[str, np.ndarray] = {}
    for kind in ("amodal", "modal", "hidden"):
        key = keys.get(kind)
        if key is not None and key in entry:
            mask = checked_mask(entry, key, *size)
            decoded[kind] = masks.decode(mask, *size, name=key)
    whole = decoded.get("amodal", decoded.get("modal"))
    if whole is None:
        raise ValueError(f"has no mask, neither {keys.get('amodal')!r} nor {keys['modal']!r}")
    if not whole.any():
        raise ValueError("the mask covers no pixel of the image")
    x0, y0, x1, y1 = masks.bounding_box(whole)
    # Rasterisers may differ along the outline: tolerate half the perimeter of the box.
    slack = int(x1 - x0 + y1 - y0)
    if "modal" in decoded and "amodal" in decoded:
        _check_visible(decoded, slack, report, result)
    for kind in ("modal", "amodal"):
        _check_area(entry, keys.get(f"{kind}_area"), decoded.get(kind), slack, report)
    if keys.get("rate") in entry and "amodal" in decoded:
        _check_rate(entry, keys["rate"], decoded, report)


def _check_visible(
    decoded: dict[str, np.ndarray], slack: int, report: Report, result: Validation
) -> None:
    modal, amodal = decoded["modal"], decoded["amodal"]
    outside = int((modal & ~amodal).sum())
    if outside > slack:
        report.add(f"{outside} of {int(modal.sum())} visible pixels are outside the amodal mask")
    elif outside:
        result.notes.append(
            report.located(f"{outside} visible pixels are outside the amodal mask (outline)")
        )
    if not modal.any():
        result.notes.append(report.located("nothing of it is visible"))
    if "hidden" in decoded:
        differing = int((decoded["hidden"] != (amodal & ~modal)).sum())
        if differing > slack:
            report.add(f"the hidden mask differs from amodal minus visible in {differing} pixels")


def _check_area(
    entry: dict, key: str | None, mask: np.ndarray | None, slack: int, report: Report
) -> None:
    if key is not None and key in entry and mask is not None:
        stated = field(entry, key, "a finite number")
        if abs(stated - int(mask.sum())) > slack:
            report.add(f"{key!r} is {stated:g}, but the mask has {int(mask.sum())} pixels")


def _check_rate(entry: dict, key: str, decoded: dict[str, np.ndarray], report: Report) -> None:
    amodal = decoded["amodal"]
    hidden = amodal & ~decoded.get("modal", amodal)
    counted = hidden.sum() / amodal.sum()
    if abs(read_rate(entry) - counted) > RATE_TOLERANCE:
        report.add(f"{key!r} is {entry[key]:.4f}, but the masks give {counted:.4f}")


def _check_order(record: dict[str, Any], file_name: str, notes: list[str]) -> None:
    """Add notes about cycles, which are valid, but whose instances share a layer."""
    occlusion = record.get("occlusion")
    if occlusion is None or not len(occlusion):
        return
    one_way = ((occlusion == 1) & (occlusion.T != 1)).astype(np.int8)
    inside = np.flatnonzero(instances_in_cycles(one_way))
    if len(inside):
        ids = [record["annotations"][k]["id"] for k in inside]
        notes.append(f"{file_name}: image {record['image_id']}: occlusion cycle among {ids}")


def _check_image(record: dict[str, Any], path: str, errors: list[str]) -> None:
    """Check that an image file exists and has the stated size, and its depth map, if any."""
    report = Report(path, errors)
    with report.at(f"image {record['image_id']}"):
        width, height = image_size(record["file_name"])
        if (height, width) != (record["height"], record["width"]):
            stated = record["height"], record["width"]
            raise ValueError(f"{record['file_name']}: {size_mismatch(stated, (height, width))}")
        if "depth_file_name" in record:
            read_depth(record)


def _count_orders(record: dict[str, Any], found: _Read) -> None:
    """Add the pairs of a record to the counts."""
    if "occlusion" in record:
        occlusion = record["occlusion"]
        mutual = ((occlusion == 1) & (occlusion.T == 1)).sum() // 2
        found.count("one-way occlusions", (occlusion == 1).sum() - 2 * mutual)
        found.count("mutual occlusions", mutual)
        unknown = (np.triu(occlusion, 1) == -1).sum()
        found.count("pairs without known occlusion", unknown)
    if "depth" in record:
        upper = record["depth"][np.triu_indices(len(record["depth"]), 1)]
        found.count("closer/farther pairs", np.isin(upper, (0, 1)).sum())
        found.count("equally deep pairs", (upper == 2).sum())
        found.count("pairs without known depth", (upper == -1).sum())


def _validate_points(
    path: str, row: Format, root: str, limit: int | None, options: dict[str, Any]
) -> Validation:
    """Validate DIW and KITTI depth: lists of images with two points or a depth map each."""
    result = Validation()
    assert row.load is not None  # the caller asks for it
    entries = row.load(path, root, problems=result.errors, **options)
    for entry in entries[:limit] if root else []:
        report = Report(path, result.errors)
        with report.at(entry["file_name"]):
            width, height = image_size(entry["file_name"])
            if "point_a" in entry:
                points = np.array([entry["point_a"], entry["point_b"]])
                if (points >= (height, width)).any():
                    raise ValueError(f"points {points.tolist()} are not in {height} x {width}")
            else:
                depth = read_depth_png(entry["depth_file_name"])
                if depth.shape != (height, width):
                    raise ValueError(f"image is {height} x {width}, depth map {depth.shape}")
    result.counts = {"images": len(entries)}
    return result


def registered(name: str) -> dict[str, Any]:
    """Return the arguments of `validate` for a registered data set.

    Raises:
        ValueError: there is no such file or data set, or Detectron2 is not installed.
    """
    if os.path.basename(name) != name or os.path.splitext(name)[1]:
        raise ValueError(f"no such file: {name}")  # importing Detectron2 to look it up takes long
    try:
        from occ_order.formats import builtin
    except ImportError as error:
        raise ValueError(
            f"{name!r} is no file, and names of data sets need Detectron2 ({error}); see INSTALL.md"
        ) from error
    return builtin.validation_arguments(name)
