"""Predicted orders as suggested answers for the annotators."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.apps.annotate.answers import Pair
from occ_order.apps.annotate.selection import pairs_of, stack
from occ_order.masks import decode_all
from occ_order.metrics.matching import mask_iou, match_greedy, partners
from occ_order.order import CLOSER, DISTINCT, EQUAL, FARTHER, OVERLAPPING
from occ_order.order.io import load_results, matrices

OCCLUSION_WORDS = {(1, 0): "first", (0, 1): "second", (1, 1): "both", (0, 0): "none"}
DEPTH_WORDS = {CLOSER: "first", FARTHER: "second", EQUAL: "equal"}
RANGE_WORDS = {DISTINCT: "distinct", OVERLAPPING: "overlap"}


def read_guesses(
    path: str | os.PathLike, records: Sequence[dict[str, Any]]
) -> dict[Pair, dict[str, str]]:
    """Read predicted orders for the pairs of the records.

    An image of the file is assigned to the record with its image id, or, if the two file names
    differ, to the record with its file name. Instances are matched by mask IoU (above 0.5), since
    the ids of a prediction need not be those of the data set.

    Args:
        path: ``order_results.json``.
        records: with visible masks.

    Returns:
        pair -> {"occlusion", "depth", "range"}, with the values of `Answer`; a key is missing where
        the file has no prediction.

    Raises:
        ValueError: invalid file, an image of another size, or none of the images; names the file.
        OSError: the file cannot be read.
    """
    images = load_results(path)
    by_id = {image["image_id"]: image for image in images}
    names = Counter(map(_name, images))
    by_name = {_name(image): image for image in images if names[_name(image)] == 1}
    found, matched = {}, 0
    for record in records:
        name = Path(record["file_name"]).name
        image = by_id.get(record["image_id"])
        if image is None or _name(image) not in ("", name):
            image = by_name.get(name)
        if image is not None:
            matched += 1
            found.update(_of_image(image, record, os.fspath(path)))
    if records and not matched:
        raise ValueError(f"{os.fspath(path)}: holds none of the images that are asked about")
    return found


def _name(image: dict[str, Any]) -> str:
    return Path(image.get("file_name", "")).name


def _of_image(image: dict[str, Any], record: dict[str, Any], path: str) -> dict:
    size, expected = (image["height"], image["width"]), (record["height"], record["width"])
    if size != expected:
        raise ValueError(
            f"{path}, image {image['image_id']}: expected {expected} (height, width), got {size}"
        )
    segmentations = [instance["segmentation"] for instance in image["instances"]]
    iou = mask_iou(decode_all(segmentations, *size), stack(record))
    scores = [instance["score"] for instance in image["instances"]]
    partner = partners(match_greedy(iou, scores), len(record["annotations"]))
    occlusion, depth, overlap = matrices(image)
    found = {}
    upper = zip(*np.triu_indices(len(partner), 1), strict=True)
    for pair, (a, b) in zip(pairs_of(record), upper, strict=True):
        i, j = partner[a], partner[b]
        words = {}
        if min(i, j) >= 0 and occlusion is not None:
            words["occlusion"] = OCCLUSION_WORDS.get((int(occlusion[i, j]), int(occlusion[j, i])))
        if min(i, j) >= 0 and depth is not None and overlap is not None:
            words["depth"] = DEPTH_WORDS.get(int(depth[i, j]))
            words["range"] = RANGE_WORDS.get(int(overlap[i, j]))
        found[pair] = {key: word for key, word in words.items() if word is not None}
    return found
