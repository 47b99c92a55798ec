"""The configurations of InstaDepthNet say what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog  # noqa: E402

from occ_order.config import load_cfg  # noqa: E402
from occ_order.methods.build import build_mapper  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("kind", ["d", "od"])
def test_published_settings(kind):
    """Supplement A4.1 and A4.4: 384 x 384, 58,000 iterations of 48 pairs at 1e-4."""
    cfg = load_cfg(ROOT / f"configs/InstaDepthNet/instadepthnet_{kind}_instaorder.yaml")
    own, loss = cfg.MODEL.DISPARITY, cfg.MODEL.DISPARITY.LOSS
    assert own.INPUT_SIZE == [384, 384] and own.ACTIVATION == "relu"
    assert len(own.HEADS) == len(kind) and own.HEADS[0] == "depth"
    weights = loss.OCCLUSION, loss.DEPTH, loss.DISPARITY, loss.SMOOTHNESS
    assert weights == (1.0, 1.0, 1.0, 0.1)
    solver = cfg.SOLVER
    assert (solver.BASE_LR, solver.IMS_PER_BATCH, solver.MAX_ITER) == (1e-4, 48, 58000)
    assert cfg.MODEL.PAIRWISE.SAMPLER.NAME == "depth"
    assert cfg.MODEL.PAIRWISE.SAMPLER.PAIRS_PER_IMAGE == 1


def test_losses_of_the_paper_and_of_the_published_code(row_cfg):
    """Section 4.1 trains depth by cross-entropy, without weights, and Section 4.2 writes L_s with D
    and the norm of the image gradient; the published code differs in both."""
    for kind in ("d", "od"):
        cfg = load_cfg(ROOT / f"configs/InstaDepthNet/instadepthnet_{kind}_instaorder.yaml")
        loss = cfg.MODEL.DISPARITY.LOSS
        assert not loss.BY_OVERLAP and loss.SMOOTHNESS_FORM == "paper" and not loss.DOUBLE_SOFTMAX
        assert cfg.TEST.DISPARITY.COMPAT == ""
    cfg = row_cfg("instadepthnet_paper", "InstaDepthNet^{o,d}, as published")
    loss = cfg.MODEL.DISPARITY.LOSS
    assert loss.BY_OVERLAP and (loss.DISTINCT, loss.OVERLAP) == (0.9, 0.1)
    assert loss.SMOOTHNESS_FORM == "published" and cfg.TEST.DISPARITY.COMPAT == "instaorder"


def test_training_samples_have_pairs_and_test_images_need_no_annotation(tiny_cfg, scenes):
    cfg = tiny_cfg("MODEL.PAIRWISE.SAMPLER.PAIRS_PER_IMAGE", "5")
    record = DatasetCatalog.get("tiny_instaorder")[0]
    sample = build_mapper(cfg, is_train=True)(record)
    depth = sample["instances"].gt_depth.tensor
    assert sample["pairs"].shape == (5, 2)
    assert (depth[tuple(sample["pairs"].T)] >= 0).all()
    plain = build_mapper(cfg, is_train=False)(DatasetCatalog.get("tiny_diw")[0])
    assert plain["image"].shape == (3, 64, 64) and "instances" not in plain
    assert (plain["height"], plain["width"], plain["image_id"]) == (64, 64, 0)
