"""Detections of other programs in the tables of OOSIS."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from occ_order.config import get_cfg, load_cfg
from occ_order.engine.trainer import Trainer
from occ_order.masks import encode

DATA = "oosis_detections_tiny"


@pytest.fixture
def scene(record):
    """A data set of one image: a large thing in front of a small one."""
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 2:12, 3:20], masks[1, 12:18, 5:12] = True, True
    one = record(masks, [[0, 1], [0, 0]])
    DatasetCatalog.register(DATA, lambda: [one])
    MetadataCatalog.get(DATA).set(
        evaluator_type="cocoa",
        thing_classes=["thing"],
        thing_dataset_id_to_contiguous_id={4: 0},
    )
    yield one, masks
    DatasetCatalog.remove(DATA)
    MetadataCatalog.remove(DATA)


def settings(path, order="area", **own):
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "detector_with_order"
    cfg.MODEL.DETECTOR_ORDER.META_ARCHITECTURE = "DetectionsFromFile"
    cfg.MODEL.DETECTOR_ORDER.RESULTS = str(path)
    cfg.MODEL.DETECTOR_ORDER.update(own)
    cfg.MODEL.ORDER_BASELINE.NAME = order
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.MAPPER = "InstanceOrderMapper"
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.DATASETS.TEST = [DATA]
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.TEST.EVALUATORS = ["OAIR", "WeightedCoverage", "InstanceAP", "OrderResults"]
    return cfg


def results(path, masks, scores=(0.9, 0.8), category=4):
    entries = [
        {"image_id": 1, "category_id": category, "segmentation": encode(m), "score": s}
        for m, s in zip(masks, scores, strict=True)
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(("order", "accuracy"), [("area", 100), ("y_axis", 0)])
def test_a_results_file_takes_part_in_the_tables_with_any_order(
    scene, tmp_path, order, accuracy, build_model
):
    """Section 5.2: baselines integrate an instance segmentation with an order on top."""
    _, masks = scene
    cfg = settings(results(tmp_path / "found.json", masks), order)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    scores = Trainer.test(cfg, build_model(cfg).eval())
    assert scores["oair"]["recall"] == 100 and scores["oair"]["accuracy"] == accuracy
    assert scores["coverage"]["wc"] == 100 and scores["instances"]["AP"] == 100
    written = json.loads((tmp_path / "out/inference/order_results.json").read_text())
    assert [one["category_id"] for one in written["images"][0]["instances"]] == [4, 4]


def test_whole_objects_of_a_file_are_kept(scene, tmp_path, build_model):
    _, masks = scene
    path = tmp_path / "amodal.json"
    whole = encode(masks[0] | masks[1])
    regions = [{"segmentation": whole, "score": 0.7, "invisible_mask": encode(masks[0])}]
    path.write_text(json.dumps([{"image_id": 1, "regions": regions}]))
    cfg = settings(path)
    cfg.TEST.OOSIS.CLASS_AGNOSTIC = True
    model = build_model(cfg).eval()
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    (output,) = model([{"image": image, "image_id": 1, "height": 20, "width": 30}])
    found = output["instances"]
    assert np.array_equal(found.pred_masks[0], masks[1])
    assert np.array_equal(found.pred_amodal_masks[0], masks[0] | masks[1])
    assert found.pred_classes.tolist() == [0]


def test_a_category_of_another_data_set_is_refused(scene, tmp_path, build_model):
    _, masks = scene
    cfg = settings(results(tmp_path / "found.json", masks, category=17))
    model = build_model(cfg).eval()
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    inputs = [{"image": image, "image_id": 1, "height": 20, "width": 30}]
    with pytest.raises(ValueError, match=r"found.json: image 1: category 17 is not in .* \[4\]"):
        model(inputs)
    with pytest.raises(ValueError, match="cannot be trained"):
        model.train()(inputs)


def test_a_file_must_be_named(build_model):
    with pytest.raises(ValueError, match="RESULTS must name the file"):
        build_model(settings(""))


def test_the_config_of_a_detector_may_have_settings_of_its_own_project(tmp_path, build_model):
    """Mask2Former's files set MODEL.MASK_FORMER.*, which nobody here knows."""
    file = tmp_path / "foreign.yaml"
    file.write_text("MODEL: {MASK_FORMER: {NUM_QUERIES: 100}}\nVERSION: 2\n")
    with pytest.raises(ValueError, match=r"foreign\.yaml: .*MASK_FORMER"):
        load_cfg(file)
    cfg = load_cfg(file, foreign=True)
    assert cfg.MODEL.MASK_FORMER.NUM_QUERIES == 100
    with pytest.raises(AssertionError, match="NOTHING"):
        cfg.merge_from_list(["MODEL.NOTHING", 1])
    whole = tmp_path / "whole.yaml"
    results(tmp_path / "found.json", np.zeros((0, 2, 2), bool), ())
    whole.write_text(
        "MODEL:\n"
        "  META_ARCHITECTURE: DetectionsFromFile\n"
        f"  DETECTOR_ORDER: {{RESULTS: {tmp_path / 'found.json'}}}\n"
        "  MASK_FORMER: {NUM_QUERIES: 100}\n"
        "VERSION: 2\n"
    )
    cfg = settings("", CONFIG=str(whole))
    assert build_model(cfg).file.image_ids == []
