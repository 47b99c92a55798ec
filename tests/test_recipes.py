"""Every row of the tables for the papers' own data builds its network and finds its weights.

Networks are built at full size, without memory for their weights (PyTorch's meta device); the
weights come from made-up files that have the names and shapes of the real ones. Rows that evaluate
load as strictly as `occ-order eval` does.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

import torchvision  # noqa: E402
from detectron2 import model_zoo  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

import occ_order.engine.trainer  # noqa: E402, F401  (fills Detectron2's registries)
from occ_order.commands.table import read_table, settings_of, sources_of, trained  # noqa: E402
from occ_order.config import load_cfg  # noqa: E402
from occ_order.engine.checkpoint import OrderCheckpointer  # noqa: E402
from occ_order.engine.checkpoint.convert_resnet import PREFIX, convert_resnet  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "projects").glob("*/*.md"))
TABLES = sorted((ROOT / "configs/tables").glob("*_paper.yaml"))
"""Tables of the papers' own data; those of generated scenes are run as they are."""
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"

ROWS = {(path.stem, row["name"]): row for path in TABLES for row in read_table(path)["rows"]}


def test_documents_name_every_row_of_the_papers():
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert len(ROWS) > 90 and not [row for _, row in ROWS if f"`{row}`" not in text]


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


def unchanged(tensor, *_, **__):
    """Stands for a method that fills a tensor, which takes long without memory, too."""
    return tensor


def network(cfg):
    """A network without memory for its weights."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    drawn = dict.fromkeys(("normal_", "uniform_"), unchanged)
    with torch.device("meta"), mock.patch.multiple(torch.Tensor, **drawn):
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


@pytest.fixture(scope="session")
def starts(tmp_path_factory):
    """The files that a recipe makes before its training."""
    folder = tmp_path_factory.mktemp("starts")
    stored(folder, "midas_v21.pth", midas_shapes())
    stored(folder, "resnet50_pairs.pth", resnet_shapes())
    return folder


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


def cfg_of(row: dict, output: Path):
    """A row's settings; the weights of an order network beside a detector are not looked for."""
    words = settings_of(row, output)
    pairs = zip(words[::2], words[1::2], strict=True)
    kept = [word for pair in pairs if not pair[0].endswith(".ORDER_WEIGHTS") for word in pair]
    return load_cfg(ROOT / row["config"], kept)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize(("table", "name"), ROWS)
def test_a_row_of_the_papers_starts(table, name, downloads, starts, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(downloads))
    monkeypatch.chdir(starts)
    row = ROWS[table, name]
    cfg = cfg_of(row, tmp_path)
    model = network(cfg)
    weights = cfg.MODEL.WEIGHTS
    for source in sources_of(row):
        shapes = shapes_of(network(cfg_of(ROWS[table, source], tmp_path)))
        weights = stored(tmp_path, "model_final.pth", shapes)
    if not weights:
        return
    checkpointer = Recording(model, strict=not trained(row))
    checkpointer.load(weights)
    wanted = pretrained(model)
    assert not [name for name in checkpointer.missing if name.startswith(wanted)]


def test_a_row_of_midas_takes_the_weights_of_midas_whole():
    """Evaluation is strict: a network with order heads would lack their weights."""
    for name in ("MiDaS", "MiDaS, DIW", "MiDaS, KITTI"):
        assert shapes_of(network(cfg_of(ROWS["instadepthnet_paper", name], ROOT))) == midas_shapes()
