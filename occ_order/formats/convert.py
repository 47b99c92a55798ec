"""Reading, writing and conversion of data sets by the name of their format."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from occ_order.files import copy_file, image_size, relative_name, resolve_inside
from occ_order.formats.checks import Report, settle_problems, size_mismatch
from occ_order.formats.differences import Differences, compare
from occ_order.formats.table import Format, Given, convertible, readable, row_of
from occ_order.order import UNKNOWN

Records = TypeVar("Records", bound=Iterable[dict[str, Any]])


@dataclass
class DataSet(Generic[Records]):
    """A data set.

    Attributes:
        records: see `occ_order.formats`; a list, or `StreamedRecords`.
        categories: [{"id": int, "name": str}].
        image_root: image folder; None = file names are not changed when written.
    """

    records: Records
    categories: list[dict[str, Any]]
    image_root: str | None = None


class StreamedRecords:
    """Records that do not fit in memory: read from their file each time they are iterated over.

    Args:
        read: returns an iterator over the records, given the level at which it logs what is left
            out; after the records were read to the end, that is `logging.DEBUG`.
    """

    def __init__(self, read: Callable[[int], Iterator[dict[str, Any]]]) -> None:
        self._read, self._level = read, logging.WARNING

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._read(self._level)
        self._level = logging.DEBUG


def read_dataset(
    format: str,
    path: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    instances: str | os.PathLike | None = None,
    order: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    whole: bool = False,
    names_from: str | os.PathLike | None = None,
    keep_crowds: bool = False,
    skip_damaged: bool = False,
    stream: bool = False,
) -> DataSet:
    """Read a data set.

    Args:
        format: one of `table.readable()`.
        path: the file (InstaOrder: the order file), or the folder of files of a format with one
            file per image, such as labelme.
        images: image folder; default: the folder of the file.
        instances: InstaOrder: the COCO instances file; default: ``instances.json`` beside it.
        order: COCO: the order table; default: ``order.csv`` beside it, if it exists.
        classes: class names in the order of their ids, for formats without class ids.
        whole: labelme: shapes are amodal outlines.
        names_from: results: a COCO-style file with file names and categories.
        keep_crowds: COCO and panoptic: also read annotations with `iscrowd` 1.
        skip_damaged: skip entries that cannot be read, and log their number.
        stream: return `StreamedRecords` for the formats in which large data sets come (InstaOrder,
            COCO); what is wrong with them is then raised while they are iterated over.

    Returns:
        The data set.

    Raises:
        ValueError: names file and entry of what is wrong, or an unknown format.
        OSError: a file cannot be read.
    """
    row, path = row_of(format, readable()), Path(path)
    folder = path if path.is_dir() else path.parent
    root = os.fspath(images if images is not None else folder)
    given = Given(images, instances, order, classes, whole, names_from, keep_crowds, skip_damaged)
    if not stream or row.stream is None:
        return DataSet(*row.read_from(path, root, given), root)
    read = row.stream
    records = StreamedRecords(lambda level: read(path, root, replace(given, level=level)))
    return DataSet(records, row.categories_of(path, given), root)


def write_dataset(
    format: str,
    data: DataSet,
    folder: str | os.PathLike,
    *,
    assume_whole: bool = False,
    assume_none: bool = False,
) -> list[Path]:
    """Write a data set.

    Args:
        format: one of `table.convertible()`.
        data: the data set; not modified.
        folder: output folder, created if missing; file names are those of the format.
        assume_whole: use the modal mask as amodal mask where none is given, for formats that need
            one, assuming that these instances are unoccluded.
        assume_none: write pairs of unknown occlusion as pairs without occlusion, for formats that
            cannot express unknown pairs.

    Returns:
        The files written.

    Raises:
        ValueError: the format cannot express an image or annotation; names it.
        OSError: a file cannot be written.
    """
    row, folder, root = row_of(format, convertible()), Path(folder), data.image_root
    records = _prepared(row, data, assume_whole=assume_whole, assume_none=assume_none)
    assert row.save is not None  # all convertible formats are saved
    if not row.files:
        return row.save(records, folder, data.categories, image_root=root)
    files = row.paths_in(folder)
    row.save(records, *files, data.categories, image_root=root)
    return files


def _prepared(
    row: Format, data: DataSet, *, assume_whole: bool = False, assume_none: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield copies of the records adapted to a format, with assumptions filled in.

    Raises:
        ValueError: an image that the format cannot express.
    """
    names = {category["id"]: category["name"] for category in data.categories}
    for record in data.records:
        record = {**record, "annotations": [dict(a) for a in record["annotations"]]}
        for annotation in record["annotations"]:
            if assume_whole and "amodal_segmentation" not in annotation:
                annotation["amodal_segmentation"] = annotation["segmentation"]
                annotation["amodal_bbox"] = annotation["bbox"]
                annotation.pop("occlude_rate", None)  # refers to an unknown amodal mask
        if assume_none:
            _assume_none(record)
        if row.fit is not None:
            row.fit(record, names)
        yield record


def _assume_none(record: dict[str, Any]) -> None:
    n = len(record["annotations"])
    occlusion = np.asarray(record.get("occlusion", np.zeros((n, n), np.int8)))
    record["occlusion"] = np.where(occlusion == UNKNOWN, 0, occlusion).astype(np.int8)


def convert(
    data: DataSet,
    format: str,
    folder: str | os.PathLike,
    *,
    allow_changes: bool = False,
    assume_whole: bool = False,
    assume_none: bool = False,
    watch: Callable[[Iterable, str], Iterable] = lambda records, what: records,
) -> tuple[list[Path], Differences]:
    """Write a data set, read it back and compare, in little more memory than `data` takes.

    Args:
        data: the data set; streamed records are iterated over twice.
        format: one of `table.convertible()`.
        folder: output folder.
        allow_changes: keep the files even if they contradict the data.
        assume_whole: see :func:`write_dataset`; assumptions do not count as changes.
        assume_none: likewise.
        watch: wraps the iteration over the records, for progress reports; its second argument is
            "write" or "compare".

    Returns:
        The files written, and the information that was not kept.

    Raises:
        ValueError: the format cannot express an image, or the written files contradict the data and
            are removed again (images copied for labelme are kept).
    """
    options = {"assume_whole": assume_whole, "assume_none": assume_none}
    files = write_dataset(
        format, replace(data, records=watch(data.records, "write")), folder, **options
    )
    row = row_of(format, convertible())
    source, root = (files[0], data.image_root) if row.files else (folder, None)
    classes = [c["name"] for c in data.categories]
    back = read_dataset(format, source, images=root, classes=classes, stream=True)
    before = watch(_prepared(row, data, **options), "compare")
    differences = compare(before, back.records, data.categories, back.categories)
    if differences.changed and not allow_changes:
        for path in files:
            path.unlink()
        raise ValueError(
            f"{format} files would say something else than the data: "
            + "; ".join(differences.lines())
            + ". Nothing was kept; allow changes to keep it"
        )
    return files, differences


def check_images(data: DataSet, *, watch: Callable[[Iterable], Iterable] = iter) -> tuple[int, int]:
    """Check the image files of a data set, as far as they exist, for damage and wrong sizes.

    Args:
        data: the data set.
        watch: wraps the iteration over the records, for progress reports.

    Returns:
        The number of images and of instances.

    Raises:
        ValueError: names every image whose file is damaged or has another size.
    """
    problems: list[str] = []
    images = instances = 0
    for record in watch(data.records):
        images, instances = images + 1, instances + len(record["annotations"])
        if os.path.isfile(record["file_name"]):
            with Report(record["file_name"], problems).at(f"image {record['image_id']}"):
                width, height = image_size(record["file_name"])
                stated = record["height"], record["width"]
                if stated != (height, width):
                    raise ValueError(f"the annotation {size_mismatch(stated, (height, width))}")
    settle_problems(data.image_root or "images", problems, False)
    return images, instances


def copy_images(
    data: DataSet, folder: str | os.PathLike, *, watch: Callable[[Iterable], Iterable] = iter
) -> DataSet:
    """Copy the images of a data set into ``folder/images``.

    Args:
        data: the data set; not modified.
        folder: output folder, created if missing. Existing images are overwritten.
        watch: wraps the iteration over the records, for progress reports.

    Returns:
        The data set with its images in the new folder; its records are streamed if those of `data`
        are.

    Raises:
        ValueError: an image does not exist, two have the same name, or a symbolic link leads out of
            the folder; names the image.
    """
    root = Path(folder) / "images"
    seen: dict[str, Any] = {}

    def name_of(record: dict[str, Any]) -> str:
        if data.image_root is None:
            return os.path.basename(record["file_name"])
        return relative_name(record["file_name"], data.image_root)

    def path_of(record: dict[str, Any]) -> Path:
        return resolve_inside(folder, f"{root.name}/{name_of(record)}")

    def copied(level: int = logging.DEBUG) -> Iterator[dict[str, Any]]:
        yield from ({**r, "file_name": str(path_of(r))} for r in data.records)

    for record in watch(data.records):
        with Report(root).at(f"image {record['image_id']}"):
            path = path_of(record)
            if seen.setdefault(str(path), record["file_name"]) != record["file_name"]:
                raise ValueError(f"another image is called {name_of(record)!r}, too")
            if not os.path.isfile(record["file_name"]):
                raise ValueError(f"no such image: {record['file_name']}")
            if path.resolve() != Path(record["file_name"]).resolve():
                copy_file(record["file_name"], path)
    streamed = isinstance(data.records, StreamedRecords)
    records = StreamedRecords(copied) if streamed else list(copied())
    return DataSet(records, data.categories, str(root))
