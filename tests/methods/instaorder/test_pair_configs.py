"""Every configuration of pairwise order takes given masks and says what its row is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from occ_order.config import load_cfg

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
FILES = sorted(
    file
    for folder in ("InstaOrder", "COCOA", "KINS")
    for file in (CONFIGS / folder).rglob("*.yaml")
    if load_cfg(file).MODEL.META_ARCHITECTURE in ("PairwiseOrderNet", "PCNetM", "OrderBaseline")
)


def name_of(file):
    return str(file.relative_to(CONFIGS))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_it_orders_given_masks(file):
    cfg = load_cfg(file)
    assert cfg.INPUT.KEEP_GROUND_TRUTH and cfg.TEST.GIVEN_MASKS


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_it_is_small_and_says_what_it_is(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and len(lines) <= 45
    assert set(yaml.safe_load("\n".join(lines))) <= {
        *("_BASE_", "MODEL", "INPUT", "SOLVER", "TEST", "DATASETS", "DATALOADER", "SEED", "VERSION")
    }


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("InstaOrder/instaorder_net_o.yaml", (["occlusion"], "crop", 256, 0.001, 58000)),
        ("InstaOrder/instaorder_net_d.yaml", (["depth"], "resize", 384, 0.001, 58000)),
        (
            "InstaOrder/instaorder_net_od.yaml",
            (["occlusion", "depth"], "resize", 384, 0.001, 58000),
        ),
        ("InstaOrder/instaorder_net_o_published.yaml", (["occlusion"], "crop", 256, 0.001, 86000)),
        ("InstaOrder/instaorder_net_d_published.yaml", (["depth"], "resize", 384, 0.0001, 60000)),
        ("COCOA/order_net.yaml", (["relation"], "crop", 256, 0.001, 56000)),
        ("KINS/instaorder_net_o.yaml", (["occlusion"], "crop", 256, 0.001, 32000)),
    ],
)
def test_settings_of_the_paper(file, expected):
    cfg = load_cfg(CONFIGS / file)
    own, solver = cfg.MODEL.PAIRWISE, cfg.SOLVER
    found = (list(own.TASKS), own.MODE, own.INPUT_SIZE, solver.BASE_LR, solver.MAX_ITER)
    assert found == expected


def test_every_row_of_the_table_is_a_configuration():
    table = yaml.safe_load((CONFIGS / "tables/pairs.yaml").read_text(encoding="utf-8"))
    assert len({row["name"] for row in table["rows"]}) == len(table["rows"])
    assert all((CONFIGS.parent / row["config"]).is_file() for row in table["rows"])
