"""`occ-order predict --shard-size`: results of one model alone, no image that stops others."""

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from occ_order import model_zoo  # noqa: E402
from occ_order.cli import main  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/OrderHead/scenes/order_head.yaml"
SMALL = ["INPUT.MIN_SIZE_TEST", "64"]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.pth"
    shutil.copyfile(model_zoo.zoo.checkpoint_file("order_head_scenes"), path)
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        Image.new("RGB", (48, 40), (80 * k, 10, 200)).save(folder / f"{k}.png")
    return folder


def command(images, weights, *more):
    opts = ["--opts", "MODEL.WEIGHTS", str(weights), *SMALL]
    places = ["predict", str(images), "--output", str(images.parent / "results")]
    return [*places, "--config-file", str(CONFIG), *opts, "--shard-size", "2", *more]


def test_a_worker_with_other_weights_settings_or_images_is_refused(
    images, weights, monkeypatch, capsys
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(command(images, weights)) == 0
    monkeypatch.setenv("RANK", "1")
    assert main(command(images, weights, "--device", "cpu")) == 0
    before = weights.read_bytes()
    changed = torch.load(weights, weights_only=True)
    name, tensor = next(iter(changed["model"].items()))
    changed["model"][name] = tensor + 1
    torch.save(changed, weights)
    for more in ([], ["--merge"]):
        assert main(command(images, weights, *more)) == 2
        assert "holds the results of another run (settings: " in capsys.readouterr().err
    weights.write_bytes(before)
    other = [*command(images, weights), "--opts", "MODEL.WEIGHTS", str(weights)]
    assert main(other) == 2  # without the size
    copy = weights.with_name("copy.pth")  # where the weights lie does not matter
    shutil.copyfile(weights, copy)
    assert main(command(images, copy, "--merge")) == 0
    results = json.loads((images.parent / "results/order_results.json").read_text())
    assert [image["file_name"] for image in results["images"]] == ["0.png", "1.png", "2.png"]


def test_images_that_cannot_be_read_stop_nothing_and_are_named(images, weights, capsys, caplog):
    strange = io.BytesIO()
    Image.new("RGB", (8, 8)).save(strange, "DDS")
    (images / "dds.png").write_bytes(strange.getvalue())
    (images / "._0.png").write_bytes(b"no image")  # of a disk from macOS
    (images / ".ipynb_checkpoints").mkdir()
    shutil.copy(images / "0.png", images / ".ipynb_checkpoints" / "0.png")
    named = True
    try:
        Path(str(images), "bad\udcff.png").write_bytes(b"x")
    except (OSError, UnicodeEncodeError):  # a file system that takes UTF-8 alone
        named = False
    for more in ([], ["--merge"]):
        assert main(command(images, weights, *more)) == 0
    shown = capsys.readouterr()
    assert "order_results.json: 3 images" in shown.out
    assert "not read: dds.png: " in shown.err and "dds.png: not a readable image" in shown.err
    if named:
        assert r"left out, its name 'bad\udcff.png' is not UTF-8" in caplog.text
