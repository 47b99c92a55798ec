"""The viewer page: what it holds, and what a user sees in a real browser."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.apps.viewer import comparison, instance_set, render_viewer, save_viewer, viewer_image
from occ_order.cli import main
from occ_order.draw.outlines import mask_path
from occ_order.formats.convert import DataSet, write_dataset
from occ_order.formats.results import results_of
from occ_order.order.io import results_image

ROOT = Path(__file__).resolve().parents[2]


def squares(size=(60, 90)):
    """Three overlapping squares, visible and whole: 0 over 1 over 2, from left to right."""
    whole = np.zeros((3, *size), bool)
    for k in range(3):
        whole[k, 10 + 5 * k : 40 + 5 * k, 5 + 20 * k : 35 + 20 * k] = True
    visible = whole.copy()
    visible[1] &= ~whole[0]
    visible[2] &= ~(whole[0] | whole[1])
    return visible, whole


def squares_image(*, names=("cup", "plate", "table"), edges=((0, 1), (1, 2)), **more):
    """Results of one image with these squares; `edges` is the occlusion order."""
    visible, whole = squares()
    occlusion = np.zeros((3, 3), np.int8)
    for i, j in edges:
        occlusion[i, j] = 1
    depth = np.array([[-1, 1, 1], [0, -1, 2], [0, 2, -1]], np.int8)
    overlap = np.where(depth >= 0, 0, -1).astype(np.int8)
    image = results_image(
        image_id=more.pop("image_id", 1), height=60, width=90, modal=visible, amodal=whole,
        classes=[1, 2, 3], scores=[0.9, 0.8, 0.7], occlusion=occlusion,
        occlusion_prob=np.full((3, 3), 0.75), depth=depth, overlap=overlap,
    )  # fmt: skip
    for instance, name in zip(image["instances"], names, strict=True):
        instance["category"] = name
    return {**image, **more}


def filled(path: str, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre is inside an SVG path, counted at eight times the resolution."""
    rings = [
        np.array([[float(v) for v in point.split()] for point in part[1:].split("L")])
        for part in re.findall(r"M[^MZ]*", path)
    ]
    canvas = np.zeros((size[0] * 8, size[1] * 8), np.uint8)
    cv2.fillPoly(canvas, [np.rint(ring * 8).astype(np.int32) for ring in rings], 1)
    return canvas[4::8, 4::8] > 0


def test_an_outline_covers_its_mask():
    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.random((60, 70)).astype(np.float32), (0, 0), 4)
    mask = noise > np.median(noise)  # blobs with holes
    drawn = filled(mask_path(mask), mask.shape)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.95
    assert mask_path(np.zeros((4, 5))) == ""
    one = np.zeros((4, 5))
    one[2, 3] = 1
    assert (filled(mask_path(one), (4, 5)) == (one > 0)).all()


def test_an_instance_of_which_nothing_is_visible_has_no_number():
    image = squares_image()
    image["instances"][2]["segmentation"] = masks.encode(np.zeros((60, 90), bool))
    shown = instance_set(image)["instances"][2]
    assert shown["at"] is None and shown["modal"] == "" and shown["amodal"] != ""


def test_labels_are_names_classes_or_numbers():
    image = squares_image()
    image["instances"][0]["name"] = "my cup"
    del image["instances"][2]["category"], image["instances"][1]["category"]
    labels = [x["label"] for x in instance_set(image, class_names={2: "tray"})["instances"]]
    assert labels == ["my cup", "tray", "class 3"]


def test_comparison_by_hand():
    """Annotated 0>1, 1>2; predicted 0>1, 2>1, 0>2, with the instances in reverse."""
    truth = squares_image()
    image = squares_image(edges=[(2, 1), (0, 1), (2, 0)])  # in the numbers of the reverse
    image["instances"] = image["instances"][::-1]
    found = comparison(image, truth)
    assert found["matches"] == [2, 1, 0]
    assert sorted(found["edges"]) == [[0, 1, "correct"], [1, 2, "wrong"]]
    # Predicted 0>1 and 2>0 are annotated 2>1 and 0>2, which the annotation denies.
    assert sorted(found["extra"]) == [[0, 1], [2, 0]]


def test_comparison_without_an_order_or_of_another_size():
    image, truth = squares_image(), squares_image()
    del truth["occlusion"], truth["cycles"]
    assert comparison(image, truth)["edges"] is None
    with pytest.raises(ValueError, match=r"image 1: results are for \(60, 90\), annotation for"):
        comparison(image, {**truth, "height": 61})


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image 1: .* the image has \(60, 91\)"):
        viewer_image(squares_image(), np.zeros((60, 91, 3), np.uint8))


def test_large_images_are_made_smaller():
    drawing = np.zeros((60, 90, 3), np.uint8)
    small = viewer_image(squares_image(), drawing, max_side=30)
    assert small["width"] == 90  # outlines stay in the pixels of the results
    assert len(small["image"]) < len(viewer_image(squares_image(), drawing)["image"])


HOSTILE = "</script><script>document.title='owned'</script><b>&\u2028"


def test_names_cannot_leave_the_data(tmp_path):
    image = squares_image(names=[HOSTILE] * 3, file_name=HOSTILE)
    page = render_viewer([viewer_image(image, np.zeros((60, 90, 3), np.uint8))], title=HOSTILE)
    assert page.count("</script>") == 3 and "<script>document" not in page
    assert held(page, "data")["names"] == [HOSTILE]
    assert held(page, "image-0")["name"] == HOSTILE


def held(page, name):
    """The JSON of a script element."""
    return json.loads(re.search(f'id="{name}">(.*?)</script>', page, re.DOTALL)[1])


# --- in a browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of two images, the second with annotation and a hostile name."""
    path = tmp_path_factory.mktemp("viewer") / "a view.html"
    drawing = np.full((60, 90, 3), 120, np.uint8)
    truth = squares_image(edges=[(0, 1), (2, 1)], image_id=2)
    images = [
        viewer_image(squares_image(file_name="one.png"), drawing),
        viewer_image(squares_image(image_id=2, names=[HOSTILE, "b", "c"]), drawing, truth=truth),
    ]
    save_viewer(path, images, title="My results")
    return path.as_uri()


def roles(page, role):
    """Numbers of the instances that have a role in the image of the results."""
    script = f"[...document.querySelectorAll('#found path.{role}')].map(e => Number(e.dataset.k))"
    return sorted(page.run(script))


def test_pointing_shows_what_is_in_front_and_behind(page, address):
    page.open(address)
    assert page.text("h1") == "My results"
    assert "2 times one hides a part of another" in page.text("#detail")
    page.move(*page.point('#found path[data-k="1"]'))
    page.wait("document.querySelector('#detail h2').innerText === '2 plate'")
    assert roles(page, "front") == [0] and roles(page, "behind") == [2]
    assert roles(page, "chosen") == [1]
    arrows = "[...document.querySelectorAll('#found [data-from]')].map(e => e.dataset.from"
    assert page.run(f"{arrows} + e.dataset.to)") == ["01", "12"]
    detail = page.text("#detail")
    assert re.search(r"hides a part of\s+3\s+table\s+75 %", detail)
    assert re.search(r"is partly hidden by\s+1\s+cup\s+75 %", detail)
    assert "score 0.80, layer 2 of 3" in detail
    page.move(2, 2)
    page.wait("document.querySelector('#detail h2').innerText === 'one.png'")
    assert roles(page, "front") == roles(page, "chosen") == []


def test_a_click_keeps_an_instance_and_escape_lets_it_go(page, address):
    page.open(address)
    page.click("#list li button")
    page.move(2, 2)
    assert page.text("#detail h2") == "1 cup" and roles(page, "behind") == [1]
    assert page.run("document.querySelectorAll('[aria-pressed=true]').length") == 1
    page.press("Escape")
    assert page.text("#detail h2") == "one.png"


def test_the_depth_order(page, address):
    page.open(address)
    page.click("input[value=depth]")
    page.click("#list li:last-child button[data-k='1']")
    page.move(2, 2)
    detail = page.text("#detail")
    assert re.search(r"is farther than\s+1\s+cup\s+distinct, 100 %", detail)
    assert re.search(r"is as far away as\s+3\s+table", detail)


def test_sliding_through_the_layers(page, address):
    page.open(address)
    assert page.text("#layer-name") == "all 3 together"
    page.run("document.getElementById('layer').focus()")
    for name, peeled in (("1 of 3: 1 cup", []), ("2 of 3: 2 plate", [0]), ("3 of 3", [0, 1])):
        page.press("ArrowRight")
        page.wait(f"document.getElementById('layer-name').innerText.startsWith('{name}')")
        assert roles(page, "peeled") == peeled


def test_whole_objects_instead_of_visible_parts(page, address):
    page.open(address)
    page.click("input[value=amodal]")
    area = "document.querySelector('#found path[data-k=\"1\"]').getAttribute('d')"
    whole = page.run(area)
    page.click("input[value=modal]")
    assert filled(whole, (60, 90)).sum() == 900 and filled(page.run(area), (60, 90)).sum() < 900


def test_comparing_with_annotation(page, address):
    page.open(address)
    assert page.run("document.getElementById('comparing').disabled")
    page.click("#next")
    assert not page.run("document.getElementById('comparing').disabled")
    page.click("#compare")
    assert page.text("#matched") == "3 of 3 annotated instances found"
    assert page.text("#counts") == "orders: 1 right, 1 wrong, 0 missed; 1 more than annotated"
    verdicts = "[...document.querySelectorAll('#verdicts tr[data-verdict]')].map(e => e.innerText)"
    assert [row.split("\t") for row in page.run(verdicts)] == [
        ["1 cup", "2 plate", "right"],
        ["3 table", "2 plate", "wrong"],
    ]
    page.move(*page.point('#truth path[data-k="0"]'))
    page.wait("document.querySelector('#found path.chosen')")
    assert roles(page, "chosen") == [0]
    assert page.run("document.title") == "My results"  # the hostile name stayed a name
    assert "</script><script>" in page.text("#list")


def test_the_keyboard_alone_is_enough(page, address):
    page.open(address)
    page.press("ArrowRight")
    assert page.text("#position") == "2 of 2"
    page.press("ArrowLeft")
    for _ in range(30):
        page.press("Tab")
        if page.run("document.activeElement.matches('#list button')"):
            break
    assert page.text("#detail h2") == "1 cup"
    page.press("Enter")
    page.wait("document.querySelector('[aria-pressed=true]')")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1400, True)])
def test_it_fits_narrow_windows_and_dark_ones(page, address, tmp_path, width, dark):
    page.open(address, width=width, height=900, dark=dark)
    page.click("#next")
    page.click("#compare")
    assert page.run("document.documentElement.scrollWidth") <= width
    drawing = page.screenshot(tmp_path / "page.png")
    assert (drawing[:5].mean() < 60) == dark


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page of 5,000 images, every other one with a hostile name."""
    path = tmp_path_factory.mktemp("viewer") / "many ä.html"
    one = viewer_image(squares_image(), np.zeros((60, 90, 3), np.uint8))
    names = [HOSTILE if k % 2 else f"{k}.png" for k in range(5000)]
    assert save_viewer(path, ({**one, "name": name} for name in names)) == 5000
    return path


def test_of_many_images_none_is_in_the_page(many):
    page = many.read_text()
    assert len(page) < 600_000 and "data:image" not in page
    assert len(held(page, "data")["names"]) == 5000
    files = list((many.parent / "many ä_files").iterdir())
    assert len(files) == 5000
    text = (many.parent / "many ä_files" / "4999.js").read_text()
    number, data = re.fullmatch(r"viewerImage\((\d+), (.*)\);\n", text).groups()
    assert number == "4999" and json.loads(json.loads(data))["name"] == HOSTILE
    assert text.count("data:image") == 1


def test_images_beside_the_page_are_read_when_they_are_looked_at(page, many):
    page.open(many.as_uri())
    page.wait("document.querySelector('#found path[data-k=\"1\"]')")
    assert page.text("#position") == "1 of 5000" and page.text("#detail h2") == "0.png"
    assert page.run("performance.getEntriesByType('resource').length") <= 1
    page.press("ArrowLeft")
    page.wait("document.getElementById('position').innerText === '5000 of 5000'")
    page.wait("document.querySelector('#detail h2').innerText.includes('owned')")
    assert page.run("document.title") == "Results"
    assert page.run("document.querySelectorAll('script[src]').length") == 0
    (many.parent / "many ä_files" / "0.js").rename(many.parent / "moved.js")
    page.press("ArrowRight")
    page.wait("!document.getElementById('missing').hidden")
    assert "0.js is missing: it belongs beside this page" in page.text("#missing")
    page.press("ArrowRight")
    page.wait("document.getElementById('missing').hidden")
    assert page.text("#position") == "2 of 5000"
    page.messages.clear()  # the browser's own word about the missing file


def test_a_page_without_images_says_so(page, tmp_path):
    save_viewer(tmp_path / "empty.html", [])
    page.open((tmp_path / "empty.html").as_uri())
    assert page.text("main") == "There is no image in these results."


# --- the command


def test_the_command(records, categories, tmp_path, capsys):
    drawings = str(tmp_path / "images")
    data = DataSet(records, categories, drawings)
    write_dataset("results", data, tmp_path / "run" / "inference")
    (truth,) = write_dataset("cocoa", data, tmp_path / "gt")
    common = ["--results", str(tmp_path / "run"), "--images", drawings]
    out = tmp_path / "view.html"
    assert main(["view", *common, "--output", str(out)]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(
        ["view", *common, "--output", str(out), "--gt", str(truth), "--gt-format", "cocoa"]
    ) == 0  # fmt: skip
    page = out.read_text()
    assert held(page, "data")["names"] == ["image 1.png", "image 2.png"]
    for one in (held(page, "image-0"), held(page, "image-1")):
        assert {edge[2] for edge in one["comparison"]["edges"]} <= {"correct"}
        assert one["comparison"]["extra"] == []


def test_the_command_names_what_is_missing(tmp_path, capsys):
    arguments = ["--results", str(tmp_path), "--images", str(tmp_path)]
    assert main(["view", *arguments]) == 2
    assert "no order_results.json in" in capsys.readouterr().err
    image = squares_image(file_name="../secret.png")
    (tmp_path / "order_results.json").write_text(
        json.dumps({"format": "occ_order/1", "images": [image]})
    )
    Image.new("RGB", (90, 60)).save(tmp_path.parent / "secret.png")
    assert main(["view", *arguments]) == 2
    assert "must stay inside the image folder" in capsys.readouterr().err


def test_results_of_a_record_keep_names_and_orders(records, categories):
    image = results_of(records[0], categories)
    names = {c["id"]: c["name"] for c in categories}
    for instance, annotation in zip(image["instances"], records[0]["annotations"], strict=True):
        assert instance["category"] == names[annotation["category_id"]]
    assert len(image["occlusion"]) == int((records[0]["occlusion"] == 1).sum())
