"""Annotations and predictions of many small images, for benchmarks of whole data sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from occ_order import masks, order

PER_IMAGE = 10
"""Instances of each image, which have 45 pairs."""

SIZE = (96, 128)
NUM_CLASSES = 10
NUM_SHAPES = 50
SHIFT = 2
"""Pixels by which predicted masks are displaced."""


def many_images(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Create annotations with orders of all pairs and amodal masks, and predictions for them.

    Args:
        number: number of images.

    Returns:
        Records (`occ_order.formats`), and images of an ``order_results.json``.
    """
    rng = np.random.default_rng(0)
    shapes = [_shape(rng) for _ in range(NUM_SHAPES)]
    records, results = [], []
    for k in range(number):
        chosen = [shapes[index] for index in rng.permutation(NUM_SHAPES)[:PER_IMAGE]]
        same = {"category_id": int(rng.integers(NUM_CLASSES)) + 1}
        image = {"image_id": k, "height": SIZE[0], "width": SIZE[1]}
        depth = np.triu(np.ones((PER_IMAGE,) * 2, np.int8), 1) - np.eye(PER_IMAGE, dtype=np.int8)
        records.append(
            {
                **image,
                "file_name": f"{k}.png",
                "annotations": [
                    {"id": n, "iscrowd": 0, **same, **truth} for n, (truth, _) in enumerate(chosen)
                ],
                "occlusion": _occlusion(rng),
                "depth": depth,
                "overlap": np.zeros_like(depth),
                "count": np.full_like(depth, 2),
            }
        )
        occ, scores = _occlusion(rng), rng.random(PER_IMAGE).tolist()
        results.append(
            {
                **image,
                "instances": [
                    {"id": n, "score": scores[n], **same, **guess}
                    for n, (_, guess) in enumerate(chosen)
                ],
                "occlusion": [[i, j, 1.0] for i, j in order.edges_from_occlusion(occ)],
                "depth": [[i, j, "closer", 1.0] for i, j in np.argwhere(depth == 1).tolist()],
            }
        )
    return records, results


def _shape(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return modal and amodal mask of an instance, and those of its prediction."""
    amodal = np.zeros(SIZE, bool)
    top, left = rng.integers(0, 60), rng.integers(0, 90)
    height, width = rng.integers(12, 36, 2)
    amodal[top : top + height, left : left + width] = True
    modal = amodal.copy()
    modal[: top + height // 3] = False
    names = ("segmentation", "amodal_segmentation")
    truth, guess = (
        {n: masks.encode(np.roll(m, shift, 1)) for n, m in zip(names, (modal, amodal), strict=True)}
        for shift in (0, SHIFT)
    )
    return truth, guess


def _occlusion(rng: np.random.Generator) -> np.ndarray:
    occ = (rng.random((PER_IMAGE, PER_IMAGE)) < 0.15).astype(np.int8)
    np.fill_diagonal(occ, 0)
    return occ
