"""Detections read from a file or folder, as a detector."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.detectors.detector import Detector, Find
from occ_order.files import parse_json, show
from occ_order.formats.detections import DetectionFile
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.instances import OrderedInstances

logger = logging.getLogger(__name__)


def build(path: str, threshold: float) -> Detector:
    """Build a detector that looks up the stored instances of an image.

    Args:
        path: list of results of several images (COCO, amodalAPI), or any format that `load_masks`
            reads.
        threshold: score threshold.

    Raises:
        ValueError: a damaged JSON file.
    """
    find = _listed(path) if _is_list_of_several(path) else _masks(path)
    return Detector(find, f"results in {path}", threshold)


def _masks(path: str) -> Find:
    """Return a function that reads the masks of an image with `load_masks`."""

    def find(pixels: np.ndarray, file_name: str | None) -> OrderedInstances:
        masks = path if file_name is None else masks_file(path, file_name)
        return load_masks(masks, pixels.shape[:2], image_name=file_name)

    return find


def _is_list_of_several(path: str) -> bool:
    """Return whether a file is a list of results whose images are identified only by their ids."""
    if not path.lower().endswith(".json"):
        return False
    data = parse_json(path)
    entries = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    ids = {str(one.get("image_id")) for one in entries}
    return len(ids) > 1 or any("regions" in one for one in entries)


def _listed(path: str) -> Find:
    """Return a function that looks up an image by its id, parsed from its file name."""
    file = DetectionFile(path)

    def find(pixels: np.ndarray, file_name: str | None) -> OrderedInstances:
        if file_name is None:
            raise ValueError(f"{path}: results of several images; give the image as a file")
        image_id = image_id_of(file_name, file.image_ids, path)
        size = (pixels.shape[0], pixels.shape[1])
        found = file.image(image_id, *size)
        return OrderedInstances(
            image_id,
            size,
            found.modal,
            amodal=found.amodal,
            classes=found.category_ids,
            scores=found.scores,
        )

    return find


def image_id_of(file_name: str, known: Sequence[Any], path: str) -> int | str:
    """Return the image id that belongs to a file name.

    Args:
        file_name: name of the image, such as "COCO_val2014_000000000139.jpg".
        known: image ids of the results.
        path: file of the results, for error messages.

    Returns:
        The id in `known` that equals the name, the name without extension, or the number at its
        end. If none does, that number, and a warning is logged: the image has no results.

    Raises:
        ValueError: no id matches, and the name has no number at its end.
    """
    stem = Path(file_name).stem
    number = re.search(r"\d+$", stem)
    told: list[int | str] = [file_name, stem, *([int(number[0])] if number else [])]
    for one in told:
        if one in known:
            return one
    if number is None:
        raise ValueError(f"{path}: no result is of an image {file_name!r}; there are {show(known)}")
    logger.warning("%s: no result is of image %d", path, told[-1])
    return told[-1]
