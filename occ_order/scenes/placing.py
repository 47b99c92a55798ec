"""Random placement of the objects of a generated scene, single and interlocked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from occ_order.scenes import shapes
from occ_order.scenes.layout import BACK, FRONT, WHOLE, Board, Group, Item
from occ_order.scenes.shapes import CLASSES, Shape
from occ_order.scenes.world import World

# Height of an object relative to World.base at the mean depth of the scene. Classes differ less in
# size than real objects, and sizes are random, so that size is a weak cue to class and depth.
_SIZES = {
    "ball": 0.32, "box": 0.36, "star": 0.38, "car": 0.30, "person": 0.60, "tree": 0.70,
    "pole": 0.80, "ring": 0.38, "arch": 0.55, "cup": 0.34, "leaf": 0.45, "book": 0.42,
}  # fmt: skip
_WEIGHTS = {
    "ring": 0.25,
    "person": 0.55,
    "arch": 0.85,
    "cup": 0.85,
    "pole": 0.85,
}  # smaller than 1: these classes occur in interlocked pairs, too
_TUMBLING = ("star", "leaf", "ring", "ball", "book", "cup")  # seen at any angle when not standing
_FIXED = [i for i, name in enumerate(CLASSES) if name in ("car", "person", "tree", "pole", "arch")]


class Placer:
    """Samples random groups of objects for a world."""

    def __init__(
        self, rng: np.random.Generator, board: Board, kinds: tuple[int, ...], crowd: int
    ) -> None:
        self.rng = rng
        self.board = board
        self.world = board.world
        self.kinds = kinds
        weights = np.array([_WEIGHTS.get(CLASSES[k], 1.0) for k in kinds])
        self.weights = weights / weights.sum()
        self.scale = min(max((8.5 / max(crowd, 1)) ** 0.4, 0.5), 1.4)

    def single(self) -> Group:
        """Sample one object: anywhere, or near, on top of, or beside an existing object."""
        rng, items = self.rng, self.board.items
        kind = int(rng.choice(self.kinds, p=self.weights))
        anchor = items[int(rng.integers(len(items)))] if items else None
        relation = rng.choice(["free", "near", "beside", "upon"], p=[0.33, 0.52, 0.05, 0.1])
        if anchor is None:
            relation = "free"
        depth = self._depth(anchor, str(relation))
        item = self._item(kind, depth)
        if anchor is None:  # not at the border: other objects are placed around the first one
            item.x = self.world.width * rng.uniform(0.2, 0.8)
        if relation == "beside" and anchor is not None:
            self._put_beside(item, anchor)
        elif relation == "upon" and anchor is not None and self.world.kind != "table":
            item.x = anchor.x + rng.uniform(-0.25, 0.25) * anchor.shape.width * anchor.px
            item.y = anchor.y - rng.uniform(0.8, 1.0) * anchor.px
            item.standing = False
        elif relation == "near" and anchor is not None:
            self._put_near(item, anchor)
        return Group([item], [(0, WHOLE)], self._key([item]))

    def pair(self) -> Group:
        """Sample two interlocked objects of the allowed classes; a single one if impossible."""
        builders = [build for build, needed, some in self._recipes() if self._has(needed, some)]
        if not builders:
            return self.single()
        group = builders[int(self.rng.integers(len(builders)))]()
        group.key = self._key(group.items)
        return group

    def circle(self) -> Group:
        """Sample three bars in a cycle: A occludes B, B occludes C, C occludes A."""
        rng, world = self.rng, self.world
        if CLASSES.index("pole") not in self.kinds:
            return self.single()
        depth = self._depth(None, "free")
        length = min(self._px("pole", depth), 0.7 * min(world.height, world.width))
        centre = (world.width * rng.uniform(0.3, 0.7), world.height * rng.uniform(0.3, 0.7))
        turns = math.tau * rng.random() + np.arange(4) * math.tau / 3
        corners = [
            (centre[0] + 0.4 * length * math.cos(t), centre[1] + 0.4 * length * math.sin(t))
            for t in turns
        ]
        half = max(rng.uniform(0.03, 0.05), 1.3 / length)
        bars = [
            self._bar(a, b, depth, length, half, split=k == 0)
            for k, (a, b) in enumerate(itertools.pairwise(corners))
        ]
        return Group(bars, [(0, BACK), (2, WHOLE), (1, WHOLE), (0, FRONT)], self._key(bars))

    def _bar(self, a, b, depth: float, length: float, half: float, *, split: bool) -> Item:
        """Build a bar through a and b; if split, its half at b is the front part."""
        shape = Shape(
            (shapes.limb((0, -half), (0, half - 1), 2 * half),),
            front=(shapes.rectangle(-1, -2, 1, -0.5),) if split else (),
            roundness=half,
            thickness=0.2,
            gloss=0.3,
        )
        item = self._item(CLASSES.index("pole"), depth, shape=shape, px=length)
        item.x, item.y = 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]) + 0.5 * length
        item.angle = math.atan2(b[0] - a[0], a[1] - b[1])
        item.tilt, item.standing, item.mirrored = (b[0] - a[0], b[1] - a[1]), False, False
        return item

    # --- one object -------------------------------------------------------------------------

    def _depth(self, anchor: Item | None, relation: str) -> float:
        rng, world = self.rng, self.world
        if world.kind == "table":
            return 0.5 * (world.nearest + world.back)
        if anchor is None or relation == "free":
            return float(world.nearest * (world.farthest / world.nearest) ** rng.random() ** 1.25)
        if relation == "beside":
            return anchor.middle
        spread = 0.04 if relation == "upon" else 0.3
        depth = anchor.middle * math.exp(rng.normal(0.0, spread))
        return min(max(depth, world.nearest * 0.9), world.farthest * 1.1)

    def _px(self, name: str, depth: float) -> float:
        world = self.world
        centre = math.sqrt(world.nearest * world.farthest)
        # exponent < 1: distant objects are larger than in perspective, so that area is a weak cue
        closeness = 1.0 if world.kind == "table" else (centre / depth) ** 0.75
        px = world.base * _SIZES[name] * self.scale * math.exp(self.rng.normal(0.0, 0.38))
        return min(max(px * closeness, 9.0, 0.07 * world.base), 1.15 * world.height)

    def _item(
        self, kind: int, depth: float, *, shape: Shape | None = None, px: float = 0.0
    ) -> Item:
        """Sample an object of class `kind` at a random position, with its depth range."""
        rng, world = self.rng, self.world
        name = CLASSES[kind]
        px = px or self._px(name, depth)
        shape = shape or shapes.make(name, rng, px)
        extent = 0.42 * shape.thickness * px * depth / world.base * math.exp(rng.normal(0.0, 0.25))
        if world.kind == "table":  # lying flat
            extent = min(0.65 * extent * math.exp(rng.normal(0.0, 0.4)), 1.6)
        extent = min(max(extent, 0.01 * depth), 0.9 * depth)
        lifted = rng.random() < (0.07 if kind in _FIXED else 0.2)
        standing = world.kind in ("ground", "room") and not lifted
        x = world.width * rng.uniform(-0.03, 1.03)
        if standing:
            y = world.foot(depth)
        elif world.kind in ("ground", "room"):
            y = world.foot(depth) - world.base * rng.uniform(0.08, 0.5)
        else:
            y = world.height * rng.uniform(0.0, 1.0) + 0.5 * px
        angle = rng.normal(0.0, 0.03)
        if world.kind == "table" or (name in _TUMBLING and not standing):
            angle = rng.uniform(-math.pi, math.pi)
        return Item(
            kind=kind,
            shape=shape,
            px=px,
            x=x,
            y=y,
            angle=angle,
            mirrored=bool(rng.random() < 0.5),
            near=depth - 0.5 * extent,
            far=depth + 0.5 * extent,
            standing=standing,
            tilt=(rng.normal(), rng.normal()),
        )

    def _put_near(self, item: Item, anchor: Item) -> None:
        """Move an item close enough to overlap; the row of a standing object is not changed."""
        rng = self.rng
        reach = 0.5 * (anchor.shape.width * anchor.px + item.shape.width * item.px)
        item.x = anchor.x + rng.normal(0.0, 0.6) * reach
        if not item.standing:
            middle = (
                anchor.y - 0.5 * anchor.px + rng.normal(0.0, 0.35) * (anchor.px + item.px) * 0.5
            )
            item.y = middle + 0.5 * item.px

    def _put_beside(self, item: Item, anchor: Item) -> None:
        """Move an item next to the anchor, barely touching, at nearly the same depth range."""
        reach = 0.5 * (anchor.shape.width * anchor.px + item.shape.width * item.px)
        side = 1.0 if self.rng.random() < 0.5 else -1.0
        item.x = anchor.x + side * reach * self.rng.uniform(1.0, 1.3)
        if not item.standing:
            item.y = anchor.y
        drift = 1.0 + self.rng.normal(0.0, 0.003)
        item.near, item.far = anchor.near * drift, anchor.far * drift

    def _key(self, items: list[Item]) -> float:
        """Return the depth at which a group is painted: inside its range; table: latest on top."""
        if self.world.kind == "table":
            return -float(len(self.board.groups))
        first = items[0]
        return first.middle + self.rng.uniform(-0.45, 0.45) * (first.far - first.near)

    # --- interlocked pairs ------------------------------------------------------------------

    def _has(self, needed: str, some: tuple[str, ...]) -> bool:
        names = {CLASSES[k] for k in self.kinds}
        return needed in names and bool(names.intersection(some))

    def _recipes(self) -> list[tuple[Callable[[], Group], str, tuple[str, ...]]]:
        return [
            (self._hoop, "ring", ("pole", "person", "tree")),
            (self._links, "ring", ("ring",)),
            (self._passage, "arch", ("car", "box", "ball")),
            (self._vessel, "cup", ("leaf", "pole", "star", "tree")),
            (self._embrace, "person", ("box", "ball", "star", "book")),
        ]

    def _pick(self, *names: str) -> int:
        allowed = [CLASSES.index(n) for n in names if CLASSES.index(n) in self.kinds]
        return int(self.rng.choice(allowed))

    def _start(self, kind: int) -> Item:
        depth = self._depth(None, "free")
        return self._item(kind, depth)

    def _follow(self, leader: Item, kind: int, px: float, **options) -> Item:
        """Build the partner of ``leader`` at the same position, depth and angle."""
        shape = shapes.make(CLASSES[kind], self.rng, px, **options)
        item = self._item(kind, leader.middle, shape=shape, px=px)
        item.angle, item.standing = leader.angle, False
        item.x, item.y = leader.x, leader.y
        return item

    def _enclose(self, outer: Item, inner: Item) -> None:
        """Set the depth range of the outer object to contain that of the inner one."""
        extent = max(outer.far - outer.near, 1.25 * (inner.far - inner.near))
        room = 0.5 * (extent - (inner.far - inner.near))
        middle = inner.middle + self.rng.uniform(-0.7, 0.7) * room
        outer.near, outer.far = middle - 0.5 * extent, middle + 0.5 * extent

    def _hoop(self) -> Group:
        rng = self.rng
        kind = self._pick("pole", "person", "tree")
        name = CLASSES[kind]
        inner = self._start(kind)
        inner.angle = rng.normal(0.0, 0.05)
        squash = rng.uniform(0.3, 0.55)
        span = {"pole": (0.2, 0.5), "person": (0.75, 1.1), "tree": (0.3, 0.5)}[name]
        level = {"pole": (0.15, 0.75), "person": (0.35, 0.5), "tree": (0.1, 0.3)}[name]
        px = max(inner.px * rng.uniform(*span) * squash, 10.0)
        ring = self._follow(inner, CLASSES.index("ring"), px, squash=squash)
        ring.y = inner.y - inner.px * rng.uniform(*level) + 0.5 * px
        ring.angle, ring.tilt = rng.normal(0.0, 0.12), (0.0, 1.0)
        self._enclose(ring, inner)
        return Group([ring, inner], [(0, BACK), (1, WHOLE), (0, FRONT)], 0.0, threaded=True)

    def _links(self) -> Group:
        rng = self.rng
        kind = CLASSES.index("ring")
        first = self._start(kind)
        first.shape = shapes.make("ring", rng, first.px, squash=rng.uniform(0.8, 1.0))
        first.standing = False
        turn = rng.uniform(-math.pi, math.pi)
        first.angle, first.mirrored = turn, False
        px = first.px * rng.uniform(0.75, 1.25)
        second = self._follow(first, kind, px, squash=rng.uniform(0.6, 1.0))
        second.angle = turn + rng.normal(0.0, 0.3)
        step = 0.5 * first.px + rng.uniform(-0.25, 0.2) * px
        second.x = first.x + step * math.cos(turn)
        second.y = first.y - 0.5 * first.px + step * math.sin(turn) + 0.5 * px
        first.tilt = (-math.sin(turn), math.cos(turn))
        self._enclose(first, second)
        return Group([first, second], [(0, BACK), (1, WHOLE), (0, FRONT)], 0.0, threaded=True)

    def _passage(self) -> Group:
        rng = self.rng
        arch = self._start(CLASSES.index("arch"))
        kind = self._pick("car", "box", "ball")
        gap = 2 * (arch.shape.holes[0][:, 0].max()) * arch.px
        trial = shapes.make(CLASSES[kind], rng, 40.0)
        px = min(gap * rng.uniform(1.15, 1.6) / trial.width, 0.75 * arch.px)
        inner = self._follow(arch, kind, max(px, 9.0))
        inner.x = arch.x + rng.uniform(-0.1, 0.1) * gap
        arch.tilt = (-1.0 if arch.mirrored else 1.0, 0.0)
        self._enclose(arch, inner)
        return Group([arch, inner], [(0, BACK), (1, WHOLE), (0, FRONT)], 0.0, threaded=True)

    def _vessel(self) -> Group:
        rng = self.rng
        cup = self._start(CLASSES.index("cup"))
        cup.px = max(cup.px, 16.0)
        kind = self._pick("leaf", "pole", "star", "tree")
        px = cup.px * (rng.uniform(0.6, 0.9) if CLASSES[kind] == "star" else rng.uniform(0.9, 1.7))
        inner = self._follow(cup, kind, px)
        inner.angle = cup.angle + rng.uniform(-0.3, 0.3)
        up = rng.uniform(0.3, 0.7) * cup.px
        # along the cup's axis, so that this also works for a cup that lies on a table
        inner.x = cup.x + math.sin(cup.angle) * (up + 0.5 * (px - cup.px))
        inner.y = cup.y - 0.5 * cup.px + 0.5 * px - math.cos(cup.angle) * (up + 0.5 * (px - cup.px))
        cup.tilt = (-math.sin(cup.angle), math.cos(cup.angle))
        self._enclose(cup, inner)
        return Group([cup, inner], [(0, BACK), (1, WHOLE), (0, FRONT)], 0.0)

    def _embrace(self) -> Group:
        rng = self.rng
        person = self._start(CLASSES.index("person"))
        person.px = max(person.px, 30.0)
        person.shape = shapes.make("person", rng, person.px, hug=True)
        kind = self._pick("box", "ball", "star", "book")
        px = person.px * rng.uniform(0.22, 0.4)
        held = self._follow(person, kind, max(px, 9.0))
        held.x = person.x + math.sin(person.angle) * 0.06 * person.px
        held.y = (
            person.y - 0.5 * person.px - math.cos(person.angle) * 0.05 * person.px + 0.5 * held.px
        )
        self._enclose(person, held)
        return Group([person, held], [(0, BACK), (1, WHOLE), (0, FRONT)], 0.0)


def arrange(
    rng: np.random.Generator,
    world: World,
    count: int,
    *,
    kinds: tuple[int, ...],
    interlocked: float,
    cyclic: float,
    min_visible: int,
    max_hidden: float,
) -> Board:
    """Place ``count`` objects; fewer if there is no space after many attempts with smaller sizes.

    Args:
        rng: random generator.
        world: the background.
        count: number of objects.
        kinds: class indices to sample from.
        interlocked: probability that a placement is an interlocked pair.
        cyclic: probability that the scene has a cycle of three.
        min_visible: minimum number of visible pixels of an object.
        max_hidden: maximum occluded fraction of an object.

    Returns:
        The board; the order of ``board.items`` is independent of depth.
    """
    board = Board(world, min_visible=min_visible, max_hidden=max_hidden)
    placer = Placer(rng, board, kinds, count)
    circle = bool(rng.random() < cyclic)
    failures = 0
    while len(board.items) < count and failures < 40 + 12 * count:
        room = count - len(board.items)
        if circle and room >= 3:
            group = placer.circle()
        elif room >= 2 and rng.random() < interlocked:
            group = placer.pair()
        else:
            group = placer.single()
        if board.try_to_place(group):
            circle = circle and len(group.items) != 3
        else:
            failures += 1
            placer.scale = max(placer.scale * 0.985, 0.12)
    order = rng.permutation(len(board.groups))
    board.groups = [board.groups[k] for k in order]
    return board
