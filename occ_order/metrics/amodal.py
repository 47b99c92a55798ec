"""Metrics of amodal masks: AP and AR by occlusion rate, pairwise order from layering maps.

The protocol of the COCO amodal data set in "Learning Semantics-aware Distance Map with Semantics
Layering Network" (Zhang et al., ACM MM 2019), Tables 1-3, based on the evaluation of pycocotools.
All scores are in percent. Amodal = the whole object, modal = its visible part, invisible = amodal -
modal.

Images are dictionaries: ground truth ``{"image_id", "masks", ...}``, predictions with additional
``"scores"``. ``"masks"`` is bool (N, H, W) or a list of N COCO run-length encodings of one image
size; amodal masks result in amodal AP, modal masks in modal AP. Further keys are (N,) arrays,
described where they are used. A missing key that a score needs raises ValueError; a score with
nothing to average is NaN, never 0.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order import masks as mask_tools
from occ_order.metrics.matching import mask_iou, mask_stack, match_greedy, overlap_counts
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums, ImageRecords
from occ_order.targets.layering import order_from_levels

OCCLUSION_BANDS = {"none": (0.0, 1e-5), "partial": (1e-5, 0.25), "heavy": (0.25, 1.0)}
"""Bands of the occlusion rate |invisible| / |amodal|; both ends are inclusive."""

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)

Images = Sequence[Mapping[str, Any]]


# ------------------------------------------------------------------ average precision and recall


def amodal_scores(
    gt: Images,
    pred: Images,
    *,
    bands: Mapping[str, tuple[float, float]] | None = None,
    things_and_stuff: bool = True,
    max_detections: Sequence[int] = (1, 10, 100),
    compat: str | None = None,
) -> dict[str, float]:
    """Compute AP and AR of class-agnostic amodal masks, by occlusion and things / stuff.

    Tables 1-3. Every subset is a run of the COCO evaluation in which ground truth outside the
    subset is ignored: it is no false negative if unmatched, and predictions matched to it are
    ignored. Unmatched predictions are false positives in *every* run. Thus the AP of a subset
    includes all false positives of the image and is low by construction; AR is more meaningful for
    subsets.

    Args:
        gt: images with "masks" and, for the subsets, "occlude_rate" (N,) in [0, 1] and "is_stuff"
            (N,) bool; optional "is_crowd" (N,) bool with COCO's meaning.
        pred: images with "masks" and "scores" (N,), in any order. Images without an entry have no
            predictions.
        bands: name -> (minimum, maximum) occlusion rate, inclusive; None = `OCCLUSION_BANDS`,
            ``{}`` = no bands (then "occlude_rate" is not needed).
        things_and_stuff: also evaluate things and stuff separately; False needs no "is_stuff".
        max_detections: ascending maximum numbers of predictions per image; AP uses the last.
        compat: None, or "sln" for the published evaluation, which ignores the image with the
            largest id and images without predictions, including their ground truth.

    Returns:
        Percent, NaN if a subset has no ground truth. Keys are ``AP``, ``AP50``, ``AP75`` and
        ``AR1``, ``AR10``, ``AR100`` (one for each of `max_detections`), with suffixes ``_none``,
        ``_partial``, ``_heavy`` (names of `bands`) for the occlusion bands and prefixes
        ``things/`` or ``stuff/``, in all combinations.

    Raises:
        ValueError: missing keys, arrays of different lengths, non-finite scores, masks of
            different sizes or invalid encodings, duplicate image ids, predictions for an image
            that is not in `gt`, or unknown `compat`.
    """
    scorer = AmodalAPScorer(
        bands=bands,
        things_and_stuff=things_and_stuff,
        max_detections=max_detections,
        compat=compat,
    )
    return _scored(scorer, gt, pred)


def class_scores(
    gt: Images,
    pred: Images,
    *,
    min_occlusion: Sequence[float] = (0.15, 0.25, 0.40),
    max_detections: Sequence[int] = (1, 10, 100),
) -> dict[str, float]:
    """Compute class-averaged AP, for COCOA-cls, D2SA and KINS, with explicit occlusion bands.

    Published code for these data sets reports AP of occluded objects in the columns of object size
    ("APs" for an occlusion rate of at least 0.15, and so on); here the bands have their own names.

    Args:
        gt: images with "masks", "classes" (N,) integers and, for the bands, "occlude_rate" (N,);
            optional "is_crowd" (N,).
        pred: images with "masks", "scores" and "classes"; optional "occlude_rate" (N,), the rate
            of the prediction: an unmatched prediction outside a band is then ignored in the band
            instead of being a false positive.
        min_occlusion: minimum occlusion rates of the bands; ``()`` = no bands.
        max_detections: ascending maximum numbers of predictions per image and class.

    Returns:
        Percent: "AP", "AP50", "AP75", "AR1", "AR10", "AR100" and, for a rate r of
        `min_occlusion`, "AP_occ15" (r >= 0.15), "AP50_occ15" and so on. NaN without ground truth.

    Raises:
        ValueError: as `amodal_scores`.
    """
    scorer = ClassAPScorer(min_occlusion=min_occlusion, max_detections=max_detections)
    return _scored(scorer, gt, pred)


def _scored(scorer: _APScorer, gt: Images, pred: Images) -> dict[str, float]:
    """Return the scores of images by a new scorer."""
    by_id = _by_id(pred, gt)
    for truth in gt:
        scorer.update(truth, by_id.get(truth["image_id"]))
    return scorer.compute()


@dataclass
class _Side:
    """What COCO's matching needs of one side of an image, ground truth or prediction."""

    masks: np.ndarray | list[dict]
    size: tuple[int, int] | None
    num: int
    scores: np.ndarray
    """float64 (N,); 0 where ground truth has none."""
    is_crowd: np.ndarray
    """bool (N,); False where it is not stated."""
    classes: np.ndarray | None = None
    occlude_rate: np.ndarray | None = None
    is_stuff: np.ndarray | None = None


@dataclass
class _Image:
    image_id: Any
    gt: _Side
    pred: _Side
    ignore: np.ndarray
    """bool (S, G): ground truth outside each of S subsets; at first one, of everything."""
    pred_ignore: np.ndarray
    """bool (S, P): predictions that are ignored in a subset if unmatched."""


def _outside(side: _Side, band: tuple[float, float] | None, kind: str) -> np.ndarray:
    """Return bool (N,): instances outside a subset; instances with unknown rate are in all."""
    outside = np.zeros(side.num, dtype=bool)
    if kind:
        assert side.is_stuff is not None  # `amodal_scores` requires it for things and stuff
        outside |= side.is_stuff if kind == "things" else ~side.is_stuff
    if band is not None and side.occlude_rate is not None:
        outside |= (side.occlude_rate < band[0]) | (side.occlude_rate > band[1])
    return outside


@dataclass
class _Curves:
    """Precision and recall as pycocotools accumulates them; -1 without ground truth.

    Letters: T IoU thresholds, R recall thresholds, K classes, S subsets, M numbers of detections.
    """

    precision: np.ndarray
    """(T, R, K, S), at the largest number of detections."""
    recall: np.ndarray
    """(T, K, S, M)."""


EVERY_CLASS = -1
"""Class of all instances in class-agnostic scores."""


class _APScorer(Scorer[ImageRecords]):
    """Base class of AP and AR as computed by pycocotools, in S subsets of the ground truth.

    AP ranks the detections of all images by their scores, so each of the best `max_detections` of
    an image and class is kept, in 24 bytes and one bit for "matched" and one for "ignored" of each
    subset and IoU threshold; pycocotools keeps a dictionary for each image, class and subset
    instead.
    """

    def empty(self) -> dict[str, Any]:
        """Return the state: records of detections, and numbers of ground truth by class."""
        numbers = np.asarray(self.options["max_detections"])
        if numbers.ndim != 1 or not len(numbers) or numbers[0] < 1 or (np.diff(numbers) <= 0).any():
            raise ValueError(
                f"max_detections must be ascending and positive, "
                f"got {self.options['max_detections']}"
            )
        octets = -(-math.prod(self._flags) // 8)
        detections = [
            ("class", np.int64),
            ("score", np.float64),
            ("rank", np.int32),
            ("matched", np.uint8, (octets,)),
            ("ignored", np.uint8, (octets,)),
        ]
        truths = [("class", np.int64), ("number", np.int32, self._flags[:1])]
        return {"images": ImageRecords(detections=detections, truths=truths)}

    @property
    def _flags(self) -> tuple[int, int]:
        """Number S of subsets and number T of IoU thresholds."""
        return len(self._subsets()), len(IOU_THRESHOLDS)

    def _subsets(self) -> Sequence[Any]:
        """Return a description of each subset; the first is of everything."""
        raise NotImplementedError

    def _matched(self, image: _Image, classes: list[int]) -> ImageRecords:
        """Match the predictions of an image in each of the classes."""
        iou = _iou(image.gt, image.pred)
        kinds: dict[str, list[dict[str, np.ndarray]]] = {"detections": [], "truths": []}
        for number in classes:
            gt, pred = _of_class(image.gt, number), _of_class(image.pred, number)
            best = np.argsort(-image.pred.scores[pred], kind="stable")
            pred = pred[best[: self.options["max_detections"][-1]]]
            matched, ignored = (
                np.packbits(flags.reshape(math.prod(self._flags), len(pred)), axis=0).T
                for flags in _match_image(image, iou, gt, pred)
            )
            kinds["detections"].append(
                {
                    "class": np.full(len(pred), number),
                    "score": image.pred.scores[pred],
                    "rank": np.arange(len(pred)),
                    "matched": matched,
                    "ignored": ignored,
                }
            )
            counted = ~(image.ignore[:, gt] | image.gt.is_crowd[gt])
            if len(gt):
                count = counted.sum(1)[None]
                kinds["truths"].append({"class": np.array([number]), "number": count})
        found = self.empty()["images"]
        found.add(
            image.image_id,
            **{
                name: {key: np.concatenate([one[key] for one in parts]) for key in parts[0]}
                for name, parts in kinds.items()
                if parts
            },
        )
        return found

    def add(self, row: ImageRecords) -> None:
        """Add the matches of an image."""
        self.state["images"] += row

    def _curves(self, *, without_last: bool = False) -> _Curves | None:
        """Accumulate precision and recall of the classes; None without ground truth.

        Args:
            without_last: ignore the image with the largest id.

        Raises:
            ValueError: two images have the same id.
        """
        images = self.state["images"]
        detections, truths = (images.sorted(name) for name in ("detections", "truths"))
        if without_last:
            last = len(images.image_ids) - 1
            detections, truths = (part[part["image"] != last] for part in (detections, truths))
        classes, place = np.unique(truths["class"], return_inverse=True)
        if not len(classes):
            return None
        num_gt = np.zeros((len(classes), self._flags[0]), np.int64)
        np.add.at(num_gt, place.reshape(-1), truths["number"])
        # Best first in each class; of equal scores by image, as pycocotools ranks them.
        detections = detections[np.lexsort((-detections["score"], detections["class"]))]
        starts = np.searchsorted(detections["class"], classes)
        stops = np.searchsorted(detections["class"], classes, side="right")
        ranked = [detections[start:stop] for start, stop in zip(starts, stops, strict=True)]
        parts = [_accumulated(ranked, num_gt, most) for most in self.options["max_detections"]]
        recall = np.stack([recall for _, recall in parts], axis=-1)
        return _Curves(parts[-1][0], recall)


class _Entries(Sequence[dict[str, Any]]):
    """Entries of COCOeval.evalImgs: one merged entry in place of those of all images.

    They are made when they are read, one at a time, so that of each detection only one bit is
    unpacked.

    Args:
        ranked: detections of each class, best first.
        num_gt: int (K, S), number of ground truth of each class in each subset.
    """

    def __init__(self, ranked: list[np.ndarray], num_gt: np.ndarray) -> None:
        self._ranked, self._num_gt = ranked, num_gt
        self._flags = num_gt.shape[1] * len(IOU_THRESHOLDS)

    def __len__(self) -> int:
        return len(self._ranked) * self._flags

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        """Return the entry of a class, subset and IoU threshold, in this order."""
        number, flag = divmod(index, self._flags)
        rows = self._ranked[number]
        octet, bit = divmod(flag, 8)
        matched, ignored = (
            (rows[name][:, octet] >> (7 - bit) & 1).astype(bool)[None]
            for name in ("matched", "ignored")
        )
        truths = self._num_gt[number, flag // len(IOU_THRESHOLDS)]
        return {
            "dtScores": rows["score"],
            "dtMatches": matched,
            "dtIgnore": ignored,
            "gtIgnore": np.zeros(truths, np.int8),
        }


def _accumulated(
    ranked: list[np.ndarray], num_gt: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Accumulate the first `most` predictions of each image by pycocotools.

    Args:
        ranked: detections of each class, best first.
        num_gt: int (K, S), number of ground truth of each class in each subset.
        most: maximum number of predictions per image and class.

    Returns:
        Precision (T, R, K, S) and recall (T, K, S), as in `_Curves`.
    """
    from pycocotools.cocoeval import COCOeval

    entries = _Entries([rows[rows["rank"] < most] for rows in ranked], num_gt)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(iouType="segm")
        params = evaluation.params
        params.catIds = list(range(len(ranked)))
        params.imgIds = [0]
        params.maxDets = [max(map(len, ranked))]
        # Subsets and IoU thresholds are enumerated as "area ranges" of one threshold: pycocotools
        # would otherwise need several float64 of each detection and threshold at once.
        params.iouThrs = IOU_THRESHOLDS[:1]
        params.areaRng = [[k, k] for k in range(num_gt.shape[1] * len(IOU_THRESHOLDS))]
        evaluation.evalImgs = entries
        evaluation._paramsEval = params
        evaluation.accumulate()
    shape = num_gt.shape[1], len(IOU_THRESHOLDS)
    precision, recall = (evaluation.eval[name][0, ..., 0] for name in ("precision", "recall"))
    precision = precision.reshape(*precision.shape[:-1], *shape)
    recall = recall.reshape(*recall.shape[:-1], *shape)
    return np.moveaxis(precision, -1, 0), np.moveaxis(recall, -1, 0)


def _classes(side: _Side) -> np.ndarray:
    assert side.classes is not None  # `class_scores` requires it on both sides
    return side.classes


def _of_class(side: _Side, class_id: int) -> np.ndarray:
    if class_id == EVERY_CLASS:
        return np.arange(side.num)
    return np.flatnonzero(_classes(side) == class_id)


def _match_image(
    image: _Image, iou: np.ndarray, gt: np.ndarray, pred: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match instances greedily as in COCO, in all subsets jointly.

    In descending order of score, a prediction is matched to the unmatched ground truth with the
    largest IoU that is not below the threshold; ground truth outside the subset is considered only
    if there is no match inside. The last of equal IoUs is used.

    Args:
        image: with its subsets.
        iou: (P, G) of all its instances.
        gt: indices of ground-truth instances.
        pred: indices of predictions, best score first.

    Returns:
        bool (S, T, len(pred)) each: matched, ignored.
    """
    crowd = image.gt.is_crowd[gt]
    ignore = image.ignore[:, gt] | crowd
    iou = iou[np.ix_(pred, gt)]
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    matched = np.zeros((len(ignore), len(limits), len(pred)), dtype=bool)
    ignored = np.zeros_like(matched)
    near = iou >= limits[0]
    # Most predictions overlap only one object and vice versa; these need no greedy matching.
    alone = (near.sum(axis=1) == 1) & (near & (near.sum(axis=0) == 1)).any(axis=1)
    chosen = near[alone].argmax(axis=1) if alone.any() else np.zeros(0, np.intp)
    hit = iou[alone, chosen] >= limits[:, None]
    matched[:, :, alone] = hit
    ignored[:, :, alone] = hit & ignore[:, None, chosen]
    free = np.ones((len(ignore), len(limits), len(gt)), dtype=bool)
    for p in np.flatnonzero(near.any(axis=1) & ~alone):
        rivals = np.flatnonzero(near[p])[::-1]
        fits = free[:, :, rivals] & (iou[p, rivals] >= limits[:, None])
        # Prefer ground truth inside the subset, then larger IoU, then larger index.
        rank = fits * (iou[p, rivals] + 2.0 * ~ignore[:, None, rivals])
        taken = rivals[rank.argmax(axis=2)]
        s, t = np.nonzero(fits.any(axis=2))
        g = taken[s, t]
        matched[s, t, p] = True
        ignored[s, t, p] = ignore[s, g]
        free[s, t, g] = crowd[g]
    ignored |= ~matched & image.pred_ignore[:, None, pred]
    return matched, ignored


def _iou(gt: _Side, pred: _Side) -> np.ndarray:
    """Compute IoU float64 (P, G); for crowd regions the fraction of the prediction, as in COCO."""
    if not gt.num or not pred.num:
        return np.zeros((pred.num, gt.num))
    if isinstance(gt.masks, np.ndarray) and isinstance(pred.masks, np.ndarray):
        shared, pred_area, gt_area = overlap_counts(pred.masks, gt.masks)
        union = np.where(gt.is_crowd, 0, gt_area - shared) + pred_area[:, None]
        return shared / np.maximum(union, 1)
    from pycocotools import mask as coco_mask

    crowd = gt.is_crowd.astype(int).tolist()
    return np.asarray(coco_mask.iou(_as_rle(pred.masks), _as_rle(gt.masks), crowd))


def _as_rle(masks: np.ndarray | list[dict]) -> list[dict]:
    return [mask_tools.encode(m) for m in masks] if isinstance(masks, np.ndarray) else masks


def _summary(
    curves: _Curves | None, subset: int, max_detections: Sequence[int]
) -> dict[str, float]:
    """AP, AP50, AP75 and AR<n> of one subset, percent."""
    names = ["AP", "AP50", "AP75", *(f"AR{number}" for number in max_detections)]
    if curves is None:
        return dict.fromkeys(names, float("nan"))
    precision = curves.precision[..., subset]
    averaged = [
        precision,
        precision[0],
        precision[5],
        *np.moveaxis(curves.recall[:, :, subset], -1, 0),
    ]
    return dict(zip(names, map(_mean, averaged), strict=True))


def _mean(values: np.ndarray) -> float:
    """Return the mean in percent; the evaluation marks missing ground truth by -1."""
    known = values[values > -1]
    return 100.0 * float(known.mean()) if known.size else float("nan")


# ------------------------------------------------------------------------------- invisible parts


def occlude_rate(amodal: np.ndarray, modal: np.ndarray) -> np.ndarray:
    """Compute the invisible fraction of each object, |amodal - modal| / |amodal|.

    Args:
        amodal: bool (N, H, W).
        modal: bool (N, H, W); pixels outside `amodal` are ignored.

    Returns:
        float64 (N,) in [0, 1]; NaN for an empty amodal mask.

    Raises:
        ValueError: shapes differ, or masks are not (N, H, W) of 0 and 1.
    """
    amodal, modal = _same_shape({"amodal": amodal, "modal": modal})
    whole = _areas(amodal)
    return np.where(whole > 0, _areas(amodal & ~modal) / np.maximum(whole, 1), np.nan)


def invisible_iou(
    gt_amodal: np.ndarray, gt_modal: np.ndarray, pred_amodal: np.ndarray, pred_modal: np.ndarray
) -> np.ndarray:
    """Compute the IoU of the invisible parts (amodal - modal) of corresponding objects.

    Args:
        gt_amodal: bool (N, H, W).
        gt_modal: bool (N, H, W).
        pred_amodal: bool (N, H, W).
        pred_modal: bool (N, H, W); pass `gt_modal` for methods that complete ground-truth masks.

    Returns:
        float64 (N,) in [0, 1]; NaN if the true invisible part is empty.

    Raises:
        ValueError: shapes differ, or masks are not (N, H, W) of 0 and 1.
    """
    gt_amodal, gt_modal, pred_amodal, pred_modal = _same_shape(
        {
            "gt_amodal": gt_amodal,
            "gt_modal": gt_modal,
            "pred_amodal": pred_amodal,
            "pred_modal": pred_modal,
        }
    )
    truth, guess = gt_amodal & ~gt_modal, pred_amodal & ~pred_modal
    shared, either = _areas(truth & guess), _areas(truth | guess)
    return np.where(truth.any(axis=(1, 2)), shared / np.maximum(either, 1), np.nan)


def invisible_scores(gt: Images, pred: Images, *, iou_threshold: float = 0.5) -> dict[str, float]:
    """Compute the mean IoU of invisible parts over a data set; matching by amodal IoU.

    Args:
        gt: images with "masks" (amodal) and "modal_masks", bool (N, H, W) each.
        pred: images with "masks", "modal_masks" and "scores".
        iou_threshold: amodal IoU threshold of matches (exclusive); greedy by score, one-to-one,
            ignoring the class.

    Returns:
        Percent over the ground-truth objects with an invisible part: "invisible_iou" (unmatched
        objects count as 0), "invisible_iou_matched" (matched objects only) and
        "invisible_matched" (fraction of matched objects). NaN without such objects.

    Raises:
        ValueError: as `amodal_scores`; masks must be arrays.
    """
    by_id, scorer = _by_id(pred, gt), InvisibleScorer(iou_threshold=iou_threshold)
    for truth in gt:
        scorer.update(truth, by_id.get(truth["image_id"]))
    return scorer.compute()


def invisible_counts(
    gt: Mapping[str, Any], pred: Mapping[str, Any] | None, *, iou_threshold: float = 0.5
) -> np.ndarray:
    """Compute the contribution of an image to `invisible_scores`, for parallel evaluation.

    Args:
        gt: an image of `invisible_scores`, with "image_id".
        pred: likewise; None = no predictions.
        iou_threshold: see `invisible_scores`.

    Returns:
        float64 (3,): sum of the IoU of invisible parts, number of matched objects with an invisible
        part, number of objects with one.

    Raises:
        ValueError: as `invisible_scores`.
    """
    image_id, keys = gt["image_id"], ["masks", "modal_masks"]
    _require(gt, keys, f"image {image_id}: ground truth")
    if pred is None:
        nothing = np.zeros((0, *np.shape(gt["masks"])[1:]), dtype=bool)
        pred = {"scores": [], **dict.fromkeys(keys, nothing)}
    _require(pred, [*keys, "scores"], f"image {image_id}: prediction")
    sides = []
    for side in (gt, pred):
        try:
            sides.append(_same_shape({key: side[key] for key in keys}))
        except ValueError as error:
            raise ValueError(f"image {image_id}: {error}") from error
    (truth, truth_modal), (guess, guess_modal) = sides
    partner = match_greedy(
        mask_iou(guess, truth), _finite_scores(pred, image_id), iou_threshold=iou_threshold
    )
    hit = np.flatnonzero(partner >= 0)
    values = invisible_iou(
        truth[partner[hit]], truth_modal[partner[hit]], guess[hit], guess_modal[hit]
    )
    values = values[~np.isnan(values)]
    objects = (truth & ~truth_modal).any(axis=(1, 2)).sum()
    return np.array([values.sum(), len(values), objects], dtype=float)


def invisible_summary(counts: Sequence[np.ndarray] | np.ndarray) -> dict[str, float]:
    """Compute the result of `invisible_scores` from the `invisible_counts` of all images.

    Raises:
        ValueError: `counts` is not (I, 3).
    """
    total, matched, objects = map(math.fsum, _counts(counts).T.tolist())
    return {
        "invisible_iou": _percent(total, objects),
        "invisible_iou_matched": _percent(total, matched),
        "invisible_matched": _percent(matched, objects),
    }


def _counts(counts: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    counts = np.asarray(counts).reshape(-1, 3) if not len(counts) else np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != 3:
        raise ValueError(f"counts must be (I, 3), got shape {counts.shape}")
    return counts


# ------------------------------------------------------------------------------- order of pairs


def region_order_counts(
    gt: Mapping[str, Any],
    pred: Mapping[str, Any],
    *,
    min_iou: float = 0.0,
    threshold: float = 0.5,
    overlap: str = "product",
    vote: str = "component",
) -> np.ndarray:
    """Count the annotated pairs of an image that predicted layering maps order correctly (Table 2).

    Every ground-truth object is represented by the prediction with the largest amodal IoU (ties:
    the better score). The order of two predictions is derived from their regional order (Eq. 4-5,
    `occ_order.targets.layering`). Pairs are undecided if their objects have no prediction or the
    same one, or if the predictions do not overlap or tie.

    Args:
        gt: "masks" bool (N, H, W), amodal, and "occlusion" (N, N), 1 = row is in front; mutual
            occlusions are ambiguous and ignored.
        pred: "masks" bool (P, H, W), amodal, "levels" integer (P, H, W) (-1 outside, 0 visible, l
            hidden behind l objects), "scores" (P,) and optional "confidence" (P, H, W) in [0, 1]
            (1 inside by default).
        min_iou: minimum IoU of an object's prediction.
        threshold: c of Eq. 5.
        overlap: "product" or "min", the definition of Omega in Eq. 5.
        vote: "component" or "area", the aggregation of regions to an order.

    Returns:
        int64 (3,): pairs, decided pairs, correctly decided pairs.

    Raises:
        ValueError: missing keys or inconsistent shapes.
    """
    _require(pred, ("levels",), "prediction")
    levels = np.asarray(pred["levels"])
    num_pairs, first, second = predicted_pairs(gt, pred, min_iou=min_iou)
    if len(levels) != len(pred["masks"]):
        raise ValueError(f"{len(pred['masks'])} predicted masks, {len(levels)} levels")
    # Compare only predictions that represent an object.
    used, position = np.unique([first, second], return_inverse=True)
    position = position.reshape(2, -1)
    used = used.astype(np.intp)
    confidence = pred.get("confidence")
    order = order_from_levels(
        levels[used],
        None if confidence is None else np.asarray(confidence)[used],
        threshold=threshold,
        overlap=overlap,
        vote=vote,
    )
    return _decided(num_pairs, order, *position)


def matched_order_counts(
    gt: Mapping[str, Any], pred: Mapping[str, Any], *, min_iou: float = 0.0
) -> np.ndarray:
    """Count the annotated pairs of an image that a predicted occlusion matrix orders correctly.

    Like `region_order_counts`, for orders that are not derived from layering maps. Pairs of
    predictions with mutual or no occlusion are undecided.

    Args:
        gt: see `region_order_counts`.
        pred: "masks" bool (P, H, W), amodal, "scores" (P,) and "occlusion" (P, P), 1 = row is in
            front.
        min_iou: see `region_order_counts`.

    Returns:
        int64 (3,): pairs, decided pairs, correctly decided pairs.

    Raises:
        ValueError: missing keys or inconsistent shapes.
    """
    _require(pred, ("occlusion",), "prediction")
    num_pairs, first, second = predicted_pairs(gt, pred, min_iou=min_iou)
    order = np.asarray(pred["occlusion"])
    if order.shape != (len(pred["masks"]),) * 2:
        raise ValueError(f"{len(pred['masks'])} predicted masks, occlusion {order.shape}")
    return _decided(num_pairs, order, first, second)


def predicted_pairs(
    gt: Mapping[str, Any], pred: Mapping[str, Any], *, min_iou: float = 0.0
) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the predictions that represent the two objects of each annotated pair.

    Args:
        gt: see `region_order_counts`.
        pred: "masks" bool (P, H, W), amodal, and "scores" (P,).
        min_iou: see `region_order_counts`.

    Returns:
        The number of annotated pairs, and for pairs with two different predictions their indices,
        intp (Q,) each: of the object in front, and of the one behind.

    Raises:
        ValueError: missing keys or inconsistent shapes.
    """
    for side, keys, name in (
        (gt, ("masks", "occlusion"), "ground truth"),
        (pred, ("masks", "scores"), "prediction"),
    ):
        _require(side, keys, name)
    gt_masks, occ = np.asarray(gt["masks"]), np.asarray(gt["occlusion"])
    if occ.shape != (len(gt_masks),) * 2:
        raise ValueError(f"occlusion must be {(len(gt_masks),) * 2}, got {occ.shape}")
    front, back = np.nonzero((occ == 1) & (occ.T != 1))
    partner = _best_partner(gt_masks, pred["masks"], _finite_scores(pred, ""), min_iou)
    first, second = partner[front], partner[back]
    apart = (first >= 0) & (second >= 0) & (first != second)
    return len(front), first[apart], second[apart]


def _decided(
    num_pairs: int, order: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    ahead, behind = order[first, second] == 1, order[second, first] == 1
    right = ahead & ~behind
    return np.array([num_pairs, (ahead ^ behind).sum(), right.sum()], dtype=np.int64)


def region_order_accuracy(gt: Images, pred: Images, **options: Any) -> dict[str, float]:
    """Compute the pairwise order accuracy from layering maps over a data set (Table 2).

    Args:
        gt: images as for `region_order_counts`, with "image_id".
        pred: likewise; images without an entry have no predictions.
        **options: options of `region_order_counts`.

    Returns:
        `region_order_summary` of the counts of all images.

    Raises:
        ValueError: see `region_order_counts`, names the image; invalid image ids as in
            `amodal_scores`.
    """
    by_id = _by_id(pred, gt)
    counts = np.zeros((len(gt), 3), dtype=np.int64)
    for index, truth in enumerate(gt):
        guess = by_id.get(truth["image_id"])
        if guess is None:
            shape = np.shape(truth["masks"])[1:]
            nothing = np.zeros((0, *shape))
            guess = {"masks": nothing > 0, "levels": nothing.astype(np.int8), "scores": []}
        try:
            counts[index] = region_order_counts(truth, guess, **options)
        except ValueError as error:
            raise ValueError(f"image {truth['image_id']}: {error}") from error
    return region_order_summary(counts)


def region_order_summary(counts: np.ndarray) -> dict[str, float]:
    """Compute the accuracy from counts, which can be computed in parallel.

    Args:
        counts: int (I, 3), `region_order_counts` of all images.

    Returns:
        Percent: "order_accuracy" (correct / pairs; undecided pairs are wrong), "order_coverage"
        (decided / pairs), "order_accuracy_decided" (correct / decided). NaN if the denominator
        is 0.

    Raises:
        ValueError: `counts` is not (I, 3).
    """
    pairs, decided, right = _counts(counts).sum(axis=0).tolist()
    return {
        "order_accuracy": _percent(right, pairs),
        "order_coverage": _percent(decided, pairs),
        "order_accuracy_decided": _percent(right, decided),
    }


def _best_partner(
    gt_masks: np.ndarray, pred_masks: np.ndarray, scores: np.ndarray, min_iou: float
) -> np.ndarray:
    """Return intp (N,): prediction with the largest IoU (ties: score), -1 if below `min_iou`."""
    order = np.argsort(-scores, kind="stable")
    if not len(order):
        return np.full(len(gt_masks), -1, dtype=np.intp)
    iou = mask_iou(np.asarray(pred_masks)[order], gt_masks)
    best = iou.max(axis=0)
    return np.where((best > 0) & (best >= min_iou), order[iou.argmax(axis=0)], -1)


# ------------------------------------------------------------------------- scorers of a data set


class ClassAPScorer(_APScorer):
    """AP and AR of masks of a data set, averaged over classes.

    Args:
        class_agnostic: treat all instances as one class.
        min_occlusion: see :func:`class_scores`.
        max_detections: see :func:`class_scores`.
    """

    def __init__(
        self,
        *,
        class_agnostic: bool = False,
        min_occlusion: Sequence[float] = (0.15, 0.25, 0.40),
        max_detections: Sequence[int] = (1, 10, 100),
    ) -> None:
        super().__init__(
            class_agnostic=class_agnostic,
            min_occlusion=tuple(min_occlusion),
            max_detections=tuple(max_detections),
        )

    def _subsets(self) -> list[tuple[float, float] | None]:
        return [None, *((low, np.inf) for low in self.options["min_occlusion"])]

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any] | None) -> ImageRecords:
        """Return the matches of an image.

        Args:
            truth: an image of `class_scores`.
            prediction: likewise, with "scores"; None = no predictions.

        Raises:
            ValueError: as `class_scores`.
        """
        agnostic, subsets = self.options["class_agnostic"], self._subsets()
        needed = ["classes"] * (not agnostic) + ["occlude_rate"] * (len(subsets) > 1)
        image = _image(truth, prediction, needed)
        image.ignore, image.pred_ignore = (
            np.stack([_outside(side, band, "") for band in subsets])
            for side in (image.gt, image.pred)
        )
        if agnostic:
            return self._matched(image, [EVERY_CLASS])
        if image.pred.classes is None:
            raise ValueError(f"image {image.image_id}: prediction has no 'classes'")
        classes = np.union1d(_classes(image.gt), image.pred.classes).astype(int)
        return self._matched(image, classes.tolist())

    def compute(self) -> dict[str, float]:
        """Compute :func:`class_scores` of all images."""
        curves, most = self._curves(), self.options["max_detections"]
        scores = _summary(curves, 0, most)
        for index, low in enumerate(self.options["min_occlusion"], start=1):
            for name, value in _summary(curves, index, most).items():
                scores[f"{name}_occ{round(100 * low)}"] = value
        return scores


class AmodalAPScorer(_APScorer):
    """Class-agnostic AP and AR of masks of a data set, by occlusion and things / stuff.

    Args:
        bands: see :func:`amodal_scores`.
        things_and_stuff: see :func:`amodal_scores`.
        max_detections: see :func:`amodal_scores`.
        compat: see :func:`amodal_scores`.

    Raises:
        ValueError: unknown `compat`.
    """

    def __init__(
        self,
        *,
        bands: Mapping[str, tuple[float, float]] | None = None,
        things_and_stuff: bool = True,
        max_detections: Sequence[int] = (1, 10, 100),
        compat: str | None = None,
    ) -> None:
        if compat not in (None, "sln"):
            raise ValueError(f"compat must be None or 'sln', got {compat!r}")
        super().__init__(
            bands=dict(OCCLUSION_BANDS if bands is None else bands),
            things_and_stuff=things_and_stuff,
            max_detections=tuple(max_detections),
            compat=compat,
        )

    def _subsets(self) -> list[tuple[str, str]]:
        kinds = ["", "things", "stuff"] if self.options["things_and_stuff"] else [""]
        return [(kind, band) for kind in kinds for band in ("", *self.options["bands"])]

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any] | None) -> ImageRecords:
        """Return the matches of an image.

        Args:
            truth: an image of `amodal_scores`.
            prediction: likewise, with "scores"; None = no predictions.

        Raises:
            ValueError: as `amodal_scores`.
        """
        bands = self.options["bands"]
        needed = ["occlude_rate"] * bool(bands) + ["is_stuff"] * self.options["things_and_stuff"]
        image = _image(truth, prediction, needed)
        image.ignore = np.stack(
            [_outside(image.gt, bands.get(band), kind) for kind, band in self._subsets()]
        )
        image.pred_ignore = np.zeros((len(image.ignore), image.pred.num), dtype=bool)
        left_out = self.options["compat"] == "sln" and not image.pred.num
        return self._matched(image, [] if left_out else [EVERY_CLASS])

    def compute(self) -> dict[str, float]:
        """Compute :func:`amodal_scores` of all images."""
        curves = self._curves(without_last=self.options["compat"] == "sln")
        scores = {}
        for index, (kind, band) in enumerate(self._subsets()):
            for name, value in _summary(curves, index, self.options["max_detections"]).items():
                scores[(f"{kind}/" if kind else "") + name + (f"_{band}" if band else "")] = value
        return scores


class InvisibleScorer(Scorer[np.ndarray]):
    """IoU of the invisible parts over a data set.

    Args:
        iou_threshold: see :func:`invisible_scores`.
    """

    def __init__(self, *, iou_threshold: float = 0.5) -> None:
        super().__init__(iou_threshold=iou_threshold)

    def empty(self) -> dict[str, Any]:
        """Return the state: sums of the :func:`invisible_counts`."""
        return {"counts": ExactSums(3)}

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any] | None) -> np.ndarray:
        """Return the :func:`invisible_counts` of an image."""
        return invisible_counts(truth, prediction, **self.options)

    def add(self, row: np.ndarray) -> None:
        """Add the counts of an image."""
        self.state["counts"].add(row)

    def compute(self) -> dict[str, float]:
        """Compute :func:`invisible_summary` of all images."""
        return invisible_summary(self.state["counts"].totals()[None])


class PairOrderScorer(Scorer[np.ndarray]):
    """Order of the annotated pairs of amodal masks over a data set.

    Args:
        min_iou: minimum IoU of an object's prediction.
    """

    def __init__(self, *, min_iou: float = 0.0) -> None:
        super().__init__(min_iou=min_iou)

    def empty(self) -> dict[str, Any]:
        """Return the state: sums of the counts."""
        return {"counts": np.zeros(3, np.int64)}

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> np.ndarray:
        """Return the counts of an image.

        Args:
            truth: see :func:`region_order_counts`.
            prediction: with "levels" for :func:`region_order_counts`, or with "occlusion" for
                :func:`matched_order_counts`.
        """
        counts = region_order_counts if "levels" in prediction else matched_order_counts
        return counts(truth, prediction, **self.options)

    def add(self, row: np.ndarray) -> None:
        """Add the counts of an image."""
        self.state["counts"] += row

    def compute(self) -> dict[str, float]:
        """Compute :func:`region_order_summary` of all images."""
        return region_order_summary(self.state["counts"][None])


# --------------------------------------------------------------------------------------- checking


def _by_id(pred: Images, gt: Images) -> dict[Any, Mapping[str, Any]]:
    """Map image id to predictions; check that ids exist, are unique and have ground truth."""
    seen: dict[str, dict] = {}
    for name, side in (("ground truth", gt), ("predictions", pred)):
        seen[name] = {}
        for index, image in enumerate(side):
            _require(image, ("image_id",), f"{name}, entry {index}")
            if image["image_id"] in seen[name]:
                raise ValueError(f"{name}: image {image['image_id']} is duplicated")
            seen[name][image["image_id"]] = image
    unknown = seen["predictions"].keys() - seen["ground truth"].keys()
    if unknown:
        few = sorted(unknown, key=str)[:5]
        raise ValueError(f"predictions for images without ground truth: {few}")
    return seen["predictions"]


def _require(image: Mapping[str, Any], keys: Sequence[str], name: str) -> None:
    for key in keys:
        if image.get(key) is None:
            raise ValueError(f"{name} has no {key!r}, which this score needs")


def _image(
    truth: Mapping[str, Any], guess: Mapping[str, Any] | None, needed: Sequence[str]
) -> _Image:
    """Return a validated image; `guess` None = no predictions."""
    _require(truth, ("image_id",), "ground truth")
    name = f"image {truth['image_id']}"
    _require(truth, ["masks", *needed], f"{name}: ground truth")
    side = _instances(truth, f"{name}: ground truth")
    if guess is None:
        empty = np.zeros(0)
        other = _Side([], None, 0, empty, empty.astype(bool), classes=empty)
    else:
        _require(guess, ("masks", "scores"), f"{name}: prediction")
        other = _instances(guess, f"{name}: prediction")
        other.scores = _finite_scores(guess, truth["image_id"])
    if side.num and other.num and side.size != other.size:
        raise ValueError(f"{name}: masks are {side.size}, predictions {other.size}")
    ignore, pred_ignore = (np.zeros((1, one.num), bool) for one in (side, other))
    return _Image(truth["image_id"], side, other, ignore, pred_ignore)


def _instances(image: Mapping[str, Any], name: str) -> _Side:
    masks = image["masks"]
    if isinstance(masks, np.ndarray):
        masks = mask_stack(masks, f"{name}: masks")
        size = masks.shape[1:]
    else:
        masks, size = list(masks), None
        for index, rle in enumerate(masks):
            if not isinstance(rle, Mapping) or len(rle.get("size", ())) != 2:
                raise ValueError(f"{name}, mask {index}: not a run-length encoding")
            size = size or tuple(rle["size"])
            # pycocotools reads out of bounds if runs do not fill the stated size.
            mask_tools.check(rle, *size, name=f"{name}, mask {index}")
    side = _Side(masks, size, len(masks), np.zeros(len(masks)), np.zeros(len(masks), bool))
    for key, dtype in (
        ("scores", float),
        ("classes", np.int64),
        ("occlude_rate", float),
        ("is_stuff", bool),
        ("is_crowd", bool),
    ):
        if image.get(key) is not None:
            setattr(side, key, _vector(image[key], side.num, dtype, f"{name}: {key}"))
    if (
        side.occlude_rate is not None
        and not ((side.occlude_rate >= 0) & (side.occlude_rate <= 1)).all()
    ):
        raise ValueError(f"{name}: occlude_rate must lie in [0, 1] and not be NaN")
    return side


def _vector(values: Any, num: int, dtype: type, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (num,):
        raise ValueError(f"{name} must have shape ({num},), got {values.shape}")
    if dtype is np.int64 and values.size and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got {values.dtype}")
    return values.astype(dtype)


def _finite_scores(image: Mapping[str, Any], image_id: Any) -> np.ndarray:
    scores = np.asarray(image["scores"], dtype=float)
    if scores.shape != (len(image["masks"]),):
        raise ValueError(
            f"image {image_id}: {len(image['masks'])} masks, scores of shape {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"image {image_id}: scores must be finite, got {scores.tolist()}")
    return scores


def _same_shape(stacks: dict[str, np.ndarray]) -> list[np.ndarray]:
    arrays = {name: mask_stack(stack, name) for name, stack in stacks.items()}
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"masks must share one shape, got {shapes}")
    return list(arrays.values())


def _areas(masks: np.ndarray) -> np.ndarray:
    return masks.sum(axis=(1, 2))


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else float("nan")
