"""Photographs with measured order: one file for each source of photographs, beside its images.

    {"source": "kitchens", "depth_unit": 0.001,
     "images": [{"id": 1, "file": "images/1.jpg", "width": 640, "height": 480,
                 "split": "train" or "val", "depth_file"?: "depth/1.png"}],
     "instances": [{"id": 1, "image_id": 1, "category": "cup", "modal": RLE, "amodal": RLE or null,
                    "stuff"?: 1, "complete"?: "why it is believed whole"}],
     "occlusion": [[image_id, front_id, back_id, provenance, ...]],
     "depth_order": [[image_id, near_id, far_id, provenance]],
     "unknown_occlusion"?: [[image_id, first_id, second_id, provenance]],
     "categories"?: ["cup", ...]}

- Ids are unique within the file. A pair stands once, in one direction; in "occlusion" it stands in
  both directions where two instances occlude each other.
- `amodal` null: the whole object is not known, not "equal to modal".
- Occlusion lists what was measured or seen, and never says that two instances do *not* occlude each
  other. Instances whose masks are farther apart than :data:`GAP` do not, because nothing can be in
  front of what it does not meet (0); a pair that meets and is not listed is not annotated (-1).
  A file that has `unknown_occlusion`, as composed photographs do, lists there what is not annotated
  (-1), and says by its absence that a pair does not occlude each other (0).
- `categories` names the classes where a file holds only a part of them, as one split does.
- Depth order: a pair that is not listed is not annotated. A provenance that ends in `_distinct`
  says that the two depth ranges lie apart, `_overlap` that they overlap; else that is unknown.
- A provenance that starts with `weak_` is a rule of thumb ("lower feet are nearer"), not
  annotation; such pairs are left out.
- Depth maps are grey PNG files of 8 or 16 bits, of any size, `depth_unit` metres a value, 0 = none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import join_path, read_grey_png, read_json, show, write_json
from occ_order.formats.checks import Report, entries, field
from occ_order.formats.coco_nesting import image_entry
from occ_order.formats.mask_fields import checked_mask, mask_box
from occ_order.order.encoding import (
    CLOSER,
    DISTINCT,
    FARTHER,
    OVERLAPPING,
    UNKNOWN,
    empty_depth,
    empty_occlusion,
)

GAP = 8
"""Two masks meet where at most so many pixels lie between (`occ_order.masks.bordering_pairs`).

Segments of NYU Depth V2 have unlabelled gaps between them; of the pairs whose occlusion was
measured across their contact, 99.9 % are within 8 pixels.
"""

SPLITS = ("train", "val")

DEPTH_UNITS = {"nyuv2": 10 / 255, "ycbv10": 1e-4}
"""Metres for each value of the depth maps of sources whose file does not say it (`depth_unit`)."""

_WEAK = "weak_"
_UNKNOWN = "unknown_occlusion"


def load_photos(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    split: str | None,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a file of photographs with measured order.

    Every mask of the split is decoded, because the file has no boxes and to see which masks meet.

    Args:
        json_file: the `annotations.json` of one source.
        image_root: folder that the names of images and depth maps are relative to.
        split: "train", "val", or None for both.
        problems: None to raise at the first error; a list to collect messages in (images with an
            error are then left out).

    Returns:
        One record per image, in the order of the file. Category ids are those of
        `read_photo_categories`. "occlusion" as the module says; "depth", "overlap" and "count"
        (unknown everywhere) if the file has any depth order. Annotations have "is_stuff", where the
        whole object is known "amodal_segmentation" and "amodal_bbox", and "complete" where the file
        says why. Where an image has a depth map, "depth_file_name" and "depth_unit" (see
        `read_depth`).

    Raises:
        ValueError: names file, image and instance or pair of the first error; an unknown split.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS} or None, got {split!r}")
    data, report = read_json(json_file), Report(json_file, problems)
    content = _Content(data, report, image_root, split)
    records = []
    for image_id, record in content.images.items():
        before = report.count
        with report.at(f"image {image_id}"):
            _fill(record, content, report)
        if report.count == before and image_id not in content.bad:
            records.append(record)
    return records


def read_photo_categories(json_file: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the categories of a file: its names, sorted, with ids from 1.

    Returns:
        [{"id": int, "name": str}], of all instances, whatever their split, and of `categories`.

    Raises:
        ValueError: names the file and the instance of the first error.
    """
    data, report = read_json(json_file), Report(json_file)
    names = _listed_categories(data, report)
    for index, entry in entries(data, "instances", report):
        with report.at(f"instance {entry.get('id', f'number {index}')}"):
            names.add(field(entry, "category", "a string"))
    return [{"id": number, "name": name} for name, number in _numbered(names).items()]


def read_depth(record: dict[str, Any]) -> np.ndarray:
    """Read the measured depth of a record, at the size of its image.

    A map of another size is resized by nearest neighbours: averages across a depth step would be
    depths at which nothing is.

    Args:
        record: with "depth_file_name", "depth_unit", "height", "width", of `load_photos`.

    Returns:
        float32 (H, W), metres, 0 = unknown.

    Raises:
        ValueError: the record has no depth map; the file is missing, damaged or not a grey image of
            8 or 16 bits; names the file.
    """
    if "depth_file_name" not in record:
        raise ValueError(f"image {record.get('image_id')!r} has no depth map")
    values = read_grey_png(record["depth_file_name"], bits=(8, 16))
    values = masks.resize_nearest(values, (record["height"], record["width"]))
    return (values * record["depth_unit"]).astype(np.float32)


class _Content:
    """A parsed file, sorted by image; what concerns no image of the split is only looked at.

    Attributes:
        images: records without annotations by image id, those of the split.
        instances: the file's instances by image id, with an id and a category of their own.
        pairs: for each key of pairs: rows (first id, second id, provenance) by image id.
        is_complete: whether the file lists what is not annotated.
        categories: id by name.
        measured_depth: whether the file lists any depth order that is not a rule of thumb.
        bad: ids of images about which a problem was collected.
    """

    def __init__(
        self, data: dict, report: Report, image_root: str | os.PathLike, split: str | None
    ) -> None:
        self.report = report
        self.bad: set[Any] = set()
        unit = _depth_unit(data, report)
        known: dict[int, Any] = {}
        for index, image in entries(data, "images", report):
            with self._at_image(image.get("id", f"number {index}")):
                number = field(image, "id", "an integer")
                if number in known:
                    raise ValueError("the image id is used twice")
                known[number] = None  # an image that cannot be read is not an unknown one
                known[number] = _read_image(image, image_root, unit), _split_of(image)
        wanted = {number: found for number, found in known.items() if found}
        self.images = {n: record for n, (record, own) in wanted.items() if split in (None, own)}
        self.instances = self._read_instances(data, known)
        every = {entry["category"] for found in self.instances.values() for entry in found}
        self.categories = _numbered(_listed_categories(data, report) | every)
        self.is_complete = _UNKNOWN in data
        keys = ("occlusion", "depth_order", *([_UNKNOWN] if self.is_complete else []))
        self.pairs = {key: self._read_pairs(data, key, known) for key in keys}
        self.measured_depth = any(self.pairs["depth_order"].values())

    @contextmanager
    def _at_image(self, image_id: object) -> Iterator[None]:
        """Errors inside are said of the image, which then is a bad one."""
        before = self.report.count
        with self.report.at(f"image {image_id}"):
            yield
        if self.report.count > before and isinstance(image_id, int):
            self.bad.add(image_id)

    def _read_instances(self, data: dict, known: dict) -> dict[int, list[dict]]:
        found: dict[int, list[dict]] = {}
        seen: set[int] = set()
        for index, entry in entries(data, "instances", self.report):
            number = entry.get("id", f"number {index}")
            with (
                self._at_image(entry.get("image_id", "(none)")),
                self.report.at(f"instance {number}"),
            ):
                if field(entry, "id", "an integer") in seen:
                    raise ValueError("the instance id is used twice")
                seen.add(number)
                field(entry, "category", "a string")
                found.setdefault(_image_id(entry.get("image_id"), known), []).append(entry)
        return found

    def _read_pairs(self, data: dict, key: str, known: dict) -> dict[int, list[list]]:
        found: dict[int, list[list]] = {}
        rows: list = []
        with self.report.at():
            rows = field(data, key, "a list")
        for index, row in enumerate(rows):
            # Errors are located only where there is one: there are hundreds of thousands of rows.
            try:
                image_id, *pair = _pair(row, known)
            except ValueError as error:
                place = row[0] if isinstance(row, list) and row else "(none)"
                with self._at_image(place), self.report.at(f"{key}[{index}]"):
                    raise error
            else:
                if not str(pair[2]).startswith(_WEAK):
                    found.setdefault(image_id, []).append(pair)
        return found


def _listed_categories(data: dict, report: Report) -> set[str]:
    names: list = []
    with report.at():
        listed = field(data, "categories", "a list", [])
        if not all(isinstance(name, str) for name in listed):
            raise ValueError(f"'categories' must be names, got {show(listed)}")
        names = listed
    return set(names)


def _numbered(names: set[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names), start=1)}


def _depth_unit(data: dict, report: Report) -> float | None:
    with report.at():
        source = field(data, "source", "a string", "")
        unit = field(data, "depth_unit", "a finite number", DEPTH_UNITS.get(source))
        if unit is not None and unit <= 0:
            raise ValueError(f"'depth_unit' must be metres for each value, above 0, got {unit}")
        return unit
    return None


def _split_of(image: dict) -> str:
    split = field(image, "split", "a string")
    if split not in SPLITS:
        raise ValueError(f"'split' must be one of {SPLITS}, got {show(split)}")
    return split


def _read_image(image: dict, image_root: str | os.PathLike, unit: float | None) -> dict[str, Any]:
    record = {
        "file_name": join_path(image_root, field(image, "file", "a string")),
        "image_id": image["id"],
        "height": field(image, "height", "a positive integer"),
        "width": field(image, "width", "a positive integer"),
    }
    if "depth_file" in image:
        if unit is None:
            raise ValueError("has a depth map, but the file has no 'depth_unit'")
        record["depth_file_name"] = join_path(image_root, field(image, "depth_file", "a string"))
        record["depth_unit"] = unit
    return record


def _image_id(image_id: object, known: dict) -> int:
    if type(image_id) is not int or image_id not in known:
        raise ValueError(f"image_id {show(image_id)} is not among the {len(known)} images")
    return image_id


def _pair(row: object, known: dict) -> tuple[int, int, int, str]:
    if isinstance(row, list) and len(row) > 3:
        image_id, first, second, provenance = row[:4]
        if type(image_id) is type(first) is type(second) is int and isinstance(provenance, str):
            return _image_id(image_id, known), first, second, provenance
    raise ValueError(f"must be [image id, first id, second id, provenance, ...], got {show(row)}")


def _fill(record: dict[str, Any], content: _Content, report: Report) -> None:
    """Add annotations and matrices to the record of an image."""
    image_id, size = record["image_id"], (record["height"], record["width"])
    instances = content.instances.get(image_id, [])
    before = report.count
    record["annotations"] = []
    for entry in instances:
        with report.at(f"instance {entry['id']}"):
            segmentation = checked_mask(entry, "modal", *size)
            record["annotations"].append(
                {
                    "id": entry["id"],
                    "category_id": content.categories[entry["category"]],
                    "bbox": mask_box(segmentation, *size, name="'modal'"),
                    "segmentation": segmentation,
                    "iscrowd": 0,
                    "is_stuff": field(entry, "stuff", "0 or 1", 0),
                    **_whole(entry, *size),
                }
            )
    if report.count > before:
        return
    rows = {entry["id"]: k for k, entry in enumerate(instances)}
    record["occlusion"] = _occlusion(record, content, rows)
    if content.measured_depth:
        pairs = _positions(content, "depth_order", image_id, rows)
        record.update(zip(("depth", "overlap", "count"), _depth(len(rows), pairs), strict=True))


def _whole(entry: dict, height: int, width: int) -> dict[str, Any]:
    """Return what the file says of the whole object."""
    found: dict[str, Any] = {}
    if "complete" in entry:
        found["complete"] = field(entry, "complete", "a string")
    if entry.get("amodal") is not None:
        found["amodal_segmentation"] = checked_mask(entry, "amodal", height, width)
        found["amodal_bbox"] = mask_box(
            found["amodal_segmentation"], height, width, name="'amodal'"
        )
    return found


def _positions(
    content: _Content, key: str, image_id: int, rows: dict[int, int]
) -> Iterator[tuple[int, int, str]]:
    """Yield the pairs of an image by the rows of their instances; each pair once."""
    seen = set()
    for first, second, provenance in content.pairs[key].get(image_id, ()):
        for number in (first, second):
            if number not in rows:
                raise ValueError(f"{key!r} has instance {number}, which is not one of the image's")
        if first == second:
            raise ValueError(f"{key!r} relates instance {first} to itself")
        if (first, second) in seen:
            raise ValueError(f"{key!r} has the pair of instances {first} and {second} twice")
        seen.add((first, second))
        if key != "occlusion":
            seen.add((second, first))
        yield rows[first], rows[second], provenance


def _occlusion(record: dict[str, Any], content: _Content, rows: dict[int, int]) -> np.ndarray:
    """Return the occlusion matrix of an annotated record; `rows` maps ids to row numbers."""
    image_id, segmentations = record["image_id"], [a["segmentation"] for a in record["annotations"]]
    occ = empty_occlusion(len(segmentations))
    if content.is_complete:
        for first, second, _ in _positions(content, _UNKNOWN, image_id, rows):
            occ[first, second] = occ[second, first] = UNKNOWN
    else:
        modal = masks.decode_all(segmentations, record["height"], record["width"])
        occ[masks.bordering_pairs(modal, gap=GAP)] = UNKNOWN
    for front, back, _ in _positions(content, "occlusion", image_id, rows):
        occ[front, back] = 1
        occ[back, front] = max(occ[back, front], 0)  # 1 stays: the two occlude each other
    return occ


def _depth(
    num_instances: int, pairs: Iterator[tuple[int, int, str]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    depth, overlap, count = empty_depth(num_instances)
    for near, far, provenance in pairs:
        depth[near, far], depth[far, near] = CLOSER, FARTHER
        kind = {"distinct": DISTINCT, "overlap": OVERLAPPING}.get(provenance.rpartition("_")[2])
        overlap[near, far] = overlap[far, near] = UNKNOWN if kind is None else kind
    return depth, overlap, count


def save_photos(
    records: list[dict[str, Any]],
    json_file: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    source: str,
    split: str,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as a file of this layout, with `unknown_occlusion` and `categories`.

    Pairs of equal depth, counts of workers and depth maps have no place in the format.

    Args:
        records: image ids and annotation ids must be unique; "occlusion" is needed. Annotations
            without "amodal_segmentation" get `amodal` null.
        json_file: file to write.
        categories: [{"id": int, "name": str}], all that the records use.
        source: name of the data set.
        split: "train" or "val", of all images.
        image_root: file names are written relative to this folder; None writes them as they are.

    Raises:
        ValueError: names the image that cannot be written.
    """
    report = Report(json_file)
    names = {category["id"]: category["name"] for category in categories}
    seen: set[int] = set()
    images = []
    for record in records:
        with report.at(f"image {record['image_id']}"):
            images.append(image_entry(record, image_root, seen))
    content: dict[str, Any] = {
        "source": source,
        "categories": sorted(names.values()),
        "images": [{"file": image.pop("file_name"), **image, "split": split} for image in images],
        "instances": [],
        "occlusion": [],
        "depth_order": [],
        _UNKNOWN: [],
    }
    for record in records:
        with report.at(f"image {record['image_id']}"):
            if "occlusion" not in record:
                raise ValueError("the layout cannot hold an image without occlusion order")
            image_id = record["image_id"]
            content["instances"] += [
                _written_instance(annotation, image_id, names)
                for annotation in record["annotations"]
            ]
            for key, pairs in _written_pairs(record).items():
                content[key] += pairs
    write_json(json_file, content)


def _written_instance(
    annotation: dict[str, Any], image_id: int, names: dict[int, str]
) -> dict[str, Any]:
    entry = {
        "id": annotation["id"],
        "image_id": image_id,
        "category": names[annotation["category_id"]],
        "modal": annotation["segmentation"],
        "amodal": annotation.get("amodal_segmentation"),
    }
    if annotation.get("is_stuff"):
        entry["stuff"] = 1
    if "complete" in annotation:
        entry["complete"] = annotation["complete"]
    return entry


def _written_pairs(record: dict[str, Any]) -> dict[str, list]:
    ids = [annotation["id"] for annotation in record["annotations"]]
    occlusion = np.asarray(record["occlusion"])
    unknown = np.triu((occlusion == UNKNOWN) | (occlusion.T == UNKNOWN), 1)
    depth = np.asarray(record.get("depth", empty_depth(len(ids))[0]))
    overlap = np.asarray(record.get("overlap", empty_depth(len(ids))[1]))
    kinds = {DISTINCT: "known_distinct", OVERLAPPING: "known_overlap", UNKNOWN: "known"}

    def rows(pairs: np.ndarray, provenance: str) -> list:
        return [[record["image_id"], ids[i], ids[j], provenance] for i, j in np.argwhere(pairs)]

    return {
        "occlusion": rows(occlusion == 1, "known"),
        _UNKNOWN: rows(unknown, "not_annotated"),
        "depth_order": [
            row
            for value, name in kinds.items()
            for row in rows((depth == CLOSER) & (overlap == value), name)
        ],
    }
