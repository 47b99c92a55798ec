"""The main job end to end, with and without photographs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from occ_order.apps.main_job import examples, job, network, photographs, scores, second_stage
from occ_order.instances import OrderedInstances
from occ_order.masks import encode
from occ_order.order.io import load_results

SCRIPT = Path(__file__).resolve().parents[1] / "demo" / "main_job.py"


@pytest.fixture
def main_job(load_script, monkeypatch):
    """demo/main_job.py as a module, on tiny scenes, without further photographs by itself."""
    monkeypatch.delenv("OCC_ORDER_COCOA_DEMO", raising=False)
    monkeypatch.setattr(examples, "SCENE_SIZES", ((64, 80), (96, 72)))
    return load_script("demo/main_job.py")


QUICK = ("--no-photograph", "--no-banner", "--network-scenes", "0", "--jobs", "1")
"""Arguments that leave out everything but the second stage."""


class Page(HTMLParser):
    """Sources of the images, targets of the links, open tags, and all text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.images, self.links, self.ids, self.open, self.text = [], [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag == "img" and "src" in attributes:
            self.images.append(attributes["src"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """<line/> and the like close themselves."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.text.append(data)


def check_page(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    for source in page.images:
        assert source.startswith("data:image/") or (path.parent / source).is_file()
    for link in page.links:
        assert link.startswith("#") and link[1:] in page.ids
    return page


def test_two_tiny_scenes_end_to_end_and_again(main_job, tmp_path, capsys):
    quick = ("--no-photograph", "--network-scenes", "0", "--jobs", "1")
    command = ["--output", str(tmp_path / "new" / "demo"), "--scenes", "2", *quick]
    assert main_job.main(command) == 0
    printed = capsys.readouterr().out
    assert "OCC_ORDER_COCOA_DEMO is not set" in printed and "--cocoa" in printed
    output = tmp_path / "new" / "demo"
    page = check_page(output / "index.html")
    assert len(page.images) == 6 + 3 + 1 + 2 * 3 + 3
    assert "Generated scenes (2)" in " ".join("".join(page.text).split())
    numbers = json.loads((output / "metrics.json").read_text())
    rows = numbers["sets"]["scenes"]["rows"]
    assert len(rows) == 9 and list(numbers["sets"]) == ["scenes"]
    read_off = numbers["sets"]["scenes"]["orders_from_levels"]
    assert read_off["right"] == read_off["all"] > 4
    assert {f"scene_{k}_{name}" for k in (1, 2) for name in ("amodal.jpg", "levels.jpg")} <= {
        file.name for file in (output / "images").iterdir()
    }
    images = load_results(output / "scenes" / "order_results.json")
    assert [image["image_id"] for image in images] == [1, 2]
    assert len(images[0]["instances"]) > 0 and images[0]["cycles"] == []
    banner = cv2.imread(str(output / "banner.png"))
    assert banner.shape[1] == 1600 and (output / "banner.png").stat().st_size < 300_000
    assert main_job.main([*command, "--scenes", "0", "--no-banner"]) == 0
    assert json.loads((output / "metrics.json").read_text())["sets"] == {}


def example_of(masks, names, occlusion):
    truth = OrderedInstances(
        1,
        masks.shape[1:],
        masks,
        names=names,
        occlusion=np.array(occlusion, np.int8),
        image=np.zeros((*masks.shape[1:], 3), np.uint8),
    )
    return examples.Example("e", "E", truth)


def test_exact_maps_give_back_what_went_in():
    """Two squares, one over the other: both found whole, in the right order, by either bound."""
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 10:30, 10:30] = True
    masks[1, 14:34, 30:50] = True
    example = example_of(masks, ("a", "b"), [[0, 1], [0, 0]])
    maps = second_stage.input_maps(example)
    assert set(np.unique(maps[0])) == {0.05, 0.95}
    for bound in second_stage.BOUNDS:
        outcome = second_stage.run_crf(*maps, bound, 40.0)
        row = scores.score([(example, outcome.found)])
        assert (row["things_found"], row["orders_right"], row["orders"]) == (2, 1, 1)
        assert row["weighted_coverage"] == pytest.approx(100.0)
        assert row["cycles"] == 0.0


def test_gaps_remove_a_tenth_and_only_that():
    occludes = np.zeros((4, 100, 200), bool)
    occludes[2, 50] = occludes[3, 20] = True
    rng = np.random.default_rng(1)
    damaged = second_stage.cut_gaps(occludes, share=0.1, block=12, rng=rng)
    left = damaged.any(0).sum() / occludes.any(0).sum()
    assert 0.9 - 12 / 400 <= left <= 0.9
    assert not (damaged & ~occludes).any()
    again = second_stage.cut_gaps(occludes, share=0.1, block=12, rng=np.random.default_rng(1))
    assert (again == damaged).all()


def test_false_boundary_leaves_no_contradiction_and_no_pair_outside():
    occludes = np.zeros((4, 12, 12), bool)
    second_stage.add_false_boundary(occludes, 60, length=6, rng=np.random.default_rng(0))
    assert occludes.sum() > 60
    assert not (occludes[0, :, 1:] & occludes[1, :, :-1]).any()
    assert not (occludes[2, 1:] & occludes[3, :-1]).any()
    assert not occludes[0, :, 0].any() and not occludes[1, :, -1].any()
    assert not occludes[2, 0].any() and not occludes[3, -1].any()


def test_damage_is_seeded_and_leaves_empty_maps_alone():
    background, nothing = np.full((8, 8), 0.95), np.zeros((4, 8, 8), bool)
    for condition in second_stage.CONDITIONS:
        maps = second_stage.damage(background, nothing, condition, np.random.default_rng(0))
        assert maps[0] is background and maps[1] is nothing
    occludes = nothing.copy()
    occludes[2, 4] = True
    first, second = (
        second_stage.damage(background, occludes, "noisy", np.random.default_rng(3))
        for _ in range(2)
    )
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()
    assert first[0].min() >= 0 and first[0].max() <= 1 and np.ptp(first[0]) > 0.1


def cocoa_folder(folder: Path, *, size=(48, 64)) -> Path:
    """One own COCOA file with a painted image: a near square, a far one, and a wall of stuff."""
    height, width = size
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "one.png"), np.full((48, 64, 3), 128, np.uint8))
    near, far, wall = (np.zeros((48, 64), bool) for _ in range(3))
    near[20:44, 10:34], far[8:32, 26:50], wall[:6] = True, True, True
    outlines = {
        "near <thing>": [10, 20, 34, 20, 34, 44, 10, 44],
        "far": [26, 8, 50, 8, 50, 32, 26, 32],
        "wall": [0, 0, 64, 0, 64, 6, 0, 6],
    }
    regions = [
        {"name": name, "order": k + 1, "segmentation": line, "isStuff": int(name == "wall"),
         "occlude_rate": 0.0}
        for k, (name, line) in enumerate(outlines.items())
    ]  # fmt: skip
    regions[1] |= {"visible_mask": encode(far & ~near), "invisible_mask": encode(far & near)}
    for number, one in enumerate(regions):
        one["area"] = float((near, far, wall)[number].sum())
    data = {
        "images": [{"id": 5, "file_name": "one.png", "height": height, "width": width}],
        "annotations": [
            {"id": 1, "image_id": 5, "size": 3, "depth_constraint": "1-2", "regions": regions}
        ],
    }
    (folder / "own.json").write_text(json.dumps(data))
    return folder / "own.json"


@pytest.fixture
def no_model(monkeypatch):
    """As where the model that orders photographs is not installed."""

    def missing(name):
        raise ImportError(f"{name!r} needs torch")

    monkeypatch.setattr(photographs, "predictor", missing)


@pytest.mark.usefixtures("no_model")
def test_own_cocoa_files(main_job, tmp_path, capsys):
    source = cocoa_folder(tmp_path)
    command = ["--output", str(tmp_path / "out"), "--scenes", "0", *QUICK]
    command += ["--cocoa", str(source), "--images", str(tmp_path / "images")]
    assert main_job.main(command) == 0
    page = check_page(tmp_path / "out" / "index.html")
    text = " ".join("".join(page.text).split())
    assert "became background: wall" in text and "their terms are their owners'" in text
    assert "no model: 'mask_completion_photos' needs torch" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())["sets"]["photographs"][
        "rows"
    ]
    assert (rows[0]["things"], rows[0]["orders"], rows[0]["orders_right"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{not json"), "own.json"),
        (lambda path: path.write_text('{"images": []}'), "annotations"),
        (lambda path: path.unlink(), "own.json"),
        (lambda path: (path.parent / "images/one.png").unlink(), "no such image"),
        (lambda path: (path.parent / "images/one.png").write_bytes(b""), "not a readable image"),
        (
            lambda path: (path.parent / "images/one.png").write_bytes(b"<html>"),
            "not a readable image",
        ),
        (
            lambda path: cv2.imwrite(
                str(path.parent / "images/one.png"), np.zeros((40, 64, 3), np.uint8)
            ),
            "height and width (48, 64)",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"1-2"', '"1-9"')),
            "1-9",
        ),
    ],
    ids=["json", "keys", "no json", "no photo", "empty", "html", "size", "order"],
)
def test_damaged_input_is_an_error_with_a_name(main_job, tmp_path, capsys, damage, message):
    source = cocoa_folder(tmp_path)
    damage(source)
    command = ["--output", str(tmp_path / "out"), "--scenes", "0", *QUICK]
    assert main_job.main([*command, "--cocoa", str(source), "--images", str(tmp_path / "images")])
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and message in errors
    assert "Traceback" not in errors


def test_nothing_to_do_still_gives_a_page(main_job, tmp_path):
    assert main_job.main(["--output", str(tmp_path), "--scenes", "0", *QUICK]) == 0
    assert "nothing to do" in "".join(check_page(tmp_path / "index.html").text)


def test_the_photograph_comes_first_with_its_order(main_job, tmp_path):
    """The shipped one: six orders, and the model gets all of them from the masks alone."""
    pytest.importorskip("detectron2")
    command = ["--output", str(tmp_path), "--scenes", "0", *QUICK[1:]]
    assert main_job.main(command) == 0
    page = check_page(tmp_path / "index.html")
    text = " ".join("".join(page.text).split())
    assert "coffee.jpg: 6 of 6 annotated orders right" in text
    assert (
        re.search(r"cup 1 occludes saucer 3 \((0\.9\d|1\.00)\)", text) and "Rachel Michetti" in text
    )
    assert len(page.images) == 6
    (image,) = load_results(tmp_path / "order" / "order_results.json")
    assert len(image["instances"]) == 4 and "amodal_segmentation" in image["instances"][2]
    assert json.loads((tmp_path / "metrics.json").read_text())["ordered"] == [
        {"title": "coffee.jpg", "correct": 6, "wrong": 0, "missed": 0}
    ]


def test_a_network_sees_an_image_and_nothing_else(main_job, tmp_path):
    command = ["--output", str(tmp_path), "--scenes", "0", "--no-banner", "--no-photograph"]
    assert main_job.main([*command, "--network-scenes", "2"]) == 0
    page = check_page(tmp_path / "index.html")
    assert len(page.images) == 2 * 6
    found = json.loads((tmp_path / "metrics.json").read_text())["network"]
    assert found["name"] == network.NAME and found["images"] == 2
    alone, exact = found["rows"]
    assert alone["things"] == exact["things"] > 4 and alone["cycles"] == 0
    assert exact["weighted_coverage"] > alone["weighted_coverage"] > 25
    assert 0 < alone["things_found"] <= exact["things_found"]


def test_without_the_network_the_page_is_as_before(main_job, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(network, "NAME", "not in the zoo")
    command = ["--output", str(tmp_path), "--scenes", "0", "--no-banner", "--no-photograph"]
    assert main_job.main(command) == 0
    assert "no network: the model zoo has no 'not in the zoo'" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["network"] is None


@pytest.mark.parametrize(
    "arguments", [["--cocoa", "a.json"], ["--scenes", "-1"], ["--jobs", "0"], ["--what"]]
)
def test_wrong_options_are_refused(main_job, tmp_path, arguments):
    with pytest.raises(SystemExit) as stop:
        main_job.main(["--output", str(tmp_path), *arguments])
    assert stop.value.code == 2


def test_help_of_the_command(tmp_path):
    helped = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert helped.returncode == 0, helped.stderr
    assert "--cocoa" in helped.stdout and "OCC_ORDER_COCOA_DEMO" in helped.stdout


def test_as_a_command_in_two_processes(tmp_path):
    source = cocoa_folder(tmp_path)
    data = json.loads(source.read_text())
    data["images"].append(data["images"][0] | {"id": 6})
    data["annotations"].append(data["annotations"][0] | {"id": 2, "image_id": 6})
    source.write_text(json.dumps(data))
    command = [sys.executable, str(SCRIPT), "--output", str(tmp_path / "out"), "--scenes", "0"]
    command += [*QUICK[:-1], "2", "--cocoa", str(source)]
    command += ["--images", str(tmp_path / "images")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out/metrics.json").read_text())["sets"]["photographs"]["rows"]
    assert (rows[0]["things_found"], rows[0]["orders_right"], rows[0]["orders"]) == (4, 2, 2)


@pytest.mark.usefixtures("no_model")
def test_photographs_of_the_environment_variable(main_job, cocoa_demo, tmp_path, monkeypatch):
    """One of the five: all things found, orders at least as good as the published algorithm's."""
    monkeypatch.setenv("OCC_ORDER_COCOA_DEMO", str(cocoa_demo))
    read = job.cocoa_examples
    monkeypatch.setattr(job, "cocoa_examples", lambda *source: read(*source)[3:4])
    conditions = {"exact": "exact maps", "gaps": "gaps"}
    for module in (job, scores, second_stage):
        monkeypatch.setattr(module, "CONDITIONS", conditions)
    assert main_job.main(["--output", str(tmp_path), "--scenes", "0", *QUICK]) == 0
    page = check_page(tmp_path / "index.html")
    assert len(page.images) == 6 + 3 + 1 + 3 + 3
    sets = json.loads((tmp_path / "metrics.json").read_text())["sets"]
    assert sets["photographs"]["orders_from_levels"] == {"right": 8, "all": 8}
    default, published = sets["photographs"]["rows"][:2]
    assert default["things_found"] == default["things"] == 10
    assert default["orders"] == 8 and default["orders_right"] >= published["orders_right"]
    assert default["energy"] <= published["energy"]


def test_the_annotation_in_pieces_is_what_labels_can_say():
    """A bar cut in two by a post is two pieces, and the CRF finds exactly these."""
    masks = np.zeros((2, 20, 60), bool)
    masks[0, :, 40:44] = True
    masks[1, 8:12, 2:58] = True
    masks[1] &= ~masks[0]
    example = example_of(masks, ("post", "bar"), [[0, 1], [0, 0]])
    pieces = second_stage.annotated_pieces(example, smoothness=40.0)
    assert len(pieces.found) == 3
    assert pieces.found.occlusion.sum() == 2 and pieces.labels.max() == 2
    found = second_stage.run_crf(*second_stage.input_maps(example), "alternate", 40.0)
    assert found.energy == pytest.approx(pieces.energy, abs=20 * 60 / 1024)
