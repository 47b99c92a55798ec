"""Converters: what went in comes back, what a format cannot hold is said, damage is named."""

import base64
import io
import itertools
import json
import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.cli import main
from occ_order.formats.convert import (
    DataSet,
    StreamedRecords,
    convert,
    copy_images,
    read_dataset,
    write_dataset,
)
from occ_order.formats.differences import compare
from occ_order.formats.labelme_shapes import area_of
from occ_order.formats.order_table import (
    Row,
    matrices_of,
    read_order_table,
    rows_of,
    write_order_table,
)
from occ_order.formats.table import convertible
from occ_order.formats.user_masks import load_masks
from occ_order.formats.validate import validate

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG"


@pytest.fixture
def data(records, categories, tmp_path):
    return DataSet(records, categories, str(tmp_path / "images"))


def pair_of_boxes(folder: Path, *, name: str = "a.png") -> dict:
    """A labelme page of two overlapping squares, 10 x 12 pixels, and its image."""
    Image.new("RGB", (12, 10), (90, 120, 60)).save(folder / name)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {"label": "cup", "points": [[1, 1], [6, 1], [6, 6], [1, 6]], "group_id": None,
             "shape_type": "polygon", "flags": {}},
            {"label": "tray", "points": [[4, 4], [11, 9]], "group_id": None,
             "shape_type": "rectangle", "flags": {}},
        ],
        "imagePath": name, "imageData": None, "imageHeight": 10, "imageWidth": 12,
    }  # fmt: skip


def write_page(folder: Path, page: dict, name: str = "a.json") -> None:
    (folder / name).write_text(json.dumps(page), encoding="utf-8")


def box(y0, y1, x0, x1):
    mask = np.zeros((10, 12), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def modal_of(record):
    return masks.decode_all([a["segmentation"] for a in record["annotations"]], 10, 12)


# --- round trips


@pytest.mark.parametrize("format", convertible())
def test_every_format_comes_back(data, format, tmp_path):
    """Only what the format has no place for is lost, and nothing is changed."""
    data.records[1]["overlap"] = np.full_like(data.records[1]["overlap"], -1)
    no_class = {"classes"} if format == "cocoa" else set()
    no_depth = {
        "depth order of a pair",
        "'distinct' or 'overlap' of a pair",
        "number of people asked about a pair",
    }
    name = "'name' of an instance"
    expected = {
        "labelme": {name},
        "coco": set(),
        "cocoa": no_depth | no_class,
        "cocoa_cls": no_depth | {name},
        "kins": no_depth | {name},
        "instaorder": {name, "whole masks"},
        "results": {"number of people asked about a pair"},
        "label_studio": {name, "whole masks", "number of people asked about a pair"},
        "cvat": {name, "whole masks"} | no_depth,
    }[format]
    files, differences = convert(data, format, tmp_path / "out", allow_changes=True)
    assert set(differences.lost) - {"occlusion of a pair"} == expected
    assert all(path.is_file() for path in files)
    if format not in ("kins", "cocoa_cls"):
        assert not differences.changed and "occlusion of a pair" not in differences.lost


@pytest.mark.parametrize("format", ["labelme", "coco", "results"])
def test_matrices_and_masks_are_equal_after_a_round_trip(data, format, tmp_path):
    files = write_dataset(format, data, tmp_path / "out")
    source = tmp_path / "out" if format == "labelme" else files[0]
    root = None if format == "labelme" else data.image_root
    classes = [c["name"] for c in data.categories]
    back = read_dataset(format, source, images=root, classes=classes)
    for one, other in zip(data.records, back.records, strict=True):
        assert [a["id"] for a in one["annotations"]] == [a["id"] for a in other["annotations"]]
        assert (one["occlusion"] == other["occlusion"]).all()
        assert (one["depth"] == other["depth"]).all()
        assert (one["overlap"] == other["overlap"]).all()
        for key in ("segmentation", "amodal_segmentation"):
            first, second = (
                masks.decode_all([a[key] for a in r["annotations"]], 64, 80) for r in (one, other)
            )
            assert (first == second).all()


def test_round_the_world(data, tmp_path):
    """labelme -> coco -> results -> instaorder: the order arrives."""
    before = data.records[0]
    for number, format in enumerate(("labelme", "coco", "results", "instaorder")):
        folder = tmp_path / str(number)
        files, _ = convert(data, format, folder)
        source = folder if format == "labelme" else files[0]
        root = folder if format == "labelme" else data.image_root
        classes = [c["name"] for c in data.categories]
        data = read_dataset(format, source, images=root, classes=classes)
    assert (data.records[0]["occlusion"] == before["occlusion"]).all()
    assert (data.records[0]["depth"] == before["depth"]).all()


def test_real_photographs_convert_between_cocoa_and_the_rest(cocoa_demo, tmp_path):
    data = read_dataset("cocoa", cocoa_demo / "COCO_amodal_demo5.json", images=cocoa_demo.parent)
    for format in ("coco", "labelme", "results"):
        _, differences = convert(data, format, tmp_path / format)
        assert not differences.changed
        assert set(differences.lost) <= {"'name' of an instance", "'is_stuff' of an instance"}
    back = read_dataset("labelme", tmp_path / "labelme")
    _, differences = convert(back, "cocoa", tmp_path / "again")
    assert not differences.changed and set(differences.lost) <= {"classes"}


# --- large data sets


class Counted(dict):
    """A record that can be counted while somebody holds it."""

    __hash__ = object.__hash__


@pytest.mark.parametrize("format", ["instaorder", "coco", "kins", "cocoa", "cocoa_cls"])
def test_records_are_written_and_compared_one_after_the_other(data, format, tmp_path):
    alive, most = weakref.WeakSet(), 0
    first = data.records[0]

    def many(level):
        nonlocal most
        for k in range(12):
            record = Counted(first, image_id=k, file_name=f"{data.image_root}/{k}.png")
            record["annotations"] = [
                {**a, "id": 1000 * k + n, "iscrowd": 0}
                for n, a in enumerate(first["annotations"], 1)
            ]
            alive.add(record)
            most = max(most, len(alive))
            yield record

    streamed = DataSet(StreamedRecords(many), data.categories, data.image_root)
    options = {"allow_changes": True, "assume_none": True, "assume_whole": True}
    files, differences = convert(streamed, format, tmp_path / "out", **options)
    assert most <= 3
    held = DataSet(list(many(0)), data.categories, data.image_root)
    again, same = convert(held, format, tmp_path / "again", **options)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    assert differences == same


@pytest.mark.parametrize("format", ["instaorder", "coco"])
def test_what_is_streamed_is_what_is_read(data, format, tmp_path):
    path = write_dataset(format, data, tmp_path / "out")[0]
    read, streamed = (
        read_dataset(format, path, images=data.image_root, stream=stream)
        for stream in (False, True)
    )
    assert isinstance(streamed.records, StreamedRecords) and streamed.categories == read.categories
    for _ in range(2):
        names = read.categories, streamed.categories
        assert compare(read.records, streamed.records, *names).lines() == []
        assert [r["image_id"] for r in streamed.records] == [r["image_id"] for r in read.records]


def test_what_is_left_out_is_told_once(data, tmp_path, caplog):
    path, _ = write_dataset("coco", data, tmp_path / "in")
    page = json.loads(path.read_text())
    page["annotations"].append({**page["annotations"][0], "id": 5, "iscrowd": 1})
    page["annotations"].append({**page["annotations"][0], "id": 6, "segmentation": []})
    path.write_text(json.dumps(page))
    common = ["--from", "coco", "--input", str(path), "--images", data.image_root, "--to", "coco"]
    with caplog.at_level(logging.WARNING):
        assert main(["convert", *common, "--output", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()  # found before anything is written
        caplog.clear()
        assert main(["convert", *common, "--skip-damaged", "--output", str(tmp_path / "out")]) == 0
    assert caplog.text.count("1 crowd annotations ('iscrowd' 1) left out") == 1
    assert caplog.text.count("1 damaged entries left out") == 1


def test_records_are_compared_in_any_order(data):
    third = {**data.records[1], "image_id": 77}
    before = [*data.records, third]
    for after in itertools.permutations(before):
        assert compare(before, iter(after), data.categories, data.categories).lines() == []
        found = compare(before, after[1:], data.categories, data.categories)
        assert found.lines() == ["lost: images: 1"]


# --- what a format cannot hold


def test_formats_with_whole_masks_refuse_visible_ones_unless_told(data, tmp_path):
    for record in data.records:
        for annotation in record["annotations"]:
            del annotation["amodal_segmentation"], annotation["amodal_bbox"]
    with pytest.raises(ValueError, match="image 1: annotation 1001: .*'amodal_segmentation'"):
        convert(data, "cocoa", tmp_path / "out")
    files, differences = convert(data, "cocoa", tmp_path / "out", assume_whole=True)
    assert not differences.changed and validate(files[0]).errors == []


@pytest.mark.parametrize("format", ["cocoa", "kins", "instaorder"])
def test_unknown_pairs_are_refused_unless_told(data, format, tmp_path):
    data.records[0]["occlusion"][0, 1] = -1
    with pytest.raises(ValueError, match=r"image 1: .*not annotated: -1 at \[0, 1\]"):
        convert(data, format, tmp_path / "out", allow_changes=True)
    convert(data, format, tmp_path / "out", assume_none=True, allow_changes=True)
    assert list((tmp_path / "out").iterdir())


def test_no_order_at_all(data, tmp_path):
    for record in data.records:
        for key in ("occlusion", "depth", "overlap", "count"):
            del record[key]
    for format in ("cocoa", "kins", "instaorder"):
        with pytest.raises(ValueError, match="image 1: .*without (occlusion )?order"):
            convert(data, format, tmp_path / "out")
    _, differences = convert(data, "coco", tmp_path / "out")
    assert differences.lines() == []


def test_mutual_occlusion_in_layers_reads_back_as_unknown(data, tmp_path):
    record = data.records[0]
    record["annotations"] = record["annotations"][:2]
    whole = masks.encode(np.ones((64, 80), bool))
    for annotation in record["annotations"]:
        annotation.update(amodal_segmentation=whole, amodal_bbox=[0.0, 0.0, 80.0, 64.0])
    for key in ("depth", "overlap", "count"):
        del record[key]
    record["occlusion"] = np.array([[0, 1], [1, 0]], np.int8)
    data.records = [record]
    _, differences = convert(data, "kins", tmp_path / "kins")
    assert differences.lost["occlusion of a pair"] == 1 and not differences.changed
    _, differences = convert(data, "cocoa", tmp_path / "cocoa")
    assert "occlusion of a pair" not in differences.lost


def test_files_that_would_say_something_else_are_not_kept(data, tmp_path):
    """KINS derives a pair from two layers wherever whole masks overlap: here it invents one."""
    record = data.records[0]
    record["annotations"] = record["annotations"][:3]
    whole = masks.encode(np.ones((64, 80), bool))
    for annotation in record["annotations"]:
        annotation.update(amodal_segmentation=whole, amodal_bbox=[0.0, 0.0, 80.0, 64.0])
    for key in ("depth", "overlap", "count"):
        del record[key]
    record["occlusion"] = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], np.int8)
    data.records = [record]
    with pytest.raises(ValueError, match="changed: occlusion of a pair: 1"):
        convert(data, "kins", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    files, differences = convert(data, "kins", tmp_path / "out", allow_changes=True)
    assert differences.changed["occlusion of a pair"] == 1 and files[0].is_file()


def test_compare_finds_what_differs(records, categories):
    other = json.loads(json.dumps(records, default=np.ndarray.tolist))
    assert compare(records, other, categories, categories).lines() == []
    other[0]["occlusion"] = (1 - np.array(other[0]["occlusion"])).tolist()
    other[1]["annotations"][0]["segmentation"] = masks.encode(np.ones((64, 80), bool))
    found = compare(records, [other[0], other[1]])
    n = len(records[0]["annotations"])
    assert found.changed == {"occlusion of a pair": n * (n - 1) // 2, "visible masks": 1}
    assert compare(records, other[1:]).lost == {"images": 1}
    assert compare(records[1:], other).changed["images that were not there"] == 1


def test_an_unknown_format_is_named(data, tmp_path):
    with pytest.raises(ValueError, match="unknown format 'voc'; known are labelme, insta"):
        read_dataset("voc", tmp_path)
    with pytest.raises(ValueError, match="unknown format 'voc'"):
        write_dataset("voc", data, tmp_path)


# --- the order table


def test_order_table_by_hand(tmp_path):
    path = tmp_path / "order.csv"
    path.write_text(
        "\ufeffimage,first,relation,second,range,count\n"
        "a.jpg,cup,in front of,tray,,\n\n"
        "a.jpg, tray ,occludes,fork,,\n"
        "a.jpg,fork,unknown,cup,,\n"
        "a.jpg,tray,closer,cup,distinct,3\n"
        "a.jpg,fork,equal,cup,overlap,\n"
        "b.jpg,,in front of,,,\n",
        encoding="utf-8",
    )
    rows = read_order_table(path)
    index = ["cup", "tray", "fork"].index
    found = matrices_of(rows["a.jpg"], 3, index)
    assert found["occlusion"].tolist() == [[0, 1, 0], [0, 0, 1], [-1, 0, 0]]
    assert found["depth"].tolist() == [[-1, 0, 2], [1, -1, -1], [2, -1, -1]]
    assert found["overlap"].tolist() == [[-1, 0, 1], [0, -1, -1], [1, -1, -1]]
    assert found["count"].tolist() == [[-1, 3, -1], [3, -1, -1], [-1, -1, -1]]
    empty = matrices_of(rows["b.jpg"], 2, index)
    assert list(empty) == ["occlusion"] and empty["occlusion"].tolist() == [[0, 0], [0, 0]]
    assert matrices_of([], 2, index) == {}


def test_order_table_round_trip(tmp_path):
    rng = np.random.default_rng(3)
    occlusion = rng.integers(-1, 2, (5, 5)).astype(np.int8)
    np.fill_diagonal(occlusion, 0)
    names = ["a", "b,c", 'd"', "\u4e2d", "e f"]
    rows = rows_of({"occlusion": occlusion}, "x.png", names)
    write_order_table(tmp_path / "o.csv", rows)
    back = read_order_table(tmp_path / "o.csv")["x.png"]
    assert (matrices_of(back, 5, names.index)["occlusion"] == occlusion).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,a,b\n", "the header must be image,first,relation,second,range,count"),
        ("", "the header must be"),
        ("image,first,relation,second\nx,a,in front of\n", "line 2: expected 4 columns, got 3"),
        ("image,first,relation,second\nx,a,behind,b\n", "line 2: the relation must be"),
        ("image,first,relation,second,range\nx,a,closer,b,far\n", "range of a depth order"),
        ("image,first,relation,second,range\nx,a,occludes,b,overlap\n", "range of a depth order"),
        ("image,first,relation,second,range,count\nx,a,equal,b,,0\n", "count must be an integer"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, message):
    (tmp_path / "o.csv").write_text(text)
    with pytest.raises(ValueError, match=f"o.csv.*{message}"):
        read_order_table(tmp_path / "o.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "in front of", "a")], "line 0: 'a' and 'a' are the same instance"),
        ([("a", "in front of", "c")], "line 0: 'c' is not in list"),
        ([("a", "occludes", "b"), ("a", "in front of", "b")], "line 1: the occlusion of 'a' and"),
        ([("a", "closer", "b"), ("b", "closer", "a")], "line 1: the depth of 'b' and 'a' stands"),
    ],
)
def test_contradictions_name_their_line(rows, message):
    table = [Row("x", *words, path="o.csv", line=k) for k, words in enumerate(rows)]
    with pytest.raises(ValueError, match=message):
        matrices_of(table, 2, ["a", "b"].index)


# --- labelme


def test_visible_shapes_and_an_order(tmp_path):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    (tmp_path / "order.csv").write_text("image,first,relation,second\na.png,cup,in front of,tray\n")
    data = read_dataset("labelme", tmp_path)
    (record,) = data.records
    assert data.categories == [{"id": 1, "name": "cup"}, {"id": 2, "name": "tray"}]
    assert record["occlusion"].tolist() == [[0, 1], [0, 0]] and "depth" not in record
    assert (modal_of(record) == [box(1, 6, 1, 6), box(4, 9, 4, 11)]).all()
    assert "amodal_segmentation" not in record["annotations"][0]


def test_whole_shapes_give_visible_parts_by_the_order(tmp_path):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    with pytest.raises(ValueError, match="a.json: visible parts .* no line about occlusion"):
        read_dataset("labelme", tmp_path, whole=True)
    (tmp_path / "order.csv").write_text("image,first,relation,second\na.png,cup,in front of,tray\n")
    (record,) = read_dataset("labelme", tmp_path, whole=True).records
    tray = box(4, 9, 4, 11)
    assert (modal_of(record) == [box(1, 6, 1, 6), tray & ~box(1, 6, 1, 6)]).all()
    whole = masks.decode(record["annotations"][1]["amodal_segmentation"], 10, 12)
    assert (whole == tray).all()


def test_whole_shapes_each_in_front_of_the_other_are_refused(tmp_path):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    (tmp_path / "order.csv").write_text(
        "image,first,relation,second\na.png,cup,in front of,tray\na.png,tray,in front of,cup\n"
    )
    with pytest.raises(ValueError, match="'cup' and 'tray' are each in front of the other"):
        read_dataset("labelme", tmp_path, whole=True)


def test_an_overlap_that_the_order_leaves_open_is_warned_of(tmp_path, caplog):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    (tmp_path / "order.csv").write_text("image,first,relation,second\na.png,,in front of,\n")
    with caplog.at_level(logging.WARNING):
        read_dataset("labelme", tmp_path, whole=True)
    assert "'cup' and 'tray' overlap by 4 pixels" in caplog.text


def test_groups_amodal_flags_and_masks(tmp_path, caplog):
    """Two shapes of a group are one instance; a flagged one is its whole; a mask shape counts."""
    page = pair_of_boxes(tmp_path)
    first, second = page["shapes"]
    first["group_id"] = 7
    more = {"label": "cup", "group_id": 7, "shape_type": "rectangle", "points": [[8, 0], [10, 2]]}
    whole = {**more, "points": [[1, 0], [10, 6]], "flags": {"amodal": True}}
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], np.uint8)).save(buffer, "PNG")
    drawn = {"label": "fork", "group_id": None, "shape_type": "mask", "points": [[0, 8], [1, 9]],
             "mask": base64.b64encode(buffer.getvalue()).decode()}  # fmt: skip
    point = {"label": "fork", "shape_type": "point", "points": [[1, 1]]}
    page["shapes"] = [first, second, more, whole, drawn, point]
    write_page(tmp_path, page)
    with caplog.at_level(logging.WARNING):
        (record,) = read_dataset("labelme", tmp_path).records
    assert "shape 5: is a point, left out" in caplog.text
    modal = modal_of(record)
    assert (modal[0] == box(1, 6, 1, 6) | box(0, 2, 8, 10)).all()
    assert modal[2].sum() == 3 and modal[2][9, 1] and not modal[2][8, 1]
    cup, tray = record["annotations"][:2]
    assert masks.decode(cup["amodal_segmentation"], 10, 12).sum() == 9 * 6
    assert "amodal_segmentation" not in tray


def test_group_ids_of_other_tools(tmp_path, caplog):
    """Text and floats that are whole numbers are group ids; empty text is none."""
    page = pair_of_boxes(tmp_path)
    first, second = page["shapes"]
    first["group_id"], second["group_id"] = "3", ""
    more = {**first, "group_id": 3.0, "shape_type": "rectangle", "points": [[6, 0], [8, 2]]}
    page["shapes"] = [first, second, more]
    write_page(tmp_path, page)
    with caplog.at_level(logging.WARNING):
        (record,) = read_dataset("labelme", tmp_path).records
    assert (modal_of(record)[0] == box(1, 6, 1, 6) | box(0, 2, 6, 8)).all()
    assert len(record["annotations"]) == 2 and "apart" not in caplog.text
    for wrong in ("cup", 2.5, True, [1]):
        first["group_id"] = wrong
        write_page(tmp_path, page)
        with pytest.raises(ValueError, match="shape 0: 'group_id' must be an integer"):
            read_dataset("labelme", tmp_path)


def test_a_group_whose_parts_are_far_apart_is_warned_of(tmp_path, caplog):
    """A script that writes group 0 for every shape makes one cup of two."""
    page = pair_of_boxes(tmp_path)
    cup = {**page["shapes"][0], "group_id": 0, "shape_type": "rectangle"}
    page["shapes"] = [{**cup, "points": [[0, 0], [3, 3]]}, {**cup, "points": [[9, 0], [12, 3]]}]
    write_page(tmp_path, page)
    with caplog.at_level(logging.WARNING):
        (record,) = read_dataset("labelme", tmp_path).records
    assert len(record["annotations"]) == 1
    assert "the parts of 'cup', group 0, are up to 6 pixels apart" in caplog.text


def test_instances_are_named_by_group_or_number(tmp_path):
    page = pair_of_boxes(tmp_path)
    page["shapes"][1]["label"] = "cup"
    write_page(tmp_path, page)
    table = tmp_path / "order.csv"
    table.write_text("image,first,relation,second\na.png,cup#2,in front of,cup#1\n")
    assert read_dataset("labelme", tmp_path).records[0]["occlusion"].tolist() == [[0, 0], [1, 0]]
    page["shapes"][1]["group_id"] = 9
    write_page(tmp_path, page)
    table.write_text("image,first,relation,second\na.png,cup#9,in front of,cup#1\n")
    assert read_dataset("labelme", tmp_path).records[0]["occlusion"].tolist() == [[0, 0], [1, 0]]
    table.write_text("image,first,relation,second\na.png,cup,in front of,cup#1\n")
    with pytest.raises(ValueError, match=r"line 2: no instance of 'a.png' can be meant by 'cup'"):
        read_dataset("labelme", tmp_path)


def test_classes_fix_the_ids(tmp_path):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    data = read_dataset("labelme", tmp_path, classes=["tray", "fork", "cup"])
    assert [a["category_id"] for a in data.records[0]["annotations"]] == [3, 1]
    with pytest.raises(ValueError, match="label 'cup' is not among"):
        read_dataset("labelme", tmp_path, classes=["tray"])


@pytest.mark.parametrize("name", ["../b.png", "/b.png", "..\\b.png", "C:/b.png", "link.png", ""])
def test_images_outside_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    page = pair_of_boxes(folder)
    Image.new("RGB", (12, 10)).save(tmp_path / "b.png")
    (folder / "link.png").symlink_to(tmp_path / "b.png")
    write_page(folder, {**page, "imagePath": name})
    with pytest.raises(ValueError, match="a.json: .*(inside|forward slashes|leads out)"):
        read_dataset("labelme", folder)


def test_an_image_folder_of_its_own_takes_the_last_part_of_the_path(tmp_path):
    for name in ("json", "pics"):
        (tmp_path / name).mkdir()
    page = pair_of_boxes(tmp_path / "pics")
    write_page(tmp_path / "json", {**page, "imagePath": "..\\pics\\a.png"})
    (record,) = read_dataset("labelme", tmp_path / "json", images=tmp_path / "pics").records
    assert Path(record["file_name"]) == tmp_path / "pics" / "a.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": None}, "'shapes' must be a list"),
        ({"imagePath": "no.png"}, "no such image file"),
        ({"imageHeight": 11}, r"has height and width \(11, 12\), but .* \(10, 12\)"),
        ({"shapes": [3]}, "shape 0: must be an object"),
        ({"shapes": [{"label": " ", "points": []}]}, "'label' must not be empty"),
        ({"shapes": [{"label": "a", "points": [[1, 1], [2, 2]]}]}, "three or more points, got 2"),
        ({"shapes": [{"label": "a", "points": [[1, 1], [2, "x"], [3, 3]]}]}, "pairs of finite"),
        ({"shapes": [{"label": "a", "points": [[1, 1]], "shape_type": "rectangle"}]}, "two points"),
        ({"shapes": [{"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "mask"}]}, "'mask'"),
        ({"shapes": [{"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "mask",
                      "mask": base64.b64encode(PNG).decode()}]}, "not a readable image: not a PNG"),
        ({"shapes": [{"label": "a", "points": [[1e9, 0], [2, 2], [3, 9]]}]}, "shape 0: .*1e.09"),
    ],
)  # fmt: skip
def test_damaged_labelme_files_are_named(tmp_path, change, message):
    write_page(tmp_path, pair_of_boxes(tmp_path) | change)
    with pytest.raises(ValueError, match=f"a.json.*{message}"):
        read_dataset("labelme", tmp_path)


def shape(label, *points, **more):
    return {"label": label, "points": [list(point) for point in points], **more}


def test_what_labelme_takes_for_no_object_is_left_out(tmp_path, caplog):
    page = pair_of_boxes(tmp_path)
    corners = [(0, 0), (3, 0), (3, 3)]
    page["shapes"] += [shape("__ignore__", *corners), shape("_background_", *corners)]
    write_page(tmp_path, page)
    for classes in (None, ["tray", "cup"]):
        data = read_dataset("labelme", tmp_path, classes=classes)
        assert len(data.records[0]["annotations"]) == 2
        assert sorted(c["name"] for c in data.categories) == ["cup", "tray"]
    assert "2 shapes labelled __ignore__ or _background_ left out" in caplog.text
    found = load_masks(tmp_path / "a.json", (10, 12))
    assert sorted(found.names) == ["cup", "tray"]


def test_files_that_are_not_labelmes_are_left_out(tmp_path, caplog):
    page = pair_of_boxes(tmp_path)
    write_page(tmp_path, page)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "instances.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "settings.json").write_text("[1]")
    (tmp_path / "._a.json").write_bytes(b"\x00\x05of a disk from macOS")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    write_page(tmp_path / ".ipynb_checkpoints", page)
    assert len(read_dataset("labelme", tmp_path).records) == 1
    assert "instances.json: no labelme file (it has no 'shapes'), left out" in caplog.text
    assert "settings.json: no labelme file" in caplog.text


def test_every_damaged_shape_of_a_folder_is_named_at_once(tmp_path, caplog):
    page = pair_of_boxes(tmp_path)
    two = shape("cup", (1, 1), (2, 2))
    write_page(tmp_path, {**page, "shapes": [*page["shapes"], two, shape("cup"), shape("")]})
    (tmp_path / "b").mkdir()
    write_page(tmp_path / "b", {**page, "imagePath": "none.png"})
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError) as caught:
        read_dataset("labelme", tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5 and "c.json: not a JSON file" in lines[4]
    assert [line.split(": ")[1] for line in lines[:3]] == [f"shape {k}" for k in (2, 3, 4)]
    assert "b/a.json: no such image file" in lines[3]
    (record,) = read_dataset("labelme", tmp_path, skip_damaged=True).records
    assert len(record["annotations"]) == 2
    assert "5 damaged entries left out" in caplog.text


def test_a_shape_that_covers_no_pixel_is_told(tmp_path, caplog):
    page = pair_of_boxes(tmp_path)
    page["shapes"].append(shape("flat", (1, 1), (5, 1), (9, 1)))
    write_page(tmp_path, page)
    assert len(read_dataset("labelme", tmp_path).records[0]["annotations"]) == 3
    assert "instance 'flat' covers no pixel" in caplog.text


@pytest.mark.parametrize("name", ["..\\pics\\a.png", "D:/pics/a.png", "/pics/a.png", "../x/a.png"])
def test_the_image_beside_its_file_is_found_by_the_last_part_of_its_name(tmp_path, name):
    write_page(tmp_path, pair_of_boxes(tmp_path) | {"imagePath": name})
    (record,) = read_dataset("labelme", tmp_path).records
    assert Path(record["file_name"]) == tmp_path / "a.png"
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match="'imagePath': .*; name its folder with --images"):
        read_dataset("labelme", tmp_path)


def test_infinity_in_a_labelme_file_is_refused(tmp_path):
    page = pair_of_boxes(tmp_path)
    page["shapes"][0]["points"][0][0] = float("inf")
    write_page(tmp_path, page)
    with pytest.raises(ValueError, match="shape 0: 'points' must be pairs of finite numbers"):
        read_dataset("labelme", tmp_path)


def test_an_empty_folder_and_a_line_about_no_image(tmp_path):
    with pytest.raises(FileNotFoundError, match="no labelme files"):
        read_dataset("labelme", tmp_path)
    write_page(tmp_path, pair_of_boxes(tmp_path))
    (tmp_path / "order.csv").write_text("image,first,relation,second\nb.png,cup,occludes,tray\n")
    with pytest.raises(ValueError, match="line 2: no labelme file is about an image 'b.png'"):
        read_dataset("labelme", tmp_path)


def test_images_of_one_name_in_two_folders_stay_apart(tmp_path, make_records, categories):
    records = make_records(tmp_path / "p" / "one", 1) + make_records(tmp_path / "p" / "two", 1)
    records[1]["image_id"] = 2
    for annotation in records[1]["annotations"]:
        annotation["id"] += 1000
    data = DataSet(records, categories, str(tmp_path / "p"))
    _, differences = convert(data, "labelme", tmp_path / "out")
    assert set(differences.lost) == {"'name' of an instance"} and not differences.changed
    flat = DataSet(records, categories, None)
    with pytest.raises(ValueError, match="would be called 'image 1.png', like that of image 1"):
        write_dataset("labelme", flat, tmp_path / "flat")


def test_masks_with_holes_and_parts_survive_labelme(tmp_path):
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    ring = box(1, 6, 1, 6) & ~box(2, 4, 2, 4)
    parts = box(7, 9, 0, 3) | box(8, 10, 4, 5) | box(7, 8, 5, 6)  # two of them meet at a corner
    hidden = np.zeros((10, 12), bool)
    annotations = [
        {"id": 5 + k, "category_id": 1, "iscrowd": 0, "segmentation": masks.encode(mask),
         "bbox": masks.bounding_box(mask).tolist()}
        for k, mask in enumerate((ring, parts, hidden))
    ]  # fmt: skip
    annotations[2]["amodal_segmentation"] = masks.encode(box(1, 3, 8, 9))
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 3, "height": 10, "width": 12,
              "annotations": annotations}  # fmt: skip
    data = DataSet([record], [{"id": 1, "name": "thing"}], str(tmp_path))
    _, differences = convert(data, "labelme", tmp_path / "out")
    assert differences.lines() == []
    del annotations[2]["amodal_segmentation"]
    with pytest.raises(ValueError, match="image 3: annotation 7: its mask is empty"):
        write_dataset("labelme", data, tmp_path / "again")


# --- COCO with a table, results


def test_coco_crowds_are_left_out_and_unknown_ids_named(data, tmp_path, caplog):
    instances, table = write_dataset("coco", data, tmp_path)
    page = json.loads(instances.read_text())
    page["annotations"].append({**page["annotations"][0], "id": 5, "iscrowd": 1})
    instances.write_text(json.dumps(page))
    with caplog.at_level(logging.WARNING):
        back = read_dataset("coco", instances, images=data.image_root)
    assert "1 crowd annotations ('iscrowd' 1) left out" in caplog.text
    assert len(back.records[0]["annotations"]) == len(data.records[0]["annotations"])
    table.write_text("image,first,relation,second\n1,1001,occludes,77\n")
    with pytest.raises(ValueError, match="line 2: image 1 has no annotation with the id '77'"):
        read_dataset("coco", instances, images=data.image_root)
    table.write_text("image,first,relation,second\n9,1001,occludes,77\n")
    with pytest.raises(ValueError, match="line 2: no image has the id '9'"):
        read_dataset("coco", instances, images=data.image_root)


def coco_with(data, tmp_path, change):
    """instances.json and order.csv of a data set, the annotations of the first image changed."""
    path, _ = write_dataset("coco", data, tmp_path)
    page = json.loads(path.read_text())
    change(page, [a for a in page["annotations"] if a["image_id"] == 1])
    path.write_text(json.dumps(page))
    return path


def test_one_empty_segmentation_does_not_refuse_the_rest(data, tmp_path, caplog):
    def spoil(page, entries):
        entries[0]["segmentation"] = []
        entries[1].update(segmentation=[[1, 1, 5, 5]], iscrowd=False)

    path = coco_with(data, tmp_path, spoil)
    with pytest.raises(ValueError) as caught:
        read_dataset("coco", path, images=data.image_root)
    lines = str(caught.value).splitlines()
    ids = [a["id"] for a in data.records[0]["annotations"]]
    assert [line.split(": ")[1:3] for line in lines] == [
        ["image 1", f"annotation {number}"] for number in ids[:2]
    ]
    back = read_dataset("coco", path, images=data.image_root, skip_damaged=True)
    assert [a["id"] for a in back.records[0]["annotations"]] == ids[2:]
    expected = data.records[0]["occlusion"][2:, 2:]
    assert back.records[0].get("occlusion", expected).tolist() == expected.tolist()
    assert len(back.records[1]["annotations"]) == len(data.records[1]["annotations"])
    assert "2 damaged entries left out" in caplog.text


@pytest.mark.parametrize("format", ["cocoa", "cocoa_cls", "kins", "instaorder"])
def test_every_damaged_image_of_the_published_formats_is_named_at_once(
    data, tmp_path, caplog, format
):
    """Their orders are of all instances of an image, so it is left out as a whole."""
    data.records[1]["overlap"] = np.full_like(data.records[1]["overlap"], -1)
    path = write_dataset(format, data, tmp_path / "out", assume_none=True)[-1]
    kept = write_dataset(format, data, tmp_path / "out", assume_none=True)[0]
    content = json.loads(path.read_text())
    found = content["annotations"]
    key = "a_segm" if format == "kins" else "segmentation"
    number = data.records[0]["image_id"]
    (entries,) = [[a for a in found if a["image_id"] == number]]
    entries = entries[0]["regions"] if format == "cocoa" else entries
    entries[0][key], entries[1][key] = [], [[1, 1, 5, 5]]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as caught:
        read_dataset(format, kept, images=data.image_root)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(f"{path}: image {number}: " in line for line in lines)
    back = read_dataset(format, kept, images=data.image_root, skip_damaged=True)
    assert [record["image_id"] for record in back.records] == [data.records[1]["image_id"]]
    assert "2 damaged entries left out" in caplog.text


@pytest.mark.parametrize("format", ["cocoa_cls", "kins"])
def test_a_file_of_an_amodal_format_is_no_coco(data, tmp_path, format):
    """Its 'segmentation' is the amodal mask, which would be taken for the modal one."""
    (path,) = write_dataset(format, data, tmp_path / "out")
    with pytest.raises(ValueError, match=f"an amodal mask; read the file in the format {format}"):
        read_dataset("coco", path, images=data.image_root)
    (error,) = validate(path, format="coco").errors
    assert f"in the format {format}" in error


def test_masks_of_a_brush_are_not_lost_in_silence(data, tmp_path):
    def crowd(page, entries):
        for entry in page["annotations"]:
            entry["iscrowd"] = 1

    path = coco_with(data, tmp_path, crowd)
    with pytest.raises(ValueError, match="all [0-9]+ annotations have 'iscrowd' 1, as CVAT"):
        read_dataset("coco", path, images=data.image_root)
    back = read_dataset("coco", path, images=data.image_root, keep_crowds=True)
    assert not compare(data.records, back.records, data.categories, back.categories).changed


def test_annotations_without_a_pixel_are_told(data, tmp_path, caplog):
    def far(page, entries):
        entries[0]["segmentation"] = [[90, 90, 95, 90, 95, 95]]

    number = data.records[0]["annotations"][0]["id"]
    read_dataset("coco", coco_with(data, tmp_path, far), images=data.image_root)
    assert f"1 annotations cover no pixel: [{number}]" in caplog.text


def test_the_command_finds_exchanged_sizes_and_rotated_photographs(data, tmp_path, capsys):
    def exchange(page, entries):
        image = page["images"][0]
        image["height"], image["width"] = image["width"], image["height"]
        for entry in entries:
            entry["segmentation"] = [[1, 1, 9, 1, 9, 9]]
            entry.pop("amodal_segmentation", None)

    path = coco_with(data, tmp_path / "in", exchange)
    command = ["--from", "coco", "--input", str(path), "--images", data.image_root]
    assert main(["convert", *command, "--to", "results", "--output", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "image 1.png: image 1: the annotation has height and width (80, 64), but the" in shown
    assert "rotation (EXIF)" in shown and not (tmp_path / "out").exists()


def test_results_find_their_images(data, tmp_path):
    (path,) = write_dataset("results", data, tmp_path / "out")
    page = json.loads(path.read_text())
    for image in page["images"]:
        del image["file_name"]
        for instance in image["instances"]:
            del instance["category"]
    path.write_text(json.dumps(page))
    with pytest.raises(
        ValueError, match=r"json: image 1: no image in .* is named after the image id"
    ):
        read_dataset("results", path, images=data.image_root)
    for number in (1, 2):
        name = Path(data.image_root) / f"image {number}.png"
        name.rename(name.with_name(f"COCO_val2014_{number:012d}.png"))
    back = read_dataset("results", path, images=data.image_root)
    assert back.categories[0]["name"].startswith("class ")
    assert Path(back.records[1]["file_name"]).name == "COCO_val2014_000000000002.png"


def test_results_take_names_from_a_coco_file(data, tmp_path):
    (path,) = write_dataset("results", data, tmp_path / "out")
    instances, _ = write_dataset("coco", data, tmp_path / "coco")
    page = json.loads(path.read_text())
    for image in page["images"]:
        del image["file_name"]
    path.write_text(json.dumps(page))
    back = read_dataset("results", path, images=data.image_root, names_from=instances)
    assert back.categories == data.categories


def test_text_ids_of_results_are_numbered_anew(data, tmp_path, caplog):
    """As predictions on files have them, which go by the names of the files."""
    (path,) = write_dataset("results", data, tmp_path / "out")
    page = json.loads(path.read_text())
    page["images"][0]["instances"][0]["id"] = "a"
    path.write_text(json.dumps(page))
    back = read_dataset("results", path, images=data.image_root)
    assert [record["image_id"] for record in back.records] == [1, 2]
    assert [a["id"] for a in back.records[1]["annotations"]][:2] == [2001, 2002]
    assert "ids that are texts are numbered anew, of instances" in caplog.text
    for image in page["images"]:
        image["image_id"] = Path(image.pop("file_name")).stem
    path.write_text(json.dumps(page))
    back = read_dataset("results", path, images=data.image_root)
    assert [record["image_id"] for record in back.records] == [1, 2]
    assert [Path(record["file_name"]).name for record in back.records] == [
        "image 1.png",
        "image 2.png",
    ]
    for record, before in zip(back.records, data.records, strict=True):
        assert np.array_equal(record["occlusion"], before["occlusion"])


# --- the command


def test_the_command(tmp_path, capsys):
    write_page(tmp_path, pair_of_boxes(tmp_path))
    common = ["--from", "labelme", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["convert", *common, "--to", "instaorder"]) == 2
    assert "image 1: InstaOrder has no place for an image without order" in capsys.readouterr().err
    (tmp_path / "order.csv").write_text(
        "image,first,relation,second\na.png,cup,in front of,tray\na.png,cup,closer,tray\n"
    )
    assert main(["convert", *common, "--to", "instaorder", "--classes", "tray, cup"]) == 0
    assert "1 images, 2 instances ->" in capsys.readouterr().out
    out = tmp_path / "out"
    checked = validate(out / "instaorder.json", instances=out / "instances.json", images=tmp_path)
    assert checked.errors == [] and checked.counts["one-way occlusions"] == 1
    assert json.loads((out / "instances.json").read_text())["categories"][0]["name"] == "tray"


@pytest.mark.parametrize("format", ["coco", "labelme"])
def test_a_full_disk_leaves_no_half_image(data, format, tmp_path, full_disk):
    out = tmp_path / "out" if format == "labelme" else tmp_path / "out" / "images"
    name = Path(data.records[0]["file_name"]).name
    out.mkdir(parents=True)
    (out / name).write_bytes(b"before")
    with full_disk(100), pytest.raises(OSError, match=name):
        if format == "labelme":
            write_dataset(format, data, tmp_path / "out")
        else:
            copy_images(data, tmp_path / "out")
    assert (out / name).read_bytes() == b"before"
    assert [path.name for path in out.iterdir()] == [name]


@pytest.mark.parametrize("format", ["coco", "labelme", "kins"])
def test_the_command_does_not_overwrite_its_input(data, format, tmp_path, capsys):
    """Files of others hold keys that are not read, so they would be lost."""
    data.records[1]["overlap"] = np.full_like(data.records[1]["overlap"], -1)
    path = write_dataset(format, data, tmp_path / "in", assume_none=True)[0]
    path = tmp_path / "in" if format == "labelme" else path
    before = {file: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    arguments = ["--from", format, "--input", str(path), "--to", format, "--output"]
    arguments += [str(tmp_path / "in")] + (
        [] if format == "labelme" else ["--images", data.image_root]
    )
    assert main(["convert", *arguments]) == 2
    assert "is the input, which would be overwritten" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before
    if format == "coco":  # the table beside the file is input, too
        path.rename(tmp_path / "in" / "mine.json")
        arguments[3] = str(tmp_path / "in" / "mine.json")
        assert main(["convert", *arguments]) == 2
        assert "order.csv: is the input" in capsys.readouterr().err


def test_the_command_tells_what_is_lost(data, tmp_path, capsys):
    instances, _ = write_dataset("coco", data, tmp_path / "coco")
    common = ["--from", "coco", "--input", str(instances), "--images", data.image_root]
    assert main(["convert", *common, "--to", "instaorder", "--output", str(tmp_path / "out")]) == 0
    assert "lost: whole masks:" in capsys.readouterr().err


def test_converters_load_neither_pytorch_nor_detectron2(run_python):
    code = (
        "import sys, occ_order.formats.convert, occ_order.formats.layered_image\n"
        "print([m for m in ('torch', 'detectron2', 'matplotlib') if m in sys.modules])"
    )
    assert run_python("-c", code).stdout.strip() == "[]"


def test_coordinates_beyond_floats_in_a_labelme_file_are_refused():
    shape = {"points": [[0, 0], [10**400, 1], [3, 3]], "shape_type": "polygon"}
    with pytest.raises(ValueError, match="'points' must be pairs of finite numbers"):
        area_of(shape, (6, 8))
