"""The page to drop a photograph on: outlines, masks, answers, what it refuses, and in a browser."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from occ_order import model_zoo
from occ_order.apps.drop.answer import Settings, answer, detectors, models
from occ_order.apps.drop.server import Guard, Server
from occ_order.apps.drop.work import (
    SIDE,
    clicked,
    closed,
    instances,
    open_photo,
    shown,
    taken_back,
    with_masks,
)
from occ_order.cli import main
from occ_order.commands.app import write_everything
from occ_order.instances import load

ROOT = Path(__file__).resolve().parents[2]
COFFEE = ROOT / "demo" / "coffee"
SQUARE = ((10, 10), (30, 10), (30, 30), (10, 30))
LITE = Settings(write_everything, backend="onnx")


def save_png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photo(tmp_path) -> Path:
    """A grey photograph of 40 x 60 pixels."""
    return save_png(tmp_path / "grey.png", np.full((40, 60, 3), 120, np.uint8))


@pytest.fixture
def labels(tmp_path) -> Path:
    """Label map of two things, 3 and 7, of 200 and 100 pixels."""
    values = np.zeros((40, 60), np.uint8)
    values[5:25, 5:15], values[20:30, 30:40] = 3, 7
    return save_png(tmp_path / "labels.png", values)


def after_clicks(work, corners):
    for corner in corners:
        work = clicked(work, *corner)
    return work


# --- outlines


def test_a_click_on_the_first_corner_closes_the_outline(photo):
    work = after_clicks(open_photo(photo), SQUARE)
    assert work.outlines == () and len(work.corners) == 4
    work = clicked(work, 13, 12)
    assert work.corners == () and len(work.outlines) == 1
    found = instances(work)
    expected = np.zeros((40, 60), bool)
    expected[10:30, 10:30] = True
    assert found.ids == (1,) and found.image_id == "grey" and found.file_name == "grey.png"
    # The outline runs through the middles of pixels: those on two of the sides are half inside.
    assert found.modal[0][11:30, 11:30].all() and (found.modal[0] & ~expected).sum() <= 41


def test_clicks_on_a_shrunk_photograph_count_on_the_photograph(tmp_path):
    large = save_png(tmp_path / "large.png", np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    work = closed(after_clicks(open_photo(large), SQUARE))
    assert shown(work).shape == (SIDE // 2, SIDE, 3)
    (rows, columns) = np.nonzero(instances(work).modal[0])
    assert (rows.min(), columns.min()) == (21, 21) and abs(len(rows) - 40 * 40) <= 81


def test_outlines_follow_the_masks_of_a_file(photo, labels):
    work = closed(after_clicks(with_masks(open_photo(photo), [labels]), SQUARE))
    found = instances(work)
    assert found.ids == (3, 7, 8)
    assert found.modal.sum(axis=(1, 2)).tolist()[:2] == [200, 100]
    assert instances(with_masks(work, [])).ids == (1,)


def test_what_is_taken_back_is_the_last_corner_then_the_last_outline(photo):
    work = clicked(closed(after_clicks(open_photo(photo), SQUARE)), 5, 5)
    assert taken_back(work).corners == () and len(taken_back(work).outlines) == 1
    assert instances(taken_back(taken_back(work))) is None
    assert taken_back(open_photo(photo)).outlines == ()


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (SQUARE[:2], "three corners or more, this one has 2"),
        (((5, 5), (25, 5), (45, 5)), "no pixel in this outline"),
    ],
)
def test_an_outline_without_an_inside_is_refused(photo, corners, message):
    with pytest.raises(ValueError, match=message):
        closed(after_clicks(open_photo(photo), corners))


def test_an_outline_that_is_not_closed_is_not_left_out(photo):
    with pytest.raises(ValueError, match="an outline is not closed"):
        instances(after_clicks(open_photo(photo), SQUARE))


def test_corners_and_masks_are_drawn(photo, labels):
    bare = shown(open_photo(photo))
    tinted = shown(with_masks(open_photo(photo), [labels]))
    dotted = shown(clicked(open_photo(photo), 50, 10))
    assert (bare == 120).all()
    assert (tinted[6:24, 6:14] != bare[6:24, 6:14]).any() and (tinted[35:] == 120).all()
    assert dotted[10, 50].tolist() == [255, 255, 255] and (dotted[:, :40] == 120).all()


# --- files of masks


def test_several_png_files_are_an_instance_each(photo, tmp_path):
    files = []
    for name in ("cup", "plate"):
        mask = np.zeros((40, 60), np.uint8)
        mask[: 10 + len(files), :10] = 255
        files.append(save_png(tmp_path / f"{name}.png", mask))
    found = with_masks(open_photo(photo), files).given
    assert found.names == ("cup", "plate")
    assert found.modal.sum(axis=(1, 2)).tolist() == [100, 110]


def test_several_files_of_another_kind_are_refused(photo, labels):
    with pytest.raises(ValueError, match=r"one for each instance; got a\.json among 2 files"):
        with_masks(open_photo(photo), [labels, labels.with_name("a.json")])


def test_masks_of_another_size_are_refused(photo, tmp_path):
    other = save_png(tmp_path / "other.png", np.eye(30, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"other\.png: .*30.*40"):
        with_masks(open_photo(photo), [other])


def test_a_damaged_mask_among_several_is_named_as_its_owner_names_it(photo, labels):
    (labels.parent / "broken.png").write_bytes(b"no PNG")
    with pytest.raises(ValueError, match=r"^broken\.png: not a readable image"):
        with_masks(open_photo(photo), [labels, labels.parent / "broken.png"])


def test_what_the_reader_leaves_out_is_told(photo, tmp_path):
    values = np.zeros((40, 60), np.uint8)
    values[:5], values[10:20], values[30:] = 255, 1, 2
    work = with_masks(open_photo(photo), [save_png(tmp_path / "voc.png", values)])
    assert work.given.ids == (1, 2)
    assert work.notes == ("voc.png: the value 255 is void, no instance",)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "note.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"^note\.jpg: not a readable image"):
        open_photo(tmp_path / "note.jpg")


# --- answers


def test_an_answer_holds_everything_to_download(labels, photo, tmp_path):
    pytest.importorskip("onnxruntime")
    work = closed(after_clicks(with_masks(open_photo(photo), [labels]), SQUARE))
    found = answer(work, tmp_path / "answer", LITE)
    result = load(tmp_path / "answer" / "grey" / "order_results.json")
    assert result.ids == (3, 7, 8) and result.occlusion.shape == (3, 3)
    assert found.sentences == str(result)
    assert model_zoo.ORDERS_MASKS in found.about and found.about.startswith("instances: input")
    headings = {file.name: heading for file, heading in found.panels}
    assert headings["occlusion.png"] == "who occludes whom" and len(headings) >= 4
    assert headings["disparity_color.png"] == "disparity: bright is near"
    with zipfile.ZipFile(found.files[-1]) as archive:
        names = {"order_results.json", "layers/layers.json", "occlusion.graphml", "disparity.png"}
        assert names <= {*archive.namelist()}


@pytest.mark.parametrize(
    ("detector", "message"),
    [(None, "give masks, or outline"), ("evil.py", "nothing here finds .*'evil.py'")],
)
def test_only_offered_detectors_find_instances(photo, tmp_path, monkeypatch, detector, message):
    """A name that ends in .py would be run as code, so no request may bring one."""
    monkeypatch.setattr("occ_order.apps.drop.answer.installed", lambda *names: False)
    with pytest.raises(ValueError, match=message):
        answer(open_photo(photo), tmp_path / "answer", LITE, detector=detector)


def test_models_that_order_input_masks_are_offered():
    assert models("onnx") == []
    pytest.importorskip("detectron2")
    offered = models()
    assert {model_zoo.ORDERS_MASKS, "order_head_given_masks_scenes"} <= set(offered)
    assert "sln_mini_scenes" not in offered
    own = Settings(write_everything, detector="mine.json")
    assert detectors(own)[:2] == ["mine.json", model_zoo.FINDS_INSTANCES]


# --- the server


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"host": "127.0.0.1:80"}, 200),
        ("/", {"host": "localhost:80", "origin": "http://localhost:80"}, 200),
        ("/", {}, 403),
        ("/", {"host": "elsewhere.example:80"}, 403),
        ("/", {"host": "127.0.0.1:81"}, 403),
        ("/", {"host": "127.0.0.1:80", "origin": "http://elsewhere.example"}, 403),
        ("/", {"host": "127.0.0.1:80", "origin": "null"}, 403),
        ("/gradio_api/file=https://elsewhere.example/a", {"host": "127.0.0.1:80"}, 403),
        ("/gradio_api/file=HTTP%3A//elsewhere.example/a", {"host": "127.0.0.1:80"}, 403),
    ],
)
def test_only_the_page_itself_is_answered(path, headers, status):
    async def inner(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    sent = []

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": pairs}
    asyncio.run(Guard(inner, 80)(scope, None, send))
    assert sent[0]["status"] == status
    policy = dict(sent[0]["headers"]).get(b"content-security-policy", b"")
    assert (b"connect-src 'self'" in policy) == (status == 200)


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["app"]) == 2
    said = capsys.readouterr().err
    assert said == 'occ-order app: error: the page needs gradio: pip install "occ_order[app]"\n'


@contextmanager
def served(folder: Path):
    """A server of the page in a thread, by host and port."""
    server = Server(folder, LITE)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield urlsplit(server.address).netloc
    finally:
        server.stop()
        thread.join(30)


def ask(host: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_no_file_outside_of_its_folder_is_served(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    for name in ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # what the page sets is undone after the test
    monkeypatch.chdir(tmp_path)
    folder, secret = tmp_path / "folder", tmp_path / "secret.txt"
    folder.mkdir()
    secret.write_text("secret")
    form = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="mine.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nmine\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with served(folder) as host:
        status, answered = ask(host, "/gradio_api/upload", form, **kind)
        (uploaded,) = json.loads(answered)
        assert status == 200 and Path(uploaded).is_relative_to(folder)
        assert ask(host, f"/gradio_api/file={uploaded}") == (200, b"mine")
        for path in (secret, "secret.txt", f"{folder}/../secret.txt", COFFEE / "coffee.jpg"):
            status, answered = ask(host, f"/gradio_api/file={path}")
            assert status == 403 and b"secret" not in answered.replace(b"secret.txt", b"")
        assert ask(host, "/", Origin="http://elsewhere.example")[0] == 403


def test_a_refusal_names_the_file_as_its_owner_does(photo, tmp_path):
    pytest.importorskip("gradio")
    from occ_order.apps.drop.page import opened, outlined, told

    other = save_png(tmp_path / "<other>.png", np.eye(30, dtype=np.uint8))
    work, view, said, _ = opened(str(photo), [str(other)])
    assert view.shape == (40, 60, 3) and work.given is None
    assert 'role="alert"' in said and ">&lt;other&gt;.png: " in said and str(tmp_path) not in said
    choices = ("the default", None, False)
    refused = told(tmp_path, LITE, work, str(photo), [str(other)], *choices)
    assert refused[0] == said and refused[2:] == (None, "", None)
    for empty in (told(tmp_path, LITE, None, None, None, *choices), outlined(closed, None)):
        assert any("there is no photograph yet" in str(part) for part in empty)


# --- in a browser


def test_a_photograph_is_dropped_in_chromium(page, tmp_path):
    for library in ("gradio", "onnxruntime", "matplotlib"):
        pytest.importorskip(library)
    command = ["-m", "occ_order", "app", "--port", "0", "--backend", "onnx"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        address = program.stdout.readline().split()[2]
        page.open(address)
        page.wait("document.querySelector('#photo input[type=file]')")
        page.upload("#photo input[type=file]", COFFEE / "coffee.jpg")
        page.wait("document.querySelector('#view img')")
        page.upload("#masks input[type=file]", COFFEE / "coffee.json")
        page.wait("document.querySelectorAll('#masks .file').length")
        page.click("#run")
        sentences = "document.querySelector('#sentences textarea')?.value"
        page.wait(f"{sentences}?.includes('cup 1 occludes saucer 3')")
        page.wait("[...document.querySelectorAll('#panels img')].filter(i => i.width).length > 3")
        shown = "document.querySelector('#downloads')?.textContent.replace(/\\s/g, '')"
        page.wait(f"{shown}?.includes('coffee.zip')")
        elsewhere = page.run(
            "performance.getEntriesByType('resource').map(e => new URL(e.name, location))"
            ".filter(u => u.protocol.startsWith('http') && u.host !== location.host).map(String)"
        )
        assert elsewhere == []
        page.call("Page.navigate", url="about:blank")  # it asks its server again and again
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(60)
    assert program.returncode == 0
    assert {file.name for file in tmp_path.iterdir()} <= {".ses"}  # which ONNX Runtime writes
