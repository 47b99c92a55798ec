"""Instances that are found without PyTorch are those of Detectron2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.modeling import build_model

from occ_order.config import load_cfg
from occ_order.engine import export as networks
from occ_order.engine.predictor import OrderPredictor
from occ_order.lite import Graph, LiteSegmenter, Segmenter
from occ_order.lite.segmenter import pasted
from occ_order.model_zoo import settings_file

CONFIG = "Photos/segmenter_lite0_fpn.yaml"
MIRRORED = "Photos/segmenter_mirrored.yaml"


@pytest.fixture(scope="module", params=[CONFIG, MIRRORED])
def both(tmp_path_factory, request):
    """A network with random weights that is certain of some things, and its graph."""
    pytest.importorskip("onnxruntime")
    opts = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    sizes = ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 160]
    cfg = load_cfg(settings_file(request.param), [*opts, *sizes])
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    heads = model.roi_heads
    last = (model.proposal_generator.rpn_head.objectness_logits, heads.box_predictor.cls_score)
    with torch.no_grad():
        for layer in (*last, heads.box_predictor.bbox_pred, heads.mask_head.predictor):
            layer.weight.mul_(30)
    path = tmp_path_factory.mktemp("graph") / "segmenter.onnx"
    networks.save_onnx(networks.graph_of(model, cfg=cfg), path)
    return OrderPredictor(model, cfg), LiteSegmenter(Segmenter(Graph(path, threads=1)))


@pytest.mark.parametrize("size", [(120, 150), (150, 100), (16, 200), (30, 30)])
def test_they_are_those_of_detectron2(both, size):
    """Also in an image so long that the coarsest level has fewer anchors than are chosen."""
    full, lite = both
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = full.output(image)["instances"]
    found = lite.segmenter(image)
    assert len(found.boxes) == len(expected) > 3
    assert np.abs(found.boxes - expected.pred_boxes.tensor.numpy()).max() < 1e-3
    assert np.abs(found.scores - expected.scores.numpy()).max() < 1e-5
    masks = expected.pred_masks.numpy()
    assert 0 < masks.mean() < 1 and (found.masks != masks).sum() <= 2 + 1e-5 * masks.size
    result = lite(image)
    assert result.occlusion is None and (result.modal == found.masks).all()
    assert (result.scores == found.scores).all()


def test_small_masks_are_pasted_as_detectron2_does():
    rng = np.random.default_rng(0)
    small = rng.random((5, 28, 28), dtype=np.float32)
    low = rng.uniform(0, 40, (5, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 40, (5, 2))], 1).astype(np.float32)
    boxes[0] = [0, 0, 90, 70]
    boxes = np.minimum(boxes, np.float32([90, 70, 90, 70]))
    expected = paste_masks_in_image(torch.from_numpy(small), torch.from_numpy(boxes), (70, 90))
    assert (pasted(small, boxes, (70, 90)) == expected.numpy()).all()
    assert pasted(small[:0], boxes[:0], (70, 90)).shape == (0, 70, 90)


def test_masks_that_are_given_are_refused(both):
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="detects instances and does not accept input masks"):
        both[1](image, np.zeros((1, 20, 20), bool))
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got float64"):
        both[1].segmenter(np.zeros((20, 20, 3)))


def test_there_is_no_program_of_it(tmp_path):
    cfg = load_cfg(settings_file(CONFIG), ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"])
    with pytest.raises(ValueError, match="use ONNX: .* lists of boxes"):
        networks.save_program(networks.graph_of(build_model(cfg), cfg=cfg), tmp_path / "net.pt2")


def test_several_classes_are_no_graph():
    opts = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", 2]
    cfg = load_cfg(settings_file(CONFIG), opts)
    with pytest.raises(ValueError, match="one class can be exported, got 2 classes, masks True"):
        networks.graph_of(build_model(cfg), cfg=cfg)
