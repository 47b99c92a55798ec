"""Layers of a composed photograph: posing of cut-outs, and their overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from occ_order.scenes.photographs.background import Background
from occ_order.scenes.photographs.library import MARGIN, Cutout, continue_colours

PASTED = -1
MOST_ENLARGED = 1.6  # maximum scale factor of a cut-out


@dataclass(eq=False, repr=False)
class Layer:
    """An object in the image, at its final size.

    Attributes:
        image: uint8 (h, w, 3), RGB.
        mask: uint8 (h, w), 255 inside; ``MARGIN`` empty pixels at every border.
        category: index into the library's categories, or ``background.REGION``.
        whole: whether the amodal mask is known.
        x, y: column and row of the upper left corner of the arrays; may lie outside the image.
        region: index of the background region that is pasted again in place, or ``PASTED``.
        over: bool (h, w), part in front of ``above``, while the rest is behind it.
        above: the layer that ``over`` is in front of.
        beside: layers that it touches at the same depth, without occlusion.
    """

    image: np.ndarray
    mask: np.ndarray
    category: int
    whole: bool
    x: int = 0
    y: int = 0
    region: int = PASTED
    over: np.ndarray | None = None
    above: Layer | None = None
    beside: list[Layer] = field(default_factory=list)

    @property
    def area(self) -> int:
        """Area in pixels, including those outside the image."""
        return int(cv2.countNonZero(self.mask))

    @property
    def base(self) -> int:
        """Row below the lowest pixel."""
        return self.y + self.mask.shape[0] - MARGIN

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of the centre of the box."""
        return self.x + self.mask.shape[1] / 2, self.y + self.mask.shape[0] / 2

    def put(self, x: float, y: float) -> None:
        """Move the centre of the box to (x, y)."""
        self.x = round(x - self.mask.shape[1] / 2)
        self.y = round(y - self.mask.shape[0] / 2)


def pose(
    cutout: Cutout,
    size: float,
    *,
    angle: float = 0.0,
    mirrored: bool = False,
    stretch: float = 1.0,
    hole: tuple[float, float, float, float] | None = None,
) -> Layer:
    """Transform a cut-out to a layer.

    Args:
        cutout: the object.
        size: square root of the target area in pixels; objects are enlarged at most by
            ``MOST_ENLARGED``.
        angle: rotation in degrees, counter-clockwise.
        mirrored: whether to flip horizontally.
        stretch: change of the aspect ratio (width / height) at the same area.
        hole: (x, y, a, b) centre and semi-axes of an elliptic hole, relative to the box.
    """
    image, mask = cutout.image, cutout.mask
    if mirrored:
        image, mask = image[:, ::-1], mask[:, ::-1]
    native = math.sqrt(max(cv2.countNonZero(mask), 1))
    scale = min(size / native, MOST_ENLARGED)
    wide, high = scale * math.sqrt(stretch), scale / math.sqrt(stretch)
    shape = max(4, round(mask.shape[1] * wide)), max(4, round(mask.shape[0] * high))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(image), shape, interpolation=way)
    mask = cv2.resize(np.ascontiguousarray(mask), shape, interpolation=way)
    if abs(angle) > 0.5:
        image, mask = _rotated(image, mask, angle)
    if scale > 1.1:  # smooth the jagged outline, which would be a cue to pasted objects
        mask = cv2.GaussianBlur(mask, (0, 0), 0.6 * scale)
    mask = np.where(mask >= 128, 255, 0).astype(np.uint8)
    if hole is not None:
        height, width = mask.shape
        middle = round(hole[0] * width), round(hole[1] * height)
        axes = max(1, round(hole[2] * width)), max(1, round(hole[3] * height))
        cv2.ellipse(mask, middle, axes, 0.0, 0.0, 360.0, 0, -1)
    image, mask = tight(image, mask)
    return Layer(image, mask, cutout.category, cutout.whole)


def _rotated(image: np.ndarray, mask: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    height, width = mask.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = math.ceil(width * cosine + height * sine), math.ceil(width * sine + height * cosine)
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    image = cv2.warpAffine(
        image, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return image, cv2.warpAffine(mask, turn, size, flags=cv2.INTER_LINEAR)


def tight(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop both to the mask's box plus ``MARGIN`` pixels; only the margin for an empty mask."""
    x, y, w, h = cv2.boundingRect(mask)
    view = np.s_[y : y + h, x : x + w]
    sides = (MARGIN,) * 4
    mask = cv2.copyMakeBorder(mask[view], *sides, cv2.BORDER_CONSTANT, value=0)
    if min(x, y, image.shape[1] - x - w, image.shape[0] - y - h) >= MARGIN:
        wider = np.s_[y - MARGIN : y + h + MARGIN, x - MARGIN : x + w + MARGIN]
        return np.ascontiguousarray(image[wider]), mask
    return cv2.copyMakeBorder(image[view], *sides, cv2.BORDER_REPLICATE), mask


def from_region(background: Background, region: int) -> Layer:
    """Return a region of the background as a layer in place."""
    own = (background.labels == region + 1).astype(np.uint8) * np.uint8(255)
    x, y, _, _ = cv2.boundingRect(own)
    image, mask = tight(background.image, own)
    return Layer(
        continue_colours(image, mask),
        mask,
        int(background.classes[region]),
        bool(background.whole[region]),
        x - MARGIN,
        y - MARGIN,
        region,
    )


# --- overlap of two layers ------------------------------------------------------------------


def common(a: Layer, b: Layer) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return slices of the intersection of two layers' arrays in each; None if disjoint."""
    x0, y0 = max(a.x, b.x), max(a.y, b.y)
    x1 = min(a.x + a.mask.shape[1], b.x + b.mask.shape[1])
    y1 = min(a.y + a.mask.shape[0], b.y + b.mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return (
        np.s_[y0 - a.y : y1 - a.y, x0 - a.x : x1 - a.x],
        np.s_[y0 - b.y : y1 - b.y, x0 - b.x : x1 - b.x],
    )


def overlap(a: Layer, b: Layer) -> int:
    """Return the number of common pixels, including those outside the image."""
    views = common(a, b)
    if views is None:
        return 0
    return int(cv2.countNonZero(cv2.bitwise_and(a.mask[views[0]], b.mask[views[1]])))


def slide(
    layer: Layer, anchor: Layer, direction: tuple[float, float], target: int, *, down: float = 0.0
) -> int:
    """Move a layer away from the centre of its anchor until they have ``target`` common pixels.

    Args:
        layer: layer to move.
        anchor: fixed layer.
        direction: (x, y), a unit vector.
        target: number of common pixels; 0 = the first position without any.
        down: rows below the centre of the anchor at which to start.

    Returns:
        The number of common pixels, at most ``target``.
    """
    x, y = anchor.centre[0], anchor.centre[1] + down
    low, high = 0.0, float(sum(layer.mask.shape) + sum(anchor.mask.shape)) / 2 + 2
    while high - low > 0.75:
        middle = (low + high) / 2
        layer.put(x + middle * direction[0], y + middle * direction[1])
        if overlap(layer, anchor) > target:
            low = middle
        else:
            high = middle
    layer.put(x + high * direction[0], y + high * direction[1])
    return overlap(layer, anchor)


def share_overlap(a: Layer, b: Layer, direction: tuple[float, float]) -> None:
    """Split the common pixels of two layers along a line perpendicular to ``direction``.

    Afterwards they touch and do not overlap.

    Args:
        a: keeps the side that ``direction`` points to.
        b: keeps the other.
        direction: (x, y) from b to a.
    """
    views = common(a, b)
    if views is None:
        return
    part_a, part_b = a.mask[views[0]], b.mask[views[1]]
    both = cv2.bitwise_and(part_a, part_b) > 0
    if both.any():
        side = _beyond(both, direction)
        part_a[both & ~side] = 0
        part_b[both & side] = 0


def interlock(behind: Layer, front: Layer, angle: float) -> bool:
    """Make two layers occlude each other, by splitting their overlap along a line.

    On one side of it, ``behind`` is in front of ``front``.

    Returns:
        Whether both parts of the overlap are large enough; otherwise nothing is changed.
    """
    views = common(behind, front)
    if views is None:
        return False
    both = cv2.bitwise_and(behind.mask[views[0]], front.mask[views[1]]) > 0
    side = both & _beyond(both, (math.cos(angle), math.sin(angle))) if both.any() else both
    least = max(40, 0.2 * int(both.sum()))
    if min(int(side.sum()), int((both & ~side).sum())) < least:
        return False
    behind.over = np.zeros(behind.mask.shape, bool)
    behind.over[views[0]] = side
    behind.above = front
    return True


def _beyond(area: np.ndarray, direction: tuple[float, float]) -> np.ndarray:
    """Return bool: pixels beyond the perpendicular to ``direction`` through the area's centre."""
    rows, columns = np.nonzero(area)
    height, width = area.shape
    along = (np.arange(width) - columns.mean()) * direction[0]
    down = (np.arange(height) - rows.mean()) * direction[1]
    return (along[None, :] + down[:, None]) > 0
