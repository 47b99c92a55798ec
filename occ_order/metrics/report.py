"""All metrics that a data set and a results file allow, in one pass.

Ground truth is a list of records (`occ_order.formats`), predictions are the images of an
`order_results.json` (`occ_order.order.io`). Rates are in percent, as in the papers. The keys are
always the same; metrics that cannot be computed are NaN, never 0, and a note explains the reason.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order import masks as mask_tools
from occ_order.metrics.amodal import (
    AmodalAPScorer,
    ClassAPScorer,
    InvisibleScorer,
    PairOrderScorer,
    occlude_rate,
)
from occ_order.metrics.coverage import CoverageScorer
from occ_order.metrics.matching import (
    in_gt_order,
    iou_from_counts,
    match_greedy,
    overlap_counts,
    partners,
)
from occ_order.metrics.oair import IOU_THRESHOLDS, CycleScorer, OAIRScorer
from occ_order.metrics.orders import OrderScorer, pair_counts
from occ_order.order.io import matrices

_AMODAL = re.compile(r"(amodal|amodal/things|amodal/stuff)/(A[PR][0-9]*)(_[a-z]+)?")
"""Keys of amodal AP and AR: kind, score, occlusion band."""


@dataclass
class _Scorers:
    """One scorer for each metric, in the order of the report."""

    orders: OrderScorer
    oair: OAIRScorer
    cycles: CycleScorer
    coverage: CoverageScorer
    modal: ClassAPScorer
    amodal: AmodalAPScorer
    amodal_classes: ClassAPScorer
    invisible: InvisibleScorer
    region_order: PairOrderScorer

    def merge(self, other: _Scorers) -> None:
        """Add the images of other scorers."""
        for name, scorer in vars(self).items():
            scorer.merge(getattr(other, name))


def _scorers(gt_edges: str, class_agnostic: bool) -> _Scorers:
    return _Scorers(
        orders=OrderScorer(),
        oair=OAIRScorer(gt_edges=gt_edges, class_agnostic=class_agnostic),
        cycles=CycleScorer(),
        coverage=CoverageScorer(),
        modal=ClassAPScorer(min_occlusion=(), class_agnostic=class_agnostic),
        amodal=AmodalAPScorer(),
        amodal_classes=ClassAPScorer(class_agnostic=class_agnostic),
        invisible=InvisibleScorer(),
        region_order=PairOrderScorer(),
    )


def evaluate_results(
    records: list[dict],
    images: list[dict],
    *,
    match: str = "iou",
    iou_threshold: float = 0.5,
    class_agnostic: bool = False,
    gt_edges: str = "touching",
    things_only: bool = False,
    watch: Callable[[list], Iterable] = iter,
    spread: Callable[[Callable, Iterable], Iterable] | None = None,
) -> dict:
    """Evaluate the images of an `order_results.json` against ground truth.

    An image without an entry counts as an image without instances. Unmatched ground-truth instances
    have no predicted occlusions, which reduces recall, and no depth order, which counts as a
    disagreement for all of their pairs.

    Args:
        records: ground truth; masks in "segmentation" are the modal ones.
        images: result of `occ_order.order.io.load_results`.
        match: matching of predictions to ground truth in the pairwise metrics. "iou": in
            descending order of score, mask IoU above `iou_threshold`, same class. "id": equal
            "id", for orders that were predicted for ground-truth masks.
        iou_threshold: threshold for `match="iou"`.
        class_agnostic: ignore classes in matching, OAIR and AP.
        gt_edges: "touching" or "all", for OAIR.
        things_only: ignore annotations with "is_stuff" and their pairs.
        watch: wraps the list of images in an iterable of the same entries, for a progress bar.
        spread: applies a function to parts, lists of any size, of an iterable and returns an
            iterable of the results in any order, for example from other processes; None = a single
            part. The report does not depend on the parts.

    Returns:
        {"scalars": {name: float}, percent, NaN where undefined; "curves": {"oair_by_iou",
        "oair_by_confidence"} (fractions); "counts": {name: int}; "notes": list of sentences}.

    Raises:
        ValueError: unknown option; duplicate image id in the ground truth; predictions for
            images that are not in the ground truth; different sizes; invalid masks.
    """
    if match not in ("iou", "id"):
        raise ValueError(f"match must be 'iou' or 'id', got {match!r}")
    notes: list[str] = []
    pairs = _pair_images(records, images, notes)
    given = _available(records, images, notes)
    score = _PartScores(given, match, iou_threshold, class_agnostic, gt_edges, things_only)
    scorers, counts = _scorers(gt_edges, class_agnostic), Counter[str]()
    watched = watch(pairs)
    for part, counted in [score(watched)] if spread is None else spread(score, watched):
        counts.update(counted)
        scorers.merge(part)
    counts.update(images=len(pairs), images_without_predictions=len(pairs) - len(images))
    _note_unmatched(counts, notes)
    scalars, curves = _summarise(scorers)
    return {
        "scalars": scalars,
        "curves": curves,
        "counts": {name: int(counts[name]) for name in _COUNTS},
        "notes": notes,
    }


@dataclass(frozen=True)
class _PartScores:
    """Evaluate some of the images, so that they can be distributed over processes.

    Attributes: see the arguments of `evaluate_results`; `given` is the result of `_available`.
    """

    given: set[str]
    match: str
    iou_threshold: float
    class_agnostic: bool
    gt_edges: str
    things_only: bool

    def __call__(self, pairs: Iterable[tuple[dict, dict | None]]) -> tuple[_Scorers, Counter[str]]:
        """Return the scorers of some images, and counts.

        Raises:
            ValueError: names the image.
        """
        scorers, counts = _scorers(self.gt_edges, self.class_agnostic), Counter[str]()
        for record, image in pairs:
            name = f"image {record['image_id']}: "
            try:
                counts.update(
                    _score_image(
                        _without_stuff(record) if self.things_only else record,
                        image,
                        self.given,
                        scorers,
                        match=self.match,
                        iou_threshold=self.iou_threshold,
                        class_agnostic=self.class_agnostic,
                    )
                )
            except ValueError as error:  # some scorers name the image themselves
                raise ValueError(name + str(error).removeprefix(name)) from error
        return scorers, counts


_COUNTS = (
    "images",
    "images_without_predictions",
    "gt_instances",
    "predicted_instances",
    "unmatched_gt_instances",
    "unmatched_predictions",
    "occlusion_pairs",
    "occlusion_pairs_unmatched",
    "depth_pairs",
    "depth_pairs_unmatched",
)


def _pair_images(records, images, notes) -> list[tuple[dict, dict | None]]:
    """Return each record with its predictions, or None."""
    known = Counter(record["image_id"] for record in records)
    repeated = [image_id for image_id, times in known.items() if times > 1]
    if repeated:
        raise ValueError(f"duplicate image ids in the ground truth: {_some(repeated)}")
    by_id = _by_record_id(records, images, notes)
    unknown = [image_id for image_id in by_id if image_id not in known]
    if unknown:
        raise ValueError(
            f"predictions for {len(unknown)} images that are not in the ground truth: "
            f"{_some(unknown)}"
        )
    missing = [image_id for image_id in known if image_id not in by_id]
    if missing:
        notes.append(
            f"{len(missing)} of {len(records)} images have no predictions and count as empty "
            f"predictions: {_some(missing)}"
        )
    return [(record, by_id.get(record["image_id"])) for record in records]


def _by_record_id(records, images, notes) -> dict:
    """Map the image id of records to predictions; match unknown ids by file name.

    Predictions on image files use file names as ids, data sets use their own ids.
    """
    known = {record["image_id"] for record in records}
    names = Counter(map(_file, records))
    by_name = {_file(r): r["image_id"] for r in records if _file(r) and names[_file(r)] == 1}
    found = {}
    for image in images:
        number = image["image_id"]
        if number not in known:
            number = by_name.get(_file(image), number)
        if number in found:
            raise ValueError(f"two predictions for image {number!r} ({_file(image)})")
        found[number] = image
    renamed = sum(image["image_id"] != number for number, image in found.items())
    if renamed:
        notes.append(f"{renamed} predictions were matched to images by file name")
    return found


def _file(entry: dict) -> str:
    """Return the base name of the file of a record or prediction; "" if it has none."""
    return os.path.basename(entry.get("file_name") or "")


def _some(ids: list, most: int = 8) -> str:
    """Format the first few of many ids."""
    shown = ", ".join(repr(image_id) for image_id in ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"


def _available(records, images, notes) -> set[str]:
    """Return those of "occlusion", "depth" and "amodal" that both sides have; note missing ones."""
    given = set()
    for key, spoils in (("occlusion", "occlusion, OAIR and cycles"), ("depth", "WHDR")):
        in_gt = any(key in record for record in records)
        in_pred = any(key in image for image in images) or not images
        if in_gt and in_pred:
            given.add(key)
        side = "ground truth has" if not in_gt else "predictions have"
        if not (in_gt and in_pred):
            notes.append(f"{spoils}: not computed, the {side} no {key} order")
        elif not all(key in image for image in images):
            lacking = sum(key not in image for image in images)
            notes.append(f"{lacking} predicted images have no {key} order: their pairs are unknown")
    sides = {
        "ground truth has": [one for record in records for one in record["annotations"]],
        "predictions have": [one for image in images for one in image["instances"]],
    }
    poor = [
        side
        for side, ones in sides.items()
        if not all("amodal_segmentation" in one for one in ones)
    ]
    if not poor:
        given.add("amodal")
    for side in poor:
        notes.append(f"amodal AP and order by regions: not computed, not all {side} amodal masks")
    return given


def _without_stuff(record: dict) -> dict:
    """Return the record without "is_stuff" annotations and their rows and columns."""
    keep = [not annotation.get("is_stuff", 0) for annotation in record["annotations"]]
    rows = np.flatnonzero(keep)
    kept: dict[str, Any] = {"annotations": [record["annotations"][row] for row in rows]}
    for key in ("occlusion", "depth", "overlap", "count"):
        if key in record:
            kept[key] = np.asarray(record[key])[np.ix_(rows, rows)]
    return {**record, **kept}


def _score_image(
    record: dict,
    image: dict | None,
    given: set[str],
    scorers: _Scorers,
    *,
    match: str,
    iou_threshold: float,
    class_agnostic: bool,
) -> dict[str, int]:
    """Decode and match the masks of an image, update all scorers and return counts."""
    height, width = record["height"], record["width"]
    image = image or {"instances": [], "height": height, "width": width}
    if (image["height"], image["width"]) != (height, width):
        raise ValueError(
            f"predicted for size {(image['height'], image['width'])}, ground truth has "
            f"{(height, width)} (height, width)"
        )
    image_id = record["image_id"]
    gt = _side(image_id, record["annotations"], height, width, "annotation")
    pred = _side(image_id, image["instances"], height, width, "instance")
    iou = iou_from_counts(*overlap_counts(pred["masks"], gt["masks"]))
    partner = _partners(gt, pred, iou, match, iou_threshold, class_agnostic)
    occlusion, depth, _ = matrices(image)
    said = {
        key: in_gt_order(matrix, partner) if key in given else None
        for key, matrix in (("occlusion", occlusion), ("depth", depth))
    }
    pairs = scorers.orders.update(record, said)
    scorers.coverage.update(gt, pred, iou=iou)
    scorers.modal.update(gt, pred)
    if occlusion is not None:
        scorers.cycles.update(record, {"occlusion": occlusion})
    truth = pairs["occlusion"][0] if "occlusion" in pairs else None
    if "amodal" in given:
        _update_amodal(scorers, gt, pred, truth)
    if truth is not None:
        graph = np.zeros((len(iou),) * 2, np.int8) if occlusion is None else occlusion
        scorers.oair.update({**gt, "occlusion": truth}, {**pred, "occlusion": graph}, iou=iou)
    return {**_instance_counts(partner, len(iou)), **pair_counts(pairs, partner >= 0)}


def _side(image_id: Any, instances: list[dict], height: int, width: int, name: str) -> dict:
    """Return the instances of an image as arrays: masks, classes, scores (if present), ids."""
    names = [f"{name} {one['id']}" for one in instances]
    segmentations = [one["segmentation"] for one in instances]
    side = {
        "image_id": image_id,
        "masks": mask_tools.decode_all(segmentations, height, width, names=names),
        "classes": np.array([one["category_id"] for one in instances], np.int64),
        "ids": [one["id"] for one in instances],
        "instances": instances,
        "is_crowd": np.array([one.get("iscrowd", 0) for one in instances], bool),
    }
    if all("score" in one for one in instances):
        side["scores"] = np.array([one["score"] for one in instances], float)
    return side


def _partners(gt, pred, iou, match, iou_threshold, class_agnostic) -> np.ndarray:
    """Return int64 (G,), index of the prediction matched to each ground truth, -1 = unmatched."""
    if match == "id":
        place = {number: index for index, number in enumerate(pred["ids"])}
        return np.array([place.get(number, -1) for number in gt["ids"]], np.int64)
    classes = (
        {} if class_agnostic else {"pred_classes": pred["classes"], "gt_classes": gt["classes"]}
    )
    matches = match_greedy(iou, pred["scores"], iou_threshold=iou_threshold, **classes)
    return partners(matches, iou.shape[1])


def _instance_counts(partner: np.ndarray, num_pred: int) -> dict[str, int]:
    unmatched = int((partner < 0).sum())
    return {
        "gt_instances": len(partner),
        "predicted_instances": num_pred,
        "unmatched_gt_instances": unmatched,
        "unmatched_predictions": num_pred - len(partner) + unmatched,
    }


def _update_amodal(scorers: _Scorers, gt: dict, pred: dict, occlusion: np.ndarray | None) -> None:
    """Add the amodal masks of an image, and the order implied by their hidden parts."""
    truth, guess = (_amodal(side) for side in (gt, pred))
    annotations, rates = gt["instances"], truth["occlude_rate"]
    truth["is_stuff"] = np.array([one.get("is_stuff", 0) for one in annotations], bool)
    truth["occlude_rate"] = [
        one.get("occlude_rate", rate) for one, rate in zip(annotations, rates, strict=True)
    ]
    for scorer in (scorers.amodal, scorers.amodal_classes, scorers.invisible):
        scorer.update(truth, guess)
    if occlusion is not None:
        whole, visible = guess["masks"], guess["modal_masks"]
        levels = np.where(whole, np.where(visible, 0, 1), -1).astype(np.int8)
        scorers.region_order.update({**truth, "occlusion": occlusion}, {**guess, "levels": levels})


def _amodal(side: dict) -> dict:
    """Return the instances as input of `occ_order.metrics.amodal`, with amodal masks."""
    segmentations = [one["amodal_segmentation"] for one in side["instances"]]
    names = [f"amodal mask of {number}" for number in side["ids"]]
    whole = mask_tools.decode_all(segmentations, *side["masks"].shape[1:], names=names)
    rate = np.nan_to_num(occlude_rate(whole, side["masks"]))
    kept = {key: side.get(key) for key in ("image_id", "classes", "scores")}
    return {**kept, "masks": whole, "modal_masks": side["masks"], "occlude_rate": rate}


def _note_unmatched(counts: Counter, notes: list[str]) -> None:
    """Add a note if there are unmatched instances."""
    if counts["unmatched_gt_instances"] or counts["unmatched_predictions"]:
        notes.append(
            f"{counts['unmatched_gt_instances']} of {counts['gt_instances']} ground-truth "
            f"instances and {counts['unmatched_predictions']} of {counts['predicted_instances']} "
            "predictions are unmatched; "
            f"{counts['occlusion_pairs_unmatched']} of {counts['occlusion_pairs']} occlusions and "
            f"{counts['depth_pairs_unmatched']} of {counts['depth_pairs']} depth pairs have an "
            "unmatched instance, which counts against the prediction"
        )


def _summarise(scorers: _Scorers) -> tuple[dict, dict]:
    """Compute scalars (percent) and curves over all images."""
    scalars = scorers.orders.compute()
    curves = {f"oair_{name}": curve for name, curve in scorers.oair.compute().items()}
    for threshold in (0.5, 0.75):
        point = IOU_THRESHOLDS.index(threshold)
        for name in ("recall", "accuracy"):
            value = 100.0 * curves["oair_by_iou"][name][point]
            scalars[f"oair/{name}_{round(100 * threshold)}"] = value
    for group in _GROUPS:
        found = getattr(scorers, group).compute()
        scalars.update({f"{group}/{name}": value for name, value in found.items()})
    return scalars, curves


_GROUPS = (
    "cycles",
    "coverage",
    "modal",
    "amodal",
    "amodal_classes",
    "invisible",
    "region_order",
)
"""Scorers whose results are scalars."""


def format_report(report: dict) -> str:
    """Format a report as text: a line per scalar, then the OAIR curves, counts and notes.

    Args:
        report: result of `evaluate_results`.

    Returns:
        Lines of text; "-" means NaN. A group of scalars that are all NaN is one line, and so is
        each subset of amodal AP and AR.
    """
    groups: dict[str, dict[str, float]] = {}
    subsets: dict[str, list[str]] = {}
    for name, value in report["scalars"].items():
        subset = _AMODAL.fullmatch(name)
        if subset and not math.isnan(report["scalars"]["amodal/AP"]):
            subsets.setdefault(subset[1] + (subset[3] or ""), []).append(_number(value))
        else:
            groups.setdefault(name.partition("/")[0], {})[name] = value
    rows = []
    for group, values in groups.items():
        known = not all(math.isnan(value) for value in values.values())
        rows += [(k, _number(v)) for k, v in values.items()] if known else [(f"{group}/...", "-")]
    lines = ["metric (percent)", *_aligned(rows)]
    if subsets:
        titles = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
        grid = [("amodal masks (percent)", titles), *subsets.items()]
        lines += ["", *(f"  {name:<24}" + "".join(f"{v:>8}" for v in row) for name, row in grid)]
    for title, key, axis in (
        ("OAIR by IoU", "oair_by_iou", "iou_threshold"),
        ("OAIR by confidence", "oair_by_confidence", "score_threshold"),
    ):
        curve = report["curves"][key]
        lines += ["", f"{title} (percent)"]
        for name, scale in ((axis, 1.0), ("recall", 100.0), ("accuracy", 100.0)):
            row = "".join(f"{_number(scale * value):>8}" for value in curve[name])
            lines.append(f"  {name:<16}{row}")
    lines += ["", "counts"]
    lines += _aligned([(name, str(value)) for name, value in report["counts"].items()])
    if report["notes"]:
        lines += ["", "notes", *(f"  - {note}" for note in report["notes"])]
    return "\n".join(lines)


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    left = max(len(name) for name, _ in rows)
    right = max(len(value) for _, value in rows)
    return [f"  {name:<{left}}  {value:>{right}}" for name, value in rows]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def without_nan(value: Any) -> Any:
    """Replace NaN by None in nested values, since JSON has no NaN.

    Args:
        value: dictionaries, lists and scalars.

    Returns:
        A copy.
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
