from __future__ import annotations

import math

import numpy as np
import pytest

from occ_order.metrics import (
    align_scale_shift,
    depth_errors,
    disparity_to_depth,
    diw_relation,
    diw_whdr,
    mean_depth_errors,
)
from occ_order.metrics.depth import DEPTH_ERRORS


def test_errors_by_hand():
    gt = np.array([[2.0, 4.0], [0.0, 90.0]])  # the second row is not valid
    pred = np.array([[4.0, 4.0], [9.0, 9.0]])
    found = depth_errors(gt, pred, scale="none")
    log2 = math.log(2)
    expected = {
        "abs_rel": 0.5,
        "sq_rel": 1.0,
        "rmse": math.sqrt(2),
        "rmse_log": math.sqrt(log2**2 / 2),
        "d1": 0.5,
        "d2": 0.5,
        "d3": 0.5,
        "silog": log2 / 2,
    }
    assert found == pytest.approx(expected)


def test_thresholds_of_the_three_accuracies():
    gt = np.ones((1, 4))
    pred = np.array([[1.2, 1 / 1.5, 1.9, 2.0]])
    found = depth_errors(gt, pred, scale="none")
    assert [found[name] for name in ("d1", "d2", "d3")] == [0.25, 0.5, 0.75]


def test_median_scaling_forgives_the_unit_and_silog_the_scale():
    rng = np.random.default_rng(0)
    gt, pred = rng.uniform(1, 50, (2, 6, 7))
    metres = depth_errors(gt, pred)
    assert depth_errors(gt, pred * 37.0) == pytest.approx(metres)
    assert depth_errors(gt, gt * 5) == pytest.approx(
        dict(zip(DEPTH_ERRORS, (0, 0, 0, 0, 1, 1, 1, 0), strict=True))
    )
    plain = [depth_errors(gt, pred * k, scale="none")["silog"] for k in (1, 0.7)]
    assert plain[0] == pytest.approx(plain[1])


def test_prediction_is_clipped():
    gt = np.array([[40.0, 80.0]])
    found = depth_errors(gt, np.array([[40.0, 1e6]]), scale="none")
    assert found["rmse"] == 0
    assert depth_errors(gt, np.zeros((1, 2)), scale="none", min_depth=1)[
        "abs_rel"
    ] == pytest.approx((39 / 40 + 79 / 80) / 2)


def test_no_valid_pixel_is_nan_and_left_out_of_the_mean():
    nothing = depth_errors(np.zeros((2, 2)), np.ones((2, 2)))
    assert tuple(nothing) == DEPTH_ERRORS and np.isnan(list(nothing.values())).all()
    good = depth_errors(np.ones((2, 2)), np.full((2, 2), 2.0), scale="none")
    assert mean_depth_errors([nothing, good]) == pytest.approx(good)
    assert np.isnan(list(mean_depth_errors([]).values())).all()


def test_disparity_to_depth_by_hand():
    depth = disparity_to_depth(np.array([[2.0, 4.0], [3.0, 2.0]]))
    expected = [[1 / 0.001, 1 / 0.501], [1 / 0.251, 1 / 0.001]]
    np.testing.assert_allclose(depth, expected)


@pytest.mark.parametrize("disparity", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.zeros((0, 2))])
def test_useless_disparity_is_refused(disparity):
    with pytest.raises(ValueError, match="disparity must"):
        disparity_to_depth(disparity)


def test_alignment_recovers_scale_and_shift():
    rng = np.random.default_rng(1)
    pred = rng.random((5, 6))
    mask = rng.random((5, 6)) < 0.7
    target = np.where(mask, 3 * pred - 2, np.nan)
    assert align_scale_shift(pred, target, mask=mask) == pytest.approx((3, -2))
    noisy = rng.random((5, 6))
    expected = np.linalg.lstsq(np.stack([pred.ravel(), np.ones(30)], 1), noisy.ravel(), rcond=None)[
        0
    ]
    assert align_scale_shift(pred, noisy) == pytest.approx(tuple(expected))


def test_alignment_of_constants_and_of_nothing():
    assert align_scale_shift(np.ones((2, 2)), np.array([[1, 2], [3, 4]])) == (0.0, 2.5)
    assert np.isnan(
        align_scale_shift(np.ones((2, 2)), np.ones((2, 2)), mask=np.zeros((2, 2)))
    ).all()
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        align_scale_shift(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        align_scale_shift(np.ones((2, 2)), np.full((2, 2), np.inf))


def test_diw_relation():
    disparity = np.array([[1.0, 5.0], [5.0, 2.0]])
    assert diw_relation(disparity, (0, 1), (0, 0)) == "<"  # larger disparity = nearer
    assert diw_relation(disparity, (0, 0), (0, 1)) == ">"
    assert diw_relation(disparity, (0, 1), (1, 0)) == ">"  # equal
    ramp = np.tile(np.arange(8.0), (8, 1))
    assert diw_relation(ramp, (30, 30), (2, 3), size=(32, 32)) == "<"


def test_diw_rate():
    assert diw_whdr("<<>>", "<>>>") == 25.0
    assert diw_whdr("<>", "><") == 100.0 and diw_whdr("<", "<") == 0.0
    assert np.isnan(diw_whdr([], []))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        depth_errors(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="not finite"):
        depth_errors(np.ones((2, 2)), np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="median of pred is 0"):
        depth_errors(np.ones((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="'mean'"):
        depth_errors(np.ones((2, 2)), np.ones((2, 2)), scale="mean")
    with pytest.raises(ValueError, match="min_depth"):
        depth_errors(np.ones((2, 2)), np.ones((2, 2)), min_depth=0)
    with pytest.raises(ValueError, match=r"point B .*outside \(2, 2\)"):
        diw_relation(np.ones((2, 2)), (0, 0), (2, 0))
    with pytest.raises(ValueError, match="1 relations and 2 predictions"):
        diw_whdr("<", "<>")
    with pytest.raises(ValueError, match="'='"):
        diw_whdr("=", "<")
