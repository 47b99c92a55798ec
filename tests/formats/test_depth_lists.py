"""Depth in the Wild and KITTI depth: lists of images, and 16-bit depth maps."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from occ_order.formats import (
    load_diw,
    load_kitti_depth,
    read_depth_png,
    save_diw,
    save_kitti_depth,
    write_depth_png,
)
from occ_order.formats.kitti_depth import kb_crop

DIW = "./DIW_test/a.thumb\n10,20,1,2,<,400,300\n./DIW_test/b c.thumb\n3,4,5,6,>\n"


def test_diw_counts_pixels_from_zero(write):
    first, second = load_diw(write(DIW, "d.csv"), "diw")
    assert first == {
        "file_name": "diw/DIW_test/a.thumb",
        "point_a": (9, 19),
        "point_b": (0, 1),
        "relation": "<",
    }
    assert second["file_name"] == "diw/DIW_test/b c.thumb"
    assert second["relation"] == ">"


def test_diw_round_trip(write, tmp_path):
    pairs = load_diw(write(DIW, "d.csv"), "diw")
    save_diw(pairs, tmp_path / "é.csv", image_root="diw")
    assert load_diw(tmp_path / "é.csv", "diw") == pairs
    assert (tmp_path / "é.csv").read_text().startswith("./DIW_test/a.thumb\n10,20,1,2,<\n")


def test_empty_lists(write):
    assert load_diw(write("", "d.csv"), "") == []
    assert load_kitti_depth(write("\n\n", "k.txt"), "") == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("./a.thumb\n", "two rows per image"),
        ("./a.thumb\n0,1,2,3,<\n", "line 1: coordinates count from 1"),
        ("./a.thumb\n1,2,3,<\n", "yA,xA,yB,xB"),
        ("./a.thumb\n1,x,2,3,<\n", "yA,xA,yB,xB"),
        ("./a.thumb\n1,2,3,4,=\n", "relation"),
        ("./a.thumb\n1,2,3,4\n", "relation"),
        ("../a.thumb\n1,2,3,4,<\n", "inside the image folder"),
        ("a.thumb,1\n1,2,3,4,<\n", "one path"),
    ],
)
def test_damaged_diw(write, text, message):
    with pytest.raises(ValueError, match=message) as error:
        load_diw(write(text, "d.csv"), "")
    assert "d.csv" in str(error.value)


def test_kitti_list(write):
    text = "x/1.png y/1.png 721.5\n\nx/2.png None 721.5\nx/3.png y/3.png\n"
    assert load_kitti_depth(write(text, "k.txt"), "r") == [
        {"file_name": "r/rawdata/x/1.png", "depth_file_name": "r/data_depth_annotated/y/1.png"},
        {"file_name": "r/rawdata/x/3.png", "depth_file_name": "r/data_depth_annotated/y/3.png"},
    ]


def test_kitti_depth_maps_that_are_not_there_can_be_left_out(write, tmp_path):
    write_depth_png(tmp_path / "depth" / "1.png", np.ones((2, 2)))
    entries = [
        {
            "file_name": str(tmp_path / "rgb" / f"{k}.png"),
            "depth_file_name": str(tmp_path / "depth" / f"{k}.png"),
        }
        for k in (1, 2)
    ]
    folders = {"rgb_dir": "rgb", "depth_dir": "depth"}
    save_kitti_depth(entries, tmp_path / "k.txt", root=tmp_path, **folders)
    assert load_kitti_depth(tmp_path / "k.txt", tmp_path, **folders) == entries
    kept = load_kitti_depth(tmp_path / "k.txt", tmp_path, **folders, skip_missing=True)
    assert kept == entries[:1]


@pytest.mark.parametrize("line", ["only.png", "/etc/x.png y.png 1", "x.png ../../y.png 1"])
def test_damaged_kitti_list(write, line):
    with pytest.raises(ValueError, match="k.txt: line 2: "):
        load_kitti_depth(write(f"a.png b.png 1\n{line}\n", "k.txt"), "")


def test_kitti_names_with_blanks_cannot_be_written(tmp_path):
    entry = {"file_name": str(tmp_path / "rawdata" / "a b.png"), "depth_file_name": None}
    with pytest.raises(ValueError, match="entry 0: .*blanks"):
        save_kitti_depth([entry], tmp_path / "k.txt", root=tmp_path)
    assert not (tmp_path / "k.txt").exists()


def test_depth_png_is_sixteen_bit_and_scaled_by_256(tmp_path):
    path = tmp_path / "tiefe 1.png"
    write_depth_png(path, np.array([[0, 1.0, 80.5], [0.001, 255.99, 2]]))
    with Image.open(path) as image:
        assert image.mode.startswith("I;16")
        np.testing.assert_array_equal(np.array(image), [[0, 256, 20608], [1, 65533, 512]])
    depth = read_depth_png(path)
    assert depth.dtype == np.float32
    assert depth[0, 1] == 1.0


@given(
    arrays.arrays(
        np.float64, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 255.99)
    )
)
def test_depth_png_round_trip(tmp_path_factory, depth):
    path = tmp_path_factory.mktemp("depth") / "d.png"
    write_depth_png(path, depth)
    read = read_depth_png(path)
    np.testing.assert_array_equal(read > 0, depth > 0)
    np.testing.assert_allclose(read, depth, atol=1 / 256)


@pytest.mark.parametrize(
    "depth, message",
    [
        (np.full((2, 2), -1.0), ">= 0"),
        (np.full((2, 2), np.nan), "finite"),
        (np.full((2, 2), 256.0), "at most 255.996"),
        (np.zeros(3), r"\(H, W\)"),
    ],
)
def test_depth_that_the_format_cannot_hold(tmp_path, depth, message):
    with pytest.raises(ValueError, match=message):
        write_depth_png(tmp_path / "d.png", depth)
    assert list(tmp_path.iterdir()) == []


def test_damaged_depth_png(tmp_path):
    write_depth_png(tmp_path / "d.png", np.arange(4096.0).reshape(64, 64) / 64)
    whole = (tmp_path / "d.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.png").write_text("<html></html>")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    for name in ("cut", "page", "empty", "colour", "absent"):
        with pytest.raises(ValueError, match=f"{name}.png"):
            read_depth_png(tmp_path / f"{name}.png")


def test_kitti_benchmark_crop():
    image = np.arange(375 * 1242).reshape(375, 1242)
    crop = kb_crop(image)
    assert crop.shape == (352, 1216) and crop[0, 0] == image[23, 13]
    assert kb_crop(np.zeros((352, 1217, 3))).shape == (352, 1216, 3)
    with pytest.raises(ValueError, match=r"\(370, 1000\)"):
        kb_crop(np.zeros((370, 1000)))
