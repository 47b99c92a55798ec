"""Made-up annotation files of the size of COCO and InstaOrder, for benchmarks."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from occ_order.files import growing_json

INSTANCES = 7.27
"""Mean number of instances of an image: 860,001 in the 118,287 of train2017."""

ORDERED = 10
"""Maximum number of instances of an image whose order is annotated, as in InstaOrder."""

SIZE = (480, 640)
NUM_SHAPES = 2_000
POINTS = (8, 45)
"""Range of the number of points of an outline."""

CLASSES = [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES if c["isthing"]]


def write_like_coco(folder: str | Path, images: int) -> tuple[Path, Path]:
    """Write made-up InstaOrder and COCO files, without image files.

    Args:
        folder: where to write.
        images: number of images.

    Returns:
        The order file and the instances file.
    """
    draw = random.Random(0)
    shapes = [_shape(draw) for _ in range(NUM_SHAPES)]
    ends = [round(INSTANCES * k) for k in range(images + 1)]
    paths = Path(folder, "order.json"), Path(folder, "instances.json")
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": CLASSES}
    with (
        growing_json(paths[0], {"annotations": []}) as add_order,
        growing_json(paths[1], coco) as add,
    ):
        for image, (first, end) in enumerate(itertools.pairwise(ends)):
            size = {"height": SIZE[0], "width": SIZE[1]}
            add("images", {"id": image, "file_name": f"{image:012d}.jpg", **size})
            for number in range(first, end):
                made = {
                    **draw.choice(shapes),
                    "id": number,
                    "image_id": image,
                    "category_id": draw.choice(CLASSES)["id"],
                    "iscrowd": 0,
                }
                add("annotations", made)
            add_order("annotations", _entry(draw, image, range(first, end)[:ORDERED]))
    return paths


def _shape(draw: random.Random) -> dict[str, Any]:
    """Return the mask of an instance, with its box and area."""
    number, radius = draw.randint(*POINTS), draw.uniform(10, 75)
    points = []
    for k in range(number):
        length, angle = radius * draw.uniform(0.6, 1), 2 * math.pi * k / number
        points.append((300 + length * math.cos(angle), 200 + length * math.sin(angle)))
    outline = [round(value, 2) for point in points for value in point]
    turns = zip(points, [*points[1:], points[0]], strict=True)
    area = sum(x * v - u * y for (x, y), (u, v) in turns) / 2
    (x0, y0), (x1, y1) = map(min, zip(*points, strict=True)), map(max, zip(*points, strict=True))
    box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
    return {"segmentation": [outline], "bbox": box, "area": round(area, 2)}


def _entry(draw: random.Random, image: int, ids: range) -> dict[str, Any]:
    """Return an entry of InstaOrder: a depth order of every pair, a fifth of which occlude."""
    pairs: Iterator[tuple[int, int]] = (
        (i, j) for i in range(len(ids)) for j in range(i + 1, len(ids))
    )
    depth = [{"order": f"{i}<{j}", "count": 2, "overlap": draw.random() < 0.3} for i, j in pairs]
    occlusion = [{"order": d["order"], "count": 2} for d in depth if draw.random() < 0.2]
    return {
        "image_id": image,
        "instance_ids": list(ids),
        "occlusion": occlusion,
        "depth": depth,
    }
