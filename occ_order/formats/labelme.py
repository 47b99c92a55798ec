"""labelme: one JSON file of shapes per image, and an order table for the folder.

An instance is one shape, or all shapes with the same label and group id (labelme's "Group ID"). Its
label is its class. Shapes outline the **modal** mask; amodal masks can be drawn in two ways:

* a shape with the flag ``amodal`` (labelme: ``labelme --labelflags '{.*: [amodal]}'``) outlines the
  amodal mask of the instance with the same label and group id;
* or ``whole=True``: every shape outlines an amodal mask, and the modal mask is computed from the
  occlusion order in the table.

The table (:mod:`~occ_order.formats.order_table`) is the file ``order.csv`` in the folder. It refers
to an image by its file name (with the sub-folder, if any), and to an instance by its label if that
is unique in the image, else by ``label#G`` with its group id G, or ``label#1``, ``label#2``, ... in
the order of the shapes for instances without group id.

Polygons, rectangles, circles and masks are read; points, lines and shapes whose label is in
`IGNORED` (as in labelme's own converters) are skipped with a warning. JSON files without "shapes"
and hidden files are ignored.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import (
    DataError,
    copy_file,
    files_below,
    image_size,
    parse_json,
    relative_name,
    resolve_inside,
    show,
    write_json,
)
from occ_order.formats.checks import Report, field, settle_problems, size_mismatch
from occ_order.formats.labelme_shapes import AREAS, area_of, shapes_of
from occ_order.formats.order_table import (
    Row,
    matrices_of,
    read_order_table,
    rows_of,
    write_order_table,
)
from occ_order.formats.pages import PER_IMAGE, Found, Page, Tolerance, gathered, numbered
from occ_order.instances import OrderedInstances

logger = logging.getLogger(__name__)

ORDER_FILE = "order.csv"
FAR_APART = 0.1
"""Gap between parts of an instance, relative to the longer image side, that logs a warning."""
IGNORED = ("__ignore__", "_background_")


def load_labelme(
    folder: str | os.PathLike,
    *,
    image_root: str | os.PathLike | None = None,
    whole: bool = False,
    classes: Sequence[str] | None = None,
    skip_damaged: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read a folder of labelme files, including sub-folders.

    Args:
        folder: folder with the ``*.json`` files and, optionally, ``order.csv``.
        image_root: image folder; images are found by the last part of ``imagePath`` and the
            sub-folder of the JSON file. None = images are beside their JSON files.
        whole: every shape outlines an amodal mask (see the module docstring).
        classes: class names in the order of their ids, from 1; None = sorted labels of the folder.
            Set them if several folders must have the same ids.
        skip_damaged: skip files and shapes that cannot be read, and log their number.

    Returns:
        Records, sorted by file name, and categories [{"id", "name"}]. Ids are those written by
        :func:`save_labelme`; images without one get the free numbers from 1.

    Raises:
        ValueError: invalid data; names all files and shapes, or the line of the table.
        FileNotFoundError: the folder does not exist or has no labelme file.
    """
    root = Path(folder)
    problems: list[str] = []
    paths = files_below(root, (".json",))
    found = [_read_page(path, root, image_root, whole, problems) for path in paths]
    settle_problems(root, problems, skip_damaged)
    pages = [page for page in found if page is not None]
    if not pages:
        raise FileNotFoundError(f"no labelme files (*.json with 'shapes') in {root}")
    names = _class_names(pages, classes)
    table = root / ORDER_FILE
    rows = read_order_table(table) if table.is_file() else {}
    unused = set(rows) - {page.key for page in pages}
    if unused:
        word = sorted(unused)[0]
        raise DataError(f"{rows[word][0].place}: no labelme file is about an image {word!r}")
    records = [
        page.record(number, names, rows.get(page.key, []), whole)
        for page, number in zip(pages, _image_ids(pages), strict=True)
    ]
    return records, [{"id": k, "name": name} for name, k in names.items()]


def _image_ids(pages: Sequence[_Page]) -> list[int]:
    """Return the ids of the files, and for files without one the free numbers from 1.

    Raises:
        ValueError: two files have the same id; names both.
    """
    taken: dict[int, Path] = {}
    for page in pages:
        if page.image_id is None:
            continue
        if page.image_id in taken:
            raise DataError(
                f"{page.path}: the image id {page.image_id} is that of {taken[page.image_id]}, "
                "too; files without an 'image_id' are numbered"
            )
        taken[page.image_id] = page.path
    free = (number for number in itertools.count(1) if number not in taken)
    return [next(free) if page.image_id is None else page.image_id for page in pages]


def _class_names(pages: Sequence[_Page], classes: Sequence[str] | None) -> dict[str, int]:
    labels = {instance.label for page in pages for instance in page.instances}
    names = sorted(labels) if classes is None else list(classes)
    if len(set(names)) != len(names):
        raise ValueError(f"a class name is given twice: {names}")
    for page in pages:
        for instance in page.instances:
            if instance.label not in names:
                raise DataError(f"{page.path}: label {instance.label!r} is not among {names}")
    return {name: k for k, name in enumerate(names, start=1)}


class _ShapeGroup:
    """All shapes of one label and group."""

    def __init__(self, label: str, group: int | None) -> None:
        self.label, self.group = label, group
        self.visible: list[Any] = []
        self.whole: list[Any] = []

    def mask(self, shapes: list[Any], size: tuple[int, int]) -> np.ndarray:
        parts = masks.decode_all(shapes, *size, names=[f"a shape {self.label!r}"] * len(shapes))
        return np.any(parts, axis=0)


class _Page:
    """One labelme file: its image, its instances, and its name in the order table."""

    def __init__(self, path: Path, key: str, image: Path, size: tuple[int, int]) -> None:
        self.path, self.key, self.image, self.size = path, key, image, size
        self.image_id: int | None = None
        self.instances: list[_ShapeGroup] = []

    def record(
        self, image_id: int, names: dict[str, int], rows: Sequence[Row], whole: bool
    ) -> dict[str, Any]:
        orders = matrices_of(rows, len(self.instances), self._index_of)
        with Report(self.path).at():
            modal, amodal = self._masks(orders.get("occlusion"), whole)
        annotations = []
        for k, instance in enumerate(self.instances):
            given = self.image_id is not None and instance.group is not None
            annotation = {
                "id": instance.group if given else image_id * PER_IMAGE + k + 1,
                "category_id": names[instance.label],
                "bbox": masks.bounding_box(modal[k]).tolist(),
                "segmentation": masks.encode(modal[k]),
                "iscrowd": 0,
            }
            if (whole_mask := amodal[k]) is not None:
                annotation["amodal_segmentation"] = masks.encode(whole_mask)
                annotation["amodal_bbox"] = masks.bounding_box(whole_mask).tolist()
            elif not modal[k].any():
                logger.warning("%s: instance %r covers no pixel", self.path, self.words()[k])
            annotations.append(annotation)
        ids = [annotation["id"] for annotation in annotations]
        if len(set(ids)) < len(ids):
            raise DataError(f"{self.path}: a group id is used for two labels, the ids are {ids}")
        return {
            "file_name": str(self.image),
            "image_id": image_id,
            "height": self.size[0],
            "width": self.size[1],
            "annotations": annotations,
            **orders,
        }

    def _masks(
        self, occlusion: np.ndarray | None, whole: bool
    ) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        visible = [instance.mask(instance.visible, self.size) for instance in self.instances]
        if not whole:
            amodal = [
                instance.mask(instance.whole, self.size) | visible[k] if instance.whole else None
                for k, instance in enumerate(self.instances)
            ]
            return visible, amodal
        return self._in_front(visible, occlusion), list(visible)

    def _in_front(self, whole: list[np.ndarray], occlusion: np.ndarray | None) -> list[np.ndarray]:
        """Compute the modal masks from amodal masks and the occlusion order."""
        if len(whole) < 2:
            return list(whole)
        if occlusion is None:
            raise ValueError(
                f"visible parts of whole objects follow from their order, but {ORDER_FILE} has no "
                f"line about occlusion in {self.key!r}"
            )
        areas = masks.overlap_areas(np.stack(whole), np.stack(whole))
        unsaid = np.triu(areas * ((occlusion == occlusion.T) & (occlusion != 1)), 1)
        words = self.words()
        for i, j in np.argwhere(np.triu((occlusion == 1) & (occlusion.T == 1))):
            raise ValueError(
                f"{words[i]!r} and {words[j]!r} are each in front of the other: their visible "
                "parts must be drawn, they do not follow from the whole objects"
            )
        for i, j in np.argwhere(unsaid):
            logger.warning(
                "%s: %r and %r overlap by %d pixels, but %s does not say which is in front",
                self.path, words[i], words[j], unsaid[i, j], ORDER_FILE,
            )  # fmt: skip
        return [
            mask & ~_union([whole[i] for i in np.flatnonzero(occlusion[:, k] == 1)], self.size)
            for k, mask in enumerate(whole)
        ]

    def words(self) -> list[str]:
        """Return the names of the instances in the order table."""
        labels = [instance.label for instance in self.instances]
        words = []
        for k, instance in enumerate(self.instances):
            if labels.count(instance.label) == 1:
                words.append(instance.label)
            elif instance.group is not None:
                words.append(f"{instance.label}#{instance.group}")
            else:
                words.append(f"{instance.label}#{labels[: k + 1].count(instance.label)}")
        return words

    def _index_of(self, word: str) -> int:
        words = self.words()
        if words.count(word) != 1:
            found = "several instances" if word in words else "no instance"
            raise ValueError(
                f"{found} of {self.key!r} can be meant by {word!r}; its instances are {words}"
            )
        return words.index(word)


def _union(parts: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    return np.any(parts, axis=0) if parts else np.zeros(size, bool)


def _read_page(
    path: Path,
    root: Path,
    image_root: str | os.PathLike | None,
    whole: bool,
    problems: list[str],
) -> _Page | None:
    """Read a labelme file; None if it is another JSON file, or if a problem was collected."""
    try:
        data = parse_json(path)
    except DataError as error:
        problems.append(str(error))
        return None
    if not isinstance(data, dict) or "shapes" not in data:
        logger.warning("%s: no labelme file (it has no 'shapes'), left out", path)
        return None
    report, page = Report(path, problems), None
    with report.at():
        shapes = field(data, "shapes", "a list")
        key, image = _image(data, path, root, image_root)
        width, height = image_size(image)
        _check_stated(data, (height, width))
        page = _Page(path, key, image, (height, width))
        page.image_id = field(data, "image_id", "an integer", None)
        page.instances = _instances(shapes, page.size, whole, report)
    return page


def _check_stated(data: dict, size: tuple[int, int]) -> None:
    stated = (data.get("imageHeight"), data.get("imageWidth"))
    if None not in stated and stated != size:
        raise ValueError(size_mismatch(stated, size))


def _instances(
    shapes: list, size: tuple[int, int], whole: bool, report: Report
) -> list[_ShapeGroup]:
    groups: dict[tuple[str, Any], _ShapeGroup] = {}
    ignored = 0
    for number, shape in enumerate(shapes):
        with report.at(f"shape {number}"):
            if isinstance(shape, dict) and shape.get("shape_type", "polygon") not in AREAS:
                kind = shape["shape_type"]
                logger.warning("%s", report.located(f"is a {kind}, left out"))
            elif isinstance(shape, dict) and str(shape.get("label")).strip() in IGNORED:
                ignored += 1
            else:
                _add_shape(shape, number, groups, size, whole)
    if ignored:
        names = " or ".join(IGNORED)
        logger.warning("%s", report.located(f"{ignored} shapes labelled {names} left out"))
    for instance in groups.values():
        gap = _largest_gap([instance.mask([area], size) for area in instance.visible])
        if gap > FAR_APART * max(size):
            logger.warning(
                "%s",
                report.located(
                    f"the parts of {instance.label!r}, group {instance.group}, are up to {gap:.0f} "
                    "pixels apart: shapes of one label and one group id are one instance"
                ),
            )
    return list(groups.values())


def _largest_gap(parts: list[np.ndarray]) -> float:
    """Return the maximum distance from the box of a part to the nearest other; 0 for one part.

    Args:
        parts: bool (H, W) each.
    """
    boxes = [masks.bounding_box(part) for part in parts if part.any()]
    if len(boxes) < 2:
        return 0.0
    low, high = np.array(boxes, float)[:, :2], np.array(boxes, float)[:, 2:]
    gap = np.maximum(low[:, None] - high, low - high[:, None]).clip(0)
    distance = np.hypot(*np.moveaxis(gap, -1, 0))
    np.fill_diagonal(distance, np.inf)
    return float(distance.min(axis=1).max())


def labelme_page(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the masks of a labelme file as a page, without an order."""

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        problems: list[str] = []
        with Report(path).at():
            shapes = field(data, "shapes", "a list")
        instances = _instances(shapes, size, False, Report(path, problems))
        settle_problems(path, problems, tolerance.skip_damaged)
        kinds = numbered(instance.label for instance in instances)
        found = [
            Found(k, _in_place(path, instance, size), kinds[instance.label], instance.label)
            for k, instance in enumerate(instances, start=1)
        ]
        entries = [(f"instance {one.id}", lambda one=one: one) for one in found]
        return gathered(path, size, entries, tolerance)

    size = data.get("imageHeight"), data.get("imageWidth")
    return [Page("", read, size=None if None in size else size)]


def _in_place(path: Path, instance: _ShapeGroup, size: tuple[int, int]) -> np.ndarray:
    with Report(path).at():
        mask = instance.mask(instance.visible, size)
    return mask


def _image(
    data: dict, path: Path, root: Path, image_root: str | os.PathLike | None
) -> tuple[str, Path]:
    """Return the name of the image in the order table, and its path."""
    name = field(data, "imagePath", "a string")
    below = path.parent.relative_to(root)
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    if image_root is None:
        try:
            image = resolve_inside(path.parent, name)
        except ValueError as error:  # such as a path of Windows: the image may lie beside it
            if not last or not (path.parent / last).is_file():
                raise ValueError(f"'imagePath': {error}; name its folder with --images") from None
            image = resolve_inside(path.parent, last)
        return (below / image.relative_to(path.parent)).as_posix(), image
    key = (below / last).as_posix()
    image = resolve_inside(image_root, key)
    return key, image if image.is_file() else resolve_inside(image_root, last)


def _group_id(shape: dict[str, Any]) -> int | None:
    """Return the group id of a shape; "", "3" and 2.0 of other tools mean None, 3 and 2."""
    group = shape.get("group_id")
    if group is None or (isinstance(group, str) and not group.strip()):
        return None
    if isinstance(group, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", group):
        return int(group)
    if isinstance(group, float) and group.is_integer():
        return int(group)
    return field(shape, "group_id", "an integer")


def _add_shape(
    shape: Any,
    number: int,
    groups: dict[tuple[str, Any], _ShapeGroup],
    size: tuple[int, int],
    whole: bool,
) -> None:
    if not isinstance(shape, dict):
        raise ValueError(f"must be an object, got {show(shape)}")
    label = field(shape, "label", "a string").strip()
    if not label:
        raise ValueError("'label' must not be empty")
    group = _group_id(shape)
    flags = shape.get("flags") or {}
    amodal = isinstance(flags, dict) and bool(flags.get("amodal"))
    if amodal and whole:
        raise ValueError("has the flag 'amodal', but every shape was said to outline the whole")
    area = area_of(shape, size)
    masks.check(area, *size)
    key = (label, group if group is not None else f"shape {number}")
    instance = groups.setdefault(key, _ShapeGroup(label, group))
    (instance.whole if amodal else instance.visible).append(area)


# --- writing -------------------------------------------------------------------------------


def save_labelme(
    records: Iterable[dict[str, Any]],
    folder: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> list[Path]:
    """Write records as labelme files and ``order.csv``, and copy the images.

    Group ids are the annotation ids; the image id is stored in an additional key, which labelme
    keeps. A mask without holes is written as polygons along its pixel edges, one with holes as a
    mask shape; both rasterise to the same pixels. "name" and "is_stuff" are lost.

    Args:
        records: their images must exist, and none may be named "order.csv".
        folder: output folder, created if missing.
        categories: [{"id": int, "name": str}]; the names are written as labels.
        image_root: sub-folders below it are kept; None = a single folder.

    Returns:
        The files written, without the images.

    Raises:
        ValueError: a missing image, a duplicate name, an unknown category, or an empty mask; names
            the image.
    """
    names = {category["id"]: str(category["name"]) for category in categories}
    written: list[Path] = []
    rows: list[Row] = []
    for record, path in _places(records, Path(folder), image_root):
        with Report(path).at(f"image {record['image_id']}"):
            page = _written_page(record, path.name, names)
            if not os.path.isfile(record["file_name"]):
                raise ValueError(f"no such image: {record['file_name']}")
            if path.resolve() != Path(record["file_name"]).resolve():
                copy_file(record["file_name"], path)
        write_json(path.with_suffix(".json"), page)
        written.append(path.with_suffix(".json"))
        rows += rows_of(record, path.relative_to(folder).as_posix(), _words(record, names))
    if rows:
        write_order_table(Path(folder) / ORDER_FILE, rows)
        written.append(Path(folder) / ORDER_FILE)
    return written


def _places(
    records: Iterable[dict[str, Any]], folder: Path, image_root: str | os.PathLike | None
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield each record with the path of its image in the folder."""
    seen: dict[Path, Any] = {}
    for record in records:
        with Report(folder).at(f"image {record['image_id']}"):
            name = os.path.basename(record["file_name"])
            if image_root is not None:
                name = relative_name(record["file_name"], image_root)
            path = resolve_inside(folder, name)
            other = seen.setdefault(path.with_suffix(""), record["image_id"])
            if other != record["image_id"]:
                raise ValueError(f"its file would be called {name!r}, like that of image {other}")
        yield record, path


def _words(record: dict[str, Any], names: dict[int, str]) -> list[str]:
    labels = [names[a["category_id"]] for a in record["annotations"]]
    return [
        label if labels.count(label) == 1 else f"{label}#{annotation['id']}"
        for label, annotation in zip(labels, record["annotations"], strict=True)
    ]


def _written_page(record: dict[str, Any], image: str, names: dict[int, str]) -> dict[str, Any]:
    size, shapes = (record["height"], record["width"]), []
    for annotation in record["annotations"]:
        if annotation["category_id"] not in names:
            raise ValueError(f"category {annotation['category_id']} has no name")
        drawn = []
        for key, amodal in (("segmentation", False), ("amodal_segmentation", True)):
            if key in annotation:
                mask = masks.decode(annotation[key], *size, name=f"annotation {annotation['id']}")
                drawn += [{**shape, "flags": {"amodal": amodal}} for shape in shapes_of(mask)]
        if not drawn:
            raise ValueError(f"annotation {annotation['id']}: its mask is empty")
        common = {"label": names[annotation["category_id"]], "group_id": annotation["id"]}
        shapes += [{**common, "description": "", **shape} for shape in drawn]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
        "image_id": record["image_id"],
    }
