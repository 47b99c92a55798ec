"""Instance masks: safe decoding and encoding of COCO masks, boxes, adjacency, painting.

A mask is ``bool (H, W)``, a stack of masks ``bool (N, H, W)``; (0, 0) is the top left pixel. Every
function also accepts other dtypes and treats any nonzero value as "inside" (published code that
tests for 1 silently misses masks with category ids as values).

pycocotools does not validate its input: an RLE whose runs do not fill the declared size decodes to
uninitialised memory, and a polygon with a huge or non-finite coordinate crashes the process. So all
input is checked here first, RLEs are decoded by NumPy, and only checked polygons are passed to
pycocotools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np

MAX_PIXELS = 2**28
"""Maximum image area that is decoded (16,384 x 16,384); larger sizes are treated as damaged."""

COORDINATE_LIMIT = 10.0
"""Maximum absolute value of a polygon coordinate, in multiples of the longer image side."""

MAX_STACK = 2**32
"""Maximum number of pixels of all masks of one image (one byte each, 4 GiB)."""

MAX_POLYGON_LENGTH = 2_000_000
"""Maximum outline length in pixels, summed over the polygons of an instance.

pycocotools allocates about 100 bytes per pixel of outline.
"""


def decode(segmentation: Any, height: int, width: int, *, name: str = "") -> np.ndarray:
    """Decode and check a COCO segmentation.

    Args:
        segmentation: compressed RLE ``{"size": [H, W], "counts": str | bytes}``, uncompressed RLE
            (``counts`` a list of run lengths), a list of polygons ``[[x, y, x, y, ...], ...]``
            (their union), or one flat polygon ``[x, y, ...]`` as in COCOA files. Polygons may
            intersect themselves and are clipped to the image.
        height: H of the image in pixels.
        width: W of the image in pixels.
        name: prefix of error messages, for instance ``"file x.json, annotation 7"``.

    Returns:
        bool (H, W).

    Raises:
        ValueError: the RLE's size is not the image's, its runs are invalid, negative or do not sum
            to H * W; a polygon has fewer than 3 points, an odd number of coordinates, a coordinate
            that is not finite or exceeds :data:`COORDINATE_LIMIT`, or an
            outline longer than :data:`MAX_POLYGON_LENGTH`; the list of polygons is empty; the
            image has no pixels or more than :data:`MAX_PIXELS`.
    """
    where = f"{name}: " if name else ""
    height, width = _check_size(height, width, where)
    runs = _parse(segmentation, height, width, where)
    if isinstance(runs, list):
        runs = _runs(_rasterised(runs, height, width), height, width, where)
    inside = np.arange(len(runs)) % 2 == 1
    # COCO's RLE is column-major; OpenCV transposes several times faster than NumPy.
    columns = np.repeat(inside, runs).reshape(width, height)
    return cv2.transpose(columns.view(np.uint8)).reshape(height, width).view(bool)


def check(segmentation: Any, height: int, width: int, *, name: str = "") -> None:
    """Check a COCO segmentation as :func:`decode` does, without computing the mask.

    About five times faster than decoding an RLE; polygons are not rasterised.

    Args:
        segmentation: as in :func:`decode`.
        height: H of the image in pixels.
        width: W of the image in pixels.
        name: prefix of error messages.

    Raises:
        ValueError: as :func:`decode`.
    """
    where = f"{name}: " if name else ""
    height, width = _check_size(height, width, where)
    _parse(segmentation, height, width, where)


def area_and_box(
    segmentation: Any, height: int, width: int, *, name: str = ""
) -> tuple[int, np.ndarray]:
    """Return the area and the bounding box of a COCO segmentation, which is not decoded.

    Args:
        segmentation, height, width, name: see `decode`.

    Returns:
        The number of pixels; x0, y0, x1, y1 as int64 (4,), ends exclusive, zeros for an empty mask.

    Raises:
        ValueError: see `decode`.
    """
    where = f"{name}: " if name else ""
    height, width = _check_size(height, width, where)
    parsed = _parse(segmentation, height, width, where)
    if not isinstance(parsed, list):
        return int(parsed[1::2].sum()), _box_of_runs(parsed, height)
    from pycocotools import mask as coco_mask

    rle = _rasterised(parsed, height, width)
    x, y, w, h = coco_mask.toBbox(rle).astype(np.int64).tolist()
    box = np.array([x, y, x + w, y + h]) if w and h else np.zeros(4, np.int64)
    return int(coco_mask.area(rle)), box


def _box_of_runs(runs: np.ndarray, height: int) -> np.ndarray:
    ends = np.cumsum(runs)
    first, last = ends[0 : len(ends) - 1 : 2], ends[1::2] - 1  # pixels of the runs that are inside
    first, last = first[first <= last], last[first <= last]
    if not len(first):
        return np.zeros(4, dtype=np.int64)
    x0, x1 = first[0] // height, last[-1] // height + 1
    # A run that continues in the next column touches the lower and the upper border.
    across = (first // height != last // height).any()
    y0 = 0 if across else (first % height).min()
    y1 = height if across else (last % height).max() + 1
    return np.array([x0, y0, x1, y1], dtype=np.int64)


def decode_all(
    segmentations: Sequence[Any], height: int, width: int, *, names: Sequence[str] | None = None
) -> np.ndarray:
    """Decode N segmentations of one image.

    Args:
        segmentations: N segmentations, each as in :func:`decode`.
        height: H of the image in pixels.
        width: W of the image in pixels.
        names: N prefixes of error messages; default: ``"mask 0"``, ``"mask 1"``, ...

    Returns:
        bool (N, H, W); (0, H, W) for no segmentations.

    Raises:
        ValueError: as :func:`decode`; ``names`` has another length, or all masks together have more
            than :data:`MAX_STACK` pixels.
    """
    if names is None:
        names = [f"mask {k}" for k in range(len(segmentations))]
    if len(names) != len(segmentations):
        raise ValueError(f"got {len(names)} names for {len(segmentations)} segmentations")
    height, width = _check_size(height, width, "")
    if len(segmentations) * height * width > MAX_STACK:
        raise ValueError(
            f"{len(segmentations)} masks of {height} x {width} would take "
            f"{len(segmentations) * height * width / 2**30:.1f} GiB, more than the limit of "
            f"{MAX_STACK / 2**30:.0f} GiB: use smaller images or fewer instances at a time"
        )
    out = np.zeros((len(segmentations), height, width), dtype=bool)
    for k, segmentation in enumerate(segmentations):
        out[k] = decode(segmentation, height, width, name=names[k])
    return out


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask as JSON-serializable compressed COCO RLE.

    Args:
        mask: (H, W), any dtype, nonzero = inside; not a soft mask (see :func:`as_bool`).

    Returns:
        ``{"size": [H, W], "counts": str}``, which :func:`decode` decodes.

    Raises:
        ValueError: the mask is not 2-D, has no pixels, or is soft.

    Examples:
        >>> mask = np.array([[False, True], [False, True]])
        >>> bool((decode(encode(mask), 2, 2) == mask).all())
        True
    """
    from pycocotools import mask as coco_mask

    mask = as_bool(mask, 2)
    height, width = mask.shape
    _check_size(height, width, "")
    rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode("ascii")}


def as_bool(mask: np.ndarray, ndim: int) -> np.ndarray:
    """Convert a mask or a stack of masks to bool, nonzero = inside.

    Args:
        mask: (H, W) or (N, H, W), any dtype; floats must be 0 or 1, because every probability above
            0 would count as inside.
        ndim: 2 for one mask, 3 for a stack.

    Returns:
        bool of the same shape; the input itself if it is bool already.

    Raises:
        ValueError: another number of dimensions, or floats other than 0 and 1.
    """
    mask = np.asarray(mask)
    if mask.ndim != ndim:
        wanted = "(H, W)" if ndim == 2 else "(N, H, W)"
        raise ValueError(f"expected {wanted}, got an array of shape {mask.shape}")
    if mask.dtype == bool:
        return mask
    if mask.dtype.kind == "f" and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            "a mask of floats must be 0 and 1; decide which probabilities are inside: mask > 0.5"
        )
    return mask != 0


def bounding_box(mask: np.ndarray) -> np.ndarray:
    """Return the tight bounding box of a mask.

    Args:
        mask: (H, W), nonzero = inside.

    Returns:
        float64 (4,): x0, y0, x1, y1 in pixels, x1 and y1 exclusive (``x1 - x0`` is the width);
        zeros for an empty mask.
    """
    x0, y0, x1, y1 = _boxes(as_bool(mask, 2)[None])[0]
    return np.array([x0, y0, x1, y1], dtype=np.float64)


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """Return the convex hull of a mask: the smallest convex polygon around its pixel centres.

    Args:
        mask: (H, W).

    Returns:
        bool (H, W), a superset of the mask; empty for an empty mask.
    """
    mask = as_bool(mask, 2)
    result = mask.copy()
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    part = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8)
    if part.size:
        outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        filled = np.zeros_like(part)
        cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), 1)
        result[y0:y1, x0:x1] |= filled > 0
    return result


def bordering(mask_a: np.ndarray, mask_b: np.ndarray) -> bool:
    """Return whether two masks overlap or have pixels that are 4-neighbours.

    Equivalent to dilating one mask by the 3 x 3 cross and testing for a common pixel: diagonal
    contact or a gap of one pixel does not count. Symmetric; False if either mask is empty.

    Args:
        mask_a: (H, W), nonzero = inside.
        mask_b: (H, W), nonzero = inside.

    Raises:
        ValueError: the masks differ in shape or are not 2-D.
    """
    mask_a, mask_b = as_bool(mask_a, 2), as_bool(mask_b, 2)
    if mask_a.shape != mask_b.shape:
        raise ValueError(f"masks differ in shape: {mask_a.shape} and {mask_b.shape}")
    return bool(bordering_pairs(np.stack([mask_a, mask_b]))[0, 1])


def bordering_pairs(masks: np.ndarray, *, gap: int = 0) -> np.ndarray:
    """Compute :func:`bordering` for all pairs of N masks, optionally across a gap.

    Disjoint masks, such as modal masks, are painted into one label map whose neighbouring labels
    are collected; overlapping masks are compared pair by pair where their boxes are close.

    Args:
        masks: (N, H, W), nonzero = inside; they may overlap.
        gap: maximum number of pixels between the two masks, in city-block distance: equivalent to
            dilating one mask ``gap + 1`` times by the 3 x 3 cross and testing for a common pixel.
            Pixels of other masks between them do not matter.

    Returns:
        bool (N, N), symmetric, diagonal False; (0, 0) for no masks.

    Raises:
        ValueError: ``gap`` is negative.
    """
    if gap < 0:
        raise ValueError(f"gap must be at least 0, got {gap}")
    masks = as_bool(masks, 3)
    boxes = _boxes(masks)
    ids = np.zeros(masks.shape[1:], np.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        ids[y0:y1, x0:x1][masks[k, y0:y1, x0:x1]] = k + 1
    if np.count_nonzero(ids) != np.count_nonzero(masks):
        return _bordering_overlapping(masks, boxes, gap + 1)
    return _neighbours(ids, len(masks)) if gap == 0 else _within(ids, masks, boxes, gap + 1)


def _neighbours(ids: np.ndarray, num: int) -> np.ndarray:
    """Return bool (num, num): which instances of a label map are 4-neighbours (0 = background)."""
    table = np.zeros((num + 1, num + 1), dtype=bool)
    for p, q in ((ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])):
        meet = (p != q) & (p > 0) & (q > 0)
        table[p[meet], q[meet]] = True
    return (table | table.T)[1:, 1:]


def _within(ids: np.ndarray, masks: np.ndarray, boxes: np.ndarray, steps: int) -> np.ndarray:
    """Return bool (N, N): which disjoint masks are at a city-block distance <= ``steps``.

    ``ids`` is the label map of the masks, k + 1 for mask k.
    """
    table = np.zeros((len(masks), len(masks) + 1), dtype=bool)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        if x1 > x0:
            around = _grown_box(x0, y0, x1, y1, steps)
            mask = masks[k][around]
            table[k, ids[around][dilated(mask, steps) & ~mask]] = True
    return table[:, 1:]


def _bordering_overlapping(masks: np.ndarray, boxes: np.ndarray, steps: int) -> np.ndarray:
    """Compute :func:`bordering_pairs` for masks that may overlap, for each pair of close boxes."""
    result = np.zeros((len(masks), len(masks)), dtype=bool)
    filled = boxes[:, 2] > boxes[:, 0]
    for i in np.flatnonzero(filled):
        x0, y0, x1, y1 = boxes[i]
        around = _grown_box(x0, y0, x1, y1, steps)
        grown = dilated(masks[i][around], steps)
        top, left = around[0].start, around[1].start
        low = np.maximum(boxes[:, :2], (left, top))
        high = np.minimum(boxes[:, 2:], (left + grown.shape[1], top + grown.shape[0]))
        near = filled & (high > low).all(axis=1)
        for j in np.flatnonzero(near[i + 1 :]) + i + 1:
            (xa, ya), (xb, yb) = low[j], high[j]
            part = grown[ya - top : yb - top, xa - left : xb - left]
            result[i, j] = result[j, i] = bool((part & masks[j, ya:yb, xa:xb]).any())
    return result


def _grown_box(x0: int, y0: int, x1: int, y1: int, steps: int) -> tuple[slice, slice]:
    """Return row and column slices of a box grown by ``steps`` pixels, clipped at 0."""
    return slice(max(y0 - steps, 0), y1 + steps), slice(max(x0 - steps, 0), x1 + steps)


def overlap_areas(
    masks_a: np.ndarray, masks_b: np.ndarray, *, pairs: np.ndarray | None = None
) -> np.ndarray:
    """Compute the pairwise intersection areas of two stacks of masks.

    Args:
        masks_a: (N, H, W), nonzero = inside.
        masks_b: (M, H, W), nonzero = inside.
        pairs: bool (N, M), pairs to compute; the others are 0. Default: all.

    Returns:
        int64 (N, M), in pixels.

    Raises:
        ValueError: the two stacks differ in image size, or ``pairs`` has another shape.
    """
    masks_a, masks_b = as_bool(masks_a, 3), as_bool(masks_b, 3)
    if masks_a.shape[1:] != masks_b.shape[1:]:
        raise ValueError(f"image sizes differ: {masks_a.shape[1:]} and {masks_b.shape[1:]}")
    shape = (len(masks_a), len(masks_b))
    if pairs is not None and np.shape(pairs) != shape:
        raise ValueError(f"pairs must have shape {shape}, got {np.shape(pairs)}")
    boxes_a, boxes_b = _boxes(masks_a)[:, None], _boxes(masks_b)[None]
    low = np.maximum(boxes_a[..., :2], boxes_b[..., :2])
    high = np.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    meet = (high > low).all(axis=-1)
    if pairs is not None:
        meet &= np.asarray(pairs, dtype=bool)
    result = np.zeros(shape, dtype=np.int64)
    for i, j in np.argwhere(meet):
        (xa, ya), (xb, yb) = low[i, j], high[i, j]
        result[i, j] = np.count_nonzero(masks_a[i, ya:yb, xa:xb] & masks_b[j, ya:yb, xa:xb])
    return result


def exclusive(masks: np.ndarray, scores: np.ndarray, *, least: float = 0.5) -> list[int]:
    """Make detection masks disjoint, in place, by non-maximum suppression and by area.

    Detections whose mask IoU with a higher-scoring one exceeds 0.5 are dropped. A pixel in several
    of the remaining masks is assigned to the smallest one, since an occluder mostly lies within the
    outline of a larger instance. Detections that keep too small a fraction of their pixels are
    dropped.

    Args:
        masks: bool (N, H, W); modified.
        scores: (N,), confidence; ties keep their order.
        least: minimum fraction of its pixels that a detection has to keep.

    Returns:
        Indices of the kept detections, ascending. Their masks are disjoint and not empty.
    """
    shared = overlap_areas(masks, masks)
    area = shared.diagonal()
    duplicate = 2 * shared > area[:, None] + area - shared
    better = np.argsort(-np.asarray(scores, float), kind="stable")
    chosen: list[int] = []
    for k in better:
        if area[k] and not duplicate[k, chosen].any():
            chosen.append(int(k))
    free = np.ones(masks.shape[1:], dtype=bool)
    kept = []
    for k in sorted(chosen, key=lambda k: area[k]):  # equal areas: the higher score first
        masks[k] &= free
        if np.count_nonzero(masks[k]) >= max(least * area[k], 1):
            free &= ~masks[k]
            kept.append(k)
    return sorted(kept)


def dilated(mask: np.ndarray, steps: int = 1) -> np.ndarray:
    """Return a mask dilated `steps` times by the 3 x 3 cross.

    Args:
        mask: bool (H, W).
        steps: number of dilations, at least 1.

    Returns:
        bool (H, W).
    """
    if steps > 1:  # a distance transform takes the same time for any number of steps
        outside = (~mask).view(np.uint8)
        return cv2.distanceTransform(outside, cv2.DIST_L1, 3) <= steps
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def resize_nearest(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a label map or masks by nearest-neighbour interpolation with aligned pixel centres.

    This is the rule of Pillow's NEAREST, with which Detectron2 resizes label maps. OpenCV's
    INTER_NEAREST aligns the top left corners instead, which shifts a map by up to half a pixel.

    Args:
        values: (H, W) or (N, H, W), bool or an integer dtype that OpenCV supports.
        size: height and width of the result.

    Returns:
        (height, width) or (N, height, width) of the same dtype; zeros if an image is empty.
    """
    height, width = int(size[0]), int(size[1])
    if values.shape[-2:] == (height, width):
        return values
    if values.ndim == 3:
        stack = np.empty((len(values), height, width), values.dtype)
        for k, one in enumerate(values):
            stack[k] = resize_nearest(one, size)
        return stack
    if not values.size or not height * width:
        return np.zeros((height, width), values.dtype)
    raw = values.view(np.uint8) if values.dtype == bool else values
    resized = cv2.resize(
        np.ascontiguousarray(raw), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return resized.view(bool) if values.dtype == bool else resized


def paint(modal: np.ndarray, *, occlusion: np.ndarray | None = None) -> np.ndarray:
    """Paint modal masks into one map of instance ids.

    Where two masks overlap, the pixel belongs to the occluder; if the two are not ordered (0, -1,
    mutual, or no order given), to the smaller mask, and for equal areas to the lower index. Where
    more than two overlap they are painted from the largest to the smallest, and each takes the
    pixel if it wins against the current owner.

    Args:
        modal: (N, H, W) modal masks, nonzero = inside.
        occlusion: int8 (N, N), 1 where the row occludes the column; optional.

    Returns:
        int32 (H, W): 0 = background, i + 1 = instance i.

    Raises:
        ValueError: ``occlusion`` is not (N, N).
    """
    modal = as_bool(modal, 3)
    n = len(modal)
    area = modal.reshape(n, int(np.prod(modal.shape[1:]))).sum(axis=1)
    rank = np.lexsort((np.arange(n), area))  # smallest area first, then lowest index
    position = np.argsort(rank)
    wins = np.zeros((n, n + 1), dtype=bool)  # wins[k, c]: instance k takes a pixel with id c
    wins[:, 0] = True
    wins[:, 1:] = position[:, None] < position[None, :]
    if occlusion is not None:
        over = np.asarray(occlusion) == 1
        if over.shape != (n, n):
            raise ValueError(f"occlusion must have shape {(n, n)}, got {np.shape(occlusion)}")
        settled = over != over.T
        wins[:, 1:][settled] = over[settled]
    ids = np.zeros(modal.shape[1:], dtype=np.int32)
    boxes = _boxes(modal)
    for k in rank[::-1]:
        x0, y0, x1, y1 = boxes[k]
        held = ids[y0:y1, x0:x1]
        held[modal[k, y0:y1, x0:x1] & wins[k][held]] = k + 1
    return ids


def _boxes(masks: np.ndarray) -> np.ndarray:
    """Return boxes x0, y0, x1, y1 (exclusive) of bool (N, H, W), int64 (N, 4); zeros if empty."""
    boxes = np.zeros((len(masks), 4), dtype=np.int64)
    for k, mask in enumerate(masks):
        rows = np.flatnonzero(mask.any(axis=1))
        if len(rows):
            columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
            boxes[k] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def _check_size(height: Any, width: Any, where: str) -> tuple[int, int]:
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, Integral) or side < 1:
            raise ValueError(
                f"{where}image height and width must be positive integers, "
                f"got {height!r} and {width!r}"
            )
    if int(height) * int(width) > MAX_PIXELS:
        raise ValueError(f"{where}image of {height} x {width} has more than {MAX_PIXELS} pixels")
    return int(height), int(width)


def _rasterised(polygons: list[np.ndarray], height: int, width: int) -> dict[str, Any]:
    """Return the union of checked polygons as compressed RLE of pycocotools."""
    from pycocotools import mask as coco_mask

    flat = [polygon.tolist() for polygon in polygons]
    return coco_mask.merge(coco_mask.frPyObjects(flat, height, width))


def _parse(segmentation: Any, height: int, width: int, where: str) -> np.ndarray | list[np.ndarray]:
    """Check a segmentation; return run lengths (int64) of an RLE, or polygons (float64 (2 P,))."""
    if isinstance(segmentation, Mapping):
        return _runs(segmentation, height, width, where)
    if isinstance(segmentation, (list, tuple, np.ndarray)):
        return _polygons(segmentation, height, width, where)
    raise ValueError(
        f"{where}segmentation must be an RLE dict or a list of polygons, "
        f"got {type(segmentation).__name__}"
    )


def _runs(rle: Mapping[str, Any], height: int, width: int, where: str) -> np.ndarray:
    missing = [key for key in ("size", "counts") if key not in rle]
    if missing:
        raise ValueError(f"{where}RLE lacks {' and '.join(map(repr, missing))}")
    size = rle["size"]
    if not isinstance(size, (list, tuple, np.ndarray)) or len(size) != 2:
        raise ValueError(f"{where}RLE size must be [height, width], got {size!r}")
    if tuple(size) != (height, width):
        raise ValueError(f"{where}RLE size is {list(size)}, expected [{height}, {width}]")
    counts = rle["counts"]
    if isinstance(counts, (str, bytes, bytearray)):
        runs = _parse_counts(counts, height * width, where)
    else:
        runs = _check_counts(counts, where)
    if len(runs) == 0 or runs.min() < 0 or runs.max() > height * width:
        raise ValueError(f"{where}RLE counts are empty, negative or longer than the image")
    total = int(runs.sum())
    if total != height * width:
        raise ValueError(
            f"{where}RLE runs sum to {total}, expected {height} * {width} = {height * width}"
        )
    return runs


def _check_counts(counts: Any, where: str) -> np.ndarray:
    """Check the run lengths of an uncompressed RLE; return int64."""
    if not isinstance(counts, (list, tuple, np.ndarray)):
        raise ValueError(f"{where}RLE counts must be a string or a list, got {counts!r}")
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise ValueError(f"{where}RLE counts must be integers, got {count!r}")
    try:
        return np.array(counts, dtype=np.int64)
    except OverflowError:
        raise ValueError(f"{where}RLE counts hold a number beyond 64 bits") from None


def _parse_counts(counts: str | bytes | bytearray, num_pixels: int, where: str) -> np.ndarray:
    """Decode the run lengths of a compressed RLE, int64.

    Each number is stored in groups of five bits, least significant first, one character
    (48 + group) each; bit 5 marks that more groups follow, bit 4 of the last group is the sign.
    From the fourth number on, the difference to the number two positions before is stored.
    """
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise ValueError(f"{where}RLE counts hold a character that is not ASCII") from None
    code = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if len(code) == 0:
        raise ValueError(f"{where}RLE counts are empty")
    if code.min() < 0 or code.max() > 63 or code[-1] & 32:
        raise ValueError(f"{where}RLE counts are garbage or cut off: {text[:20]!r}...")
    last = np.flatnonzero((code & 32) == 0)
    start = np.concatenate([[0], last[:-1] + 1])
    length = last - start + 1
    # Differences of run lengths below 2**28 (MAX_PIXELS) need at most 6 groups of 5 bits.
    if length.max() > 6 or len(last) > 2 * num_pixels + 1:
        raise ValueError(f"{where}RLE counts hold a number longer than the image")
    shift = 5 * (np.arange(len(code)) - np.repeat(start, length))
    runs = np.add.reduceat((code & 31) << shift, start)
    runs -= np.where(code[last] & 16, np.left_shift(1, 5 * length), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _polygons(segmentation: Any, height: int, width: int, where: str) -> list[np.ndarray]:
    if len(segmentation) == 0:
        raise ValueError(f"{where}segmentation has no polygons")
    if isinstance(segmentation[0], Real):
        segmentation = [segmentation]
    limit = COORDINATE_LIMIT * max(height, width)
    polygons = [
        _check_polygon(polygon, limit, f"{where}polygon {k}")
        for k, polygon in enumerate(segmentation)
    ]
    length = sum(map(_outline_length, polygons))
    if length > MAX_POLYGON_LENGTH:
        raise ValueError(
            f"{where}polygon outline of {length:.0f} pixels exceeds {MAX_POLYGON_LENGTH}"
        )
    return polygons


def _check_polygon(polygon: Any, limit: float, where: str) -> np.ndarray:
    """Check one polygon; return float64 (2 P,), x and y alternating."""
    if not isinstance(polygon, (list, tuple, np.ndarray)):
        raise ValueError(f"{where} must be a list of numbers, got {type(polygon).__name__}")
    try:
        points = np.array(polygon)
    except ValueError:
        raise ValueError(f"{where} must be flat [x, y, x, y, ...], got nested lists") from None
    if points.ndim != 1:
        raise ValueError(f"{where} must be flat [x, y, x, y, ...], got shape {points.shape}")
    if len(points) % 2 or len(points) < 6:
        raise ValueError(
            f"{where} has {len(points)} coordinates, expected an even number of at least 6"
        )
    if points.dtype.kind not in "iuf":
        raise ValueError(f"{where} has a coordinate that is not a number")
    points = points.astype(np.float64)
    if not np.isfinite(points).all():
        raise ValueError(f"{where} has a coordinate that is not finite")
    if np.abs(points).max() > limit:
        raise ValueError(
            f"{where} has the coordinate {points[np.abs(points).argmax()]:g}, "
            f"expected at most {limit:g} away from 0"
        )
    return points


def _outline_length(points: np.ndarray) -> float:
    """Return the length of a closed polygon in Chebyshev distance, in pixels."""
    corners = points.reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, -1, axis=0)).max(axis=1).sum())
