"""The written data set reads back as the scenes it was made of, and is never half there."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from occ_order import masks
from occ_order.cli import INTERRUPTED, build_parser, main
from occ_order.commands import scenes as make_scenes
from occ_order.draw.scenes import draw_scene
from occ_order.formats import (
    load_cocoa,
    load_cocoa_cls,
    load_diw,
    load_instaorder,
    load_kins,
    load_kitti_depth,
    read_categories,
    read_depth_png,
    write_scenes,
)
from occ_order.scenes import CLASSES

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["scenes", "--train", "5", "--val", "2", "--seed", "3", "--size", "72", "88"]
ARGUMENTS += ["--instances", "2", "6", "--interlocked", "0.5"]


def parameters_of(*arguments):
    return make_scenes.parameters_of(
        build_parser(["scenes"])[0].parse_args([*ARGUMENTS, *arguments])
    )


def run(folder, *arguments):
    return main([*ARGUMENTS, "--output", str(folder), *arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def scenes():
    return [make_scenes.make_scene(parameters_of(), "train", k) for k in range(5)]


def content(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def ranks_of(record, image_id):
    """Index of each annotation in the scene's front-to-back numbering."""
    return [annotation["id"] - 1000 * image_id - 1 for annotation in record["annotations"]]


def decoded(record, key):
    segmentations = [annotation[key] for annotation in record["annotations"]]
    return masks.decode_all(segmentations, record["height"], record["width"])


def permutation(scene, record, image_id):
    """Row k of the record is instance permutation[k] of the scene (by the visible masks)."""
    modal = decoded(record, "segmentation")
    rows = [
        next(k for k, m in enumerate(scene.modal) if np.array_equal(m, found)) for found in modal
    ]
    assert sorted(rows) == list(range(len(scene.classes)))
    return np.array(rows)


# --- what is written reads back -----------------------------------------------------------------


def test_images_and_depth_maps(data, scenes):
    for k, scene in enumerate(scenes, start=1):
        image = cv2.imread(str(data / "train" / "images" / f"{k:06d}.png"))[..., ::-1]
        assert np.array_equal(image, scene.image)
    entries = load_kitti_depth(
        data / "annotations" / "kitti_train.txt",
        data / "train",
        rgb_dir="images",
        depth_dir="depth",
    )
    assert len(entries) == len(scenes)
    for entry, scene in zip(entries, scenes, strict=True):
        assert Path(entry["file_name"]).is_file()
        depth = read_depth_png(entry["depth_file_name"])
        assert np.abs(depth - 1 / scene.disparity).max() <= 1 / 512 + 1e-4


def test_instaorder_holds_every_matrix(data, scenes):
    folder = data / "annotations"
    records = load_instaorder(
        folder / "instaorder_train.json", folder / "instances_train.json", data / "train" / "images"
    )
    for k, (record, scene) in enumerate(zip(records, scenes, strict=True), start=1):
        assert (record["image_id"], record["height"], record["width"]) == (k, 72, 88)
        assert Path(record["file_name"]).is_file()
        assert np.array_equal(decoded(record, "segmentation"), scene.modal)
        for key in ("occlusion", "depth", "overlap", "count"):
            off = ~np.eye(len(scene.classes), dtype=bool)
            assert np.array_equal(np.asarray(record[key])[off], getattr(scene, key)[off]), key
        assert [a["category_id"] - 1 for a in record["annotations"]] == scene.classes.tolist()


def test_cocoa_holds_amodal_masks_and_both_directions(data, scenes):
    records = load_cocoa(data / "annotations" / "cocoa_train.json", data / "train" / "images")
    mutual = 0
    for k, (record, scene) in enumerate(zip(records, scenes, strict=True), start=1):
        rows = permutation(scene, record, k)
        assert np.array_equal(decoded(record, "amodal_segmentation"), scene.amodal[rows])
        assert np.array_equal(record["occlusion"], scene.occlusion[np.ix_(rows, rows)])
        assert ranks_of(record, k) == list(range(len(rows)))
        names = [annotation["name"] for annotation in record["annotations"]]
        assert names == [CLASSES[scene.classes[r]] for r in rows]
        mutual += int((scene.occlusion & scene.occlusion.T).sum())
    assert mutual > 0


@pytest.mark.parametrize("kind", ["cocoa_cls", "kins2020"])
def test_layered_formats_hold_all_but_mutual_pairs(data, scenes, kind):
    load = load_kins if kind == "kins2020" else load_cocoa_cls
    records = load(data / "annotations" / f"{kind}_train.json", data / "train" / "images")
    for k, (record, scene) in enumerate(zip(records, scenes, strict=True), start=1):
        rows = permutation(scene, record, k)
        assert np.array_equal(decoded(record, "amodal_segmentation"), scene.amodal[rows])
        expected = scene.occlusion[np.ix_(rows, rows)].copy()
        expected[(expected & expected.T) == 1] = -1
        assert np.array_equal(record["occlusion"], expected)


def test_ids_mean_the_same_instance_in_all_files(data):
    folder, images = data / "annotations", data / "train" / "images"
    groups = [
        load_instaorder(folder / "instaorder_train.json", folder / "instances_train.json", images),
        load_cocoa(folder / "cocoa_train.json", images),
        load_cocoa_cls(folder / "cocoa_cls_train.json", images),
        load_kins(folder / "kins2020_train.json", images),
    ]
    for records in zip(*groups, strict=True):
        boxes = [{a["id"]: a["bbox"] for a in record["annotations"]} for record in records]
        assert boxes[0] == boxes[1] == boxes[2] == boxes[3]


def test_point_pairs_agree_with_the_disparity(data, scenes):
    pairs = load_diw(data / "annotations" / "diw_train.csv", data / "train")
    assert 0 < len(pairs) <= len(scenes)
    for pair in pairs:
        scene = scenes[int(Path(pair["file_name"]).stem) - 1]
        a, b = scene.disparity[pair["point_a"]], scene.disparity[pair["point_b"]]
        assert pair["relation"] == ("<" if a > b else ">")
        assert max(a, b) > 1.1 * min(a, b)


def test_categories(data):
    found = read_categories(data / "annotations" / "instances_val.json")
    assert [(c["id"], c["name"]) for c in found] == [(k + 1, n) for k, n in enumerate(CLASSES)]


def test_splits_hold_different_scenes(data):
    train = (data / "train" / "images" / "000001.png").read_bytes()
    assert train != (data / "val" / "images" / "000001.png").read_bytes()
    assert len(list((data / "val" / "images").iterdir())) == 2


# --- again, interrupted, other parameters -------------------------------------------------------


def test_same_parameters_again_change_nothing(data, capsys):
    before = {name: (data / name).stat().st_mtime_ns for name in content(data)}
    assert run(data) == 0
    assert "already there" in capsys.readouterr().out
    assert before == {name: (data / name).stat().st_mtime_ns for name in content(data)}


def test_same_parameters_elsewhere_give_the_same_bytes(data, tmp_path):
    assert run(tmp_path / "again") == 0
    assert content(tmp_path / "again") == content(data)


def test_more_processes_give_the_same_bytes(tmp_path, data):
    command = [sys.executable, "-m", "occ_order", *ARGUMENTS, "--output", str(tmp_path / "two")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([*command, "--workers", "2"], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert content(tmp_path / "two") == content(data)


def test_an_interrupted_run_is_finished(data, tmp_path, monkeypatch):
    folder = tmp_path / "broken"
    monkeypatch.setattr(write_scenes, "CHUNK", 2)
    real, made = write_scenes.write_scene, []

    def failing(output, parameters, split, index):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((split, index))
        return real(output, parameters, split, index)

    monkeypatch.setattr(write_scenes, "write_scene", failing)
    assert run(folder) == INTERRUPTED
    assert write_scenes.state_of(folder, parameters_of()) == "unfinished"
    assert not (folder / "annotations" / "cocoa_train.json").exists()
    monkeypatch.setattr(write_scenes, "write_scene", real)
    again = []
    monkeypatch.setattr(
        write_scenes, "write_scene", lambda o, p, s, k: again.append((s, k)) or real(o, p, s, k)
    )
    assert run(folder) == 0
    rest = [("train", 2), ("train", 3), ("train", 4), ("val", 0), ("val", 1)]
    assert again == rest  # the first chunk is not made again
    assert content(folder) == content(data)


def test_a_lost_image_is_made_again(data, tmp_path):
    folder = tmp_path / "lost"
    assert run(folder) == 0
    (folder / "train" / "images" / "000003.png").unlink()
    assert run(folder) == 0
    assert content(folder) == content(data)


@pytest.mark.parametrize(
    "change", [["--seed", "4"], ["--train", "6"], ["--jpeg", "90"], ["--texture", "0"]]
)
def test_other_parameters_are_refused(data, capsys, change):
    before = content(data)
    assert run(data, *change) == 2
    assert "other parameters" in capsys.readouterr().err
    assert content(data) == before


def test_foreign_folders_and_files_are_refused(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    assert run(tmp_path / "mine") == 2
    assert "not empty" in capsys.readouterr().err
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert run(tmp_path / "mine" / "thesis.txt") == 2
    assert "not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"parameters": 3}'])
def test_damaged_state_file(tmp_path, capsys, text):
    (tmp_path / "scenes.json").write_text(text)
    assert run(tmp_path) == 2
    assert "scenes.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "-1"], "negative"),
        (["--size", "8", "8"], "size"),
        (["--size-range", "90", "70"], "smallest"),
        (["--instances", "5", "2"], "num_instances"),
        (["--interlocked", "2"], "interlocked"),
        (["--jpeg", "0"], "jpeg"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, capsys, arguments, message):
    assert run(tmp_path / "new", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# --- variants -----------------------------------------------------------------------------------


def test_plain_is_short_for_its_options():
    long = ["--instances", "3", "6", "--interlocked", "0", "--texture", "0"]
    long += ["--classes", "ball", "box", "star", "car", "cup", "book", "leaf"]
    assert parameters_of("--plain") == parameters_of(*long)


def test_no_images_at_all(tmp_path):
    assert run(tmp_path / "none", "--train", "0", "--val", "0") == 0
    folder = tmp_path / "none" / "annotations"
    assert load_cocoa(folder / "cocoa_train.json", tmp_path) == []
    assert json.loads((folder / "instances_val.json").read_text())["annotations"] == []


def test_images_without_instances_or_with_a_circle(tmp_path):
    folder = tmp_path / "odd"
    arguments = ["--instances", "0", "3", "--cyclic", "1", "--classes", "pole", "ball"]
    assert run(folder, *arguments, "--train", "8", "--val", "0") == 0
    images = folder / "train" / "images"
    records = load_cocoa(folder / "annotations" / "cocoa_train.json", images)
    parameters = parameters_of(*arguments, "--train", "8", "--val", "0")
    sizes = []
    for k, record in enumerate(records, start=1):
        scene = make_scenes.make_scene(parameters, "train", k - 1)
        rows = permutation(scene, record, k) if len(scene.classes) else np.zeros(0, int)
        assert np.array_equal(record["occlusion"], scene.occlusion[np.ix_(rows, rows)])
        sizes.append(len(rows))
    assert 0 in sizes and 3 in sizes


def test_jpeg(tmp_path, scenes):
    assert run(tmp_path / "jpeg", "--jpeg", "95") == 0
    image = cv2.imread(str(tmp_path / "jpeg" / "train" / "images" / "000001.jpg"))[..., ::-1]
    assert np.abs(image.astype(int) - scenes[0].image).mean() < 8
    records = load_cocoa(tmp_path / "jpeg" / "annotations" / "cocoa_train.json", "images")
    assert records[0]["file_name"].endswith("000001.jpg")


def test_contact_sheet_and_statistics(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = [*ARGUMENTS, "--contact-sheet", str(sheet), "--sheet-scenes", "3"]
    assert main([*arguments, "--statistics", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["scenes"] == 2
    height, width = cv2.imread(str(sheet)).shape[:2]
    assert height > 2 * 72 and width > 2 * 4 * 88  # two rows and columns, with legends
    with pytest.raises(SystemExit, match="2"):
        main(ARGUMENTS)


def test_a_drawn_scene_begins_with_its_image_and_whole_objects(scenes):
    scene = scenes[0]
    drawn = draw_scene(scene)
    assert drawn.shape[0] > 72 and drawn.shape[1] >= 4 * 88 + 3 * 4
    top = (drawn.shape[0] - 72) // 2
    first, second = (drawn[top : top + 72, x : x + 88] for x in (0, 92))
    assert np.array_equal(first, scene.image)
    changed = (second != scene.image).any(2)
    assert changed[scene.modal.any(0)].mean() > 0.9 > changed[~scene.amodal.any(0)].mean()
