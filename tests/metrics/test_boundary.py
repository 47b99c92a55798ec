from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from occ_order.metrics.boundary import (
    boundary_counts,
    boundary_curves,
    boundary_scores,
    boundary_summary,
    threshold_values,
)
from occ_order.metrics.boundary_matching import match_points, occluder_theta, same_orientation
from occ_order.targets.edge_nms import edge_nms
from occ_order.targets.oriented_boundary import flip_orientation, oriented_boundary

LEFT, RIGHT, TOP, BOTTOM = np.eye(4)
SCORES = {
    f"{prefix}{name}" for prefix in ("", "boundary_") for name in ("ods", "ois", "ap", "ap_doc")
} | {"aor"}


def scene(seed: int, size: tuple[int, int] = (90, 120)) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth of a few ellipses in front of each other, away from the image border."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(size, np.int32)
    for k in range(1, 6):
        centre = int(rng.integers(35, size[1] - 35)), int(rng.integers(30, size[0] - 30))
        axes = int(rng.integers(8, 25)), int(rng.integers(8, 20))
        cv2.ellipse(ids, centre, axes, float(rng.integers(0, 180)), 0, 360, k, -1)
    return oriented_boundary(ids, np.tril(np.ones((5, 5), np.int8), -1))


def blurred(gt, seed: int = 0, sigma: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """A prediction with soft edges of uneven strength, spurious response and noisy direction."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(gt[0].astype(np.float32), (0, 0), sigma)
    strength = cv2.resize(rng.random((4, 5)), gt[0].shape[::-1], interpolation=cv2.INTER_LINEAR)
    clutter = cv2.GaussianBlur(rng.random(gt[0].shape), (0, 0), 2)
    prob = np.clip(soft / soft.max() * strength + 0.3 * clutter**2, 0, 1)
    direction = np.stack([cv2.GaussianBlur(channel, (0, 0), sigma) for channel in gt[1]])
    return prob, direction + 0.02 * rng.random(direction.shape)


def counts_table(*images: list[tuple[int, int, int, int]]) -> np.ndarray:
    return np.array(images, dtype=np.int64)


# ------------------------------------------------------------------------- whole data sets


def test_perfect_prediction_scores_one() -> None:
    gt = [scene(seed) for seed in range(3)]
    scores = boundary_scores(gt, [(b.astype(float), e) for b, e in gt], thresholds=9)
    assert set(scores) == SCORES | {"ods_threshold"}
    for name in SCORES - {"ap_doc", "boundary_ap_doc"}:
        assert scores[name] == pytest.approx(1.0), name
    # The published computation has no area under a curve that is a single point.
    assert scores["ap_doc"] == scores["boundary_ap_doc"] == 0.0


def test_reversed_orientation_keeps_the_boundary_and_loses_everything_else() -> None:
    gt = [scene(seed) for seed in range(2)]
    scores = boundary_scores(gt, [(b.astype(float), e[[1, 0, 3, 2]]) for b, e in gt], thresholds=9)
    assert scores["boundary_ods"] == scores["boundary_ois"] == scores["boundary_ap"] == 1.0
    assert scores["ods"] == scores["ois"] == scores["ap"] == scores["aor"] == 0.0


def test_soft_prediction_lies_in_between_and_orientation_only_costs() -> None:
    gt = [scene(seed) for seed in range(2)]
    scores = boundary_scores(gt, [blurred(g) for g in gt], thresholds=19)
    assert 0.3 < scores["ods"] < scores["boundary_ods"] < 1
    assert scores["ois"] >= scores["ods"] - 1e-12
    assert scores["ap"] <= scores["boundary_ap"] < 1
    assert 0.5 < scores["aor"] < 1


def test_order_of_images_and_where_they_are_counted_do_not_matter() -> None:
    gt = [scene(seed) for seed in range(3)]
    pred = [blurred(g, seed) for seed, g in enumerate(gt)]
    together = boundary_scores(gt, pred, thresholds=9)
    counts = [boundary_counts(g, p, thresholds=9) for g, p in zip(gt, pred, strict=True)]
    assert boundary_summary(np.stack(counts[::-1]), thresholds=9) == pytest.approx(together)


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_mirroring_everything_changes_nothing(axis: str) -> None:
    gt = scene(1)
    pred = blurred(gt)
    image_axis = 1 if axis == "horizontal" else 0

    def mirror(maps):
        return np.flip(maps[0], image_axis), flip_orientation(maps[1], axis=axis)

    expected = boundary_counts(gt, pred, thresholds=9)
    assert expected[:, 1].min() < expected[:, 0].max()
    assert np.array_equal(boundary_counts(mirror(gt), mirror(pred), thresholds=9), expected)


def test_scale_of_the_orientation_channels_does_not_matter() -> None:
    gt = scene(2)
    prob, direction = blurred(gt)
    one = boundary_counts(gt, (prob, direction), thresholds=5)
    assert np.array_equal(boundary_counts(gt, (prob, direction * prob), thresholds=5), one)


# ------------------------------------------------------------------------ counts by hand


def line(columns: dict[int, float], direction: np.ndarray, size: int = 200):
    """Vertical lines of three pixels at rows 100..102: column -> probability."""
    prob, orientation = np.zeros((size, size)), np.zeros((4, size, size))
    for column, value in columns.items():
        prob[100:103, column] = value
        orientation[:, 100:103, column] = direction[:, None]
    return prob, orientation


def test_counts_by_hand() -> None:
    # 200 x 200: reach 0.0075 * 282.8 = 2.12 px. Column 102 is 2 px off, column 110 too far.
    gt_prob, gt_orientation = line({100: 1.0}, LEFT)
    gt = gt_prob > 0, gt_orientation
    prob, orientation = line({102: 0.9, 110: 0.5}, LEFT)
    orientation[:, 102, 102] = RIGHT
    counts = boundary_counts(gt, (prob, orientation), thresholds=[0.4, 0.8, 0.95], thin=False)
    assert counts.tolist() == [[3, 2, 3, 6], [3, 2, 3, 3], [0, 0, 3, 0]]
    # A quarter turn is still right, so bottom would not have cost anything.
    orientation[:, 102, 102] = BOTTOM
    counts = boundary_counts(gt, (prob, orientation), thresholds=[0.8], thin=False)
    assert counts.tolist() == [[3, 3, 3, 3]]
    # Reach 1 px: nothing matches.
    counts = boundary_counts(
        gt, (prob, orientation), thresholds=[0.8], thin=False, max_distance=1 / math.hypot(200, 200)
    )
    assert counts.tolist() == [[0, 0, 3, 3]]


def test_one_to_one_a_double_line_is_half_false() -> None:
    gt_prob, gt_orientation = line({100: 1.0}, TOP)
    counts = boundary_counts(
        (gt_prob > 0, gt_orientation), line({100: 1.0, 101: 1.0}, TOP), thresholds=1, thin=False
    )
    assert counts.tolist() == [[3, 3, 3, 6]]


def test_equally_short_matchings_prefer_the_right_orientation() -> None:
    # The ground truth lies between two predictions, one of them turned round.
    gt_prob, gt_orientation = line({100: 1.0}, LEFT)
    prob, orientation = line({99: 1.0, 101: 1.0}, RIGHT)
    orientation[:, 100:103, 101] = LEFT[:, None]
    counts = boundary_counts(
        (gt_prob > 0, gt_orientation), (prob, orientation), thresholds=1, thin=False
    )
    assert counts.tolist() == [[3, 3, 3, 6]]


def test_undirected_ground_truth_accepts_anything_but_not_the_reverse() -> None:
    thin_object = line({100: 1.0}, (LEFT + RIGHT) / 2)
    normal = line({100: 1.0}, LEFT)
    as_gt = thin_object[0] > 0, thin_object[1]
    assert boundary_counts(as_gt, normal, thresholds=1).tolist() == [[3, 3, 3, 3]]
    assert boundary_counts(as_gt, thin_object, thresholds=1).tolist() == [[3, 3, 3, 3]]
    as_gt = normal[0] > 0, normal[1]
    assert boundary_counts(as_gt, thin_object, thresholds=1).tolist() == [[3, 0, 3, 3]]


# ------------------------------------------------------------------------ scores by hand


def test_summary_by_hand() -> None:
    # Recall .8 / .4, precision .5 / 1 for the boundary; a quarter of the first has the wrong side.
    counts = counts_table([(8, 6, 10, 16), (4, 4, 10, 4)])
    scores = boundary_summary(counts)
    # Between the thresholds (r, p) = (.8 - .4s, .5 + .5s); F is largest where its derivative
    # vanishes, .02 s^2 + .52 s - .22 = 0, at s = .4165: r = .6334, p = .7083.
    assert scores["boundary_ods"] == pytest.approx(0.66874, abs=1e-5)
    assert scores["boundary_ois"] == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert scores["boundary_ap"] == pytest.approx((41 + 40 - 0.5 * 41 / 2) / 101)
    assert scores["boundary_ap_doc"] == pytest.approx((1 + 40 - 0.5 * 41 / 2) / 100)
    assert scores["ois"] == pytest.approx(2 * 0.4 * 1.0 / 1.4)  # .571 beats 2*.8*.375/1.175 = .511
    assert scores["aor"] == pytest.approx(6 / 8)
    curves = boundary_curves(counts)
    assert curves["recall"].tolist() == [0.8, 0.4]
    assert curves["precision"].tolist() == [6 / 16, 1.0]
    assert curves["boundary_precision"].tolist() == [0.5, 1.0]
    assert curves["orientation"].tolist() == [0.75, 1.0]


def test_every_image_takes_its_own_threshold_for_ois() -> None:
    first = [(10, 10, 10, 10), (2, 2, 10, 2)]  # best at the first threshold
    second = [(10, 10, 10, 90), (10, 10, 10, 10)]  # best at the second
    scores = boundary_summary(counts_table(first, second))
    assert scores["ois"] == pytest.approx(1.0)
    assert scores["ods"] < 0.8
    # An image without ground truth takes the threshold with fewest predictions.
    empty = [(0, 0, 0, 50), (0, 0, 0, 0)]
    assert boundary_summary(counts_table(first, second, empty))["ois"] == pytest.approx(1.0)


def test_threshold_of_the_best_f() -> None:
    counts = counts_table([(10, 10, 10, 90), (10, 10, 10, 10), (1, 1, 10, 1)])
    assert boundary_summary(counts, thresholds=3)["ods_threshold"] == pytest.approx(0.5)
    assert boundary_summary(counts[:, 1:2], thresholds=1)["ods"] == pytest.approx(1.0)


def test_nothing_to_find_and_nothing_found() -> None:
    nan_everywhere = [
        boundary_scores([], [], thresholds=3),
        boundary_scores(
            [(np.zeros((9, 9), bool), np.zeros((4, 9, 9)))],
            [(np.full((9, 9), 0.5), np.ones((4, 9, 9)))],
            thresholds=3,
        ),
    ]
    for scores in nan_everywhere:
        assert set(scores) == SCORES | {"ods_threshold"}
        assert all(math.isnan(value) for value in scores.values())
    missed = boundary_scores([scene(0)], [(np.zeros((90, 120)), np.zeros((4, 90, 120)))])
    assert math.isnan(missed.pop("aor"))
    assert all(missed[name] == 0 for name in SCORES - {"aor"})


# ------------------------------------------------------------------------------ matching


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int8, st.tuples(st.integers(0, 9), st.just(2)), elements=st.integers(0, 6)),
    hnp.arrays(np.int8, st.tuples(st.integers(0, 9), st.just(2)), elements=st.integers(0, 6)),
    st.sampled_from([0.0, 1.0, 1.5, 3.0]),
)
def test_matching_agrees_with_the_dense_assignment(gt, pred, reach) -> None:
    rows, cols = match_points(gt, pred, max_distance=reach)
    assert len(set(rows.tolist())) == len(rows) and len(set(cols.tolist())) == len(cols)
    gap = np.hypot(*np.moveaxis(gt[:, None].astype(float) - pred[None], 2, 0))
    assert (gap[rows, cols] <= reach + 1e-9).all()
    # Dense problem with a private way out, at the same cost, for every point of both sides.
    outlier, big = 100 * max(reach, 1.0), 1e6
    cost = np.full((len(gt) + len(pred),) * 2, big)
    cost[: len(gt), : len(pred)] = np.where(gap <= reach + 1e-9, gap, big)
    cost[: len(gt), len(pred) :][np.eye(len(gt), dtype=bool)] = outlier
    cost[len(gt) :, : len(pred)][np.eye(len(pred), dtype=bool)] = outlier
    cost[len(gt) :, len(pred) :] = 0
    expected = cost[linear_sum_assignment(cost)].sum()
    left_over = len(gt) + len(pred) - 2 * len(rows)
    assert gap[rows, cols].sum() + outlier * left_over == pytest.approx(expected)


def test_as_many_pairs_as_possible_before_the_shortest() -> None:
    # Taking the exact hit would leave one point of each side alone.
    rows, cols = match_points([[0, 0], [0, 2]], [[0, 2], [0, 4]], max_distance=2)
    assert (rows.tolist(), cols.tolist()) == ([0, 1], [0, 1])


# --------------------------------------------------------------------------- orientation


@pytest.mark.parametrize(
    ("channels", "theta"),
    [
        (RIGHT, -math.pi / 2),  # occluder on the left of a line that runs up
        (LEFT, math.pi / 2),
        (BOTTOM, 0.0),
        (TOP, math.pi),  # -pi is wrapped
        ([0, 0.5, 0, 0.5], -math.pi / 4),
        ([0.5, 0, 0.5, 0], 3 * math.pi / 4),
        ([0.2, 0.5, 0, 0], -math.pi / 2),  # the larger of left and right
        ([1 / 3, 1 / 3, 1 / 3, 0], math.pi),  # left and right cancel
        ([0, 0.3, 0, 0.4], math.atan2(0.4, 0.3) - math.pi / 2),
    ],
)
def test_boundary_direction_with_the_occluder_on_the_left(channels, theta) -> None:
    assert occluder_theta(np.array(channels)) == pytest.approx(theta)


def test_direction_is_undefined_where_everything_cancels() -> None:
    assert np.isnan(
        occluder_theta(np.array([[0.5, 0.25], [0.5, 0.25], [0, 0.25], [0, 0.25]]))
    ).all()


def test_orientation_match_is_a_half_turn_wide() -> None:
    gt = np.array([0.0, 0.0, 0.0, math.pi, 3.0, np.nan, np.nan, 0.0])
    pred = np.array([math.pi / 2, 1.6, -math.pi / 2, -math.pi / 2, -3.0, 1.0, np.nan, np.nan])
    expected = [True, False, True, True, True, True, True, False]
    assert same_orientation(gt, pred).tolist() == expected


# ------------------------------------------------------------------------------ thinning


def slow_nms(prob: np.ndarray, border: int) -> np.ndarray:
    """Pixel by pixel, in double precision, from the description of the algorithm."""
    height, width = prob.shape
    weights = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    padded = np.pad(prob, 4, mode="symmetric")
    padded = sum(w * padded[k : k + height] for k, w in enumerate(weights))
    smooth = sum(w * padded[:, k : k + width] for k, w in enumerate(weights))
    d_y, d_x = np.gradient(smooth)
    d_xy, d_xx = np.gradient(d_x)
    d_yy = np.gradient(d_y)[0]
    out = np.zeros_like(prob)
    for y in range(height):
        for x in range(width):
            sign = -1 if d_xy[y, x] > 0 else 1
            angle = math.atan(d_yy[y, x] * sign / (d_xx[y, x] + 1e-5)) % math.pi
            samples = []
            for side in (-1, 1):
                v = min(max(y + side * math.sin(angle), 0), height - 1.001)
                u = min(max(x + side * math.cos(angle), 0), width - 1.001)
                i, j = int(v), int(u)
                a, b = v - i, u - j
                corner = prob[i : i + 2, j : j + 2]
                samples.append((np.array([1 - a, a]) @ corner) @ np.array([1 - b, b]))
            if 1.01 * prob[y, x] >= max(samples):
                ramp = [min(k / border, 1) for k in (y, x, height - 1 - y, width - 1 - x)]
                out[y, x] = prob[y, x] * ramp[0] * ramp[1] * ramp[2] * ramp[3]
    return out


def test_thinning_agrees_with_a_pixel_loop() -> None:
    rng = np.random.default_rng(3)
    prob = cv2.GaussianBlur(rng.random((24, 31)), (0, 0), 1.5).astype(np.float32)
    fast, slow = edge_nms(prob), slow_nms(prob.astype(float), 5)
    # Rounding may decide a close comparison differently, not more than that.
    different = np.abs(fast - slow) > 1e-5
    assert different.sum() <= 2
    assert 0.1 < (fast > 0).mean() < 0.6


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 135, 160])
def test_blurred_line_is_thinned_onto_its_centre(degrees: float) -> None:
    angle = math.radians(degrees)
    y, x = np.mgrid[-30:31, -30:31]
    distance = x * math.sin(angle) - y * math.cos(angle)
    thinned = edge_nms(np.exp(-(distance**2) / 8).astype(np.float32))[10:-10, 10:-10] > 0.1
    assert (np.abs(distance[10:-10, 10:-10])[thinned] < 1.0).all()
    length = 41 / max(abs(math.sin(angle)), abs(math.cos(angle)))
    assert 0.6 * length < thinned.sum() < 1.7 * length


def test_thin_binary_map_stays_and_the_border_ramp_fades() -> None:
    boundary = scene(0)[0]
    assert np.array_equal(edge_nms(boundary.astype(float)) > 0, boundary)
    row = np.zeros((30, 30))
    row[15] = 1
    assert edge_nms(row)[15, [0, 1, 4, 5, 24, 25, 29]] == pytest.approx([0, 0.2, 0.8, 1, 1, 0.8, 0])
    assert edge_nms(row, border=0)[15].tolist() == [1] * 30
    assert np.array_equal(edge_nms(row, min_prob=0.5), edge_nms(row))


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (1, 1), (1, 7), (2, 2)])
def test_tiny_maps_are_thinned_without_complaint(shape: tuple[int, int]) -> None:
    assert edge_nms(np.ones(shape), border=0).shape == shape
    assert edge_nms(np.ones(shape)).shape == shape


# -------------------------------------------------------------------------- damaged input


def test_thresholds() -> None:
    assert threshold_values(99)[[0, 49, 98]] == pytest.approx([0.01, 0.5, 0.99])
    assert threshold_values([0.2, 1.0]).tolist() == [0.2, 1.0]
    for bad in (0, [], [0.0, 0.5], [0.5, 0.5], [0.6, 0.2], [0.5, 1.1], [np.nan]):
        with pytest.raises(ValueError, match="threshold"):
            threshold_values(bad)


ZERO = np.zeros((6, 6)), np.zeros((4, 6, 6))
EMPTY_GT = np.zeros((6, 6), bool), np.zeros((4, 6, 6))


@pytest.mark.parametrize(
    ("gt", "pred", "message"),
    [
        ([EMPTY_GT], [], "1 ground-truth images but 0 predictions"),
        ([ZERO], [ZERO], "image 0: .*bool"),
        ([EMPTY_GT, EMPTY_GT], [ZERO, (np.zeros((5, 6)), ZERO[1])], r"image 1: .*\(5, 6\)"),
        ([EMPTY_GT], [(np.full((6, 6), np.nan), ZERO[1])], "NaN"),
        ([EMPTY_GT], [(np.full((6, 6), 1.2), ZERO[1])], r"\[0, 1\]"),
        ([EMPTY_GT], [(ZERO[0], np.full((4, 6, 6), np.nan))], "orientation_prob"),
        ([EMPTY_GT], [(ZERO[0], np.zeros((3, 6, 6)))], r"\(3, 6, 6\)"),
        ([(EMPTY_GT[0], np.zeros((4, 6, 5)))], [ZERO], r"\(4, 6, 5\)"),
    ],
)
def test_bad_images_are_refused(gt, pred, message) -> None:
    with pytest.raises(ValueError, match=message):
        boundary_scores(gt, pred, thresholds=3)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="4"):
        occluder_theta(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        match_points(np.zeros((2, 3)), np.zeros((2, 2)), max_distance=1)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="max_distance"):
            match_points(np.zeros((2, 2)), np.zeros((2, 2)), max_distance=bad)
    with pytest.raises(ValueError, match=r"\(I, T, 4\)"):
        boundary_summary(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="5 thresholds"):
        boundary_summary(np.zeros((1, 3, 4), int), thresholds=5)
