"""Files of other tools as masks: VIA, YOLO, NumPy, SA-1B, COCO panoptic and COCOA."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.formats import user_masks
from occ_order.formats.convert import read_dataset
from occ_order.formats.table import FORMATS
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.formats.validate import validate
from tests.formats.boxes import CUP, SIZE, TRAY


def written(folder, data, name="m.json"):
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


# --- VIA


def via(*regions, name="a.jpg"):
    return {f"{name}31415": {"filename": name, "size": 31415, "regions": list(regions)}}


def via_region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


VIA_CUP = via_region(
    {"name": "polygon", "all_points_x": [2, 10, 10, 2], "all_points_y": [2, 2, 6, 6]}, label="cup"
)
VIA_ROUND = via_region({"name": "circle", "cx": 10, "cy": 5, "r": 3}, **{"class": {"a": True}})


@pytest.mark.parametrize("layout", ["annotations", "project", "version 1"])
def test_via(tmp_path, layout):
    data = via(VIA_CUP, VIA_ROUND)
    if layout == "project":
        data = {"_via_settings": {}, "_via_img_metadata": data, "_via_attributes": {}}
    elif layout == "version 1":
        data["a.jpg31415"]["regions"] = {"0": VIA_CUP, "1": VIA_ROUND}
    found = load_masks(written(tmp_path, data), SIZE, image_name="a.jpg")
    assert np.array_equal(found.modal[0], CUP) and 20 < found.modal[1].sum() < 32
    assert found.names == ("cup", "a") and found.classes.tolist() == [2, 1]
    assert found.ids == (1, 2) and found.image_id == "a"


def test_an_ellipse_of_via_is_turned_by_radians(tmp_path):
    shape = {"name": "ellipse", "cx": 10, "cy": 5, "rx": 6, "ry": 1, "theta": np.pi / 2}
    (mask,) = load_masks(written(tmp_path, via(via_region(shape))), SIZE).modal
    ys, xs = np.nonzero(mask)
    assert np.ptp(ys) >= 8 and np.ptp(xs) <= 2


def test_boxes_and_points_of_via_are_left_out_by_name(tmp_path, caplog):
    rect = via_region({"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5})
    assert load_masks(written(tmp_path, via(rect, VIA_CUP)), SIZE).ids == (2,)
    assert "m.json: image a.jpg: region 1: is a rect, left out" in caplog.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (via(via_region({"name": "polygon", "all_points_x": [1]})), "region 1: expected numbers"),
        (via(via_region({"name": "star"})), "region 1: has the unknown shape 'star'"),
        (via(via_region({"name": "circle", "cx": 1, "cy": 1})), "region 1: key 'r' is missing"),
        (via(3), "image a.jpg: region 1: must be an object"),
        ({"_via_img_metadata": {"k": {"filename": "a.jpg", "regions": 4}}}, "image 'k': 'regions'"),
        ({"_via_img_metadata": {"k": {"regions": []}}}, "image 'k': key 'filename' is missing"),
        ({"_via_img_metadata": 3}, "'_via_img_metadata' must be an object"),
    ],
)
def test_what_is_wrong_in_via_is_named(tmp_path, data, message):
    with pytest.raises(ValueError, match=f"m.json: .*{message}"):
        load_masks(written(tmp_path, data), SIZE)


def via_3(*regions, **more):
    """A project of version 3 with one image, in whose view the regions lie."""
    metadata = {
        f"1_{k}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": av}
        for k, (xy, av) in enumerate(regions)
    }
    return {
        "project": {"data_format_version": "3.1.1"},
        "config": {},
        "attribute": {
            "1": {"aname": "note", "anchor_id": "FILE1_Z0_XY1", "type": 1},
            "2": {"aname": "class", "type": 4, "options": {"c": "cup", "t": "tray"}},
            "3": {"aname": "kind", "type": 2, "options": {"0": "red", "1": "round"}},
        },
        "file": {"1": {"fid": "1", "fname": "a.jpg", "type": 2, "loc": 1, "src": "a.jpg"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": metadata,
    } | more


VIA_3_CUP = [7, 2, 2, 10, 2, 10, 6, 2, 6]


def test_via_3(tmp_path, caplog):
    data = via_3(
        (VIA_3_CUP, {"1": "mine", "2": "c"}),
        ([3, 10, 5, 3], {"3": "0,1"}),
        ([4, 10, 5, 6, 1], {"1": "flat"}),
        ([2, 1, 1, 5, 5], {}),
    )
    data["metadata"]["about_the_image"] = {"vid": "1", "flg": 0, "z": [], "xy": [], "av": {}}
    taken_back = {"vid": "1", "flg": 1, "z": [], "xy": VIA_3_CUP, "av": {}}
    data["metadata"]["taken_back"] = taken_back
    found = load_masks(written(tmp_path, data), SIZE, image_name="a.jpg")
    assert found.ids == (1, 2, 3) and found.names == ("cup", "red, round", "flat")
    assert np.array_equal(found.modal[0], CUP) and 20 < found.modal[1].sum() < 32
    ys, xs = np.nonzero(found.modal[2])
    assert np.ptp(xs) >= 8 and np.ptp(ys) <= 2
    assert "image a.jpg: region 4: is a rect, left out" in caplog.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (via_3(([9, 1, 2, 3], {})), "image a.jpg: region 1: has the unknown shape '9'"),
        (via_3((["x"], {})), "region 1: has the unknown shape 'x'"),
        (via_3(([3, 1, 2], {})), "region 1: key 'r' is missing"),
        (via_3(([7, 1, 2, 3], {})), "region 1: a polygon has 2 x and 1 y"),
        (via_3((VIA_3_CUP, {}), file={}), "view '1' must have one of the files, got .'1'."),
        (via_3((VIA_3_CUP, {}), view={}), "metadata '1_0': 'vid' '1' is no view"),
        (via_3((VIA_3_CUP, {}), view={"1": {"fid_list": ["1", "2"]}}), "must have one of the"),
        (via_3(metadata={"k": 3}), "metadata 'k': must be an object, got 3"),
        (via_3(metadata=[]), "'metadata' must be an object"),
    ],
)
def test_what_is_wrong_in_via_3_is_named(tmp_path, data, message):
    with pytest.raises(ValueError, match=f"m.json: .*{message}"):
        load_masks(written(tmp_path, data), SIZE)


# --- YOLO

YOLO_CUP = "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"


def test_yolo(tmp_path):
    path = written(tmp_path, f"{YOLO_CUP}\n\n0 0.4 0.4 0.8 0.4 0.8 0.9 0.4 0.9 0.75\n", "a.txt")
    found = load_masks(path, SIZE)
    assert np.array_equal(found.modal, [CUP, TRAY])
    assert found.scores.tolist() == [1, 0.75] and found.classes.tolist() == [1, 0]
    assert found.names is None and found.ids == (1, 3) and found.image_id == "a"
    written(tmp_path, "tray\ncup\n", "classes.txt")
    assert load_masks(path, SIZE).names == ("cup", "tray")
    (tmp_path / "labels").mkdir()
    inner = written(tmp_path / "labels", YOLO_CUP, "b.txt")
    assert load_masks(inner, SIZE).names == ("cup",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "expected a class and three or more points, got 5 numbers; boxes"),
        ("0 0.5 0.5 0.2 0.2 0.9", "got 6 numbers; boxes"),
        (YOLO_CUP + " x", "expected numbers"),
        ("0.5" + YOLO_CUP[1:], "begins with the number of a class"),
        ("-1" + YOLO_CUP[1:], "begins with the number of a class"),
        ("1e20" + YOLO_CUP[1:], "begins with the number of a class"),
        ("7" + YOLO_CUP[1:], "class 7 is not among the 2 names"),
        (YOLO_CUP.replace("0.5", "50"), "shares of the image, from 0 to 1, got 50"),
        (YOLO_CUP + " 3", "score at its end must be from 0 to 1, got 3"),
        (YOLO_CUP.replace("0.5", "nan"), "expected numbers"),
    ],
)
def test_what_is_wrong_in_yolo_is_named(tmp_path, line, message):
    written(tmp_path, "tray\ncup\n", "classes.txt")
    with pytest.raises(ValueError, match=f"a.txt: line 2: .*{message}"):
        load_masks(written(tmp_path, f"{YOLO_CUP}\n{line}\n", "a.txt"), SIZE)


def test_a_folder_of_yolo_is_a_data_set(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / f"{name}.png")
        written(tmp_path / "labels", YOLO_CUP, f"{name}.txt")
    written(tmp_path / "labels", "tray\ncup\n", "classes.txt")
    data = read_dataset("yolo", tmp_path / "labels", images=tmp_path / "images")
    assert [r["image_id"] for r in data.records] == [1, 2]
    assert [a["id"] for r in data.records for a in r["annotations"]] == [1001, 2001]
    assert data.categories == [{"id": 1, "name": "cup"}]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(ValueError, match="image b: there is no such image in"):
        read_dataset("yolo", tmp_path / "labels", images=tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"no \.txt file of yolo in"):
        read_dataset("yolo", tmp_path / "images")


# --- NumPy


def test_in_a_folder_hidden_and_other_files_are_left_out(tmp_path, caplog):
    """Jupyter keeps copies, macOS puts a file beside each, and results may lie in the folder."""
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    page = sa_1b({"id": 1, "segmentation": masks.encode(CUP)})
    page["image"]["file_name"] = "a.png"
    written(tmp_path, page, "a.json")
    (tmp_path / "a.txt").write_text("0 .1 .1 .5 .1 .5 .5")
    np.save(tmp_path / "a.npy", CUP)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    for ending in ("json", "txt", "npy"):
        content = (tmp_path / f"a.{ending}").read_bytes()
        (tmp_path / ".ipynb_checkpoints" / f"a-checkpoint.{ending}").write_bytes(content)
        (tmp_path / "__MACOSX" / f"._a.{ending}").write_bytes(b"\0\5\x16\7")
    (tmp_path / "out").mkdir()
    written(tmp_path / "out", {"images": [], "annotations": [], "categories": []}, "coco.json")
    for format in ("sa_1b", "yolo", "npy"):
        assert len(read_dataset(format, tmp_path).records) == 1
    assert "coco.json: is no file of sa_1b: JSON files of SA-1B (Segment Anything); left out" in (
        caplog.text
    )
    with pytest.raises(FileNotFoundError, match=r"no \.json file of coco_results"):
        read_dataset("coco_results", tmp_path)


def test_every_page_that_cannot_be_read_is_named_at_once(tmp_path, caplog):
    for name, size in (("a", (20, 10)), ("b", (10, 20)), ("c", (20, 10))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", CUP[None])
    np.save(tmp_path / "d.npy", CUP[None])
    np.save(tmp_path / "c.npy", np.zeros((1, *SIZE), bool))
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "more" / "a.npy", CUP[None])
    with pytest.raises(ValueError) as caught:
        read_dataset("npy", tmp_path)
    first, second, third = str(caught.value).splitlines()
    assert "b.npy: masks must be (N, 20, 10)" in first
    assert "image d: there is no such image" in second
    assert "a.png: the masks of this image stand there twice" in third
    data = read_dataset("npy", tmp_path, skip_damaged=True)
    assert [Path(record["file_name"]).name for record in data.records] == ["a.png", "c.png"]
    assert "3 damaged entries left out" in caplog.text
    assert "image c: masks that cover no pixel: [1]" in caplog.text
    (tmp_path / "a.png").unlink(), (tmp_path / "c.png").unlink()
    with pytest.raises(ValueError, match="there is no such image"):  # nothing would be left
        read_dataset("npy", tmp_path, skip_damaged=True)


def test_a_list_of_annotations_of_an_amodal_format_gives_modal_masks(tmp_path):
    for key, whole in (("visible_mask", "segmentation"), ("i_segm", "a_segm")):
        path = written(
            tmp_path, [{"id": 4, whole: masks.encode(CUP | TRAY), key: masks.encode(CUP)}]
        )
        assert np.array_equal(load_masks(path, SIZE).modal, [CUP])
    path = written(tmp_path, [{"image_id": 7, "file_name": "a.png", "segments_info": []}])
    with pytest.raises(ValueError, match=r"m\.json: entry 1: must have a 'segmentation'"):
        load_masks(path, SIZE)


def test_arrays(tmp_path):
    both = np.stack([CUP, TRAY])
    labels = np.where(TRAY, 9, np.where(CUP, 4, 0))
    for k, array in enumerate((both, both[:, None], both * 255, np.where(both, 0.9, 0.1))):
        np.save(tmp_path / f"{k}.npy", array)
        assert np.array_equal(load_masks(tmp_path / f"{k}.npy", SIZE).modal, both), k
    np.save(tmp_path / "labels.npy", labels)
    found = load_masks(tmp_path / "labels.npy", SIZE)
    assert found.ids == (4, 9) and np.array_equal(found.modal, [CUP & ~TRAY, TRAY])


def test_named_arrays(tmp_path):
    both = np.stack([CUP, TRAY])
    columns = {"scores": np.array([0.5, 1]), "labels": np.array([3, 7]), "ids": np.array([8, 9])}
    np.savez_compressed(
        tmp_path / "a.npz", masks=both, names=np.array(["cup", "tray"]), boxes=both, **columns
    )
    found = load_masks(tmp_path / "a.npz", SIZE)
    assert found.scores.tolist() == [0.5, 1] and found.classes.tolist() == [3, 7]
    assert found.names == ("cup", "tray") and found.ids == (8, 9)
    np.savez(tmp_path / "b.npz", both)
    assert np.array_equal(load_masks(tmp_path / "b.npz", SIZE).modal, both)


class Touch:
    """What a pickle runs when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_python_objects_are_not_read(tmp_path):
    trap = np.empty(1, object)
    trap[0] = Touch(tmp_path / "touched")
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", masks=trap)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(trap[0]))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises(ValueError, match=f"{name}: not a readable file of NumPy arrays"):
            load_masks(tmp_path / name, SIZE)
    assert not (tmp_path / "touched").exists()


def test_damaged_arrays_are_named(tmp_path):
    both = np.stack([CUP, TRAY])
    np.save(tmp_path / "a.npy", both)
    (tmp_path / "half.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:200])
    np.savez(tmp_path / "a.npz", masks=both)
    (tmp_path / "half.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    np.savez(tmp_path / "two.npz", x=both, y=both)
    np.savez(tmp_path / "scores.npz", masks=both, scores=np.ones(3))
    np.savez(tmp_path / "text.npz", masks=both, scores=np.array(["a", "b"]))
    np.savez(tmp_path / "nan.npz", masks=both, scores=np.array([1, np.nan]))
    np.save(tmp_path / "other.npy", both[:, 1:])
    for name, message in {
        "half.npy": "not a readable file of NumPy arrays",
        "half.npz": "not a readable file of NumPy arrays",
        "two.npz": r"needs an array 'masks', its arrays are \['x', 'y'\]",
        "scores.npz": r"'scores' must be \(2,\), got \(3,\)",
        "text.npz": "'scores' cannot be of the type <U1",
        "nan.npz": "'scores' must be finite",
        "other.npy": r"must be \(N, 10, 20\) as the image is, got \(2, 9, 20\)",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: .*{message}|{name}: {message}"):
            load_masks(tmp_path / name, SIZE)


# --- SA-1B and lists of Segment Anything


def sa_1b(*entries):
    image = {"image_id": 2, "width": 20, "height": 10, "file_name": "sa_2.jpg"}
    return {"image": image, "annotations": list(entries)}


def test_sa_1b(tmp_path):
    entries = [
        {"id": 5, "segmentation": masks.encode(CUP), "predicted_iou": 0.9, "stability_score": 1},
        {"id": 6, "segmentation": masks.encode(TRAY), "predicted_iou": 0.8, "stability_score": 1},
    ]
    path = written(tmp_path, sa_1b(*entries))
    found = load_masks(path, SIZE, image_name="sa_2.jpg")
    assert np.array_equal(found.modal, [CUP, TRAY]) and found.ids == (5, 6)
    assert found.scores.tolist() == [0.9, 0.8] and found.image_id == 2
    assert validate(path).counts == {"images": 1, "instances": 2}
    bare = [{k: v for k, v in entry.items() if k != "id"} for entry in entries]
    found = load_masks(written(tmp_path, bare, "amg.json"), SIZE)
    assert found.ids == (1, 2) and found.scores.tolist() == [0.9, 0.8]
    with pytest.raises(ValueError, match="m.json: annotation 5: .*sum"):
        damaged = {**entries[0], "segmentation": {"size": [10, 20], "counts": [3]}}
        load_masks(written(tmp_path, sa_1b(damaged)), SIZE)
    with pytest.raises(ValueError, match="m.json: image: key 'height' is missing"):
        load_masks(written(tmp_path, {"image": {}, "annotations": []}), SIZE)


# --- COCO panoptic


@pytest.fixture
def panoptic(tmp_path):
    """A thing, a crowd and stuff; writes the JSON file after changes to its parts."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[CUP], pixels[TRAY], pixels[0] = (5, 1, 0), (0, 0, 2), (9, 0, 0)
    (tmp_path / "panoptic").mkdir()
    Image.fromarray(pixels).save(tmp_path / "panoptic" / "7.png")
    segments = [
        {"id": 5 + 256, "category_id": 3, "iscrowd": 0},
        {"id": 2 * 65536, "category_id": 3, "iscrowd": 1},
        {"id": 9, "category_id": 8, "iscrowd": 0},
    ]
    kinds = [{"id": 3, "name": "cup", "isthing": 1}, {"id": 8, "name": "sky", "isthing": 0}]

    def write(first=None, **entry):
        infos = [{**segments[0], **(first or {})}, *segments[1:]]
        known = {"image_id": 7, "file_name": "7.png", "segments_info": infos, **entry}
        images = [{"id": 7, "file_name": "a.jpg", "height": 10, "width": 20}]
        data = {"images": images, "annotations": [known], "categories": kinds}
        return written(tmp_path, data, "panoptic.json")

    return write


def test_panoptic(panoptic, caplog):
    found = load_masks(panoptic(), SIZE, image_name="a.jpg")
    assert np.array_equal(found.modal, [CUP & ~TRAY]) and found.names == ("cup",)
    assert found.ids == (261,) and found.image_id == 7
    assert "panoptic.json: image 7: 1 segments of stuff left out" in caplog.text
    assert "panoptic.json: 1 crowd annotations ('iscrowd' 1) left out" in caplog.text
    found = load_masks(panoptic(), SIZE, keep_crowds=True)
    assert np.array_equal(found.modal, [CUP & ~TRAY, TRAY])
    assert validate(panoptic()).counts == {"images": 1, "instances": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": {"id": 77}}, "image 7: segment 77: 7.png has no pixel of it"),
        ({"first": {"id": "x"}}, "image 7: segment 'x': 'id' must be an integer"),
        ({"file_name": "8.png"}, "image 7: there is no '8.png' in"),
        ({"file_name": "../7.png"}, r"image 7: .*\.\."),
        ({"segments_info": 4}, "image 7: 'segments_info' must be a list"),
    ],
)
def test_what_is_wrong_in_panoptic_is_named(panoptic, changes, message):
    with pytest.raises(ValueError, match=f"panoptic.json: .*{message}|panoptic.json: {message}"):
        load_masks(panoptic(**changes), SIZE)


# --- COCOA


def test_cocoa(tmp_path, tiny):
    path = written(tmp_path, tiny.cocoa())
    found = load_masks(path, (6, 8), image_name="a.png")
    from occ_order.formats.cocoa import load_cocoa

    (record, _) = load_cocoa(path, "")
    visible = masks.decode_all([a["segmentation"] for a in record["annotations"]], 6, 8)
    assert np.array_equal(found.modal, visible)
    assert list(found.ids) == [a["id"] for a in record["annotations"]]
    assert found.names == ("cup", "tray", "") and found.image_id == 7
    alone = written(tmp_path, tiny.cocoa()["annotations"][0], "a.json")
    assert np.array_equal(load_masks(alone, (6, 8)).modal, visible)


def test_an_image_of_cocoa_without_regions_is_told(tmp_path, tiny, caplog):
    assert len(load_masks(written(tmp_path, tiny.cocoa()), (6, 8), image_name="b.png")) == 0
    assert "m.json: no instances of image 8" in caplog.text


def test_what_is_wrong_in_cocoa_is_named(tmp_path, tiny):
    data = tiny.cocoa()
    data["annotations"][0]["regions"][1]["visible_mask"]["counts"] = "??"
    with pytest.raises(ValueError, match="m.json: image 7: region 2: "):
        load_masks(written(tmp_path, data), (6, 8), image_name="a.png")
    data["annotations"][0]["regions"] = 3
    with pytest.raises(ValueError, match="m.json: image 7: 'regions' must be a list"):
        load_masks(written(tmp_path, data), (6, 8), image_name="a.png")


# --- all


def test_in_a_folder_of_masks_every_ending_is_found(tmp_path):
    for ending in (".json", ".xml", ".txt", ".npy", ".npz", ".png"):
        written(tmp_path, "", f"photo{ending}")
        assert masks_file(tmp_path, "x/photo.jpg") == tmp_path / f"photo{ending}"
        (tmp_path / f"photo{ending}").unlink()


def test_every_row_of_masks_is_in_the_documents_of_the_reader():
    """The head of user_masks names what it reads."""
    text = user_masks.__doc__.lower().replace("_", " ")
    words = {"coco_results": "results list", "results": "order results", "sa_1b": "sa-1b",
             "npy": ".npy", "npz": ".npz", "cocoa_cls": "cocoa-cls"}  # fmt: skip
    for name, row in FORMATS.items():
        if row.pages is not None:
            assert words.get(name, name.replace("_", " ")) in text, name
