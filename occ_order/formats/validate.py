"""Validation of data files, entry by entry, for `occ-order validate`.

Checks the structure and the order of the whole file, then masks, areas and occlusion ratios pixel
by pixel and, if the image folder is given, that the images exist and have the stated size.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from occ_order import masks
from occ_order.files import DataError, image_size, parse_json, read_json
from occ_order.formats import read_depth, read_depth_png
from occ_order.formats.checks import Report, field, listed, size_mismatch
from occ_order.formats.coco_nesting import read_images
from occ_order.formats.mask_fields import checked_mask, read_rate
from occ_order.formats.pages import Tolerance, size_of_image
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
    watch: Callable[[list], Iterable] = iter,
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
        return _validate_pages(path, row, data, root)
    if row.ending:
        return _validate_points(path, row, root, limit, options or {})
    data = cast("dict[str, Any]", data)  # lists were handled above
    result, paths = Validation(), [path]
    if row.inputs == 2:
        paths.append(os.fspath(instances or _beside(path)))
    try:
        root = root or _folder_of(path, data)
        records = row.load(*paths, root, problems=result.errors, **(options or {}))
    except DataError as error:  # the file as a whole
        result.errors.append(str(error))
        return result
    assert row.mask_keys is not None  # of every format whose JSON is loaded
    keys = row.mask_keys(data)
    if row.inputs == 2:
        path, data = paths[1], _listed_instances(data, paths[1])
    shown = records[:limit]
    _check_pixels(path, data, keys, records, result, limit, watch)
    for record in records:
        _check_order(record, os.path.basename(path), result)
    if images is not None:
        _check_images(shown, path, result)
    result.counts = _counts(records)
    return result


def _parse(path: str) -> dict | list | Validation | None:
    """Return parsed JSON, None for a text file, or a report if it is neither."""
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    if not start.startswith((b"{", b"[")) and path.lower().endswith((".csv", ".txt")):
        return None
    try:
        data = parse_json(path)
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


def _listed_instances(order: dict, instances: str) -> dict:
    """Return the parsed instances file with only the annotations listed in InstaOrder entries."""
    wanted: set[int] = set()
    for entry in listed(order, "annotations"):
        ids = entry.get("instance_ids")
        wanted.update(n for n in (ids if isinstance(ids, list) else ()) if isinstance(n, int))
    data = read_json(instances)
    kept = [
        annotation
        for annotation in listed(data, "annotations")
        if isinstance(annotation.get("id"), int) and annotation["id"] in wanted
    ]
    return {**data, "annotations": kept}


def _check_pixels(
    path: str,
    data: dict,
    keys: Mapping[str, str],
    records: list[dict[str, Any]],
    result: Validation,
    limit: int | None,
    watch: Callable[[list], Iterable],
) -> None:
    """Decode all masks of the file, including those of images rejected for another error."""
    sizes = _sizes(path, data, records)
    shown = {record["image_id"] for record in records[:limit]}
    known = {line[len(path) + 2 :] for line in result.errors if line.startswith(path)}
    known = {": ".join(line.split(": ")[:depth]) for line in known for depth in (2, 3)}
    for image_id, place, entry in watch(list(_mask_entries(data))):
        if image_id not in sizes or place in known or (limit is not None and image_id not in shown):
            continue
        report = Report(path, result.errors)
        with report.at(place):
            _check_masks(entry, keys, sizes[image_id], report, result)


def _sizes(path: str, data: dict, records: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """Return image id -> (height, width) of all images with a valid entry."""
    images = list(records)
    if "annotations" in data:  # errors of the `images` list were reported by the reader
        images += read_images(data, "", Report(path, [])).values()
    return {image["image_id"]: (image["height"], image["width"]) for image in images}


def _mask_entries(data: dict) -> Iterator[tuple[Any, str, dict]]:
    """Yield (image id, location, object with masks)."""
    for entry in listed(data, "instances"):
        if isinstance(entry.get("image_id"), int):
            place = f"image {entry['image_id']}: instance {entry.get('id')}"
            yield entry["image_id"], place, {k: v for k, v in entry.items() if v is not None}
    for index, entry in enumerate([data] if "regions" in data else listed(data, "annotations")):
        image_id = entry.get("image_id", "(none)")
        place = f"image {image_id}: annotation {entry.get('id', f'number {index}')}"
        if not isinstance(image_id, int):
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


def _check_order(record: dict[str, Any], file_name: str, result: Validation) -> None:
    """Add notes about cycles, which are valid, but whose instances share a layer."""
    occlusion = record.get("occlusion")
    if occlusion is None or not len(occlusion):
        return
    one_way = ((occlusion == 1) & (occlusion.T != 1)).astype(np.int8)
    inside = np.flatnonzero(instances_in_cycles(one_way))
    if len(inside):
        ids = [record["annotations"][k]["id"] for k in inside]
        result.notes.append(f"{file_name}: image {record['image_id']}: occlusion cycle among {ids}")


def _check_images(records: list[dict[str, Any]], path: str, result: Validation) -> None:
    for record in records:
        report = Report(path, result.errors)
        with report.at(f"image {record['image_id']}"):
            width, height = image_size(record["file_name"])
            if (height, width) != (record["height"], record["width"]):
                stated = record["height"], record["width"]
                raise ValueError(f"{record['file_name']}: {size_mismatch(stated, (height, width))}")
            if "depth_file_name" in record:
                read_depth(record)


def _counts(records: list[dict[str, Any]]) -> dict[str, int]:
    counts = {
        "images": len(records),
        "instances": sum(len(record["annotations"]) for record in records),
    }
    occlusions = [record["occlusion"] for record in records if "occlusion" in record]
    if occlusions:
        mutual = sum(int(((o == 1) & (o.T == 1)).sum()) // 2 for o in occlusions)
        counts["one-way occlusions"] = sum(int((o == 1).sum()) for o in occlusions) - 2 * mutual
        counts["mutual occlusions"] = mutual
        counts["pairs without known occlusion"] = sum(
            int((np.triu(o, 1) == -1).sum()) for o in occlusions
        )
    depths = [record["depth"] for record in records if "depth" in record]
    if depths:
        upper = np.concatenate([depth[np.triu_indices(len(depth), 1)] for depth in depths])
        counts["closer/farther pairs"] = int(np.isin(upper, (0, 1)).sum())
        counts["equally deep pairs"] = int((upper == 2).sum())
        counts["pairs without known depth"] = int((upper == -1).sum())
    return counts


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
