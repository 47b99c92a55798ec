"""Any small data set survives every format that can hold it, or is refused by name."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from occ_order import masks
from occ_order.formats.convert import DataSet, convert, read_dataset, write_dataset
from occ_order.formats.table import FORMATS, convertible
from occ_order.formats.user_masks import load_masks
from occ_order.instances import OrderedInstances
from occ_order.order.encoding import DEPTH_REVERSED, UNKNOWN, empty_depth
from occ_order.order.graph import cycles

SIZE = 7, 9
CATEGORIES = [{"id": 4, "name": "cup"}, {"id": 9, "name": "tray ü"}]


@st.composite
def records(draw):
    """One image of up to four instances with whole masks and orders, both from random numbers."""
    count, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    owner = rng.integers(-1, count, SIZE)
    owner[0, :count] = np.arange(count)  # something of each is visible
    visible = [owner == k for k in range(count)]
    occlusion = np.triu(rng.integers(0, 2, (count, count)), 1).astype(np.int8)
    depth, overlap, number = empty_depth(count)
    for i in range(count):
        for j in range(i):
            relation = int(rng.integers(-1, 3))
            depth[j, i], depth[i, j] = relation, DEPTH_REVERSED[relation] if relation >= 0 else -1
            overlap[i, j] = overlap[j, i] = rng.integers(0, 2) if relation >= 0 else UNKNOWN
            number[i, j] = number[j, i] = rng.integers(1, 9) if relation >= 0 else UNKNOWN
    annotations = []
    for k, mask in enumerate(visible):
        hidden = (rng.random(SIZE) < 0.3) & np.isin(owner, np.flatnonzero(occlusion[:, k]))
        annotations.append(
            {
                "id": 10 + k,
                "category_id": CATEGORIES[int(rng.integers(2))]["id"],
                "iscrowd": 0,
                "segmentation": masks.encode(mask),
                "bbox": masks.bounding_box(mask).tolist(),
                "amodal_segmentation": masks.encode(mask | hidden),
                "amodal_bbox": masks.bounding_box(mask | hidden).tolist(),
            }
        )
    orders = {"occlusion": occlusion, "depth": depth, "overlap": overlap, "count": number}
    size = {"height": SIZE[0], "width": SIZE[1]}
    return [{"image_id": 5, **size, "annotations": annotations, **orders}]


def in_folder(found, folder):
    """The data set with its image."""
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png")
    records = [{**record, "file_name": str(folder / "a.png")} for record in found]
    return DataSet(records, CATEGORIES, str(folder))


@pytest.mark.parametrize("format", convertible())
@settings(max_examples=15)
@given(found=records())
def test_what_comes_back_says_the_same(format, found):
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder(found, Path(folder))
        try:
            files, differences = convert(data, format, Path(folder, "out"), assume_none=True)
        except ValueError as error:
            assert format not in ("coco", "labelme", "results")  # which can say everything
            assert "image 5" in str(error) or "would say something else" in str(error)
            assert not list(Path(folder).glob("out/*.json"))
            return
        assert files and not differences.changed


@settings(max_examples=15)
@given(found=records())
def test_visible_parts_are_the_masks_of_every_format_that_has_them_in_coco(found):
    """Given as masks of the image, COCOA-cls, KINS, COCO and results mean the same pixels."""
    expected = masks.decode_all([a["segmentation"] for a in found[0]["annotations"]], *SIZE)
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder(found, Path(folder))
        for format in ("coco", "cocoa_cls", "kins", "results", "labelme"):
            try:
                files, _ = convert(data, format, Path(folder, format), allow_changes=True)
            except ValueError:
                continue
            given = load_masks(files[0], SIZE, image_name="a.png")
            assert sorted(map(bytes, given.modal)) == sorted(map(bytes, expected)), format


# --- instances of one image, through the files of every format


PER_PAIR = ("occlusion", "depth", "overlap", "count")
REFUSED = {
    "instaorder": "without order|pairs that are not annotated",
    "cocoa": "without 'amodal_segmentation'|without occlusion order|pairs that are not annotated",
    "cocoa_cls": "without 'amodal_segmentation'",
    "kins": "without 'amodal_segmentation'|without occlusion order|pairs that are not annotated",
}
"""What a format may say to instances that it cannot hold; the others hold all of them."""

# Its ranks put instances that overlap above or below one another, whatever was said of them.
RANKS = "files would say something else than the data: .*occlusion of a pair"


@st.composite
def instances(draw):
    """Up to four instances, with or without names, whole masks and each of the orders."""
    count, rng = draw(st.integers(0, 4)), np.random.default_rng(draw(st.integers(0, 2**31)))
    owner = rng.integers(-1, max(count, 1), SIZE)
    owner[0, :count] = np.arange(count)  # something of each is visible
    modal = np.arange(count)[:, None, None] == owner
    amodal = modal | (rng.random(modal.shape) < 0.3) if draw(st.booleans()) else None
    classes = np.array([CATEGORIES[k]["id"] for k in rng.integers(0, 2, count)], np.int64)
    called = {category["id"]: category["name"] for category in CATEGORIES}
    own = rng.random(count) < draw(st.sampled_from([0, 0.5]))
    names = [f"Nr. {k}" if own[k] else called[classes[k]] for k in range(count)]
    numbers = rng.choice(np.arange(1, 1000), count, replace=False)
    made = {"ids": tuple(numbers.tolist()), "names": tuple(names), "classes": classes}
    made["scores"] = np.round(rng.random(count), 2) if draw(st.booleans()) else np.ones(count)
    kind = draw(st.sampled_from(["none", "one way", "any", "unknown"]))
    if kind != "none":
        occlusion = rng.integers(0, 2, (count, count)).astype(np.int8)
        if kind == "one way":
            occlusion = np.triu(occlusion)
        if kind == "unknown":
            unknown = np.triu(rng.random((count, count)) < 0.3)
            occlusion[unknown | unknown.T] = UNKNOWN
        np.fill_diagonal(occlusion, 0)
        made["occlusion"] = occlusion
    if draw(st.booleans()):
        depth, overlap, asked = empty_depth(count)
        for i, j in zip(*np.triu_indices(count, 1), strict=True):
            relation = rng.integers(-1, 3)
            if relation != UNKNOWN:
                depth[i, j], depth[j, i] = relation, DEPTH_REVERSED[relation]
                overlap[i, j] = overlap[j, i] = rng.integers(-1, 2)
                asked[i, j] = asked[j, i] = rng.integers(1, 9)
        made |= {"depth": depth, "overlap": overlap, "count": asked}
    return OrderedInstances(5, SIZE, modal, amodal, file_name="a.png", **made)


def record_of(found: OrderedInstances) -> dict:
    """A record that says all that there is room for in one."""
    called = {category["id"]: category["name"] for category in CATEGORIES}
    annotations = []
    for k, mask in enumerate(found.modal):
        one = {"id": found.ids[k], "category_id": int(found.classes[k]), "iscrowd": 0}
        one |= {"segmentation": masks.encode(mask), "bbox": masks.bounding_box(mask).tolist()}
        one["score"] = float(found.scores[k])
        if found.names[k] != called[one["category_id"]]:
            one["name"] = found.names[k]
        if found.amodal is not None:
            whole = found.amodal[k]
            one["amodal_segmentation"] = masks.encode(whole)
            one["amodal_bbox"] = masks.bounding_box(whole).tolist()
        annotations.append(one)
    orders = {key: getattr(found, key) for key in PER_PAIR if getattr(found, key) is not None}
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"image_id": found.image_id, **size, "annotations": annotations, **orders}


def instances_of(data: DataSet) -> OrderedInstances:
    """The instances of the only record."""
    (record,), names = data.records, {c["id"]: c["name"] for c in data.categories}
    listed = record["annotations"]
    size = record["height"], record["width"]
    whole = [one.get("amodal_segmentation") for one in listed]
    # The class that a file calls by another number is the same class.
    numbers = {category["name"]: category["id"] for category in CATEGORIES}
    classes = [numbers.get(names[one["category_id"]], UNKNOWN) for one in listed]
    return OrderedInstances(
        record["image_id"],
        size,
        masks.decode_all([one["segmentation"] for one in listed], *size),
        None if None in whole or not whole else masks.decode_all(whole, *size),
        classes=np.array(classes, np.int64),
        names=tuple(one.get("name", names[one["category_id"]]) for one in listed),
        scores=np.array([one.get("score", 1.0) for one in listed]),
        ids=tuple(one["id"] for one in listed),
        file_name=Path(record["file_name"]).name,
        **{key: record[key] for key in PER_PAIR if key in record},
    )


def there_and_back(found: OrderedInstances, format: str) -> OrderedInstances:
    """What a format's files say of the instances."""
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder([record_of(found)], Path(folder))
        files = write_dataset(format, data, Path(folder, "out"))
        path = files[0] if FORMATS[format].files else Path(folder, "out")
        images = folder if FORMATS[format].files else None
        classes = [category["name"] for category in CATEGORIES]
        return instances_of(read_dataset(format, path, images=images, classes=classes))


def as_listed(back: OrderedInstances, found: OrderedInstances) -> OrderedInstances:
    """Those that came back in the sequence of those that went, each by its visible mask."""
    assert len(back) == len(found)
    shown = [mask.tobytes() for mask in back.modal]
    return back[np.array([shown.index(mask.tobytes()) for mask in found.modal], int)]


def known(found: OrderedInstances, key: str):
    """A matrix, of unknown values where there is none."""
    matrix = getattr(found, key)
    if matrix is None:
        matrix = np.full((len(found),) * 2, UNKNOWN)
        np.fill_diagonal(matrix, 0 if key == "occlusion" else UNKNOWN)
    return matrix.tolist()


@pytest.mark.parametrize("format", convertible())
@settings(max_examples=12)
@given(found=instances())
def test_what_the_table_does_not_name_as_lost_comes_back_equal(format, found):
    try:
        back = there_and_back(found, format)
    except ValueError as error:
        assert format in REFUSED and re.search(REFUSED[format], str(error)), error
        return
    assert (back.image_id, back.size, back.file_name) == (5, SIZE, "a.png")
    loses, back = FORMATS[format].loses, as_listed(back, found)
    assert np.array_equal(back.modal, found.modal)
    assert "ids" in loses or back.ids == found.ids
    for key in ("amodal", "classes", "scores"):
        if key not in loses and not (key == "amodal" and not len(found)):
            assert np.array_equal(getattr(back, key), getattr(found, key)), key
    if "names" not in loses:
        assert back.names == found.names
    if format in ("kins", "cocoa_cls"):
        layers_say(found, back, format)
    for key in set(PER_PAIR) - set(loses):
        if key != "occlusion" or format not in ("kins", "cocoa_cls"):
            assert known(back, key) == known(found, key), key


def layers_say(found: OrderedInstances, back: OrderedInstances, format: str) -> None:
    """Layers hold an order that does not lead round; converting refuses where ranks add to it."""
    if found.occlusion is None:
        return
    if format == "kins" and not cycles(found.occlusion):
        assert np.array_equal(back.occlusion, found.occlusion)
    with tempfile.TemporaryDirectory() as folder:
        data = in_folder([record_of(found)], Path(folder))
        try:
            convert(data, format, Path(folder, "out"))
        except ValueError as error:
            assert format == "cocoa_cls" and re.search(RANKS, str(error)), error
            return
    same = (back.occlusion == found.occlusion) | (back.occlusion == UNKNOWN)
    assert (same | (found.occlusion == UNKNOWN)).all()


def everything() -> OrderedInstances:
    """Two instances that have all that the table can name."""
    modal = np.zeros((2, *SIZE), bool)
    modal[0, 1:4, 1:5], modal[1, 3:6, 5:8] = True, True
    amodal = modal.copy()
    amodal[1, 3, 3:5] = True
    depth = np.array([[-1, 1], [0, -1]])
    overlap, asked = np.where(depth >= 0, 1, -1), np.where(depth >= 0, 3, -1)
    made = {"names": ("mine", "tray ü"), "scores": np.array([0.25, 0.5]), "ids": (8, 3)}
    return OrderedInstances(
        5, SIZE, modal, amodal, classes=np.array([4, 9]), occlusion=np.array([[0, 1], [0, 0]]),
        depth=depth, overlap=overlap, count=asked, file_name="a.png", **made,
    )  # fmt: skip


@pytest.mark.parametrize("format", convertible())
def test_what_the_table_names_as_lost_is_lost(format):
    found = everything()
    back = as_listed(there_and_back(found, format), found)
    lost = {key for key in PER_PAIR if known(back, key) != known(found, key)}
    lost |= {"amodal"} if back.amodal is None else set()
    lost |= {"ids"} if back.ids != found.ids else set()
    lost |= {"names"} if back.names != found.names else set()
    lost |= {k for k in ("classes", "scores") if (getattr(back, k) != getattr(found, k)).any()}
    assert lost == set(FORMATS[format].loses)


def test_instances_that_a_file_leaves_out_do_not_number_the_others_anew(tmp_path):
    """CVAT has no place for one without a visible pixel; its whole mask is lost anyway."""
    found = everything()
    modal = found.modal.copy()
    modal[0] = False
    data = in_folder([record_of(found.replace(modal=modal, depth=None))], tmp_path)
    _, differences = convert(data, "cvat", tmp_path / "out")
    assert not differences.changed and differences.lost["instances"] == 1
    assert not [what for what in differences.lost if what.startswith("ids")]
