#!/usr/bin/env python
"""Coverage-guided fuzzer of the file readers.

Converters, viewer, scores and annotation are run on files that the readers have accepted.

    python tools/fuzz_readers.py --seconds 600
    python tools/fuzz_readers.py --targets cocoa masks --executions 500

A reader may reject a file with a ValueError (or OSError) or read it. Anything else is a finding:
other errors, a RuntimeWarning of NumPy, reading that takes longer than --limit seconds, or an
accepted record whose mask raises another kind of error when decoded. Findings are printed, and
their inputs are kept in --output.

Valid files, and those that reach new lines of the package, are mutated again, mostly in their
structure: the tree of JSON and XML, lines and cells of a table, records of JSON Lines, NumPy
    arrays; otherwise
their bytes.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

ALLOWED = (ValueError, OSError)
JUNK: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3.5, 10**30, 2**63, -(2**63), 1e308, 1e-320, float("nan"),
    float("inf"), "", "x", "0<1", "1-2", "1-2,2-1", "0<1 & 1<0", "0=1", "é", "\ud800", "\0", [], {},
    [[]], [None], [0] * 6, [[1e308] * 6], [[0, 0, 1e4, 0, 1e4, 1e4]], {"size": [24, 32]},
    {"size": [24, 32], "counts": "zzz"}, {"size": [24, 32], "counts": [768]},
    {"size": [24, 32], "counts": [10**20, -5]}, {"size": [24, 32], "counts": ""},
]  # fmt: skip
"""Values that replace others in a JSON tree."""


@dataclass
class Target:
    """A reader and valid files for it.

    Attributes:
        name: name on the command line.
        read: reads a file, given its path.
        seeds: contents of valid files.
        suffix: extension of the files.
    """

    name: str
    read: Callable[[str], Any]
    seeds: list[bytes]
    suffix: str = ".json"


@dataclass
class Findings:
    """Result of a run.

    Attributes:
        executions: number of files.
        refused: number of files rejected with an allowed error.
        lines: distinct lines of the package that were executed.
        found: (target, input, traceback), one for each distinct location of an error.
    """

    executions: int = 0
    refused: int = 0
    lines: set[tuple[str, int]] = field(default_factory=set)
    found: list[tuple[str, bytes, str]] = field(default_factory=list)


# --- targets


def _decode_all(records: Iterable[dict[str, Any]]) -> None:
    """Decode the masks of the records; only allowed errors may be raised."""
    from occ_order import masks

    for record in records:
        for annotation in record["annotations"]:
            for key in ("segmentation", "amodal_segmentation"):
                if key in annotation and record["height"] * record["width"] < 2**22:
                    masks.decode(annotation[key], record["height"], record["width"])


def make_targets(folder: Path) -> dict[str, Target]:
    """Build all targets, with seeds from two small generated scenes.

    Args:
        folder: an empty folder that exists until the end of the fuzzing.
    """
    from occ_order import formats as datasets
    from occ_order import masks
    from occ_order.files import load_image
    from occ_order.formats.validate import validate
    from occ_order.formats.write_scenes import annotation_files, make, scene_parameters
    from occ_order.order import io

    make(folder / "s", scene_parameters(train=2, seed=3, size=(24, 32), instances=(2, 3)))
    names = annotation_files("train")
    paths = {key: folder / "s" / "annotations" / name for key, name in names.items()}
    content = {key: path.read_bytes() for key, path in paths.items()}

    def records_of(load: Callable[..., Any], *more: Any) -> Callable[[str], None]:
        return lambda path: _decode_all(load(path, "", *more))

    def order(path: str) -> None:
        _decode_all(datasets.load_instaorder(path, paths["instances"], ""))

    def instances(path: str) -> None:
        _decode_all(datasets.load_instaorder(paths["instaorder"], path, ""))

    def photos(path: str) -> None:
        for split in ("train", None):
            _decode_all(datasets.load_photos(path, "", split=split))
        datasets.read_photo_categories(path)

    def one_mask(path: str) -> None:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        masks.decode(data, 24, 32)

    def results(path: str) -> None:
        for image in io.load_results(path):
            io.matrices(image)

    image_files = folder / "s" / "train" / "images"
    first = datasets.load_cocoa(paths["cocoa"], "")[0]
    segmentations = [a[k] for a in first["annotations"] for k in ("segmentation",)]
    flat = [a["amodal_segmentation"] for a in first["annotations"]]
    image = _results_image(first)
    made = {"results": folder / "results.json", "edges": folder / "edges.csv"}
    io.save_results(made["results"], [image])
    io.save_edges(made["edges"], [image])
    depth = next((folder / "s").rglob("depth/*.png"))
    listed = [
        Target("cocoa", records_of(datasets.load_cocoa), [content["cocoa"]]),
        Target("cocoa_cls", records_of(datasets.load_cocoa_cls), [content["cocoa_cls"]]),
        Target("kins", records_of(datasets.load_kins), [content["kins"], _kins_2019(content)]),
        Target("photos", photos, [_photos(content["cocoa_cls"])]),
        Target("instaorder", order, [content["instaorder"]]),
        Target("instances", instances, [content["instances"]]),
        Target(
            "validate",
            validate,
            [content["kins"], content["cocoa"], _photos(content["cocoa_cls"])],
        ),
        Target("diw", lambda path: datasets.load_diw(path, ""), [content["diw"]], ".csv"),
        Target("kitti", lambda p: datasets.load_kitti_depth(p, ""), [content["kitti"]], ".txt"),
        Target("depth_png", datasets.read_depth_png, [depth.read_bytes()], ".png"),
        Target("image", load_image, _images(next(image_files.iterdir())), ".img"),
        Target("masks", one_mask, [json.dumps(s).encode() for s in segmentations + flat]),
        Target("results", results, [made["results"].read_bytes()]),
        Target("edges", io.load_edges, [made["edges"].read_bytes()], ".csv"),
        *_converter_targets(folder, datasets.load_cocoa(paths["cocoa"], image_files)),
        *_mask_targets(content, made["results"].read_bytes()),
        *_tool_targets(),
        *_user_targets(folder, datasets.load_cocoa(paths["cocoa"], image_files)),
    ]
    return {target.name: target for target in listed}


def _images(path: Path) -> list[bytes]:
    """Return an image in several formats, one with an EXIF orientation."""
    from PIL import Image

    found = [path.read_bytes()]
    with Image.open(path) as pixels:
        exif = pixels.getexif()
        exif[0x0112] = 6
        for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"):
            file = BytesIO()
            pixels.convert("RGB").save(file, kind, exif=exif)
            found.append(file.getvalue())
    return found


def _results_image(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as an image of order_results.json."""
    from occ_order.order import io

    return io.results_image(**_arrays(record))


def _arrays(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as arguments of `io.results_image`."""
    import numpy as np

    from occ_order import masks
    from occ_order.order.encoding import empty_depth

    size = record["height"], record["width"]
    modal = masks.decode_all([a["segmentation"] for a in record["annotations"]], *size)
    depth, overlap, _ = empty_depth(len(modal))
    depth[0, 1:], depth[1:, 0] = 1, 0
    return {
        "image_id": record["image_id"],
        "height": size[0],
        "width": size[1],
        "modal": modal,
        "classes": np.ones(len(modal), int).tolist(),
        "scores": [0.5] * len(modal),
        "occlusion": record["occlusion"],
        "depth": depth,
        "overlap": overlap,
    }


def _kins_2019(content: dict[str, bytes]) -> bytes:
    """Return the KINS file with the keys of the 2019 version."""
    data = json.loads(content["kins"])
    names = {"a_segm": "segmentation", "a_bbox": "bbox", "i_segm": "inmodal_seg"}
    names["i_bbox"] = "inmodal_bbox"
    drop = ("oco_id", "ico_id", "a_area", "i_area")
    data["annotations"] = [
        {names.get(key, key): value for key, value in annotation.items() if key not in drop}
        for annotation in data["annotations"]
    ]
    return json.dumps(data).encode()


def _photos(cocoa_cls: bytes) -> bytes:
    """Return the COCOA-cls file in the layout of photographs with measured order."""
    data = json.loads(cocoa_cls)
    images = [
        {**image, "file": image["file_name"], "split": split, "depth_file": "depth/1.png"}
        for image, split in zip(data["images"], ("train", "val"), strict=True)
    ]
    instances = [
        {
            "id": one["id"],
            "image_id": one["image_id"],
            "category": "thing",
            "modal": {"size": [24, 32], "counts": [100, 30, 638]},
            "amodal": {"size": [24, 32], "counts": [90, 50, 628]},
            "stuff": 1,
            "complete": "seen",
        }
        for one in data["annotations"]
    ]
    first, second = (one["id"] for one in instances[:2])
    pair = [instances[0]["image_id"], first, second]
    return json.dumps(
        {
            "source": "scenes",
            "depth_unit": 0.01,
            "images": images,
            "instances": instances,
            "occlusion": [[*pair, "kinect_step", 0.5]],
            "depth_order": [[*pair, "kinect_distinct"]],
        }
    ).encode()


def _converter_targets(folder: Path, records: list[dict[str, Any]]) -> list[Target]:
    """Return the additional readers of converters: the order table, and labelme files."""
    from occ_order.formats.labelme import load_labelme, save_labelme
    from occ_order.formats.order_table import read_order_table

    lines = ["image,first,relation,second,range,count", "1.png,1,occludes,2,,"]
    table = "\n".join([*lines, "1.png,1,closer,2,distinct,2", ""]).encode()
    save_labelme(records, folder / "labelme", [{"id": 1, "name": "object"}])
    made = sorted((folder / "labelme").glob("*.json"))
    image_files = os.path.dirname(records[0]["file_name"])

    def labelme(path: str) -> None:
        made[0].write_bytes(Path(path).read_bytes())
        _decode_all(load_labelme(made[0].parent, image_root=image_files)[0])

    return [
        Target("order_table", read_order_table, [table], ".csv"),
        Target("labelme", labelme, [made[0].read_bytes()]),
    ]


def _mask_targets(content: dict[str, bytes], results: bytes) -> list[Target]:
    """Return targets for input masks: several JSON layouts, and images."""
    import numpy as np
    from PIL import Image

    from occ_order.formats.user_masks import load_masks

    listed = json.loads(content["instances"])
    name = os.path.basename(listed["images"][0]["file_name"])

    def named(path: str) -> None:
        for skip in (False, True):
            load_masks(path, (24, 32), image_name=name, keep_crowds=skip, skip_damaged=skip)

    one = [a for a in listed["annotations"] if a["image_id"] == listed["images"][0]["id"]]
    lists = [json.dumps(one).encode()]
    labels = np.zeros((24, 32), np.uint8)
    labels[2:9, 3:20], labels[9:20, 3:20], labels[20:] = 1, 2, 255
    image_files = []
    for mode in ("L", "P", "RGB", "LA", "I;16"):
        file, pixels = BytesIO(), Image.fromarray(labels)
        pixels = Image.fromarray(labels.astype(np.uint16)) if "I" in mode else pixels
        (pixels if "I" in mode else pixels.convert(mode)).save(file, "PNG")
        image_files.append(file.getvalue())
    several = [content["instances"], content["cocoa_cls"], content["kins"]]
    return [
        Target("masks_of_one", lambda path: load_masks(path, (24, 32)), lists),
        Target("masks_of_several", named, several),
        Target("masks_of_results", lambda path: load_masks(path, (24, 32)), [results]),
        Target("label_map", lambda path: load_masks(path, (24, 32)), image_files, ".png"),
    ]


def _tool_targets() -> list[Target]:
    """Return targets for masks written by annotation tools and NumPy."""
    import numpy as np

    from occ_order.formats.label_studio import task_of
    from occ_order.formats.user_masks import load_masks
    from occ_order.instances import OrderedInstances

    stack = np.zeros((2, 24, 32), bool)
    stack[0, 3:12, 4:20] = stack[1, 8:20, 10:30] = True
    order = np.array([[0, 1], [0, 0]])
    names = {"names": ("cup", "tray"), "file_name": "a.jpg"}
    made = OrderedInstances(7, (24, 32), stack, occlusion=order, **names)
    coco = made.to_coco()
    ring = {"name": "polygon", "all_points_x": [4, 20, 20], "all_points_y": [3, 3, 12]}
    outlined = {"points": [[10, 10], [60, 10], [60, 80]], "polygonlabels": ["cup"]}
    drawn = {"id": "x", "original_width": 32, "original_height": 24, "value": outlined}
    listed = {"data": {"image": "a.jpg"}, "annotations": [{"result": [drawn]}]}
    region = {"shape_attributes": ring, "region_attributes": {"label": "cup"}}
    image = {"image_id": 7, "width": 32, "height": 24, "file_name": "a.jpg"}
    pages = [
        [task_of(made)],
        [listed],
        {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": [region]}},
        {"image": image, "annotations": coco["annotations"]},
    ]
    arrays = BytesIO()
    np.savez(arrays, masks=stack, scores=np.ones(2), names=np.array(made.names))
    lines = "0 0.1 0.1 0.6 0.1 0.6 0.8 0.9\n1 0.3 0.3 0.9 0.3 0.9 0.9\n"
    polygon = '<polygon label="cup" points="4,3;20,3;20,12" z_order="1" group_id="2"/>'
    document = made.to_cvat()
    documents = [document, document.replace("</image>", f"{polygon}</image>")]

    def read(path: str) -> None:
        for skip in (False, True):
            load_masks(path, (24, 32), image_name="a.jpg", keep_crowds=skip, skip_damaged=skip)

    return [
        Target("masks_of_tools", read, [json.dumps(page).encode() for page in pages]),
        Target("masks_of_cvat", read, [text.encode() for text in documents], ".xml"),
        Target("masks_of_yolo", read, [lines.encode()], ".txt"),
        Target("masks_of_numpy", read, [arrays.getvalue()], ".npz"),
    ]


def _user_targets(folder: Path, records: list[dict[str, Any]]) -> list[Target]:
    """Return targets that process accepted files, and files of the tools themselves."""
    import tarfile
    from io import BytesIO

    import numpy as np

    from occ_order import formats as datasets
    from occ_order.apps.annotate.guesses import read_guesses
    from occ_order.apps.annotate.project import Project
    from occ_order.apps.viewer import render_viewer, viewer_image
    from occ_order.commands.inputs import find_inputs, images_of
    from occ_order.engine import collection
    from occ_order.formats.convert import DataSet, read_dataset, write_dataset
    from occ_order.formats.layered_image import layers_of, load_layers, save_layers
    from occ_order.formats.table import convertible
    from occ_order.metrics.report import evaluate_results
    from occ_order.order import io

    image_files, image = os.path.dirname(records[0]["file_name"]), _results_image(records[0])
    image["file_name"] = os.path.basename(records[0]["file_name"])
    data = DataSet(records, [{"id": 1, "name": "object"}], image_files)
    ours = folder / "ours"
    seeds = {"results": json.dumps({"format": io.FORMAT, "images": [image]}).encode()}
    endings = {}
    for format in set(convertible()) - {"labelme", "results"}:
        options = {"assume_whole": True, "assume_none": True}
        path, *_ = write_dataset(format, data, ours / format, **options)
        seeds[format], endings[format] = path.read_bytes(), path.suffix
    good = [io.results_image(**_arrays(record)) for record in records]

    def converted(format: str) -> Callable[[str], None]:
        def convert(path: str) -> None:
            beside = ours / "instaorder" / "instances.json"
            read = read_dataset(format, path, images=image_files, instances=beside)
            for to in convertible():
                try:
                    write_dataset(to, read, folder / "out", assume_whole=True, assume_none=True)
                except ALLOWED:
                    continue

        return convert

    def viewed(path: str) -> None:
        pages = []
        for found in io.load_results(path):
            size = found["height"], found["width"]
            if size[0] * size[1] < 2**20:
                pixels = np.zeros((*size, 3), np.uint8)
                pages.append(viewer_image(found, pixels, truth=found))
                layers_of(found, pixels) if {"occlusion", "depth"} & found.keys() else None
        render_viewer(pages)

    def scored(path: str) -> None:
        evaluate_results(records, io.load_results(path))

    def scored_against(path: str) -> None:
        evaluate_results(datasets.load_cocoa(path, image_files), good)

    asked = ours / "asked"
    asked.mkdir(parents=True)
    first = Project(data, asked).pairs[0]
    keys = ("image_id", "first", "second")
    answer = {**dict(zip(keys, first, strict=True)), "occlusion": "first", "depth": "equal"}
    lines = [json.dumps({**answer, "annotator": n, "range": "overlap"}) for n in "ab"]

    def answered(path: str) -> None:
        (asked / "answers.jsonl").write_bytes(Path(path).read_bytes())
        Project(data, asked).write()

    names = ["a.png", "b.png"]
    names_of = sorted(os.listdir(image_files))
    merged = ours / "merged"
    merged.mkdir()
    entries = [{"name": n, "sha256": "0", "image_id": n, "result": image} for n in names]
    part = {"plan": "x", "entries": [*entries, {"name": "c.png", "error": "damaged"}]}

    def joined(path: str) -> None:
        file = collection.part_file(merged, 0)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(Path(path).read_bytes())
        collection.merge(merged, [[*names, "c.png"]], lambda number, *_: number, plan="x")

    def unpacked(path: str) -> None:
        for one in images_of(find_inputs([path])):
            if one.error is None:
                one.pixels()

    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for record in records[:2]:
            packed.add(record["file_name"], "é" * 60 + os.path.basename(record["file_name"]))

    sizes = [(name, os.path.getsize(Path(image_files, name))) for name in names_of]
    plan = collection.make_plan(sizes, part_size=2, settings={"model": "x"})

    def planned(path: str) -> None:
        (merged / collection.PLAN).write_bytes(Path(path).read_bytes())
        collection.start(merged, plan)

    save_layers(ours / "layers", layers_of(image, np.zeros((24, 32, 3), np.uint8)))
    layered = (ours / "layers" / "layers.json").read_bytes()

    def layers(path: str) -> None:
        (ours / "layers" / "layers.json").write_bytes(Path(path).read_bytes())
        load_layers(ours / "layers")

    return [
        *(
            Target(f"convert_{format}", converted(format), [seed], endings.get(format, ".json"))
            for format, seed in sorted(seeds.items())
        ),
        *_found_targets(folder, records),
        Target("guesses", lambda path: read_guesses(path, records), [seeds["results"]]),
        Target("plan", planned, [json.dumps(plan).encode()]),
        Target("viewer", viewed, [seeds["results"]]),
        Target("score", scored, [seeds["results"]]),
        Target("score_truth", scored_against, [seeds["cocoa"]]),
        Target("lines", io.load_results, [json.dumps(image).encode() + b"\n"], ".jsonl"),
        Target("answers", answered, ["\n".join([*lines, ""]).encode()], ".jsonl"),
        Target("part", joined, [json.dumps(part).encode()]),
        Target("layers", layers, [layered]),
        Target("tar", unpacked, [archive.getvalue()], ".tar"),
    ]


def _found_targets(folder: Path, records: list[dict[str, Any]]) -> list[Target]:
    """Return targets for predictions of other programs: data set results, panoptic, arrays."""
    import numpy as np
    from PIL import Image

    from occ_order import masks
    from occ_order.formats.detections import DetectionFile
    from occ_order.formats.user_masks import load_masks

    size, stack = (24, 32), np.zeros((2, 24, 32), bool)
    stack[0, 3:12, 4:20] = stack[1, 12:20, 10:30] = True
    ids = np.zeros((*size, 3), np.uint8)
    ids[stack[0], 0], ids[stack[1], 1] = 7, 1
    found = folder / "found"
    found.mkdir()
    Image.fromarray(ids).save(found / "a.png")
    infos = [{"id": k, "category_id": 1, "iscrowd": 0, "score": 0.5} for k in (7, 256)]
    page = {"image_id": 7, "file_name": "a.png", "segments_info": infos}
    image = {"id": 7, "width": 32, "height": 24, "file_name": "a.png"}
    kinds = [{"id": 1, "name": "cup", "isthing": 1}]
    panoptic = {"images": [image], "annotations": [page], "categories": kinds}
    entries = [
        {"image_id": 7, "category_id": 1, "score": 0.5, "segmentation": masks.encode(mask)}
        for mask in stack
    ]
    regions = [{key: one[key] for key in ("segmentation", "score")} for one in entries]
    regions[0]["visible_mask"] = regions[0]["segmentation"]
    regions[1]["invisible_mask"] = masks.encode(stack[1] & False)
    lists: list[Any] = [entries, panoptic, [{"image_id": 7, "regions": regions}]]
    arrays = BytesIO()
    np.save(arrays, stack)

    def detections(path: str) -> None:
        file = DetectionFile(path, folder=found)
        for number in file.image_ids:
            file.image(number, *size)

    def segments(path: str) -> None:
        beside = found / "panoptic.json"
        beside.write_bytes(Path(path).read_bytes())
        for skip in (False, True):
            load_masks(beside, size, image_name="a.png", keep_crowds=skip, skip_damaged=skip)

    return [
        Target("detections", detections, [json.dumps(data).encode() for data in lists]),
        Target("panoptic", segments, [json.dumps(panoptic).encode()]),
        Target("array", lambda path: load_masks(path, size), [arrays.getvalue()], ".npy"),
    ]


# --- execution and coverage


class Coverage:
    """Lines of the package that ran inside the `with` block."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()

    def _trace(self, frame: Any, event: str, _: Any) -> Any:
        if "occ_order" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace

    def __enter__(self) -> Coverage:
        self.lines = set()
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.settrace(self._before)


class TooSlowError(BaseException):
    """Reading exceeded its time limit; not an Exception, so that no reader handles it."""


def execute(target: Target, data: bytes, path: str, limit: float) -> str:
    """Read one input.

    Returns:
        "read", "refused", or the traceback of an unexpected error.
    """

    def stop(*_: Any) -> None:
        raise TooSlowError(f"{target.name} took longer than {limit} s")

    Path(path).write_bytes(data)
    # CPU seconds, so that load of the machine causes no findings; and wall time for a deadlock.
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, 1), (signal.SIGALRM, signal.ITIMER_REAL, 20))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, factor in timers:
        signal.setitimer(timer, factor * limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)  # overflow, unexpected NaN
            target.read(path)
        return "read"
    except ALLOWED:
        return "refused"
    except (Exception, TooSlowError):
        for _, timer, _ in timers:  # stop the other timer while the traceback is formatted
            signal.setitimer(timer, 0)
        return traceback.format_exc()
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


# --- mutations


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return a mutated copy: mostly of the file's structure, else of its bytes."""
    if draw.random() >= 0.15:
        for change in (mutate_json, mutate_xml, mutate_arrays, mutate_lines):
            changed = change(data, draw)
            if changed is not None:
                return changed
    return mutate_bytes(data, draw)


def mutate_json(data: bytes, draw: random.Random) -> bytes | None:
    """Return JSON with some values mutated; None if the data are not a JSON tree."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, (dict, list)):
        return None
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        mutate_tree(tree, draw)
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def mutate_xml(data: bytes, draw: random.Random) -> bytes | None:
    """Return XML with elements or texts mutated; None if the data are not XML."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError):
        return None
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        element, action = draw.choice(list(root.iter())), draw.random()
        if action < 0.4 and len(element):
            child = draw.choice(list(element))
            if action < 0.2:
                element.remove(child)
            else:  # duplicated, or moved to another place
                place = element if action < 0.3 else draw.choice(list(root.iter()))
                place.insert(draw.randrange(len(place) + 1), copy.deepcopy(child))
        elif action < 0.85 and element.attrib:
            key = draw.choice(sorted(element.attrib))
            if action < 0.5:
                del element.attrib[key]
            else:
                element.attrib[key] = _text_near(element.attrib[key], draw)
        else:
            element.text = _text_near(element.text or "", draw)
    return ElementTree.tostring(root, encoding="utf-8")


def mutate_lines(data: bytes, draw: random.Random) -> bytes | None:
    """Return a table or JSON Lines with lines or cells mutated; None if the data are not text."""
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
    if not lines or "\0" in lines[0]:
        return None
    at, action = draw.randrange(len(lines)), draw.random()
    if action < 0.15:
        del lines[at]
    elif action < 0.3:
        lines.insert(draw.randrange(len(lines) + 1), lines[at])
    else:
        record = mutate_json(lines[at].encode(), draw)
        if record is not None:
            lines[at] = record.decode("utf-8", "surrogatepass")
        else:
            cells = re.split(r"([,; \t])", lines[at])
            cell = draw.randrange(0, len(cells), 2)
            cells[cell] = "" if action < 0.4 else _text_near(cells[cell], draw)
            lines[at] = "".join(cells if action < 0.9 else cells[: max(1, cell)])
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def mutate_arrays(data: bytes, draw: random.Random) -> bytes | None:
    """Return a `.npy` or `.npz` file with a mutated array; None for other data."""
    import numpy as np

    if not data.startswith((b"PK", b"\x93NUMPY")):
        return None
    try:
        found = np.load(BytesIO(data), allow_pickle=False)
        named = isinstance(found, np.lib.npyio.NpzFile)
        arrays = {key: found[key] for key in found.files} if named else {"": found}
    except ALLOWED + (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError):
        return None
    key = draw.choice(sorted(arrays)) if arrays else ""
    action = draw.random()
    if named and arrays and action < 0.15:
        arrays[draw.choice(["masks", "scores", "names", "ids", "x"])] = arrays.pop(key)
    elif key in arrays:
        try:
            arrays[key] = _array_near(np.asarray(arrays[key]), draw)
        except (TypeError, RuntimeError, *ALLOWED):  # text to number, dates to short text
            arrays[key] = arrays[key][..., :0]
    out = BytesIO()
    if named:
        np.savez(out, **arrays)
    else:
        np.save(out, arrays[""], allow_pickle=False)
    return out.getvalue()


def _array_near(array: Any, draw: random.Random) -> Any:
    """Return an array with another dtype, shape or value."""
    import numpy as np

    action = draw.random()
    if action < 0.35:
        kinds = ("?", "u1", "i1", "i8", "u8", "f2", "f8", "c16", "U3", "S2", "M8[s]")
        with np.errstate(invalid="ignore", over="ignore"):  # NaN to integer
            return array.astype(draw.choice(kinds))
    if action < 0.7:
        shapes = (array[None], array[..., :-1], array[:0], array.T, array.ravel(), array[:1])
        return np.concatenate([array, array]) if action < 0.4 else draw.choice(shapes)
    changed = array.copy()
    if changed.size:
        junk = (float("nan"), float("inf"), -1, 2, 255, 2**31, 1e300)
        changed.flat[draw.randrange(changed.size)] = draw.choice(junk)
    return changed


def _text_near(text: str, draw: random.Random) -> str:
    """Return a mutated text, or one of `JUNK`."""
    chosen = _near(text, draw) if draw.random() < 0.5 else draw.choice(JUNK)
    # Characters that are invalid in XML are covered by mutations of bytes.
    return re.sub(r"[\0-\x1f\ud800-\udfff\ufffe\uffff]", "", str(chosen))


def mutate_tree(tree: Any, draw: random.Random) -> None:
    """Change, remove, duplicate or swap one value of a JSON tree, in place."""
    places = list(_places(tree))
    if not places:
        return
    holder, key = draw.choice(places)
    action = draw.random()
    if action < 0.2 and isinstance(holder, dict):
        del holder[key]
    elif action < 0.3 and isinstance(holder, list):
        holder.insert(draw.randrange(len(holder) + 1), holder[key])
    elif action < 0.45:
        other, where = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[where]))
    elif action < 0.7 and isinstance(holder[key], (int, float, str)):
        holder[key] = _near(holder[key], draw)
    else:
        holder[key] = copy.deepcopy(draw.choice(JUNK))


def _places(tree: Any) -> Iterable[tuple[Any, Any]]:
    """Yield (container, key) of every value of a tree, including containers."""
    pending = [tree]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                pending.append(holder[key])


def _near(value: Any, draw: random.Random) -> Any:
    """Return a mutated value."""
    if isinstance(value, str):
        text = mutate_bytes(value.encode("utf-8", "surrogatepass"), draw)
        return text.decode("utf-8", "replace")
    return value + draw.choice((-1, 1, 0.5, 255, -value * 2, 1e6))


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Change, delete, repeat or insert some bytes."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(out) + 1)
        end = min(len(out), at + draw.choice((1, 1, 2, 8, 64)))
        action = draw.randrange(5)
        if action == 0:
            del out[at:end]
        elif action == 1:
            out[at:at] = out[at:end]
        elif action == 2:
            out[at:end] = bytes(draw.randrange(256) for _ in range(end - at))
        elif action == 3 and out:
            out[min(at, len(out) - 1)] ^= 1 << draw.randrange(8)
        else:
            out[at:at] = draw.choice(
                (b"-", b"0", b"9999999999", b"\n", b",", b"<", b"\0", b'"', b"&")
            )
    return bytes(out)


# --- the loop


def fuzz(
    targets: Iterable[Target],
    folder: Path,
    *,
    seconds: float = 0,
    executions: int = 0,
    seed: int = 0,
    limit: float = 5,
) -> Findings:
    """Mutate and read files in a loop; keep those with new coverage.

    Args:
        targets: readers, used in turn.
        folder: folder for the current file.
        seconds: time limit, or
        executions: number of inputs per target; one of the two is required.
        seed: seed of the mutations.
        limit: time limit for reading a file, in seconds.

    Raises:
        ValueError: no limit is given, or a seed file cannot be read.
    """
    if not (seconds or executions):
        raise ValueError("seconds or executions is required")
    draw, result, coverage = random.Random(seed), Findings(), Coverage()
    pools = {target.name: list(target.seeds) for target in targets}
    places: set[str] = set()
    for target in targets:
        for data in target.seeds:
            with coverage:
                outcome = execute(target, data, str(folder / f"in{target.suffix}"), limit)
            result.lines |= coverage.lines
            if outcome != "read":
                raise ValueError(f"{target.name}: a valid file cannot be read: {outcome}")
    end = time.monotonic() + seconds if seconds else None
    rounds = 0
    while (time.monotonic() < end) if end else rounds < executions:
        rounds += 1
        for target in targets:
            data = mutate(draw.choice(pools[target.name]), draw)
            with coverage:
                outcome = execute(target, data, str(folder / f"in{target.suffix}"), limit)
            result.executions += 1
            result.refused += outcome == "refused"
            if outcome not in ("read", "refused"):
                place = _place(outcome)
                if place not in places:
                    places.add(place)
                    result.found.append((target.name, data, outcome))
            elif coverage.lines - result.lines and len(data) < 100_000:
                pools[target.name].append(data)
            result.lines |= coverage.lines
    return result


def _place(text: str) -> str:
    """Return the kind of error and the innermost line of the package in a traceback."""
    lines = text.strip().splitlines()
    inside = [line.strip() for line in lines if line.startswith("  File") and "occ_order" in line]
    return f"{lines[-1].split(':')[0]} at {inside[-1] if inside else '?'}"


def main(argv: list[str] | None = None) -> int:
    """Run the fuzzer and print a summary; return 1 if there are findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", help="names; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="total time limit")
    parser.add_argument("--executions", type=int, default=0, help="number per target, instead")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--limit", type=float, default=5, help="time limit of a read, in seconds")
    parser.add_argument("--output", type=Path, help="folder for inputs of findings")
    args = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # readers log skipped entries
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder))
        names = args.targets or list(targets)
        if unknown := set(names) - set(targets):
            parser.error(f"unknown targets {sorted(unknown)}, expected some of {sorted(targets)}")
        chosen = [targets[name] for name in names]
        ends = {"executions": args.executions} if args.executions else {"seconds": args.seconds}
        result = fuzz(chosen, Path(folder), seed=args.seed, limit=args.limit, **ends)
    for number, (name, data, text) in enumerate(result.found):
        print(f"--- finding {number}, target {name}, input of {len(data)} bytes\n{text}")
        if args.output:
            os.makedirs(args.output, exist_ok=True)
            (args.output / f"{name}-{number}").write_bytes(data)
    print(
        f"{result.executions} files, {result.refused} refused, {len(result.lines)} lines reached, "
        f"{len(result.found)} findings"
    )
    return int(bool(result.found))


if __name__ == "__main__":
    sys.exit(main())
