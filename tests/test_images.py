"""Images that are damaged, huge, of another format or of another kind of pixels."""

from __future__ import annotations

import base64
import io
import os
import pickle
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from occ_order.config import get_cfg
from occ_order.files import UnreadableImageError, image_size, load_image
from occ_order.formats import read_depth_png
from occ_order.formats.convert import read_dataset
from occ_order.formats.layered_image import FORMAT, load_layers
from occ_order.formats.sem_dist import load_sem_dist
from occ_order.formats.user_masks import load_masks
from occ_order.formats.validate import validate
from occ_order.methods.build import build_mapper

GREY = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)


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
def test_every_reader_of_images_names_the_damaged_one(tmp_path, name, write):
    """Also those that read a size or a depth map, and the commands that use them."""
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    page = {"shapes": [], "imagePath": name, "imageData": None}
    write(page, "page/page.json")
    image = {"id": 7, "file_name": name, "height": 6, "width": 8}
    data = {"images": [image], "annotations": [], "categories": [{"id": 3, "name": "x"}]}
    file = write(data, "f.json")
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
    (found,) = validate(file, format="cocoa_cls", images=tmp_path).errors
    assert f"{name}: not a readable image" in found


def test_large_images_and_blank_masks_are_no_bombs(tmp_path):
    Image.new("1", (5000, 4000)).save(tmp_path / "blank.png")
    Image.new("RGB", (5000, 4000)).save(tmp_path / "black.jpg")
    for name in ("blank.png", "black.jpg"):
        assert image_size(tmp_path / name) == (5000, 4000)


@pytest.mark.parametrize("name", [*DAMAGED, "missing.jpg", "folder.jpg"])
def test_a_damaged_image_is_refused_by_name(tmp_path, name):
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
def test_every_kind_of_image_becomes_8_bit_colour(tmp_path, name):
    array, expected = KINDS[name]
    Image.fromarray(array).save(tmp_path / name)
    pixels = load_image(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 8, 3)
    np.testing.assert_array_equal(pixels, np.dstack([expected] * 3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY.astype(np.float32) / 255, "its pixels are floats"),
        (GREY.astype(np.uint16) * 16, "has 16 bits, but no value above 3760, as of a camera"),
        (GREY.astype(np.int32) * 1000, "its pixels go from 0 to 235000"),
        (GREY.astype(np.int32) - 9, "its pixels go from -9 to 226"),
    ],
)
def test_an_image_that_would_become_black_or_white_is_refused(tmp_path, array, message):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"a.tif: {message}"):
        load_image(tmp_path / "a.tif")
    black = np.zeros((6, 8), np.uint16)
    Image.fromarray(black).save(tmp_path / "black.tif")
    assert not load_image(tmp_path / "black.tif").any()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
def test_colours_of_16_bits_that_would_become_black_are_refused(tmp_path, caplog, name):
    """Pillow keeps the upper 8 of the 16 bits of colours, of which a camera's 12 leave 4."""
    path, colours = tmp_path / name, np.dstack([GREY] * 3).astype(np.uint16)
    for factor, refused in ((1, True), (16, True), (64, False), (257, False)):
        cv2.imwrite(str(path), colours * factor)
        caplog.clear()
        if refused:
            with pytest.raises(ValueError, match=f"{name}: has 16 bits, but no value above"):
                load_image(path)
            continue
        # A PPM file is scaled, which rounds.
        np.testing.assert_allclose(load_image(path), colours * factor // 256, atol=name == "a.ppm")
        assert ("as of a camera of 14 bits" in caplog.text) == (factor == 64)


def test_a_rotated_image_is_turned(tmp_path):
    image = Image.fromarray(np.dstack([GREY] * 3))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = load_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("name", ["truncated.jpg", "page.jpg", "bomb.png"])
def test_training_names_the_damaged_image(toy, tmp_path, name):
    toy.write_images(tmp_path)
    (tmp_path / "3.png").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"3\.png"):
        toy.train(toy.config(tmp_path, tmp_path / "out"))
    opts = ("DATALOADER.SKIP_UNREADABLE", True)
    trainer = toy.train(toy.config(tmp_path, tmp_path / "out2", *opts, "DATASETS.TEST", ()))
    assert trainer.iter == 20 and trainer.data_loader.skipped >= 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_an_image_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    for read in (load_image, image_size):
        with pytest.raises(ValueError, match=r"p\.png: not a readable image: not a file"):
            read(tmp_path / "p.png")


# --- formats whose readers start programs, or that nobody asked for


@pytest.fixture
def ghostscript(monkeypatch, write):
    """A program gs in the path, which Pillow would run for an EPS file."""
    program = Path(write("#!/bin/sh\necho 10.0\n", "bin/gs"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(program))


@pytest.mark.parametrize("kind", ["EPS", "DDS"])
@pytest.mark.usefixtures("ghostscript", "nothing_runs")
def test_only_known_formats_are_opened_whatever_the_name(tmp_path, kind, write, unwanted_images):
    path = tmp_path / "a.png"
    path.write_bytes(unwanted_images[kind])
    layers = {"format": FORMAT, "height": 6, "width": 8, "layers": [{"file": "a.png"}]}
    write(layers, "layers.json")
    cfg = get_cfg()
    cfg.INPUT.MAPPER = ""
    record = {"file_name": str(path), "image_id": 1, "height": 6, "width": 8, "annotations": []}
    shape = {"points": [[0, 0], [7, 5]], "shape_type": "mask", "label": "a"}
    shape["mask"] = base64.b64encode(unwanted_images[kind]).decode()
    page = {"imagePath": "a.png", "imageHeight": 6, "imageWidth": 8, "shapes": [shape]}
    write(page, "page.json")
    readers = {
        "image": lambda: load_image(path),
        "size": lambda: image_size(path),
        "depth": lambda: read_depth_png(path),
        "label map": lambda: load_masks(path, (6, 8)),
        "folder of masks": lambda: load_masks(tmp_path, (6, 8)),
        "shape": lambda: load_masks(tmp_path / "page.json", (6, 8)),
        "layers": lambda: load_layers(tmp_path),
        "detector": lambda: build_mapper(cfg, is_train=False)(record),
    }
    for name, read in readers.items():
        with pytest.raises(ValueError, match=r"not a readable .*not a .*PNG.* file"):
            read()
            pytest.fail(name)
    with pytest.raises(UnreadableImageError):
        readers["detector"]()


def test_sem_dist_files_hold_no_objects(tmp_path, harmful, unwanted_images):
    array = np.empty((1, 1, 1), object)
    array[0, 0, 0] = harmful
    np.savez(tmp_path / "objects.npz", sem_dist=array)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(harmful))
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("sem_dist.npy", pickle.dumps(harmful))
    (tmp_path / "eps.png").write_bytes(unwanted_images["EPS"])
    for path in sorted(tmp_path.glob("*.npz")) + [tmp_path / "eps.png"]:
        with pytest.raises(ValueError, match=path.name):
            load_sem_dist(path, height=1)
