"""Every way to damage a data file that we could think of: one error that names the place."""

from __future__ import annotations

import random

import pytest

from occ_order.formats import load_cocoa, load_cocoa_cls, load_instaorder, load_kins
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
    "kins_2019": (load_kins, FLAT + KINS_2019),
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


def test_an_image_id_used_twice(tiny, write):
    data = tiny.cocoa()
    data["images"][1]["id"] = 7
    with pytest.raises(ValueError, match="image 7: the image id is used twice"):
        load_cocoa(write(data), "")


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


def paths_of(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from paths_of(value, (*path, key))


@pytest.mark.parametrize("kind", LOADERS)
def test_any_damage_is_read_or_refused_with_its_place(tiny, write, kind):
    """Random faults: never another kind of error, and the validator sees what the reader sees."""
    draw = random.Random(kind)
    refused = 0
    for _ in range(80):
        data = getattr(tiny, kind)()
        path = draw.choice(list(paths_of(data)))
        file = write(damage(data, path, draw.choice([DELETE, *JUNK])))
        try:
            LOADERS[kind][0](file, "")
        except ValueError as error:
            assert str(error).startswith(file), path
            assert validate(file, format=kind.split("_20")[0]).errors, path
            refused += 1
    assert refused > 20
