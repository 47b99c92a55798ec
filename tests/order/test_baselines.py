"""Baselines: which way is in front, ties, compatibility, and five photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order.masks import bordering_pairs, decode_all
from occ_order.order import (
    area_order,
    bottom_edge_order,
    disparity_order,
    encoding,
    y_axis_order,
)
from occ_order.order.encoding import check_depth, check_occlusion

# Instance 0: large and high; 1: small, below it and touching; 2: small, lowest, touching nothing.
MASKS = np.zeros((3, 10, 6), dtype=bool)
MASKS[0, 0:5] = True
MASKS[1, 5:7, 0:3] = True
MASKS[2, 8:10, 3:6] = True
DISPARITY = np.repeat(np.arange(10.0)[:, None], 6, axis=1)  # the lower, the nearer

UPPER = [[0, 1, 0], [0, 0, 0], [0, 0, 0]]  # 0 occludes 1; 2 touches nothing
LOWER = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]  # 1 occludes 0


def test_area():
    assert area_order(MASKS).tolist() == UPPER
    assert area_order(MASKS, compat="deocclusion_cocoa").tolist() == LOWER
    # 1 and 2 have equal areas: the lower index is in front, with compat the higher.
    assert area_order(MASKS, order="depth").tolist() == [[-1, 1, 1], [0, -1, 1], [0, 0, -1]]
    smaller = area_order(MASKS, order="depth", compat="deocclusion_cocoa")
    assert smaller.tolist() == [[-1, 0, 0], [1, -1, 0], [1, 1, -1]]


def test_y_axis():
    assert y_axis_order(MASKS).tolist() == LOWER
    assert y_axis_order(MASKS, compat="instaorder").tolist() == UPPER
    expected = [[-1, 0, 0], [1, -1, 0], [1, 1, -1]]
    assert y_axis_order(MASKS, order="depth").tolist() == expected
    assert y_axis_order(MASKS, order="depth", compat="instaorder").tolist() == expected


def test_y_axis_ties():
    side_by_side = np.zeros((2, 4, 4), dtype=bool)
    side_by_side[0, :, :2] = side_by_side[1, :, 2:] = True
    assert y_axis_order(side_by_side).tolist() == [[0, 1], [0, 0]]
    assert y_axis_order(side_by_side, compat="instaorder").tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("compat", [None, "instaorder"])
def test_disparity(statistic, compat):
    options = {"statistic": statistic, "compat": compat}
    depth = disparity_order(DISPARITY + 1, MASKS, **options)
    assert depth.tolist() == [[-1, 0, 0], [1, -1, 0], [1, 1, -1]]
    assert disparity_order(DISPARITY + 1, MASKS, order="occlusion", **options).tolist() == LOWER
    flat = disparity_order(np.ones((10, 6)), MASKS, **options)
    assert (flat[~np.eye(3, dtype=bool)] == 2).all()
    assert not disparity_order(np.ones((10, 6)), MASKS, order="occlusion", **options).any()


def two_rows(first, second):
    """Two instances, one a row each, with the given disparities."""
    masks = np.zeros((2, 2, len(first)), dtype=bool)
    masks[0, 0] = masks[1, 1] = True
    return np.array([first, second], float), masks


def test_the_top_and_bottom_5_percent_are_ignored():
    """InstaOrder, footnote 3: "we ignore the top and bottom 5% disparity values". Ignoring is not
    clipping: a clipped value still counts, as the quantile."""
    ramp = np.arange(20.0)  # without 0 and 19 the mean is 9.5, whatever these two are
    first = np.concatenate([[-500.0], ramp[1:19], [9000.0]])
    values, masks = two_rows(first, np.full(20, 9.5))
    assert disparity_order(values, masks)[0, 1] == 2
    values, masks = two_rows(first, np.full(20, 9.5 + 1e-6))
    assert disparity_order(values, masks)[0, 1] == 0
    # Clipped to the quantiles of 5 and 95 %, the outliers pull the mean up.
    published = 1 / (1 / np.linspace(1, 2, 20) - 1e-6)
    published[0], published[-1] = 0.5, 40.0
    depth = 1 / (published + 1e-6)
    clipped = np.clip(depth, *np.quantile(depth, [0.05, 0.95])).mean()
    for factor, expected in ((0.999, 0), (1.001, 1)):
        other = 1 / (factor * clipped) - 1e-6
        values, masks = two_rows(published, np.full(20, other))
        assert disparity_order(values, masks, compat="instaorder")[0, 1] == expected


@pytest.mark.parametrize("size", [1, 2, 19, 20, 21, 39, 40, 100])
def test_trimmed_mean_is_that_of_scipy(size):
    rng = np.random.default_rng(size)
    drawn = rng.normal(size=(2, size))
    values, masks = two_rows(*drawn)
    means = [scipy.stats.trim_mean(row, 0.05) for row in drawn]
    assert disparity_order(values, masks)[0, 1] == (means[0] > means[1])


def test_disparity_outliers_are_left_out():
    masks = np.zeros((2, 2, 100), dtype=bool)
    masks[0, 0] = masks[1, 1] = True
    values = np.ones((2, 100))
    values[1] = 2
    values[0, :4] = 1000  # 4 of 100 pixels
    assert disparity_order(values, masks).tolist() == [[-1, 0], [1, -1]]
    assert disparity_order(values, masks, trim=0).tolist() == [[-1, 1], [0, -1]]


def test_disparity_mean_and_median_differ():
    masks = np.zeros((2, 2, 5), dtype=bool)
    masks[0, 0] = masks[1, 1] = True
    values = np.array([[0.0, 0, 0, 9, 9], [1, 1, 1, 1, 1]])
    assert disparity_order(values, masks, statistic="mean")[0, 1] == 1
    assert disparity_order(values, masks, statistic="median")[0, 1] == 0


def test_disparity_compat_averages_depth_and_takes_the_lower_median():
    masks = np.zeros((2, 2, 4), dtype=bool)
    masks[0, 0] = masks[1, 1] = True
    # Mean disparity 5.5 > 4, but mean depth of the first is about (1 + 0.1) / 2 > 1 / 4.
    values = np.array([[1.0, 1, 10, 10], [4, 4, 4, 4]])
    options = {"trim": 0.0}
    assert disparity_order(values, masks, **options)[0, 1] == 1
    assert disparity_order(values, masks, compat="instaorder", **options)[0, 1] == 0
    # Median depth: the lower of 0.1 and 1, so nearer than 1 / 4.
    options["statistic"] = "median"
    assert disparity_order(values, masks, compat="instaorder", **options)[0, 1] == 1


def test_pairs_can_be_chosen():
    everything = area_order(MASKS, pairs="all")
    assert everything.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    bordering = y_axis_order(MASKS, order="depth", pairs="bordering")
    assert bordering.tolist() == [[-1, 0, -1], [1, -1, -1], [-1, -1, -1]]


@pytest.mark.filterwarnings("error")
def test_empty_masks_take_no_part():
    masks = np.concatenate([MASKS[:2], np.zeros((1, 10, 6), dtype=bool)])
    for predict in (area_order, y_axis_order, lambda m, **k: disparity_order(DISPARITY, m, **k)):
        assert not predict(masks, order="occlusion", pairs="all")[2].any()
        assert not predict(masks, order="occlusion", pairs="all")[:, 2].any()
        depth = predict(masks, order="depth")
        assert (depth[2] == -1).all()
        assert depth[0, 1] != -1


@pytest.mark.parametrize("n", [0, 1])
def test_no_pairs(n):
    for predict in (area_order, y_axis_order, lambda m, **k: disparity_order(DISPARITY, m, **k)):
        assert predict(MASKS[:n], order="occlusion").shape == (n, n)
        np.testing.assert_array_equal(predict(MASKS[:n], order="depth"), np.full((n, n), -1))


@given(hnp.arrays(bool, st.tuples(st.integers(0, 5), st.just(4), st.just(4))), st.data())
def test_results_are_valid_and_agree_with_plain_loops(masks, data):
    values = data.draw(hnp.arrays(np.float64, (4, 4), elements=st.integers(0, 3)))
    everything = {
        "area": [m.sum() or None for m in masks],
        "y_axis": [np.nonzero(m)[0].mean() if m.any() else None for m in masks],
        "disparity": [values[m].mean() if m.any() else None for m in masks],
    }
    found = {
        "area": area_order(masks, order="depth"),
        "y_axis": y_axis_order(masks, order="depth"),
        "disparity": disparity_order(values, masks, trim=0),
    }
    for key, numbers in everything.items():
        check_depth(found[key])
        for i in range(len(masks)):
            for j in range(i + 1, len(masks)):
                a, b = numbers[i], numbers[j]
                if a is None or b is None:
                    expected = -1
                elif np.isclose(a, b, rtol=1e-12):
                    expected = 2 if key == "disparity" else 1
                else:
                    expected = int(a > b)
                if key == "disparity" and expected == 2:
                    continue  # the order of the sum decides about the last bit
                assert found[key][i, j] == expected
    check_occlusion(area_order(masks))
    check_occlusion(y_axis_order(masks))
    check_occlusion(disparity_order(values, masks, order="occlusion"))


def test_category_valued_masks_count_as_masks():
    np.testing.assert_array_equal(area_order(MASKS * 44), area_order(MASKS))
    np.testing.assert_array_equal(y_axis_order(MASKS * 7), y_axis_order(MASKS))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: area_order(MASKS, order="both"), "order must be one of occlusion, depth"),
        (lambda: area_order(MASKS, pairs="nbor"), "pairs must be one of"),
        (lambda: area_order(MASKS, compat="instaorder"), "compat must be one of"),
        (lambda: y_axis_order(MASKS, compat="kins"), "compat must be one of"),
        (lambda: y_axis_order(MASKS[0]), "N, H, W"),
        (lambda: disparity_order(DISPARITY, MASKS, statistic="max"), "statistic must be"),
        (lambda: disparity_order(DISPARITY, MASKS, trim=0.5), "trim must be"),
        (lambda: disparity_order(DISPARITY, MASKS, trim=np.nan), "trim must be"),
        (lambda: disparity_order(DISPARITY.T, MASKS), r"disparity is \(6, 10\)"),
        (lambda: disparity_order(DISPARITY * np.nan, MASKS), "not finite"),
    ],
)
def test_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def photographs(cocoa_demo):
    """(modal, amodal, occ) of five photographs with human COCOA annotation."""
    content = json.loads((cocoa_demo / "COCO_amodal_demo5.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    result = []
    for entry in content["annotations"]:
        regions, size = entry["regions"], sizes[entry["image_id"]]
        amodal = [region["segmentation"] for region in regions]
        modal = [region.get("visible_mask", region["segmentation"]) for region in regions]
        occ = encoding.occlusion_from_depth_constraint(entry["depth_constraint"], len(regions))
        result.append((decode_all(modal, *size), decode_all(amodal, *size), occ))
    return result


def test_heuristics_are_right_on_23_of_50_pairs_of_the_photographs(photographs):
    right = {"area": 0, "y": 0, "area compat": 0, "y compat": 0}
    total = 0
    for modal, _, occ in photographs:
        edges = occ == 1
        total += edges.sum()
        right["area"] += area_order(modal, pairs="all")[edges].sum()
        right["y"] += y_axis_order(modal, pairs="all")[edges].sum()
        right["area compat"] += area_order(modal, pairs="all", compat="deocclusion_cocoa")[
            edges
        ].sum()
        right["y compat"] += y_axis_order(modal, pairs="all", compat="instaorder")[edges].sum()
    assert total == 50
    assert right == {"area": 23, "y": 23, "area compat": 27, "y compat": 27}


def test_mask_rule_agrees_with_the_annotated_order_of_bordering_pairs(photographs):
    total = 0
    for modal, amodal, occ in photographs:
        found = encoding.occlusion_from_masks(modal, amodal)
        np.testing.assert_array_equal(found, occ * bordering_pairs(modal))
        total += found.sum()
    assert total == 49


def test_bottom_edge():
    assert bottom_edge_order(MASKS).tolist() == LOWER
    depth = bottom_edge_order(MASKS, order="depth")
    assert depth.tolist() == [[-1, 0, 0], [1, -1, 0], [1, 1, -1]]
    # The last row decides, however little of the mask is there; equal ones decide nothing.
    masks = np.zeros((3, 6, 6), bool)
    masks[0, 0:4, 0:3] = masks[0, 4, 0] = masks[1, 3:5, 3:6] = masks[2, 0:4, 3] = True
    masks[1, 3, 3] = False
    assert bottom_edge_order(masks).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert bottom_edge_order(masks, order="depth")[0, 1] == encoding.EQUAL
    assert bottom_edge_order(np.zeros((2, 3, 3), bool), pairs="all").tolist() == [[0, 0], [0, 0]]
    assert bottom_edge_order(np.zeros((0, 3, 3), bool)).shape == (0, 0)


@pytest.mark.parametrize("rule", [area_order, y_axis_order, bottom_edge_order])
def test_masks_that_border_across_a_gap(rule):
    masks = np.zeros((2, 8, 3), bool)
    masks[0, 0:4], masks[1, 6:8] = True, True
    assert not rule(masks).any()
    assert not rule(masks, gap=1).any()
    assert rule(masks, gap=2).sum() == 1
