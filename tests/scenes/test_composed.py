"""From photographs with masks to a data set of composed ones: sources, library, noise, files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from occ_order import masks
from occ_order.cli import main
from occ_order.formats import (
    load_cocoa,
    load_cocoa_cls,
    load_instaorder,
    load_kins,
    load_photos,
    read_categories,
    read_photo_categories,
    write_composed,
)
from occ_order.formats.compose_sources import read_names, read_sources
from occ_order.formats.write_scenes import make_scene
from occ_order.order import layers as order_layers
from occ_order.scenes import to_record
from occ_order.scenes.photographs import Library, annotator_noise, compose
from occ_order.scenes.photographs.background import touching, unnamed_regions
from occ_order.scenes.photographs.library import continue_colours, label_map


def run(drawn, folder, *arguments):
    sources = [str(drawn / name) for name in ("objects", "ordered", "blank")]
    fixed = ["compose", *sources, "--long-side", "128", "--seed", "4"]
    return main([*fixed, "--output", str(folder), *arguments])


def content(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# --- sources -----------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path):
    """Twelve photographs of two boxes, the second at the border; returns the file."""
    images, annotations = [], []
    for number in range(1, 13):
        image = np.full((120, 160, 3), 10 * number, np.uint8)
        boxes = [(20, 20, 60, 60), (110, 50, 160, 100)]
        for k, (x0, y0, x1, y1) in enumerate(boxes):
            image[y0:y1, x0:x1] = 250 - 40 * k
            corners = [x0, y0, x1, y0, x1, y1, x0, y1]
            own = {"id": 10 * number + k, "image_id": number, "category_id": 7 + k}
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({**own, "segmentation": [corners], "bbox": box, "iscrowd": 0})
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), image)
        size = {"height": 120, "width": 160}
        images.append({"id": number, "file_name": f"{number:02d}.png", **size})
    categories = [{"id": 7, "name": "left"}, {"id": 8, "name": "right"}]
    file = tmp_path / "boxes.json"
    data = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


def numbers(records):
    return sorted(int(Path(record["file_name"]).stem) for record in records)


def test_every_tenth_photograph_of_a_coco_file_is_for_validation(coco):
    assert numbers(read_sources([coco], "val")["boxes"]) == [10]
    assert numbers(read_sources([coco], "train")["boxes"]) == [*range(1, 10), 11, 12]
    assert numbers(read_sources([coco], None)["boxes"]) == [*range(1, 13)]
    assert read_names([coco]) == ["left", "right"]


def test_whole_is_what_the_user_says_and_never_cut_out_at_the_border(coco):
    records = read_sources([coco], "train")
    assert not any("amodal_segmentation" in a for a in records["boxes"][0]["annotations"])
    library = Library.build(records)
    assert len(library) == 11 and not library.cutout(0).whole
    library = Library.build(read_sources([coco], "train", assume_whole=True))
    assert {library.categories[library.cutout(k).category] for k in range(len(library))} == {"left"}
    assert all(library.cutout(k).whole for k in range(len(library)))


def test_an_object_with_a_hidden_part_is_not_whole(coco):
    records = read_sources([coco], "train")
    for record in records["boxes"]:
        left = record["annotations"][0]
        larger = np.zeros((120, 160), bool)
        larger[20:60, 20:80] = True
        left["amodal_segmentation"] = masks.encode(larger)
    library = Library.build(records)
    assert not any(library.cutout(k).whole for k in range(len(library)))
    assert not any(any(photo.whole) for photo in library.photos)


def test_photographs_with_any_masks_beside_them(coco, tmp_path):
    """A label map, a folder of masks, and a COCO file, for three photographs."""
    folder, given = tmp_path / "mine", tmp_path / "given"
    given.mkdir()
    folder.mkdir()
    for number in (1, 2, 3):
        shutil.copy(tmp_path / f"{number:02d}.png", folder)
    labels = np.zeros((120, 160), np.uint8)
    labels[20:60, 20:60], labels[50:100, 110:160] = 4, 9
    cv2.imwrite(str(given / "01.png"), labels)
    (given / "02").mkdir()
    cv2.imwrite(str(given / "02" / "a.png"), np.where(labels == 4, 255, 0).astype(np.uint8))
    shutil.copy(coco, given / "03.json")
    records = read_sources([folder], None, masks=given)["mine"]
    found = [
        [(a["name"], masks.decode(a["segmentation"], 120, 160).sum()) for a in r["annotations"]]
        for r in records
    ]
    assert found[0] == [("object", 1600), ("object", 2500)]
    assert found[1] == [("object", 1600)]
    assert found[2] == [("left", 1600), ("right", 2500)]
    assert read_names([folder], masks=given) == ["left", "object", "right"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "no such folder"), ("empty", "no photograph"), ("none.json", "none.json")],
)
def test_sources_that_are_none_are_named(tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError), match=message):
        read_sources([tmp_path / path], "train")


def test_two_sources_of_one_name_are_refused(drawn):
    with pytest.raises(ValueError, match="two sources of the name 'blank'"):
        read_sources([drawn / "blank", drawn / "blank"], "train")


# --- the library -------------------------------------------------------------------------------


def test_what_may_be_occluded_is_not_cut_out(drawn):
    """Box, cup and ball touch, and nobody has said that nothing is in front of them."""
    library = Library.build(read_sources([drawn / "ordered"], "train"))
    names = {library.categories[library.cutout(k).category] for k in range(len(library))}
    assert names == {"plate"}


def test_objects_on_others_are_not_cut_out_where_nobody_speaks_of_order(drawn):
    records = read_sources([drawn / "ordered"], "train")
    for record in records["ordered"]:
        del record["occlusion"]
    library = Library.build(records)
    names = [library.categories[library.cutout(k).category] for k in range(len(library))]
    assert set(names) == {"plate", "ball"}  # the box touches two others, the cup is small


def test_too_many_objects_are_thinned_out_whole_ones_first(drawn):
    records = read_sources([drawn / "objects", drawn / "partial"], "train")
    library = Library.build(records, max_cutouts=6)
    wholes = [library.cutout(k).whole for k in range(len(library))]
    assert len(wholes) == 6 and sum(wholes) == 4


def test_cut_outs_hold_the_object_and_continue_its_colours(drawn):
    library = Library.build(read_sources([drawn / "objects"], "train"))
    for k in range(len(library)):
        cutout = library.cutout(k)
        assert (cutout.image[cutout.mask > 0] == 200).all()
        near = cv2.dilate(cutout.mask, np.ones((3, 3), np.uint8)) > 0
        assert (cutout.image[near] == 200).all()
        edge = np.ones(cutout.mask.shape, bool)
        edge[3:-3, 3:-3] = False
        assert not cutout.mask[edge].any()


def test_a_library_survives_its_files(drawn, tmp_path):
    library = Library.build(read_sources([drawn / "objects", drawn / "ordered"], "train"))
    library.save(tmp_path)
    again = Library.load(tmp_path)
    assert again.digest() == library.digest() and again.categories == library.categories
    assert len(again) == len(library) and len(again.photos) == len(library.photos)


def test_images_that_are_missing_or_of_another_size_are_named(drawn):
    records = read_sources([drawn / "objects"], "train")
    record = records["objects"][0]
    small = {**record, "height": 150, "width": 201, "annotations": []}
    with pytest.raises(ValueError, match=r"2\.png: has height and width \(150, 200\).*\(150, 201"):
        Library.build({"objects": [small]})
    with pytest.raises(ValueError, match=r"gone\.png: no such image"):
        Library.build({"objects": [{**record, "file_name": "gone.png"}]})


def test_nothing_to_paste_or_to_paste_on_is_refused(drawn, tmp_path):
    with pytest.raises(ValueError, match=r"no object to cut out in \['blank'\]"):
        Library.build(read_sources([drawn / "blank"], "train"))
    tiny = {"height": 150, "width": 200, "annotations": []}
    assert (
        tiny
        and not Library.build(read_sources([drawn / "objects"], "train"))
        .regions(Library.build(read_sources([drawn / "objects"], "train")).photos[0])
        .all()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be a non-negative integer, got -1"),
        ({"size": 10}, "size must be in .* got 10"),
        ({"perspective": 2.0}, "perspective must be a probability"),
        ({"repaste": -0.1}, "repaste must be a probability"),
        ({"max_hidden": 1.0}, "max_hidden must be in"),
        ({"count": -1}, "count must not be negative"),
    ],
)
def test_arguments_out_of_range_are_refused(drawn, options, message):
    library = Library.build(read_sources([drawn / "objects"], "train"))
    with pytest.raises(ValueError, match=message):
        compose(library, options.pop("seed", 0), **options)


# --- pieces ------------------------------------------------------------------------------------


def test_the_smaller_mask_keeps_a_pixel():
    stack = np.zeros((3, 6, 6), bool)
    stack[0, 1:5, 1:5], stack[1], stack[2, 2:4, 2:4] = True, True, True
    labels = label_map(stack)
    assert labels.dtype == np.uint16
    assert np.array_equal(labels == 3, stack[2])
    assert np.array_equal(labels == 1, stack[0] & ~stack[2])
    assert np.array_equal(labels == 2, ~stack[0])
    assert not label_map(stack[:0]).any()


def test_colours_continue_beyond_the_mask():
    image = np.zeros((40, 40, 3), np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[6:34, 6:34] = 255
    image[7:33, 7:33] = (10, 200, 30)  # the outermost pixels of the mask show what lies behind
    found = continue_colours(image, mask)
    assert (found[4:36, 4:36] == (10, 200, 30)).all()


def test_regions_that_come_close_touch():
    labels = np.zeros((20, 40), np.uint8)
    labels[:, :10], labels[:, 13:20], labels[:, 30:] = 1, 2, 3
    assert touching(labels, 3, gap=4).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]
    assert not touching(labels, 3, gap=2).any()


def test_unnamed_regions_follow_colours():
    image = np.zeros((90, 120, 3), np.uint8)
    image[:45], image[45:, :60], image[45:, 60:] = (120, 180, 250), (30, 120, 30), (200, 160, 90)
    labels = unnamed_regions(image, 6, np.random.default_rng(0))
    large = [k for k in range(1, labels.max() + 1) if (labels == k).sum() > 500]
    for k in large:
        parts = [(labels[:45] == k), (labels[45:, :60] == k), (labels[45:, 60:] == k)]
        sizes = sorted(int(part.sum()) for part in parts)
        assert sizes[-1] > 0.9 * sum(sizes)
    assert len(large) >= 3


# --- masks as annotators make them -------------------------------------------------------------


def noisy(seed, **options):
    rng = np.random.default_rng(seed)
    stack = np.zeros((12, 80, 100), bool)
    for k in range(11):  # the last one stays empty
        top, left = rng.integers(0, 50, 2)
        stack[k, top : top + 25, left : left + 30] = True
    return stack, annotator_noise(stack, np.random.default_rng(seed + 1), **options)


def test_noise_changes_outlines_by_a_few_pixels():
    before, after = noisy(0)
    assert after.dtype == bool and before is not after
    changed = (before != after).any(axis=(1, 2))
    assert 4 < changed.sum() < 12
    for mask, other in zip(before, after, strict=True):
        assert mask.any() == other.any()
        far = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, 5)
        inner = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        if mask.any():
            assert far[other].max() <= 7 and inner[~other].max() <= 7


def test_noise_follows_its_generator_and_strength_0_changes_nothing():
    assert np.array_equal(noisy(3)[1], noisy(3)[1])
    assert not np.array_equal(noisy(3)[1], annotator_noise(noisy(3)[0], np.random.default_rng(9)))
    assert np.array_equal(*noisy(3, strength=0.0))
    assert annotator_noise(np.zeros((0, 5, 5), bool), np.random.default_rng(0)).shape == (0, 5, 5)


# --- files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "composed"
    assert run(drawn, folder, "--train", "25", "--val", "3") == 0
    return folder


@pytest.fixture(scope="module")
def parameters(data):
    return json.loads((data / "scenes.json").read_text())["parameters"]


@pytest.fixture(scope="module")
def composed(parameters):
    library = write_composed.composed_library(parameters, "train")
    return [make_scene(parameters, "train", k, library=library) for k in range(25)]


def same_masks(annotations, scene, key, stack):
    size = scene.image.shape[:2]
    rows = [int(a["id"]) % 1000 - 1 for a in annotations]
    order = sorted_rows(scene)
    return all(
        np.array_equal(masks.decode(a[key], *size), stack[order[row]])
        for a, row in zip(annotations, rows, strict=True)
    )


def sorted_rows(scene):
    """Row of the scene of each annotation id, 1, 2, ..."""
    record = to_record(scene, image_id=1, file_name="a")
    return np.argsort([a["id"] for a in record["annotations"]])


def test_everything_is_in_the_layout_of_photographs(data, composed):
    file = data / "annotations" / "photos_train.json"
    records = load_photos(file, data / "train" / "images", split="train")
    names = {c["id"]: c["name"] for c in read_photo_categories(file)}
    assert len(records) == len(composed)
    unknown = mutual = 0
    for record, scene in zip(records, composed, strict=True):
        order = sorted_rows(scene)
        for key in ("occlusion", "depth", "overlap"):
            found = getattr(scene, key)[np.ix_(order, order)]
            assert np.array_equal(record[key], found), key
        assert same_masks(record["annotations"], scene, "segmentation", scene.modal)
        whole = [a for a in record["annotations"] if "amodal_segmentation" in a]
        assert len(whole) == scene.amodal_known.sum()
        assert same_masks(whole, scene, "amodal_segmentation", scene.amodal)
        assert [names[a["category_id"]] for a in record["annotations"]] == [
            scene.names[scene.classes[k]] for k in order
        ]
        assert [a["is_stuff"] for a in record["annotations"]] == scene.stuff[order].tolist()
        unknown += int((record["occlusion"] == -1).sum())
        mutual += int(((record["occlusion"] == 1) & (record["occlusion"].T == 1)).sum())
        image = cv2.imread(record["file_name"])[..., ::-1]
        assert np.abs(image.astype(int) - scene.image).mean() < 6  # JPEG
    assert unknown and mutual


def test_other_formats_hold_what_is_known(data, composed):
    images, folder = data / "train" / "images", data / "annotations"
    instaorder = load_instaorder(
        folder / "instaorder_train.json", folder / "instances_train.json", images
    )
    cocoa = load_cocoa(folder / "cocoa_train.json", images)
    classes = load_cocoa_cls(folder / "cocoa_cls_train.json", images)
    kins = load_kins(folder / "kins2020_train.json", images)
    pasted = 0
    for scene, orders, *wholes in zip(composed, instaorder, cocoa, classes, kins, strict=True):
        order = sorted_rows(scene)
        rows = [order[a["id"] % 1000 - 1] for a in orders["annotations"]]
        expected = scene.occlusion[np.ix_(rows, rows)]
        assert np.array_equal(orders["occlusion"], expected) and (expected >= 0).all()
        kinds = [k for k, c in enumerate(scene.classes) if scene.names[c].startswith("kind")]
        pasted += len(kinds)
        assert set(kinds) & set(np.flatnonzero(~scene.stuff)) <= {*rows, *unsure(scene)}
        for record in wholes:
            rows = [order[a["id"] % 1000 - 1] for a in record["annotations"]]
            assert scene.amodal_known[rows].all()
            assert same_masks(record["annotations"], scene, "amodal_segmentation", scene.amodal)
            found, expected = record["occlusion"], scene.occlusion[np.ix_(rows, rows)]
            one_layer = np.equal.outer(*[order_layers(expected)] * 2)
            assert np.array_equal(found[found != -1], expected[found != -1])
            assert one_layer[found == -1].all() and (expected >= 0).all()
    assert pasted > 40


def unsure(scene):
    """Rows with an unknown pair."""
    return np.flatnonzero((scene.occlusion == -1).any(axis=1))


def test_both_splits_number_the_classes_alike_and_share_no_photograph(data, drawn):
    folder = data / "annotations"
    assert read_categories(folder / "instances_train.json") == read_categories(
        folder / "instances_val.json"
    )
    assert read_photo_categories(folder / "photos_train.json") == read_photo_categories(
        folder / "photos_val.json"
    )
    files = [
        {r["file_name"] for part in read_sources([drawn], split).values() for r in part}
        for split in ("train", "val")
    ]
    assert not files[0] & files[1]


def test_the_number_of_processes_changes_nothing_and_twice_does_nothing(drawn, data, tmp_path):
    arguments = ("--train", "25", "--val", "3")
    assert run(drawn, tmp_path / "two", *arguments, "--workers", "2") == 0
    assert content(tmp_path / "two") == content(data)
    before = {f: f.stat().st_mtime_ns for f in data.rglob("*")}
    assert run(drawn, data, *arguments) == 0
    assert before == {f: f.stat().st_mtime_ns for f in data.rglob("*")}


def test_only_the_formats_that_are_wanted(drawn, tmp_path):
    assert run(drawn, tmp_path / "some", "--train", "2", "--formats", "photos", "cocoa") == 0
    names = {f.name for f in (tmp_path / "some" / "annotations").iterdir()}
    assert names == {
        f"{kind}_{split}.json" for kind in ("photos", "cocoa") for split in ("train", "val")
    }
    assert not (tmp_path / "some" / "train" / "depth").exists()


def test_a_failure_leaves_no_folder_and_says_which_photographs(drawn, tmp_path, capsys):
    folder = tmp_path / "none"
    arguments = ["compose", str(drawn / "blank"), "--train", "2", "--output", str(folder)]
    assert main(arguments) == 2
    assert "photographs for train: no object to cut out in ['blank']" in capsys.readouterr().err
    assert not folder.exists()


def test_a_contact_sheet_and_statistics(drawn, tmp_path, capsys):
    file = tmp_path / "sheet.png"
    sources = ["compose", str(drawn / "objects"), "--long-side", "96", "--train", "1"]
    assert main([*sources, "--contact-sheet", str(file), "--sheet-scenes", "3"]) == 0
    assert cv2.imread(str(file)).shape[1] == 2 * (3 * 96 + 2 * 4) + 12
    assert main([*sources, "--statistics", "4"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["scenes"] == 4 and 0 <= numbers["unknown_share"] < 1
    assert numbers["occluder_closer"] == 1.0
