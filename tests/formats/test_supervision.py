"""Detections of supervision: instances there and back, with their order."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from occ_order.formats.supervision_detections import from_detections, to_detections
from occ_order.instances import OrderedInstances

SIZE = (6, 8)


def mask(y0, y1, x0, x1):
    result = np.zeros(SIZE, bool)
    result[y0:y1, x0:x1] = True
    return result


@pytest.fixture
def result():
    return OrderedInstances(
        3,
        SIZE,
        np.stack([mask(0, 3, 0, 4), mask(2, 6, 5, 8), mask(4, 6, 0, 2)]),
        classes=np.array([2, 4, 2]),
        names=("cup", "tray", "cup"),
        scores=np.array([0.9, 0.8, 0.7]),
        ids=(10, 20, 30),
        occlusion=np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
    )


def test_detections_there_and_back(result):
    pytest.importorskip("supervision", reason="pip install supervision")
    detections = to_detections(result)
    assert detections.xyxy.tolist()[1] == [5, 2, 8, 6]
    assert detections.data["occludes"] == [[20], [30], []]
    assert detections.data["layer"].tolist() == [0, 1, 2]
    back = from_detections(detections, SIZE, image_id=3)
    assert back.to_dict() == result.to_dict()


def test_numbers_and_texts_as_ids_stay_what_they_are(result):
    pytest.importorskip("supervision", reason="pip install supervision")
    mixed = result.replace(ids=(10, "b", 30))
    back = from_detections(to_detections(mixed), SIZE)
    assert back.ids == (10, "b", 30) and np.array_equal(back.occlusion, mixed.occlusion)


def test_filtered_detections_keep_their_order(result):
    pytest.importorskip("supervision", reason="pip install supervision")
    detections = to_detections(result)
    back = from_detections(detections[detections.class_id == 2], SIZE)
    assert back.ids == (10, 30) and back.occlusion.tolist() == [[0, 0], [0, 0]]
    back = from_detections(detections[np.array([2, 1])], SIZE)
    assert back.ids == (30, 20) and back.occlusion.tolist() == [[0, 0], [1, 0]]


def test_no_detections_and_detections_without_masks(result):
    supervision = pytest.importorskip("supervision", reason="pip install supervision")
    assert len(from_detections(to_detections(result[[]]), SIZE)) == 0
    boxes = supervision.Detections(xyxy=np.array([[0, 0, 2, 2]]))
    with pytest.raises(ValueError, match="masks are needed"):
        from_detections(boxes, SIZE)


def test_without_supervision_it_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        to_detections(result)
