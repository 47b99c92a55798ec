"""Generation of scenes, and their conversion to data set records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order.scenes.orders import annotator_counts, depth_from_ranges
from occ_order.scenes.placing import arrange
from occ_order.scenes.render import Painter, develop, levels_from_rank, masks_and_overlaps
from occ_order.scenes.shapes import CLASSES
from occ_order.scenes.world import KINDS, draw_world

VERSION = 2  # increased whenever the output for the same arguments changes
SMALLEST, LARGEST = 16, 4096  # allowed side of an image in pixels
MOST_INSTANCES = 100

PLAIN: dict[str, Any] = {
    "num_instances": (3, 6),
    "classes": ("ball", "box", "star", "car", "cup", "book", "leaf"),
    "interlocked": 0.0,
    "texture": 0.0,
}
"""Options of :func:`generate` for plain scenes: few compact objects without patterns. A detector
with a million parameters learns to detect most of them within minutes on a CPU."""


@dataclass(frozen=True)
class Scene:
    """An image and its ground truth. N instances, H x W pixels.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        modal: bool (N, H, W), modal masks; pairwise disjoint, never empty.
        amodal: bool (N, H, W), amodal masks, clipped to the image.
        levels: int8 (N, H, W), number of instances in front (0 = visible), -1 outside the amodal
            mask. Exact also for interlocked instances, whose order differs by region.
        classes: int64 (N,), index into ``names``.
        occlusion: int8 (N, N), 1 iff i is in front of j somewhere on j's amodal mask (also where a
            third instance covers both); both directions 1 for interlocked instances.
        depth: int8 (N, N), 1 closer, 0 farther, 2 equal, -1 on the diagonal.
        overlap: int8 (N, N), 1 overlapping depth ranges, 0 distinct, -1 on the diagonal.
        count: int16 (N, N), simulated number of annotators asked (2 to 5), -1 on the diagonal.
        disparity: float32 (H, W), 1 / depth of the visible surface; larger = nearer, positive.
        depth_range: float32 (N, 2), nearest and farthest depth of the instance.
        kind: kind of background, one of ``KINDS``, or "photograph: SOURCE".
        names: class names.
        amodal_known: bool (N,); where False, the amodal mask is unknown, and ``amodal`` is only the
            part that was visible in the source photograph. None = all are known.
        stuff: bool (N,), stuff regions such as walls and floors. None = there are none.

    Composed photographs have no ``disparity`` and no ``depth_range``, and -1 in ``occlusion``,
    ``depth``, ``overlap`` and ``count`` for unknown pairs.
    """

    image: np.ndarray
    modal: np.ndarray
    amodal: np.ndarray
    levels: np.ndarray
    classes: np.ndarray
    occlusion: np.ndarray
    depth: np.ndarray
    overlap: np.ndarray
    count: np.ndarray
    disparity: np.ndarray | None
    depth_range: np.ndarray | None
    kind: str
    names: tuple[str, ...] = CLASSES
    amodal_known: np.ndarray | None = None
    stuff: np.ndarray | None = None


def generate(
    seed: int,
    *,
    size: tuple[int, int] = (256, 256),
    num_instances: int | tuple[int, int] = (3, 10),
    classes: Sequence[str] | None = None,
    background: str | None = None,
    interlocked: float = 0.18,
    cyclic: float = 0.0,
    texture: float = 1.0,
    max_hidden: float = 0.85,
    min_visible: int | None = None,
    min_overlap: int | None = None,
) -> Scene:
    """Generate one scene, bitwise reproducible.

    Random numbers come from ``numpy.random.PCG64`` seeded by ``seed`` only; pixels are computed
    with integer operations and exactly rounded float32 arithmetic.

    A placement is rejected and sampled again if any object, new or old, would have fewer than
    ``min_visible`` visible pixels, an occluded fraction above ``max_hidden``, or less than 30 % of
    its silhouette inside the image. So every instance of the result is visible.

    Args:
        seed: non-negative integer.
        size: (height, width) in pixels, each in [16, 4096]; meant for 64 to 640.
        num_instances: number of instances, or (minimum, maximum), at most 100. A scene has fewer if
            there is no space for more.
        classes: names out of ``CLASSES`` to sample from; None = all.
        background: one of ``KINDS``; None = random.
        interlocked: probability that a placement is an interlocked pair (each occludes the other).
        cyclic: probability that the scene has three bars that occlude each other in a cycle (A over
            B over C over A; since the end of a bar may be occluded or cut off, nine in ten of these
            scenes actually have a cycle). Such scenes have no front-to-back order.
        texture: contrast of the patterns on objects and backgrounds, in [0, 1]; 0 = plain, shaded
            colours, which small networks learn to separate within minutes. Shapes, positions and
            orders do not depend on it.
        max_hidden: maximum occluded fraction of an instance, in [0, 1).
        min_visible: minimum number of visible pixels; None = 0.0004 of the image, at least 12.
        min_overlap: minimum number of pixels of an occlusion; smaller overlaps are removed from the
            amodal mask of the instance behind. None = 0.0001 of the image, at least 4.

    Returns:
        The scene.

    Raises:
        ValueError: an argument is outside its range.
    """
    height, width = _check_size(size)
    low, high = _check_count(num_instances)
    kinds = _check_classes(classes)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
    if background is not None and background not in KINDS:
        raise ValueError(f"background must be one of {KINDS} or None, got {background!r}")
    for name, value in (("interlocked", interlocked), ("cyclic", cyclic)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    if not 0.0 <= texture <= 1.0:
        raise ValueError(f"texture must be in [0, 1], got {texture!r}")
    if not 0.0 <= max_hidden < 1.0:
        raise ValueError(f"max_hidden must be in [0, 1), got {max_hidden!r}")
    min_visible = _pixels("min_visible", min_visible, max(12, int(0.0004 * height * width)))
    min_overlap = _pixels("min_overlap", min_overlap, max(4, int(0.0001 * height * width)))

    streams = np.random.SeedSequence(int(seed)).spawn(4)
    layout, look, film, people = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    kind = background or str(layout.choice(KINDS, p=[0.38, 0.32, 0.15, 0.15]))
    world = draw_world(layout, kind, height, width, texture=texture)
    board = arrange(
        layout,
        world,
        int(layout.integers(low, high + 1)),
        kinds=kinds,
        interlocked=interlocked,
        cyclic=cyclic,
        min_visible=min_visible,
        max_hidden=max_hidden,
    )
    rank, covered = masks_and_overlaps(board, min_overlap=min_overlap)
    levels = levels_from_rank(rank)
    painter = Painter(look, board)
    painter.run(rank)
    items = board.items
    ranges = np.array([[i.near, i.far] for i in items], dtype=np.float32).reshape(-1, 2)
    depth, overlap = depth_from_ranges(ranges)
    return Scene(
        image=develop(film, painter.canvas),
        modal=levels == 0,
        amodal=levels >= 0,
        levels=levels,
        classes=np.array([i.kind for i in items], dtype=np.int64),
        occlusion=(covered > 0).astype(np.int8),
        depth=depth,
        overlap=overlap,
        count=annotator_counts(people, ranges, depth, overlap),
        disparity=painter.disparity,
        depth_range=ranges,
        kind=kind,
    )


def scene_seed(seed: int, index: int) -> int:
    """Return the seed of scene ``index`` of a series, independent of the other scenes."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


def generate_many(
    seed: int,
    count: int,
    *,
    first: int = 0,
    size_range: tuple[int, int] | None = None,
    **options,
) -> Iterator[Scene]:
    """Generate scenes ``first`` to ``first + count - 1`` of the series ``seed``.

    Args:
        seed: seed of the series, non-negative.
        count: number of scenes.
        first: index of the first one.
        size_range: (minimum, maximum) side, from which height and width of each scene are sampled.
            None = size given in ``options``.
        options: keyword arguments of :func:`generate`.

    Yields:
        One scene at a time.
    """
    for index in range(first, first + count):
        own = scene_seed(seed, index)
        if size_range is not None:
            options["size"] = draw_size(own, size_range)
        yield generate(own, **options)


def draw_size(seed: int, size_range: tuple[int, int]) -> tuple[int, int]:
    """Sample (height, width), each log-uniform over ``size_range``, both ends included."""
    low, high = _check_size(size_range)
    if low > high:
        raise ValueError(f"size range must be (smallest, largest), got {size_range!r}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    sides = low * (high / low) ** rng.random(2)
    return round(float(sides[0])), round(float(sides[1]))


def to_record(
    scene: Scene, *, image_id: int, file_name: str, front_to_back: bool = False
) -> dict[str, Any]:
    """Convert a scene to a data set record (Detectron2's standard dict with orders).

    Annotation ids are ``1000 * image_id + r``, r = 1, 2, ... from front to back (by
    ``occ_order.order.layers``), the ids that COCOA regions get when they are read.

    Args:
        scene: a generated scene.
        image_id: id of the image.
        file_name: path of the image.
        front_to_back: sort annotations and matrices by id, as in COCOA. Otherwise annotation k is
            instance k of the scene, in an order independent of depth.

    Returns:
        ``{"file_name", "image_id", "height", "width", "annotations", "occlusion", "depth",
        "overlap", "count"}``. An annotation holds ``id``, ``category_id`` (class index + 1),
        ``bbox`` ([x0, y0, x1, y1], x1 and y1 exclusive), ``segmentation``
        (modal RLE), ``iscrowd`` 0, ``is_stuff``, ``name`` and, where the amodal mask is known,
        ``amodal_segmentation`` (RLE), ``amodal_bbox`` and ``occlude_rate`` (occluded fraction).
    """
    from occ_order.order import layers  # imported lazily: generating scenes does not need it

    ranks = np.argsort(layers(scene.occlusion), kind="stable")
    numbers = np.empty(len(ranks), dtype=np.int64)
    numbers[ranks] = np.arange(1, len(ranks) + 1)
    rows = ranks if front_to_back else np.arange(len(ranks))
    square = np.ix_(rows, rows)
    height, width = scene.image.shape[:2]
    return {
        "file_name": file_name,
        "image_id": image_id,
        "height": height,
        "width": width,
        "annotations": [
            _annotation(scene, int(k), 1000 * image_id + int(numbers[k])) for k in rows
        ],
        "occlusion": scene.occlusion[square],
        "depth": scene.depth[square],
        "overlap": scene.overlap[square],
        "count": scene.count[square],
    }


def _annotation(scene: Scene, k: int, number: int) -> dict[str, Any]:
    from occ_order.masks import bounding_box, encode

    modal, amodal = scene.modal[k], scene.amodal[k]
    annotation = {
        "id": number,
        "category_id": int(scene.classes[k]) + 1,
        "bbox": [float(v) for v in bounding_box(modal)],
        "segmentation": encode(modal),
        "iscrowd": 0,
        "is_stuff": int(scene.stuff is not None and scene.stuff[k]),
        "name": scene.names[scene.classes[k]],
    }
    if scene.amodal_known is None or scene.amodal_known[k]:
        annotation["amodal_segmentation"] = encode(amodal)
        annotation["amodal_bbox"] = [float(v) for v in bounding_box(amodal)]
        annotation["occlude_rate"] = int((amodal & ~modal).sum()) / int(amodal.sum())
    return annotation


def _check_size(size) -> tuple[int, int]:
    if len(tuple(size)) != 2 or not all(isinstance(s, int | np.integer) for s in size):
        raise ValueError(f"size must be two integers, got {size!r}")
    if not all(SMALLEST <= s <= LARGEST for s in size):
        raise ValueError(f"size must lie in [{SMALLEST}, {LARGEST}] pixels, got {size!r}")
    return int(size[0]), int(size[1])


def _check_count(count) -> tuple[int, int]:
    pair = (count, count) if isinstance(count, int | np.integer) else tuple(count)
    if len(pair) != 2 or not all(isinstance(c, int | np.integer) for c in pair):
        raise ValueError(f"num_instances must be an integer or two, got {count!r}")
    if not 0 <= pair[0] <= pair[1] <= MOST_INSTANCES:
        raise ValueError(
            f"num_instances must satisfy 0 <= lowest <= highest <= {MOST_INSTANCES}, got {count!r}"
        )
    return int(pair[0]), int(pair[1])


def _check_classes(classes: Sequence[str] | None) -> tuple[int, ...]:
    names = CLASSES if classes is None else tuple(classes)
    unknown = [n for n in names if n not in CLASSES]
    if unknown or not names:
        raise ValueError(f"classes must be names out of {CLASSES}, got {classes!r}")
    return tuple(sorted({CLASSES.index(n) for n in names}))


def _pixels(name: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if value < 1:
        raise ValueError(f"{name} must be at least 1 pixel, got {value!r}")
    return int(value)
