"""The validator: nothing to say about good files, every fault of a bad one, one line each."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.cli import main
from occ_order.formats.validate import validate

KINDS = ("cocoa", "cocoa_cls", "d2sa", "kins_2019", "kins_2020", "instaorder")


@pytest.fixture
def file_of(tiny, write):
    """Writes the tiny file of a format (for InstaOrder both files), after a change."""

    def file_of(kind, change=None):
        data = getattr(tiny, kind)()
        if change is not None:
            change(data)
        if kind == "instaorder":
            write(tiny.instances(), "instances_val.json")
        return write(data, f"{kind}_val.json")

    return file_of


@pytest.fixture
def image_files(tmp_path):
    folder = tmp_path / "Bilder 1"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (8, 6)).save(folder / name)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_good_file(file_of, image_files, kind, capsys):
    assert main(["validate", file_of(kind), "--images", str(image_files)]) == 0
    assert capsys.readouterr().out.startswith("no errors; read ")


def test_counts(file_of):
    counts = validate(file_of("instaorder")).counts
    assert counts == {
        "images": 2,
        "instances": 5,
        "one-way occlusions": 1,
        "mutual occlusions": 1,
        "pairs without known occlusion": 0,
        "closer/farther pairs": 1,
        "equally deep pairs": 2,
        "pairs without known depth": 1,
    }


def region(data):
    return data["annotations"][0]["regions"][1]


WRONG_PIXELS = [
    ("cocoa", lambda d: region(d).update(area=40), "region 2: 'area' is 40, but the mask has 16"),
    ("cocoa", lambda d: region(d).update(occlude_rate=0.3), "region 2: 'occlude_rate' is 0.3000"),
    (
        "cocoa",
        lambda d: region(d).update(visible_mask={"size": [6, 8], "counts": [0, 22, 26]}),
        "visible pixels are outside the amodal mask",
    ),
    (
        "cocoa",
        lambda d: region(d).update(invisible_mask={"size": [6, 8], "counts": [0, 22, 26]}),
        "hidden mask differs",
    ),
    (
        "cocoa",
        lambda d: region(d).update(invisible_mask={"size": [6, 8], "counts": "0"}),
        "region 2: invisible_mask: RLE",
    ),
    ("cocoa_cls", lambda d: d["annotations"][1].update(area=90), "annotation 2: 'area' is 90"),
    ("kins_2020", lambda d: d["annotations"][1].update(i_area=90), "annotation 2: 'i_area' is 90"),
    (
        "kins_2020",
        lambda d: d["annotations"][2].update(a_segm=[[20, 20, 24, 20, 24, 24]]),
        "annotation 3: the mask covers no pixel",
    ),
    (
        "kins_2020",
        lambda d: d["annotations"][0].update(i_segm={"size": [6, 8], "counts": [3]}),
        "annotation 1: i_segm: RLE runs sum to 3",
    ),
]


@pytest.mark.parametrize("kind, change, message", WRONG_PIXELS)
def test_wrong_pixels(file_of, kind, change, message):
    (line,) = [line for line in validate(file_of(kind, change)).errors if message in line]
    assert "image 7: annotation" in line


def test_all_faults_are_reported_each_once(file_of, capsys):
    def change(data):
        first, second, third = data["annotations"][0]["regions"]
        first["order"] = "first"
        second["area"] = 99
        third["segmentation"] = [1, 2, 3]
        data["images"][1]["height"] = -1

    assert main(["validate", file_of("cocoa", change)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    found = [line for line in lines if line.startswith("error: ")]
    for message in ("image 8: 'height'", "region 1: 'order'", "region 3", "region 2: 'area' is 99"):
        assert sum(message in line for line in found) == 1
    assert lines[-1] == ("4 errors; read 0 images, 0 instances")


def test_images(file_of, image_files):
    (image_files / "b.png").unlink()
    Image.new("RGB", (9, 6)).save(image_files / "a.png")
    errors = validate(file_of("cocoa"), images=image_files).errors
    assert len(errors) == 2
    assert "a.png: has height and width (6, 8), but the image has (6, 9)" in errors[0]
    assert "image 8: no such image file" in errors[1]
    assert validate(file_of("cocoa")).errors == []


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_damaged_images(file_of, image_files, content):
    (image_files / "b.png").write_bytes(content)
    (error,) = validate(file_of("cocoa"), images=image_files).errors
    assert "image 8: " in error and "b.png: not a readable image" in error


def test_limit_looks_at_the_first_images_only(file_of, image_files):
    (image_files / "b.png").unlink()
    assert len(validate(file_of("cocoa"), images=image_files).errors) == 1
    assert validate(file_of("cocoa"), images=image_files, limit=1).errors == []
    assert validate(file_of("cocoa", lambda d: region(d).update(area=99)), limit=0).errors == []


def test_cycles_and_hidden_objects_are_notes(file_of):
    def change(data):
        data["annotations"][0]["depth_constraint"] = "1-2,2-3,3-1"
        region(data).update(visible_mask={"size": [6, 8], "counts": [48]}, occlude_rate=1)
        region(data)["invisible_mask"] = masks.encode(
            masks.decode(region(data)["segmentation"], 6, 8)
        )

    result = validate(file_of("cocoa", change))
    assert result.errors == []
    assert any("cycle among [31001, 31002, 31004]" in note for note in result.notes)
    assert any("region 2: nothing of it is visible" in note for note in result.notes)


def test_mutual_occlusion_is_no_cycle(file_of):
    assert validate(file_of("instaorder")).notes == []


def test_damaged_order_strings(file_of):
    def change(data):
        data["annotations"][0]["occlusion"][0]["order"] = "0<5"
        data["annotations"][1]["depth"][0]["order"] = "0~1"

    errors = validate(file_of("instaorder", change)).errors
    assert len(errors) == 2
    assert "image 9" in errors[0] and "0<5" in errors[0]
    assert "image 7" in errors[1] and "0~1" in errors[1]


def test_only_instances_that_an_entry_lists_are_looked_at(tiny, write):
    data = tiny.instances()
    for annotation in data["annotations"]:
        annotation["area"] = 99
    write(data, "instances_val.json")
    errors = validate(write(tiny.instaorder(), "instaorder_val.json")).errors
    assert len(errors) == 5
    assert not any("annotation 14" in error for error in errors)


def test_format_that_cannot_be_told(write, capsys):
    assert main(["validate", write({"annotations": [{"id": 1}]})]) == 2
    assert "cannot tell the format" in capsys.readouterr().err


def test_instances_file_is_asked_for(tiny, write, capsys):
    assert main(["validate", write(tiny.instaorder(), "x.json")]) == 2
    assert "--instances" in capsys.readouterr().err
    instances = write(tiny.instances(), "y.json")
    assert main(["validate", write(tiny.instaorder(), "x.json"), "--instances", instances]) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "garbage"])
def test_no_json_at_all(write, content, capsys):
    assert main(["validate", write(content)]) == 1
    assert "error: " in capsys.readouterr().out


def test_no_such_file(tmp_path, capsys):
    assert main(["validate", str(tmp_path / "absent.json")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_lists_of_points_and_depth_maps(write, image_files, tmp_path, capsys):
    good = write("./a.png\n1,1,6,8,<\n", "d.csv")
    assert main(["validate", good, "--images", str(image_files)]) == 0
    bad = write("./a.png\n1,1,6,9,<\n", "d.csv")
    assert main(["validate", bad, "--images", str(image_files)]) == 1
    assert "are not in 6 x 8" in capsys.readouterr().out
    assert main(["validate", write("one\ntwo three\n", "k.txt")]) == 1
    assert "k.txt: line 1" in capsys.readouterr().out


def test_photographs(cocoa_demo):
    result = validate(cocoa_demo / "COCO_amodal_demo5.json", images=cocoa_demo.parent)
    assert result.errors == [] and result.notes == []
    assert (result.counts["images"], result.counts["instances"]) == (5, 48)
    assert result.counts["one-way occlusions"] == 50
    for number in range(1, 6):
        assert validate(cocoa_demo / f"{number}.json", images=cocoa_demo).errors == []


def test_damaged_photograph_annotations(cocoa_demo, tmp_path):
    """One fault of each kind, in four of the five photographs; all are found, nothing else is."""
    data = json.loads((cocoa_demo / "COCO_amodal_demo5.json").read_text())
    regions = [entry["regions"] for entry in data["annotations"]]
    regions[0][1]["visible_mask"]["counts"] = regions[0][1]["visible_mask"]["counts"][:-4]
    regions[1][0]["segmentation"] = list(np.add(regions[1][0]["segmentation"], 40.0))
    regions[1][0]["visible_mask"] = masks.encode(
        masks.decode(
            json.loads((cocoa_demo / "2.json").read_text())["regions"][0]["segmentation"], 427, 640
        )
    )
    regions[2][7]["occlude_rate"] = 0.9
    data["annotations"][3]["depth_constraint"] += ",7-11"
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data))
    errors = validate(path).errors
    for place in (
        "image 188819: annotation 377: region 2: ",
        "image 343254: annotation 704: region 1: ",
        "image 6608: annotation 12: region 8: 'occlude_rate'",
        "image 328805: annotation 680: depth_constraint '7-11'",
    ):
        assert any(place in error for error in errors), place
    assert not any("image 200752" in error for error in errors)


def test_command_line_needs_neither_torch_nor_detectron2(file_of, run_bare):
    code = (
        "from occ_order.cli import main\n"
        "print(main(['validate', sys.argv[1]])); main(['validate', 'some_name'])"
    )
    done = run_bare(code, file_of("cocoa"))
    assert done.stdout.splitlines()[-1] == "0"
    assert "names of data sets need Detectron2" in done.stderr


def test_plain_coco_is_a_format(tmp_path):
    """What is wrong is listed, every mask is taken for a visible part."""
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    data = {
        "images": [{"id": 7, "file_name": "a.png", "height": 6, "width": 8}],
        "annotations": [
            {"id": k, "image_id": 7, "category_id": 3, "segmentation": segmentation, **more}
            for k, (segmentation, more) in enumerate(
                [(square, {"area": 16}), ([], {}), (square, {"category_id": 4}), ([[9, 9] * 3], {})]
            )
        ],
        "categories": [{"id": 3, "name": "x"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    found = validate(path)
    places = {line.split(": ")[2]: line for line in found.errors}
    assert sorted(places) == ["annotation 1", "annotation 2", "annotation 3"]
    assert "covers no pixel" in places["annotation 3"]
    data["annotations"] = data["annotations"][:1]
    path.write_text(json.dumps(data))
    found = validate(path)
    assert found.errors == [] and found.counts == {"images": 1, "instances": 1}


def test_sizes_of_images_are_compared_with_the_file(file_of, tmp_path):
    path = file_of("cocoa_cls")
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    assert not validate(path, images=tmp_path).errors
    Image.new("RGB", (8, 5)).save(tmp_path / "a.png")
    (error,) = validate(path, images=tmp_path).errors
    assert "image 7: " in error and "has height and width (6, 8), but the image has" in error
    assert "the image has (5, 8)" in error


def test_an_area_at_the_edge_of_64_bits_is_an_error_and_no_overflow(file_of):
    def change(data):
        for annotation in data["annotations"]:
            annotation.update(a_area=-(2**63), i_area=6)

    errors = validate(file_of("kins_2020", change)).errors
    assert sum("'a_area' is -9.22337e+18" in error for error in errors) == 3
