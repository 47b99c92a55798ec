"""Every way to damage a data file that we could think of: one error that names the place."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from occ_order import masks
from occ_order.formats import load_cocoa, load_cocoa_cls, load_instaorder, load_kins
from occ_order.formats.convert import DataSet, read_dataset, write_dataset
from occ_order.formats.layered_image import cut_layers, load_layers, save_layers
from occ_order.formats.user_masks import load_masks
from occ_order.formats.validate import validate

DELETE = object()
REGION = ("annotations", 0, "regions", 1)
FIRST = ("annotations", 0)
SECOND = ("annotations", 1)
BAD_RLE = {"size": [6, 8], "counts": [1, 2]}
SHARED = [  # what all files nested like COCO's have in common
    (("images", 0, "height"), DELETE, "image 7: key 'height' is missing"),
    (("images", 0, "width"), "8", "image 7: 'width' must be a positive integer, got '8'"),
    (("images", 0, "height"), 0, "image 7: 'height' must be a positive integer, got 0"),
    (("images", 0, "height"), True, "'height' must be a positive integer, got True"),
    (("images", 0, "id"), "7", "image 7: 'id' must be an integer, got '7'"),
    (("images", 0, "id"), DELETE, "image number 0: key 'id' is missing"),
    (("images", 0), [], "images[0]: must be an object"),
    (("images",), DELETE, "key 'images' is missing"),
    (("images",), {}, "'images' must be a list"),
    (("annotations",), None, "'annotations' must be a list"),
    (("annotations",), {}, "'annotations' must be a list"),
    (("images", 0, "file_name"), "../a.png", "image 7: file name must stay inside"),
    (("images", 0, "file_name"), "x/../../a.png", "file name must stay inside"),
    (("images", 0, "file_name"), "/etc/a.png", "file name must stay inside"),
    (("images", 0, "file_name"), "C:/a.png", "file name must stay inside"),
    (("images", 0, "file_name"), "x\\a.png", "forward slashes"),
    (("images", 0, "file_name"), "a\0.png", "forward slashes"),
    (("images", 0, "file_name"), "", "forward slashes"),
    (("images", 0, "file_name"), 5, "'file_name' must be a string, got 5"),
    ((*FIRST, "image_id"), 99, "image_id 99 is not among the"),
    ((*FIRST, "image_id"), "7", "'image_id' must be an integer, got '7'"),
    ((*FIRST, "id"), DELETE, "annotation number 0: key 'id' is missing"),
    ((*FIRST, "id"), 1.5, "annotation 1.5: 'id' must be an integer, got 1.5"),
    (FIRST, "text", "annotations[0]: must be an object, got 'text'"),
]
FLAT = [  # those with one object per annotation
    ((*FIRST, "id"), "1", "annotation 1: 'id' must be an integer, got '1'"),
    ((*SECOND, "id"), 1, "image 7: annotation 1: the annotation id is used twice"),
    ((*SECOND, "category_id"), 77, "annotation 2: category_id 77 is not among the 2 categories"),
    ((*SECOND, "category_id"), DELETE, "annotation 2: key 'category_id' is missing"),
    (("categories",), [], "'categories' must not be empty"),
    (("categories", 1, "id"), 3, "categories[1]: category id 3 is used twice"),
]
COCOA = [
    ((*REGION, "order"), DELETE, "annotation 31: region 2: key 'order' is missing"),
    ((*REGION, "order"), 1, "region 2: 'order' 1 is used twice"),
    ((*REGION, "order"), 0, "region 2: 'order' must be a positive integer"),
    ((*REGION, "order"), 1000, "region 2: 'order' must be below 1000"),
    ((*REGION, "isStuff"), 2, "region 2: 'isStuff' must be 0 or 1, got 2"),
    ((*REGION, "name"), 3, "region 2: 'name' must be a string"),
    ((*REGION, "occlude_rate"), 1.5, "region 2: 'occlude_rate' must be between 0 and 1"),
    ((*REGION, "occlude_rate"), float("nan"), "'occlude_rate' must be a finite number"),
    ((*REGION, "segmentation"), DELETE, "region 2: key 'segmentation' is missing"),
    ((*REGION, "segmentation"), [1, 2, 3, 4], "polygon of three or more points"),
    ((*REGION, "segmentation"), [], "polygon of three or more points"),
    ((*REGION, "segmentation"), [1, 2, 3, 4, 5, 6, 7], "odd count of numbers, 7"),
    ((*REGION, "segmentation"), [1, 2, 3, 4, 5, float("inf")], "NaN or infinite"),
    ((*REGION, "segmentation"), [1, 2, 3, 4, 5, 1e9], "region 2: segmentation: polygon 0"),
    ((*REGION, "segmentation"), [1, 2, 3, 4, 5, "x"], "must be polygons"),
    ((*REGION, "segmentation"), "f0240N2004", "must be an RLE object or polygons"),
    ((*REGION, "visible_mask"), None, "'visible_mask' must be an RLE object or polygons, got None"),
    ((*REGION, "visible_mask", "size"), [8, 6], "image's size [6, 8] (rows, columns), got [8, 6]"),
    ((*REGION, "visible_mask", "counts"), "f0240N200", "region 2: visible_mask: RLE runs sum to"),
    ((*REGION, "visible_mask", "counts"), "", "region 2: visible_mask: RLE counts are empty"),
    ((*REGION, "visible_mask", "counts"), 5, "'counts' of 'visible_mask' must be a string"),
    (REGION, [], "annotation 31: regions[1]: must be an object"),
    ((*FIRST, "regions"), DELETE, "annotation 31: key 'regions' is missing"),
    ((*FIRST, "depth_constraint"), "1-9", "image 7: annotation 31: depth_constraint '1-9'"),
    ((*FIRST, "depth_constraint"), "0-1", "depth_constraint '0-1'"),
    ((*FIRST, "depth_constraint"), "1-1", "depth_constraint '1-1'"),
    ((*FIRST, "depth_constraint"), "1-2,1-2", "depth_constraint '1-2'"),
    ((*FIRST, "depth_constraint"), "1>2", "depth_constraint '1>2'"),
    ((*FIRST, "depth_constraint"), ["1-2"], "'depth_constraint' must be a string"),
]
COCOA_CLS = [
    ((*SECOND, "bbox"), [1, 2, 3], "annotation 2: 'bbox' must be four finite numbers"),
    ((*SECOND, "bbox"), [1, 2, -3, 4], "annotation 2: 'bbox' must have sides >= 0"),
    ((*SECOND, "bbox"), [1, 2, float("nan"), 4], "'bbox' must be four finite numbers"),
    ((*SECOND, "visible_mask"), BAD_RLE, "annotation 2: visible_mask: RLE runs sum to 3"),
    ((*SECOND, "occlude_rate"), -0.1, "annotation 2: 'occlude_rate' must be between 0 and 1"),
    ((*SECOND, "occl_depth"), "front", "annotation 2: 'occl_depth' must be an integer"),
]
KINS_2019 = [
    ((*SECOND, "inmodal_seg"), DELETE, "annotation 2: key 'inmodal_seg' is missing"),
    ((*SECOND, "inmodal_bbox"), DELETE, "annotation 2: key 'inmodal_bbox' is missing"),
    ((*SECOND, "inmodal_seg"), BAD_RLE, "image 7: annotation 2: RLE runs sum to 3"),
    ((*SECOND, "inmodal_seg", "size"), [6, 9], "'inmodal_seg' must have the image's size [6, 8]"),
]
KINS_2020 = [
    ((*SECOND, "a_segm"), DELETE, "annotation 2: key 'a_segm' is missing"),
    ((*SECOND, "oco_id"), DELETE, "annotation 2: key 'oco_id' is missing"),
    ((*SECOND, "ico_id"), -1, "annotation 2: 'ico_id' must be >= 0, got -1"),
    ((*SECOND, "ico_id"), 1.0, "annotation 2: 'ico_id' must be an integer, got 1.0"),
]
LOADERS = {
    "cocoa": (load_cocoa, SHARED + COCOA),
    "cocoa_cls": (load_cocoa_cls, SHARED + FLAT + COCOA_CLS),
    "kins_2019": (load_kins, SHARED + FLAT + KINS_2019),
    "kins_2020": (load_kins, FLAT + KINS_2020),
}
ROWS = [(kind, *row) for kind, (_, rows) in LOADERS.items() for row in rows]

ENTRY = ("annotations", 1)  # of image 7, with instance_ids [12, 11, 13]
INSTAORDER = [
    ((*ENTRY, "image_id"), 99, "image_id 99 is not among the 3 images"),
    ((*ENTRY, "image_id"), 9, "annotation 12: belongs to image 7"),
    ((*ENTRY, "image_id"), DELETE, "image number 1: key 'image_id' is missing"),
    ((*ENTRY, "instance_ids"), [12, 11, 99], "image 7: instance id 99 is not an annotation"),
    ((*ENTRY, "instance_ids"), [12, 11, 12], "image 7: 'instance_ids' has an id twice"),
    ((*ENTRY, "instance_ids"), [12, 11, 21], "belongs to image 9, but the order file lists it"),
    ((*ENTRY, "instance_ids"), ["12", 11, 13], "'instance_ids' must hold integers, got '12'"),
    ((*ENTRY, "instance_ids"), DELETE, "image 7: key 'instance_ids' is missing"),
    ((*ENTRY, "occlusion"), {}, "image 7: 'occlusion' must be a list"),
    ((*ENTRY, "occlusion", 0, "order"), "1<3", "'1<3'"),
    ((*ENTRY, "occlusion", 0, "order"), "1<1", "'1<1'"),
    ((*ENTRY, "occlusion", 0, "order"), "1>0", "'1>0'"),
    ((*ENTRY, "occlusion", 0, "order"), "1=0", "'1=0'"),
    ((*ENTRY, "occlusion", 0, "order"), "0<1 & 2<0", "'0<1 & 2<0'"),
    ((*ENTRY, "occlusion", 0, "order"), "0<1 & 0<1", "'0<1 & 0<1'"),
    ((*ENTRY, "occlusion", 0, "order"), "0<1,1<0", "'0<1,1<0'"),
    ((*ENTRY, "occlusion", 0, "order"), DELETE, "image 7"),
    ((*ENTRY, "occlusion", 0, "count"), 0, "image 7"),
    ((*ENTRY, "depth", 1, "order"), "0<1", "'0<1'"),
    ((*ENTRY, "depth", 1, "order"), "0<7", "'0<7'"),
    ((*ENTRY, "depth", 1, "overlap"), "yes", "image 7"),
    ((*ENTRY, "depth", 1), 5, "image 7"),
]
INSTANCES = [
    (("annotations", 0, "id"), 14, "annotation 14: the annotation id is used twice"),
    (("annotations", 0, "image_id"), 8, "annotation 13: belongs to image 8"),
    (("annotations", 0, "segmentation"), DELETE, "annotation 13: key 'segmentation' is missing"),
    (("annotations", 0, "bbox"), [], "annotation 13: 'bbox' must be four finite numbers"),
    (("annotations", 0, "category_id"), 1, "annotation 13: category_id 1 is not among"),
    (("annotations", 4, "segmentation", "size"), [8, 6], "annotation 12: 'segmentation' must have"),
]


def damage(data, path, value):
    *way, last = path
    target = data
    for step in way:
        target = target[step]
    if value is DELETE:
        del target[last]
    else:
        target[last] = value
    return data


def name_of(value):
    return "/".join(map(str, value)) if isinstance(value, tuple) else None


@pytest.mark.parametrize("kind, path, value, message", ROWS, ids=name_of)
def test_damaged_file(tiny, write, kind, path, value, message):
    file = write(damage(getattr(tiny, kind)(), path, value), "größer als 1.json")
    with pytest.raises(ValueError) as error:
        LOADERS[kind][0](file, "")
    assert message in str(error.value)
    assert str(error.value).startswith(file)


@pytest.mark.parametrize("path, value, message", INSTAORDER, ids=name_of)
def test_damaged_order_file(tiny, write, path, value, message):
    order = write(damage(tiny.instaorder(), path, value), "o.json")
    with pytest.raises(ValueError) as error:
        load_instaorder(order, write(tiny.instances(), "i.json"), "")
    assert message in str(error.value)
    assert "o.json" in str(error.value) or "i.json" in str(error.value)


@pytest.mark.parametrize("path, value, message", INSTANCES, ids=name_of)
def test_damaged_instances_file(tiny, write, path, value, message):
    instances = write(damage(tiny.instances(), path, value), "i.json")
    with pytest.raises(ValueError) as error:
        load_instaorder(write(tiny.instaorder(), "o.json"), instances, "")
    assert message in str(error.value)
    assert "i.json" in str(error.value)


def test_two_entries_for_one_image(tiny, write):
    data = tiny.instaorder()
    data["annotations"].append(data["annotations"][0])
    with pytest.raises(ValueError, match="image 9: the image has two entries"):
        load_instaorder(write(data, "o.json"), write(tiny.instances(), "i.json"), "")


def test_entry_without_any_order(tiny, write):
    data = tiny.instaorder()
    for key in ("occlusion", "depth"):
        del data["annotations"][0][key]
    with pytest.raises(ValueError, match="image 9: .*neither 'occlusion' nor 'depth'"):
        load_instaorder(write(data, "o.json"), write(tiny.instances(), "i.json"), "")


@pytest.mark.parametrize("kind", LOADERS)
def test_an_image_id_used_twice(tiny, write, kind):
    data = getattr(tiny, kind)()
    data["images"].append(dict(data["images"][0]))
    with pytest.raises(ValueError, match="image 7: the image id is used twice"):
        LOADERS[kind][0](write(data), "")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[1, 2]", "\x80\x04K\x01.", "<html></html>", "{" * 5000]
)
def test_not_a_data_file(write, content):
    """Also a pickle: nothing but JSON is ever parsed."""
    path = write(content, "x.json")
    with pytest.raises(ValueError, match="x.json"):
        load_cocoa(path, "")


def test_binary_file(tmp_path):
    (tmp_path / "x.json").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="x.json: not text in UTF-8"):
        load_kins(tmp_path / "x.json", "")


def test_extra_keys_are_ignored(tiny, write, assert_records):
    data = tiny.cocoa()
    plain = load_cocoa(write(data), "")
    data["info"] = data["annotations"][0]["regions"][0]["colour"] = {"x": [None]}
    assert_records(load_cocoa(write(data), ""), plain)


def test_ids_are_kept_as_they_are(tiny, write):
    data = tiny.cocoa_cls()
    data["info"] = {"x": [None]}
    data["categories"].insert(0, {"id": 900, "name": "far"})
    data["annotations"][0].update(id=123456789, category_id=900, more={})
    (record,) = load_cocoa_cls(write(data), "")
    assert [a["id"] for a in record["annotations"]] == [123456789, 2, 4]
    assert [a["category_id"] for a in record["annotations"]] == [900, 5, 3]
    assert record["image_id"] == 7


def test_polygon_parts_without_area_are_dropped_beside_good_ones(tiny, write):
    data = tiny.kins_2019()
    data["annotations"][0]["segmentation"].insert(0, [1, 1, 2, 2])
    (record,) = load_kins(write(data), "")
    assert record["annotations"][0]["amodal_segmentation"] == [[1, 1, 5, 1, 5, 4, 1, 4]]


def test_problems_are_collected_and_the_rest_is_read(tiny, write):
    data = tiny.cocoa()
    regions = data["annotations"][0]["regions"]
    regions[0]["order"], regions[2]["segmentation"] = "first", [1, 2]
    problems: list[str] = []
    records = load_cocoa(write(data), "", problems=problems)
    assert [record["image_id"] for record in records] == [8]
    assert len(problems) == 2
    assert "region 1: 'order'" in problems[0] and "region 3: 'segmentation'" in problems[1]


JUNK = [
    None, True, -1, 0, 3.5, 10**30, float("nan"), float("inf"), "", "x", "1-2", [], [[]], {},
    [None],
    {"size": [6, 8], "counts": "zzz"}, {"size": [6, 8], "counts": [10**20, -5]}, [[1e308] * 6],
]  # fmt: skip


def places(value, path=()):
    """Paths to every value inside a parsed JSON file."""
    if path:
        yield path
    if not isinstance(value, (dict, list)):
        return
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in items if len(items) < 12 else items[:3]:
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("kind", LOADERS)
def test_any_damage_is_read_or_refused_with_its_place(tiny, write, kind):
    """Random faults: never another kind of error, and the validator sees what the reader sees."""
    draw = random.Random(kind)
    refused = 0
    for _ in range(80):
        data = getattr(tiny, kind)()
        path = draw.choice(list(places(data)))
        file = write(damage(data, path, draw.choice([DELETE, *JUNK])))
        try:
            LOADERS[kind][0](file, "")
        except ValueError as error:
            assert str(error).startswith(file), path
            assert validate(file, format=kind.split("_20")[0]).errors, path
            refused += 1
    assert refused > 20


# --- runs that do not fill their image


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
def test_runs_that_do_not_fill_the_image_never_reach_memory(case, monkeypatch):
    def unreachable(*args):
        raise AssertionError("pycocotools was called with damaged runs")

    for name in ("decode", "frPyObjects", "merge"):
        monkeypatch.setattr(coco_mask, name, unreachable)
    with pytest.raises(ValueError, match="annotation 9"):
        masks.decode(RUNS[case], 6, 8, name="annotation 9")


@pytest.mark.parametrize("case", RUNS)
def test_readers_say_where_such_runs_are(tiny, write, case):
    data = tiny.cocoa_cls()
    data["annotations"][1]["visible_mask"] = RUNS[case]
    with pytest.raises(ValueError, match="f.json: image 7: annotation 2: .*visible_mask"):
        load_cocoa_cls(write(data, "f.json"), "")


# --- every place of a file replaced by every kind of nonsense

NONSENSE = (None, True, -1, 0.5, 2**70, 1e308, "", "x", [], [[]], {}, {"a": 1}, [1, "2"])


def damaged(page):
    """The page with one place replaced, or its key missing."""
    for path in places(page):
        for nonsense in (*NONSENSE, DELETE):
            yield damage(copy.deepcopy(page), path, nonsense)


def check_refusals(path, page, read):
    """Reads every damaged page; gives how many were read and how many refused."""
    read_well = refused = 0
    for wrong in damaged(page):
        path.write_text(json.dumps(wrong))
        try:
            read()
            read_well += 1
        except (ValueError, FileNotFoundError) as error:
            assert str(error)
            refused += 1
    return read_well, refused


@pytest.fixture
def box():
    mask = np.zeros((10, 12), bool)
    mask[2:6, 3:9] = True
    return mask


def test_nonsense_anywhere_in_a_labelme_file_is_read_or_refused(tmp_path, box):
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    ring = box.copy()
    ring[3:5, 5:7] = False
    annotations = [
        {"id": k + 1, "category_id": 1, "segmentation": masks.encode(mask), "iscrowd": 0,
         "bbox": [3.0, 2.0, 9.0, 6.0]}
        for k, mask in enumerate((box, ring))
    ]  # fmt: skip
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 10, "width": 12,
              "annotations": annotations}  # fmt: skip
    data = DataSet([record], [{"id": 1, "name": "cup"}], str(tmp_path))
    (path,) = write_dataset("labelme", data, tmp_path)
    read_well, refused = check_refusals(
        path, json.loads(path.read_text()), lambda: read_dataset("labelme", tmp_path)
    )
    assert read_well > 50 and refused > 100


def test_nonsense_anywhere_in_a_file_of_masks_is_read_or_refused(tmp_path, box):
    page = {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 12}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": masks.encode(box)},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 8, 1, 8, 8]]},
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }
    path = tmp_path / "m.json"
    read_well, refused = check_refusals(path, page, lambda: load_masks(path, (10, 12)))
    assert read_well > 50 and refused > 100


def test_nonsense_anywhere_in_a_file_of_layers_is_read_or_refused(tmp_path, box):
    image = np.zeros((10, 12, 3), np.uint8)
    layers = cut_layers(image, box[None], occlusion=np.zeros((1, 1), np.int8), amodal=box[None])
    *_, path = save_layers(tmp_path, layers)
    read_well, refused = check_refusals(
        path, json.loads(path.read_text()), lambda: load_layers(tmp_path)
    )
    assert read_well > 50 and refused > 50
