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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order import masks as mask_tools
from occ_order.metrics.matching import mask_iou, mask_stack, match_greedy, overlap_counts
from occ_order.metrics.scorer import Scorer
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
        ignored. Unmatched
    predictions are false positives in *every* run. Thus the AP of a subset includes all false
    positives of the image and is low by construction; AR is more meaningful for subsets.

    Args:
        gt: images with "masks" and, for the subsets, "occlude_rate" (N,) in [0, 1] and "is_stuff"
            (N,) bool; optional "is_crowd" (N,) bool with COCO's meaning.
        pred: images with "masks" and "scores" (N,), in any order. Images without an entry have no
            predictions.
        bands: name -> (minimum, maximum) occlusion rate, inclusive; None = `OCCLUSION_BANDS`,
            ``{}`` = no bands (then "occlude_rate" is not needed).
        things_and_stuff: also evaluate things and stuff separately; False needs no "is_stuff".
        max_detections: ascending maximum numbers of predictions per image; AP uses the last.
        compat: None, or "sln" for the published evaluation, which ignores the last image of `gt`
            and images without predictions, including their ground truth.

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
    if compat not in (None, "sln"):
        raise ValueError(f"compat must be None or 'sln', got {compat!r}")
    bands = OCCLUSION_BANDS if bands is None else bands
    needed = ["occlude_rate"] * bool(bands) + ["is_stuff"] * things_and_stuff
    subsets = _subset_names(bands, things_and_stuff)
    matches = _Matches(len(subsets), max_detections)
    for image in _pair_images(gt, pred, needed):
        if compat == "sln" and (image.image_id == gt[-1]["image_id"] or not image.pred.num):
            continue
        image.ignore = np.stack(
            [_outside(image.gt, bands.get(band), kind) for kind, band in subsets]
        )
        image.pred_ignore = np.zeros((len(subsets), image.pred.num), dtype=bool)
        matches.add(image, [-1])
    curves = matches.curves([-1])
    scores = {}
    for index, (kind, band) in enumerate(subsets):
        for name, value in _summary(curves, index, max_detections).items():
            scores[(f"{kind}/" if kind else "") + name + (f"_{band}" if band else "")] = value
    return scores


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
    matches = _Matches(1 + len(min_occlusion), max_detections)
    bands = [None, *((low, np.inf) for low in min_occlusion)]
    classes: set[int] = set()
    for image in _pair_images(gt, pred, ["classes"] + ["occlude_rate"] * bool(min_occlusion)):
        if image.pred.classes is None:
            raise ValueError(f"image {image.image_id}: prediction has no 'classes'")
        image.ignore = np.stack([_outside(image.gt, band, "") for band in bands])
        image.pred_ignore = np.stack([_outside(image.pred, band, "") for band in bands])
        classes.update(_classes(image.gt).tolist())
        matches.add(image, np.union1d(_classes(image.gt), image.pred.classes).astype(int).tolist())
    curves = matches.curves(sorted(classes))
    scores = _summary(curves, 0, max_detections)
    for index, low in enumerate(min_occlusion, start=1):
        for name, value in _summary(curves, index, max_detections).items():
            scores[f"{name}_occ{round(100 * low)}"] = value
    return scores


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


def _subset_names(bands: Mapping, things_and_stuff: bool) -> list[tuple[str, str]]:
    kinds = ["", "things", "stuff"] if things_and_stuff else [""]
    return [(kind, band) for kind in kinds for band in ("", *bands)]


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


class _Matches:
    """COCO's matches of each class, merged over images.

    A prediction takes about 50 bytes, so a data set of any usual size fits in memory; pycocotools
    keeps a dictionary for each image, class and subset instead.

    Args:
        num_subsets: S.
        max_detections: ascending maximum numbers of predictions per image and class.
    """

    def __init__(self, num_subsets: int, max_detections: Sequence[int]) -> None:
        numbers = np.asarray(max_detections)
        if numbers.ndim != 1 or not len(numbers) or numbers[0] < 1 or (np.diff(numbers) <= 0).any():
            raise ValueError(f"max_detections must be ascending and positive, got {max_detections}")
        self._max_detections: list[int] = numbers.astype(int).tolist()
        self._flags = num_subsets, len(IOU_THRESHOLDS)
        octets = -(-num_subsets * len(IOU_THRESHOLDS) // 8)
        self._dtype = np.dtype(
            [
                ("score", np.float64),
                ("rank", np.int32),
                ("matched", np.uint8, octets),
                ("ignored", np.uint8, octets),
            ]
        )
        self._rows: dict[int, bytearray] = {}
        self._num_gt: dict[int, np.ndarray] = {}

    def add(self, image: _Image, classes: list[int]) -> None:
        """Match the predictions of an image in each of the classes; -1 = of any class."""
        iou = _iou(image.gt, image.pred)
        for number in classes:
            gt, pred = _of_class(image.gt, number), _of_class(image.pred, number)
            best = np.argsort(-image.pred.scores[pred], kind="stable")
            pred = pred[best[: self._max_detections[-1]]]
            found = np.zeros(len(pred), self._dtype)
            found["score"] = image.pred.scores[pred]
            found["rank"] = np.arange(len(pred))
            matched, ignored = _match_image(image, iou, gt, pred)
            for name, flags in (("matched", matched), ("ignored", ignored)):
                found[name] = np.packbits(flags.reshape(np.prod(self._flags), len(pred)), axis=0).T
            self._rows.setdefault(number, bytearray()).extend(found.tobytes())
            counted = ~(image.ignore[:, gt] | image.gt.is_crowd[gt])
            self._num_gt[number] = self._num_gt.get(number, 0) + counted.sum(1)

    def curves(self, classes: list[int]) -> _Curves | None:
        """Accumulate precision and recall of the classes; None without images or classes."""
        if not self._rows or not classes:
            return None
        # One merged entry for each class and subset takes the place of those of all images.
        parts = [
            self._accumulated([self._entries(number, most) for number in classes])
            for most in self._max_detections
        ]
        recall = np.stack([part["recall"][..., 0] for part in parts], axis=-1)
        return _Curves(parts[-1]["precision"][..., 0], recall)

    def _entries(self, number: int, most: int) -> list[dict[str, Any]]:
        """Return the first `most` predictions of each image in each subset, as pycocotools does."""
        rows = np.frombuffer(self._rows[number], self._dtype)
        rows = rows[rows["rank"] < most]
        matched, ignored = (
            np.unpackbits(rows[name], axis=1, count=self._flags[0] * self._flags[1])
            .T.reshape(*self._flags, len(rows))
            .astype(bool)
            for name in ("matched", "ignored")
        )
        return [
            {
                "dtScores": rows["score"],
                "dtMatches": matched[s],
                "dtIgnore": ignored[s],
                "gtIgnore": np.zeros(self._num_gt[number][s], np.int8),
            }
            for s in range(self._flags[0])
        ]

    def _accumulated(self, entries: list[list[dict[str, Any]]]) -> dict[str, np.ndarray]:
        """Return the arrays of pycocotools, with one image and one number of detections."""
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(iouType="segm")
            params = evaluation.params
            params.iouThrs = IOU_THRESHOLDS
            params.catIds = list(range(len(entries)))
            params.imgIds = [0]
            params.maxDets = [max(len(one["dtScores"]) for rows in entries for one in rows)]
            # The "area ranges" of pycocotools are used to enumerate the subsets.
            params.areaRng = [[s, s] for s in range(self._flags[0])]
            evaluation.evalImgs = [one for rows in entries for one in rows]
            evaluation._paramsEval = params
            evaluation.accumulate()
        return evaluation.eval


def _classes(side: _Side) -> np.ndarray:
    assert side.classes is not None  # `class_scores` requires it on both sides
    return side.classes


def _of_class(side: _Side, class_id: int) -> np.ndarray:
    return np.arange(side.num) if class_id == -1 else np.flatnonzero(_classes(side) == class_id)


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
    return invisible_summary(
        [
            _invisible_counts(truth, guess, image_id, iou_threshold)
            for image_id, truth, guess in _pair_arrays(gt, pred, ["modal_masks"])
        ]
    )


def invisible_counts(
    gt: Mapping[str, Any], pred: Mapping[str, Any], *, iou_threshold: float = 0.5
) -> np.ndarray:
    """Compute the contribution of an image to `invisible_scores`, for parallel evaluation.

    Args:
        gt: an image of `invisible_scores`, with "image_id".
        pred: likewise.
        iou_threshold: see `invisible_scores`.

    Returns:
        float64 (3,): sum of the IoU of invisible parts, number of matched objects with an invisible
        part, number of objects with one.

    Raises:
        ValueError: as `invisible_scores`.
    """
    ((image_id, truth, guess),) = _pair_arrays([gt], [pred], ["modal_masks"])
    return _invisible_counts(truth, guess, image_id, iou_threshold)


def invisible_summary(counts: Sequence[np.ndarray] | np.ndarray) -> dict[str, float]:
    """Compute the result of `invisible_scores` from the `invisible_counts` of all images.

    Raises:
        ValueError: `counts` is not (I, 3).
    """
    total, matched, objects = _counts(counts).sum(axis=0).tolist()
    return {
        "invisible_iou": _percent(total, objects),
        "invisible_iou_matched": _percent(total, matched),
        "invisible_matched": _percent(matched, objects),
    }


def _invisible_counts(
    truth: Mapping[str, Any], guess: Mapping[str, Any], image_id: Any, iou_threshold: float
) -> np.ndarray:
    partner = match_greedy(
        mask_iou(guess["masks"], truth["masks"]),
        _finite_scores(guess, image_id),
        iou_threshold=iou_threshold,
    )
    hit = np.flatnonzero(partner >= 0)
    values = invisible_iou(
        truth["masks"][partner[hit]],
        truth["modal_masks"][partner[hit]],
        guess["masks"][hit],
        guess["modal_masks"][hit],
    )
    values = values[~np.isnan(values)]
    objects = (truth["masks"] & ~truth["modal_masks"]).any(axis=(1, 2)).sum()
    return np.array([values.sum(), len(values), objects], dtype=float)


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


def compressed(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return an image with RLE masks and without order matrix, to save memory.

    Args:
        image: an image of this module; "masks" and "modal_masks" that are RLE already are kept.
    """
    kept = {key: value for key, value in image.items() if key not in ("occlusion", "levels")}
    for key in {"masks", "modal_masks"} & kept.keys():
        if isinstance(kept[key], np.ndarray):
            kept[key] = [mask_tools.encode(mask) for mask in kept[key]]
    return kept


class _MaskScorer(Scorer[tuple[dict[str, Any], dict[str, Any]]]):
    """Base class of metrics that need the masks of all images at once."""

    def __init__(
        self, rows: Iterable[tuple[dict[str, Any], dict[str, Any]]] = (), **options: Any
    ) -> None:
        super().__init__(rows)
        self._options = options

    def row(
        self, truth: Mapping[str, Any], prediction: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return both sides of one image with RLE masks.

        Args:
            truth: "image_id", "masks" and the other keys of the metric.
            prediction: likewise, with "scores".
        """
        return compressed(truth), compressed(prediction)

    def sides(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return ground truth and predictions of all images, with RLE masks."""
        return [row[0] for row in self.rows], [row[1] for row in self.rows]


class ClassAPScorer(_MaskScorer):
    """AP and AR of masks of a data set, averaged over classes.

    Args:
        rows: rows of images that were already evaluated.
        class_agnostic: treat all instances as one class.
        options: options of :func:`class_scores`.
    """

    def __init__(
        self,
        rows: Iterable[tuple[dict[str, Any], dict[str, Any]]] = (),
        *,
        class_agnostic: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(rows, **options)
        self._agnostic = class_agnostic

    def sides(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return ground truth and predictions of all images, of one class if class-agnostic."""
        truth, guess = super().sides()
        if not self._agnostic:
            return truth, guess
        first, second = (
            [{**image, "classes": np.zeros(len(image["masks"]), np.int64)} for image in side]
            for side in (truth, guess)
        )
        return first, second

    def compute(self) -> dict[str, float]:
        """Compute :func:`class_scores` of all images."""
        return class_scores(*self.sides(), **self._options)


class AmodalAPScorer(_MaskScorer):
    """Class-agnostic AP and AR of masks of a data set, by occlusion and things / stuff.

    Args:
        rows: rows of images that were already evaluated.
        options: options of :func:`amodal_scores`.
    """

    def compute(self) -> dict[str, float]:
        """Compute :func:`amodal_scores` of all images."""
        return amodal_scores(*self.sides(), **self._options)


class InvisibleScorer(Scorer[np.ndarray]):
    """IoU of the invisible parts over a data set."""

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> np.ndarray:
        """Return the :func:`invisible_counts` of an image."""
        return invisible_counts(truth, prediction)

    def compute(self) -> dict[str, float]:
        """Compute :func:`invisible_summary` of all images."""
        return invisible_summary(self.rows)


class PairOrderScorer(Scorer[np.ndarray]):
    """Order of the annotated pairs of amodal masks over a data set.

    Args:
        rows: rows of images that were already evaluated.
        min_iou: minimum IoU of an object's prediction.
    """

    def __init__(self, rows: Iterable[np.ndarray] = (), *, min_iou: float = 0.0) -> None:
        super().__init__(rows)
        self._min_iou = min_iou

    def row(self, truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> np.ndarray:
        """Return the counts of an image.

        Args:
            truth: see :func:`region_order_counts`.
            prediction: with "levels" for :func:`region_order_counts`, or with "occlusion" for
                :func:`matched_order_counts`.
        """
        counts = region_order_counts if "levels" in prediction else matched_order_counts
        return counts(truth, prediction, min_iou=self._min_iou)

    def compute(self) -> dict[str, float]:
        """Compute :func:`region_order_summary` of all images."""
        return region_order_summary(np.array(self.rows).reshape(-1, 3))


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


def _pair_images(gt: Images, pred: Images, needed: list[str]) -> Iterator[_Image]:
    """Yield validated images.

    Equal scores are ranked by image, so the images are sorted: the order of the lists is
    irrelevant.
    """
    by_id = _by_id(pred, gt)
    for truth in sorted(gt, key=lambda one: (str(type(one["image_id"])), one["image_id"])):
        name = f"image {truth['image_id']}"
        _require(truth, ["masks", *needed], f"{name}: ground truth")
        guess = by_id.get(truth["image_id"])
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
        yield _Image(truth["image_id"], side, other, ignore, pred_ignore)


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


def _pair_arrays(gt: Images, pred: Images, extra: list[str]):
    """Yield (image id, ground truth, prediction), masks as bool arrays."""
    by_id = _by_id(pred, gt)
    for truth in gt:
        image_id = truth["image_id"]
        keys = ["masks", *extra]
        _require(truth, keys, f"image {image_id}: ground truth")
        guess = by_id.get(image_id)
        if guess is None:
            nothing = np.zeros((0, *np.shape(truth["masks"])[1:]), dtype=bool)
            guess = {"scores": [], **dict.fromkeys(keys, nothing)}
        _require(guess, [*keys, "scores"], f"image {image_id}: prediction")
        sides = []
        for side in (truth, guess):
            try:
                stacks = _same_shape({key: side[key] for key in keys})
            except ValueError as error:
                raise ValueError(f"image {image_id}: {error}") from error
            sides.append({**side, **dict(zip(keys, stacks, strict=True))})
        yield image_id, *sides


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
