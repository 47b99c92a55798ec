"""Registration of the data sets with Detectron2, below `$DETECTRON2_DATASETS` (default ./datasets).

Importing this module registers every name listed in datasets/README.md; files are opened when a
data set is loaded. Photographs with measured order are below `$OCC_ORDER_PHOTOS` instead, the
annotated demo photographs of COCOA below `$OCC_ORDER_COCOA_DEMO`.
The `register_*` functions do the same for a user's own files:

    from occ_order.formats.builtin import register_cocoa
    register_cocoa("my_photographs", "my.json", "my_images")

Registered records have what Detectron2 expects: `bbox_mode` is XYXY_ABS, RLE is compressed and
category ids count from 0; `MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id` maps the
file's ids to them.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.structures import BoxMode

from occ_order.formats.mask_fields import as_rle
from occ_order.formats.own import find_own
from occ_order.formats.table import registrable, row_of, standard

logger = logging.getLogger(__name__)

Categories = list[dict[str, Any]]

COCO_THINGS: Categories = [
    {"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES if c["isthing"]
]
_KINS_NAMES = {1: "cyclist", 2: "pedestrian", 4: "car", 5: "tram", 6: "truck", 7: "van", 8: "misc"}
KINS_2019_CLASSES: Categories = [{"id": k, "name": v} for k, v in _KINS_NAMES.items()]
KINS_2020_CLASSES: Categories = [
    {"id": k, "name": v} for k, v in sorted({**_KINS_NAMES, 3: "rider"}.items())
]

PHOTOS = "OCC_ORDER_PHOTOS"
"""Environment variable that names the folder of photographs with measured order."""

COCOA_DEMO = "OCC_ORDER_COCOA_DEMO"
"""Environment variable that names the folder of a few annotated COCOA photographs."""

PHOTO_SOURCES = (
    "balloon",
    "coco_small",
    "cutouts",
    "fruitsnuts",
    "nyuv2",
    "pennfudan",
    "voc2007",
    "ycbv10",
)

COMPOSED = ("composed", "composed_four")
"""Folders of composed photographs that tables name, registered whether they are there or not."""

# Name -> arguments of its registration, since Detectron2's catalog only stores functions.
_registered: dict[str, dict[str, Any]] = {}


class BuiltIn(NamedTuple):
    """A built-in data set: the arguments of `register`."""

    name: str
    format: str
    paths: tuple[str | os.PathLike, ...]
    categories: Categories | None = None
    options: dict[str, Any] | None = None


# The following functions are `register` with named paths for each format. For `name`, `categories`
# and the errors see `register`.


def register_instaorder(
    name: str,
    order_json: str | os.PathLike,
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Register `InstaOrder_*2017.json` with the `instances_*2017.json` that it refers to."""
    register(name, "instaorder", order_json, instances_json, image_root, categories=categories)


def register_cocoa(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    max_occlude_rate: float | None = None,
) -> None:
    """Register `COCO_amodal_*2014.json`, with one class; arguments as for `load_cocoa`."""
    options = {} if max_occlude_rate is None else {"max_occlude_rate": max_occlude_rate}
    register(name, "cocoa", json_file, image_root, options=options)


def register_coco_amodal(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Register a file of COCOA-cls or D2SA (COCO nesting with `visible_mask`)."""
    register(name, "cocoa_cls", json_file, image_root, categories=categories)


def register_kins(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Register a KINS file of 2019 (`instances_*.json`) or 2020 (`update_*_2020.json`)."""
    register(name, "kins", json_file, image_root, categories=categories)


def register_diw(name: str, csv_file: str | os.PathLike, image_root: str | os.PathLike) -> None:
    """Register a Depth-in-the-Wild csv file; records are those of `load_diw` with an image_id."""
    register(name, "diw", csv_file, image_root)


def register_kitti_depth(
    name: str,
    list_file: str | os.PathLike,
    root: str | os.PathLike,
    *,
    rgb_dir: str = "rawdata",
    depth_dir: str = "data_depth_annotated",
) -> None:
    """Register a list of images and depth maps; missing depth maps are left out.

    Records and arguments are those of `load_kitti_depth`, with an image_id in addition.
    """
    options = _depth_options(rgb_dir=rgb_dir, depth_dir=depth_dir)
    register(name, "kitti_depth", list_file, root, options=options)


def register_photos(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    split: str | None = None,
) -> None:
    """Register one source of photographs with measured order.

    Args:
        name: name of the data set.
        json_file: its `annotations.json`, see `occ_order.formats.photos`.
        image_root: folder that its file names are relative to. Both paths may start with an
            environment variable ("$OCC_ORDER_PHOTOS/..."), expanded when the data set is loaded.
        split: "train", "val", or None for both.
    """
    options = {} if split is None else {"split": split}
    register(name, "photos", json_file, image_root, options=options)


def register(
    name: str,
    format: str,
    *paths: str | os.PathLike,
    categories: Categories | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Register a data set of any format in `occ_order.formats.table`.

    Args:
        name: name of the data set.
        format: name of the format, used as `evaluator_type`.
        paths: the input files of the reader, then the image folder.
        categories: [{"id", "name"}] in the order of the contiguous ids; None = those of the file,
            read when it is loaded. Formats without classes have a single one.
        options: additional arguments of the reader.

    Raises:
        ValueError: unknown format, or the name is already registered with other arguments.
    """
    row = row_of(format, registrable())
    if row.one_class is not None:
        categories = [{"id": 1, "name": row.one_class}]
    places = tuple(_absolute(path) for path in paths)
    arguments: dict[str, Any] = {
        "format": format,
        "paths": places,
        "options": options or {},
        "categories": categories,
    }
    if name in DatasetCatalog:
        if _registered.get(name) == arguments:
            return
        before = _registered.get(name)
        raise ValueError(
            f"the data set name {name!r} is already registered with "
            f"{_described(before) if before else 'a reader of another package'}; "
            f"now with {_described(arguments)}"
        )

    DatasetCatalog.register(name, functools.partial(_listed, name))
    entry = MetadataCatalog.get(name)
    files = dict(zip(("json_file", "instances_json"), places[:-1], strict=False))
    entry.set(evaluator_type=format, image_root=places[-1], **files)
    if categories is not None:
        _set_categories(name, categories)
    _registered[name] = arguments


def _listed(name: str) -> list[dict[str, Any]]:
    return list(iterate(name))


def iterate(name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a data set one after the other, as `DatasetCatalog.get` lists them.

    InstaOrder's are read one by one, so that COCO's annotations need not fit in memory.

    Raises:
        FileNotFoundError: a file or the variable that names its folder is missing.
        ValueError: invalid data, as in the readers.
    """
    reader = DatasetCatalog.data.get(name)
    if getattr(reader, "func", None) is not _listed:  # another package's
        yield from DatasetCatalog.get(name)
        return
    arguments = _registered[name]
    places, categories = arguments["paths"], arguments["categories"]
    found, row = _expanded(name, places), row_of(arguments["format"], registrable())
    for path in found[:-1]:
        if not os.path.isfile(path):
            variable = _variable(places[0]) or "DETECTRON2_DATASETS"
            raise FileNotFoundError(
                f"data set {name!r}: no file {path}; datasets/README.md says what belongs "
                f"there ({variable} is {os.getenv(variable, 'not set')})"
            )
    read = row.iterate or row.load
    assert read is not None  # all registrable formats are loaded
    records = read(*found, **arguments["options"])
    if row.categories is None:
        yield from ({**record, "image_id": k} for k, record in enumerate(records))
    else:
        yield from _for_detectron2(name, records, categories or row.categories(*found[:-1]))


def _absolute(path: str | os.PathLike) -> str:
    """Return the absolute path; paths that start with a variable are not changed."""
    path = os.fspath(path)
    return path if _variable(path) else os.path.abspath(path)


def _expanded(name: str, places: tuple[str, ...]) -> tuple[str, ...]:
    """Expand the environment variables at the start of paths.

    Raises:
        FileNotFoundError: a variable is not set.
    """
    variable = _variable(places[0])
    if variable is None:
        return places
    if not os.getenv(variable):
        raise FileNotFoundError(
            f"data set {name!r}: {variable} is not set; it names the folder that holds this data "
            "set (datasets/README.md)"
        )
    return tuple(os.path.abspath(os.path.expandvars(path)) for path in places)


def _variable(path: str) -> str | None:
    """Return the environment variable at the start of a path, if any."""
    return path[1:].split("/", maxsplit=1)[0] if path.startswith("$") else None


def _described(arguments: dict[str, Any]) -> str:
    options = [f"{key}={value}" for key, value in arguments["options"].items()]
    categories = arguments["categories"]
    classes = f"{len(categories)} categories" if categories else "the file's categories"
    return ", ".join([arguments["format"], *arguments["paths"], *options, classes])


def _set_categories(name: str, categories: Categories) -> dict[int, int]:
    """Write the classes to the metadata; return category id -> contiguous id."""
    contiguous = {category["id"]: k for k, category in enumerate(categories)}
    names = [category["name"] for category in categories]
    entry = MetadataCatalog.get(name)
    if entry.get("thing_classes", names) != names:
        raise ValueError(
            f"data set {name!r}: the file now has the categories {names}, "
            f"but it was loaded with {entry.thing_classes} before"
        )
    entry.set(thing_classes=names, thing_dataset_id_to_contiguous_id=contiguous)
    return contiguous


def _for_detectron2(
    name: str, records: Iterable[dict[str, Any]], categories: Categories
) -> Iterator[dict[str, Any]]:
    """Add bbox_mode, make category ids contiguous and RLE compressed, in place."""
    contiguous = _set_categories(name, categories)
    for record in records:
        for annotation in record["annotations"]:
            category_id = annotation["category_id"]
            if category_id not in contiguous:
                raise ValueError(
                    f"data set {name!r}: image {record['image_id']}: annotation "
                    f"{annotation['id']}: category_id {category_id} is not one of the registered "
                    f"categories {sorted(contiguous)}"
                )
            annotation["category_id"] = contiguous[category_id]
            annotation["bbox_mode"] = BoxMode.XYXY_ABS
            for key in ("segmentation", "amodal_segmentation"):
                if isinstance(annotation.get(key), dict):  # Detectron2 needs compressed RLE
                    size = record["height"], record["width"]
                    where = f"image {record['image_id']}: annotation {annotation['id']}"
                    annotation[key] = as_rle(annotation[key], *size, name=where)
        yield record


def validation_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of `occ_order.formats.validate.validate` for a registered name.

    Raises:
        ValueError: neither a file nor a data set registered by this package.
    """
    if name not in _registered:
        raise ValueError(
            f"{name!r} is neither a file nor a data set of this package; "
            f"the data sets are {', '.join(sorted(_registered))}"
        )
    entry = _registered[name]
    places = _expanded(name, entry["paths"])
    return {
        "path": places[0],
        "format": entry["format"],
        "images": places[-1],
        "instances": places[1] if len(places) == 3 else None,
        "options": entry["options"],
    }


def register_all(root: str | os.PathLike) -> None:
    """Register all built-in data sets below `root`, unless already registered.

    A name that another package has registered is skipped with a warning.
    """
    for one in _builtin(os.fspath(root)):
        if one.name in DatasetCatalog and one.name not in _registered:
            logger.warning("data set name %s is taken by another package, left alone", one.name)
        else:
            register(
                one.name, one.format, *one.paths, categories=one.categories, options=one.options
            )
    register_own(root)


def register_own(root: str | os.PathLike) -> None:
    """Register a user's own data sets in `own/NAME/SPLIT` below `root` (datasets/OWN_DATA.md).

    Raises:
        ValueError: one of these names is already registered for another folder.
    """
    for name, kind, paths in find_own(root):
        register(name, kind, *paths)


def _builtin(root: str) -> list[BuiltIn]:
    def under(*parts: str) -> str:
        return os.path.join(root, *parts)

    notes = under("coco", "annotations")
    coco_2014 = {split: under("coco", f"{split}2014") for split in ("train", "val", "test")}
    found = [
        BuiltIn(
            f"instaorder_2017_{split}",
            "instaorder",
            (
                os.path.join(notes, f"InstaOrder_{split}2017.json"),
                os.path.join(notes, f"instances_{split}2017.json"),
                under("coco", f"{split}2017"),
            ),
            COCO_THINGS,
        )
        for split in ("train", "val")
    ]
    for split, images in coco_2014.items():
        file = os.path.join(notes, f"COCO_amodal_{split}2014.json")
        found.append(BuiltIn(f"cocoa_2014_{split}", "cocoa", (file, images)))
    for split in ("train", "val"):
        file = os.path.join(notes, f"COCO_amodal_{split}2014_with_classes.json")
        paths = (file, coco_2014[split])
        found.append(BuiltIn(f"cocoa_cls_{split}", "cocoa_cls", paths, COCO_THINGS))
    for more in (_builtin_kins, _builtin_d2sa, _builtin_depth, _scenes, _composed):
        found += more(under)
    return found + _photos()


def _builtin_kins(under: Callable[..., str]) -> list[BuiltIn]:
    folders = {"train": "training", "val": "testing", "test": "testing"}
    files = [
        ("kins_2019_train", "instances_train.json", "train", KINS_2019_CLASSES),
        ("kins_2019_val", "instances_val.json", "val", KINS_2019_CLASSES),
        ("kins_2020_train", "update_train_2020.json", "train", KINS_2020_CLASSES),
        ("kins_2020_test", "update_test_2020.json", "test", KINS_2020_CLASSES),
    ]
    return [
        BuiltIn(
            name, "kins", (under("kins", file), under("kins", folders[split], "image_2")), classes
        )
        for name, file, split, classes in files
    ]


def _builtin_d2sa(under: Callable[..., str]) -> list[BuiltIn]:
    files = {
        "d2sa_train": "D2S_amodal_training_rot0.json",
        "d2sa_train_aug": "D2S_amodal_augmented.json",
        "d2sa_val": "D2S_amodal_validation.json",
    }
    images = under("d2sa", "d2s_amodal_images_v1", "images")
    folder = under("d2sa", "d2s_amodal_annotations_v1")
    return [
        BuiltIn(name, "cocoa_cls", (os.path.join(folder, file), images))
        for name, file in files.items()
    ]


def _builtin_depth(under: Callable[..., str]) -> list[BuiltIn]:
    diw = (under("diw", "DIW_Annotations", "DIW_test.csv"), under("diw"))
    kitti = (under("kitti", "eigen_test_files_with_gt.txt"), under("kitti"))
    folders = {"rgb_dir": "rawdata", "depth_dir": "data_depth_annotated"}
    return [
        BuiltIn("diw_test", "diw", diw),
        BuiltIn("kitti_eigen_test", "kitti_depth", kitti, options=_depth_options(**folders)),
    ]


def _photos() -> list[BuiltIn]:
    """Return the known sources, further ones found on disk, and COCOA's demo photographs."""
    folder, root = f"${PHOTOS}", os.getenv(PHOTOS)
    sources = {*PHOTO_SOURCES}
    if root:
        sources |= {path.parent.name for path in Path(root).glob("*/annotations.json")}
    demo = (f"${COCOA_DEMO}/COCO_amodal_demo5.json", f"${COCOA_DEMO}/..")
    return [BuiltIn("cocoa_demo", "cocoa", demo)] + [
        BuiltIn(
            f"photos_{source}_{split}",
            "photos",
            (f"{folder}/{source}/annotations.json", f"{folder}/{source}"),
            options={"split": split},
        )
        for source in sorted(sources)
        for split in ("train", "val")
    ]


def _scenes(under: Callable[..., str]) -> list[BuiltIn]:
    """Return the generated scenes: textured, plain, and those of the quick schedules."""
    return [
        one
        for name in ("scenes", "scenes_plain", "scenes_quick")
        for split in ("train", "val")
        for one in _scenes_split(under(name), name, split)
    ]


def _composed(under: Callable[..., str]) -> list[BuiltIn]:
    """Return the composed photographs: the folders `COMPOSED`, and any `composed_*`."""
    names = {*COMPOSED} | {path.name for path in Path(under()).glob("composed_*/")}
    return [
        one
        for name in sorted(names)
        for split in ("train", "val")
        for one in [*_orders(under(name), name, split), _photos_of(under(name), name, split)]
    ]


def _photos_of(root: str, name: str, split: str) -> BuiltIn:
    file = os.path.join(root, "annotations", f"photos_{split}.json")
    paths = (file, os.path.join(root, split, "images"))
    return BuiltIn(f"{name}_{split}_photos", "photos", paths, options={"split": split})


def _scenes_split(root: str, name: str, split: str) -> list[BuiltIn]:
    folder, notes = os.path.join(root, split), os.path.join(root, "annotations")
    diw = (os.path.join(notes, f"diw_{split}.csv"), folder)
    kitti = (os.path.join(notes, f"kitti_{split}.txt"), folder)
    options = _depth_options(rgb_dir="images", depth_dir="depth")
    return [
        *_orders(root, name, split),
        BuiltIn(f"{name}_{split}_diw", "diw", diw),
        BuiltIn(f"{name}_{split}_kitti", "kitti_depth", kitti, options=options),
    ]


def _orders(root: str, name: str, split: str) -> list[BuiltIn]:
    """Return the data sets of one split in all formats that occ-order scenes writes."""
    images, notes = os.path.join(root, split, "images"), Path(root, "annotations")
    return [
        BuiltIn(
            f"{name}_{split}_{row.name}",
            row.name,
            (*row.paths_in(notes, f"_{split}")[: row.inputs], images),
        )
        for row in standard()
    ]


def _depth_options(**folders: str) -> dict[str, Any]:
    """Return options of `load_kitti_depth`: the folders, and to skip missing depth maps."""
    return {**folders, "skip_missing": True}


register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
