"""Masks of a detector in place of annotated ones, to train on what the network sees at test time.

Detected masks are ragged, miss parts and contain parts of other things, and their contacts look
different from those of annotated masks. The order of a detection is that of the instance that it
matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog

from occ_order.formats.detections import DetectionFile
from occ_order.masks import bounding_box, decode_all, exclusive
from occ_order.methods.common.reading import ORDER_KEYS
from occ_order.metrics import mask_iou, match_greedy
from occ_order.order import UNKNOWN


class DetectedMasks:
    """Detections of the images of data sets.

    Args:
        files: [data set, results file] of each data set; formats of
            `occ_order.formats.detections`. Image ids are those of the data set.
        scores: lower and upper limit of the score threshold, which is sampled for each image.

    Raises:
        ValueError: an entry is no such pair, a damaged file, or a file without a single image of
            its data set.
    """

    def __init__(self, files: Sequence[Sequence[str]], scores: Sequence[float]) -> None:
        self.scores = float(scores[0]), float(scores[1])
        self._file_of: dict[str, DetectionFile] = {}
        for entry in files:
            if len(entry) != 2:
                raise ValueError(
                    "INPUT.MASK_ORDER.DETECTIONS must be a list of [data set, results file], got "
                    f"{entry!r}"
                )
            name, path = entry
            found = DetectionFile(path)
            known = set(found.image_ids)
            images = [one for one in DatasetCatalog.get(name) if one["image_id"] in known]
            if not images:
                raise ValueError(f"{path}: none of its images is in the data set {name!r}")
            self._file_of.update((one["file_name"], found) for one in images)

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
        """Return a record with detections in place of its instances.

        As at test time, detections of low score are dropped and the others made disjoint
        (`occ_order.masks.exclusive`). A detection has the orders of the instance that it matches
        (IoU above 0.5); all orders of the others are unknown, since they may be instances that are
        not annotated.

        Args:
            record: with `annotations` and the matrices `ORDER_KEYS` as far as known; not modified.
            rng: samples the score threshold.

        Returns:
            The new record, with `masks` bool (N, H, W); None if fewer than two instances are
            detected, or the results file does not contain the image.

        Raises:
            ValueError: a detection is damaged or has another size; names file and image.
        """
        file = self._file_of.get(record["file_name"])
        if file is None:
            return None
        height, width = record["height"], record["width"]
        found = file.image(record["image_id"], height, width)
        keep = found.scores >= rng.uniform(*self.scores)
        modal, scores = found.modal[keep], found.scores[keep]
        kept = exclusive(modal, scores)
        modal, scores = modal[kept], scores[kept]
        annotations = record["annotations"]
        truth = decode_all([one["segmentation"] for one in annotations], height, width)
        match = match_greedy(mask_iou(modal, truth), scores)
        if (match >= 0).sum() < 2:
            return None
        return {
            **record,
            **{key: _matched(record[key], match) for key in ORDER_KEYS if key in record},
            "masks": modal,
            "annotations": [
                _annotation(annotations[max(k, 0)], mask)
                for k, mask in zip(match, modal, strict=True)
            ],
        }


def _annotation(like: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return an annotation with the box of a mask. Classes are not trained: any one will do."""
    box = [int(side) for side in bounding_box(mask)]
    return {"category_id": like["category_id"], "bbox_mode": like["bbox_mode"], "bbox": box}


def _matched(matrix: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Return the rows and columns of matches; -1 for what matches nothing."""
    matrix = np.asarray(matrix)
    result = np.full((len(match), len(match)), UNKNOWN, matrix.dtype)
    known = np.flatnonzero(match >= 0)
    result[np.ix_(known, known)] = matrix[np.ix_(match[known], match[known])]
    np.fill_diagonal(result, matrix.diagonal().max(initial=UNKNOWN))  # one value by definition
    return result
