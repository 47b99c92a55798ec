"""`occ-order predict --shard`: what one process says, in parts, of one model alone."""

import io
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

import occ_order
from occ_order.cli import main
from occ_order.commands import predict_collection

ROOT = Path(occ_order.__file__).parents[1]
AREA = ["--config-file", str(ROOT / "configs/InstaOrder/scenes/area.yaml")]


@pytest.fixture
def place(tmp_path):
    """Seven images with label maps in two folders, two images of one name, one damaged."""
    for k, name in enumerate(["a", "b", "c", "x/a", "x/d", "x/e", "y"]):
        for kind in ("images", "labels"):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 40), (30 * k, 10, 200)).save(tmp_path / f"images/{name}.png")
        labels = np.zeros((40, 48), np.uint8)
        labels[4:20, 4 : 12 + k], labels[12:36, 20:40] = 1, 2
        Image.fromarray(labels).save(tmp_path / "labels" / f"{Path(name).name}.png")
    (tmp_path / "images" / "c.png").write_bytes(b"<html>")
    return tmp_path


def words(place, *more, output="out", images="images"):
    found = ["predict", str(place / images), "--masks", str(place / "labels"), *AREA]
    return [*found, "--output", str(place / output), *more]


def results(place, output="out"):
    return (place / output / "order_results.json").read_bytes()


def times(place):
    return {file.name: file.stat().st_mtime_ns for file in (place / "out" / "parts").iterdir()}


def failures(text):
    """Lines of the standard error output, which also tells progress, that name an image."""
    return [line for line in text.splitlines() if ".png: " in line]


@pytest.fixture
def alone(place, capsys):
    """What one process writes, which images it names, and its first line."""
    assert main(words(place, "--json-only", output="alone")) == 1
    shown = capsys.readouterr()
    return results(place, "alone"), failures(shown.err), shown.out.splitlines()[0]


def test_shards_write_what_one_process_writes(place, alone, capsys):
    for k, told in ((2, "3 of 4 parts are"), (0, "1 of 4 parts are"), (1, "6 images, 1 failed")):
        assert not (place / "out" / "order_results.json").exists()
        status = main(words(place, "--part-size", "2", "--shard", f"{k}/3"))
        shown = capsys.readouterr()
        assert status == (1 if k == 1 else 0) and told in shown.out
        assert shown.out.splitlines()[0] == alone[2]
    assert results(place) == alone[0] and failures(shown.err) == alone[1]
    assert len(times(place)) == 4


def test_what_is_there_is_not_made_again(place, alone, monkeypatch):
    again = words(place, "--part-size", "2", "--shard", "0/1")
    assert main(again) == 1
    made = times(place)
    (place / "out" / "parts" / "000002.json").unlink()
    (place / "out" / "order_results.json").unlink()
    assert main(again) == 1
    now = times(place)
    assert {name for name in made if made[name] != now[name]} == {"000002.json"}
    assert results(place) == alone[0]
    monkeypatch.setattr(predict_collection, "build_predict", None)  # no model is needed any more
    assert main(again) == 1 and times(place) == now


def test_what_could_not_be_read_is_read_by_the_next_run(place, monkeypatch, capsys):
    real = predict_collection.result_of

    def away(chain, one, options):
        if one.name == "b":
            raise OSError(5, "Input/output error", str(one.file))
        return real(chain, one, options)

    (place / "images" / "c.png").unlink()
    again = words(place, "--part-size", "2", "--shard", "0/1")
    monkeypatch.setattr(predict_collection, "result_of", away)
    assert main(again) == 1
    assert "5 images, 1 failed" in capsys.readouterr().out
    assert set(times(place)) == {"000000.partial.json", "000001.json", "000002.json"}
    monkeypatch.setattr(predict_collection, "result_of", real)
    assert main(again) == 0
    assert set(times(place)) == {"000000.json", "000001.json", "000002.json"}
    assert main(words(place, "--json-only", output="alone")) == 0
    assert results(place) == results(place, "alone")


def test_a_killed_process_loses_the_part_in_hand_alone(place, alone, forked, monkeypatch):
    command = words(place, "--part-size", "2", "--shard", "0/1")
    real = predict_collection.result_of
    theirs, ours = os.pipe()

    def slow(chain, one, options):
        if one.name == "a_2":
            os.write(ours, b"there")
            time.sleep(600)
        return real(chain, one, options)

    with monkeypatch.context() as patch:
        patch.setattr(predict_collection, "result_of", slow)
        process = forked(main, command)
    os.close(ours)
    assert os.read(theirs, 5) == b"there"
    os.close(theirs)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    made = times(place)
    assert set(made) == {"000000.json"}
    time.sleep(0.01)
    assert main(command) == 1
    assert times(place)["000000.json"] == made["000000.json"]
    assert results(place) == alone[0]


@pytest.mark.parametrize(
    "changes", ["masks", "same size", "options", "model", "images", "part size"]
)
def test_a_run_that_would_predict_something_else_is_refused(place, capsys, changes):
    command = words(place, "--part-size", "4", "--shard", "0/2")
    assert main([*command, "--device", "cpu"]) == 0
    if changes == "masks":
        shutil.copy(place / "labels" / "a.png", place / "labels" / "more.png")
    elif changes == "same size":  # in bytes, as of two arrays
        content = (place / "labels" / "a.png").read_bytes()
        (place / "labels" / "a.png").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif changes == "options":
        command.append("--skip-damaged")
    elif changes == "model":
        command += ["--opts", "INPUT.MIN_SIZE_TEST", "64"]
    elif changes == "images":
        (place / "images" / "c.png").write_bytes(b"longer than before")
    else:
        command[command.index("4")] = "3"
    assert main(command) == 2
    assert "holds the results of another run (" in capsys.readouterr().err


def test_an_image_that_changed_since_it_was_predicted_is_named(place, capsys):
    """Of the same size in bytes, so that the plan is the same."""
    command = words(place, "--part-size", "2", "--shard")
    assert main([*command, "0/2"]) == 0
    file = place / "images" / "a.png"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    capsys.readouterr()
    assert main([*command, "1/2"]) == 1  # its images are those that they were
    assert main([*command, "0/2"]) == 2
    part = place / "out" / "parts" / "000000.json"
    assert f"{file}: is another image than the one that {part} was" in capsys.readouterr().err
    part.unlink()
    assert main([*command, "0/2"]) == 1


def test_images_that_cannot_be_read_stop_nothing_and_are_named(place, capsys, caplog):
    strange = io.BytesIO()
    Image.new("RGB", (8, 8)).save(strange, "DDS")
    (place / "images" / "dds.png").write_bytes(strange.getvalue())
    (place / "images" / "._0.png").write_bytes(b"no image")  # of a disk from macOS
    (place / "images" / ".ipynb_checkpoints").mkdir()
    shutil.copy(place / "images" / "a.png", place / "images" / ".ipynb_checkpoints" / "0.png")
    named = True
    try:
        Path(str(place / "images"), "bad\udcff.png").write_bytes(b"x")
    except (OSError, UnicodeEncodeError):  # a file system that takes UTF-8 alone
        named = False
    assert main(words(place, "--shard", "0/1")) == 1
    shown = capsys.readouterr()
    assert "6 images, 2 failed" in shown.out
    assert "dds.png: not a readable image" in shown.err and "c.png: not a readable" in shown.err
    if named:
        assert r"skipped, its name 'bad\udcff.png' is not UTF-8" in caplog.text


def test_a_file_of_masks_that_is_wrong_as_a_whole_ends_the_run(place, capsys):
    (place / "masks.json").write_text("{}")
    command = words(place, "--shard", "0/1")
    command[command.index(str(place / "labels"))] = str(place / "masks.json")
    assert main(command) == 2
    assert "masks.json: expected COCO instances" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "3/3"], "I from 0 to N - 1, got 3/3"),
        (["--shard", "1"], "I from 0 to N - 1, got 1"),
        (["--shard", "0/2", "--engine", "ray"], "distributes the images itself"),
        (["--shard", "0/2", "--graphs"], "--psd and --graphs require a single process"),
        (["--address", "auto"], "--address and --workers belong to --engine ray"),
    ],
)
def test_choices_that_exclude_each_other(place, capsys, more, message):
    with pytest.raises(SystemExit, match="2"):
        main(words(place, *more))
    assert message in capsys.readouterr().err


def test_without_ray_the_error_says_what_to_install(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words(place, "--engine", "ray")) == 2
    message = 'error: --engine ray needs ray: pip install "occ_order[ray]"\n'
    assert capsys.readouterr().err.endswith(message)


def test_videos_have_one_process(place, capsys):
    (place / "clip.mp4").write_bytes(b"no video")
    assert main(words(place, "--shard", "0/2", images="clip.mp4")) == 2
    assert "clip.mp4: videos require a single process" in capsys.readouterr().err
