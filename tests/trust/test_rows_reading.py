"""Damaged images, masks, orders and data files: rows 1 to 4, 7, 8, 24 and 25."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.files import load_image
from occ_order.formats import load_cocoa, load_cocoa_cls, load_instaorder, load_kins
from occ_order.formats.validate import validate
from occ_order.order import depth_from_instaorder, load_results, occlusion_from_instaorder

ROOT = Path(__file__).resolve().parents[2]
GREY = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)


# --- row 1: images


def encoded(kind, **options):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def gif_canvas(width, height):
    """A GIF of one pixel on a canvas of another size."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;"


def as_format(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, kind)
    return file.getvalue()


DAMAGED = {
    "truncated.jpg": encoded("JPEG")[:2000],
    "truncated.png": encoded("PNG")[:2000],
    "header only.png": encoded("PNG")[:40],
    "empty.jpg": b"",
    "page.jpg": b"<html><body>404</body></html>",
    "zero.png": png_header(0, 0),
    "bomb.png": png_header(60_000, 60_000),
    "no pixels.png": png_header(8, 8),
    "canvas.gif": gif_canvas(5144, 34560),
    "dds.png": as_format("DDS"),
    "ico.png": as_format("ICO"),
    "pcx.png": as_format("PCX"),
}
HEADERS = ["bomb.png", "canvas.gif", "dds.png", "empty.jpg", "page.jpg"]
"""Of these, files whose header alone tells that they are no image."""


@pytest.mark.parametrize("name", HEADERS)
def test_row_01_every_reader_of_images_names_the_damaged_one(tmp_path, name):
    """Also those that read a size or a depth map, and the commands that use them."""
    from occ_order.files import image_size
    from occ_order.formats import read_depth_png
    from occ_order.formats.convert import read_dataset
    from occ_order.formats.user_masks import load_masks

    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    page = {"shapes": [], "imagePath": name, "imageData": None}
    put(tmp_path / "page" / "page.json", page)
    data = coco()
    data["images"][0]["file_name"] = name
    readers = {
        "image": lambda: load_image(path),
        "size": lambda: image_size(path),
        "depth": lambda: read_depth_png(path),
        "masks": lambda: load_masks(path, (6, 8)),
        "labelme": lambda: read_dataset("labelme", tmp_path / "page", images=tmp_path),
    }
    for what, read in readers.items():
        with pytest.raises(ValueError, match=f"{name}.*not a readable|not a readable.*{name}"):
            read()
            pytest.fail(what)
    (found,) = validate(put(tmp_path / "f.json", data), format="cocoa_cls", images=tmp_path).errors
    assert f"{name}: not a readable image" in found


def test_row_01_large_images_and_blank_masks_are_no_bombs(tmp_path):
    from occ_order.files import image_size

    Image.new("1", (5000, 4000)).save(tmp_path / "blank.png")
    Image.new("RGB", (5000, 4000)).save(tmp_path / "black.jpg")
    for name in ("blank.png", "black.jpg"):
        assert image_size(tmp_path / name) == (5000, 4000)


@pytest.mark.parametrize("name", [*DAMAGED, "missing.jpg", "folder.jpg"])
def test_row_01_a_damaged_image_is_refused_by_name(tmp_path, name):
    path = tmp_path / "größer als" / name
    path.parent.mkdir()
    if name in DAMAGED:
        path.write_bytes(DAMAGED[name])
    elif name == "folder.jpg":
        path.mkdir()
    with pytest.raises(ValueError, match=f"größer als.{name}"):
        load_image(path)


KINDS = {
    "grey.png": (GREY, GREY),
    "16 bit.png": (GREY.astype(np.uint16) * 256 + 255, GREY),
    "rgb.png": (np.dstack([GREY] * 3), GREY),
    "rgba.png": (np.dstack([GREY] * 3 + [np.full_like(GREY, 7)]), GREY),
    "grey and alpha.png": (np.dstack([GREY, GREY // 2]), GREY),
    "bits.png": (GREY > 100, np.where(GREY > 100, 255, 0)),
}


@pytest.mark.parametrize("name", KINDS)
def test_row_01_every_kind_of_image_becomes_8_bit_colour(tmp_path, name):
    array, expected = KINDS[name]
    Image.fromarray(array).save(tmp_path / name)
    pixels = load_image(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 8, 3)
    np.testing.assert_array_equal(pixels, np.dstack([expected] * 3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY.astype(np.float32) / 255, "its pixels are floats"),
        (GREY.astype(np.uint16) * 16, "has 16 bits, but its largest value is 3760, as of a camera"),
        (GREY.astype(np.int32) * 1000, "its pixels go from 0 to 235000"),
        (GREY.astype(np.int32) - 9, "its pixels go from -9 to 226"),
    ],
)
def test_row_01_an_image_that_would_become_black_or_white_is_refused(tmp_path, array, message):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"a.tif: {message}"):
        load_image(tmp_path / "a.tif")
    black = np.zeros((6, 8), np.uint16)
    Image.fromarray(black).save(tmp_path / "black.tif")
    assert not load_image(tmp_path / "black.tif").any()


def test_row_01_a_rotated_image_is_turned(tmp_path):
    image = Image.fromarray(np.dstack([GREY] * 3))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = load_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("name", ["truncated.jpg", "page.jpg", "bomb.png"])
def test_row_01_training_names_the_damaged_image(toy, tmp_path, name):
    toy.write_images(tmp_path)
    (tmp_path / "3.png").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"3\.png"):
        toy.train(toy.config(tmp_path, tmp_path / "out"))
    opts = ("DATALOADER.SKIP_UNREADABLE", True)
    trainer = toy.train(toy.config(tmp_path, tmp_path / "out2", *opts, "DATASETS.TEST", ()))
    assert trainer.iter == 20 and trainer.data_loader.skipped >= 3


# --- row 2: sizes that contradict one another


def test_row_02_an_image_of_another_size_than_the_file_says(toy, tmp_path):
    from occ_order.methods.common.reading import read_image

    toy.write_images(tmp_path)
    record = {**toy.records(tmp_path)[4], "height": 17}
    with pytest.raises(ValueError) as error:
        read_image(record, "RGB")
    text = str(error.value)
    assert "4.png" in text and "image 4" in text and "(16, 24)" in text and "(17, 24)" in text


def test_row_02_a_mask_of_another_size_than_the_image(toy, tmp_path):
    from occ_order.methods.common.reading import read_masks

    record = toy.records(tmp_path)[4]
    record["annotations"][1]["segmentation"]["size"] = [24, 16]
    message = r"image 4: annotation 41: .*RLE size is \[24, 16\], expected \[16, 24\]"
    with pytest.raises(ValueError, match=message):
        read_masks(record)


def coco(**changes):
    """A COCO-like file of one image of 6 x 8 with two instances."""
    square = {"size": [6, 8], "counts": masks.encode(np.eye(6, 8))["counts"]}
    annotations = [
        {"id": k, "image_id": 7, "category_id": 3, "bbox": [0, 0, 6, 6], "segmentation": square}
        for k in (1, 2)
    ]
    image = {"id": 7, "file_name": "a.png", "height": 6, "width": 8}
    data = {"images": [image], "annotations": annotations, "categories": [{"id": 3, "name": "x"}]}
    return {**data, **changes}


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def test_row_02_the_validator_compares_images_with_the_file(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    path = put(tmp_path / "f.json", coco())
    assert not validate(path, format="cocoa_cls", images=tmp_path).errors
    Image.fromarray(GREY[:5]).save(tmp_path / "a.png")
    (error,) = validate(path, format="cocoa_cls", images=tmp_path).errors
    assert "image 7: " in error and "has height and width (6, 8), but the image has" in error
    assert "the image has (5, 8)" in error


# --- row 3: runs


RUNS = {
    "another size": {"size": [7, 8], "counts": [48]},
    "short": {"size": [6, 8], "counts": [4, 3]},
    "long": {"size": [6, 8], "counts": [40, 9]},
    "garbage": {"size": [6, 8], "counts": "not runs"},
    "empty text": {"size": [6, 8], "counts": ""},
    "empty list": {"size": [6, 8], "counts": []},
    "text that is short": {"size": [6, 8], "counts": "123"},
    "negative": {"size": [6, 8], "counts": [50, -2]},
}


@pytest.mark.parametrize("case", RUNS)
def test_row_03_runs_that_do_not_fill_the_image_never_reach_memory(case, monkeypatch):
    from pycocotools import mask as coco_mask

    def unreachable(*args):
        raise AssertionError("pycocotools was called with damaged runs")

    for name in ("decode", "frPyObjects", "merge"):
        monkeypatch.setattr(coco_mask, name, unreachable)
    with pytest.raises(ValueError, match="annotation 9"):
        masks.decode(RUNS[case], 6, 8, name="annotation 9")


@pytest.mark.parametrize("case", RUNS)
def test_row_03_and_readers_say_where(tmp_path, case):
    data = coco()
    data["annotations"][1]["visible_mask"] = RUNS[case]
    with pytest.raises(ValueError, match="f.json: image 7: annotation 2: .*visible_mask"):
        load_cocoa_cls(put(tmp_path / "f.json", data), "")


# --- row 4: polygons, in a process that may use one gigabyte


POLYGONS = {
    "nan": ([[1, 1, 5, 1, 5, float("nan")]], "not finite"),
    "infinite": ([[1, 1, 5, 1, float("-inf"), 5]], "not finite"),
    "far outside": ([[1, 1, 5, 1, 1e7, 5]], "expected at most 6400"),
    "very far": ([[1, 1, 5, 1, 1e300, 5]], "expected at most 6400"),
    "odd": ([[1, 1, 5, 1, 5, 4, 3]], "7 coordinates"),
    "two points": ([[1, 1, 5, 5]], "at least 6"),
    "endless outline": ([[v for k in range(20_000) for v in (k % 2 * 6400, k % 9)]], "outline of"),
    "touching itself": ([[0, 0, 8, 6, 8, 0, 0, 6]], 24),
    "outside": ([[700, 500, 800, 500, 800, 600]], 0),
    "whole": ([[-9, -9, 700, -9, 700, 500, -9, 500]], 480 * 640),
}
CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from occ_order.masks import decode
for name, polygons in json.load(sys.stdin).items():
    start = time.process_time()
    try:
        said = int(decode(polygons, 480, 640, name="annotation 7").sum())
    except ValueError as error:
        said = str(error)
    print(json.dumps([name, said, time.process_time() - start]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_row_04_no_polygon_kills_the_process():
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps({name: polygons for name, (polygons, _) in POLYGONS.items()}),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert [name for name, *_ in answers] == list(POLYGONS)
    for name, said, seconds in answers:
        expected = POLYGONS[name][1]
        assert seconds < 1, name
        if isinstance(expected, str):
            assert said.startswith("annotation 7") and expected in said, name
        else:
            assert abs(said - expected) <= 6, name


# --- row 7: orders


def instaorder(tmp_path, entry, data=None):
    order = put(tmp_path / "order.json", {"annotations": [{"image_id": 7, **entry}]})
    return order, put(tmp_path / "instances.json", data or coco())


BOTH = {"instance_ids": [1, 2], "occlusion": [{"order": "0<1 & 1<0", "count": 2}]}


def test_row_07_mutual_occlusion_is_kept(tmp_path):
    (record,) = load_instaorder(*instaorder(tmp_path, BOTH), "")
    assert record["occlusion"].tolist() == [[0, 1], [1, 0]]


ORDERS = {
    "out of range": "0<2",
    "with itself": "1<1",
    "another separator": "0>1",
    "no numbers": "a<b",
    "negative": "-1<0",
    "half": "0<",
    "twice": "0<1 & 0<1",
    "comma": "0<1,1<0",
}


@pytest.mark.parametrize("case", ORDERS)
@pytest.mark.parametrize("kind", ["occlusion", "depth"])
def test_row_07_a_wrong_order_is_named(tmp_path, case, kind):
    item = {"order": ORDERS[case], "count": 2, "overlap": False}
    entry = {"instance_ids": [1, 2], kind: [item]}
    with pytest.raises(ValueError) as error:
        load_instaorder(*instaorder(tmp_path, entry), "")
    text = str(error.value)
    assert "order.json" in text and "image 7" in text and repr(ORDERS[case]) in text


@pytest.mark.parametrize(
    ("read", "items"),
    [
        (occlusion_from_instaorder, ["0<1", "0<1"]),
        (occlusion_from_instaorder, ["0<1", "1<0"]),
        (depth_from_instaorder, ["0<1", "1<0"]),
        (depth_from_instaorder, ["0<1", "0=1"]),
    ],
)
def test_row_07_pairs_said_twice_are_reported(read, items):
    entries = [{"order": order, "count": 2, "overlap": False} for order in items]
    with pytest.raises(ValueError, match=items[1]):
        read(entries, 2)


def test_row_07_an_annotation_without_segmentation_and_an_image_without_order(tmp_path):
    data = coco()
    del data["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match="annotation 1: key 'segmentation' is missing"):
        load_instaorder(*instaorder(tmp_path, BOTH, data), "")
    with pytest.raises(ValueError, match="image 7: .*neither 'occlusion' nor 'depth'"):
        load_instaorder(*instaorder(tmp_path, {"instance_ids": [1, 2]}), "")


def test_row_07_a_training_image_lacks_a_mask(toy, tmp_path):
    from occ_order.methods.common.reading import read_masks

    record = toy.records(tmp_path)[4]
    del record["annotations"][0]["segmentation"]
    assert read_masks(record) is None
    assert read_masks({**record, "annotations": []}).shape == (0, 16, 24)


# --- row 8: structure of the files


def damaged(change):
    data = coco()
    change(data)
    return data


def change_id(data):
    data["annotations"][1]["id"] = 1


STRUCTURES = {
    "no images": (lambda d: d.pop("images"), "key 'images' is missing"),
    "no height": (lambda d: d["images"][0].pop("height"), "image 7: key 'height' is missing"),
    "height is text": (lambda d: d["images"][0].update(height="6"), "positive integer, got '6'"),
    "ids as text": (lambda d: d["annotations"][0].update(id="1"), "'id' must be an integer"),
    "image ids as text": (lambda d: d["images"][0].update(id="7"), "'id' must be an integer"),
    "id used twice": (change_id, "annotation 1: the annotation id is used twice"),
    "image twice": (lambda d: d["images"].append(d["images"][0]), "image id is used twice"),
    "no categories": (lambda d: d.update(categories=[]), "'categories' must not be empty"),
    "category": (lambda d: d["annotations"][0].update(category_id=4), "category_id 4 is not among"),
    "list is a dict": (lambda d: d.update(annotations={}), "'annotations' must be a list"),
    "box": (lambda d: d["annotations"][0].update(bbox=[1, 2]), "'bbox' must be four finite"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_row_08_one_clear_error(tmp_path, case):
    change, message = STRUCTURES[case]
    path = put(tmp_path / "f.json", damaged(change))
    with pytest.raises(ValueError) as error:
        load_cocoa_cls(path, "")
    assert str(error.value).startswith(path) and message in str(error.value)


def test_row_08_extra_keys_are_ignored_and_ids_are_kept(tmp_path):
    data = coco(info={"x": [None]}, categories=[{"id": 900, "name": "far"}, {"id": 3, "name": "x"}])
    data["annotations"][0].update(id=123456789, category_id=900, more={})
    (record,) = load_cocoa_cls(put(tmp_path / "f.json", data), "")
    assert [a["id"] for a in record["annotations"]] == [123456789, 2]
    assert [a["category_id"] for a in record["annotations"]] == [900, 3]
    assert record["image_id"] == 7


def test_row_08_ids_are_kept_in_results(toy, tmp_path):
    from detectron2.data import MetadataCatalog

    from occ_order.engine.evaluation import build_evaluator
    from occ_order.order.io import load_results

    cfg = toy.config(tmp_path, tmp_path / "out", "TEST.EVALUATORS", ["OrderResults"])
    MetadataCatalog.get("toy").set(thing_dataset_id_to_contiguous_id={900: 0})
    evaluator = build_evaluator(cfg, "toy")
    evaluator.reset()
    toy.answer_all(evaluator, tmp_path)
    evaluator.evaluate()
    images = load_results(tmp_path / "out" / "inference" / "order_results.json")
    assert [image["image_id"] for image in images] == list(range(10))
    assert {i["category_id"] for image in images for i in image["instances"]} == {900}


def load_fuzzer():
    spec = importlib.util.spec_from_file_location("fuzz_readers", ROOT / "tools/fuzz_readers.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fuzzer():
    return load_fuzzer()


def test_row_08_a_short_fuzzing_run_finds_nothing(fuzzer, tmp_path):
    targets = fuzzer.make_targets(tmp_path)
    assert len(targets) >= 29
    result = fuzzer.fuzz(targets.values(), tmp_path, executions=8, seed=1)
    assert not result.found, "\n".join(text for _, _, text in result.found)
    assert result.executions == 8 * len(targets)
    assert 0.2 * result.executions < result.refused < result.executions
    assert len(result.lines) > 800


def test_row_08_the_fuzzer_finds_what_is_there(fuzzer, tmp_path):
    """A reader with a fault three lines deep, which only guided mutations reach soon."""

    def faulty(path):
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data.get("a"), int):
            raise ValueError("refused")
        return 1 // (data["a"] - 256)

    target = fuzzer.Target("faulty", faulty, [b'{"a": 1}'])
    result = fuzzer.fuzz([target], tmp_path, executions=400, seed=0)
    assert [name for name, _, _ in result.found] == ["faulty"] * len(result.found)
    assert any("ZeroDivisionError" in text for _, _, text in result.found)

    def slow(path):
        while Path(path).read_bytes() != b'{"a": 1}':
            time.sleep(0.01)

    target = fuzzer.Target("slow", slow, [b'{"a": 1}'])
    result = fuzzer.fuzz([target], tmp_path, executions=4, limit=0.05)
    assert "TooSlowError" in result.found[0][2]


FOUND = {
    "a relation that is a list": lambda image: image.update(depth=[[0, 1, ["closer"], 1.0]]),
    "a range that is an object": lambda image: image.update(depth=[[0, 1, "closer", {}, 1.0]]),
}


@pytest.mark.parametrize("case", FOUND)
def test_row_08_what_the_fuzzer_found_in_results(tmp_path, case):
    image = io_image()
    FOUND[case](image)
    with pytest.raises(ValueError, match="must be '(closer|distinct)'"):
        load_results(put(tmp_path / "r.json", {"format": "occ_order/1", "images": [image]}))


def io_image():
    """A valid image of a results file with two instances."""
    rle = masks.encode(np.eye(6, 8))
    instances = [{"id": k, "category_id": 1, "score": 0.5, "segmentation": rle} for k in (1, 2)]
    return {"image_id": 1, "height": 6, "width": 8, "instances": instances}


def test_row_08_what_the_fuzzer_found_in_labelme_files():
    from occ_order.formats.labelme_shapes import area_of

    shape = {"points": [[0, 0], [10**400, 1], [3, 3]], "shape_type": "polygon"}
    with pytest.raises(ValueError, match="'points' must be pairs of finite numbers"):
        area_of(shape, (6, 8))


def test_row_08_what_the_fuzzer_found_in_the_validator(tmp_path):
    data = coco()
    square = masks.encode(np.eye(6, 8))
    for annotation in data["annotations"]:
        annotation.update(a_segm=square, i_segm=square, a_bbox=[0, 0, 6, 6], i_bbox=[0, 0, 6, 6])
        annotation.update(oco_id=0, ico_id=0, a_area=-(2**63), i_area=6)
    errors = validate(put(tmp_path / "k.json", data), format="kins").errors
    assert errors and all("'a_area' is -9.22337e+18" in error for error in errors)


def test_row_08_the_same_seed_mutates_the_same(fuzzer):
    data = json.dumps(coco()).encode()
    one, two = ([fuzzer.mutate(data, random.Random(s)) for s in range(30)] for _ in range(2))
    assert one == two and len(set(one)) > 25


# --- row 24: names that lead out


NAMES = ["../a.png", "x/../../a.png", "/etc/a.png", "C:/a.png", "x\\a.png", "a\0.png", ""]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("load", [load_cocoa_cls, load_kins, load_cocoa])
def test_row_24_readers_keep_images_in_their_folder(tmp_path, name, load):
    data = coco(annotations=[])
    data["images"][0]["file_name"] = name
    with pytest.raises(ValueError, match="image 7: .*(must stay inside|forward slashes)"):
        load(put(tmp_path / "f.json", data), tmp_path)


def test_row_24_a_link_that_leads_out_is_not_followed(tmp_path):
    from occ_order.files import list_images, resolve_inside

    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir(), root.mkdir()
    Image.fromarray(GREY).save(outside / "secret.png")
    (root / "link").symlink_to(outside)
    (root / "l.png").symlink_to(outside / "secret.png")
    for name in ("link/secret.png", "l.png", "../outside/secret.png"):
        with pytest.raises(ValueError):
            resolve_inside(root, name)
    assert list_images(root) == []


def linked(root, name, target):
    """COCO instances of one image, which is a link."""
    (root / name).symlink_to(target)
    data = coco()
    data["images"][0]["file_name"] = name
    return put(root / "instances.json", data)


def test_row_24_an_image_that_is_a_link_out_is_neither_read_nor_copied_nor_served(tmp_path):
    from occ_order.apps.annotate.project import Project
    from occ_order.formats.convert import DataSet, copy_images, read_dataset

    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (tmp_path / "secret").write_text("SECRET")
    path = linked(root, "p.png", tmp_path / "secret")
    for load in (load_cocoa_cls, load_kins):
        with pytest.raises(ValueError, match=r"image 7: .*p\.png is a link that leads out"):
            load(path, root)
    with pytest.raises(ValueError, match=r"image 7: .*p\.png is a link that leads out"):
        read_dataset("coco", path)
    (root / "p.png").unlink()
    Image.fromarray(GREY).save(root / "q.png")
    data = read_dataset("coco", linked(root, "p.png", "q.png"))  # which stays inside
    copied = copy_images(data, out)
    assert copied.records[0]["file_name"] == str(out / "images" / "p.png")
    (out / "images" / "p.png").unlink()
    (out / "images").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="images is a link that leads out of the folder"):
        copy_images(data, out)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (out / "answers.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"answers\.jsonl is a link that leads out"):
        Project(DataSet(data.records, data.categories, None), out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_row_24_a_pipe_in_place_of_an_image_does_not_hang(tmp_path):
    from occ_order.files import image_size

    os.mkfifo(tmp_path / "p.png")
    for read in (load_image, image_size):
        with pytest.raises(ValueError, match=r"p\.png: not a readable image: no file"):
            read(tmp_path / "p.png")


@pytest.mark.parametrize("tool", ["tarfile", "zipfile", "shutil.unpack_archive"])
def test_row_24_no_archive_is_unpacked_by_any_script(tool):
    """Archives stay with the user: nothing here writes where a member's name says."""
    sources = [
        *ROOT.glob("occ_order/**/*.py"),
        *ROOT.glob("datasets/*.py"),
        *ROOT.glob("demo/*.py"),
    ]
    found = [path.name for path in sources if tool in path.read_text(encoding="utf-8")]
    assert len(sources) > 50 and found == []


# --- row 25: names with blanks and letters of other alphabets


def test_row_25_non_ascii_and_spaced_paths_work(toy, tmp_path):
    from occ_order.config import load_cfg

    folder = tmp_path / "größer als 猫"
    toy.write_images(folder / "bil der")
    cfg = toy.config(folder / "bil der", folder / "aus gabe ñ", "TEST.EVALUATORS", ["OrderResults"])
    (folder / "ein stellung é.yaml").write_text(cfg.dump(), encoding="utf-8")
    loaded = load_cfg(folder / "ein stellung é.yaml")
    trainer = toy.train(loaded)
    out = folder / "aus gabe ñ"
    assert trainer.iter == 20
    assert {p.name for p in out.iterdir()} >= {"model_final.pth", "last_checkpoint", "inference"}
    assert (out / "inference" / "order_results.json").is_file()
