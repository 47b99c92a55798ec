"""Scorers, fed image by image and merged in any way, give what all images at once give."""

import functools
import pickle

import numpy as np
import pytest

from occ_order import metrics
from occ_order.masks import encode
from occ_order.metrics import amodal, boundary
from occ_order.metrics.amodal import occlude_rate
from occ_order.metrics.calibration import CalibrationScorer, calibration_scores
from occ_order.metrics.given_amodal import given_amodal_row
from occ_order.metrics.scorer import Scorer
from occ_order.order import disparity_order
from occ_order.scenes import generate
from occ_order.targets import oriented_boundary, visibility_levels

SIZE = (40, 56)


def sides(seed):
    """Annotation of one scene, and a prediction that is right here and there, as the metrics take.

    The prediction has lost its last instance, has moved masks and half of the orders turned round.
    """
    rng = np.random.default_rng(seed)
    scene = generate(seed, size=SIZE, num_instances=5)
    levels = visibility_levels(scene.amodal, scene.occlusion, modal=scene.modal)
    truth = {
        "image_id": seed,
        "masks": scene.amodal,
        "modal_masks": scene.modal,
        "classes": scene.classes.astype(np.int64),
        "is_stuff": np.arange(5) == 0,
        "occlude_rate": np.nan_to_num(occlude_rate(scene.amodal, scene.modal)),
        "occlusion": scene.occlusion,
    }
    turned = np.where(rng.random() < 0.5, scene.occlusion, scene.occlusion.T)[:4, :4]
    prediction = {
        "image_id": seed,
        "masks": np.roll(scene.amodal[:4], 1, axis=2),
        "modal_masks": np.roll(scene.modal[:4], 1, axis=2) & np.roll(scene.amodal[:4], 1, axis=2),
        "classes": truth["classes"][:4],
        "scores": rng.random(4).round(1),  # equal ones in several images
        "occlusion": turned,
    }
    return truth, prediction, np.roll(levels[:4], 1, axis=2)


IMAGES = [sides(seed) for seed in range(7)]
TRUTHS, GUESSES = [image[0] for image in IMAGES], [image[1] for image in IMAGES]
LEVELS = [guess | {"levels": levels} for _, guess, levels in IMAGES]


def modal(images):
    return [{**image, "masks": image["modal_masks"]} for image in images]


def matrices(images):
    return [image["occlusion"] for image in images]


def boundary_of(truth):
    ids = (truth["modal_masks"] * np.arange(1, 6)[:, None, None]).max(0)
    return oriented_boundary(ids, truth["occlusion"])


def by_percent(scores):
    return {name: 100.0 * value for name, value in scores.items()}


def input_mask_pair(truth):
    """Record and prediction of the order of input masks."""
    number = len(truth["occlusion"])
    depth = np.triu(np.ones((number, number), np.int8), 1) - np.eye(number, dtype=np.int8)
    count = np.full_like(depth, 2)
    count[0, 1] = count[1, 0] = 3  # weights that float64 cannot hold exactly
    record = {
        "annotations": [{"is_stuff": k == 0} for k in range(number)],
        "occlusion": truth["occlusion"],
        "depth": depth,
        "overlap": truth["occlusion"] | truth["occlusion"].T,
        "count": count,
    }
    rng = np.random.default_rng(truth["image_id"])
    said = {"occlusion": truth["occlusion"].T, "occlusion_prob": rng.random((number, number))}
    return record, {**said, "depth": np.where(rng.random((number, number)) < 0.5, depth, 0)}


def orders_at_once(gt, pred):
    """All metrics of orders by the functions of lists."""
    occlusion, depth = ([one[key] for one in gt] for key in ("occlusion", "depth"))
    said = [one["occlusion"] for one in pred]
    ways = {
        "occlusion": {"zero_division": np.nan},
        "occlusion_unidirectional": {"zero_division": np.nan, "bidirectional": False},
        "occlusion_per_image": {"average": "image"},
        "occlusion_per_image_unidirectional": {"average": "image", "bidirectional": False},
    }
    scores = {way: metrics.occlusion_scores(occlusion, said, **o) for way, o in ways.items()}
    scores["pair_accuracy"] = metrics.pair_accuracy(occlusion, said)
    columns = depth, *([one[key] for one in gt] for key in ("overlap", "count"))
    for group, average in (("depth", "global"), ("depth_per_image", "image")):
        rates = metrics.whdr(*columns, [one["depth"] for one in pred], average=average)
        scores[group] = {f"whdr_{cell}": rate for cell, rate in rates.items()}
    objects = [[not a["is_stuff"] for a in one["annotations"]] for one in gt]
    probabilities = [one["occlusion_prob"] for one in pred]
    scores["direction"] = {
        "all": metrics.direction_accuracy(occlusion, probabilities),
        "objects": metrics.direction_accuracy(occlusion, probabilities, among=objects),
    }
    return {f"{group}/{n}": value for group, found in scores.items() for n, value in found.items()}


def given_amodal_at_once(gt, pred):
    pairs = zip(gt, pred, strict=True)
    rows = [given_amodal_row(one["amodal"], one["modal"], said["amodal"]) for one, said in pairs]
    whole, hidden = np.concatenate(rows).T
    known = ~np.isnan(hidden)
    means = whole.mean(), whole[known].mean(), hidden[known].mean()
    return dict(zip(("iou", "occluded_iou", "hidden_iou"), [100 * m for m in means], strict=True))


def invisible_at_once(gt, pred):
    counts = [amodal.invisible_counts(*pair) for pair in zip(gt, pred, strict=True)]
    total, matched, objects = np.sum(counts, axis=0)
    return {
        "invisible_iou": 100 * total / objects,
        "invisible_iou_matched": 100 * total / matched,
        "invisible_matched": 100 * matched / objects,
    }


def disparity_maps(number):
    return [np.random.default_rng(seed).random(SIZE) for seed in range(number)]


def depth_errors_at_once(gt, pred):
    errors = [
        metrics.depth_errors(t, metrics.disparity_to_depth(d))
        for t, d in zip(gt, pred, strict=True)
    ]
    aligned = [
        metrics.depth_errors(t, metrics.aligned_depth(d, t), scale="none")
        for t, d in zip(gt, pred, strict=True)
    ]
    correlations = map(metrics.disparity_correlation, pred, gt)
    return {
        "median": {name: np.mean([e[name] for e in errors]) for name in metrics.DEPTH_ERRORS},
        "aligned": {name: np.mean([e[name] for e in aligned]) for name in metrics.DEPTH_ERRORS},
        "correlation": np.mean(list(correlations)),
    }


def disparity_orders_at_once(gt, pred):
    said = [disparity_order(d, one["masks"]) for one, d in zip(gt, pred, strict=True)]
    columns = ([one[key] for one in gt] for key in ("depth", "overlap", "count"))
    return metrics.whdr(*columns, said, average="image")


def points_at_once(gt, pred):
    right = [
        (one["relation"] == "<") == (d[0, 0] > d[0, 1]) for one, d in zip(gt, pred, strict=True)
    ]
    wrong = len(right) - sum(right)
    return {"correct": sum(right), "wrong": wrong, "whdr": 100 * wrong / len(right)}


def encoded(stack):
    return [encode(mask) for mask in stack]


PAIRS = [input_mask_pair(truth) for truth in TRUTHS]

CASES = {
    "coverage": (
        metrics.CoverageScorer,
        {},
        modal(TRUTHS),
        modal(GUESSES),
        lambda gt, pred: by_percent(
            {
                name: metrics.mean_weighted_coverage(
                    [one["masks"] for one in gt], [one["masks"] for one in pred], normalizer=way
                )
                for name, way in (("weighted", "instances"), ("weighted_all_pixels", "pixels"))
            }
        ),
    ),
    "cycles": (
        metrics.CycleScorer,
        {},
        TRUTHS,
        [{"occlusion": np.ones((3, 3)) - np.eye(3)}, *GUESSES[1:]],
        lambda _, pred: {"instances": metrics.percent_in_cycles(matrices(pred))},
    ),
    "oair": (
        metrics.OAIRScorer,
        {"gt_edges": "all"},
        TRUTHS,
        GUESSES,
        lambda gt, pred: {
            "by_iou": metrics.oair(gt, pred, gt_edges="all"),
            "by_confidence": metrics.oair_by_confidence(gt, pred, gt_edges="all"),
        },
    ),
    "AP by class": (metrics.ClassAPScorer, {}, TRUTHS, GUESSES, metrics.class_scores),
    "AP of one class": (
        metrics.ClassAPScorer,
        {"min_occlusion": (), "class_agnostic": True},
        TRUTHS,
        GUESSES,
        lambda gt, pred: metrics.class_scores(
            *([{**one, "classes": 0 * one["classes"]} for one in side] for side in (gt, pred)),
            min_occlusion=(),
        ),
    ),
    "amodal AP": (metrics.AmodalAPScorer, {}, TRUTHS, GUESSES, metrics.amodal_scores),
    "amodal AP as published": (
        metrics.AmodalAPScorer,
        {"compat": "sln", "max_detections": (1, 2)},
        TRUTHS,
        GUESSES,
        lambda gt, pred: metrics.amodal_scores(gt[:-1], pred[:-1], max_detections=(1, 2)),
    ),
    "calibration": (
        CalibrationScorer,
        {},
        TRUTHS,
        GUESSES,
        lambda gt, pred: calibration_scores(
            *([{**one, "masks": encoded(one["masks"])} for one in side] for side in (gt, pred))
        ),
    ),
    "invisible": (metrics.InvisibleScorer, {}, TRUTHS, GUESSES, invisible_at_once),
    "order by regions": (
        metrics.PairOrderScorer,
        {"min_iou": 0.1},
        TRUTHS,
        LEVELS,
        lambda gt, pred: metrics.region_order_accuracy(gt, pred, min_iou=0.1),
    ),
    "boundary": (
        metrics.BoundaryScorer,
        {"thresholds": 5},
        [boundary_of(truth) for truth in TRUTHS],
        [(prob, np.ones((4, *SIZE))) for prob in disparity_maps(len(TRUTHS))],
        lambda gt, pred: boundary.boundary_summary(
            np.stack(
                [boundary.boundary_counts(*p, thresholds=5) for p in zip(gt, pred, strict=True)]
            ),
            thresholds=5,
        ),
    ),
    "input masks": (
        metrics.GivenMaskScorer,
        {},
        [record for record, _ in PAIRS],
        [said for _, said in PAIRS],
        orders_at_once,
    ),
    "orders": (
        metrics.OrderScorer,
        {},
        [record for record, _ in PAIRS],
        [said for _, said in PAIRS],
        lambda gt, pred: {
            name: value
            for name, value in orders_at_once(gt, pred).items()
            if not name.startswith("direction")
        },
    ),
    "given amodal": (
        metrics.GivenAmodalScorer,
        {},
        [{"amodal": truth["masks"], "modal": truth["modal_masks"]} for truth in TRUTHS],
        [{"amodal": np.roll(truth["masks"], 1, axis=1)} for truth in TRUTHS],
        given_amodal_at_once,
    ),
    "depth maps": (
        metrics.DepthMapScorer,
        {},
        [1 + 40 * d for d in disparity_maps(2 * len(TRUTHS))[len(TRUTHS) :]],
        disparity_maps(len(TRUTHS)),
        depth_errors_at_once,
    ),
    "order of disparity": (
        metrics.DisparityOrderScorer,
        {},
        [
            {"masks": truth["modal_masks"], **record}
            for truth, (record, _) in zip(TRUTHS, PAIRS, strict=True)
        ],
        disparity_maps(len(TRUTHS)),
        disparity_orders_at_once,
    ),
    "points": (
        metrics.DIWScorer,
        {},
        [{"relation": "<>"[k % 3 > 0], "point_a": (0, 0), "point_b": (0, 1)} for k in range(7)],
        disparity_maps(7),
        points_at_once,
    ),
}


def same(found, expected):
    """Equal but for the rounding of sums that are added up in another order."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            same(found[name], value)
        else:
            assert found[name] == pytest.approx(value, rel=1e-12, abs=0, nan_ok=True), name


@functools.cache
def rows(name):
    """What each image of a case contributes, pickled: no scorer shares it with another."""
    scorer_class, options, truths, predictions, _ = CASES[name]
    scorer = scorer_class(**options)
    return [pickle.dumps(scorer.row(*pair)) for pair in zip(truths, predictions, strict=True)]


def fed(name, images=None):
    """A scorer with all images of a case, or with some."""
    scorer_class, options, truths, _, _ = CASES[name]
    scorer = scorer_class(**options)
    for k in range(len(truths)) if images is None else images:
        scorer.add(pickle.loads(rows(name)[k]))
    return scorer


@pytest.mark.parametrize("name", CASES)
def test_image_by_image_is_all_at_once(name):
    scorer_class, options, truths, predictions, function = CASES[name]
    scorer = scorer_class(**options)
    for pair in zip(truths, predictions, strict=True):
        scorer.update(*pair)
    same(scorer.compute(), function(truths, predictions))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CASES)
def test_merged_in_any_order_and_grouping_it_is_the_same_to_the_last_bit(name, seed):
    rng = np.random.default_rng(seed)
    images = rng.permutation(len(CASES[name][2]))
    parts = [fed(name, some) for some in np.split(images, sorted(rng.integers(0, len(images), 3)))]
    parts = pickle.loads(pickle.dumps(parts))
    while len(parts) > 1:
        first, second = rng.choice(len(parts), 2, replace=False)
        before = pickle.dumps(parts[second])
        parts[first].merge(parts[second])
        assert pickle.dumps(parts[second]) == before
        del parts[second]
    assert repr(parts[0].compute()) == repr(fed(name).compute())


@pytest.mark.parametrize("name", CASES)
def test_a_state_is_sums_or_a_few_bytes_of_each_detection(name):
    scorer_class, options, truths, predictions, _ = CASES[name]
    scorer = scorer_class(**options)
    row = scorer.row(truths[0], predictions[0])
    sizes = []
    for number in (20, 180):
        for _ in range(number):
            scorer.add(row)
        sizes.append(len(pickle.dumps(scorer)))
    # Of five instances and four detections; the others grow by digits of integers only.
    per_image = {
        "AP by class": 4 * 34 + 5 * 28 + 8,
        "AP of one class": 4 * 28 + 16 + 8,
        "amodal AP": 4 * 54 + 60 + 8,
        "amodal AP as published": 4 * 54 + 60 + 8,
        "calibration": 4 * 13 + 8,
        "oair": 20 * 24,
    }
    assert sizes[1] - sizes[0] <= 180 * per_image.get(name, 0) + 400


def test_only_scorers_of_the_same_metric_and_options_are_merged():
    with pytest.raises(ValueError, match=r"cannot merge DIWScorer .* into CoverageScorer"):
        metrics.CoverageScorer().merge(metrics.DIWScorer())
    one, other = (metrics.BoundaryScorer(thresholds=t) for t in ([0.2, 0.4], [0.2, 0.5]))
    with pytest.raises(ValueError, match=r"\[0.2, 0.5\].* into .*\[0.2, 0.4\]"):
        one.merge(other)


@pytest.mark.parametrize("name", ["AP by class", "amodal AP", "calibration"])
def test_an_image_that_is_added_twice_is_named(name):
    scorer = fed(name)
    scorer.merge(fed(name, [1]))
    with pytest.raises(ValueError, match="image 1 is duplicated"):
        scorer.compute()


DEFINED = {
    "oair": {"edges", "recovered", "correct", "iou_threshold"},
    "points": {"correct", "wrong"},
    "calibration": {"f1"},
}
"""What has a value without images, such as a number of pairs."""


def numbers(scores, but):
    for key, value in scores.items():
        if isinstance(value, dict):
            yield from numbers(value, but)
        elif key not in but:
            yield from np.ravel(value)


@pytest.mark.parametrize("name", CASES)
def test_no_image_has_the_same_keys_and_no_number(name):
    scorer_class, options, *_ = CASES[name]
    nothing = scorer_class(**options).compute()
    assert nothing.keys() == fed(name, [0]).compute().keys()
    found = list(numbers(nothing, DEFINED.get(name, set())))
    assert found and np.isnan(found).all()


def test_coverage_where_the_overlap_is_known_already():
    truth, guess = modal(TRUTHS)[0], modal(GUESSES)[0]
    iou = metrics.mask_iou(guess["masks"], truth["masks"])
    scorer = metrics.CoverageScorer()
    assert scorer.row(truth, guess, iou=iou) == scorer.row(truth, guess)


def test_depth_maps_by_the_single_functions():
    rng = np.random.default_rng(0)
    truths = [rng.uniform(1, 50, (6, 8)) for _ in range(2)] + [np.zeros((6, 8))]
    maps = [rng.uniform(0, 1, (6, 8)), np.zeros((6, 8)), rng.uniform(0, 1, (6, 8))]
    scorer = metrics.DepthMapScorer(max_depth=40.0)
    for truth, disparity in zip(truths, maps, strict=True):
        scorer.update(truth, disparity)
    relative = [metrics.disparity_to_depth(maps[0]), np.ones((6, 8)), np.ones((6, 8))]
    errors = [
        metrics.depth_errors(t, r, max_depth=40.0) for t, r in zip(truths, relative, strict=True)
    ]
    found = scorer.compute()
    same(found["median"], metrics.mean_depth_errors(errors))
    correlations = [
        metrics.disparity_correlation(m, t, max_depth=40.0)
        for m, t in zip(maps[:2], truths, strict=False)
    ]
    assert found["correlation"] == np.mean(correlations) and correlations[1] == 0


def test_depth_in_the_wild_by_hand():
    scorer = metrics.DIWScorer()
    disparity = np.array([[1.0, 0.0]])
    for relation in ("<", "<", "<", ">"):
        scorer.update({"relation": relation, "point_a": (0, 0), "point_b": (0, 1)}, disparity)
    assert scorer.compute() == {"correct": 3.0, "wrong": 1.0, "whdr": 25.0}


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_order_of_disparity_maps(statistic):
    scenes = [generate(seed, size=SIZE, num_instances=4) for seed in range(2)]
    maps = [np.random.default_rng(seed).random(SIZE) for seed in range(2)]
    scorer = metrics.DisparityOrderScorer(statistic=statistic)
    columns = [[], [], [], []]
    for scene, disparity in zip(scenes, maps, strict=True):
        truth = {"masks": scene.modal, "depth": scene.depth, "overlap": scene.overlap}
        truth["count"] = np.full_like(scene.depth, 2, np.int16)
        scorer.update(truth, disparity)
        said = disparity_order(disparity, scene.modal, statistic=statistic)
        for column, value in zip(columns, (*list(truth.values())[1:], said), strict=True):
            column.append(value)
    same(scorer.compute(), metrics.whdr(*columns, average="image"))


def test_a_scorer_that_says_nothing_is_an_error():
    for call in (lambda: Scorer().row(1, 2), lambda: Scorer().compute()):
        with pytest.raises(NotImplementedError, match="Scorer has no"):
            call()
