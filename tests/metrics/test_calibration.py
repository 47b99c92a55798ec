"""Calibration of scores: known answers by hand, recovery of a known miscalibration."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools.mask import encode
from scipy.special import expit, logit

from occ_order.metrics.calibration import (
    best_f1,
    calibration_scores,
    expected_calibration_error,
    fit_platt,
    platt_scaled,
)


def image(boxes, scores=None, classes=None) -> dict:
    """Masks of (top, bottom) rows of an image of ten rows."""
    masks = np.zeros((len(boxes), 10, 4), np.uint8)
    for mask, (top, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom] = 1
    encoded = [encode(np.asfortranarray(mask)) for mask in masks]
    classes = np.zeros(len(boxes), int) if classes is None else np.array(classes)
    return {"masks": encoded, "classes": classes, "scores": np.array(scores or [])}


def test_a_data_set_by_hand() -> None:
    gt = [image([(0, 4), (5, 9)]), image([(0, 5)]), image([]), image([(0, 5)])]
    pred = [
        image([(0, 4), (0, 3), (5, 10)], [0.85, 0.65, 0.75]),  # the second finds what is found
        image([(5, 10)], [0.25]),
        image([(0, 9)], [0.35]),
        image([(0, 5)], [0.95], [1]),  # of another class
    ]
    found = calibration_scores(gt, pred)
    error = (0.15 + 0.25 + 0.65 + 0.25 + 0.35 + 0.95) / 6
    assert found["ece"] == pytest.approx(100 * error)
    # From .75 on: two right and one wrong of four; only .85 and .95 would give 1 / 3.
    assert found["threshold"] == 0.75 and found["f1"] == pytest.approx(100 * 2 * 2 / (3 + 4))
    scores, right = [0.85, 0.65, 0.75, 0.25, 0.35, 0.95], [1, 0, 1, 0, 0, 0]
    assert (found["platt_scale"], found["platt_shift"]) == fit_platt(scores, right)
    assert np.isnan(found["ece_platt"])  # nothing right in every other image: nothing to fit


def test_without_any_detection_nothing_is_known() -> None:
    found = calibration_scores([image([(0, 4)])], [image([], [])])
    assert found["f1"] == 0 and all(np.isnan(found[key]) for key in set(found) - {"f1"})


def test_the_error_by_hand() -> None:
    # Bin .2 to .3: mean score .25, none right; bin .9 to 1: mean .95 and three of four right.
    scores, right = [0.24, 0.26, 0.9, 0.95, 0.95, 1.0], [False, False, True, True, False, True]
    expected = (2 * 0.25 + 4 * (0.95 - 0.75)) / 6
    assert expected_calibration_error(scores, right) == pytest.approx(expected)
    assert np.isnan(expected_calibration_error([], []))


def test_scores_that_are_probabilities_have_a_small_error_and_keep_their_scale() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(20000)
    right = rng.random(20000) < scores
    assert expected_calibration_error(scores, right) < 0.02
    assert fit_platt(scores, right) == pytest.approx((1, 0), abs=0.05)


def test_platt_scaling_undoes_a_known_change() -> None:
    rng = np.random.default_rng(2)
    true = rng.random(20000)
    right = rng.random(20000) < true
    scores = expit((logit(true) + 1) * 3)
    scale, shift = fit_platt(scores, right)
    assert (scale, shift) == pytest.approx((1 / 3, -1), abs=0.06)
    before = expected_calibration_error(scores, right)
    assert before > 0.1 > 5 * expected_calibration_error(platt_scaled(scores, scale, shift), right)


def test_a_perfect_separation_stays_finite() -> None:
    assert np.isfinite(fit_platt([0.1, 0.2, 0.8, 0.9], [False, False, True, True])).all()


def test_the_threshold_of_the_best_f1() -> None:
    scores, right = [0.9, 0.8, 0.8, 0.1], [True, True, False, False]
    # Thresholds .9, .8, .1 keep 1, 3 and 4 detections with 1, 2 and 2 right ones of 3 instances.
    assert best_f1(scores, right, 3) == pytest.approx((0.8, 2 * 2 / (3 + 3)))
    threshold, f1 = best_f1([0.5], [False], 2)
    assert np.isnan(threshold) and f1 == 0


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [([0.5, 1.5], [True, False], r"\[0, 1\]"), ([0.5], [True, False], r"\(P,\)")],
)
def test_wrong_input_is_refused(scores, right, message) -> None:
    for function in (expected_calibration_error, fit_platt):
        with pytest.raises(ValueError, match=message):
            function(scores, right)


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_one_kind_alone_cannot_be_calibrated(right) -> None:
    with pytest.raises(ValueError, match="right and wrong"):
        fit_platt([0.2, 0.7], right)
