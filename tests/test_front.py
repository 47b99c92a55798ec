"""The front door: which backend predicts."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from occ_order import front, model_zoo

IMAGE = np.full((40, 60, 3), 120, np.uint8)
MASKS = np.zeros((2, 40, 60), bool)
MASKS[0, 5:30, 5:30], MASKS[1, 15:38, 25:55] = True, True


@pytest.fixture(autouse=True)
def _forget():
    front.predictor.cache_clear()
    yield
    front.predictor.cache_clear()


def test_both_backends_say_the_same():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("detectron2")
    lite = front.predict(IMAGE, MASKS, backend="onnx")
    full = front.predict(IMAGE, MASKS, backend="torch")
    assert type(front.predictor(backend="auto")).__name__ == "LitePredictor"
    for name in ("occlusion", "depth"):
        assert (getattr(lite, name) == getattr(full, name)).all()
    assert np.abs(lite.occlusion_prob - full.occlusion_prob).max() < 1e-4


def test_the_graph_answers_without_pytorch(monkeypatch):
    pytest.importorskip("onnxruntime")
    for name in ("torch", "detectron2", "occ_order.engine.predictor"):
        monkeypatch.setitem(sys.modules, name, None)
    assert front.predict(IMAGE, MASKS).occlusion.shape == (2, 2)
    with pytest.raises(ImportError, match=r"needs .*: see INSTALL\.md; .*occ_order\[lite\]"):
        front.predict(IMAGE)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"backend": "tpu"}, "backend must be one of .*'tpu'"),
        ({"backend": "onnx", "device": "cuda"}, "'onnx' runs on the CPU, got the device 'cuda'"),
        ({"backend": "onnx", "model": model_zoo.FINDS_INSTANCES}, "needs PyTorch; without it"),
        ({"model": "none"}, "the model zoo has no 'none'"),
    ],
)
def test_bad_choices_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        front.predict(IMAGE, MASKS, **chosen)


def test_masks_and_a_detector_are_one_too_many():
    with pytest.raises(ValueError, match="give one of them"):
        front.predict(IMAGE, MASKS, detector="order_head_scenes")
