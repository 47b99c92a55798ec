"""A set of scenes has the statistics that make it worth learning from."""

import math

import cv2
import numpy as np
import pytest

from occ_order.scenes import CLASSES, generate_many
from occ_order.scenes.scene import Scene
from occ_order.scenes.statistics import summarize


@pytest.fixture(scope="module")
def scenes():
    return list(generate_many(20, 50, size=(72, 72)))


def is_thin(mask):
    """Is the largest disc inside the mask less than a sixth as wide as the mask is long?"""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    length = math.hypot(np.ptp(rows) + 1, np.ptp(cols) + 1)
    padded = np.pad(mask.astype(np.uint8), 1)
    return 2 * cv2.distanceTransform(padded, cv2.DIST_L2, 5).max() < length / 6


def test_statistics_are_in_bounds(scenes):
    found = summarize(scenes)
    bounds = {
        "instances_per_scene": (5.5, 7.5),
        "occluding_share": (0.3, 0.65),
        "bidirectional_share": (0.03, 0.13),
        "covered": (0.3, 0.7),
        "area_occlusion": (0.5, 0.8),  # cues, but not the answer
        "y_occlusion": (0.45, 0.75),
        "area_depth": (0.5, 0.8),
        "y_depth": (0.45, 0.75),
        "occluder_closer": (0.8, 0.99),
        "distinct_share": (0.55, 0.85),
        "equal_share": (0.003, 0.06),
        "mean_count": (2.1, 2.8),
    }
    for name, (low, high) in bounds.items():
        assert low <= found[name] <= high, (name, found[name])
    assert found["cyclic_scenes"] == 0
    assert sum(found["hidden_histogram"]) == pytest.approx(1)
    assert found["hidden_histogram"][0] < 0.5 and found["hidden_histogram"][4] > 0.05
    assert found["level_histogram"][1] > 0.1 and found["level_histogram"][2] > 0.01


def test_every_class_and_both_thin_and_cut_objects_appear(scenes):
    seen = np.unique(np.concatenate([scene.classes for scene in scenes]))
    assert seen.tolist() == list(range(len(CLASSES)))
    cut = thin = total = 0
    for scene in scenes:
        border = np.zeros(scene.disparity.shape, dtype=bool)
        border[[0, -1]] = border[:, [0, -1]] = True
        cut += int((scene.amodal & border).any(axis=(1, 2)).sum())
        thin += sum(map(is_thin, scene.amodal))
        total += len(scene.classes)
    assert 0.1 < cut / total < 0.6
    assert 0.1 < thin / total < 0.6


def test_known_answer():
    amodal = np.zeros((2, 4, 4), dtype=bool)
    amodal[0, :2] = True  # 8 pixels, above
    amodal[1, 1:] = True  # 12 pixels, below, behind
    modal = amodal.copy()
    modal[1, 1] = False
    scene = Scene(
        image=np.zeros((4, 4, 3), np.uint8),
        modal=modal,
        amodal=amodal,
        levels=np.where(amodal, (~modal).astype(np.int8), np.int8(-1)),
        classes=np.array([0, 1]),
        occlusion=np.array([[0, 1], [0, 0]], np.int8),
        depth=np.array([[-1, 1], [0, -1]], np.int8),
        overlap=np.array([[-1, 0], [0, -1]], np.int8),
        count=np.array([[-1, 3], [3, -1]], np.int16),
        disparity=np.ones((4, 4), np.float32),
        depth_range=np.array([[1, 2], [3, 4]], np.float32),
        kind="wall",
    )
    found = summarize([scene])
    assert (found["pairs"], found["occluding_pairs"], found["covered"]) == (1, 1, 1.0)
    assert (found["area_occlusion"], found["y_occlusion"]) == (0.0, 0.0)  # equal areas; higher up
    assert (found["occluder_closer"], found["distinct_share"], found["mean_count"]) == (1, 1, 3)
    assert found["hidden_histogram"] == [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]  # 4 of 12 hidden
    assert found["level_histogram"] == [0.8, 0.2, 0.0, 0.0, 0.0]


def test_nothing_counted_is_nan():
    found = summarize([])
    assert found["scenes"] == 0 and found["pairs"] == 0
    assert math.isnan(found["bidirectional_share"]) and math.isnan(found["equal_share"])
