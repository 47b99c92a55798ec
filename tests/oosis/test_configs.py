"""The configurations of OOSIS: the published network, and one for each row of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.modeling import build_model

from occ_order.config import load_cfg
from occ_order.engine.trainer import build_optimizer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LEAVES = sorted(p for p in (CONFIGS / "OOSIS").glob("*/*.yaml"))
# The published network, every layer a sixteenth as wide.
NARROW = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.OOSIS.PPM_CHANNELS", 8),
    *("MODEL.OOSIS.CHANNELS", 8, "MODEL.OOSIS.AUX_CHANNELS", 8, "MODEL.MINI_RESNET.WIDTH", 8),
]
ALWAYS = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]


def test_the_published_network_has_the_published_size():
    model = build_model(load_cfg(CONFIGS / "OOSIS/kins/oosis_R50.yaml", ALWAYS))
    head = model.head
    millions = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in (
            ("backbone", model.backbone),
            ("pool", head.pool),
            ("bottleneck", head.bottleneck),
            ("aux", head.aux),
        )
    }
    assert millions == pytest.approx(
        {"backbone": 23.63, "pool": 4.20, "bottleneck": 18.88, "aux": 2.36}, abs=0.02
    )
    logits = sum(
        p.numel()
        for layer in (head.semantic, head.boundary, head.orientation)
        for p in layer.parameters()
    )
    assert logits == (8 + 1 + 1 + 4) * (512 + 1)  # classes and background, boundary, orientation
    assert head.joint_up.weight.numel() == 2025
    shapes = model.backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == {"res4": 8, "res5": 8}
    assert model.backbone.stem.conv3.weight.shape == (128, 64, 3, 3)


def test_heads_learn_ten_times_as_fast():
    cfg = load_cfg(CONFIGS / "OOSIS/kins/oosis_R50.yaml", [*ALWAYS, *NARROW])
    model = build_model(cfg)
    rate = {}
    for group in build_optimizer(cfg, model).param_groups:
        rate.update(dict.fromkeys(map(id, group["params"]), group["lr"]))
    assert {rate[id(p)] for p in model.head.parameters()} == {0.1}
    assert {rate[id(p)] for p in model.backbone.parameters()} == {0.01}


def test_there_is_a_leaf_for_every_row_of_the_tables():
    names = {path.stem for path in (CONFIGS / "OOSIS/kins").glob("*.yaml")}
    lambdas = {
        load_cfg(CONFIGS / f"OOSIS/kins/table6_lambda_{value}.yaml").MODEL.OOSIS.LAMBDA
        for value in (5, 10, 20, 40, 50)
    }
    assert lambdas == {5, 10, 20, 40, 50}
    assert {
        *("oosis_R50", "table3b_dice_pp", "table3b_tversky_pp", "table3b_combo"),
        *("table3b_weighted_ce", "table4_ground_truth", "table4_network", "table5_separate"),
        *("table5_joint", "section51_order_classes", "supplement2_expansion"),
    } <= names


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_leaves_are_short(path):
    load_cfg(path)
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert 3 <= len(lines) <= 25 and lines[0].startswith("# ")
