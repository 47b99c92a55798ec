"""Sample the layout of a composed photograph: objects, sizes, positions and layer order.

The distributions are chosen to match COCOA (``occ-order stats`` measures them): the occluded
instance of a pair has about a quarter of the side of the image, the occluder is the smaller one in
three of five pairs, and the instance with the lower bottom edge is the occluder in about half.

Sizes are square roots of areas in pixels; x is the column, y the row, which grows downwards. The
*side* of the image is sqrt(H * W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occ_order.scenes.photographs import layers as L
from occ_order.scenes.photographs.background import Background
from occ_order.scenes.photographs.layers import Layer
from occ_order.scenes.photographs.library import Library

# Objects placed together: one; two; a chain, each attached to the one before; a crowd, each
# attached to any before; one attached to an instance of the photograph; one standing on a surface.
_GROUPS = ("single", "pair", "chain", "crowd", "real", "standing")
_GROUP_WEIGHTS = (0.08, 0.22, 0.18, 0.12, 0.1, 0.3)
_COUNTS, _COUNT_WEIGHTS = (2, 3, 4, 5, 6, 7, 8), (0.16, 0.2, 0.2, 0.16, 0.12, 0.09, 0.07)
# Placement of an object relative to its anchor: partial overlap; small and inside of the anchor;
# same depth with a common border, no overlap; a gap of a few pixels; a thin bar in front of its
# middle; each in front of the other in part (mutual occlusion).
_RELATIONS = ("overlap", "within", "beside", "apart", "across", "interlocked")
_RELATION_WEIGHTS = (0.56, 0.1, 0.13, 0.06, 0.05, 0.1)
_SMALLER_IN_FRONT = 0.82  # probability that the occluder is the smaller one, without perspective
_FRONT_ABOVE = 0.74  # probability that the occluder is the upper one, without perspective


@dataclass
class Plan:
    """The layout of one image.

    Attributes:
        layers: the objects from back to front.
        perspective: objects stand on a common ground plane: a lower bottom edge is nearer, so the
            depth order of all layers is known.
    """

    layers: list[Layer]
    perspective: bool


class Planner:
    """Samples the layout of one image; use each object for one `plan` only.

    Args:
        library: cut-outs to sample from.
        background: annotated photograph that they are pasted on.
        rng: random number generator.
        perspective: probability that objects stand on a ground plane.
        repaste: probability that up to four instances of the background become layers of their
            own, in place, so that objects can be placed behind them.
        count: number of objects to paste; None = 2 to 8 at random.
    """

    def __init__(
        self,
        library: Library,
        background: Background,
        rng: np.random.Generator,
        *,
        perspective: float,
        repaste: float,
        count: int | None,
    ) -> None:
        self.library, self.background, self.rng = library, background, rng
        self.height, self.width = background.labels.shape
        self.side = math.sqrt(self.height * self.width)
        self.perspective = bool(rng.random() < perspective)
        self.any_angle = not self.perspective and bool(rng.random() < 0.25)
        self.horizon = float(rng.uniform(-0.2, 0.45)) * self.height
        self.nominal = self.side * float(rng.uniform(0.25, 0.5))
        self.repaste = bool(rng.random() < repaste)
        self.count = int(rng.choice(_COUNTS, p=_COUNT_WEIGHTS)) if count is None else count
        areas = np.bincount(background.labels.ravel(), minlength=len(background.classes) + 1)[1:]
        self.areas = areas / background.labels.size
        self.things = np.flatnonzero(~background.stuff & (self.areas > 0.003) & (self.areas < 0.25))
        self.grounds = np.flatnonzero((self.areas > 0.01) & (self.areas < 0.5))
        self.theme = self._theme()
        self.layers: list[Layer] = []

    def plan(self) -> Plan:
        """Sample the layers; fewer than `count` if too few positions are found."""
        if self.repaste and len(self.things):
            number = min(len(self.things), 1 + int(self.rng.integers(4)))
            chosen = self.rng.choice(self.things, number, replace=False)
            self.layers += [L.from_region(self.background, int(k)) for k in chosen]
        placed = 0
        for _ in range(4 * self.count):
            if placed >= self.count:
                break
            placed += self._group(self.count - placed)
        if self.perspective:
            self.layers.sort(key=lambda layer: layer.base)
        return Plan(self.layers, self.perspective)

    # --- groups

    def _group(self, most: int) -> int:
        """Sample and insert a group of at most ``most`` objects; returns their number."""
        kind = str(self.rng.choice(_GROUPS, p=_GROUP_WEIGHTS))
        if kind == "real" and len(self.things):
            return self._beside_real()
        if kind == "standing" and len(self.grounds) and not self.perspective:
            return self._standing()
        length = {"pair": 2, "chain": 4, "crowd": 6}.get(kind, 1)
        length = min(most, 2 if length == 2 else 1 + int(self.rng.integers(length)))
        category = self.theme if self.theme is not None else self._maybe_category(kind)
        first = self._first(category)
        if not self._scatter(first):
            return 0
        members = [first]
        for _ in range(length - 1):
            last = kind == "chain" or len(members) == 1
            anchor = members[-1] if last else members[int(self.rng.integers(len(members)))]
            layer = self._attached(anchor, category)
            if layer is not None:
                members.append(layer)
        return len(members)

    def _beside_real(self) -> int:
        """Insert an object attached to an instance of the photograph; returns 0 or 1."""
        region = int(self.rng.choice(self.things))
        raised = [layer for layer in self.layers if layer.region == region]
        anchor = raised[0] if raised else L.from_region(self.background, region)
        category = anchor.category if self.rng.random() < 0.6 else None
        return int(self._attached(anchor, category, real=not raised) is not None)

    def _standing(self) -> int:
        """Insert an object that stands on a layer or a region of the background; returns 0 or 1.

        Like a cup on a table: it is mostly above its support in the image and still occludes it.
        The overlap in rows of its lower end with the support is log-uniform: most objects stand
        near the upper edge of the visible surface.
        """
        anchor = self._support()
        ground = anchor if anchor is not None else self._ground()
        layer = self._object(
            self.side * math.exp(float(self.rng.normal(math.log(0.15), 0.5))), None
        )
        columns = np.flatnonzero(ground.mask.any(axis=0))
        column = int(columns[int(self.rng.uniform(0.08, 0.92) * len(columns))])
        rows = np.flatnonzero(ground.mask[:, column])
        shape = layer.mask.shape
        most = min(len(rows), 0.8 * shape[0])
        deep = max(2.0, most * math.exp(float(self.rng.uniform(math.log(0.02), math.log(0.7)))))
        standing_at = np.flatnonzero(layer.mask[shape[0] - L.MARGIN - 1]).mean()
        layer.put(
            ground.x + column + shape[1] / 2 - float(standing_at),
            ground.y + int(rows[0]) + deep + L.MARGIN - shape[0] / 2,
        )
        if not self._inside(layer):
            return 0
        self._insert(layer, anchor, True)
        return 1

    def _support(self) -> Layer | None:
        """Choose a layer as a support, or None for a region of the background."""
        large = [layer for layer in self.layers if layer.area > (0.15 * self.side) ** 2]
        if not large or (len(self.grounds) and self.rng.random() < 0.5):
            return None
        return large[int(self.rng.integers(len(large)))]

    def _ground(self) -> Layer:
        """Choose a region of the background as a support."""
        return L.from_region(self.background, int(self.rng.choice(self.grounds)))

    def _theme(self) -> int | None:
        """Sample the category of all pasted objects of this image; None (in most) = mixed."""
        if self.rng.random() > 0.25:
            return None
        real = [int(c) for c in self.background.classes[self.things]]
        real = [c for c in real if c in self.library.by_category]
        if real and self.rng.random() < 0.7:
            return real[int(self.rng.integers(len(real)))]
        return self._maybe_category("crowd")

    def _maybe_category(self, kind: str) -> int | None:
        """Sample a common category for a group of several objects, in half of them; else None."""
        if kind in ("chain", "crowd", "pair") and self.rng.random() < 0.5:
            known = sorted(self.library.by_category)
            return known[int(self.rng.integers(len(known)))]
        return None

    # --- objects

    def _object(self, size: float, category: int | None, *, thin: bool = False) -> Layer:
        """Sample an object: cut-out, rotation, mirroring, stretch and, rarely, a hole.

        Args:
            size: square root of the area in pixels, limited to 16 .. 0.55 of the image's side.
            category: of the object; None, or one that the library lacks = any.
            thin: a narrow bar at a random angle.
        """
        rng, library = self.rng, self.library
        kind, number = rng.random(), rng.random()
        pool: Sequence[int] | np.ndarray = library.draw_pool(rng, whole=kind < 0.6)
        if category is not None and category in library.by_category:
            pool = library.by_category[category]
        cutout = library.cutout(int(pool[int(number * len(pool))]))
        angle = float(rng.uniform(0, 360)) if self.any_angle else float(rng.normal(0, 5))
        if self.perspective or rng.random() < 0.4:
            angle = 0.0
        stretch = float(np.exp(rng.normal(0, 0.08)))
        if thin:
            stretch, angle = 0.12, float(rng.uniform(0, 180))
        hole = None
        if rng.random() < 0.04:
            hole = (*rng.uniform(0.35, 0.65, 2).tolist(), *rng.uniform(0.1, 0.25, 2).tolist())
        size = min(max(size, 16.0), 0.55 * self.side)
        mirrored = bool(rng.random() < 0.5)
        return L.pose(cutout, size, angle=angle, mirrored=mirrored, stretch=stretch, hole=hole)

    def _first(self, category: int | None) -> Layer:
        """Sample the first object of a group, at a random position."""
        rng = self.rng
        x = float(rng.uniform(0.02, 0.98)) * self.width
        if self.perspective:
            base = float(rng.uniform(0.25, 1.05)) * (self.height - self.horizon) + self.horizon
            layer = self._object(self._size_at(base), category)
            layer.put(x, base - layer.mask.shape[0] / 2)
        else:
            size = self.side * math.exp(float(rng.normal(math.log(0.26), 0.5)))
            layer = self._object(size, category)
            layer.put(x, float(rng.uniform(0.05, 0.95)) * self.height)
        return layer

    def _size_at(self, base: float) -> float:
        """Sample the size of an object whose bottom edge is at row ``base``, by the perspective.

        The size grows linearly from the horizon down, times a log-normal factor for the variety of
        real objects.
        """
        nearness = max(base - self.horizon, 0.1 * self.height) / (self.height - self.horizon)
        return self.nominal * nearness * math.exp(float(self.rng.normal(0, 0.35)))

    def _attached(self, anchor: Layer, category: int | None, *, real: bool = False) -> Layer | None:
        """Sample an object and insert it in a random relation to its anchor.

        Args:
            anchor: layer or region of the background.
            category: of the object; None = any.
            real: the anchor is not a layer but part of the background, so the object is in front.

        Returns:
            The object; None if too little of it is inside of the image.
        """
        rng = self.rng
        relation = str(rng.choice(_RELATIONS, p=_RELATION_WEIGHTS))
        if self.perspective and relation in ("within", "across"):
            relation = "overlap"
        within = relation == "within"
        if real and relation in ("beside", "interlocked"):
            relation = "overlap"
        in_front = real or within or bool(rng.random() < 0.5)
        down = 0.0
        if self.perspective and relation in ("overlap", "interlocked"):
            layer, direction = self._on_the_ground(anchor, category)
            in_front = real or layer.base > anchor.base
            down = layer.centre[1] - anchor.centre[1]
        else:
            ratio = float(rng.uniform(0.2, 0.6)) if within else self._ratio()
            ratio = ratio if in_front else 1.0 / ratio
            layer = self._object(
                math.sqrt(anchor.area) * ratio, category, thin=relation == "across"
            )
            direction = self._direction(anchor, layer, relation, in_front)
        self._meet(layer, anchor, relation, direction, down, in_front)
        if not self._inside(layer):
            return None
        if relation == "across":
            in_front = True
        self._insert(layer, None if real else anchor, in_front)
        return layer

    def _meet(
        self,
        layer: Layer,
        anchor: Layer,
        relation: str,
        direction: tuple[float, float],
        down: float,
        in_front: bool,
    ) -> None:
        """Move a layer so that it has a relation to its anchor.

        Args:
            layer: is moved.
            anchor: stays.
            relation: one of ``_RELATIONS``.
            direction: unit vector (x, y) from anchor to layer.
            down: rows by which the layer is below the middle of the anchor.
            in_front: the layer occludes the anchor.
        """
        rng = self.rng
        if relation == "across":
            x, y = anchor.centre
            layer.put(x + float(rng.normal(0, 3)), y + float(rng.normal(0, 3)))
            return
        if relation == "within":
            x, y = anchor.centre
            spread = rng.uniform(-0.3, 0.3, 2)
            x += float(spread[0]) * anchor.mask.shape[1]
            layer.put(x, y + float(spread[1]) * anchor.mask.shape[0])
            return
        if relation == "apart":
            L.slide(layer, anchor, direction, 0)
            gap = 1 + int(rng.integers(6))
            layer.x += round(gap * direction[0])
            layer.y += round(gap * direction[1])
            return
        if relation == "beside":
            shared = max(4, int(0.03 * min(layer.area, anchor.area)))
            if anchor.region != L.PASTED:  # its outline must stay that of the photograph
                shared = 0
            L.slide(layer, anchor, direction, shared)
            L.share_overlap(layer, anchor, direction)
            layer.beside.append(anchor)
            anchor.beside.append(layer)
            return
        back, front = (anchor, layer) if in_front else (layer, anchor)
        covered = math.exp(float(rng.normal(math.log(0.13), 1.0)))
        covered = min(max(covered, 0.2 if relation == "interlocked" else 0.008), 0.5) * back.area
        if covered > 0.85 * front.area:
            covered = float(rng.uniform(0.1, 0.85)) * front.area
        L.slide(layer, anchor, direction, int(covered), down=down)
        if relation == "interlocked":
            behind, before = (anchor, layer) if in_front else (layer, anchor)
            if behind.over is None:
                L.interlock(behind, before, float(rng.uniform(0, 2 * math.pi)))

    def _ratio(self) -> float:
        """Sample the size of the occluder over that of the occludee."""
        if self.rng.random() < _SMALLER_IN_FRONT:
            return math.exp(float(self.rng.uniform(math.log(0.25), 0.0)))
        return math.exp(float(self.rng.uniform(0.0, math.log(2.3))))

    def _direction(
        self, anchor: Layer, layer: Layer, relation: str, in_front: bool
    ) -> tuple[float, float]:
        """Sample a direction from the anchor to the layer, a unit vector (x, y)."""
        angle = float(self.rng.uniform(0, math.pi))
        above = in_front == bool(self.rng.random() < _FRONT_ABOVE)
        angle = -angle if above else angle
        if relation == "beside":  # left, right, above or below, nearly
            angle = float(self.rng.choice((0.0, math.pi, -math.pi / 2, math.pi / 2)))
            angle += float(self.rng.normal(0, 0.1))
        x, y = anchor.centre
        direction = math.cos(angle), math.sin(angle)
        # Flip the components that would move the object across a border of the image.
        reach = math.sqrt(layer.area) + math.sqrt(anchor.area)
        ahead = x + reach * direction[0], y + reach * direction[1]
        flip_x = not -0.1 * self.width < ahead[0] < 1.1 * self.width
        flip_y = not -0.1 * self.height < ahead[1] < 1.1 * self.height
        return direction[0] * (-1 if flip_x else 1), direction[1] * (-1 if flip_y else 1)

    def _on_the_ground(
        self, anchor: Layer, category: int | None
    ) -> tuple[Layer, tuple[float, float]]:
        """Sample an object that stands a little nearer or farther than its anchor.

        Returns:
            The object, and the direction to move it in: left or right.
        """
        shift = float(self.rng.normal(0, 0.09)) * self.height
        base = min(max(anchor.base + shift, 0.2 * self.height), 1.1 * self.height)
        layer = self._object(self._size_at(base), category)
        layer.put(anchor.centre[0], base - layer.mask.shape[0] / 2)
        return layer, (1.0 if self.rng.random() < 0.5 else -1.0, 0.0)

    def _inside(self, layer: Layer) -> bool:
        """Return whether at least 35 % and 64 pixels of an object are inside of the image."""
        y0, x0 = max(-layer.y, 0), max(-layer.x, 0)
        seen = layer.mask[y0 : max(self.height - layer.y, 0), x0 : max(self.width - layer.x, 0)]
        return int(np.count_nonzero(seen)) >= max(64, 0.35 * layer.area)

    def _scatter(self, layer: Layer) -> bool:
        """Insert the first object of a group where it overlaps little; False if outside."""
        if not self.perspective:
            for _ in range(3):
                if self._crowding(layer) < 0.15:
                    break
                x, y = self.rng.uniform(0.05, 0.95, 2)
                layer.put(float(x) * self.width, float(y) * self.height)
        if not self._inside(layer):
            return False
        met = [other for other in self.layers if L.overlap(layer, other)]
        if met:
            anchor = met[-1] if met[-1].area > layer.area else met[0]
            smaller_in_front = bool(self.rng.random() < _SMALLER_IN_FRONT)
            front = (layer.area < anchor.area) == smaller_in_front
            self._insert(layer, anchor, front)
        else:
            self.layers.insert(int(self.rng.integers(len(self.layers) + 1)), layer)
        return True

    def _crowding(self, layer: Layer) -> float:
        """Return the largest overlap with another layer, as a share of the smaller of the two."""
        shares = [
            L.overlap(layer, other) / max(1, min(layer.area, other.area)) for other in self.layers
        ]
        return max(shares, default=0.0)

    def _insert(self, layer: Layer, anchor: Layer | None, in_front: bool) -> None:
        """Insert a layer directly in front of or behind ``anchor``; in front of all if None."""
        place = len(self.layers)
        if anchor is not None:
            place = self.layers.index(anchor) + int(in_front)
        self.layers.insert(place, layer)
