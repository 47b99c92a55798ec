"""Placed objects of a generated scene: pose, depth range, silhouette and layer order.

Objects are placed in groups. A group is one object, or several interlocked ones (a ring around a
pole, two linked rings, an object that passes through an arch, stands in a cup or is held in a
person's arms, or three bars that occlude each other in a cycle). Each group lists its layers from
back to front; an object that encloses its partner has two layers, its front part and the rest, with
the partner between them. Groups are painted in descending order of their ``key``, a depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from occ_order.scenes.shapes import Polygon, Shape
from occ_order.scenes.world import World

WHOLE, FRONT, BACK = 0, 1, 2


@dataclass
class Item:
    """One placed object.

    Attributes:
        kind: index into ``CLASSES``.
        shape: silhouette and appearance.
        px: height in pixels.
        x, y: image position of its foot (column, row); may lie outside the image.
        angle: rotation about its centre, radians, clockwise in the image.
        mirrored: whether left and right are exchanged.
        near, far: depth range.
        standing: whether it stands on the floor.
        tilt: direction (x, y) in the image in which its surface gets nearer; not normalized.
        box: (y0, x0, y1, x1) of the rasters below, in image coordinates; may exceed the image.
        alpha: uint8 coverage of the silhouette.
        front: bool, pixels of its front layer, or None if it has a single layer.
    """

    kind: int
    shape: Shape
    px: float
    x: float
    y: float
    angle: float
    mirrored: bool
    near: float
    far: float
    standing: bool
    tilt: tuple[float, float] = (0.0, 0.0)
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    alpha: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    front: np.ndarray | None = None

    def to_image(self, polygon: Polygon) -> Polygon:
        """Transform shape coordinates to image coordinates."""
        c, s = math.cos(self.angle) * self.px, math.sin(self.angle) * self.px
        x = -polygon[:, 0] if self.mirrored else polygon[:, 0]
        y = polygon[:, 1] + 0.5
        placed = np.empty((len(polygon), 2))
        placed[:, 0] = c * x - s * y + self.x
        placed[:, 1] = s * x + c * y + (self.y - 0.5 * self.px)
        return placed

    @property
    def middle(self) -> float:
        """Mean of the depth range."""
        return 0.5 * (self.near + self.far)

    def layer_mask(self, part: int) -> np.ndarray:
        """Return the mask of one layer (WHOLE, FRONT or BACK) in :attr:`box`, bool."""
        mask = self.alpha >= 128
        if part == WHOLE or self.front is None:
            return mask
        return mask & (self.front if part == FRONT else ~self.front)


@dataclass
class Group:
    """Objects placed together; ``layers`` holds (index into items, part), back to front."""

    items: list[Item]
    layers: list[tuple[int, int]]
    key: float
    threaded: bool = False  # the partner must not touch the border between the layers of item 0


def fill(canvas: np.ndarray, item: Item, polygon: Polygon, value: int) -> None:
    """Fill a polygon given in shape coordinates, anti-aliased, in a raster of the item's box."""
    points = (item.to_image(polygon) - (item.box[1], item.box[0])) * 16.0
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], value, cv2.LINE_AA, 4)


def rasterise(item: Item, height: int, width: int, *, margin: int) -> None:
    """Rasterise the silhouette of an item; sets its box, alpha and front.

    Parts more than ``margin`` pixels outside the image are not rasterised.
    """
    points = item.to_image(item.shape.points)
    low, high = np.floor(points.min(axis=0)) - 2, np.ceil(points.max(axis=0)) + 3
    x0, y0 = max(int(low[0]), -margin), max(int(low[1]), -margin)
    x1, y1 = min(int(high[0]), width + margin), min(int(high[1]), height + margin)
    item.box = (y0, x0, max(y1, y0), max(x1, x0))
    item.alpha = np.zeros((item.box[2] - y0, item.box[3] - x0), dtype=np.uint8)
    if item.alpha.size == 0:
        return
    for polygon in item.shape.outline:
        fill(item.alpha, item, polygon, 255)
    for polygon in item.shape.holes:
        fill(item.alpha, item, polygon, 0)
    if item.shape.front:
        region = np.zeros_like(item.alpha)
        for polygon in item.shape.front:
            fill(region, item, polygon, 255)
        item.front = region >= 128


def window(box: tuple[int, int, int, int], height: int, width: int) -> tuple[tuple, tuple]:
    """Return slices of the part of a box inside the image: (in the image, in the box's raster)."""
    y0, x0, y1, x1 = box
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
    bottom, right = max(bottom, top), max(right, left)
    inside = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
    return (slice(top, bottom), slice(left, right)), inside


class Board:
    """The groups placed so far, and the visibility constraints on new ones."""

    def __init__(self, world: World, *, min_visible: int, max_hidden: float) -> None:
        self.world = world
        self.min_visible = min_visible
        self.max_hidden = max_hidden
        self.groups: list[Group] = []
        self.pile = np.zeros((world.height, world.width), dtype=np.float32)  # table: heap height

    @property
    def items(self) -> list[Item]:
        """All items, group by group, in the order of the instances."""
        return [item for group in self.groups for item in group.items]

    def try_to_place(self, group: Group) -> bool:
        """Add a group if all old and new objects remain visible enough; return whether added."""
        height, width = self.world.height, self.world.width
        self._lift_off_floor(group)
        for item in group.items:
            rasterise(item, height, width, margin=int(0.5 * self.world.base))
            _, inside = window(item.box, height, width)
            share = int((item.alpha[inside] >= 128).sum())
            whole = max(int((item.alpha >= 128).sum()), 1)
            if share < 1.2 * self.min_visible or share < 0.3 * whole:
                return False
        if group.threaded and _touches_seam(group):
            return False
        if self.world.kind == "table" and not self._rest_on_pile(group):
            return False
        self.groups.append(group)
        if not self._all_visible():
            self.groups.pop()
            return False
        self._grow_pile(group)
        return True

    def layers(self) -> Iterator[tuple[int, Item, int]]:
        """Yield (instance index, item, part) from back to front."""
        starts = np.cumsum([0] + [len(group.items) for group in self.groups])
        order = sorted(range(len(self.groups)), key=lambda k: -self.groups[k].key)
        for k in order:
            for local, part in self.groups[k].layers:
                yield int(starts[k]) + local, self.groups[k].items[local], part

    def _lift_off_floor(self, group: Group) -> None:
        """Raise a group that would extend below the floor at its depth."""
        if self.world.camera == 0.0:
            return
        sunk = 0.0
        for item in group.items:
            lowest = item.to_image(item.shape.points)[:, 1].max()
            sunk = max(sunk, float(lowest) - self.world.foot(item.middle))
        for item in group.items:
            item.y -= sunk

    def _all_visible(self) -> bool:
        height, width = self.world.height, self.world.width
        owner = np.zeros((height, width), dtype=np.int16)
        count = len(self.items)
        amodal = np.zeros(count + 1, dtype=np.int64)
        for index, item, part in self.layers():
            seen, inside = window(item.box, height, width)
            mask = item.layer_mask(part)[inside]
            owner[seen][mask] = index + 1
            amodal[index + 1] += int(mask.sum())
        visible = np.bincount(owner.ravel(), minlength=count + 1)[1:]
        enough = visible >= np.maximum(self.min_visible, (1 - self.max_hidden) * amodal[1:])
        return bool(enough.all())

    def _rest_on_pile(self, group: Group) -> bool:
        """Put a group on the objects below it (table); False if the heap would get too high."""
        under = []
        for item in group.items:
            seen, inside = window(item.box, self.world.height, self.world.width)
            under.append(self.pile[seen][item.alpha[inside] >= 128])
        heights = np.sort(np.concatenate(under))
        base = float(heights[int(0.85 * (len(heights) - 1))])
        shift = self.world.back - base - max(item.far for item in group.items)
        for item in group.items:
            item.near, item.far = item.near + shift, item.far + shift
        return min(item.near for item in group.items) > self.world.nearest

    def _grow_pile(self, group: Group) -> None:
        if self.world.kind != "table":
            return
        for item in group.items:
            seen, inside = window(item.box, self.world.height, self.world.width)
            mask = item.alpha[inside] >= 128
            top = np.float32(self.world.back - item.near)
            self.pile[seen][mask] = np.maximum(self.pile[seen][mask], top)


def _touches_seam(group: Group) -> bool:
    """Return whether the partner touches the border between front and back part of item 0."""
    outer, partner = group.items[0], group.items[1]
    assert outer.front is not None
    mask = outer.alpha >= 128
    cross = np.ones((3, 3), dtype=np.uint8)
    front = cv2.dilate((mask & outer.front).astype(np.uint8), cross)
    back = cv2.dilate((mask & ~outer.front).astype(np.uint8), cross)
    seam = (front > 0) & (back > 0)
    y0, x0, _, _ = outer.box
    by0, bx0, by1, bx1 = partner.box
    rows = slice(max(by0 - y0, 0), max(by1 - y0, 0))
    cols = slice(max(bx0 - x0, 0), max(bx1 - x0, 0))
    part = seam[rows, cols]
    top, left = max(y0 - by0, 0), max(x0 - bx0, 0)
    other = partner.alpha[top : top + part.shape[0], left : left + part.shape[1]] >= 100
    return bool((part & other).any())
