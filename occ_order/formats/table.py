"""Table of all data set formats, one row each.

Registration, the converter and its `--from` and `--to`, the validator, `occ-order score`, the
evaluators, generated scenes and a user's own folders access formats only through this table. A new
format is one module with a reader and a writer, and one row of `FORMATS`.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from occ_order.files import DataError, files_below, parse_json, show
from occ_order.formats.arrays import npy_page, npz_page
from occ_order.formats.checks import each_listed, settle_problems
from occ_order.formats.coco_nesting import is_cocoa, read_categories
from occ_order.formats.coco_order import (
    VISIBLE_KEYS,
    coco_pages,
    iterate_coco_order,
    load_coco_order,
    results_list_page,
    save_coco_order,
)
from occ_order.formats.cocoa import cocoa_pages, load_cocoa, save_cocoa
from occ_order.formats.cocoa_cls import load_cocoa_cls, save_cocoa_cls
from occ_order.formats.cvat import cvat_pages, save_cvat
from occ_order.formats.diw import load_diw
from occ_order.formats.instaorder import (
    iterate_instaorder,
    load_instaorder,
    save_instaorder,
)
from occ_order.formats.kins import is_2020, load_kins, save_kins
from occ_order.formats.kitti_depth import load_kitti_depth
from occ_order.formats.label_studio import is_label_studio, label_studio_pages, save_label_studio
from occ_order.formats.labelme import labelme_page, load_labelme, save_labelme
from occ_order.formats.pages import Page, Tolerance, records_of
from occ_order.formats.panoptic import is_panoptic, panoptic_pages
from occ_order.formats.photos import load_photos, read_photo_categories
from occ_order.formats.results import (
    load_results_records,
    read_names,
    results_pages,
    save_results_records,
)
from occ_order.formats.sa_1b import is_sa_1b, sa_1b_pages
from occ_order.formats.via import is_via, via_pages
from occ_order.formats.yolo import yolo_page

Records = list[dict[str, Any]]
Categories = list[dict[str, Any]]

logger = logging.getLogger(__name__)

_KINS_MARKS = {"a_segm", "i_segm", "inmodal_seg"}
_COCOA_CLS_MARKS = {"visible_mask", "invisible_mask", "occlude_rate", "occl_depth"}


@dataclass(frozen=True)
class Given:
    """Options for reading a file; see `convert.read_dataset`."""

    images: str | os.PathLike | None = None
    instances: str | os.PathLike | None = None
    order: str | os.PathLike | None = None
    classes: Sequence[str] | None = None
    whole: bool = False
    names_from: str | os.PathLike | None = None
    keep_crowds: bool = False
    skip_damaged: bool = False
    level: int = logging.WARNING
    """Level at which a stream logs what is left out."""


@dataclass(frozen=True)
class Format:
    """One format. Attributes that are left out are not supported by the format.

    Attributes:
        name: name in commands and `evaluator_type`.
        what: description of its files.
        files: names of the files that are written; the first one is given to readers. None for
            formats that are written as a folder.
        inputs: number of `files` that the reader needs.
        load: (`inputs` paths, image_root, ...) -> records.
        iterate: as `load`, one record after the other, for files that do not fit in memory.
        stream: (path, image_root, Given) -> records, one after the other.
        read: (path, image_root, Given) -> records and categories; default: `stream`, or `load` with
            the files beside the first one; and `categories`.
        categories: (`inputs` paths) -> [{"id", "name"}].
        one_class: the only class of a format without classes.
        save: (records, paths of `files`, categories, image_root=) -> None.
        fit: adapts a copy of a record to the format, given the class names; raises ValueError if
            the format cannot express it.
        pages: (file, its parsed JSON or None) -> pages; the file is accepted as input masks, and a
            file or folder of such files as a data set.
        endings: file extensions that `pages` reads.
        tell: (parsed JSON, keys of its annotations) -> whether the file has this format; for a list
            ({}, keys of its entries).
        marks: description of the keys that `tell` tests, for error messages.
        ending: extension of a text file of the format.
        mask_keys: (parsed file) -> keys of the "modal", "amodal" and "hidden" masks and of the
            stated "modal_area", "amodal_area" and "rate".
        needs_whole: whether each instance needs an amodal mask.
        standard: whether scenes are written in it, and user folders are searched for it.
        evaluators: names of the default evaluators.
        amodal_scores: scores of `AmodalEvaluator` supported by its fields.
        loses: attributes of `OrderedInstances` that the format does not store ("names": names of
            instances other than their class names). Everything else survives a round trip, or
            writing raises ValueError. Probabilities, levels, maps and pixels are not part of a
            record.
    """

    name: str
    what: str
    load: Callable[..., Records] | None = None
    iterate: Callable[..., Iterator[dict[str, Any]]] | None = None
    files: tuple[str, ...] = ()
    inputs: int = 1
    stream: Callable[[Path, str, Given], Iterator[dict[str, Any]]] | None = None
    read: Callable[[Path, str, Given], tuple[Records, Categories]] | None = None
    categories: Callable[..., Categories] | None = read_categories
    one_class: str | None = None
    save: Callable[..., Any] | None = None
    fit: Callable[[dict[str, Any], Mapping[int, str]], None] | None = None
    pages: Callable[[Path, Any], list[Page]] | None = None
    endings: tuple[str, ...] = (".json",)
    tell: Callable[[dict[str, Any], set[str]], bool] | None = None
    marks: str = ""
    ending: str = ""
    mask_keys: Callable[[dict[str, Any]], Mapping[str, str]] | None = None
    needs_whole: bool = False
    standard: bool = False
    evaluators: tuple[str, ...] = ()
    amodal_scores: tuple[str, ...] = field(default=())
    loses: tuple[str, ...] = ()

    def paths_in(self, folder: Path, suffix: str = "") -> list[Path]:
        """Return the paths of the files of the format in a folder, with a suffix to their stems."""
        names = [Path(name) for name in self.files]
        return [folder / f"{name.stem}{suffix}{name.suffix}" for name in names]

    def read_from(self, path: Path, image_root: str, given: Given) -> tuple[Records, Categories]:
        """Read records and categories of a data set, with further files beside the first one.

        Raises:
            ValueError: names file and entry of what is wrong.
            OSError: a file cannot be read.
        """
        if self.read is not None:
            return self.read(path, image_root, given)
        if self.load is None:
            tolerance = Tolerance(given.keep_crowds, given.skip_damaged)
            pages = self.pages_below(path)
            return records_of(path, pages, image_root, tolerance, classes=given.classes)
        assert self.categories is not None  # formats without are read by the evaluation alone
        if self.stream is not None:
            return list(self.stream(path, image_root, given)), self.categories_of(path, given)
        problems: list[str] = []
        records = self.load(path, image_root, problems=problems)
        settle_problems(path, problems, given.skip_damaged and bool(records))
        return records, self.categories(path)

    def categories_of(self, path: Path, given: Given) -> Categories:
        """Return the categories of a data set whose reader does not return them.

        Raises:
            ValueError: names file and entry of what is wrong.
            OSError: a file cannot be read.
        """
        assert self.categories is not None  # formats without are read by the evaluation alone
        return self.categories(path if self.inputs == 1 else _instances_beside(path, given))

    def pages_below(self, path: Path) -> list[Page]:
        """Return the pages of a file, or of all files of the format in a folder.

        Hidden files and folders are ignored, JSON files of another format skipped with a warning.

        Raises:
            ValueError: a file has another format; names the file.
            FileNotFoundError: there is no file of the format in the folder.
        """
        files = [path]
        if path.is_dir():
            files = files_below(path, self.endings)
        found = [
            page if page.file_name else dataclasses.replace(page, file_name=file.stem)
            for file in files
            for page in self.pages_of(file, among_others=path.is_dir())
        ]
        if not found and path.is_dir():
            raise FileNotFoundError(f"no {' or '.join(self.endings)} file of {self.name} in {path}")
        return found

    def pages_of(self, path: Path, *, among_others: bool = False) -> list[Page]:
        """Return the pages of a file.

        Args:
            path: the file.
            among_others: a JSON file of another format has no pages, and a warning is logged.

        Raises:
            ValueError: the file has another format; names the file.
        """
        assert self.pages is not None  # a format that is not loaded is read in pages
        if self.endings != (".json",):
            return self.pages(path, None)
        data = parse_json(path)
        if self.told(data):
            return self.pages(path, data)
        problem = f"{path}: is no file of {self.name}: {self.what}"
        if not among_others:
            raise DataError(problem)
        logger.warning("%s; left out", problem)
        return []

    def told(self, data: Any) -> bool:
        """Return whether parsed JSON has this format."""
        parsed = data if isinstance(data, dict) else {}
        return self.tell is not None and self.tell(parsed, entry_keys(data))


def entry_keys(data: Any) -> set[str]:
    """Return the keys of the annotations of parsed JSON, or of the entries of a list."""
    if isinstance(data, list):
        found = [entry for entry in data[:1000] if isinstance(entry, dict)]
    elif isinstance(data, dict) and not is_cocoa(data):
        found = list(itertools.islice(each_listed(data, "annotations"), 1000))
    else:
        found = []
    return set().union(*(entry.keys() for entry in found))


def _is_results(data: dict[str, Any], keys: set[str]) -> bool:
    images = data.get("images")
    return (
        isinstance(images, list)
        and all(isinstance(image, dict) for image in images)
        and ("format" in data or any("instances" in image for image in images))
    )


def _is_list(data: dict[str, Any], keys: set[str]) -> bool:
    return not data and not keys.isdisjoint(VISIBLE_KEYS)


def _last_categories(*paths: str | os.PathLike) -> Categories:
    return read_categories(paths[-1])


def _instances_beside(path: Path, given: Given) -> str | os.PathLike:
    return given.instances or path.parent / "instances.json"


def _stream_instaorder(path: Path, root: str, given: Given) -> Iterator[dict[str, Any]]:
    problems: list[str] = []
    instances, kept = _instances_beside(path, given), False
    for record in iterate_instaorder(path, instances, root, problems=problems):
        kept = True
        yield record
    settle_problems(path, problems, given.skip_damaged and kept, level=given.level)


def _read_labelme(path: Path, root: str, given: Given) -> tuple[Records, Categories]:
    return load_labelme(
        path,
        image_root=given.images,
        whole=given.whole,
        classes=given.classes,
        skip_damaged=given.skip_damaged,
    )


def _stream_coco(path: Path, root: str, given: Given) -> Iterator[dict[str, Any]]:
    beside = path.parent / "order.csv"
    order = given.order or (beside if beside.is_file() else None)
    crowds, skip = given.keep_crowds, given.skip_damaged
    return iterate_coco_order(
        path, root, order, keep_crowds=crowds, skip_damaged=skip, level=given.level
    )


def _read_results(path: Path, root: str, given: Given) -> tuple[Records, Categories]:
    file_names, categories = read_names(given.names_from)
    return load_results_records(path, root, categories=categories, file_names=file_names)


def _load_photos(*paths: str | os.PathLike, split: str | None = None, **options: Any) -> Records:
    return load_photos(*paths, split=split, **options)


def _save_cocoa(
    records: Records,
    path: str | os.PathLike,
    categories: Categories,
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    save_cocoa(records, path, image_root=image_root)


def _name_by_class(record: dict[str, Any], names: Mapping[int, str]) -> None:
    """Store class names as free text, since COCOA has no classes."""
    for annotation in record["annotations"]:
        annotation.setdefault("name", names.get(annotation["category_id"], ""))


def _check_ordered(record: dict[str, Any], names: Mapping[int, str]) -> None:
    if not {"occlusion", "depth"} & record.keys():
        raise ValueError(
            f"image {record['image_id']}: InstaOrder has no place for an image without order"
        )


def _cocoa_keys(data: dict[str, Any]) -> Mapping[str, str]:
    return {
        "modal": "visible_mask",
        "amodal": "segmentation",
        "hidden": "invisible_mask",
        "amodal_area": "area",
        "rate": "occlude_rate",
    }


def _kins_keys(data: dict[str, Any]) -> Mapping[str, str]:
    if not is_2020(data):
        return {"modal": "inmodal_seg", "amodal": "segmentation"}
    return {
        "modal": "i_segm",
        "amodal": "a_segm",
        "modal_area": "i_area",
        "amodal_area": "a_area",
    }


def _coco_keys(data: dict[str, Any]) -> Mapping[str, str]:
    return {"modal": "segmentation", "modal_area": "area"}


_DEPTH = ("depth", "overlap", "count")
_ORDERED: dict[str, Any] = {"standard": True, "evaluators": ("OrderResults",)}
_AMODAL: dict[str, Any] = {**_ORDERED, "needs_whole": True}

ROWS = (
    Format(
        name="labelme",
        what="a folder of labelme files with images, and order.csv",
        read=_read_labelme,
        save=save_labelme,
        pages=labelme_page,
        tell=lambda data, keys: "shapes" in data,
        loses=("names", "scores"),
    ),
    Format(
        name="instaorder",
        what="instaorder.json and instances.json",
        files=("instaorder.json", "instances.json"),
        inputs=2,
        load=load_instaorder,
        iterate=iterate_instaorder,
        stream=_stream_instaorder,
        categories=_last_categories,
        save=save_instaorder,
        fit=_check_ordered,
        tell=lambda data, keys: "instance_ids" in keys,
        marks="InstaOrder 'instance_ids'",
        mask_keys=_coco_keys,
        **_ORDERED,
        loses=("amodal", "names", "scores"),
    ),
    Format(
        name="cocoa",
        what="cocoa.json (COCO_amodal_*2014.json)",
        files=("cocoa.json",),
        load=load_cocoa,
        one_class="object",
        save=_save_cocoa,
        fit=_name_by_class,
        pages=cocoa_pages,
        tell=lambda data, keys: bool(data) and (is_cocoa(data) or "regions" in keys),
        marks="COCOA 'regions'",
        mask_keys=_cocoa_keys,
        amodal_scores=("regions", "things_stuff", "modal", "invisible", "order"),
        **_AMODAL,
        loses=("ids", "classes", "scores", *_DEPTH),
    ),
    Format(
        name="cocoa_cls",
        what="cocoa_cls.json (COCOA-cls, D2SA)",
        files=("cocoa_cls.json",),
        load=load_cocoa_cls,
        save=save_cocoa_cls,
        pages=coco_pages,
        tell=lambda data, keys: bool(data and keys & _COCOA_CLS_MARKS) and not keys & _KINS_MARKS,
        marks="COCOA-cls and D2SA 'visible_mask'",
        mask_keys=_cocoa_keys,
        amodal_scores=("regions", "classes", "modal", "invisible"),
        **_AMODAL,
        loses=("names", "scores", *_DEPTH),
    ),
    Format(
        name="kins",
        what="kins2020.json (update_*_2020.json)",
        files=("kins2020.json",),
        load=load_kins,
        save=save_kins,
        pages=coco_pages,
        tell=lambda data, keys: bool(data and keys & _KINS_MARKS),
        marks="KINS 'inmodal_seg' or 'a_segm'",
        mask_keys=_kins_keys,
        amodal_scores=("regions", "classes", "modal", "invisible", "order"),
        **_AMODAL,
        loses=("names", "scores", *_DEPTH),
    ),
    Format(
        name="photos",
        what="annotations.json of photographs with measured order",
        files=("annotations.json",),
        load=_load_photos,
        categories=read_photo_categories,
        tell=lambda data, keys: "instances" in data and "depth_order" in data,
        marks="photographs with measured order 'instances' and 'depth_order'",
        mask_keys=lambda data: {"modal": "modal", "amodal": "amodal"},
        evaluators=("OrderResults",),
    ),
    Format(
        name="coco",
        what="instances.json and order.csv; keeps everything",
        files=("instances.json", "order.csv"),
        load=load_coco_order,
        iterate=iterate_coco_order,
        stream=_stream_coco,
        save=save_coco_order,
        pages=coco_pages,
        tell=lambda data, keys: (
            "categories" in data and keys >= {"image_id", "category_id", "segmentation"}
        ),
        marks="COCO 'category_id' and 'segmentation'",
        mask_keys=_coco_keys,
        loses=("scores",),
    ),
    Format(
        name="results",
        what="order_results.json",
        files=("order_results.json",),
        read=_read_results,
        save=save_results_records,
        pages=results_pages,
        tell=_is_results,
        loses=("count",),
    ),
    Format(
        name="label_studio",
        what="label_studio.json, the JSON export of Label Studio; order as relations",
        files=("label_studio.json",),
        save=save_label_studio,
        pages=label_studio_pages,
        tell=is_label_studio,
        loses=("amodal", "names", "count"),
    ),
    Format(
        name="cvat",
        what="annotations.xml, CVAT for images 1.1; order as attributes and z-order",
        files=("annotations.xml",),
        save=save_cvat,
        pages=cvat_pages,
        endings=(".xml",),
        loses=("amodal", "names", "scores", *_DEPTH),
    ),
    *(  # masks alone: JSON files by their keys, others by their endings
        Format(name, what, pages=pages, tell=tell)
        for name, what, pages, tell in (
            ("coco_results", "a list of COCO results about one image", results_list_page, _is_list),
            (
                "panoptic",
                "a COCO panoptic JSON file, its PNG files",
                panoptic_pages,
                is_panoptic,
            ),
            ("sa_1b", "JSON files of SA-1B (Segment Anything)", sa_1b_pages, is_sa_1b),
            ("via", "a JSON file of VGG Image Annotator 1 to 3", via_pages, is_via),
        )
    ),
    *(
        Format(name, what, pages=page, endings=(ending,))
        for name, what, page, ending in (
            ("yolo", "text files of YOLO's segments", yolo_page, ".txt"),
            ("npy", "masks.npy: an array of masks, or a label map", npy_page, ".npy"),
            ("npz", "masks.npz: the same, with scores, classes, names, ids", npz_page, ".npz"),
        )
    ),
    Format(
        name="diw",
        what="DIW_test.csv: one pair of points for each image",
        load=load_diw,
        categories=None,
        ending=".csv",
        evaluators=("DIWEvaluator",),
    ),
    Format(
        name="kitti_depth",
        what="a list of images and depth maps",
        load=load_kitti_depth,
        categories=None,
        ending=".txt",
        evaluators=("KITTIDepthEvaluator",),
    ),
)

FORMATS: dict[str, Format] = {row.name: row for row in ROWS}
"""Name -> format; a file is recognized as the first one that matches."""


def convertible() -> list[str]:
    """Return the names of formats that the converter reads and writes."""
    return [name for name, row in FORMATS.items() if row.save is not None]


def readable() -> list[str]:
    """Return the names of formats that the converter reads."""
    return [name for name, row in FORMATS.items() if row.save or row.pages]


def checkable() -> list[str]:
    """Return the names of formats that the validator knows."""
    return [name for name, row in FORMATS.items() if row.tell or row.ending or row.pages]


def pages_of_json(path: Path, data: Any) -> list[Page]:
    """Return the pages of parsed JSON in any format.

    Args:
        path: the file, for messages.
        data: its content.

    Raises:
        ValueError: no format matches; names the file.
    """
    for row in FORMATS.values():
        if row.pages is not None and row.told(data):
            return row.pages(path, data)
    if isinstance(data, list):
        return results_list_page(path, data)
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a list or an object, got {type(data).__name__}")
    if isinstance(data.get("images"), list):  # COCO without categories, or without annotations
        return coco_pages(path, data)
    known = ", ".join(name for name, row in FORMATS.items() if row.pages and row.tell)
    raise DataError(
        f"{path}: expected COCO instances ('images', 'annotations') or a JSON file of {known}; "
        f"got the keys {show(sorted(map(str, data)))}"
    )


def pages_of_file(path: Path) -> list[Page] | None:
    """Return the pages of a file that is not JSON; None for an image."""
    for row in FORMATS.values():
        if row.pages is not None and path.suffix.lower() in row.endings and not row.tell:
            return row.pages(path, None)
    return None


def registrable() -> list[str]:
    """Return the names of formats that can be registered with Detectron2."""
    return [name for name, row in FORMATS.items() if row.evaluators]


def standard() -> list[Format]:
    """Return the formats in which scenes are written, and for which user folders are searched."""
    return [row for row in FORMATS.values() if row.standard]


def with_order() -> list[str]:
    """Return the names of formats for which orders of instances are evaluated."""
    return [name for name, row in FORMATS.items() if "OrderResults" in row.evaluators]


def scorable() -> list[str]:
    """Return the names of formats that `occ-order score` reads as ground truth."""
    return [name for name, row in FORMATS.items() if name in with_order() or row.save]


def row_of(name: str, known: Sequence[str]) -> Format:
    """Return the row of a format.

    Raises:
        ValueError: it is not one of `known`.
    """
    if name not in known:
        raise ValueError(f"unknown format {name!r}; known are {', '.join(known)}")
    return FORMATS[name]
