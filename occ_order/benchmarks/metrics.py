"""`occ-order bench metrics`: order metrics vs. straightforward code, and on a full data set.

Baselines implement the definitions for one image and one pair at a time: scikit-learn on every
    image
(as the published evaluation does) for the per-image occlusion scores, Python loops over pairs for
the others, one mask pair at a time for overlaps, networkx for paths.
"""

from __future__ import annotations

import time
from itertools import combinations, permutations
from statistics import median
from typing import Any

import networkx as nx
import numpy as np

from occ_order import metrics
from occ_order.metrics.coverage import weighted_coverage_from_iou
from occ_order.metrics.matching import iou_from_counts, overlap_counts
from occ_order.metrics.oair import confidence_curve, edge_matches, oair_from_counts

NUM_IMAGES, WHOLE_SET, NUM_INSTANCES, SIDE = 250, 5000, 10, 128

_EVALUATION = (
    "occlusion global",
    "occlusion per image",
    "whdr global",
    "whdr per image",
    "oair (both) + coverage, overlaps shared",
    "percent in cycles",
)


def rows(arguments) -> list[dict]:
    """Time every metric on 250 images x 10 instances (128 px) and ours on 5,000 of them.

    Args:
        arguments: ``repeats``, interleaved runs; the median is kept.

    Returns:
        Rows {"case", "ours_s", "baseline_s", "ratio", "whole_set_s"}: CPU seconds on the same 250
        images, their ratio, and ours on 5,000 images (the 250, twenty times). The last row is the
        sum of a full evaluation (`_EVALUATION`): its whole_set_s is the source of "5,000 images
        with 10 instances each in under 10 s". It includes occlusion scores and WHDR with both
        averages, OAIR by IoU and by confidence with touching edges computed from 128 x 128 masks,
        weighted coverage and cycles; it excludes decoding of masks, AP and boundaries.
    """
    data = _make_data(np.random.default_rng(0))
    table = []
    for case, (ours, baseline) in _cases().items():
        times = [(_cpu(ours, data), _cpu(baseline, data)) for _ in range(arguments.repeats)]
        ours_s, baseline_s = (median(column) for column in zip(*times, strict=True))
        row = {"case": case, "ours_s": ours_s, "baseline_s": baseline_s}
        row["ratio"] = baseline_s / ours_s
        row["whole_set_s"] = _cpu(ours, data * (WHOLE_SET // NUM_IMAGES))
        table.append(row)
    used = [row for row in table if row["case"] in _EVALUATION]
    total = {key: sum(row[key] for row in used) for key in ("ours_s", "baseline_s", "whole_set_s")}
    total["ratio"] = total["baseline_s"] / total["ours_s"]
    return [*table, {"case": "all of an evaluation", **total}]


def _cpu(function, data) -> float:
    start = time.process_time()
    function(data)
    return time.process_time() - start


def _make_data(rng) -> list[dict]:
    """Generate images of ten overlapping ellipses; predictions are shifted, some orders wrong."""
    y, x = np.mgrid[:SIDE, :SIDE]
    images = []
    for _ in range(NUM_IMAGES):
        cy, cx = rng.uniform(0, SIDE, (2, NUM_INSTANCES, 1, 1))
        ry, rx = rng.uniform(10, 35, (2, NUM_INSTANCES, 1, 1))
        amodal = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        taken = np.cumsum(amodal, 0) > 1
        modal = amodal & ~taken
        meet = np.einsum("ihw,jhw->ij", modal.astype(np.float32), amodal.astype(np.float32)) > 0
        occlusion = (np.triu(meet, 1)).astype(np.int8)
        depth = (np.arange(10)[:, None] < np.arange(10)).astype(np.int8)
        np.fill_diagonal(depth, -1)
        flip = rng.random(occlusion.shape) < 0.1
        gt = {
            "masks": modal,
            "classes": np.zeros(NUM_INSTANCES, int),
            "occlusion": occlusion,
            "depth": depth,
            "overlap": np.triu(flip, 1).astype(np.int8) + np.triu(flip, 1).T,
            "count": rng.integers(2, 5, depth.shape),
        }
        pred = {
            **gt,
            "masks": np.roll(modal, 2, axis=2),
            "scores": rng.random(NUM_INSTANCES),
            "occlusion": np.where(flip, occlusion.T, occlusion),
            "depth": np.where(flip, 2, depth),
        }
        images.append({"gt": gt, "pred": pred})
    return images


def _cases() -> dict:
    thresholds = metrics.IOU_THRESHOLDS
    return {
        "occlusion global": (
            lambda d: metrics.occlusion_scores(
                _all(d, "gt", "occlusion"), _all(d, "pred", "occlusion")
            ),
            _loop_occlusion,
        ),
        "occlusion per image": (
            lambda d: metrics.occlusion_scores(
                _all(d, "gt", "occlusion"), _all(d, "pred", "occlusion"), average="image"
            ),
            _sklearn_occlusion,
        ),
        "whdr global": (lambda d: metrics.whdr(*_depths(d)), _loop_whdr),
        "whdr per image": (lambda d: metrics.whdr(*_depths(d), average="image"), _loop_whdr),
        "oair by iou, 10 points": (
            lambda d: metrics.oair(_get(d, "gt"), _get(d, "pred"), iou_thresholds=thresholds),
            lambda d: _loop_oair_of(d, thresholds),
        ),
        "oair by confidence, 6 points": (
            lambda d: metrics.oair_by_confidence(_get(d, "gt"), _get(d, "pred")),
            lambda d: _loop_oair_of(d, (0.5,) * 6),
        ),
        "weighted coverage": (
            lambda d: metrics.mean_weighted_coverage(
                _all(d, "gt", "masks"), _all(d, "pred", "masks")
            ),
            lambda d: [_loop_iou(i["pred"]["masks"], i["gt"]["masks"]) for i in d],
        ),
        "oair (both) + coverage, overlaps shared": (_ours_shared, _loop_shared),
        "percent in cycles": (
            lambda d: metrics.percent_in_cycles(_all(d, "pred", "occlusion")),
            _networkx_cycles,
        ),
    }


def _loop_oair_of(data, thresholds) -> None:
    for image in data:
        _loop_oair(image, thresholds)


def _ours_shared(data) -> None:
    """Compute the overlaps of an image once for all metrics, as the evaluators do."""
    matched, covered = [], []
    for image in data:
        gt, pred = image["gt"], image["pred"]
        counts = overlap_counts(pred["masks"], gt["masks"])
        iou = iou_from_counts(*counts)
        covered.append(weighted_coverage_from_iou(iou, counts[2], num_pixels=SIDE * SIDE))
        matched.append(edge_matches(gt, pred, iou=iou))
    oair_from_counts(np.sum([one.counts() for one in matched], axis=0), metrics.IOU_THRESHOLDS)
    edges = sum(one.ends.shape[1] for one in matched)
    confidence_curve(edges, np.concatenate([one.edge_scores() for one in matched]))


def _loop_shared(data) -> None:
    for image in data:
        _loop_oair(image, (*metrics.IOU_THRESHOLDS, *(0.5,) * 6))


def _get(data, side):
    return [image[side] for image in data]


def _all(data, side, key):
    return [image[side][key] for image in data]


def _depths(data):
    return (
        *(_all(data, "gt", key) for key in ("depth", "overlap", "count")),
        _all(data, "pred", "depth"),
    )


def _loop_occlusion(data) -> None:
    hit = missed = wrong = 0
    for image in data:
        gt, pred = image["gt"]["occlusion"], image["pred"]["occlusion"]
        for i, j in permutations(range(len(gt)), 2):
            hit += gt[i, j] == 1 and pred[i, j] == 1
            missed += gt[i, j] == 1 and pred[i, j] != 1
            wrong += gt[i, j] == 0 and pred[i, j] == 1


def _sklearn_occlusion(data) -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score

    for image in data:
        gt, pred = image["gt"]["occlusion"].ravel(), image["pred"]["occlusion"].ravel()
        for score in (recall_score, precision_score, f1_score):
            score(gt, pred, zero_division=1)


def _loop_whdr(data) -> None:
    for image in data:
        gt, pred = image["gt"], image["pred"]["depth"]
        sums: dict[Any, Any] = {}
        for i, j in combinations(range(len(pred)), 2):
            if gt["depth"][i, j] < 0:
                continue
            weight = 2 / gt["count"][i, j]
            wrong = weight * (gt["depth"][i, j] != pred[i, j])
            for kind in ("all", "overlap" if gt["overlap"][i, j] == 1 else "distinct"):
                for relation in ("", "_equal" if gt["depth"][i, j] == 2 else "_not_equal"):
                    old = sums.get(kind + relation, (0, 0))
                    sums[kind + relation] = (old[0] + wrong, old[1] + weight)


def _loop_iou(pred, gt) -> np.ndarray:
    return np.array([[(p & g).sum() / max((p | g).sum(), 1) for g in gt] for p in pred])


def _loop_touch(a, b) -> bool:
    grown = a.copy()
    grown[1:] |= a[:-1]
    grown[:-1] |= a[1:]
    grown[:, 1:] |= a[:, :-1]
    grown[:, :-1] |= a[:, 1:]
    return bool((grown & b).any())


def _loop_oair(image, thresholds) -> None:
    gt, pred = image["gt"], image["pred"]
    iou = _loop_iou(pred["masks"], gt["masks"])
    graph = nx.DiGraph(list(zip(*np.nonzero(pred["occlusion"] == 1), strict=True)))
    graph.add_nodes_from(range(len(iou)))
    edges = [
        (i, j)
        for i, j in permutations(range(len(gt["masks"])), 2)
        if gt["occlusion"][i, j] == 1 and _loop_touch(gt["masks"][i], gt["masks"][j])
    ]
    for threshold in thresholds:
        partner = {}
        for p in np.argsort(-pred["scores"]):
            free = [(iou[p, g], -g) for g in range(iou.shape[1]) if g not in partner]
            if free and max(free)[0] > threshold:
                partner[-max(free)[1]] = p
        for i, j in edges:
            if i in partner and j in partner:
                a, b = partner[i], partner[j]
                nx.has_path(graph, a, b) and not nx.has_path(graph, b, a)


def _networkx_cycles(data) -> None:
    for image in data:
        graph = nx.DiGraph(list(zip(*np.nonzero(image["pred"]["occlusion"] == 1), strict=True)))
        sum(len(group) for group in nx.strongly_connected_components(graph) if len(group) > 1)
