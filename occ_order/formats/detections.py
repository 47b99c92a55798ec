"""Detections of other programs: instances of a whole data set, read from a results file.

=====================  ==========================================================================
COCO results           a list of {"image_id", "category_id", "segmentation", "score"} with modal
                       masks (Detectron2, MMDetection, E2EC)
``order_results.json`` of this package; its order is not read
panoptic               {"annotations": [{"image_id", "file_name", "segments_info"}]} beside a folder
                       of PNG files in which a segment's id is R + 256 G + 65536 B; segments have
                       {"id", "category_id"} and optionally "score" (Mask2Former)
amodalAPI results      a list of {"image_id", "regions": [{"segmentation", "score"}]} with amodal
                       masks; "visible_mask" or "invisible_mask" defines the modal mask
                       (AmodalMask, SharpMask). Also COCO results with one of these keys, or with
                       "inmodal_seg"
=====================  ==========================================================================

Needs neither PyTorch nor Detectron2. Masks are decoded image by image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import DataError, parse_json, resolve_inside, show
from occ_order.formats.checks import Report, field
from occ_order.formats.coco_order import AMODAL_FORMATS
from occ_order.formats.panoptic import segment_ids

SCORES = ("file", "same")
"""Source of scores: the file (1 where it has none), or 1 for every instance, as in the row "same
score" of OOSIS Table 2."""


@dataclass(frozen=True)
class Detections:
    """Instances of one image. N instances, H x W pixels.

    Attributes:
        modal: bool (N, H, W), modal masks.
        amodal: bool (N, H, W), amodal masks; None if the file has none.
        category_ids: int64 (N,), ids in the file; 1 if it has none.
        scores: float64 (N,).
    """

    modal: np.ndarray
    amodal: np.ndarray | None
    category_ids: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


class DetectionFile:
    """A results file, indexed by image.

    Args:
        path: the JSON file.
        folder: folder of the PNG files of a panoptic segmentation; None = path without ".json".
        scores: one of `SCORES`.

    Raises:
        ValueError: an unknown format or damaged data; names file and entry.
        FileNotFoundError: the file does not exist.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        folder: str | os.PathLike | None = None,
        scores: str = "file",
    ) -> None:
        if scores not in SCORES:
            raise ValueError(f"scores must be one of {SCORES}, got {scores!r}")
        self.path, self.scores = os.fspath(path), scores
        self.folder = Path(folder) if folder else Path(self.path).with_suffix("")
        self.kind, self._entries = _sorted_by_image(self.path)

    @property
    def image_ids(self) -> list[Any]:
        """Image ids in the file."""
        return list(self._entries)

    def image(self, image_id: int | str, height: int, width: int) -> Detections:
        """Return the instances of one image; none if it is not in the file.

        Args:
            image_id: image id in the file.
            height, width: size of the image.

        Returns:
            Instances by descending score; ties in the order of the file.

        Raises:
            ValueError: a mask, score or category is damaged, or a mask has another size; names
                file, image and entry.
        """
        entries = self._entries.get(image_id, [])
        if self.kind == "panoptic":
            entries = [
                found for entry in entries for found in self._segments(entry, (height, width))
            ]
        parts = [
            self._instance(entry, (height, width), f"{self.path}: image {image_id!r}: instance {k}")
            for k, entry in enumerate(entries)
        ]
        parts.sort(key=lambda part: -part[3])  # stable
        whole = [amodal for _, amodal, _, _ in parts if amodal is not None]
        if whole and len(whole) < len(parts):
            raise DataError(
                f"{self.path}: image {image_id!r}: only some instances have whole masks"
            )
        has_amodal = bool(whole) or self.kind.startswith("amodal")
        return Detections(
            modal=_stacked([modal for modal, _, _, _ in parts], (height, width)),
            amodal=_stacked(whole, (height, width)) if has_amodal else None,
            category_ids=np.array([category for _, _, category, _ in parts], np.int64),
            scores=np.array([score for _, _, _, score in parts], np.float64),
        )

    def _instance(
        self, entry: Mapping[str, Any], size: tuple[int, int], place: str
    ) -> tuple[np.ndarray, np.ndarray | None, int, float]:
        modal, amodal = _masks(entry, self.kind, size, place)
        with Report(place).at():
            category = field(dict(entry), "category_id", "an integer", 1)
            score = field(dict(entry), "score", "a finite number", 1.0)
        return modal, amodal, category, 1.0 if self.scores == "same" else float(score)

    def _segments(self, entry: Mapping[str, Any], size: tuple[int, int]) -> list[dict[str, Any]]:
        """Return the segments of a panoptic entry with their masks, without crowds."""
        place = f"{self.path}: image {entry['image_id']!r}"
        infos = entry.get("segments_info")
        if not isinstance(entry.get("file_name"), str) or not isinstance(infos, list):
            raise DataError(f"{place}: a panoptic entry needs 'file_name' and 'segments_info'")
        file = resolve_inside(self.folder, entry["file_name"])
        ids = segment_ids(file, size)
        found = []
        for info in infos:
            if not isinstance(info, Mapping) or not isinstance(info.get("id"), int):
                raise DataError(f"{place}: a segment needs an integer 'id', got {show(info)}")
            mask = ids == info["id"]
            if not mask.any():
                raise DataError(f"{place}: {file.name} has no pixel of segment {info['id']}")
            if not info.get("iscrowd") and info.get("isthing", True):
                found.append({**info, "segmentation": mask})
        return found


def _stacked(stack: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    return np.stack(stack) if stack else np.zeros((0, *size), bool)


def _sorted_by_image(path: str) -> tuple[str, dict[Any, list[Mapping[str, Any]]]]:
    """Return the kind of a results file, and its entries by image id."""
    data = parse_json(path)
    kind, entries = _kind_of(data)
    if kind is None:
        raise DataError(
            f"{path}: expected COCO results, order_results.json, a panoptic segmentation or "
            f"amodalAPI results, got {show(data)}"
        )
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for number, entry in enumerate(entries):
        image_id = entry.get("image_id") if isinstance(entry, Mapping) else None
        if isinstance(image_id, bool) or not isinstance(image_id, int | str):
            raise DataError(f"{path}: entry {number} has no image_id that is an integer or a text")
        inner = {"amodal": "regions", "order": "instances"}.get(kind)
        if inner is None:
            found.setdefault(image_id, []).append(entry)
            continue
        instances = entry.get(inner)
        if not isinstance(instances, list) or not all(isinstance(i, Mapping) for i in instances):
            raise DataError(f"{path}: image {image_id!r}: {inner!r} must be a list of objects")
        found.setdefault(image_id, []).extend(instances)
    return kind, found


def _kind_of(data: Any) -> tuple[str | None, Iterable[Any]]:
    if isinstance(data, list):
        first = data[0] if data else {"segmentation": None}
        if isinstance(first, Mapping):
            if "regions" in first:
                return "amodal", data
            keys = set().union(*(one.keys() for one in data if isinstance(one, Mapping)))
            if not keys.isdisjoint(AMODAL_FORMATS):
                return "amodal results", data
            if "segmentation" in first:
                return "coco", data
    if isinstance(data, Mapping):
        if isinstance(data.get("images"), list) and "format" in data:
            return "order", data["images"]
        annotations = data.get("annotations")
        if isinstance(annotations, list) and all(
            isinstance(one, Mapping) and "segments_info" in one for one in annotations
        ):
            return "panoptic", annotations
    return None, ()


def _masks(
    entry: Mapping[str, Any], kind: str, size: tuple[int, int], place: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the modal mask and, if the file has it, the amodal mask."""

    def mask(key: str) -> np.ndarray:
        value = entry.get(key)
        return value if isinstance(value, np.ndarray) else masks.decode(value, *size, name=place)

    if kind == "order":
        whole = mask("amodal_segmentation") if "amodal_segmentation" in entry else None
        return mask("segmentation"), whole
    if not kind.startswith("amodal"):
        return mask("segmentation"), None
    whole = mask("segmentation")
    for key in ("visible_mask", "inmodal_seg"):
        if key in entry:
            return mask(key), whole
    if "invisible_mask" in entry:
        return whole & ~mask("invisible_mask"), whole
    return whole, whole


def mask_times_class_scores(
    mask_prob: np.ndarray, class_prob: np.ndarray, found: np.ndarray
) -> np.ndarray:
    """Compute scores of the instances of a panoptic segmentation (OOSIS Section 5.5).

    This is the "ad-hoc score": "multiplying the mask confidence score and class confidence score of
    each pixel", averaged over the pixels of the instance.

    Args:
        mask_prob: float (N, H, W), probability of each instance's mask at every pixel.
        class_prob: float (N,), probability of its class.
        found: bool (N, H, W), the masks of the segmentation.

    Returns:
        float64 (N,); 0 for an instance without a pixel.

    Raises:
        ValueError: shapes that do not fit.
    """
    mask_prob, class_prob = np.asarray(mask_prob, float), np.asarray(class_prob, float)
    found = masks.as_bool(found, 3)
    if mask_prob.shape != found.shape or class_prob.shape != found.shape[:1]:
        raise ValueError(
            f"masks {found.shape} need probabilities of that shape and of {found.shape[:1]}, got "
            f"{mask_prob.shape} and {class_prob.shape}"
        )
    pixels = found.sum((1, 2))
    return class_prob * (mask_prob * found).sum((1, 2)) / np.maximum(pixels, 1)
