"""Order of input masks, with ONNX Runtime.

The counterpart of `occ_order.methods.mask_order` with PyTorch. Everything that depends on the
contacts of masks (contacts, boxes, views, geometry) is computed here with NumPy; the rest is a
graph of tensor operations (`occ_order.engine.export_mask_order`) with dynamic image size, number of
instances and number of pairs in contact.

Shapes: N instances, Q = N * N ordered pairs, P pairs in contact, E = 2 P views of them (in both
directions), S side of a view, H x W size of the network's input, h x w cells of `STRIDE` pixels.
Boxes are ``x0, y0, x1, y1``, ends exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from occ_order import masks as mask_tools
from occ_order.lite.graph import Graph
from occ_order.lite.image import check_image, network_image, resized_shape
from occ_order.methods.mask_order.disparity import STRIDE, disparity_map

COARSE = 16
DIVISIBILITY = 32
ROUNDING = 1e-6
"""Probabilities that differ by less than this are considered equal."""

SAMPLES = 2
"""Samples per side of a bin of a view, as in torchvision's roi_align."""

SETTINGS = "occ_order"
"""Key of the settings in the graph's metadata."""


@dataclass(frozen=True)
class Settings:
    """Preprocessing and decision threshold; stored in the graph's metadata.

    Attributes:
        min_size, max_size: minimum and maximum of the sides after resizing, in pixels.
        channels: "RGB" or "BGR".
        mean: padding value of each channel, on the bottom and right, to multiples of
            `DIVISIBILITY`.
        radius: contact distance of two instances, in cells.
        view_sizes: S of the view of the whole pair and of the view of the contact.
        contact_margin, contact_share: see `occ_order.methods.mask_order.views`.
        threshold: threshold of the occlusion probability.
    """

    min_size: int
    max_size: int
    channels: str
    mean: tuple[float, float, float]
    radius: int
    view_sizes: tuple[int, int]
    contact_margin: float
    contact_share: float
    threshold: float


class MaskOrderer:
    """Predict the order of input masks, for images of any size.

    Args:
        graph: graph of a MaskOrderNet, exported by `occ_order.engine.export`.

    Raises:
        ValueError: unsupported graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "orders masks")
        self._graph = graph

    def __call__(self, image: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
        """Predict the order of the instances of one image.

        Args:
            image: uint8 (h, w, 3), RGB.
            masks: bool (N, h, w), modal.

        Returns:
            "occlusion" int8 (N, N), "occlusion_probability" float32 (N, N), "depth" int8 (N, N),
            "depth_probability" float32 (N, N, 3) [closer, farther, equal], "disparity" float32
            (h, w), larger = nearer, which depends on the image only.

        Raises:
            ValueError: another dtype or shape.
        """
        image, masks = check_image(image), mask_tools.as_bool(masks, 3)
        if masks.shape[1:] != image.shape[:2]:
            size = f"(N, {image.shape[0]}, {image.shape[1]})"
            raise ValueError(f"masks must be {size} as the image is, got {masks.shape}")
        own, shape = self.settings, image.shape[:2]
        # The graph has no axes of length 0: without instances, an empty mask stands for one.
        given, order = prepared(image, masks if len(masks) else np.zeros((1, *shape), bool), own)
        occlusion, depth, log_depth = self._graph.run(("occlusion", "depth", "log_depth"), given)
        rank = np.argsort(order)[: len(masks)]
        both = np.ix_(rank, rank)
        inner = resized_shape(shape, own.min_size, own.max_size)
        return {
            **matrices(occlusion[both], depth[both], own.threshold),
            "disparity": disparity_map(log_depth[0, 0], inner, shape),
        }


def matrices(occlusion: np.ndarray, depth: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Decode logits like `occ_order.methods.common.order_matrices.order_matrices`.

    Args:
        occlusion: float32 (N, N), logit of "row occludes column".
        depth: float32 (N, N, 3), logits of closer, farther, equal.
        threshold: threshold of the occlusion probability.
    """
    other = ~np.eye(len(occlusion), dtype=bool)
    over = _sigmoid(occlusion) * other
    shifted = np.exp(depth - depth.max(axis=2, keepdims=True, initial=-np.inf))
    chance = shifted / shifted.sum(axis=2, keepdims=True) * other[..., None]
    best = chance.argmax(axis=2)
    best[np.abs(chance[..., 0] - chance[..., 1]) < ROUNDING] = 2
    relation = np.where(best == 2, 2, 1 - best)
    return {
        "occlusion": (over > threshold).astype(np.int8),
        "occlusion_probability": over.astype(np.float32),
        "depth": np.where(other, relation, -1).astype(np.int8),
        "depth_probability": chance.astype(np.float32),
    }


def _sigmoid(values: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, small) / (1 + small)


# --- inputs of the graph


def prepared(
    image: np.ndarray, masks: np.ndarray, settings: Settings
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Compute the inputs of the graph, and the order of the instances in them.

    The instances are sorted canonically, so that results do not depend on their order in the input,
    bit for bit.

    Args:
        image: uint8 (h, w, 3), RGB.
        masks: bool (N, h, w), N at least 1.
        settings: settings of the graph.

    Returns:
        Name -> array; int64 (N,), index of the instance at each position.
    """
    size = resized_shape(image.shape[:2], settings.min_size, settings.max_size)
    moved = mask_tools.resize_nearest(masks, size)
    padding = [(0, -side % DIVISIBILITY) for side in size]
    moved = np.pad(moved, [(0, 0), *padding])
    cover = covered(moved, STRIDE)
    order = canonical_order(cover)
    moved, cover = moved[order], cover[order]
    boxes = np.array([mask_tools.bounding_box(mask) for mask in moved], np.float32).reshape(-1, 4)
    area = cover.sum(axis=(1, 2))
    cells, weight, offsets, length = find_contacts(cover, settings.radius)
    near = np.argwhere(np.triu(length + length.T > 0, 1))
    squares = pair_squares(boxes, contact_boxes(cells, offsets, near, cover.shape), near, settings)
    both_ways = np.concatenate([near, near[:, ::-1]]) if len(near) else np.zeros((1, 2), int)
    shown = network_image(
        image, size, channels=settings.channels, mean=settings.mean, divisibility=DIVISIBILITY
    )
    given = {
        "image": shown,
        "cues": mask_cues(moved),
        "cover": cover,
        "lowest": lowest_cells(cover),
        "meeting": meeting_weights(cells, weight, offsets, length, both_ways, cover.shape),
        "place": both_ways @ np.array([len(masks), 1]),
        "instances": instance_geometry(boxes, area * STRIDE**2, size),
        "pairs": pair_geometry(boxes / STRIDE, area, length),
    }
    rival = rivals(cover)
    fills = ((covered(moved, 2), 2), (moved, 1))
    for name, (maps, stride), square, side in zip(
        ("whole", "contact"), fills, squares, settings.view_sizes, strict=True
    ):
        given[name] = mask_views(maps, stride, near, square, side, rival)
    return given, order


def covered(masks: np.ndarray, stride: int) -> np.ndarray:
    """Return the fraction of each cell that a mask covers, float32 (N, H / stride, W / stride)."""
    ones = masks.view(np.uint8)  # sums of up to 8 x 8 fit; a sum over two axes is far slower
    rows = sum(ones[:, k::stride] for k in range(1, stride)) + ones[:, ::stride]
    cells = sum(rows[:, :, k::stride] for k in range(1, stride)) + rows[:, :, ::stride]
    return cells.astype(np.float32) / stride**2


def canonical_order(cover: np.ndarray) -> np.ndarray:
    """Return int64 (N,), indices of the instances sorted by area, then by position."""
    cells = cover.reshape(len(cover), -1).astype(np.float64)
    return np.lexsort(((cells * np.arange(cells.shape[1])).sum(axis=1), cells.sum(axis=1)))


def find_contacts(
    cover: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the cells of each instance within `radius` cells of each other one.

    Args:
        cover: float32 (N, h, w).
        radius: distance in rows and columns.

    Returns:
        int64 (T,) cells (y * w + x) and float32 (T,) fractions covered by the first instance,
        sorted by pair; int64 (Q + 1,) offsets of the pairs; float32 (N, N) sums of the weights of
        each pair.
    """
    number = len(cover)
    filled = cover > 0
    window = (1, 2 * radius + 1, 2 * radius + 1)
    near = ndimage.maximum_filter(filled.view(np.uint8), window, mode="constant") > 0
    filled, near = filled.reshape(number, -1), near.reshape(number, -1)
    used = np.flatnonzero((near.sum(axis=0) > 1) & filled.any(axis=0))
    filled, near = filled[:, used], near[:, used]
    cells, weights, counts = [], [], np.zeros((number, number), np.int64)
    for row in range(number):
        own = np.flatnonzero(filled[row])
        col, at = np.nonzero(near[:, own])
        col, at = col[col != row], own[at[col != row]]
        cells.append(used[at])
        weights.append(cover[row].reshape(-1)[used[at]])
        counts[row] = np.bincount(col, minlength=number)
    offsets = np.concatenate([[0], counts.ravel().cumsum()])
    weight = np.concatenate(weights).astype(np.float32)
    pair = np.repeat(np.arange(number * number), counts.ravel())
    length = np.bincount(pair, weight, minlength=number * number).astype(np.float32)
    return np.concatenate(cells), weight, offsets, length.reshape(number, number)


def contact_boxes(
    cells: np.ndarray, offsets: np.ndarray, near: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the bounding boxes of the contact cells of pairs, float32 (P, 4), in pixels."""
    number, _, width = shape
    boxes = np.zeros((len(near), 4), np.float32)
    for box, (i, j) in zip(boxes, near, strict=True):
        pairs = i * number + j, j * number + i
        at = np.concatenate([cells[offsets[pair] : offsets[pair + 1]] for pair in pairs])
        y, x = np.divmod(at, width)
        box[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes * STRIDE


def pair_squares(
    boxes: np.ndarray, contact: np.ndarray, near: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the squares of the two views of each pair in contact, float32 (P, 4) each.

    See `occ_order.methods.mask_order.views.pair_squares`.
    """
    first, second = boxes[near[:, 0]], boxes[near[:, 1]]
    low = np.minimum(first[:, :2], second[:, :2]).astype(np.float64)
    high = np.maximum(first[:, 2:], second[:, 2:]).astype(np.float64)
    sides = high - low
    side = np.maximum(np.sqrt(2.0 * sides.prod(axis=1)), 1.1 * sides.max(axis=1, initial=0))
    side = np.maximum(side.astype(np.float32), 1)
    centre = ((low + high) / 2).astype(np.float32)
    closer = settings.contact_margin * (contact[:, 2:] - contact[:, :2]).max(axis=1, initial=0)
    closer = np.minimum(np.maximum(closer, np.float32(settings.contact_share) * side), side)
    return _corners(centre, side), _corners((contact[:, :2] + contact[:, 2:]) / 2, closer)


def _corners(centre: np.ndarray, side: np.ndarray) -> np.ndarray:
    half = side[:, None] / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def sampling_weights(
    start: np.ndarray, side: np.ndarray, size: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interpolation weights of views along one axis of a map.

    Averages of `SAMPLES` points of bilinear interpolation, as in torchvision's roi_align with
    ``aligned=True``: 0 more than one element outside the map.

    Args:
        start: float32 (P,), starts of the views, in elements of the map.
        side: float32 (P,), sides of the views, in elements of the map.
        size: number of bins of a view.
        length: number of elements of the map.

    Returns:
        int32 (P, size, 2 `SAMPLES`), indices of elements of the map, and float32 of the same shape,
        their weights.
    """
    step = (side / np.float32(size))[:, None]
    points = np.arange(size * SAMPLES, dtype=np.float32)
    element, sample = np.divmod(points, SAMPLES)
    at = start[:, None] + element * step + (sample + np.float32(0.5)) * step / SAMPLES
    inside = (at >= -1) & (at <= length)
    at = np.clip(at, 0, None)
    low = np.minimum(at.astype(np.int32), length - 1)
    high = np.minimum(low + 1, length - 1)
    part = np.where(low >= length - 1, 0, at - low).astype(np.float32)
    weights = np.stack([(1 - part) * inside, part * inside], axis=2).astype(np.float32) / SAMPLES
    shape = (len(start), size, 2 * SAMPLES)
    return np.stack([low, high], axis=2).reshape(shape), weights.reshape(shape)


def rivals(cover: np.ndarray) -> np.ndarray:
    """Find pairs of duplicate detections, bool (N, N).

    See `occ_order.methods.mask_order.views.rivals` for the definition.
    """
    filled = (cover > 0.5).reshape(len(cover), -1).astype(np.float32)
    shared = filled @ filled.T
    area = shared.diagonal()
    return (shared > 0.5 * np.minimum(area[:, None], area)) & ~np.eye(len(cover), dtype=bool)


def mask_views(
    maps: np.ndarray,
    stride: int,
    near: np.ndarray,
    squares: np.ndarray,
    size: int,
    rival: np.ndarray,
) -> np.ndarray:
    """Crop the masks of pairs to views, in both directions.

    Args:
        maps: float32 or bool (N, H / stride, W / stride), fraction of each element that masks
            cover.
        stride: side of an element in pixels.
        near: int64 (P, 2).
        squares: float32 (P, 4), pixels.
        size: S.
        rival: bool (N, N), see :func:`rivals`.

    Returns:
        float32 (2 P, 4, S, S): the first instance, the second, the union of all others except
        rivals of either, and the area of the image; one view of zeros without pairs in contact.
    """
    if len(near) == 0:
        return np.zeros((1, 4, size, size), np.float32)
    everything = maps.sum(axis=0, dtype=np.float32)
    x0, y0, x1, y1 = (squares / np.float32(stride)).T
    rows, row_weights = sampling_weights(y0 - np.float32(0.5), y1 - y0, size, maps.shape[1])
    columns, column_weights = sampling_weights(x0 - np.float32(0.5), x1 - x0, size, maps.shape[2])
    shown = np.empty((2, len(near), 4, size, size), np.float32)
    shown[:, :, 3] = row_weights.sum(axis=2)[:, :, None] * column_weights.sum(axis=2)[:, None]
    top, bottom = rows.min(axis=(1, 2)), rows.max(axis=(1, 2)) + 1
    left, right = columns.min(axis=(1, 2)), columns.max(axis=(1, 2)) + 1
    rows -= top[:, None, None]
    columns -= left[:, None, None]
    left_out = rival[near[:, 0]] | rival[near[:, 1]]
    left_out[np.arange(len(near))[:, None], near] = False
    rivalled = left_out.any(axis=1)
    # Sparse: for such small dense products, threads take longer than the sums.
    from_rows = _Interpolation(size, maps.shape[1])
    from_columns = _Interpolation(size, maps.shape[2])
    for k, (i, j) in enumerate(near):
        window = slice(top[k], bottom[k]), slice(left[k], right[k])  # the area of the view
        every = everything[window]
        if rivalled[k]:
            every = every - maps[left_out[k], window[0], window[1]].sum(axis=0, dtype=np.float32)
        seen = from_rows.room(3 * every.shape[1])
        np.concatenate([maps[i][window], maps[j][window], every], axis=1, out=seen[: len(every)])
        seen = from_rows(rows[k], row_weights[k], seen).reshape(3 * size, -1).T
        turned = from_columns.room(3 * size)
        turned[: len(seen)] = seen
        seen = from_columns(columns[k], column_weights[k], turned)
        shown[0, k, :3] = seen.reshape(size, size, 3).T
    first, second, others = shown[0, :, 0], shown[0, :, 1], shown[0, :, 2]
    others -= first
    others -= second
    np.clip(others, 0, 1, out=others)
    shown[1, :, 0], shown[1, :, 1], shown[1, :, 2] = second, first, others
    return shown.reshape(-1, 4, size, size)


class _Interpolation:
    """Weighted sums of rows of maps, by one sparse matrix whose entries are replaced.

    To construct a matrix for each view takes longer than to multiply by it.

    Args:
        size: S.
        length: maximum number of rows of a map.
    """

    def __init__(self, size: int, length: int) -> None:
        self._length = length
        ends = np.arange(0, 2 * SAMPLES * size + 1, 2 * SAMPLES, dtype=np.int32)
        empty = np.zeros(ends[-1], np.float32), np.zeros(ends[-1], np.int32)
        self._matrix = sparse.csr_array((*empty, ends), shape=(size, length))

    def room(self, width: int) -> np.ndarray:
        """Return a map for :meth:`__call__`, float32 (length, width), to be filled from the top.

        Rows that no place refers to may stay unfilled: they are not read.
        """
        return np.empty((self._length, width), np.float32)

    def __call__(self, places: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return float32 (S, width), sums of rows by places and weights (S, 2 `SAMPLES`)."""
        self._matrix.indices, self._matrix.data = places.ravel(), weights.ravel()
        return self._matrix @ rows


def mask_cues(masks: np.ndarray) -> np.ndarray:
    """Compute `occ_order.methods.common.order_map.mask_cues` with NumPy, float32 (1, 4, H, W)."""
    cues = np.zeros((1, 4, *masks.shape[1:]), np.float32)
    cues[0, 0], cues[0, 1] = masks.any(axis=0), masks.sum(axis=0) > 1
    cues[0, 2, :, :-1] = (masks[:, :, :-1] != masks[:, :, 1:]).any(axis=0)
    cues[0, 3, :-1] = (masks[:, :-1] != masks[:, 1:]).any(axis=0)
    return cues


def lowest_cells(cover: np.ndarray) -> np.ndarray:
    """Return the lowest 15 % of each instance, float32 (N, h, w)."""
    rows = np.arange(cover.shape[1], dtype=np.float32)
    filled = cover.max(axis=2) > 0
    bottom = np.where(filled, rows, -1).max(axis=1, keepdims=True)
    top = np.where(filled, rows, cover.shape[1]).min(axis=1, keepdims=True)
    lowest = rows >= bottom - np.float32(0.15) * (bottom - top)
    return (cover * lowest[:, :, None]).astype(np.float32)


def meeting_weights(
    cells: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    length: np.ndarray,
    pairs: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return the averaging weights of cells over the contact of each pair, float32 (E, h * w)."""
    table = np.zeros((len(pairs), shape[1] * shape[2]), np.float32)
    for row, (i, j) in zip(table, pairs, strict=True):
        part = slice(*offsets[i * shape[0] + j :][:2])
        row[cells[part]] = weight[part] / max(length[i, j], np.float32(1e-6))
    return table


def instance_geometry(boxes: np.ndarray, area: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Compute float32 (N, 7), see `occ_order.methods.common.order_relation`."""
    x0, y0, x1, y1 = boxes.T
    height, width = np.float32(size[0]), np.float32(size[1])
    columns = [
        (x0 + x1) / (2 * width) - 0.5,
        (y0 + y1) / (2 * height) - 0.5,
        (x1 - x0) / width,
        (y1 - y0) / height,
        y1 / height - 0.5,
        np.sqrt(area / (height * width)),
        area / np.maximum((x1 - x0) * (y1 - y0), 1),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def pair_geometry(boxes: np.ndarray, area: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Compute float32 (Q, 14), see `occ_order.methods.common.order_relation`."""
    first, second = boxes[:, None], boxes[None]
    low = np.minimum(first[..., :2], second[..., :2])
    high = np.maximum(first[..., 2:], second[..., 2:])
    sides = np.maximum(high - low, 1)
    apart = (first - second) / np.concatenate([sides, sides], axis=2)
    common = np.minimum(first, second)[..., 2:] - np.maximum(first, second)[..., :2]
    common = np.clip(common, 0, None).prod(axis=2)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)
    size = np.sqrt(np.maximum(area, 0.25))
    columns = [
        apart,
        (apart[..., :2] + apart[..., 2:]) / 2,
        apart[..., 2:] - apart[..., :2],
        np.log(size[:, None] / size[None])[..., None],
        (common / np.minimum(areas[:, None], areas[None]))[..., None],
        (common / sides.prod(axis=2))[..., None],
        (length > 0)[..., None],
        (length / size[:, None])[..., None],
        (length.T / size[None])[..., None],
    ]
    return np.concatenate(columns, axis=2).reshape(-1, 14).astype(np.float32)
