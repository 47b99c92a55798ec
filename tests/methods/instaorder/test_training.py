"""Training and evaluation through the trainer, on a data set on disk."""

from __future__ import annotations

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from occ_order.engine.trainer import Trainer
from occ_order.formats import save_instaorder
from occ_order.formats.builtin import register_instaorder
from occ_order.order import load_results


@pytest.fixture
def dataset(records, tmp_path):
    """Name of a registered data set of three scenes."""
    files = tmp_path / "order.json", tmp_path / "instances.json"
    categories = [{"id": k, "name": f"class {k}"} for k in range(5)]
    save_instaorder(records(3), *files, categories, image_root=tmp_path)
    name = f"pairs_of_{tmp_path.name}"
    register_instaorder(name, *files, tmp_path)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("architecture", "mapper"),
    [
        ("PairwiseOrderNet", "PairMapper"),
        ("PCNetM", "PartialCompletionMapper"),
    ],
)
def test_it_trains_and_is_evaluated(cfg, dataset, tmp_path, architecture, mapper):
    cfg.MODEL.META_ARCHITECTURE, cfg.INPUT.MAPPER = architecture, mapper
    cfg.MODEL.PAIRWISE.SAMPLER.NAME = "all"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (dataset,), (dataset,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 2, 2, 0
    cfg.TEST.EVALUATORS, cfg.TEST.GIVEN_MASKS = ["GivenMaskOrder", "OrderResults"], True
    cfg.OUTPUT_DIR, cfg.SEED = str(tmp_path / "run"), 3
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert trainer.storage.latest()["total_loss"][0] > 0
    scores = json.loads((tmp_path / "run/inference/scores.json").read_text())
    assert 0 <= scores["occlusion"]["recall"] <= 100
    images = load_results(tmp_path / "run/inference/order_results.json")
    assert [len(image["instances"]) for image in images] == [4, 4, 4]
    assert all("occlusion" in image for image in images)
    assert [image["file_name"] for image in images] == ["0.png", "1.png", "2.png"]
