from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from occ_order.metrics import IOU_THRESHOLDS, oair, oair_by_confidence, percent_in_cycles
from occ_order.metrics.oair import edge_matches, oair_from_counts, path_scores
from occ_order.order.graph import reachability

GT_EDGES = "1-2 2-4 2-3 3-4 4-5"
PRED_EDGES = "A-B B-C C-D B-E"


def column(index):
    mask = np.zeros((4, 60), bool)
    mask[:, 5 * index : 5 * index + 5] = True
    return mask


def image(names, edges, columns, **fields):
    """One column of pixels an instance; edges like "A-B" say that A occludes B."""
    occlusion = np.zeros((len(names), len(names)), int)
    for first, second in (edge.split("-") for edge in edges.split()):
        occlusion[names.index(first), names.index(second)] = 1
    masks = np.stack([column(c) for c in columns])
    return {"masks": masks, "classes": np.zeros(len(names), int), "occlusion": occlusion, **fields}


def figure_6(extra=""):
    """Matches 1A 2B 3D 4E; 5, C and F match nothing."""
    gt = image("12345", GT_EDGES, range(5))
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    pred = image("ABCDEF", f"{PRED_EDGES} {extra}", [0, 1, 9, 2, 3, 10], scores=scores)
    return gt, pred


@pytest.mark.parametrize(
    "extra, correct, in_cycles",
    [
        ("", 3, 0),
        ("E-D", 3, 0),  # 3-4 predicted the wrong way round
        ("E-D D-E", 3, 2 / 6),  # a path both ways
        ("D-E", 4, 0),
        ("D-F F-B", 3, 4 / 6),  # 2-3 now lies on a cycle, while 3-4 has the path D-F-B-E
    ],
)
def test_figure_6_and_variants(extra, correct, in_cycles):
    gt, pred = figure_6(extra)
    found = oair([gt], [pred], iou_thresholds=[0.5], gt_edges="all")
    assert found["recall"] == [4 / 5] and found["accuracy"] == [correct / 4]
    assert (found["edges"], found["recovered"], found["correct"]) == ([5], [4], [correct])
    assert percent_in_cycles([pred["occlusion"]]) == pytest.approx(100 * in_cycles)


def test_only_touching_edges_count_by_default():
    gt, pred = figure_6()
    found = oair([gt], [pred], iou_thresholds=[0.5])  # columns 2 and 4 are apart
    assert (found["edges"], found["recovered"], found["correct"]) == ([4], [3], [2])


def test_counts_are_pooled_and_empty_images_contribute_nothing():
    gt, pred = figure_6()
    perfect = {**gt, "scores": np.ones(5)}
    nothing = {"masks": np.zeros((0, 4, 60)), "classes": [], "occlusion": np.zeros((0, 0))}
    gts, preds = [gt, gt, nothing, gt], [pred, perfect, nothing, nothing]
    found = oair(gts, preds, iou_thresholds=[0.5], gt_edges="all")
    assert (found["edges"], found["recovered"], found["correct"]) == ([15], [9], [8])
    assert oair(gts[::-1], preds[::-1], iou_thresholds=[0.5], gt_edges="all") == found


def test_iou_threshold_is_strict_and_swept():
    gt = image("12", "1-2", [0, 1])
    pred = image("AB", "A-B", [0, 1], scores=[1, 1])
    pred["masks"][1, :, 5:7] = False  # IoU 3/5
    found = oair([gt], [pred], iou_thresholds=[0.5, 0.6, 0.7])
    assert found["recall"] == [1.0, 0.0, 0.0]
    assert found["accuracy"][0] == 1.0 and np.isnan(found["accuracy"][1:]).all()
    assert len(IOU_THRESHOLDS) == 10 and oair([gt], [pred])["iou_threshold"][-1] == 0.95


def test_classes_must_agree_unless_told_otherwise():
    gt, pred = figure_6()
    pred["classes"] = pred["classes"] + 1
    assert oair([gt], [pred], gt_edges="all")["recall"] == [0.0] * 10
    found = oair([gt], [pred], gt_edges="all", class_agnostic=True)
    assert found["recall"] == [4 / 5] * 10


def test_score_threshold_takes_edges_away():
    gt = image("123", "1-3", [0, 1, 2])
    pred = image("ABC", "A-B B-C", [0, 1, 2], scores=[0.9, 0.2, 0.8])
    whole = oair([gt], [pred], iou_thresholds=[0.5], gt_edges="all")
    assert whole["recall"] == [1.0] and whole["accuracy"] == [1.0]
    cut = oair([gt], [pred], iou_thresholds=[0.5], gt_edges="all", score_threshold=0.5)
    assert cut["recall"] == [1.0] and cut["accuracy"] == [0.0]  # the path went through B
    kept = oair([gt], [pred], iou_thresholds=[0.5], gt_edges="all", score_threshold=0.2)
    assert kept == whole


def test_mutual_and_unknown_edges_are_left_out():
    gt, pred = figure_6()
    gt["occlusion"][1, 0] = 1  # 1 and 2 occlude each other
    gt["occlusion"][2, 3] = -1
    found = oair([gt], [pred], iou_thresholds=[0.5], gt_edges="all")
    assert found["edges"] == [3]


def test_by_confidence_steps_evenly():
    gt = image("1234", "1-2 2-3 3-4", [0, 1, 2, 3])
    pred = image("ABCD", "A-B C-B C-D", [0, 1, 2, 3], scores=[0.9, 0.8, 0.5, 0.1])
    found = oair_by_confidence([gt], [pred], num_points=3)
    assert found["score_threshold"] == [0.8, 0.5, 0.1]
    assert found["recall"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found["accuracy"] == pytest.approx([1, 1 / 2, 2 / 3])
    six = oair_by_confidence([gt], [pred])
    assert six["recovered"] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("num_images", [0, 2])
def test_nothing_recovered_is_nan_of_the_same_length(num_images):
    gt, pred = figure_6()
    pred["classes"] = pred["classes"] + 1
    found = oair_by_confidence([gt] * num_images, [pred] * num_images, num_points=4)
    assert all(len(values) == 4 for values in found.values())
    assert np.isnan(found["accuracy"]).all() and np.isnan(found["score_threshold"]).all()
    assert np.isnan(found["recall"]).all() == (num_images == 0)
    assert np.isnan(oair([], [])["recall"]).all() and len(oair([], [])["accuracy"]) == 10


def random_image(rng, num_gt=6, num_pred=7):
    """Boxes that overlap, predictions near them, an order with cycles and unknown pairs."""
    masks = np.zeros((num_gt, 24, 24), bool)
    for mask in masks:
        top, left = rng.integers(0, 18, 2)
        mask[top : top + 9, left : left + 9] = True
    source = rng.integers(0, num_gt, num_pred)
    gt = {"masks": masks, "classes": rng.integers(0, 2, num_gt)}
    gt["occlusion"] = rng.choice([-1, 0, 0, 1], (num_gt, num_gt))
    pred = {"masks": np.roll(masks[source], rng.integers(-2, 3), axis=2)}
    pred["classes"] = np.where(rng.random(num_pred) < 0.9, gt["classes"][source], 5)
    pred["occlusion"] = (rng.random((num_pred, num_pred)) < 0.2).astype(np.int8)
    pred["scores"] = rng.permutation(num_pred) / num_pred
    for matrix in (gt["occlusion"], pred["occlusion"]):
        np.fill_diagonal(matrix, 0)
    return gt, pred


def oair_by_loops(gt, pred, iou_threshold, score_threshold, touching_only):
    """The definition, one object at a time, paths by networkx."""
    keep = [p for p in range(len(pred["masks"])) if pred["scores"][p] >= score_threshold]
    graph = nx.DiGraph()
    graph.add_nodes_from(keep)
    graph.add_edges_from((i, j) for i in keep for j in keep if pred["occlusion"][i, j] == 1)
    partner = {}
    for p in sorted(keep, key=lambda index: -pred["scores"][index]):
        best, best_iou = None, iou_threshold
        for g in range(len(gt["masks"])):
            a, b = pred["masks"][p], gt["masks"][g]
            value = (a & b).sum() / (a | b).sum()
            if g not in partner and pred["classes"][p] == gt["classes"][g] and value > best_iou:
                best, best_iou = g, value
        if best is not None:
            partner[best] = p
    counts = [0, 0, 0]
    for i, j in np.argwhere(gt["occlusion"] == 1):
        grown = np.pad(gt["masks"][i], 1)
        cross = grown[1:-1, 1:-1] | grown[:-2, 1:-1] | grown[2:, 1:-1]
        cross = cross | grown[1:-1, :-2] | grown[1:-1, 2:]
        if gt["occlusion"][j, i] == 1 or (touching_only and not (cross & gt["masks"][j]).any()):
            continue
        counts[0] += 1
        if i in partner and j in partner:
            a, b = partner[i], partner[j]
            counts[1] += 1
            counts[2] += nx.has_path(graph, a, b) and not nx.has_path(graph, b, a)
    return counts


@pytest.mark.parametrize("gt_edges", ["touching", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_loops(seed, gt_edges):
    rng = np.random.default_rng(seed)
    data = [random_image(rng) for _ in range(6)]
    thresholds = [0.3, 0.5, 0.8]
    gts, preds = zip(*data, strict=True)
    for score in (0.0, 0.4):
        expected = [
            np.sum([oair_by_loops(*d, iou, score, gt_edges == "touching") for d in data], axis=0)
            for iou in thresholds
        ]
        assert np.sum(expected) > 0
        found = oair(
            gts, preds, iou_thresholds=thresholds, score_threshold=score, gt_edges=gt_edges
        )
        counts = [found[name] for name in ("edges", "recovered", "correct")]
        np.testing.assert_array_equal(np.transpose(counts), expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_point_by_confidence_is_the_curve_at_its_threshold(seed):
    rng = np.random.default_rng(seed)
    gts, preds = zip(*[random_image(rng) for _ in range(5)], strict=True)
    curve = oair_by_confidence(gts, preds)
    for point, threshold in enumerate(curve["score_threshold"]):
        single = oair(gts, preds, iou_thresholds=[0.5], score_threshold=threshold)
        for name in ("edges", "recovered", "correct"):
            assert curve[name][point] == single[name][0]
    assert curve["recovered"] == sorted(curve["recovered"])


@pytest.mark.parametrize("seed", range(5))
def test_permuting_instances_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    gt, pred = random_image(rng)
    mixed = []
    for part in (gt, pred):
        order = rng.permutation(len(part["masks"]))
        copy = {key: np.asarray(value)[order] for key, value in part.items()}
        copy["occlusion"] = copy["occlusion"][:, order]
        mixed.append(copy)
    expected, found = edge_matches(gt, pred).counts(), edge_matches(*mixed).counts()
    np.testing.assert_array_equal(found, expected)


def test_perfect_and_reversed():
    gt, _ = figure_6()
    perfect = oair([gt], [gt])
    assert perfect["recall"] == [1.0] * 10 and perfect["accuracy"] == [1.0] * 10
    wrong = {**gt, "occlusion": gt["occlusion"].T}
    assert oair([gt], [wrong])["accuracy"] == [0.0] * 10


def test_counts_of_parts_can_be_added():
    rng = np.random.default_rng(8)
    data = [random_image(rng) for _ in range(4)]
    counts = sum(edge_matches(gt, pred).counts() for gt, pred in data)
    gts, preds = zip(*data, strict=True)
    assert oair_from_counts(counts, IOU_THRESHOLDS) == oair(gts, preds)


@pytest.mark.parametrize("seed", range(5))
def test_paths_vanish_at_their_score_and_not_before(seed):
    rng = np.random.default_rng(seed)
    occlusion = (rng.random((8, 8)) < 0.25).astype(np.int8)
    np.fill_diagonal(occlusion, 0)
    scores = rng.integers(1, 6, 8) / 10
    found, other = path_scores(occlusion, scores), ~np.eye(8, dtype=bool)
    for threshold in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        keep = scores >= threshold
        left = reachability(occlusion * np.outer(keep, keep))
        np.testing.assert_array_equal((found >= threshold)[other], left[other])


def test_path_scores_by_hand():
    # 0 -> 1 -> 2 through a score of .2, and 0 -> 3 -> 2 through .4; nothing leads back.
    occlusion = np.zeros((4, 4), int)
    occlusion[[0, 1, 0, 3], [1, 2, 3, 2]] = 1
    found = path_scores(occlusion, [0.9, 0.2, 0.8, 0.4])
    assert found[0].tolist()[1:] == [0.2, 0.4, 0.4] and found[1, 2] == 0.2
    assert (found[2] == -np.inf).all() and found[3, 2] == 0.4 and found[1, 0] == -np.inf
    assert path_scores(np.zeros((0, 0)), []).shape == (0, 0)


def test_percent_in_cycles_over_a_data_set():
    cycle = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    mutual = np.array([[0, 1], [1, 0]])
    chain = np.triu(np.ones((3, 3), int), 1)
    assert percent_in_cycles([cycle, mutual, chain, np.zeros((0, 0), int)]) == pytest.approx(62.5)
    assert np.isnan(percent_in_cycles([])) and np.isnan(percent_in_cycles([np.zeros((0, 0), int)]))
    with pytest.raises(ValueError, match=r"image 1.*\(2, 3\)"):
        percent_in_cycles([cycle, np.zeros((2, 3), int)])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"masks": np.zeros((6, 4, 61))}, r"image 0.*\(5, 4, 60\).*\(6, 4, 61\)"),
        ({"occlusion": np.zeros((5, 5))}, r"'occlusion'.*\(6, 6\), got \(5, 5\)"),
        ({"occlusion": np.full((6, 6), 2)}, "prediction 'occlusion'"),
        ({"occlusion": np.eye(6)}, "prediction 'occlusion': the diagonal"),
        ({"classes": [1]}, r"'classes'.*\(6,\), got \(1,\)"),
        ({"scores": [1]}, r"'scores'.*\(6,\), got \(1,\)"),
        ({"scores": [np.nan] * 6}, "NaN"),
        ({"classes": None}, "lacks 'classes'"),
    ],
)
def test_bad_images_are_named(change, message):
    gt, pred = figure_6()
    for function in (oair, oair_by_confidence):
        with pytest.raises(ValueError, match=message):
            function([gt], [{**pred, **change}])


def test_other_bad_arguments():
    gt, pred = figure_6()
    without = {key: value for key, value in pred.items() if key != "scores"}
    with pytest.raises(ValueError, match="predictions end after 1"):
        oair([gt, gt], [pred])
    with pytest.raises(ValueError, match="ground truth end after 0"):
        oair([], [pred])
    with pytest.raises(ValueError, match="'near'"):
        oair([gt], [pred], gt_edges="near")
    with pytest.raises(ValueError, match="image 0.*'scores'"):
        oair_by_confidence([gt], [without])
    with pytest.raises(ValueError, match="image 0.*'scores'"):
        oair([gt], [without], score_threshold=0.5)
    with pytest.raises(ValueError, match="at least 1"):
        oair_by_confidence([gt], [pred], num_points=0)
    with pytest.raises(ValueError, match="lacks 'masks'"):
        oair([{}], [pred])
