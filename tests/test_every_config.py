"""Every configuration loads, names what exists, and teaches every trainable parameter."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.utils.events import EventStorage

from occ_order.commands.table import read_table, settings_of, trained
from occ_order.config import get_cfg, load_cfg
from occ_order.engine.evaluation import EVALUATOR_REGISTRY
from occ_order.engine.trainer import Trainer, build_optimizer
from occ_order.formats import builtin
from occ_order.formats.write_scenes import make, scene_parameters
from occ_order.methods.build import MAPPER_REGISTRY
from occ_order.model_zoo import zoo
from occ_order.scenes import CLASSES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs"
TABLES = FOLDER / "tables"
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*.yaml")
    if TABLES not in path.parents
)
ROWS = {
    f"{path.stem}: {row['name']}": row
    for path in sorted(TABLES.glob("*.yaml"))
    for row in read_table(path)["rows"]
}

NUM_CLASSES = {
    "GeneralizedRCNN": "ROI_HEADS",
    "OrderRCNN": "ROI_HEADS",
    "SemanticsLayeringNetwork": "ROI_HEADS",
    "detector_with_order": "ROI_HEADS",
    "OOSIS": "OOSIS",
}
"""Networks that answer classes, and the node of their number."""

# Sizes alone: everything that a file chooses is as it says, only narrow. All anchors are looked at,
# since a coarse map of a small image has few that a drawing would find.
NARROW = [
    *("MODEL.WEIGHTS", "", "SEED", 0, "DATALOADER.NUM_WORKERS", 0),
    *("MODEL.MINI_RESNET.WIDTH", 4, "MODEL.MINI_RESNET.BLOCKS", [1, 1, 1, 1]),
    *("MODEL.FPN.OUT_CHANNELS", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 32),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_BOX_HEAD.CONV_DIM", 32),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 20),
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8192, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16),
    *("MODEL.SLN.ENCODER.CHANNELS", 8, "MODEL.SLN.GLOBAL_LAYERING.CONV_DIM", 16),
    *("MODEL.SLN.REFINEMENT.CONV_DIM", 16),
    *("MODEL.OOSIS.PPM_CHANNELS", 8, "MODEL.OOSIS.CHANNELS", 8, "MODEL.OOSIS.AUX_CHANNELS", 8),
    *("MODEL.DISPARITY.FEATURES", 8, "MODEL.DISPARITY.OUTPUT_CHANNELS", [8, 4]),
    *("MODEL.DISPARITY.HEAD_DEPTH", 0, "MODEL.DISPARITY.INPUT_SIZE", [64, 64]),
    *("MODEL.ORDER_HEAD.WIDTH", 8, "MODEL.ORDER_HEAD.HIDDEN", 16),
    *("MODEL.PAIRWISE.INPUT_SIZE", 64, "MODEL.PCNET_M.INPUT_SIZE", 32, "MODEL.PCNET_M.WIDTH", 4),
    *("MODEL.MASK_ORDER.VIEW_SIZES", [16, 16], "MODEL.MASK_ORDER.VIEW_WIDTHS", [[4, 8], [4, 8]]),
    *("INPUT.OOSIS.CROP_SIZE", 65, "INPUT.OOSIS.SIZE", [], "INPUT.MIN_SIZE_TRAIN", [64]),
    *("INPUT.LARGE_SCALE_JITTER.SIZE", [96, 128], "INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice"),
    *("DATASETS.TRAIN_REPEAT_FACTOR", []),
    *("SOLVER.IMS_PER_BATCH", 2),
]


parsed = functools.cache(yaml.safe_load)


def parse_once(stream):
    """As `yaml.safe_load`; a text is parsed once, since hundreds of files have few bases."""
    text = stream if isinstance(stream, str | bytes) else stream.read()
    return copy.deepcopy(parsed(text))


@functools.cache
def loaded(name):
    """Settings of a file, or of a row of a table."""
    with mock.patch.object(yaml, "safe_load", parse_once):
        if name not in ROWS:
            return load_cfg(FOLDER / name)
        return load_cfg(ROOT / ROWS[name]["config"], settings_of(ROWS[name], Path("output")))


def narrowed(name, device="cpu"):
    cfg = loaded(name).clone()
    cfg.merge_from_list(["MODEL.DEVICE", device, *NARROW])
    resnet = cfg.MODEL.RESNETS
    if cfg.MODEL.BACKBONE.NAME == "build_torchvision_resnet_backbone":
        resnet.DEPTH = 18  # it has no width
    elif resnet.DEPTH > 34:
        if resnet.NORM == "FrozenBN":  # random weights grow with the depth until scores saturate
            resnet.DEPTH = min(resnet.DEPTH, 50)
        resnet.STEM_OUT_CHANNELS, resnet.RES2_OUT_CHANNELS = 8, 16
        resnet.WIDTH_PER_GROUP = max(1, 4 // resnet.NUM_GROUPS)
    cfg.MODEL.DETECTOR_ORDER.ORDER_CONFIG = ""  # of a network that is not trained beside this one
    return cfg


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Registers four small scenes in every format as tiny_train_*."""
    root = tmp_path_factory.mktemp("scenes")
    sizes = {"size": (64, 64), "instances": (3, 4), "classes": CLASSES[:7]}
    make(root, scene_parameters(train=4, seed=7, **sizes))
    for one in builtin._scenes_split(str(root), "tiny", "train"):
        builtin.register(one.name, one.format, *one.paths, options=one.options)


def format_of(cfg):
    """The scenes in the format that the configuration trains on; as COCOA where it names none."""
    known = {"instaorder": "instaorder", "cocoa_cls": "cocoa_cls", "d2sa": "cocoa_cls"}
    known.update(kins="kins", cocoa="cocoa", photos="instaorder")
    named = " ".join(cfg.DATASETS.TRAIN) or "cocoa"
    return f"tiny_train_{next(known[part] for part in known if part in named)}"


def is_baseline(cfg):
    return cfg.MODEL.META_ARCHITECTURE == "OrderBaseline"


def untaught(cfg, names):
    """Parameters whose gradient is zero because the data set says nothing about them: no depth."""
    if "instaorder" in format_of(cfg):
        return set()
    return {name for name in names if name.startswith("roi_heads.order_head.relation.depth.")}


def step_of(name):
    """What one training step depends on: rows often change only weights, schedule or evaluation."""
    cfg = narrowed(name)
    return repr(cfg.MODEL), repr(cfg.INPUT), format_of(cfg)


LEARNING = [*CONFIGS, *(name for name, row in ROWS.items() if trained(row))]
LEARNING = [name for name in LEARNING if not is_baseline(loaded(name))]
TRAINED = list({step_of(name): name for name in reversed(LEARNING)}.values())
BASELINES = [name for name in (*CONFIGS, *ROWS) if is_baseline(loaded(name))]


@pytest.mark.parametrize("name", [*CONFIGS, *ROWS])
def test_every_config_loads_and_names_what_exists(name):
    cfg = loaded(name).clone()
    META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if cfg.INPUT.MAPPER:
        MAPPER_REGISTRY.get(cfg.INPUT.MAPPER)
    for evaluator in cfg.TEST.EVALUATORS:
        EVALUATOR_REGISTRY.get(evaluator)
    sets = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    assert not set(sets) - set(DatasetCatalog.list())
    node = NUM_CLASSES.get(cfg.MODEL.META_ARCHITECTURE)
    classes = {len(MetadataCatalog.get(s).get("thing_classes", [])) for s in sets} - {0}
    # What is evaluated on other data than it has learned from keeps its classes.
    elsewhere = name in ROWS and not trained(ROWS[name])
    if node and classes and not elsewhere:
        assert {cfg.MODEL[node].NUM_CLASSES} == classes
    order = cfg.MODEL.DETECTOR_ORDER.ORDER_CONFIG
    known = ["", *(f"configs/{name}" for name in CONFIGS), *(f"zoo:{name}" for name in zoo.names())]
    assert order in known
    with pytest.raises(AssertionError, match="NO_SUCH_SETTING"):
        cfg.merge_from_list(["MODEL.NO_SUCH_SETTING", 1])


UNSEEN = {"disparity: neither (order head alone)": "disparity_net."}
"""Row -> first letters of the parameters that none of its losses sees: that is what it compares."""


@pytest.mark.parametrize("name", TRAINED)
def test_one_step_reaches_every_trainable_parameter(name, scenes, device):
    """One step in every stage of the training; what a stage does not freeze must learn in it."""
    cfg = narrowed(name, device)
    cfg.DATASETS.TRAIN = [format_of(cfg)]
    cfg.INPUT.COMPLETION.OCCLUDERS = []  # photographs that need not be there
    model = Trainer.build_model(cfg).train()
    if hasattr(model, "disparity_net"):  # a rectifier may start at 0, where it has no slope
        torch.nn.init.ones_(model.disparity_net.output[-1].bias)
    optimizer = build_optimizer(cfg, model)
    wanted = {key for key, p in model.named_parameters() if p.requires_grad}
    batch = next(iter(Trainer.build_train_loader(cfg)))
    stages = getattr(model, "stages", None)
    reached = set()
    for start in [0, *(stages.ends[:-1] if stages else [])]:
        with EventStorage(start):
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        assert losses and all(value.isfinite() for value in losses.values())
        learning = {key: p for key, p in model.named_parameters() if p.requires_grad}
        unseen = [key for key, p in learning.items() if p.grad is None]
        assert all(key.startswith(UNSEEN.get(name, "nothing")) for key in unseen)
        zero = {key for key in learning.keys() - unseen if not learning[key].grad.any()}
        assert zero <= untaught(cfg, learning)
        optimizer.step()
        reached |= learning.keys()
    assert reached == wanted
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_nothing_to_train_and_answers(name, scenes, device):
    cfg = narrowed(name, device)
    cfg.DATASETS.TEST = [format_of(cfg)]
    model = Trainer.build_model(cfg)
    with pytest.raises(ValueError, match="has nothing to train; use --eval-only"):
        model.train()([])
    batch = next(iter(Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    (answer,) = model.eval()(batch)
    count = len(batch[0]["instances"])
    assert answer["instances"].occlusion.tensor.shape == (count, count) and count >= 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_config_for_the_gpu_works_on_the_cpu_where_there_is_none():
    cfg = get_cfg()
    assert cfg.MODEL.DEVICE == "cuda"
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "OrderBaseline"
    assert build_model(cfg) is not None
