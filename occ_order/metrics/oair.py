"""OAIR curve: occlusion accuracy vs. instance recall (Baselizadeh et al., section 4).

All metrics take images as dictionaries: `"masks"` bool (N, H, W), `"classes"` (N,),
`"occlusion"` (N, N) with 1 where the row occludes the column; a prediction also has `"scores"`
(N,). Images are consumed one at a time, so with generators only one image is in memory.

Shape letters: G ground-truth instances, P predictions, E ground-truth edges, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order.masks import bordering_pairs
from occ_order.metrics.matching import mask_iou, mask_stack, match_greedy_sweep
from occ_order.metrics.matrices import image_pairs
from occ_order.metrics.scorer import Scorer
from occ_order.order.encoding import check_occlusion
from occ_order.order.graph import instances_in_cycles, reachability

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 ... 0.95: IoU thresholds of the curve by IoU."""


def path_scores(occlusion: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute the largest score threshold at which there is a path between each two instances.

    A path exists at a threshold if all instances on it, including both ends, have at least that
    score: this is the maximum over all paths of the lowest score on the path, computed as in the
    algorithm of Floyd and Warshall.

    Args:
        occlusion: (N, N), 1 = row occludes column; the diagonal is ignored.
        scores: float (N,).

    Returns:
        float64 (N, N), of the path from row to column; -inf without one. The diagonal is undefined.
    """
    scores = np.asarray(scores, float)
    edges = np.asarray(occlusion) == 1
    best = np.where(edges, np.minimum(scores[:, None], scores), -np.inf)
    for middle in np.flatnonzero(edges.any(0) & edges.any(1)):
        np.maximum(best, np.minimum(best[:, middle, None], best[middle]), out=best)
    return best


@dataclass(frozen=True)
class EdgeMatches:
    """Ground-truth edges of an image with the matched predictions of their ends.

    Attributes:
        ends: int64 (T, E, 2), at each IoU threshold the index of the prediction matched to the
            occluder [..., 0] and to the occludee [..., 1] of each edge; -1 = unmatched.
        occlusion: int8 (P, P) of the predictions, 1 = row occludes column.
        scores: float (P,), confidence of the predictions; None = without scores.
    """

    ends: np.ndarray
    occlusion: np.ndarray
    scores: np.ndarray | None

    def counts(self) -> np.ndarray:
        """Count edges, recovered edges, and recovered and correct edges: int64 (T, 3)."""
        recovered: np.ndarray = np.all(self.ends >= 0, axis=-1)
        correct = recovered
        if recovered.any():
            reach = reachability(self.occlusion)
            first, second = self.ends[..., 0], self.ends[..., 1]
            correct = recovered & reach[first, second] & ~reach[second, first]
        counts = np.full((len(recovered), 3), recovered.shape[1], np.int64)
        counts[:, 1] = recovered.sum(1)
        counts[:, 2] = correct.sum(1)
        return counts

    def edge_scores(self) -> np.ndarray:
        """Compute the score thresholds between which edges are recovered and correct.

        Matching is greedy by descending score, so dropping low-scoring predictions does not change
        the matches of the others. At the first IoU threshold and a score threshold t, an edge is
        recovered if t <= the first column, and correct if third column < t <= second column.

        Returns:
            float64 (R, 3), of the R edges that are recovered at the first IoU threshold: the lower
            score of both ends, and the `path_scores` in the direction of the edge and in the
            opposite one.
        """
        assert self.scores is not None
        first, second = self.ends[0][(self.ends[0] >= 0).all(-1)].T
        if not len(first):
            return np.zeros((0, 3))
        paths = path_scores(self.occlusion, self.scores)
        lower = np.minimum(self.scores[first], self.scores[second])
        return np.stack([lower, paths[first, second], paths[second, first]], 1)


def edge_matches(
    gt: dict,
    pred: dict,
    *,
    iou_thresholds=IOU_THRESHOLDS,
    score_threshold: float | None = None,
    gt_edges: str = "touching",
    class_agnostic: bool = False,
    iou: np.ndarray | None = None,
) -> EdgeMatches:
    """Check one image, select its ground-truth edges and match their ends to predictions.

    Args:
        gt: as in `oair`.
        pred: as in `oair`.
        iou_thresholds: float (T,); a match must exceed the threshold.
        score_threshold: predictions with a lower score are dropped; None = keep all.
        gt_edges: "touching" or "all", as in `oair`.
        class_agnostic: also match instances of different classes.
        iou: float (P, G), IoU of all predictions with the ground truth; None = computed here.

    Returns:
        EdgeMatches; the `counts()` of several images can be summed.

    Raises:
        ValueError: a field is missing or has another shape (expected and got are printed), masks
            of different image sizes, NaN scores, unknown `gt_edges`.
    """
    if gt_edges not in ("touching", "all"):
        raise ValueError(f"gt_edges must be 'touching' or 'all', got {gt_edges!r}")
    gt_masks, gt_classes, gt_occ = _image(gt, class_agnostic, "ground truth")
    pred_masks, pred_classes, pred_occ = _image(pred, class_agnostic, "prediction")
    if gt_masks.shape[1:] != pred_masks.shape[1:]:
        raise ValueError(
            f"ground-truth masks {gt_masks.shape} and predicted masks {pred_masks.shape} "
            "belong to images of different sizes"
        )
    scores = _field(pred, "scores", (len(pred_masks),), "prediction", optional=True)
    if scores is None and score_threshold is not None:
        raise ValueError("score_threshold needs predictions with 'scores'")
    edges = _gt_edges(gt_masks, gt_occ, gt_edges)
    if len(edges) == 0 or len(pred_masks) == 0:
        ends = np.full((len(np.atleast_1d(iou_thresholds)), len(edges), 2), -1)
        return EdgeMatches(ends, pred_occ, scores)
    iou = mask_iou(pred_masks, gt_masks) if iou is None else iou
    if score_threshold is not None:
        dropped = ~(scores >= score_threshold)
        iou = np.where(dropped[:, None], 0.0, iou)
        pred_occ = np.where(dropped[:, None] | dropped[None, :], 0, pred_occ)
    matches = match_greedy_sweep(
        iou,
        scores,
        iou_thresholds=iou_thresholds,
        pred_classes=pred_classes,
        gt_classes=gt_classes,
    )
    partner = np.full((len(matches), len(gt_masks)), -1)
    row, matched = np.nonzero(matches >= 0)
    partner[row, matches[row, matched]] = matched
    return EdgeMatches(partner[:, edges], pred_occ, scores)


def oair(
    gt_images,
    pred_images,
    *,
    iou_thresholds=IOU_THRESHOLDS,
    score_threshold: float | None = None,
    gt_edges: str = "touching",
    class_agnostic: bool = False,
) -> dict[str, list[float]]:
    """Compute the OAIR curve by IoU: recall of occlusion edges, and accuracy of recovered edges.

    In every image, predictions below the score threshold are dropped with their edges and the
    others are matched one-to-one (`match_greedy`). A ground-truth edge g1 -> g2 is *recovered* if
    both ends are matched, and *correct* if, in addition, the predicted graph has a directed path
    from the match of g1 to the match of g2, but not in the opposite direction. Paths may pass
    through unmatched predictions. Counts are pooled over the data set: recall = recovered / edges,
    accuracy = correct / recovered.

    Args:
        gt_images: iterable of {"masks", "classes", "occlusion"}; -1 in the matrix = not annotated,
            no edge. Mutual occlusions are no edges either.
        pred_images: iterable of {"masks", "classes", "scores", "occlusion"}, same order. Without
            "scores" the instances are matched in their order.
        iou_thresholds: float (T,); a match must exceed the threshold.
        score_threshold: predictions with a lower score are dropped; None = keep all.
        gt_edges: "touching" (default): annotated pairs whose masks share pixels or are
            4-neighbours, the paper's known adjacent occlusions. "all": every annotated pair.
        class_agnostic: also match instances of different classes; "classes" is then optional.

    Returns:
        {"recall", "accuracy", "iou_threshold", "edges", "recovered", "correct"}: lists of length
        T, the first two are fractions in [0, 1], the last three are counts. Recall is NaN without
        ground-truth edges, accuracy is NaN if no edge is recovered.

    Raises:
        ValueError: different numbers of images, or an error of `edge_matches`, with the index of
            the image.
    """
    thresholds = [float(value) for value in np.asarray(iou_thresholds, float).reshape(-1)]
    counts = np.zeros((len(thresholds), 3), np.int64)
    for index, (gt, pred) in image_pairs(gt_images, pred_images):
        try:
            counts += edge_matches(
                gt,
                pred,
                iou_thresholds=thresholds,
                score_threshold=score_threshold,
                gt_edges=gt_edges,
                class_agnostic=class_agnostic,
            ).counts()
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return oair_from_counts(counts, thresholds)


def oair_from_counts(counts: np.ndarray, iou_thresholds) -> dict[str, list[float]]:
    """Compute the result of `oair` from pooled counts.

    Args:
        counts: int64 (T, 3), sum of `EdgeMatches.counts()` over the images.
        iou_thresholds: float (T,), returned as "iou_threshold".

    Returns:
        As `oair`.
    """
    edges, recovered, correct = np.asarray(counts, np.int64).reshape(-1, 3).T.tolist()
    return {
        "recall": [_fraction(r, e) for r, e in zip(recovered, edges, strict=True)],
        "accuracy": [_fraction(c, r) for c, r in zip(correct, recovered, strict=True)],
        "iou_threshold": [float(value) for value in iou_thresholds],
        "edges": edges,
        "recovered": recovered,
        "correct": correct,
    }


def oair_by_confidence(
    gt_images,
    pred_images,
    *,
    num_points: int = 6,
    iou_threshold: float = 0.5,
    gt_edges: str = "touching",
    class_agnostic: bool = False,
) -> dict[str, list[float]]:
    """Compute the OAIR curve by confidence: score thresholds at evenly spaced recalls.

    Point k of n, k = 1..n, uses the largest score threshold that recovers at least k / n of the
    edges recovered without a threshold. (Accuracy is undefined at recall 0, so the curve starts at
    k = 1.) Dropping a prediction also removes its edges, including paths through it.

    Args:
        gt_images: as in `oair`.
        pred_images: as in `oair`; "scores" are required.
        num_points: number of points n, 6 in the paper.
        iou_threshold: a match must exceed it.
        gt_edges: "touching" or "all", as in `oair`.
        class_agnostic: also match instances of different classes.

    Returns:
        {"recall", "accuracy", "score_threshold", "edges", "recovered", "correct"}: lists of length
        `num_points`; NaN as in `oair`, and the threshold is NaN if no edge is recovered.

    Raises:
        ValueError: as `oair`, predictions without scores, or `num_points` below 1.
    """
    edges, scores = 0, [np.zeros((0, 3))]
    for index, (gt, pred) in image_pairs(gt_images, pred_images):
        try:
            if pred.get("scores") is None:
                raise ValueError("prediction lacks 'scores'")
            found = edge_matches(
                gt,
                pred,
                iou_thresholds=[iou_threshold],
                gt_edges=gt_edges,
                class_agnostic=class_agnostic,
            )
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
        edges += found.ends.shape[1]
        scores.append(found.edge_scores())
    return confidence_curve(edges, np.concatenate(scores), num_points=num_points)


def confidence_curve(
    edges: int, edge_scores: np.ndarray, *, num_points: int = 6
) -> dict[str, list[float]]:
    """Compute `oair_by_confidence` from matched edges.

    Args:
        edges: number of ground-truth edges.
        edge_scores: (R, 3), `EdgeMatches.edge_scores` of all images, in any order.
        num_points: number of points.

    Returns:
        As `oair_by_confidence`.

    Raises:
        ValueError: `num_points` below 1.
    """
    if num_points < 1:
        raise ValueError(f"num_points must be at least 1, got {num_points}")
    lower, forward, backward = edge_scores.T
    ranked = np.sort(lower)
    wanted = [-(-point * len(ranked) // num_points) for point in range(1, num_points + 1)]
    thresholds = [float(ranked[-count]) if count else float("nan") for count in wanted]
    counts = np.full((num_points, 3), edges, np.int64)
    for point, threshold in enumerate(thresholds):
        correct = (forward >= threshold) & (backward < threshold)
        counts[point, 1:] = (lower >= threshold).sum(), correct.sum()
    curve = oair_from_counts(counts, thresholds)
    curve["score_threshold"] = curve.pop("iou_threshold")
    return curve


class OAIRScorer(Scorer[EdgeMatches]):
    """OAIR curves of a data set.

    The curve by confidence needs the scores of all recovered edges: 24 bytes of each are kept.

    Args:
        gt_edges: see :func:`edge_matches`.
        class_agnostic: see :func:`edge_matches`.
    """

    def __init__(self, *, gt_edges: str = "touching", class_agnostic: bool = False) -> None:
        super().__init__(gt_edges=gt_edges, class_agnostic=class_agnostic)

    def empty(self) -> dict[str, Any]:
        """Return the state: counts by IoU threshold; edges of predictions with scores."""
        return {
            "counts": np.zeros((len(IOU_THRESHOLDS), 3), np.int64),
            "edges": np.zeros(1, np.int64),
            "edge_scores": bytearray(),
        }

    def row(self, truth: dict, prediction: dict, *, iou: np.ndarray | None = None) -> EdgeMatches:
        """Return the matches of an image; see :func:`edge_matches` for the arguments."""
        return edge_matches(truth, prediction, iou=iou, **self.options)

    def add(self, row: EdgeMatches) -> None:
        """Add the matches of an image, at the IoU thresholds `IOU_THRESHOLDS`."""
        self.state["counts"] += row.counts()
        if row.scores is not None:
            self.state["edges"] += row.ends.shape[1]
            self.state["edge_scores"] += row.edge_scores().tobytes()

    def compute(self, *, num_points: int = 6) -> dict[str, dict[str, list[float]]]:
        """Compute "by_iou" as :func:`oair` and "by_confidence" as :func:`oair_by_confidence`.

        Images whose predictions have no scores are ignored in "by_confidence".

        Args:
            num_points: number of points of "by_confidence".
        """
        return {
            "by_iou": oair_from_counts(self.state["counts"], IOU_THRESHOLDS),
            "by_confidence": self.by_confidence(num_points),
        }

    def by_confidence(self, num_points: int) -> dict[str, list[float]]:
        """Compute the curve by confidence with a number of points."""
        scores = np.frombuffer(bytes(self.state["edge_scores"])).reshape(-1, 3)
        return confidence_curve(int(self.state["edges"][0]), scores, num_points=num_points)


class CycleScorer(Scorer[tuple[int, int]]):
    """Fraction of instances in cycles over a data set."""

    def empty(self) -> dict[str, Any]:
        """Return the state: numbers of instances on a cycle and of all instances."""
        return {"counts": np.zeros(2, np.int64)}

    def row(self, truth: object, prediction: dict) -> tuple[int, int]:
        """Return the numbers of instances on a cycle and of all instances of an image.

        Args:
            truth: ignored.
            prediction: "occlusion", (P, P).

        Raises:
            ValueError: a matrix that is not square.
        """
        cyclic = instances_in_cycles(prediction["occlusion"])
        return int(cyclic.sum()), len(cyclic)

    def add(self, row: tuple[int, int]) -> None:
        """Add the numbers of an image."""
        self.state["counts"] += row

    def compute(self) -> dict[str, float]:
        """Return {"instances"}: percentage of all instances; NaN without instances."""
        cyclic, number = self.state["counts"].tolist()
        return {"instances": 100.0 * _fraction(cyclic, number)}


def percent_in_cycles(occlusions) -> float:
    """Compute the percentage of instances of a data set on a directed cycle of occlusions.

    Args:
        occlusions: iterable of (N, N) occlusion matrices, one for each image, 1 = row occludes
            column. Two instances that occlude each other are a cycle.

    Returns:
        Percentage in [0, 100] of all instances; NaN if there is no instance.

    Raises:
        ValueError: invalid occlusion matrix (not square, values other than 1, 0 and -1, or
            non-zero diagonal), with the index of the image.
    """
    scorer = CycleScorer()
    for index, matrix in enumerate(occlusions):
        try:
            scorer.update(None, {"occlusion": matrix})
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return scorer.compute()["instances"]


def _image(image: dict, class_agnostic: bool, name: str):
    """Check an image; return masks, classes (None if class-agnostic) and occlusion matrix."""
    if "masks" not in image:
        raise ValueError(f"{name} lacks 'masks'")
    masks = mask_stack(image["masks"], f"{name} masks")
    occlusion = _field(image, "occlusion", (len(masks), len(masks)), name)
    occlusion = check_occlusion(occlusion, name=f"{name} 'occlusion'")
    classes = None if class_agnostic else _field(image, "classes", (len(masks),), name)
    return masks, classes, occlusion


def _field(image: dict, key: str, shape: tuple, name: str, *, optional: bool = False):
    """Return one entry of an image as an array; ValueError if absent or of another shape."""
    if image.get(key) is None:
        if optional:
            return None
        raise ValueError(f"{name} lacks '{key}'")
    array = np.asarray(image[key])
    if array.shape != shape:
        raise ValueError(f"{name} '{key}' must have shape {shape}, got {array.shape}")
    return array


def _gt_edges(masks: np.ndarray, occlusion: np.ndarray, gt_edges: str) -> np.ndarray:
    """Return int64 (E, 2), occluder and occludee of every ground-truth edge."""
    edges = np.argwhere((occlusion == 1) & ~(occlusion.T == 1))
    if gt_edges == "touching" and len(edges):
        edges = edges[bordering_pairs(masks)[edges[:, 0], edges[:, 1]]]
    return edges


def _fraction(part: int, whole: int) -> float:
    """Return part / whole, NaN if whole is 0."""
    return part / whole if whole else float("nan")
