"""FiftyOne: samples and their detections, by stand-ins that keep what FiftyOne's classes keep."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from occ_order.formats.fiftyone_sample import from_detections, to_sample
from occ_order.formats.given import as_instances
from occ_order.instances import OrderedInstances
from tests.formats.boxes import CUP, SIZE, TRAY, box


class Detection(SimpleNamespace):
    """fiftyone.Detection: these fields, None where not given, and any others."""

    def __init__(self, **fields):
        known = dict.fromkeys(("label", "bounding_box", "mask", "mask_path", "confidence", "index"))
        super().__init__(**{**known, **fields})


@pytest.fixture
def fiftyone(monkeypatch):
    module = ModuleType("fiftyone")
    module.Detection = Detection
    module.Detections = lambda detections: SimpleNamespace(detections=detections)
    module.Sample = lambda filepath, **fields: SimpleNamespace(filepath=filepath, **fields)
    monkeypatch.setitem(sys.modules, "fiftyone", module)


@pytest.fixture
def result():
    ring = box(0, 4, 15, 20) & ~box(1, 3, 16, 18)
    return OrderedInstances(
        3, SIZE, np.stack([CUP & ~TRAY, TRAY, ring]), ids=(4, "b", 15), classes=[1, 2, 1],
        names=("cup", "tray", "cup"), scores=[0.5, 1, 0.75], file_name="photos/a.jpg",
        occlusion=np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]]),
    )  # fmt: skip


@pytest.mark.usefixtures("fiftyone")
def test_a_sample_says_the_same_as_the_result(result):
    sample = result.to_fiftyone()
    assert sample.filepath == "photos/a.jpg"
    tray = sample.order.detections[1]
    assert tray.bounding_box == [0.4, 0.4, 0.4, 0.5] and tray.mask.shape == (5, 8)
    assert tray.label == "tray" and tray.occludes == ["4", "15"] and tray.layer == 0
    found = as_instances(sample.order, SIZE)
    for key in ("modal", "occlusion", "classes", "scores"):
        assert np.array_equal(getattr(found, key), getattr(result, key)), key
    assert (found.ids, found.names) == (result.ids, result.names)


@pytest.mark.usefixtures("fiftyone")
def test_filtered_detections_keep_their_order(result):
    order = result.to_fiftyone().order
    order.detections = order.detections[1:]
    found = from_detections(order, SIZE)
    assert found.ids == ("b", 15) and found.occlusion.tolist() == [[0, 1], [0, 0]]


@pytest.mark.usefixtures("fiftyone")
def test_instances_without_a_pixel_or_a_file_name(result):
    hidden = result.replace(modal=result.modal & np.array([1, 0, 1], bool)[:, None, None])
    assert [one.instance_id for one in to_sample(hidden).order.detections] == ["4", "15"]
    with pytest.raises(ValueError, match="image 3: a sample needs the file name"):
        to_sample(result.replace(file_name=None))


def test_detections_of_others():
    """A mask of another size than its box, as FiftyOne stretches it; no order, no confidence."""
    one = Detection(label="cup", bounding_box=[0.1, 0.2, 0.4, 0.4], mask=np.ones((2, 2), bool))
    found = from_detections(SimpleNamespace(detections=[one]), SIZE)
    assert np.array_equal(found.modal, [CUP]) and found.occlusion is None
    assert found.ids == (1,) and found.scores.tolist() == [1.0]
    with pytest.raises(ValueError, match="detection 0 has no mask"):
        from_detections(SimpleNamespace(detections=[Detection(label="x")]), SIZE)
    assert len(from_detections(SimpleNamespace(detections=[]), SIZE)) == 0


def test_without_fiftyone_it_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(ImportError, match="pip install fiftyone"):
        to_sample(result)
