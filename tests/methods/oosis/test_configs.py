"""The configurations of OOSIS: the published network, and the rows of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from occ_order.commands.table import read_table
from occ_order.config import load_cfg
from occ_order.engine.trainer import build_optimizer

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
LEAVES = sorted(p for p in (CONFIGS / "OOSIS").glob("*/*.yaml"))
# The published network, every layer a sixteenth as wide.
NARROW = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.OOSIS.PPM_CHANNELS", 8),
    *("MODEL.OOSIS.CHANNELS", 8, "MODEL.OOSIS.AUX_CHANNELS", 8, "MODEL.MINI_RESNET.WIDTH", 8),
]
ALWAYS = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]


def test_the_published_network_has_the_published_size(build_model):
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


def test_heads_learn_ten_times_as_fast(build_model):
    cfg = load_cfg(CONFIGS / "OOSIS/kins/oosis_R50.yaml", [*ALWAYS, *NARROW])
    model = build_model(cfg)
    rate = {}
    for group in build_optimizer(cfg, model).param_groups:
        rate.update(dict.fromkeys(map(id, group["params"]), group["lr"]))
    assert {rate[id(p)] for p in model.head.parameters()} == {0.1}
    assert {rate[id(p)] for p in model.backbone.parameters()} == {0.01}


TABLE = read_table(CONFIGS / "tables/oosis_paper.yaml")
NAMED = [
    row["name"]
    for row in TABLE["rows"]
    if row["config"].endswith("oosis_R50.yaml") and not row["name"].startswith("region moves")
]


def test_table_6_changes_lambda(row_cfg):
    for value in (5, 10, 20, 40, 50):
        own = row_cfg("oosis_paper", f"Table 6, lambda {value}").MODEL.OOSIS
        assert value == own.LAMBDA


@pytest.mark.parametrize("name", NAMED)
def test_ours_is_one_algorithm(name, row_cfg):
    """Sections 3.2 and 3.3: jump moves with the constant upper bound, lambda 20 and mu 100, and
    every connected component of one label an instance. Table 6 alone changes lambda; Section 5.1
    and supplement 2 have another decoder."""
    own = row_cfg("oosis_paper", name).MODEL.OOSIS
    decoder = {"Section": "classes", "Supplement": "expansion"}.get(name.split(" ")[0], "crf")
    assert (decoder, "constant", 0, 100) == (own.DECODER, own.BOUND, own.MIN_AREA, own.MU)
    assert float(name.split("lambda ")[1] if "lambda" in name else 20) == own.LAMBDA


def test_the_minimiser_of_the_paper_is_said_once():
    """In the file that every network of the paper starts from, and in no row."""
    keys = {"MODEL.OOSIS.BOUND", "MODEL.OOSIS.MIN_AREA"}
    for row in TABLE["rows"]:
        assert bool(keys & set(row.get("opts", {}))) == row["name"].startswith("region moves")
    for folder in ("cocoa", "kins"):
        text = (CONFIGS / "OOSIS" / folder / "oosis_R50.yaml").read_text(encoding="utf-8")
        assert "BOUND:" not in text and "MIN_AREA" not in text


def test_rows_of_table_3b_have_the_values_of_section_5_6(row_cfg):
    def losses(name):
        own = row_cfg("oosis_paper", f"Table 3, {name}").MODEL.OOSIS
        return own.BOUNDARY_LOSS, own

    assert losses("Dice++")[0] == "dice_pp" and losses("Dice++")[1].FOCUS == 2
    name, own = losses("Tversky++")
    assert (name, own.FOCUS, own.TVERSKY_ALPHA, own.TVERSKY_BETA) == ("tversky_pp", 2, 0.8, 0.2)
    name, own = losses("Combo")
    assert (name, own.COMBO_ALPHA) == ("combo", 0.1)
    name, own = losses("weighted cross-entropy")
    assert (name, own.BOUNDARY_WEIGHT) == ("weighted_ce", 0.9)


def test_the_settings_of_a_loss_reach_it(build_model):
    def loss_of(*opts):
        torch.manual_seed(0)
        cfg = load_cfg(CONFIGS / "OOSIS/kins/oosis_R50.yaml", [*ALWAYS, *NARROW, *opts])
        head = build_model(cfg).head.eval()
        features = {name: torch.ones(1, channels, 3, 3) for name, channels in CHANNELS.items()}
        targets = {
            "semantic": torch.zeros(1, 17, 17, dtype=torch.int64),
            "boundary": torch.eye(17)[None],
            "orientation": torch.full((1, 4, 17, 17), 0.25),
        }
        return head.losses(features, targets)["loss_boundary"].item()

    model = build_model(load_cfg(CONFIGS / "OOSIS/kins/oosis_R50.yaml", [*ALWAYS, *NARROW]))
    CHANNELS = {name: shape.channels for name, shape in model.backbone.output_shape().items()}
    for kind, setting in (
        ("weighted_ce", "BOUNDARY_WEIGHT"),
        ("dice_pp", "FOCUS"),
        *(("tversky_pp", name) for name in ("FOCUS", "TVERSKY_ALPHA", "TVERSKY_BETA")),
        ("combo", "COMBO_ALPHA"),
    ):
        name = "MODEL.OOSIS.BOUNDARY_LOSS", kind
        assert loss_of(*name) != loss_of(*name, f"MODEL.OOSIS.{setting}", 0.15)


def test_separate_upsampling_has_a_kernel_for_each_map(row_cfg, build_model):
    """Table 5: "separate b & e" shares nothing between the maps, "joint" shares one 3-D kernel."""
    cfg = row_cfg("oosis_paper", "Table 5, separate", *ALWAYS, *NARROW)
    separate = build_model(cfg).head.joint_up
    assert separate.weight.shape == (5, 1, 15, 15)
    maps = torch.zeros(1, 5, 3, 3)
    maps[0, 2] = 1
    with torch.no_grad():
        separate.weight.normal_()
        out = separate(maps)
    assert out[0, 2].abs().sum() > 0 and out[0, [0, 1, 3, 4]].abs().sum() == 0
    with pytest.raises(ValueError, match="upsampling: got 'other'"):
        build_model(
            load_cfg(
                CONFIGS / "OOSIS/kins/oosis_R50.yaml",
                [*ALWAYS, *NARROW, "MODEL.OOSIS.UPSAMPLING", "other"],
            )
        )


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_leaves_are_short(path):
    load_cfg(path)
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert 3 <= len(lines) <= 25 and lines[0].startswith("# ")
