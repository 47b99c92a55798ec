"""A scorer, fed image by image or with rows of several processes, gives what its function gives."""

import numpy as np
import pytest

from occ_order import metrics
from occ_order.metrics import input_masks
from occ_order.metrics.amodal import occlude_rate
from occ_order.metrics.given_amodal import given_amodal_row, given_amodal_scores
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
        "scores": rng.random(4),
        "occlusion": turned,
    }
    return truth, prediction, np.roll(levels[:4], 1, axis=2)


IMAGES = [sides(seed) for seed in range(3)]
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
        lambda gt, pred: metrics.amodal_scores(gt, pred, compat="sln", max_detections=(1, 2)),
    ),
    "invisible": (metrics.InvisibleScorer, {}, TRUTHS, GUESSES, metrics.invisible_scores),
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
        [
            (np.clip(np.random.default_rng(k).random(SIZE), 0, 1), np.ones((4, *SIZE)))
            for k in range(3)
        ],
        lambda gt, pred: metrics.boundary_scores(gt, pred, thresholds=5),
    ),
    "input masks": (
        metrics.GivenMaskScorer,
        {},
        [{"annotations": [{}] * 5, "occlusion": truth["occlusion"]} for truth in TRUTHS],
        [{"occlusion": truth["occlusion"].T, "occlusion_prob": None} for truth in TRUTHS],
        lambda gt, pred: input_masks.given_mask_scores(
            [
                input_masks.given_mask_row(record, occlusion=said["occlusion"])
                for record, said in zip(gt, pred, strict=True)
            ]
        ),
    ),
    "given amodal": (
        metrics.GivenAmodalScorer,
        {},
        [{"amodal": truth["masks"], "modal": truth["modal_masks"]} for truth in TRUTHS],
        [{"amodal": np.roll(truth["masks"], 1, axis=1)} for truth in TRUTHS],
        lambda gt, pred: given_amodal_scores(
            given_amodal_row(one["amodal"], one["modal"], said["amodal"])
            for one, said in zip(gt, pred, strict=True)
        ),
    ),
}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value or (np.isnan(found[name]) and np.isnan(value)), name


@pytest.mark.parametrize("name", CASES)
def test_image_by_image_is_all_at_once(name):
    scorer_class, options, truths, predictions, function = CASES[name]
    expected = function(truths, predictions)
    scorer = scorer_class(**options)
    for truth, prediction in zip(truths, predictions, strict=True):
        scorer.update(truth, prediction)
    same(scorer.compute(), expected)
    apart = [scorer_class(**options).row(*pair) for pair in zip(truths, predictions, strict=True)]
    same(scorer_class(apart, **options).compute(), expected)


@pytest.mark.parametrize("name", CASES)
def test_no_image_has_the_same_keys_and_no_number(name):
    scorer_class, options, truths, predictions, _ = CASES[name]
    nothing = scorer_class(**options).compute()
    scorer = scorer_class(**options)
    scorer.update(truths[0], predictions[0])
    assert nothing.keys() == scorer.compute().keys()
    assert np.isnan(list(nothing.values())).all()


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
