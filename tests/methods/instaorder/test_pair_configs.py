"""Every configuration of pairwise order takes input masks and says what its row is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from occ_order.config import load_cfg

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
FILES = sorted(
    file
    for file in (CONFIGS / "InstaOrder").rglob("*.yaml")
    if load_cfg(file).MODEL.META_ARCHITECTURE in ("PairwiseOrderNet", "PCNetM", "OrderBaseline")
)


def name_of(file):
    return str(file.relative_to(CONFIGS))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_it_orders_input_masks(file):
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
    ("row", "expected"),
    [
        ("InstaOrderNet^o", (["occlusion"], "crop", 256, 0.001, 58000)),
        ("InstaOrderNet^d", (["depth"], "resize", 384, 0.001, 58000)),
        ("InstaOrderNet^{o,d}", (["occlusion", "depth"], "resize", 384, 0.001, 58000)),
        ("InstaOrderNet^o, as published", (["occlusion"], "crop", 256, 0.001, 86000)),
        ("InstaOrderNet^d, as published", (["depth"], "resize", 384, 0.0001, 60000)),
        ("OrderNet, COCOA", (["relation"], "crop", 256, 0.001, 56000)),
        ("InstaOrderNet^o, KINS", (["occlusion"], "crop", 256, 0.001, 32000)),
    ],
)
def test_settings_of_the_paper(row, expected, row_cfg):
    cfg = row_cfg("instaorder_paper", row)
    own, solver = cfg.MODEL.PAIRWISE, cfg.SOLVER
    found = (list(own.TASKS), own.MODE, own.INPUT_SIZE, solver.BASE_LR, solver.MAX_ITER)
    assert found == expected


@pytest.mark.parametrize("kind", "od")
def test_categories_are_the_80_of_coco_by_their_ids(kind, row_cfg):
    """Supplement A4.1: masks have the value of the category id, 1 to 90 with gaps."""
    for inputs, image in (("MC", False), ("MIC", True)):
        own = row_cfg("instaorder_paper", f"InstaOrderNet^{kind} ({inputs})").MODEL.PAIRWISE
        assert own.CATEGORY_ENCODING == "raw" and ("image" in own.INPUTS) == image
        assert len(set(own.CATEGORY_IDS)) == 80 and sorted(own.CATEGORY_IDS) == own.CATEGORY_IDS
        assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83} & set(own.CATEGORY_IDS)
