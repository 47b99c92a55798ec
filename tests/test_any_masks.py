"""Any stack of masks, also of none, of empty and of equal ones, gets an answer everywhere."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from occ_order import crf, masks, metrics, order, targets
from occ_order.order import io

HEIGHT, WIDTH = 7, 9
FULL = np.ones((HEIGHT, WIDTH), bool)
EMPTY = np.zeros((HEIGHT, WIDTH), bool)


def block(y0, x0, y1, x1):
    mask = EMPTY.copy()
    mask[y0:y1, x0:x1] = True
    return mask


STACKS = {
    "none": [],
    "one": [block(1, 1, 4, 4)],
    "empty": [EMPTY],
    "empty and whole": [EMPTY, FULL],
    "one pixel": [block(3, 3, 4, 4), block(3, 4, 5, 6)],
    "identical": [block(1, 1, 5, 5)] * 3,
    "whole": [FULL, FULL],
    "overlapping": [block(0, 0, 5, 5), block(3, 3, 7, 9), FULL, EMPTY],
}


@pytest.fixture(params=STACKS)
def stack(request):
    return np.array(STACKS[request.param], bool).reshape(-1, HEIGHT, WIDTH)


@pytest.fixture
def strict():
    """Any warning is an error here, whoever raises it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_baselines_order_only_what_is_there(stack, strict):
    n = len(stack)
    disparity = np.arange(HEIGHT * WIDTH, dtype=float).reshape(HEIGHT, WIDTH)
    answers = [order.area_order(stack), order.y_axis_order(stack)]
    answers += [order.disparity_order(disparity, stack, order="occlusion")]
    for occ in answers:
        order.check_occlusion(occ)
        assert occ.shape == (n, n) and not (occ & occ.T).any()
        assert not occ[~stack.any(axis=(1, 2))].any()  # what is not there occludes nothing
    depth = order.disparity_order(disparity, stack)
    order.check_depth(depth)
    assert depth.shape == (n, n)
    seen = stack.any(axis=(1, 2))
    assert (depth[~seen] == order.UNKNOWN).all()


def test_of_identical_masks_one_is_in_front_of_the_other(strict):
    """Never both, and by the documented rule: the lower index."""
    same = np.array(STACKS["identical"])
    expected = np.triu(np.ones((3, 3), np.int8), 1)
    np.testing.assert_array_equal(order.area_order(same), expected)
    np.testing.assert_array_equal(order.y_axis_order(same), expected)
    assert (np.triu(order.area_order(same, order="depth"), 1) == expected).all()


def test_targets_cover_the_masks(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    ids = masks.paint(stack, occlusion=occ)
    boundary, orientation = targets.oriented_boundary(ids, occ)
    np.testing.assert_allclose(orientation.sum(axis=0), boundary)
    levels = targets.visibility_levels(stack, occ)
    np.testing.assert_array_equal(levels >= 0, stack)
    layers = targets.global_layers(stack)
    np.testing.assert_array_equal(layers[0], stack.any(axis=0))
    visible = targets.decode_level_set(targets.level_set(np.clip(levels, -1, 3))).modal
    np.testing.assert_array_equal(visible, levels == 0)


def test_the_crf_labels_what_was_painted(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    ids = masks.paint(stack, occlusion=occ)
    occludes = crf.occludes_from_target(*targets.oriented_boundary(ids, occ))
    result = crf.solve(np.where(ids > 0, 0.0, 1.0), occludes)
    assert result.labels.shape == ids.shape
    found = crf.instances(result.labels)
    assert len(found.classes) == found.ids.max(initial=0)


def test_metrics_stay_within_their_bounds(stack, strict):
    n = len(stack)
    occ = np.triu(np.ones((n, n), np.int8), 1)
    image = {"masks": stack, "classes": np.ones(n, int), "occlusion": occ}
    predicted = {**image, "scores": np.linspace(1, 0.5, n)}
    curve = metrics.oair([image], [predicted], iou_thresholds=[0.5])
    assert all(math.isnan(v) or 0 <= v <= 100 for values in curve.values() for v in values)
    coverage = metrics.weighted_coverage(stack, stack)
    assert coverage in (0, 1, 100) or math.isnan(coverage)
    assert metrics.mask_iou(stack, stack).shape == (n, n)
    iou = metrics.mask_iou(stack, stack)
    for k in range(n):
        assert iou[k, k] == (1 if stack[k].any() else 0)


def test_a_results_file_gives_the_masks_back(stack, strict, tmp_path):
    n = len(stack)
    image = io.results_image(
        image_id=1, height=HEIGHT, width=WIDTH, modal=stack, classes=[1] * n, scores=[0.5] * n,
        occlusion=np.zeros((n, n), np.int8),
    )  # fmt: skip
    io.save_results(tmp_path / "r.json", [image])
    (read,) = io.load_results(tmp_path / "r.json")
    again = [masks.decode(i["segmentation"], HEIGHT, WIDTH) for i in read["instances"]]
    np.testing.assert_array_equal(np.array(again).reshape(stack.shape), stack)
