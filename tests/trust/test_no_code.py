"""No file that is read, of any kind, runs code, starts a program or opens a connection.

Every test here runs under `watched`: it listens to Python's own audit events, which no `except` can
swallow, for the import of a pickled global, a program, a connection and a look-up of a host.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import pickle
import random
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from occ_order import model_zoo  # noqa: E402
from occ_order.config import get_cfg, load_cfg  # noqa: E402
from occ_order.engine.checkpoint import (  # noqa: E402
    CheckpointError,
    OrderCheckpointer,
    read_checkpoint,
)
from occ_order.engine.launch import argument_parser, main, setup  # noqa: E402
from occ_order.engine.predictor import OrderPredictor  # noqa: E402
from occ_order.engine.trainer import Trainer  # noqa: E402
from occ_order.files import (  # noqa: E402
    UnreadableImageError,  # noqa: E402
    image_size,
    load_image,
)
from occ_order.formats import read_depth_png  # noqa: E402
from occ_order.formats.layered_image import FORMAT, load_layers  # noqa: E402
from occ_order.formats.sem_dist import load_sem_dist  # noqa: E402
from occ_order.formats.user_masks import load_masks  # noqa: E402
from occ_order.methods.build import build_mapper  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile"),
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"),
    *("ftplib.connect", "http.client.connect", "webbrowser.open"),
}
DATA = ("numpy", "collections", "_codecs", "torch")
"""Modules whose globals a pickle of plain arrays names; Detectron2 packs its records this way."""


class Watch:
    """Audit events of what must not happen, while it is on."""

    def __init__(self):
        self.on, self.seen = False, []

    def hook(self, event, args):
        if not self.on:
            return
        pickled = event == "pickle.find_class" and args[0].split(".")[0] not in DATA
        if pickled or event in FORBIDDEN:
            self.seen.append((event, str(args)[:200]))


WATCH = Watch()
sys.addaudithook(WATCH.hook)  # for good: a hook cannot be taken away


@pytest.fixture(autouse=True)
def watched():
    WATCH.seen, WATCH.on = [], True
    yield WATCH
    WATCH.on = False
    assert WATCH.seen == []


class Harmful:
    """Its pickle makes the folder `trace` when it is loaded."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace"
    yield path
    assert not path.exists(), "a file ran code"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_watch_sees_what_it_is_for(tmp_path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / "made")))
    os.system("true")
    assert (tmp_path / "made").is_dir()
    assert [event for event, _ in WATCH.seen] == ["pickle.find_class", "os.system"]
    WATCH.seen.clear()


# --- configs


def proposals(tmp_path, trace):
    """A config that makes Detectron2's loader unpickle a file."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"ids": [1], "boxes": [], "x": Harmful(trace)}))
    text = f"MODEL: {{LOAD_PROPOSALS: True}}\nDATASETS: {{PROPOSAL_FILES_TEST: ['{path}']}}\n"
    return write(tmp_path / "proposals.yaml", text)


REFUSED = {
    "switch": "MODEL: {LOAD_PROPOSALS: True}",
    "train": "DATASETS: {PROPOSAL_FILES_TRAIN: [a.pkl]}",
    "test": "DATASETS: {PROPOSAL_FILES_TEST: [a.pkl]}",
    "http": "DATASETS: {PROPOSAL_FILES_TEST: ['http://127.0.0.1:9/a.pkl']}",
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("where", ["itself", "base"])
def test_row_23_precomputed_proposals_are_refused(tmp_path, case, where):
    path = write(tmp_path / "c.yaml", REFUSED[case])
    if where == "base":
        path = write(tmp_path / "d.yaml", "_BASE_: c.yaml")
    with pytest.raises(ValueError, match=r"\.yaml: (MODEL|DATASETS)\..*proposals are pickles"):
        load_cfg(path)


def test_row_23_proposals_on_the_command_line_are_refused(tmp_path):
    path = write(tmp_path / "c.yaml", "SEED: 1")
    with pytest.raises(ValueError, match="PROPOSAL_FILES_TEST is .*proposals are pickles"):
        load_cfg(path, ["DATASETS.PROPOSAL_FILES_TEST", "['a.pkl']"])


def test_row_23_the_training_command_never_reaches_the_proposals(tmp_path, trace):
    path = str(proposals(tmp_path, trace))
    output = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cpu"]
    for more in ([], ["--eval-only"]):
        args = argument_parser().parse_args(["--config-file", path, *more, *output])
        with pytest.raises(ValueError, match=r"proposals\.yaml: .*proposals are pickles"):
            main(args)
    with pytest.raises(ValueError, match="proposals are pickles"):
        OrderPredictor.from_config(path)


def test_row_23_a_cfg_that_came_another_way_is_refused_where_it_enters(toy, tmp_path, trace):
    toy.write_images(tmp_path)
    cfg = toy.config(tmp_path, tmp_path / "out")
    model = Trainer.build_model(cfg)
    cfg.merge_from_file(str(proposals(tmp_path, trace)))  # Detectron2's way, which checks nothing
    entrances = {
        "trainer": lambda: Trainer(cfg),
        "train": lambda: Trainer.build_train_loader(cfg),
        "loader": lambda: Trainer.build_test_loader(cfg, "toy"),
        "test": lambda: Trainer.test(cfg, model),
        "zoo": lambda: model_zoo.build(cfg),
        "predictor": lambda: OrderPredictor(model, cfg),
    }
    for name, enter in entrances.items():
        with pytest.raises(ValueError, match="proposals are pickles"):
            enter()
            pytest.fail(name)


ADDRESSES = [
    "http://127.0.0.1:9/a.pth",
    "https://127.0.0.1:9/a.pth",
    "ftp://127.0.0.1:9/a.pth",
    "file:///etc/passwd",
    "catalog://ImageNetPretrained/MSRA/R-50",
    "s3://a/b.pth",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "setting", ["MODEL: {WEIGHTS: '%s'}", "TEST: {AMODAL: {ORDER_NETS: [[a, b.yaml, '%s']]}}"]
)
def test_row_23_a_config_file_names_no_address(tmp_path, address, setting):
    path = write(tmp_path / "c.yaml", setting % address)
    with pytest.raises(ValueError, match=r"c\.yaml: .*(on the command line|must begin with)"):
        load_cfg(path)


def test_row_23_addresses_of_the_command_line_and_of_detectron2s_zoo_are_taken(tmp_path):
    path = write(tmp_path / "c.yaml", "MODEL: {WEIGHTS: 'detectron2://a/b.pkl'}")
    assert load_cfg(path).MODEL.WEIGHTS == "detectron2://a/b.pkl"
    address = "https://127.0.0.1:9/a.pth"
    cfg = load_cfg(path, ["MODEL.WEIGHTS", address])
    assert address == cfg.MODEL.WEIGHTS


@pytest.mark.parametrize(
    "address",
    [
        "https://a.b/../../.bashrc",
        "https://a.b/%2e%2e/.bashrc",
        "https://a.b/..\\..\\x.pth",
        "detectron2://../../x.pkl",
        *ADDRESSES[2:],
    ],
)
def test_row_22_an_address_that_would_be_written_elsewhere_is_never_fetched(tmp_path, address):
    """iopath keeps a download in the folder that the path of its address names."""
    model = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="checkpoint: an address must"):
        OrderCheckpointer(model).load(address)
    cfg = get_cfg()
    cfg.MODEL.WEIGHTS = address
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS: an address must"):
        Trainer(cfg)


def test_row_23_a_config_file_sends_nothing_to_wandb(tmp_path):
    path = write(tmp_path / "c.yaml", "LOGGING: {WANDB_PROJECT: theirs}")
    args = argument_parser().parse_args(["--config-file", str(path)])
    with pytest.raises(ValueError, match=r"c\.yaml: LOGGING\.WANDB_PROJECT is 'theirs'"):
        setup(args)


# --- checkpoints and arrays


def checkpoint_with_code(trace):
    file = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(1)}, "x": Harmful(trace)}, file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.pth", "a.pth.tar", "a.pyth", "a.pt", "a.bin", "a", "a.pkl"])
@pytest.mark.parametrize("content", ["torch", "pickle"])
def test_row_22_no_checkpoint_runs_code(tmp_path, trace, name, content):
    evil = {"torch": checkpoint_with_code, "pickle": lambda t: pickle.dumps(Harmful(t))}[content]
    path = tmp_path / name
    path.write_bytes(evil(trace))
    with pytest.raises(CheckpointError, match=f"{name}: "):
        read_checkpoint(path)


def test_row_22_safetensors_that_are_none(tmp_path, trace):
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"
    path.write_bytes(checkpoint_with_code(trace))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_checkpoint(path)


def test_row_01_sem_dist_files_hold_no_objects(tmp_path, trace):
    array = np.empty((1, 1, 1), object)
    array[0, 0, 0] = Harmful(trace)
    np.savez(tmp_path / "objects.npz", sem_dist=array)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Harmful(trace)))
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("sem_dist.npy", pickle.dumps(Harmful(trace)))
    (tmp_path / "eps.png").write_bytes(EPS)
    for path in sorted(tmp_path.glob("*.npz")) + [tmp_path / "eps.png"]:
        with pytest.raises(ValueError, match=path.name):
            load_sem_dist(path, height=1)


# --- images: formats whose readers start programs, or that nobody asked for


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 6
%%EndComments
newpath 0 0 moveto 8 6 lineto stroke
showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program gs in the path, which Pillow would run for an EPS file."""
    program = write(tmp_path / "bin" / "gs", "#!/bin/sh\necho 10.0\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(program))


def as_dds():
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, "DDS")
    return file.getvalue()


UNWANTED = {"EPS": EPS, "DDS": as_dds()}


@pytest.mark.parametrize("kind", UNWANTED)
@pytest.mark.usefixtures("ghostscript")
def test_row_01_only_known_formats_are_opened_whatever_the_name(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(UNWANTED[kind])
    layers = {"format": FORMAT, "height": 6, "width": 8, "layers": [{"file": "a.png"}]}
    write(tmp_path / "layers.json", json.dumps(layers))
    cfg = get_cfg()
    cfg.INPUT.MAPPER = ""
    record = {"file_name": str(path), "image_id": 1, "height": 6, "width": 8, "annotations": []}
    shape = {"points": [[0, 0], [7, 5]], "shape_type": "mask", "label": "a"}
    shape["mask"] = base64.b64encode(UNWANTED[kind]).decode()
    page = {"imagePath": "a.png", "imageHeight": 6, "imageWidth": 8, "shapes": [shape]}
    write(tmp_path / "page.json", json.dumps(page))
    readers = {
        "image": lambda: load_image(path),
        "size": lambda: image_size(path),
        "depth": lambda: read_depth_png(path),
        "label map": lambda: load_masks(path, (6, 8)),
        "folder of masks": lambda: load_masks(tmp_path, (6, 8)),
        "shape": lambda: load_masks(tmp_path / "page.json", (6, 8)),
        "layers": lambda: load_layers(tmp_path),
        "detector": lambda: build_mapper(cfg, is_train=False)(record),
    }
    for name, read in readers.items():
        with pytest.raises(ValueError, match=r"not a readable .*no .*PNG.* file"):
            read()
            pytest.fail(name)
    with pytest.raises(UnreadableImageError):
        readers["detector"]()


def test_row_01_images_are_opened_in_one_place():
    """Another `Image.open` would read every format that Pillow knows."""
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("occ_order", "demo", "datasets")
        for path in ROOT.glob(f"{folder}/**/*.py")
        if "Image.open(" in path.read_text(encoding="utf-8")
    ]
    assert found == ["occ_order/files.py"]


# --- everything else that is read


def load_fuzzer():
    spec = importlib.util.spec_from_file_location("no_code_fuzz", ROOT / "tools/fuzz_readers.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


STRANGE = ["http://127.0.0.1:9/a.png", "|touch x", "$(touch x)", "!!python/name:os.system", "ftp:a"]


def test_row_08_no_reader_runs_code_or_reaches_out(tmp_path, trace):
    """Each reader gets a pickle, and its own files with addresses and commands in their texts."""
    fuzzer = load_fuzzer()
    draw = random.Random(0)
    read = []
    for target in fuzzer.make_targets(tmp_path).values():
        end = b"\n" if target.suffix == ".jsonl" else b""  # a line without an end does not count
        inputs = [data + end for data in (pickle.dumps(Harmful(trace)), EPS, as_dds())]
        for seed in target.seeds:
            inputs += [altered(seed, text, draw) for text in STRANGE]
        path = str(tmp_path / f"input{target.suffix}")
        found = [fuzzer.execute(target, data, path, 10) for data in inputs]
        assert set(found) <= {"read", "refused"}, (target.name, found)
        if target.name != "validate":  # which lists what is wrong
            assert found[:3] == ["refused"] * 3, target.name
        read += found
    assert read.count("read") > 20  # the altered files are not all refused at once


def altered(content, text, draw):
    """A JSON file with one of its texts replaced; another file with its first field replaced."""
    try:
        tree = json.loads(content)
    except ValueError:
        return text.encode() + content[content.find(b",") :]
    places = list(texts(tree))
    if not places:
        return json.dumps({**tree, "counts": text} if isinstance(tree, dict) else [text]).encode()
    holder, key = draw.choice(places)
    holder[key] = text
    return json.dumps(tree).encode()


def texts(tree):
    """Where the texts of a JSON tree are: (container, key)."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, str):
            yield tree, key
        elif isinstance(value, dict | list):
            yield from texts(value)
