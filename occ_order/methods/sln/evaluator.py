"""Amodal instance segmentation: AP and AR by occlusion, modal AP, invisible parts, order of pairs.

The tables of SLN (Zhang et al., ACM MM 2019) and the class-averaged AP that others report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Instances

from occ_order import masks as mask_tools
from occ_order.files import write_json
from occ_order.formats.sem_dist import save_sem_dist
from occ_order.formats.table import FORMATS
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.common.reading import read_masks
from occ_order.methods.common.results import Collected
from occ_order.methods.sln.decode import sem_dist_maps
from occ_order.methods.sln.order_net import OrderNetOnFound
from occ_order.metrics.amodal import (
    AmodalAPScorer,
    ClassAPScorer,
    InvisibleScorer,
    PairOrderScorer,
    occlude_rate,
    predicted_pairs,
)
from occ_order.metrics.scorer import Scorer

NEEDED: dict[str, str] = {"things_stuff": "is_stuff", "order": "occlusion"}
"""Score -> field of the data set that it needs beside the masks."""

SCORES = ("regions", "things_stuff", "classes", "modal", "invisible", "order")
COCO_FILE = "coco_amodal_results.json"


@EVALUATOR_REGISTRY.register()
class AmodalEvaluator(OrderEvaluator):
    """Scores of amodal masks and of what follows from them.

    | task | scores |
    |---|---|
    | amodal | AP, AR10, AR100, ... of regions whatever their class, by occlusion, things / stuff |
    | amodal_classes | AP averaged over classes, by occlusion (`AP_occ25`: from a quarter hidden) |
    | modal | AP of visible masks, regions |
    | modal_classes | AP of visible masks averaged over classes |
    | invisible | IoU of the invisible parts |
    | order | accuracy and coverage over the annotated pairs, by regions (R) |
    | order_NAME | the same by a network of TEST.AMODAL.ORDER_NETS |

    Which of them is TEST.AMODAL.SCORES. A network that predicts amodal masks only has NaN for the
    scores of visible masks and order. Writes `coco_amodal_results.json` and, if wanted, sem-dist
    maps.

    Raises:
        ValueError: an unknown score, a format without default scores, or (when the first image
            comes) a data set without a field that a score needs.
    """

    def __init__(
        self,
        cfg: CfgNode,
        dataset_name: str,
        output_dir: str,
        order_nets: Mapping[str, OrderNetOnFound] | None = None,
    ) -> None:
        """Read TEST.AMODAL; its ORDER_NETS come built, by their names."""
        super().__init__(cfg, dataset_name, output_dir)
        own = cfg.TEST.AMODAL
        self.wanted = wanted_scores(own.SCORES, self.metadata.get("evaluator_type"), dataset_name)
        self.max_detections = list(own.MAX_DETECTIONS)
        self.min_iou = own.ORDER_MIN_IOU
        self.compat = "sln" if own.SLN_COMPATIBLE else None
        self.export = own.EXPORT_SEM_DIST
        self.order_nets = dict(order_nets or {})

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers of the tasks, and the predictions to write."""
        most: dict[str, Any] = {"max_detections": self.max_detections}
        scorers: dict[str, Scorer] = {"predictions": Collected()}
        if "regions" in self.wanted:
            kinds = "things_stuff" in self.wanted
            scorers["amodal"] = AmodalAPScorer(things_and_stuff=kinds, compat=self.compat, **most)
        if "classes" in self.wanted:
            scorers["amodal_classes"] = ClassAPScorer(**most)
        if "modal" in self.wanted:
            scorers["modal"] = AmodalAPScorer(bands={}, things_and_stuff=False, **most)
            if "classes" in self.wanted:
                scorers["modal_classes"] = ClassAPScorer(**most)
        if "invisible" in self.wanted:
            scorers["invisible"] = InvisibleScorer()
        if "order" in self.wanted:
            for task in ("order", *(f"order_{name}" for name in self.order_nets)):
                scorers[task] = PairOrderScorer(min_iou=self.min_iou)
        return scorers

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add an image; visible masks and orders only where they are predicted."""
        instances: Instances = output["instances"].to("cpu")
        truth = ground_truth(record, self.wanted, self.dataset_name)
        guess = prediction(instances, record["image_id"])
        scorers["predictions"].update(record, self._coco_entries(guess))
        tasks = ["amodal", "amodal_classes"]
        if "modal_masks" in guess:
            tasks.append("invisible")
            for task in {"modal", "modal_classes"} & scorers.keys():
                scorers[task].update(_visible(truth), _visible(guess))
        for task in scorers.keys() & set(tasks):
            scorers[task].update(truth, guess)
        if "order" in self.wanted:
            self._add_pairs(scorers, record, truth, guess, instances)
        if self.export and instances.has("pred_levels"):
            folder = Path(self.output_dir, "sem_dist")
            name = f"{record['image_id']}.{self.export}"
            save_sem_dist(folder / name, sem_dist_maps(instances))

    def _add_pairs(
        self,
        scorers: dict[str, Any],
        record: dict[str, Any],
        truth: dict[str, Any],
        guess: dict[str, Any],
        instances: Instances,
    ) -> None:
        """Add the pairs of each order that is predicted."""
        if "occlusion" in guess:
            scorers["order"].update(truth, guess)
        for name, net in self.order_nets.items():
            if net.can_order(instances):
                _, *pairs = predicted_pairs(truth, guess, min_iou=self.min_iou)
                other = {**guess, "occlusion": net(record, instances, np.unique(pairs))}
                scorers[f"order_{name}"].update(truth, other)

    def scores(self, scorers: dict[str, Any]) -> dict[str, Mapping[str, float]]:
        """Write the amodal masks as a COCO results file; return the tasks of the class's table."""
        found = {task: scorer.compute() for task, scorer in scorers.items()}
        entries = found.pop("predictions")["entries"]
        write_json(Path(self.output_dir, COCO_FILE), [one for image in entries for one in image])
        return found

    def _coco_entries(self, guess: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the amodal masks of an image as in a COCO results file."""
        contiguous = self.metadata.get("thing_dataset_id_to_contiguous_id") or {}
        original = {ours: theirs for theirs, ours in contiguous.items()}
        return [
            {
                "image_id": guess["image_id"],
                "category_id": original.get(int(category), int(category)),
                "segmentation": mask_tools.encode(mask),
                "score": float(score),
            }
            for mask, category, score in zip(
                *(guess[key] for key in ("masks", "classes", "scores")), strict=True
            )
        ]


def wanted_scores(names: Sequence[str], kind: str | None, dataset_name: str) -> tuple[str, ...]:
    """Return the scores to make: those named or, if none is, those of the data set's format.

    Raises:
        ValueError: a name is unknown, or none is given and the format has no amodal masks.
    """
    unknown = sorted(set(names) - set(SCORES))
    if unknown:
        raise ValueError(f"TEST.AMODAL.SCORES may have {list(SCORES)}, got {unknown}")
    if names:
        return tuple(names)
    possible = {name: row.amodal_scores for name, row in FORMATS.items() if row.amodal_scores}
    if kind not in possible:
        raise ValueError(
            f"data set {dataset_name!r} has the format {kind!r}, which holds no amodal masks; "
            f"formats that do: {sorted(possible)}"
        )
    return possible[kind]


def ground_truth(
    record: dict[str, Any], wanted: Sequence[str], dataset_name: str
) -> dict[str, Any]:
    """Return a record as `occ_order.metrics.amodal` takes it.

    The rate of occlusion is the annotated one where there is one, else that of the masks.

    Args:
        record: as of `occ_order.formats`.
        wanted: scores that are to be made.
        dataset_name: for messages.

    Returns:
        "image_id", "masks" (amodal) and "modal_masks" bool (N, H, W), "classes", "occlude_rate"
        and, where wanted, "is_stuff" and "occlusion".

    Raises:
        ValueError: the data set lacks a field that a score needs.
    """
    where = f"data set {dataset_name!r}: image {record['image_id']!r}"
    annotations = record["annotations"]
    for score in wanted:
        key = NEEDED.get(score)
        holders = [record] if key == "occlusion" else annotations
        if key is not None and any(key not in holder for holder in holders):
            raise ValueError(
                f"{where} has no {key!r}, which the score {score!r} needs; name the scores that "
                "the data set allows in TEST.AMODAL.SCORES"
            )
    stacks = {}
    for name, key in (("modal_masks", "segmentation"), ("masks", "amodal_segmentation")):
        stack = read_masks(record, key)
        if stack is None:
            raise ValueError(f"{where} has no {key!r}; amodal scores need whole and visible masks")
        stacks[name] = stack
    measured = np.nan_to_num(occlude_rate(stacks["masks"], stacks["modal_masks"]))
    rates = [a.get("occlude_rate", rate) for a, rate in zip(annotations, measured, strict=True)]
    truth = {
        "image_id": record["image_id"],
        **stacks,
        "classes": np.array([a["category_id"] for a in annotations], np.int64),
        "occlude_rate": np.array(rates, float),
    }
    if "things_stuff" in wanted:
        truth["is_stuff"] = np.array([bool(a["is_stuff"]) for a in annotations], bool)
    if "order" in wanted:
        truth["occlusion"] = np.asarray(record["occlusion"])
    return truth


def prediction(instances: Instances, image_id: Any) -> dict[str, Any]:
    """Predicted instances as `occ_order.metrics.amodal` takes them.

    Args:
        instances: pred_masks (amodal), pred_classes, scores; optional pred_modal_masks and
            occlusion.
        image_id: as in the data set.

    Returns:
        "image_id", "masks" bool (P, H, W), "classes", "scores" and, where predicted, "modal_masks",
        "occlude_rate" and "occlusion" (P, P).
    """
    guess: dict[str, Any] = {
        "image_id": image_id,
        "masks": instances.pred_masks.numpy().astype(bool),
        "classes": instances.pred_classes.numpy(),
        "scores": instances.scores.numpy().astype(float),
    }
    if instances.has("pred_modal_masks"):
        guess["modal_masks"] = instances.pred_modal_masks.numpy().astype(bool)
        rate = occlude_rate(guess["masks"], guess["modal_masks"])
        guess["occlude_rate"] = np.nan_to_num(rate)
    if instances.has("occlusion"):
        guess["occlusion"] = instances.occlusion.tensor.numpy()
    return guess


def _visible(image: dict[str, Any]) -> dict[str, Any]:
    return {**image, "masks": image["modal_masks"]}
