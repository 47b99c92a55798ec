"""Text files as other programs save them: byte order marks, other encodings, other separators."""

import json
from pathlib import Path

import pytest
from PIL import Image

from occ_order.formats import load_cocoa_cls, load_diw, load_kitti_depth
from occ_order.formats.labelme import load_labelme
from occ_order.formats.order_table import read_order_table
from occ_order.formats.results import load_results_records
from occ_order.formats.user_masks import load_masks
from occ_order.order.io import load_edges, load_results

MARK = "\ufeff"
POLYGON = [[0, 0, 6, 0, 6, 5, 0, 5]]


def coco(**more):
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 6, 5], "area": 30}
    data = {
        "images": [{"id": 7, "file_name": "a.png", "height": 6, "width": 8}],
        "annotations": [{**annotation, "iscrowd": 0, "segmentation": POLYGON, **more}],
        "categories": [{"id": 3, "name": "x"}],
    }
    return json.dumps(data)


def read_labelme(path):
    return load_labelme(path.parent)[0]


SHAPE = {"label": "cup", "points": [[0, 0], [6, 0], [6, 5]], "shape_type": "polygon"}
LABELME = json.dumps({"imagePath": "a.png", "imageData": None, "shapes": [SHAPE]})
RESULTS = {"image_id": 7, "height": 6, "width": 8, "instances": [], "occlusion": []}

JSON = {
    "cocoa_cls": (coco(), lambda path: load_cocoa_cls(path, "")),
    "masks": (coco(), lambda path: load_masks(path, (6, 8)).modal.tolist()),
    "labelme": (LABELME, read_labelme),
    "results": (json.dumps({"format": "occ_order/1", "images": [RESULTS]}), load_results),
}
LISTS = {
    "diw": ("./DIW_test/a.thumb\n1,2,3,4,<\n", lambda path: load_diw(path, "root")),
    "kitti": ("a.png b.png 7.2\n", lambda path: load_kitti_depth(path, "root")),
    "edges": (
        "image_id,relation,first,second,range,probability\n7,occludes,0,1,,0.5\n",
        load_edges,
    ),
}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize("name", [*JSON, *LISTS])
def test_a_byte_order_mark_is_not_part_of_the_file(folder, name):
    text, read = {**JSON, **LISTS}[name]
    path = folder / "page.json"
    path.write_text(text, encoding="utf-8")
    expected = str(read(path))
    path.write_text(MARK + text, encoding="utf-8")
    assert str(read(path)) == expected
    assert MARK not in expected and "\\ufeff" not in expected


@pytest.mark.parametrize("name", [*JSON, *LISTS])
def test_utf16_is_read_and_another_encoding_says_how_to_convert_it(folder, name):
    text, read = {**JSON, **LISTS}[name]
    path = folder / "page.json"
    path.write_text(text, encoding="utf-8")
    expected = str(read(path))
    path.write_text(text, encoding="utf-16")
    assert str(read(path)) == expected
    path.write_bytes("杯子".encode("gb18030") + text.encode())
    with pytest.raises(ValueError, match=r"page\.json: not text in UTF-8 .*iconv -f GB18030"):
        read(path)


HEADER = ["image", "first", "relation", "second", "range", "count"]
LINES = [["a.png", "cup", "in front of", "plate", "", ""], ["a.png", "cup", "closer", "b", "", "2"]]
TABLES = {
    "commas": (",", HEADER, LINES, "utf-8"),
    "semicolons": (";", HEADER, LINES, "utf-8-sig"),
    "tabs": ("\t", HEADER, LINES, "utf-16"),
    "capitals": (
        ",",
        [word.capitalize() for word in HEADER],
        [[line[0], line[1], line[2].capitalize(), *line[3:]] for line in LINES],
        "utf-8",
    ),
    "empty columns": (",", [*HEADER, "", ""], [[*line, "", ""] for line in LINES], "utf-8"),
    "short lines": (",", HEADER, [LINES[0][:4], LINES[1]], "utf-8"),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_of_orders_as_spreadsheets_save_it(tmp_path, case, end):
    delimiter, header, lines, encoding = TABLES[case]
    text = end.join(delimiter.join(words) for words in [header, *lines, []])
    path = tmp_path / "order.csv"
    path.write_bytes(text.encode(encoding))
    first, second = read_order_table(path)["a.png"]
    assert (first.first, first.relation, first.second) == ("cup", "in front of", "plate")
    assert (second.relation, second.second, second.count) == ("closer", "b", 2)
    assert second.place.endswith("line 3")


def test_a_table_may_begin_with_the_separator_of_excel_and_empty_lines(tmp_path):
    path = tmp_path / "order.csv"
    path.write_text(";".join(HEADER) + "\na.png;cup;in\u00a0front\u00a0of;big  plate;;\n")
    expected = read_order_table(path)
    assert (expected["a.png"][0].relation, expected["a.png"][0].second) == (
        "in front of", "big  plate",
    )  # fmt: skip
    path.write_text("sep=;\n\n;;;\n" + path.read_text())
    (row,) = read_order_table(path)["a.png"]
    assert row.place.endswith("order.csv, line 5")
    assert (row.first, row.relation, row.second) == ("cup", "in front of", "big  plate")


def test_a_table_with_too_many_words_is_still_refused(tmp_path):
    path = tmp_path / "order.csv"
    path.write_text("image,first,relation,second\na.png,cup,occludes,plate,more\n")
    with pytest.raises(ValueError, match=r"order\.csv, line 2: expected 4 columns, got 5"):
        read_order_table(path)


HUGE = 10**400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": HUGE}, "instance 0: score must be a finite number"),
        ({"category_id": HUGE}, "instance 0: category_id must be an integer"),
        ({"category_id": 2**63}, "instance 0: category_id must be an integer"),
        ({"id": -HUGE}, "instance 0: id must be an integer or a string"),
        ({"layer": HUGE}, "instance 0: layer must be an integer"),
    ],
)
def test_numbers_that_no_array_holds_are_refused(tmp_path, change, message):
    instance = {"id": 1, "category_id": 1, "score": 0.5, "segmentation": POLYGON, **change}
    write_results(tmp_path / "r.json", {"instances": [instance]})
    with pytest.raises(ValueError, match=f"r.json: image 7: {message}"):
        load_results(tmp_path / "r.json")


@pytest.mark.parametrize("change", [{"height": 0}, {"width": "8"}, {"height": HUGE}])
def test_sizes_of_images_without_instances_are_checked(tmp_path, change):
    write_results(tmp_path / "r.json", change)
    with pytest.raises(ValueError, match="image 7: (height|width) must be a positive integer"):
        load_results(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_stuff": [1]}, "image 7: instance 1: 'is_stuff' must be 0 or 1"),
        ({"name": 3}, "image 7: instance 0: 'name' must be a string"),
        ({"category": ["x"]}, "image 7: instance 0: 'category' must be a string"),
    ],
)
def test_what_converters_add_to_results_is_checked(folder, change, message):
    instance = {"id": 1, "category_id": 1, "score": 0.5, "segmentation": POLYGON, **change}
    write_results(folder / "r.json", {"instances": [instance], "file_name": "a.png"})
    with pytest.raises(ValueError, match=f"r.json: {message}"):
        load_results_records(folder / "r.json", folder)


def write_results(path: Path, changes):
    data = {"format": "occ_order/1", "images": [{**RESULTS, **changes}]}
    path.write_text(json.dumps(data))


def test_labelme_files_of_two_folders_get_different_image_ids(folder):
    """Files that were converted carry an id; those drawn since then do not."""
    pages = {name: json.loads(LABELME) for name in "abc"}
    pages["b"]["image_id"] = 1
    for name, page in pages.items():
        Image.new("RGB", (8, 6)).save(folder / f"{name}.png")
        page["imagePath"] = f"{name}.png"
        (folder / f"{name}.json").write_text(json.dumps(page))
    assert [record["image_id"] for record in load_labelme(folder)[0]] == [2, 1, 3]
    pages["c"]["image_id"] = 1
    (folder / "c.json").write_text(json.dumps(pages["c"]))
    with pytest.raises(ValueError, match=r"c\.json: the image id 1 is that of .*b\.json, too"):
        load_labelme(folder)
