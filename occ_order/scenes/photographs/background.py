"""Sampling of background photographs and their segmentation into regions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from occ_order.scenes.photographs.library import Library, Photo, read_image

REGION = -1  # class of regions without a name
_GAP = 6  # maximum gap between touching regions in pixels; annotated masks leave such gaps
_MOST_REGIONS = 24
_COARSE = 96  # longer side of the image that is clustered to unnamed regions


@dataclass
class Background:
    """A cropped and resized photograph with N regions.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        labels: uint8 (H, W), 0 = none, k + 1 = region k.
        classes: (N,), index into the library's categories, or ``REGION``.
        stuff: bool (N,).
        whole: bool (N,), the amodal mask is known and equals the modal mask.
        occlusion: int8 (N, N), -1 where two regions touch and their order is unknown.
        depth, overlap: int8 (N, N), -1 unknown.
        source: name of the data set.
    """

    image: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    stuff: np.ndarray
    whole: np.ndarray
    occlusion: np.ndarray
    depth: np.ndarray
    overlap: np.ndarray
    source: str


def draw_background(library: Library, rng: np.random.Generator, long_side: int) -> Background:
    """Sample a photograph and a crop of it, with its regions.

    Data sets are sampled with the square root of their number of photographs as weight.
    """
    sources = sorted(library.by_source)
    weights = np.sqrt([len(library.by_source[s]) for s in sources])
    source = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
    group = library.by_source[source]
    photo = library.photos[group[int(rng.integers(len(group)))]]
    image = read_image(photo.file, photo.height, photo.width)
    image, labels = _part(image, library.regions(photo), photo, rng, long_side)
    least = max(24, int(0.001 * labels.size))
    kept = _keep(labels, least, rng)
    labels = _renumbered(labels, kept)
    inner = _of_photo(photo, kept)
    return _with_regions(image, labels, inner, photo.source, rng)


def _part(
    image: np.ndarray, labels: np.ndarray, photo: Photo, rng: np.random.Generator, long_side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample a crop inside the photograph's frame, resized and randomly flipped."""
    top = left = photo.frame
    height, width = photo.height - 2 * top, photo.width - 2 * left
    share = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.6, 1.0))
    h, w = max(32, int(height * share)), max(32, int(width * share))
    top += int(rng.integers(height - h + 1)) if height > h else 0
    left += int(rng.integers(width - w + 1)) if width > w else 0
    view = np.s_[top : top + h, left : left + w]
    image, labels = image[view], labels[view]
    scale = long_side / max(image.shape[:2])
    size = max(16, round(image.shape[1] * scale)), max(16, round(image.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=way)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _keep(labels: np.ndarray, least: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of the instances to keep, ascending."""
    areas = np.bincount(labels.ravel())[1:]
    large = np.flatnonzero(areas >= least)
    if len(large) > _MOST_REGIONS:
        large = rng.choice(large, _MOST_REGIONS, replace=False)
    return np.sort(large)


def _renumbered(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    table[kept + 1] = np.arange(1, len(kept) + 1)
    return table[labels]


def _of_photo(photo: Photo, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Return the annotation of the kept instances, with order matrices."""
    n = len(photo.classes)
    occlusion = np.full((n, n), -1, np.int8)
    for i, j in photo.apart:
        occlusion[i, j] = occlusion[j, i] = 0
    for i, j in photo.occlusion:
        occlusion[i, j] = 1
        if occlusion[j, i] == -1:
            occlusion[j, i] = 0
    for i, j in photo.occlusion:  # bidirectional pairs are listed twice
        occlusion[i, j] = 1
    depth, overlap = np.full((n, n), -1, np.int8), np.full((n, n), -1, np.int8)
    for i, j, relation, ranges in photo.depth:
        depth[i, j], depth[j, i] = relation, 2 if relation == 2 else 0
        overlap[i, j] = overlap[j, i] = ranges
    square = np.ix_(kept, kept)
    return {
        "classes": np.asarray(photo.classes, np.int64)[kept],
        "stuff": np.asarray(photo.stuff, bool)[kept],
        "whole": np.asarray(photo.whole, bool)[kept],
        "occlusion": occlusion[square],
        "depth": depth[square],
        "overlap": overlap[square],
    }


def _with_regions(
    image: np.ndarray,
    labels: np.ndarray,
    known: dict[str, np.ndarray],
    source: str,
    rng: np.random.Generator,
) -> Background:
    """Add unnamed regions if a large part of the photograph has no instance."""
    n = len(known["classes"])
    free = labels == 0
    if float(free.mean()) > 0.3 and rng.random() < 0.85:
        labels = labels.copy()
        if rng.random() < 0.25:
            labels[free] = n + 1
        else:
            fresh = unnamed_regions(image, int(rng.integers(2, 7)), rng)
            sizes = np.bincount(fresh[free], minlength=int(fresh.max()) + 1)
            large = np.flatnonzero(sizes[1:] >= 0.02 * labels.size)
            table = np.zeros(int(fresh.max()) + 1, np.uint8)
            table[large + 1] = n + 1 + np.arange(len(large))
            labels[free] = table[fresh[free]]
    total = max(int(labels.max()), n)
    pad = total - n
    square = ((0, pad), (0, pad))
    occlusion = np.pad(known["occlusion"], square, constant_values=-1)
    apart = ~touching(labels, total)
    occlusion[apart & (occlusion == -1)] = 0
    np.fill_diagonal(occlusion, 0)
    return Background(
        image=image,
        labels=labels,
        classes=np.pad(known["classes"], (0, pad), constant_values=REGION),
        stuff=np.pad(known["stuff"], (0, pad), constant_values=True),
        whole=np.pad(known["whole"], (0, pad), constant_values=False),
        occlusion=occlusion,
        depth=np.pad(known["depth"], square, constant_values=-1),
        overlap=np.pad(known["overlap"], square, constant_values=-1),
        source=source,
    )


def unnamed_regions(image: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Segment an image into connected regions of similar colour, such as sky, grass and walls.

    Uses k-means on colour (CIE Lab) and position in a downscaled image, then connected components.

    Args:
        image: uint8 (H, W, 3), RGB.
        count: number of clusters.
        rng: random generator, for the initialization.

    Returns:
        int32 (H, W), labels 1 .. R, including small regions.
    """
    height, width = image.shape[:2]
    scale = _COARSE / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (5, 5), 0)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    rows, columns = np.indices(lab.shape[:2], dtype=np.float32)
    place = np.float32(float(rng.uniform(0.3, 1.2)))
    features = np.dstack([lab * (0.6, 1.5, 1.5), rows * place, columns * place * 0.5])
    points = features.reshape(-1, 5).astype(np.float32)
    means = _first_means(points, count, rng)
    for _ in range(6):
        nearest = _distances(points, means).argmin(axis=0)
        total = np.bincount(nearest, minlength=count)
        for axis in range(5):
            sums = np.bincount(nearest, weights=points[:, axis], minlength=count)
            means[:, axis] = np.where(total > 0, sums / np.maximum(total, 1), means[:, axis])
    nearest = nearest.reshape(lab.shape[:2]).astype(np.uint8)
    nearest = cv2.medianBlur(nearest, 5)
    full = _enlarged(nearest, count, (width, height))
    result, start = np.zeros((height, width), np.int32), 0
    for k in range(count):
        number, parts = cv2.connectedComponents((full == k).astype(np.uint8), connectivity=4)
        result += np.where(parts > 0, parts + start, 0).astype(np.int32)
        start += number - 1
    return result


def _first_means(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sample initial cluster centres as in k-means++, weighted by squared distance."""
    means = points[[int(rng.integers(len(points)))]]
    for _ in range(count - 1):
        weights = _distances(points, means).min(axis=0).astype(np.float64) + 1e-6
        chosen = np.searchsorted(np.cumsum(weights), rng.random() * weights.sum())
        means = np.concatenate([means, points[[min(int(chosen), len(points) - 1)]]])
    return means


def _distances(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    return np.stack([((points - mean) ** 2).sum(axis=1) for mean in means])


def _enlarged(labels: np.ndarray, count: int, size: tuple[int, int]) -> np.ndarray:
    """Upscale labels with smooth borders: the label with the largest interpolated indicator."""
    best = np.zeros(size[::-1], np.uint8)
    strongest = np.zeros(size[::-1], np.uint8)
    for k in range(count):
        there = np.where(labels == k, np.uint8(255), np.uint8(0))
        there = cv2.resize(there, size, interpolation=cv2.INTER_CUBIC)
        wins = there > strongest
        best[wins] = k
        np.maximum(strongest, there, out=strongest)
    return best


def touching(labels: np.ndarray, count: int, gap: int = _GAP) -> np.ndarray:
    """Return bool (count, count): regions within ``gap`` pixels of each other."""
    table = np.zeros((count + 1, count + 1), bool)
    height, width = labels.shape
    for dy, dx in _offsets(gap):
        a = labels[dy:, max(dx, 0) : width + min(dx, 0)]
        b = labels[: height - dy, max(-dx, 0) : width + min(-dx, 0)]
        differ = a != b
        table[a[differ], b[differ]] = True
    return (table | table.T)[1:, 1:]


def _offsets(gap: int) -> list[tuple[int, int]]:
    """Return offsets (down, right) along axes and diagonals, up to ``gap`` pixels long."""
    steps = [(0, 1), (1, 0), (0, gap), (gap, 0)]
    diagonal = max(1, round(gap / 2**0.5))
    return [*steps, (diagonal, diagonal), (diagonal, -diagonal)]
