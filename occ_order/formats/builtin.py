"""Registers the data sets with Detectron2, below `$DETECTRON2_DATASETS` (default: `./datasets`).

Importing this module registers every name that datasets/README.md lists; files are opened when a
data set is first asked for. Photographs with measured order are below `$OCC_ORDER_PHOTOS` instead,
the few of COCOA for demonstrations below `$OCC_ORDER_COCOA_DEMO`.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.structures import BoxMode

from occ_order.formats.mask_fields import as_rle
from occ_order.formats.own import find_own
from occ_order.formats.table import Format, registrable, row_of, standard

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

# What each of our names was registered with; Detectron2's catalog keeps only functions.
_registered: dict[str, dict[str, Any]] = {}


def register_instaorder(
    name: str,
    order_json: str | os.PathLike,
    instances_json: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Registers an InstaOrder file with the COCO instances file that it refers to.

    Args:
        name: name of the data set.
        order_json: file of the layout of `InstaOrder_val2017.json`.
        instances_json: file of the layout of `instances_val2017.json`.
        image_root: folder of the images.
        categories: [{"id", "name"}] in the order of the contiguous ids; None takes those of the
            file when it is loaded.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    register(name, "instaorder", order_json, instances_json, image_root, categories=categories)


def register_cocoa(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    max_occlude_rate: float | None = None,
) -> None:
    """Registers a COCOA file; every region is of the one class "object".

    Args:
        name: name of the data set.
        json_file: file of the layout of `COCO_amodal_val2014.json`.
        image_root: folder of the images.
        max_occlude_rate: see `occ_order.formats.load_cocoa`.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    options = {"max_occlude_rate": max_occlude_rate}
    register(name, "cocoa", json_file, image_root, options=options)


def register_coco_amodal(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Registers a COCOA-cls or D2SA file (COCO nesting with `visible_mask`).

    Args:
        name: name of the data set.
        json_file: file of the layout of `COCO_amodal_val2014_with_classes.json`.
        image_root: folder of the images.
        categories: as in `register_instaorder`.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    register(name, "cocoa_cls", json_file, image_root, categories=categories)


def register_kins(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    categories: Categories | None = None,
) -> None:
    """Registers a KINS file of 2019 or 2020.

    Args:
        name: name of the data set.
        json_file: file of the layout of `instances_val.json` or `update_test_2020.json`.
        image_root: folder of the images.
        categories: as in `register_instaorder`.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    register(name, "kins", json_file, image_root, categories=categories)


def register_diw(name: str, csv_file: str | os.PathLike, image_root: str | os.PathLike) -> None:
    """Registers a Depth-in-the-Wild csv file; records are those of `load_diw` with an image_id.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    register(name, "diw", csv_file, image_root)


def register_kitti_depth(
    name: str,
    list_file: str | os.PathLike,
    root: str | os.PathLike,
    *,
    rgb_dir: str = "rawdata",
    depth_dir: str = "data_depth_annotated",
) -> None:
    """Registers a list of images and depth maps; maps that are not on disk are left out.

    Records are those of `load_kitti_depth` with an image_id.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    options = {"rgb_dir": rgb_dir, "depth_dir": depth_dir, "skip_missing": True}
    register(name, "kitti_depth", list_file, root, options=options)


def register_photos(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    split: str | None = None,
) -> None:
    """Registers one source of photographs with measured order.

    Args:
        name: name of the data set.
        json_file: its `annotations.json`, see `occ_order.formats.photos`.
        image_root: folder that its file names are relative to. Both paths may begin with a variable
            ("$OCC_ORDER_PHOTOS/..."), which is looked up when the data set is asked for.
        split: "train", "val", or None for both.

    Raises:
        ValueError: the name is already registered with other arguments.
    """
    register(name, "photos", json_file, image_root, options={"split": split})


def register(
    name: str,
    format: str,
    *paths: str | os.PathLike,
    categories: Categories | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Register files of any format that `occ_order.formats.table` has a reader for.

    Args:
        name: name of the data set.
        format: name of the format; it becomes the `evaluator_type`.
        paths: the files that the reader needs, then the folder of the images.
        categories: [{"id", "name"}] in the order of the contiguous ids; None takes those of the
            file when it is loaded. Formats without classes have one of their own.
        options: further arguments of the reader.

    Raises:
        ValueError: there is no such format, or the name is already registered with other arguments.
    """
    row = row_of(format, registrable())
    if row.one_class is not None:
        categories = [{"id": 1, "name": row.one_class}]
    places = tuple(_absolute(path) for path in paths)
    arguments = {
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

    def load() -> list[dict[str, Any]]:
        found = _expanded(name, places)
        for path in found[:-1]:
            if not os.path.isfile(path):
                variable = _variable(places[0]) or "DETECTRON2_DATASETS"
                raise FileNotFoundError(
                    f"data set {name!r}: no file {path}; datasets/README.md says what belongs "
                    f"there ({variable} is {os.getenv(variable, 'not set')})"
                )
        records = row.load(*found, **arguments["options"])
        if row.categories is None:
            return [{**record, "image_id": k} for k, record in enumerate(records)]
        return _for_detectron2(name, records, categories or row.categories(*found[:-1]))

    DatasetCatalog.register(name, load)
    entry = MetadataCatalog.get(name)
    files = dict(zip(("json_file", "instances_json"), places[:-1], strict=False))
    entry.set(evaluator_type=format, image_root=places[-1], **files)
    if categories is not None:
        _set_categories(name, categories)
    _registered[name] = arguments


def _absolute(path: str | os.PathLike) -> str:
    """The absolute path; one that begins with a variable stays as it is."""
    path = os.fspath(path)
    return path if _variable(path) else os.path.abspath(path)


def _expanded(name: str, places: tuple[str, ...]) -> tuple[str, ...]:
    """Paths with the variables that they begin with looked up.

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
    """The variable that a path begins with."""
    return path[1:].split("/")[0] if path.startswith("$") else None


def _described(arguments: dict[str, Any]) -> str:
    options = [f"{key}={value}" for key, value in arguments["options"].items()]
    categories = arguments["categories"]
    classes = f"{len(categories)} categories" if categories else "the file's categories"
    return ", ".join([arguments["format"], *arguments["paths"], *options, classes])


def _set_categories(name: str, categories: Categories) -> dict[int, int]:
    """Writes the classes into the metadata; returns the contiguous id of each category id."""
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
    name: str, records: list[dict[str, Any]], categories: Categories
) -> list[dict[str, Any]]:
    """Adds bbox_mode, makes category ids contiguous and RLE compressed, in place."""
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
                if isinstance(annotation.get(key), dict):  # Detectron2 reads compressed RLE only
                    size = record["height"], record["width"]
                    name = f"image {record['image_id']}: annotation {annotation['id']}"
                    annotation[key] = as_rle(annotation[key], *size, name=name)
    return records


def validation_arguments(name: str) -> dict[str, Any]:
    """Returns what `occ_order.formats.validate.validate` is called with for a registered name.

    Raises:
        ValueError: no such file, and no data set of that name that was registered here.
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
    """Registers every built-in data set below `root`; does nothing for names that are ours already.

    A name that another package has registered is left to it, with a warning.
    """
    for name, register, arguments in _builtin(os.fspath(root)):
        if name in DatasetCatalog and name not in _registered:
            logger.warning("data set name %s is taken by another package, left alone", name)
        else:
            register(name, **arguments)
    register_own(root)


def register_own(root: str | os.PathLike) -> None:
    """Registers a user's own data sets in `own/NAME/SPLIT` below `root` (datasets/OWN_DATA.md).

    Raises:
        ValueError: one of these names is already registered for another folder.
    """
    for name, kind, paths in find_own(root):
        register(name, kind, *paths)


def _builtin(root: str) -> list[tuple[str, Callable[..., None], dict[str, Any]]]:
    def under(*parts: str) -> str:
        return os.path.join(root, *parts)

    entries: list[tuple[str, Callable[..., None], dict[str, Any]]] = []
    for split in ("train", "val"):
        arguments = {
            "order_json": under("coco/annotations", f"InstaOrder_{split}2017.json"),
            "instances_json": under("coco/annotations", f"instances_{split}2017.json"),
            "image_root": under("coco", f"{split}2017"),
            "categories": COCO_THINGS,
        }
        entries.append((f"instaorder_2017_{split}", register_instaorder, arguments))
    for split in ("train", "val", "test"):
        arguments = {
            "json_file": under("coco/annotations", f"COCO_amodal_{split}2014.json"),
            "image_root": under("coco", f"{split}2014"),
        }
        entries.append((f"cocoa_2014_{split}", register_cocoa, arguments))
    for split in ("train", "val"):
        arguments = {
            "json_file": under("coco/annotations", f"COCO_amodal_{split}2014_with_classes.json"),
            "image_root": under("coco", f"{split}2014"),
            "categories": COCO_THINGS,
        }
        entries.append((f"cocoa_cls_{split}", register_coco_amodal, arguments))
    for more in (_builtin_kins, _builtin_d2sa, _builtin_depth, _scenes, _composed):
        entries += more(under)
    return entries + _photos()


def _builtin_kins(under: Callable[..., str]) -> list[tuple[str, Callable[..., None], dict]]:
    folders = {"train": "training", "val": "testing", "test": "testing"}
    files = [
        ("kins_2019_train", "instances_train.json", "train", KINS_2019_CLASSES),
        ("kins_2019_val", "instances_val.json", "val", KINS_2019_CLASSES),
        ("kins_2020_train", "update_train_2020.json", "train", KINS_2020_CLASSES),
        ("kins_2020_test", "update_test_2020.json", "test", KINS_2020_CLASSES),
    ]
    return [
        (
            name,
            register_kins,
            {
                "json_file": under("kins", file),
                "image_root": under("kins", folders[split], "image_2"),
                "categories": classes,
            },
        )
        for name, file, split, classes in files
    ]


def _builtin_d2sa(under: Callable[..., str]) -> list[tuple[str, Callable[..., None], dict]]:
    files = {
        "d2sa_train": "D2S_amodal_training_rot0.json",
        "d2sa_train_aug": "D2S_amodal_augmented.json",
        "d2sa_val": "D2S_amodal_validation.json",
    }
    images = under("d2sa", "d2s_amodal_images_v1", "images")
    folder = under("d2sa", "d2s_amodal_annotations_v1")
    return [
        (
            name,
            register_coco_amodal,
            {"json_file": os.path.join(folder, file), "image_root": images},
        )
        for name, file in files.items()
    ]


def _builtin_depth(under: Callable[..., str]) -> list[tuple[str, Callable[..., None], dict]]:
    diw = {"csv_file": under("diw", "DIW_Annotations", "DIW_test.csv"), "image_root": under("diw")}
    kitti = {"list_file": under("kitti", "eigen_test_files_with_gt.txt"), "root": under("kitti")}
    return [("diw_test", register_diw, diw), ("kitti_eigen_test", register_kitti_depth, kitti)]


def _photos() -> list[tuple[str, Callable[..., None], dict]]:
    """The known sources, whether they are there or not, others that are, and COCOA's few."""
    folder, root = f"${PHOTOS}", os.getenv(PHOTOS)
    sources = {*PHOTO_SOURCES}
    if root:
        sources |= {path.parent.name for path in Path(root).glob("*/annotations.json")}
    demo = {
        "json_file": f"${COCOA_DEMO}/COCO_amodal_demo5.json",
        "image_root": f"${COCOA_DEMO}/..",
    }
    return [("cocoa_demo", register_cocoa, demo)] + [
        (
            f"photos_{source}_{split}",
            register_photos,
            {
                "json_file": f"{folder}/{source}/annotations.json",
                "image_root": f"{folder}/{source}",
                "split": split,
            },
        )
        for source in sorted(sources)
        for split in ("train", "val")
    ]


def _scenes(under: Callable[..., str]) -> list[tuple[str, Callable[..., None], dict]]:
    """Generated scenes, with patterns and plain, and those of quick schedules."""
    return [
        entry
        for name in ("scenes", "scenes_plain", "scenes_quick")
        for split in ("train", "val")
        for entry in _scenes_split(under(name), name, split)
    ]


def _composed(under: Callable[..., str]) -> list[tuple[str, Callable[..., None], dict]]:
    """Composed photographs: the folder `composed`, and `composed_*` where there are any."""
    names = {"composed"} | {path.name for path in Path(under()).glob("composed_*/")}
    return [
        entry
        for name in sorted(names)
        for split in ("train", "val")
        for entry in [*_orders(under(name), name, split), _photos_of(under(name), name, split)]
    ]


def _photos_of(root: str, name: str, split: str) -> tuple[str, Callable[..., None], dict]:
    arguments = {
        "json_file": os.path.join(root, "annotations", f"photos_{split}.json"),
        "image_root": os.path.join(root, split, "images"),
        "split": split,
    }
    return f"{name}_{split}_photos", register_photos, arguments


def _scenes_split(
    root: str, name: str, split: str
) -> list[tuple[str, Callable[..., None], dict[str, Any]]]:
    folder = os.path.join(root, split)
    diw = {
        "csv_file": os.path.join(root, "annotations", f"diw_{split}.csv"),
        "image_root": folder,
    }
    kitti = {
        "list_file": os.path.join(root, "annotations", f"kitti_{split}.txt"),
        "root": folder,
        "rgb_dir": "images",
        "depth_dir": "depth",
    }
    return [
        *_orders(root, name, split),
        (f"{name}_{split}_diw", register_diw, diw),
        (f"{name}_{split}_kitti", register_kitti_depth, kitti),
    ]


def _orders(
    root: str, name: str, split: str
) -> list[tuple[str, Callable[..., None], dict[str, Any]]]:
    """The formats with masks that occ-order scenes writes."""
    images = os.path.join(root, split, "images")
    return [
        (
            f"{name}_{split}_{row.name}",
            functools.partial(_register_row, row),
            {
                "paths": [
                    *row.paths_in(Path(root, "annotations"), f"_{split}")[: row.inputs],
                    images,
                ]
            },
        )
        for row in standard()
    ]


def _register_row(row: Format, name: str, paths: Sequence[str | os.PathLike]) -> None:
    register(name, row.name, *paths)


register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
