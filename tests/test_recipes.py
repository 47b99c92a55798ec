"""Every training command of the recipe books builds its network and finds its weights.

Networks are built at full size, without memory for their weights (PyTorch's meta device); the
weights come from made-up files that have the names and shapes of the real ones. Commands that
evaluate load as strictly as `tools/train_net.py --eval-only` does.
"""

from __future__ import annotations

import itertools
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

import torchvision  # noqa: E402
from detectron2 import model_zoo  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from occ_order.config import load_cfg  # noqa: E402
from occ_order.engine.checkpoint import OrderCheckpointer  # noqa: E402
from occ_order.engine.checkpoint.convert_resnet import PREFIX, convert_resnet  # noqa: E402
from occ_order.engine.launch import argument_parser  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "projects").glob("*/*.md"))
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"


# --- from a document to its commands


def braces(word: str) -> list[str]:
    """What a shell makes of a word: a{b,c} is ab and ac."""
    parts = re.split(r"\{([^{}]*,[^{}]*)\}", word)
    choices = [part.split(",") if k % 2 else [part] for k, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def named_configs(text: str) -> list[tuple[str, bool]]:
    """(path below configs/, whether it is only evaluated) of every command of a document.

    Commands name a config whole, below the folder that the document calls `C`, or by a NAME in a
    column of a table that stands for a part of a path such as configs/InstaOrder/NAME.yaml.
    """
    folders = re.findall(r"`C` is `configs/(\w+)`", text)
    folder = folders[0] if folders else ""
    patterns = re.findall(r"configs/(\S*)NAME\.yaml", text)
    found, column = [], None
    text = re.sub(r'"\[\[.*?\]\]"', "", text)  # values of options, not what a command runs
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        cells = line.split("|")
        if "`NAME`" in line and len(cells) > 2:
            column = next(k for k, cell in enumerate(cells) if "`NAME`" in cell)
            continue
        column = column if len(cells) > 2 else None
        evaluates = "eval" in line
        names = re.findall(r"`([\w.]+)`", cells[column]) if column and column < len(cells) else []
        for name in names:
            found += [(f"{patterns[0]}{name}.yaml", evaluates)]
        for word in re.findall(r"[\w/.{},]+\.yaml|configs/[\w/]+/\{[\w,]+\}/[\w{},]+\.yaml", line):
            for path in braces(word):
                if path.startswith("C/"):
                    found.append((f"{folder}/{path[2:]}", evaluates))
                elif path.startswith("configs/") and "/tables/" not in path and "NAME" not in path:
                    found.append((path.removeprefix("configs/"), evaluates))
    return sorted(set(found))


RECIPES = sorted(
    {
        (path, evaluates)
        for document in DOCUMENTS
        for path, evaluates in named_configs(document.read_text(encoding="utf-8"))
    }
)


def test_commands_are_found():
    text = (
        "`C` is `configs/A`.\n| a | `NAME` |\n|---|---|\n| b | `x` |\n"
        "| c | `y`, `--eval-only` |\n\n`configs/B/NAME.yaml` or `z`\n"
        "`train_net.py --config-file C/k/{u,v}.yaml`, *eval*\npython configs/D/w.yaml\n"
        "`configs/{E,F}/w.yaml`, configs/tables/t.yaml"
    )
    assert named_configs(text) == [
        *(("A/k/u.yaml", True), ("A/k/v.yaml", True), ("B/x.yaml", False), ("B/y.yaml", True)),
        *(("D/w.yaml", False), ("E/w.yaml", False), ("F/w.yaml", False)),
    ]
    names = {path for path, _ in RECIPES}
    assert {
        *("InstaOrder/instaorder_net_o_m.yaml", "InstaDepthNet/midas_diw.yaml"),
        *("OOSIS/kins/table6_lambda_40.yaml", "SLN/sln_R50_encoder_cocoa.yaml"),
        *("KINS/pcnet_m.yaml", "OOSIS/kins/table3b_combo.yaml"),
    } <= names
    assert len(names) > 55


# --- made-up files


def caffe2_resnet(blocks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The blobs of Detectron2's ImageNetPretrained/MSRA files: a ResNet with bottleneck blocks."""
    shapes: dict[str, tuple[int, ...]] = {"conv1_w": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}_bn_{kind}": (channels,) for kind in "sb"})

    norm("res_conv1", 64)
    before = 64
    for stage, count in enumerate(blocks, start=2):
        width, after = 32 * 2 ** (stage - 1), 128 * 2 ** (stage - 1)
        for block in range(count):
            sizes = {"2a": (width, before, 1, 1), "2b": (width, width, 3, 3)}
            sizes["2c"] = (after, width, 1, 1)
            if block == 0:
                sizes["1"] = (after, before, 1, 1)
            for branch, size in sizes.items():
                shapes[f"res{stage}_{block}_branch{branch}_w"] = size
                norm(f"res{stage}_{block}_branch{branch}", size[0])
            before = after
    shapes.update(fc1000_w=(1000, before), fc1000_b=(1000,))
    return {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}


def network(cfg):
    """A network without memory for its weights."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def shapes_of(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


def deeplab_resnet() -> dict[str, np.ndarray]:
    """The ResNet with three 3 x 3 convolutions as stem, in Detectron2's names."""
    model = network(load_cfg(ROOT / "configs/OOSIS/kins/oosis_R50.yaml", ["MODEL.WEIGHTS", ""]))
    return {name: np.zeros(shape, np.float16) for name, shape in shapes_of(model.backbone).items()}


def mask_rcnn() -> dict[str, np.ndarray]:
    model = network(model_zoo.get_config(f"{MASK_RCNN}.yaml"))
    return {name: np.zeros(shape, np.float16) for name, shape in shapes_of(model).items()}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """A cache in which Detectron2 finds its weights, so that it downloads none."""
    cache = tmp_path_factory.mktemp("cache")
    zoo = {"__author__": "Detectron2 Model Zoo"}
    files = {
        "ImageNetPretrained/MSRA/R-50.pkl": lambda: caffe2_resnet((3, 4, 6, 3)),
        "ImageNetPretrained/MSRA/R-101.pkl": lambda: caffe2_resnet((3, 4, 23, 3)),
        "DeepLab/R-52.pkl": lambda: {
            "model": deeplab_resnet(),
            "__author__": "torchvision",
            "matching_heuristics": True,
        },
        f"{MASK_RCNN}/137849600/model_final_f10217.pkl": lambda: {"model": mask_rcnn(), **zoo},
    }
    for name, make in files.items():
        path = cache / "detectron2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(make(), 2))
    return cache


def stored(folder: Path, name: str, shapes: dict[str, torch.Size]) -> str:
    """A checkpoint of one zero for each weight, expanded to its shape."""
    weights = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    torch.save({"model": weights}, folder / name)
    return str(folder / name)


def midas_shapes() -> dict[str, torch.Size]:
    return shapes_of(network(load_cfg(ROOT / "configs/InstaDepthNet/midas_instaorder.yaml")))


def resnet_shapes() -> dict[str, torch.Size]:
    """torchvision's ResNet-50 as the start of a network that sees five channels."""
    with torch.device("meta"):
        weights = torchvision.models.resnet50(weights=None).state_dict()
        return {name: value.shape for name, value in convert_resnet(weights, 5).items()}


# --- the commands


class Recording(OrderCheckpointer):
    """Keeps the names of the weights that a file did not have."""

    missing: list[str]

    def _load_model(self, checkpoint):
        result = super()._load_model(checkpoint)
        self.missing = [*result.missing_keys, *(name for name, _, _ in result.incorrect_shapes)]
        return result


def pretrained(model: torch.nn.Module) -> tuple[str, ...]:
    """How the names of those weights begin that a training does not start from scratch."""
    inner = [f"{name}." for name, _ in model.named_modules() if name.endswith("bottom_up")]
    return (*(inner or ["backbone."]), "disparity_net.", PREFIX)


def trained_by(file: Path) -> Path:
    """The config whose checkpoint a row takes, as the first lines of its file say."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), file.read_text().splitlines())
    named = re.findall(r"checkpoint of ([\w/]+\.yaml)", " ".join(lines).replace("# ", ""))
    return file.parent / named[0] if named else file


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize(
    ("name", "evaluates"), RECIPES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_command_of_a_recipe_starts(name, evaluates, downloads, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(downloads))
    monkeypatch.chdir(tmp_path)
    stored(tmp_path, "midas_v21.pth", midas_shapes())
    stored(tmp_path, "resnet50_pairs.pth", resnet_shapes())
    file = ROOT / "configs" / name
    cfg = load_cfg(file, argument_parser().parse_args([]).opts)
    model = network(cfg)
    if evaluates and trained_by(file) != file:
        shapes = shapes_of(network(load_cfg(trained_by(file))))
        weights = stored(tmp_path, "model_final.pth", shapes)
    else:
        weights = cfg.MODEL.WEIGHTS
    if not weights:
        return
    checkpointer = Recording(model, strict=evaluates)
    checkpointer.load(weights)
    assert not [name for name in checkpointer.missing if name.startswith(pretrained(model))]


def test_a_row_of_midas_takes_the_weights_of_midas_whole():
    """`--eval-only` is strict: a network with order heads would lack their weights."""
    for name in ("midas_instaorder", "midas_diw", "midas_kitti"):
        cfg = load_cfg(ROOT / f"configs/InstaDepthNet/{name}.yaml")
        assert shapes_of(network(cfg)) == midas_shapes()
