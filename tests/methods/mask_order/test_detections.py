"""Detections in place of annotated masks: which orders they have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from occ_order import masks
from occ_order.config import get_cfg
from occ_order.methods.build import build_mapper
from occ_order.methods.mask_order.detections import DetectedMasks
from occ_order.methods.mask_order.mapper import chosen_instances

SIZE = (24, 40)
NAME = "detected_masks_test"


def box(x0: int, x1: int, y0: int = 4, y1: int = 20) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def record(tmp_path):
    """Three instances side by side: 0 occludes 1, and 1 occludes 2, which is not detected."""
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / "1.png")
    annotations = [
        {
            "category_id": 0,
            "bbox": masks.bounding_box(mask).tolist(),
            "bbox_mode": 0,
            "segmentation": masks.encode(mask),
        }
        for mask in (box(2, 12), box(12, 24), box(24, 38))
    ]
    one = {"image_id": 7, "file_name": str(tmp_path / "1.png"), "annotations": annotations}
    one |= {"height": SIZE[0], "width": SIZE[1]}
    one["occlusion"] = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], np.int8)
    one["depth"] = np.array([[-1, 1, 1], [0, -1, 1], [0, 0, -1]], np.int8)
    DatasetCatalog.register(NAME, lambda: [one])
    MetadataCatalog.get(NAME).thing_classes = ["thing"]
    yield one
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def results_file(folder, entries, image_id=7) -> str:
    """COCO results of (mask, score)."""
    path = folder / "results.json"
    found = [
        {"image_id": image_id, "category_id": 1, "score": score, "segmentation": masks.encode(m)}
        for m, score in entries
    ]
    path.write_text(json.dumps(found))
    return str(path)


def test_a_detection_has_the_order_of_what_it_matches(record, tmp_path):
    entries = [
        (box(13, 25), 0.9),  # instance 1
        (box(13, 26), 0.8),  # again: dropped
        (box(2, 11), 0.7),  # instance 0
        (box(30, 38, 4, 8), 0.6),  # too little of instance 2
        (box(28, 36, 12, 20), 0.05),  # below the threshold
    ]
    detected = DetectedMasks([[NAME, results_file(tmp_path, entries)]], [0.1, 0.1])
    found = detected(record, np.random.default_rng(0))
    assert (found["masks"] == np.stack([box(13, 25), box(2, 11), box(30, 38, 4, 8)])).all()
    assert found["occlusion"].tolist() == [[0, 0, -1], [1, 0, -1], [-1, -1, 0]]
    assert found["depth"].tolist() == [[-1, 0, -1], [1, -1, -1], [-1, -1, -1]]
    assert [one["bbox"] for one in found["annotations"]] == [
        [13, 4, 25, 20],
        [2, 4, 11, 20],
        [30, 4, 38, 8],
    ]
    assert len(record["annotations"]) == 3 and "masks" not in record  # not modified


@pytest.mark.parametrize("entries", [[], [(box(2, 12), 0.9)], [(box(2, 12), 0.9), (box(0, 3), 1)]])
def test_less_than_two_matches_are_no_training_image(record, tmp_path, entries):
    path = results_file(tmp_path, [*entries, (box(0, 40, 0, 24), 0.5)])
    assert DetectedMasks([[NAME, path]], [0.1, 0.2])(record, np.random.default_rng(0)) is None


def test_a_neighbourhood_of_detections(record, tmp_path):
    path = results_file(tmp_path, [(box(13, 25), 0.9), (box(2, 11), 0.7), (box(30, 38), 0.6)])
    found = DetectedMasks([[NAME, path]], [0, 0])(record, np.random.default_rng(0))
    chosen = chosen_instances(found, 2, np.random.default_rng(0))
    boxes = [masks.bounding_box(mask).tolist() for mask in chosen["masks"]]
    assert boxes == [one["bbox"] for one in chosen["annotations"]] and len(boxes) == 2


def test_the_mapper_trains_on_detections(record, tmp_path):
    cfg = get_cfg()
    path = results_file(tmp_path, [(box(13, 25), 0.9), (box(2, 11), 0.7)])
    cfg.INPUT.MAPPER = "MaskOrderMapper"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED = (SIZE[0],), False
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MASK_ORDER.MASK_NOISE = "none", 0.0
    cfg.INPUT.MASK_ORDER.DETECTIONS = [[NAME, path]]
    annotated = [box(2, 12), box(12, 24), box(24, 38)]
    for share, expected in ((1.0, [box(13, 25), box(2, 11)]), (0.0, annotated)):
        cfg.INPUT.MASK_ORDER.DETECTION_SHARE = share
        found = build_mapper(cfg, is_train=True)(record)["instances"]
        assert (found.gt_masks.tensor.numpy() == np.stack(expected)).all()
        assert found.gt_occlusion.tensor.tolist() == (
            [[0, 0], [1, 0]] if share else record["occlusion"].tolist()
        )
    assert build_mapper(cfg, is_train=False).detected is None


def test_files_that_do_not_fit_are_refused(record, tmp_path):
    path = results_file(tmp_path, [(box(2, 12), 0.9)], image_id=8)
    with pytest.raises(ValueError, match=r"results\.json: none of its images is in .*_test'"):
        DetectedMasks([[NAME, path]], [0, 1])
    with pytest.raises(ValueError, match=r"DETECTIONS must be a list of \[data set, results file"):
        DetectedMasks([[NAME]], [0, 1])
    small = [(np.ones((4, 4), bool), 0.9)]
    detected = DetectedMasks([[NAME, results_file(tmp_path, small)]], [0, 0])
    with pytest.raises(ValueError, match=r"results\.json: image 7: instance 0.*24 x 40|24"):
        detected(record, np.random.default_rng(0))
