"""Selection and shuffling of the instances and pairs to annotate."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.apps.annotate.answers import Pair
from occ_order.apps.annotate.protocol import Protocol


def chosen(record: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    """Return a record with only the instances to annotate and without its orders.

    Fully occluded instances are left out, since the page cannot show them.

    Raises:
        ValueError: two instances of the image have the same id.
    """
    annotations = [a for a in record["annotations"] if a["bbox"][2] > a["bbox"][0]]
    ids = [annotation["id"] for annotation in annotations]
    if len(set(ids)) < len(ids):
        raise ValueError(f"image {record['image_id']}: two instances have the same id")
    if protocol.min_size:
        areas = stack(record, annotations).sum(axis=(1, 2))
        least = protocol.min_size**2
        annotations = [a for a, area in zip(annotations, areas, strict=True) if area >= least]
    if len(annotations) > protocol.max_instances:
        rng = np.random.default_rng([protocol.seed, abs(record["image_id"])])
        kept = sorted(rng.choice(len(annotations), protocol.max_instances, replace=False).tolist())
        annotations = [annotations[k] for k in kept]
    keys = ("file_name", "image_id", "height", "width")
    return {**{key: record[key] for key in keys}, "annotations": annotations}


def stack(record: dict[str, Any], annotations: list[dict[str, Any]] | None = None) -> np.ndarray:
    """Return the visible masks of a record, or of some of its annotations, as bool (N, H, W)."""
    annotations = record["annotations"] if annotations is None else annotations
    segmentations = [annotation["segmentation"] for annotation in annotations]
    return masks.decode_all(segmentations, record["height"], record["width"])


def pairs_of(record: dict[str, Any]) -> list[Pair]:
    """Return all pairs of instances of a record."""
    ids = [annotation["id"] for annotation in record["annotations"]]
    return [(record["image_id"], i, j) for i, j in combinations(ids, 2)]


def asked_pairs(record: dict[str, Any], protocol: Protocol) -> list[Pair]:
    """Return the pairs of a record that the protocol asks about."""
    pairs = pairs_of(record)
    if protocol.pairs == "all":
        return pairs
    touch = masks.bordering_pairs(stack(record), gap=protocol.gap)
    upper = touch[np.triu_indices(len(touch), 1)]
    return [pair for pair, touches in zip(pairs, upper, strict=True) if touches]


def shuffled(pairs: list[Pair], annotator: str, seed: int) -> list[Pair]:
    """Shuffle images, and the pairs within each image, in an order fixed per annotator.

    The pairs of an image stay together, so that an annotator sees each image once.
    """
    rng = np.random.default_rng([abs(seed), *annotator.encode()])
    by_image: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_image.setdefault(pair[0], []).append(pair)
    images = list(by_image.values())
    return [
        images[k][place]
        for k in rng.permutation(len(images))
        for place in rng.permutation(len(images[k]))
    ]
