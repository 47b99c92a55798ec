"""`occ-order predict` on images, masks and videos as users have them."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import occ_order
from occ_order import front, masks, order, scenes
from occ_order.cli import INTERRUPTED, main
from occ_order.commands import predict
from occ_order.files import folder_lock
from occ_order.formats.sem_dist import load_sem_dist
from occ_order.masks import encode
from occ_order.order import io

ROOT = Path(occ_order.__file__).parents[1]

AREA = ["--config-file", str(ROOT / "configs/InstaOrder/scenes/area.yaml")]


@pytest.fixture(scope="module")
def scene():
    return scenes.generate(3, size=(72, 96), num_instances=4)


@pytest.fixture
def folder(tmp_path, scene):
    """Two images with label maps, one of them under a name with a space and an umlaut."""
    for name in ("a", "ü b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(scene.image).save(tmp_path / "in" / f"{name}.png")
        ids = np.zeros(scene.image.shape[:2], np.uint8)
        for k, mask in enumerate(scene.modal):
            ids[mask] = 10 * (k + 1)
        Image.fromarray(ids).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def run(folder, *arguments):
    return main(["predict", *arguments, *AREA, "--output", str(folder / "out")])


def test_images_with_masks_give_everything(folder, scene, capsys):
    arguments = [str(folder / "in"), "--masks", str(folder / "labels")]
    assert run(folder, *arguments, "--psd", "--graphs") == 0
    images = io.load_results(folder / "out" / "order_results.json")
    assert [image["image_id"] for image in images] == ["a", "ü b"]
    expected = order.area_order(scene.modal, order="occlusion", pairs="bordering")
    occlusion, depth, _ = io.matrices(images[0])
    assert np.array_equal(occlusion, expected)
    assert np.array_equal(depth, order.area_order(scene.modal, order="depth", pairs="all"))
    assert [i["id"] for i in images[0]["instances"]] == [10, 20, 30, 40]  # labels of the map
    there = {file.name for file in (folder / "out" / "ü b").iterdir()}
    image_files = {"overlay", "occlusion", "occlusion_graph", "depth_graph", "relative_depth"}
    assert {f"{name}.png" for name in image_files} <= there
    assert {"layers", "layers.psd", "occlusion.graphml", "occlusion.dot", "depth.dot"} <= there
    layers = json.loads((folder / "out" / "a" / "layers" / "layers.json").read_text())
    assert len(layers["layers"]) == 5
    assert "2 images, 0 failed" in capsys.readouterr().out


def test_a_network_of_whole_objects_draws_them_and_their_levels(folder):
    """An untrained SLN; what it says is nonsense, but it has every field."""
    narrow = "MODEL.MINI_RESNET.WIDTH 4 MODEL.FPN.OUT_CHANNELS 8 MODEL.ROI_BOX_HEAD.FC_DIM 8"
    narrow += " MODEL.ROI_MASK_HEAD.CONV_DIM 8 MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.0"
    narrow += " TEST.DETECTIONS_PER_IMAGE 4 INPUT.MIN_SIZE_TEST 0"
    arguments = [str(folder / "in" / "a.png"), "--opts", *narrow.split()]
    arguments += ["--config-file", str(ROOT / "configs/SLN/sln_mini_scenes.yaml")]
    assert main(["predict", *arguments, "--output", str(folder / "out")]) == 0
    there = {file.name for file in (folder / "out" / "a").iterdir()}
    assert {"overlay.png", "amodal.png", "levels.png", "sem_dist.npz"} <= there
    (image,) = io.load_results(folder / "out" / "order_results.json")
    maps = load_sem_dist(folder / "out" / "a" / "sem_dist.npz")
    assert maps.shape == (len(image["instances"]), 72, 96) and len(maps) > 0


def test_one_image_that_fails_does_not_stop_the_others(folder, capsys):
    (folder / "in" / "bad.png").write_bytes(b"<html>")
    arguments = [str(folder / "in"), "--masks", str(folder / "labels")]
    assert run(folder, *arguments) == 1
    shown = capsys.readouterr()
    assert "2 images, 1 failed" in shown.out and "bad.png: not a readable" in shown.err
    assert len(io.load_results(folder / "out" / "order_results.json")) == 2


def test_where_every_image_fails_each_says_why(folder, capsys):
    masks = folder / "masks.json"
    masks.write_text("{}")
    (folder / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/a.ts\n")
    inputs = [str(folder / "in" / "a.png"), str(folder / "list.mp4")]
    assert run(folder, *inputs, "--masks", str(masks)) == 1
    shown = capsys.readouterr()
    assert "0 images, 2 failed" in shown.out and "masks.json: expected COCO" in shown.err
    assert "list.mp4: not a video that can be read" in shown.err
    assert io.load_results(folder / "out" / "order_results.json") == []


def test_what_is_predicted_is_kept_when_the_run_ends_by_an_error(folder, monkeypatch):
    real = predict.result_of

    def fails(orders, one, options):
        if one.name != "a":
            raise KeyboardInterrupt
        return real(orders, one, options)

    monkeypatch.setattr(predict, "result_of", fails)
    arguments = [str(folder / "in"), "--masks", str(folder / "labels")]
    assert run(folder, *arguments) == INTERRUPTED
    (image,) = io.load_results(folder / "out" / "order_results.json")
    assert image["image_id"] == "a" and not list((folder / "out").glob("*.jsonl"))


def test_results_are_not_written_through_links_or_beside_another_run(folder, capsys):
    (folder / "elsewhere").mkdir()
    (folder / "out").mkdir()
    (folder / "out" / "a").symlink_to(folder / "elsewhere")
    arguments = [str(folder / "in"), "--masks", str(folder / "labels")]
    assert run(folder, *arguments) == 1
    assert "is a link that leads out of the folder" in capsys.readouterr().err
    assert list((folder / "elsewhere").iterdir()) == []
    with folder_lock(folder / "out"):
        assert run(folder, *arguments) == 2
    assert "another program is writing there (process " in capsys.readouterr().err


def test_images_of_the_same_name_do_not_overwrite_each_other(folder):
    (folder / "more").mkdir()
    (folder / "in" / "a.png").rename(folder / "more" / "a.png")
    Image.fromarray(np.zeros((72, 96, 3), np.uint8)).save(folder / "in" / "a.png")
    arguments = [str(folder / "in" / "a.png"), str(folder / "more" / "*.png")]
    assert run(folder, *arguments, "--masks", str(folder / "labels")) == 0
    assert {"a", "a_2"} <= {file.name for file in (folder / "out").iterdir()}


def test_every_tenth_frame_of_a_video(folder, scene):
    size = scene.image.shape[1::-1]
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)
    for _ in range(21):
        video.write(scene.image[..., ::-1])
    video.release()
    masks = folder / "labels" / "a.png"
    arguments = [str(folder / "clip.avi"), "--every", "10", "--masks", str(masks)]
    assert run(folder, *arguments) == 0
    images = io.load_results(folder / "out" / "order_results.json")
    assert [i["image_id"] for i in images] == ["clip_000000", "clip_000010", "clip_000020"]


def test_what_is_missing_is_named(folder, monkeypatch, capsys):
    (folder / "clip.mp4").write_bytes(b"no video")
    monkeypatch.chdir(folder)
    assert run(folder, "clip.mp4", "--masks", "labels") == 1
    assert "not a video that can be read" in capsys.readouterr().err


def detections(folder, scene):
    """COCO results of the two images, as 1.png and 2.png, of which the second has fewer."""
    entries = []
    for number, count in ((1, 4), (2, 2)):
        Image.fromarray(scene.image).save(folder / f"{number}.png")
        for k in range(count):
            entry = {"image_id": number, "category_id": 5, "score": 1 - k / 10}
            entries.append({**entry, "segmentation": encode(scene.modal[k])})
    path = folder / "results.json"
    path.write_text(json.dumps(entries))
    return path


def test_detections_are_ordered_and_the_first_line_says_whose_they_are(folder, scene, capsys):
    path = detections(folder, scene)
    arguments = [str(folder / "[12].png"), "--detector", str(path), "--score-threshold", "0.8"]
    assert run(folder, *arguments, "--json-only") == 0
    first = capsys.readouterr().out.splitlines()[0]
    learned = "(without weights: no learned parameters)"
    assert first == f"instances: results in {path} | order: {AREA[1]} {learned}"
    images = io.load_results(folder / "out" / "order_results.json")
    assert [(image["image_id"], len(image["instances"])) for image in images] == [(1, 3), (2, 2)]
    assert images[0]["instances"][1]["score"] == 0.9
    expected = order.area_order(scene.modal[:3], order="occlusion", pairs="bordering")
    assert np.array_equal(io.matrices(images[0])[0], expected)


def test_detections_take_the_names_of_their_classes_from_a_file(folder, scene, capsys):
    path, names = detections(folder, scene), folder / "instances.json"
    classes = [{"id": 5, "name": "cup"}, {"id": 6, "name": "tray"}]
    names.write_text(json.dumps({"images": [], "annotations": [], "categories": classes}))
    arguments = [str(folder / "1.png"), "--detector", str(path), "--names-from", str(names)]
    assert run(folder, *arguments, "--json-only") == 0
    (image,) = io.load_results(folder / "out" / "order_results.json")
    assert {one["category"] for one in image["instances"]} == {"cup"}
    capsys.readouterr()
    names.write_text("{")
    assert run(folder, *arguments, "--json-only") == 2
    assert "instances.json" in capsys.readouterr().err


def test_cycles_are_left_out_where_that_is_asked_for(folder, scene, monkeypatch):
    """Of a model that says that the first three occlude one another round."""
    real = front.Photographs.__call__
    ring = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.int8)

    def goes_round(self, *arguments, **more):
        self = dataclasses.replace(self, order=lambda image, found: found.replace(occlusion=ring))
        return real(self, *arguments, **more)

    monkeypatch.setattr(front.Photographs, "__call__", goes_round)
    path = detections(folder, scene)
    arguments = [str(folder / "1.png"), "--detector", str(path), "--score-threshold", "0.8"]
    for more, cycles in ([[], [[0, 1, 2]]], [["--acyclic"], []]):
        assert run(folder, *arguments, "--json-only", *more) == 0
        (image,) = io.load_results(folder / "out" / "order_results.json")
        assert image["cycles"] == cycles


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--masks", "labels", "--detector", "labels"], "either --detector or --masks"),
        (["--detector-weights", "in/a.png"], "--detector-weights requires --detector"),
        (["--masks", "labels", "--score-threshold", "0.5"], "applies to detections only"),
    ],
)
def test_choices_that_exclude_each_other(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "in/a.png", "--output", "o", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["in/a.png"],
        ["none.png", "--output", "o"],
        ["in/a.png", "--output", "o", "--every", "0"],
        ["in/a.png", "--output", "o", "--masks", "none.json"],
    ],
)
def test_commands_that_make_no_sense(folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *arguments])


def test_input_masks_are_ordered_without_a_window(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "my photo.png")
    stack = np.zeros((2, 40, 50), bool)
    stack[0, 5:20, 5:20] = stack[1, 15:35, 12:40] = True
    stack[1] &= ~stack[0]
    data = {
        "images": [{"id": 1, "file_name": "my photo.png", "height": 40, "width": 50}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "segmentation": masks.encode(mask),
             "bbox": [0, 0, 1, 1], "area": int(mask.sum()), "iscrowd": 0}
            for k, mask in enumerate(stack)
        ],
    }  # fmt: skip
    (tmp_path / "masks.json").write_text(json.dumps(data), encoding="utf-8")
    arguments = [
        "predict", str(tmp_path / "my photo.png"),
        "--config-file", str(ROOT / "configs/InstaOrder/area.yaml"),
        "--masks", str(tmp_path / "masks.json"), "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    (image,) = io.load_results(tmp_path / "out" / "order_results.json")
    assert image["occlusion"] == [[1, 0, 1.0]]  # the larger one is in front
    assert (tmp_path / "out" / "my photo" / "overlay.png").is_file()
