"""What `import occ_order` offers: its names, and a prediction by the backend that is there."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import occ_order
from occ_order import backends, front, model_zoo
from occ_order.detectors.detector import Detector
from occ_order.instances import OrderedInstances, load

ROOT = Path(occ_order.__file__).parents[1]
IMAGE = np.full((40, 60, 3), 120, np.uint8)
MASKS = np.zeros((2, 40, 60), bool)
MASKS[0, 5:30, 5:30], MASKS[1, 15:38, 25:55] = True, True
VISIBLE = np.stack([MASKS[0], MASKS[1] & ~MASKS[0]])


@pytest.fixture(autouse=True)
def _forget():
    front.predictor.cache_clear()
    yield
    front.predictor.cache_clear()


def test_both_backends_say_the_same(device):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("detectron2")
    lite = front.predict(IMAGE, MASKS, backend="onnx")
    full = front.predict(IMAGE, MASKS, backend="torch", device=device)
    assert type(front.predictor(backend="auto")).__name__ == "LitePredictor"
    for name in ("occlusion", "depth", "amodal"):
        assert (getattr(lite, name) == getattr(full, name)).all()
    assert (lite.amodal & MASKS == MASKS).all()
    assert np.abs(lite.occlusion_prob - full.occlusion_prob).max() < 1e-4


def test_the_graph_answers_without_pytorch(monkeypatch):
    pytest.importorskip("onnxruntime")
    for name in ("torch", "detectron2", "occ_order.engine.predictor"):
        monkeypatch.setitem(sys.modules, name, None)
    found = front.predict(IMAGE, MASKS)
    assert found.occlusion.shape == (2, 2) and found.amodal.shape == MASKS.shape
    alone = front.predict(IMAGE)
    assert alone.modal.shape[1:] == IMAGE.shape[:2] and len(alone.occlusion) == len(alone)
    with pytest.raises(ImportError, match=r"needs .*: see INSTALL\.md; .*occ_order\[lite\]"):
        front.predict(IMAGE, model="oosis_mini_scenes")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"backend": "tpu"}, "backend must be one of .*'tpu'"),
        ({"backend": "onnx", "device": "cuda"}, "'onnx' runs on the CPU, got the device 'cuda'"),
        ({"backend": "onnx", "model": "oosis_mini_scenes"}, "needs PyTorch; without it"),
        ({"model": "none"}, "the model zoo has no 'none'"),
    ],
)
def test_bad_choices_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        front.predict(IMAGE, MASKS, **chosen)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"detector": "order_head_scenes"}, "pass either masks or a detector"),
        ({"score_threshold": 0.5}, "applies to detections only, not to input masks"),
        ({"detector_weights": "w.pth"}, "detector_weights requires detector"),
    ],
)
def test_what_is_found_and_what_is_given_are_not_mixed(chosen, message):
    with pytest.raises(ValueError, match=message):
        front.predict(IMAGE, MASKS, **chosen)


def test_a_model_that_only_orders_is_no_detector():
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="orders input masks and detects nothing"):
        front.predict(IMAGE, detector=model_zoo.ORDERS_MASKS)


# --- anybody's detector, our order


def two_cups(image):
    """A detector: the two masks above, and a third one that is hardly sure."""
    masks = np.concatenate([MASKS, ~MASKS.any(0, keepdims=True)])
    return {"masks": masks, "labels": [7, 7, 8], "scores": [0.9, 0.8, 0.1]}


def test_what_a_detector_finds_is_ordered(tmp_path):
    pytest.importorskip("onnxruntime")
    Image.fromarray(IMAGE).save(tmp_path / "cup.png")
    chosen = {"amodal": False, "score_threshold": 0.5}
    found = front.predict(tmp_path / "cup.png", detector=two_cups, **chosen)
    given = front.predict(tmp_path / "cup.png", VISIBLE, amodal=False)
    assert (found.modal == VISIBLE).all() and (found.occlusion == given.occlusion).all()
    assert (found.depth == given.depth).all() and found.amodal is None
    assert found.classes.tolist() == [7, 7] and found.scores.tolist() == [0.9, 0.8]
    assert (found.image_id, found.file_name) == ("cup", "cup.png")
    assert len(front.predict(IMAGE, detector=two_cups, amodal=False)) == 3


def test_nothing_detected_is_told(caplog, tmp_path):
    pytest.importorskip("onnxruntime")
    Image.fromarray(IMAGE).save(tmp_path / "cup.png")
    options = {"detector": two_cups, "amodal": False}
    assert len(front.predict(tmp_path / "cup.png", score_threshold=0.95, **options)) == 0
    assert caplog.messages == [f"{tmp_path / 'cup.png'}: no instances detected"]
    caplog.clear()
    assert len(front.predict(IMAGE, np.zeros((0, *IMAGE.shape[:2]), bool), amodal=False)) == 0
    assert len(front.predict(IMAGE, **options)) == 3 and not caplog.messages


def test_names_are_kept_up_to_what_is_printed_and_saved(tmp_path):
    pytest.importorskip("onnxruntime")
    cups = OrderedInstances(0, MASKS.shape[1:], MASKS, names=("cup", "plate"))
    found = front.predict(IMAGE, detector=lambda _: cups, amodal=False)
    assert "cup 1 (1.00), 625 pixels" in str(found) and "plate 2" in str(found)
    found.save(tmp_path / "order.json")
    assert load(tmp_path / "order.json").names == ("cup", "plate")


def test_names_of_classes_are_given_to_what_has_none():
    pytest.importorskip("onnxruntime")
    options = {"class_names": {7: "cup"}, "amodal": False}
    assert front.predict(IMAGE, detector=two_cups, **options).names == ("cup", "cup", "")
    bare = OrderedInstances(0, MASKS.shape[1:], MASKS, classes=[7, 8])
    assert front.predict(IMAGE, bare, **options).names == ("cup", "")
    named = bare.replace(names=("mine", "yours"))
    assert front.predict(IMAGE, named, **options).names == ("mine", "yours")


def test_without_masks_and_without_a_detector_one_is_taken(monkeypatch):
    """Which one is a constant; the model that orders stays the same."""
    pytest.importorskip("onnxruntime")
    asked = []

    def build(source, **chosen):
        asked.append((source, chosen["score_threshold"]))
        return Detector(lambda pixels, name: MASKS, "the one")

    monkeypatch.setattr(front, "build_detector", build)
    chain = front.photographs(score_threshold=0.25, amodal=False)
    assert asked == [(model_zoo.FINDS_INSTANCES, 0.25)]
    assert (chain(IMAGE).occlusion == chain(IMAGE, VISIBLE).occlusion).all()
    order = model_zoo.introduce(model_zoo.ORDERS_MASKS)
    assert chain.about(masks=False) == f"instances: the one | order: {order}"
    assert chain.about(masks=True) == f"instances: input masks | order: {order}"


class Finds:
    """A model that finds two instances and orders them, three ways round."""

    needs_masks = False

    def __call__(self, image, masks=None):
        ring = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.int8)
        masks = np.concatenate([MASKS, ~MASKS.any(0, keepdims=True)])
        scores = np.array([0.9, 0.8, 0.7])
        chance = np.array([[0, 0.9, 0], [0, 0, 0.6], [0.8, 0, 0]])
        known = {"scores": scores, "occlusion": ring, "occlusion_prob": chance}
        return OrderedInstances(0, MASKS.shape[1:], masks, **known)


def test_a_model_that_finds_instances_itself_needs_no_detector(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "cup.png")
    chain = front.photographs(model=Finds(), about="it", score_threshold=0.75)
    assert chain.about(masks=False) == "instances: it"
    found = chain(tmp_path / "cup.png")
    assert len(found) == 2 and found.image_id == "cup" and found.amodal is None


def test_cycles_are_resolved_where_that_is_asked_for():
    assert front.photographs(model=Finds())(IMAGE).cycles() == [(1, 2, 3)]
    straight = front.photographs(model=Finds(), resolve_cycles=True)(IMAGE)
    assert straight.cycles() == [] and straight.occlusion[1, 2] == 0


def test_what_needs_an_order_of_occlusion_is_refused_where_there_is_none():
    def depth_alone(image, masks):
        return masks.replace(depth=np.array([[-1, 1], [0, -1]], np.int8))

    chain = front.Photographs(depth_alone, "it")
    assert chain(IMAGE, MASKS).depth[0, 1] == 1
    with pytest.raises(ValueError, match="has no occlusion order"):
        dataclasses.replace(chain, resolve_cycles=True)(IMAGE, MASKS)


def test_amodal_masks_are_those_of_the_model_that_completes(device):
    """By the order of whatever model; the one that completes orders by the same one itself."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("detectron2")
    found = front.predict(IMAGE, MASKS, backend="torch", device=device)
    chosen = {"model": model_zoo.COMPLETES_MASKS, "backend": "torch", "device": device}
    alone = front.predict(IMAGE, MASKS, **chosen)
    assert (found.occlusion == alone.occlusion).all()
    assert (found.amodal == alone.amodal).all() and (found.amodal & MASKS == MASKS).all()
    for backend in ("onnx", "auto"):
        assert (front.predict(IMAGE, MASKS, backend=backend).amodal == found.amodal).all()
    assert front.predict(IMAGE, MASKS, model=model_zoo.ORDERS_MASKS).amodal is None
    assert "amodal masks: mask_completion_photos (trained on" in front.photographs().about(
        masks=False
    )


def test_what_was_left_out_of_a_cycle_hides_nothing():
    pytest.importorskip("detectron2")
    lies = np.array([[0, 0.95], [0.9, 0]])
    both = OrderedInstances(
        0, MASKS.shape[1:], MASKS, occlusion=(lies > 0).astype(np.int8), occlusion_prob=lies
    )
    complete = backends.completer()
    straight = complete(both.without_cycles())
    assert (straight.amodal[0] == MASKS[0]).all()  # nothing is in front of it any more
    only = both.replace(occlusion_prob=np.array([[0, 0.95], [0.0, 0]]))
    assert (straight.amodal == complete(only).amodal).all()
    with pytest.raises(ValueError, match="without an order nothing is completed"):
        complete(both.replace(occlusion=None, occlusion_prob=None))


# --- what the package offers


def test_names_of_the_package_are_there_when_they_are_asked_for():
    assert occ_order.crf.solve and occ_order.masks.decode
    assert set(occ_order.__all__) <= set(dir(occ_order))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        occ_order.nothing  # noqa: B018


def test_static_names_are_the_ones_that_are_looked_up():
    """What a type checker sees behind TYPE_CHECKING is what `__getattr__` finds."""
    tree = ast.parse((ROOT / "occ_order" / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body for alias in node.names}
    assert seen == set(occ_order.__all__) - {"__version__"}
