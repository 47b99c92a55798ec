"""Library of cut-out objects and background photographs for composition.

A library is built from the records that the readers of ``occ_order.formats`` return, so data sets
in all formats can be used. Two kinds of objects are cut out:

* *whole* ones, whose amodal mask is known and equals the modal mask;
* others that are probably unoccluded: they do not touch the image border, are connected, hardly
  touch other things and are not annotated as occluded. Their amodal mask is unknown and never
  annotated, but their occlusion order is known where they are pasted.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from occ_order import masks
from occ_order.files import load_image

LONGEST = 224  # maximum side of a cut-out in pixels; larger ones are downscaled
MARGIN = 3  # pixels around the mask of a cut-out, for feathering
_SMALLEST = 24.0  # minimum square root of a cut-out's area in pixels
_IN_CONTACT = 0.3  # maximum fraction of a probably unoccluded object's outline on other things
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_CHUNK = 16  # photographs that a process reads at a time
_FRAME = 16  # maximum width of a white frame that is detected, in pixels
_LEAST_BACKGROUND = 100  # minimum shorter side of a background photograph in pixels


@dataclass(frozen=True)
class Photo:
    """A background photograph with the annotation of its N instances.

    Attributes:
        file: path of the image.
        source: name of the data set.
        height, width: in pixels.
        frame: width of a white frame around the image in pixels, 0 for none.
        regions: (start, stop) of its label map in the pixel buffer of the library.
        classes: N indices into the categories of the library.
        stuff: N flags: stuff such as wall, floor or sky.
        whole: N flags: the amodal mask is known and equals the modal mask.
        occlusion: [[i, j]]: i occludes j.
        apart: [[i, j]]: neither occludes the other.
        depth: [[i, j, relation, overlap]]: i is closer (1) than j or equal (2), with overlapping
            (1) or distinct (0) depth ranges, -1 unknown.
    """

    file: str
    source: str
    height: int
    width: int
    frame: int
    regions: tuple[int, int]
    classes: list[int]
    stuff: list[bool]
    whole: list[bool]
    occlusion: list[list[int]]
    apart: list[list[int]]
    depth: list[list[int]]


@dataclass(frozen=True)
class Cutout:
    """An object cut out of a photograph.

    Attributes:
        image: uint8 (h, w, 3), RGB, with the object's colours extrapolated outside the mask.
        mask: uint8 (h, w), 255 inside; at least ``MARGIN`` empty pixels at each border (before
            large objects are downscaled).
        category: index into the categories of the library.
        whole: whether the amodal mask is known and equals the modal mask.
        source: name of the data set.
    """

    image: np.ndarray
    mask: np.ndarray
    category: int
    whole: bool
    source: str


class Library:
    """Cut-outs and background photographs, in an order that depends on the records only.

    Attributes:
        categories: names of classes, sorted.
        photos: background photographs.
        by_source: source -> indices of its photographs.
        by_category: category -> indices of its cut-outs.
        pools: (whole ones only, source) -> indices of cut-outs; never empty.
    """

    def __init__(
        self,
        categories: Sequence[str],
        photos: Sequence[Photo],
        table: np.ndarray,
        pixels: np.ndarray,
        sources: Sequence[str],
    ) -> None:
        """Use :meth:`build` or :meth:`load` instead.

        Args:
            categories: names of classes.
            photos: background photographs.
            table: int64 (K, 6): offset into ``pixels``, height, width, category, whole, source.
            pixels: uint8 buffer: images and masks of the cut-outs, then the label maps of the
                photographs (PNG).
            sources: names of data sets.
        """
        self.categories = tuple(categories)
        self.photos = list(photos)
        self._table, self._pixels, self._sources = table, pixels, list(sources)
        self.by_source = _grouped([photo.source for photo in self.photos])
        self.by_category = _grouped(table[:, 3].tolist())
        whole = np.flatnonzero(table[:, 4])
        self.pools = {
            (only, self._sources[key]): np.asarray(rows)[members]
            for only, rows in ((False, np.arange(len(table))), (True, whole))
            for key, members in sorted(_grouped(table[rows, 5].tolist()).items())
        }

    def __len__(self) -> int:
        return len(self._table)

    def draw_pool(self, rng: np.random.Generator, *, whole: bool) -> np.ndarray:
        """Sample a source, weighted by the square root of its size; return its cut-outs."""
        keys = [key for key in self.pools if key[0] == whole] or list(self.pools)
        weights = np.sqrt([len(self.pools[key]) for key in keys])
        return self.pools[keys[int(rng.choice(len(keys), p=weights / weights.sum()))]]

    def cutout(self, index: int) -> Cutout:
        """Return cut-out ``index``; its arrays are views and must not be modified."""
        start, height, width, category, whole, source = (int(v) for v in self._table[index])
        area = height * width
        return Cutout(
            image=self._pixels[start : start + 3 * area].reshape(height, width, 3),
            mask=self._pixels[start + 3 * area : start + 4 * area].reshape(height, width),
            category=category,
            whole=bool(whole),
            source=self._sources[source],
        )

    def regions(self, photo: Photo) -> np.ndarray:
        """Return the label map of a photograph, uint16 (H, W), 0 = none, k + 1 = instance k.

        Raises:
            ValueError: its pixels in the library are damaged.
        """
        coded = np.asarray(self._pixels[slice(*photo.regions)])
        labels = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise ValueError(f"{photo.file}: its label map in the library cannot be decoded")
        return labels.astype(np.uint16, copy=False)

    @classmethod
    def build(
        cls,
        records: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        categories: Sequence[str] | None = None,
        max_cutouts: int = 8000,
        workers: int = 1,
    ) -> Library:
        """Build a library: cut the objects out of all photographs.

        Args:
            records: name of a data set -> its records (``file_name``, ``image_id``, ``height``,
                ``width``, ``annotations``, optional ``occlusion``, ``depth``, ``overlap``). An
                annotation's ``name`` is its class. It is whole where it has an
                ``amodal_segmentation`` that covers the same pixels as its ``segmentation``.
            categories: names of classes; None = all that occur, sorted.
            max_cutouts: maximum number of objects; of more, whole ones are preferred, the others
                are subsampled evenly.
            workers: number of processes; the result does not depend on it.

        Returns:
            The library.

        Raises:
            ValueError: an image cannot be read or has another size than its record, or there are no
                objects or no background photographs.
        """
        names = categories or sorted(
            {_name(a) for part in records.values() for r in part for a in r["annotations"]}
        )
        index = {name: k for k, name in enumerate(names)}
        jobs = []
        for source in sorted(records):
            ordered = sorted(records[source], key=lambda record: str(record["file_name"]))
            # In data sets with annotated order, an object of unknown order may be occluded.
            known = any(np.any(np.asarray(r.get("occlusion", 0)) == 1) for r in ordered)
            jobs += [
                (ordered[k : k + _CHUNK], source, index, known)
                for k in range(0, len(ordered), _CHUNK)
            ]
        photos: list[tuple[Photo, np.ndarray]] = []
        found: list[Cutout] = []
        for some_photos, some_objects in _mapped(_read_chunk, jobs, workers):
            photos += some_photos
            found += some_objects
        if not found:
            raise ValueError(f"no object to cut out in {sorted(records)}")
        if not photos:
            raise ValueError(f"no photograph to paste on in {sorted(records)}")
        return cls(names, *_packed(_chosen(found, max_cutouts), photos))

    def save(self, folder: Path) -> None:
        """Write the library for :meth:`load`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "pixels.npy", self._pixels)
        np.save(folder / "table.npy", self._table)
        rest = {
            "categories": self.categories,
            "sources": self._sources,
            "photos": [vars(photo) for photo in self.photos],
        }
        (folder / "library.json").write_text(json.dumps(rest), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Library:
        """Load a library written by :meth:`save`; processes share its pixels by memory mapping."""
        rest = json.loads((folder / "library.json").read_text(encoding="utf-8"))
        photos = [Photo(**photo) for photo in rest["photos"]]
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        table = np.load(folder / "table.npy")
        return cls(rest["categories"], photos, table, pixels, rest["sources"])

    def digest(self) -> str:
        """Return a hash of the contents, except the pixels of the background photographs."""
        done = hashlib.sha256(np.ascontiguousarray(self._pixels).data)
        done.update(self._table.tobytes())
        for photo in self.photos:
            done.update(json.dumps({**vars(photo), "file": Path(photo.file).name}).encode())
        return done.hexdigest()


def read_image(file: str, height: int, width: int) -> np.ndarray:
    """Return an image as uint8 (H, W, 3) RGB.

    Raises:
        ValueError: the file is not a readable image, or of another size.
    """
    image = load_image(file)
    if image.shape[:2] != (height, width):
        raise ValueError(
            f"{file}: has height and width {image.shape[:2]}, its record says {(height, width)}"
        )
    return image


def label_map(stack: np.ndarray) -> np.ndarray:
    """Paint masks into one label map; the smaller mask wins, for equal areas the first.

    Args:
        stack: bool (N, H, W).

    Returns:
        uint16 (H, W): 0 = none, k + 1 = mask k.
    """
    labels = np.zeros(stack.shape[1:], np.uint16)
    areas = np.array([-cv2.countNonZero(mask.view(np.uint8)) for mask in stack], np.int64)
    for k in np.lexsort((-np.arange(len(stack)), areas)):
        x, y, w, h = cv2.boundingRect(stack[k].view(np.uint8))
        view = np.s_[y : y + h, x : x + w]
        np.copyto(labels[view], np.uint16(k + 1), where=stack[k][view])
    return labels


def continue_colours(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Extrapolate the object's colours a few pixels beyond its mask.

    So a feathered or resized border blends the object with its new background, without remains of
    the old one. Masks are often slightly too large, so the outermost pixel of the object is
    replaced, too.

    Args:
        image: uint8 (h, w, 3).
        mask: uint8 (h, w), 255 inside.

    Returns:
        uint8 (h, w, 3); unchanged inside the mask except for its outermost pixels.
    """
    mask = shrunk(mask)
    inside = cv2.bitwise_and(image, image, mask=mask)
    for size in (3, 7):
        total = cv2.boxFilter(inside, cv2.CV_32F, (size, size), normalize=False)
        weight = cv2.boxFilter(mask, cv2.CV_32F, (size, size), normalize=False) / 255.0
        mean = total / np.maximum(weight, 1.0)[..., None]
        fresh = (mask == 0) & (weight > 0)
        inside = inside.copy()
        inside[fresh] = np.minimum(mean[fresh] + 0.5, 255.0).astype(np.uint8)
        mask = np.where(fresh, 255, mask).astype(np.uint8)
    return inside


def shrunk(mask: np.ndarray) -> np.ndarray:
    """Erode a mask by one pixel, unless that would remove a quarter of it.

    Args:
        mask: uint8 (h, w), 255 inside.
    """
    smaller = cv2.erode(mask, _CROSS)
    return smaller if cv2.countNonZero(smaller) > 0.75 * cv2.countNonZero(mask) else mask


# --- building -------------------------------------------------------------------------------


def _mapped(function: Callable[[Any], Any], jobs: list[Any], workers: int) -> Iterator[Any]:
    """Map a function over jobs, in parallel, and yield the results in order."""
    if workers <= 1:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")  # OpenCV's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(function, jobs)


def _read_chunk(job: tuple[list, str, dict[str, int], bool]) -> tuple[list, list]:
    """Read photographs and objects of several records of one source."""
    records, source, index, known_order = job
    photos, objects = [], []
    for record in records:
        photo, found = _read(record, source, index, known_order)
        photos += photo
        objects += found
    return photos, objects


def _read(
    record: Mapping[str, Any], source: str, index: Mapping[str, int], known_order: bool
) -> tuple[list[tuple[Photo, np.ndarray]], list[Cutout]]:
    """Return the background photograph with its label map, if suitable, and the cut-outs."""
    height, width = record["height"], record["width"]
    annotations = record["annotations"]
    where = [f"{record['file_name']}: annotation {a['id']}" for a in annotations]
    stack = masks.decode_all([a["segmentation"] for a in annotations], height, width, names=where)
    whole = [
        _is_whole(annotation, mask, name)
        for annotation, mask, name in zip(annotations, stack, where, strict=True)
    ]
    stuff = [bool(a.get("is_stuff", 0)) for a in annotations]
    image = read_image(record["file_name"], height, width)
    frame = _white_frame(image)
    occlusion = np.asarray(
        record.get("occlusion", np.full((len(annotations),) * 2, -1, np.int8))
    ).reshape(len(annotations), len(annotations))
    classes = [index[_name(a)] for a in annotations]
    boxes = [_box(mask) for mask in stack]
    labels = label_map(stack)
    objects = []
    for k, box in enumerate(boxes):
        behind = known_order and bool((occlusion[:, k] != 0).any())
        if stuff[k] or not _worth_cutting(stack[k], box, frame, whole[k]):
            continue
        if whole[k] or (not behind and _looks_whole(labels, k, box, stuff, frame)):
            objects.append(_cut(image, stack[k], box, classes[k], whole[k], source))
    if min(height, width) < _LEAST_BACKGROUND or _is_crop(boxes, whole, height, width):
        return [], objects
    depth = np.asarray(record.get("depth", np.full_like(occlusion, -1)))
    overlap = np.asarray(record.get("overlap", np.full_like(occlusion, -1)))
    pairs = np.argwhere((depth == 1) | np.triu(depth == 2, 1))
    photo = Photo(
        file=str(record["file_name"]),
        source=source,
        height=height,
        width=width,
        frame=frame,
        regions=(0, 0),
        classes=classes,
        stuff=stuff,
        whole=[w and not cut for w, cut in zip(whole, _overlapped(stack, labels), strict=True)],
        occlusion=np.argwhere(occlusion == 1).tolist(),
        apart=np.argwhere(np.triu((occlusion == 0) & (occlusion.T == 0), 1)).tolist(),
        depth=[[int(i), int(j), int(depth[i, j]), int(overlap[i, j])] for i, j in pairs],
    )
    return [(photo, labels)], objects


def _box(mask: np.ndarray) -> np.ndarray:
    """Return the box of a bool mask, int64 (4,): x0, y0, x1, y1 (exclusive)."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return np.array([x, y, x + w, y + h])


def _name(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("name") or "object")


def _is_whole(annotation: Mapping[str, Any], modal: np.ndarray, name: str) -> bool:
    if "amodal_segmentation" not in annotation:
        return False
    amodal = masks.decode(annotation["amodal_segmentation"], *modal.shape, name=name)
    return bool(np.array_equal(amodal, modal))


def _overlapped(stack: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return bool (N,): masks that lost pixels to others in the label map."""
    left = np.bincount(labels.ravel(), minlength=len(stack) + 1)[1:]
    return left < np.array([cv2.countNonZero(mask.view(np.uint8)) for mask in stack], dtype=int)


def _white_frame(image: np.ndarray) -> int:
    """Return the width of a white frame around an image in pixels, 0 if there is none."""
    wide = min(_FRAME, min(image.shape[:2]) // 4)
    for k in range(wide):
        sides = (image[k], image[-1 - k], image[:, k], image[:, -1 - k])
        if min(float(side[wide:-wide].mean()) for side in sides) < 235:
            return k + 2 if k >= 3 else 0  # two more: JPEG blurs the inner edge
    return 0


def _worth_cutting(mask: np.ndarray, box: np.ndarray, frame: int, whole: bool) -> bool:
    """Return whether a mask is large enough, connected, compact and inside the image."""
    height, width = mask.shape
    x0, y0, x1, y1 = box
    area = cv2.countNonZero(mask.view(np.uint8))
    if area < _SMALLEST**2 or area < 0.12 * (x1 - x0) * (y1 - y0):
        return False
    edge = 1 if whole else frame + 2
    if min(x0, y0) < edge or x1 > width - edge or y1 > height - edge:
        return False
    count, _, stats, _ = cv2.connectedComponentsWithStats(
        mask[y0:y1, x0:x1].astype(np.uint8), connectivity=8
    )
    return count == 2 or int(stats[1:, cv2.CC_STAT_AREA].max()) >= (0.7 if whole else 0.93) * area


def _looks_whole(
    labels: np.ndarray, k: int, box: np.ndarray, stuff: Sequence[bool], frame: int
) -> bool:
    """Return whether only a small part of instance k's outline borders on other things."""
    x0, y0, x1, y1 = (max(int(v) + d, 0) for v, d in zip(box, (-4, -4, 4, 4), strict=True))
    part = labels[y0:y1, x0:x1]
    own = (part == k + 1).astype(np.uint8)
    if int(own.sum()) < 0.9 * _SMALLEST**2:
        return False
    ring = cv2.dilate(own, np.ones((7, 7), np.uint8)).astype(bool) & (own == 0)
    things = np.concatenate([[False], ~np.asarray(stuff, bool)])[part]
    return int((ring & things).sum()) <= _IN_CONTACT * int(ring.sum())


def _cut(
    image: np.ndarray, mask: np.ndarray, box: np.ndarray, category: int, whole: bool, source: str
) -> Cutout:
    height, width = mask.shape
    x0, y0, x1, y1 = (int(v) for v in box)
    pad = MARGIN + max(0, int(2 * max(x1 - x0, y1 - y0) / LONGEST))
    left, top = max(x0 - pad, 0), max(y0 - pad, 0)
    right, bottom = min(x1 + pad, width), min(y1 + pad, height)
    sides = (pad - (y0 - top), pad - (bottom - y1), pad - (x0 - left), pad - (right - x1))
    crop = cv2.copyMakeBorder(image[top:bottom, left:right], *sides, cv2.BORDER_REPLICATE)
    inside = mask[top:bottom, left:right].astype(np.uint8) * np.uint8(255)
    inside = cv2.copyMakeBorder(inside, *sides, cv2.BORDER_CONSTANT, value=0)
    inside = shrunk(inside)
    scale = LONGEST / max(inside.shape)
    if scale < 1.0:
        size = tuple(max(1, round(side * scale)) for side in inside.shape[::-1])
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
        inside = np.where(inside >= 128, 255, 0).astype(np.uint8)
    crop = continue_colours(crop, inside)
    return Cutout(crop, inside, category, whole, source)


def _is_crop(boxes: Sequence[np.ndarray], whole: Sequence[bool], height: int, width: int) -> bool:
    """Return whether the image is a tight crop of one whole object."""
    if len(boxes) != 1 or not whole[0]:
        return False
    x0, y0, x1, y1 = boxes[0]
    return (x1 - x0) > 0.6 * width and (y1 - y0) > 0.6 * height


def _chosen(found: list[Cutout], most: int) -> list[Cutout]:
    """Select at most ``most`` cut-outs: whole ones first, the others evenly subsampled."""
    whole = [k for k, cutout in enumerate(found) if cutout.whole]
    other = [k for k, cutout in enumerate(found) if not cutout.whole]
    kept = _spread(whole, most)
    kept += _spread(other, most - len(kept))
    return [found[k] for k in sorted(kept)]


def _spread(items: list[int], most: int) -> list[int]:
    if len(items) <= most:
        return items
    return [items[k * len(items) // most] for k in range(most)]


def _packed(
    cutouts: list[Cutout], photos: list[tuple[Photo, np.ndarray]]
) -> tuple[list[Photo], np.ndarray, np.ndarray, list[str]]:
    """Pack cut-outs and label maps; return the constructor's arguments after the categories."""
    sources = sorted({cutout.source for cutout in cutouts})
    parts: list[np.ndarray] = []
    start = 0
    table = np.empty((len(cutouts), 6), np.int64)
    for k, cutout in enumerate(cutouts):
        place = sources.index(cutout.source)
        table[k] = (start, *cutout.mask.shape, cutout.category, cutout.whole, place)
        parts += [cutout.image.ravel(), cutout.mask.ravel()]
        start += 4 * cutout.mask.size
    located = []
    for photo, labels in photos:
        few = labels.max(initial=0) < 256
        coded = cv2.imencode(".png", labels.astype(np.uint8) if few else labels)[1].ravel()
        located.append(replace(photo, regions=(start, start + len(coded))))
        parts.append(coded)
        start += len(coded)
    return located, table, np.concatenate(parts), sources


def _grouped(keys: Sequence[Any]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = {}
    for k, key in enumerate(keys):
        groups.setdefault(key, []).append(k)
    return groups
