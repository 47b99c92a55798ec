"""Silhouettes of the generated scenes: one factory of random shapes per class.

Shape coordinates: x to the right, y down, the foot of the object at (0, 0), its height 1 (top at
y = -1). A polygon is a float64 array (M, 2) of (x, y). A factory takes the height of the object in
pixels, so that thin parts are not thinner than the pixel grid resolves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

Polygon = np.ndarray
RGB = tuple[float, float, float]

_THINNEST = 2.4  # pixels; a narrower bar breaks up when its coverage is thresholded


@dataclass(frozen=True)
class Detail:
    """A painted part of a silhouette (a window, a wheel, a face of a box).

    Attributes:
        polygon: (M, 2), shape coordinates.
        colour: RGB in [0, 255] that replaces the texture, or None to keep the texture.
        gain: brightness factor.
        opacity: 0 (transparent) to 1.
    """

    polygon: Polygon
    colour: RGB | None = None
    gain: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Shape:
    """An object before it is placed.

    Attributes:
        outline: polygons whose union is the silhouette.
        holes: polygons subtracted from the union.
        details: parts painted over the texture, in this order.
        front: polygons; their intersection with the silhouette is in front of an interlocked
            partner. Empty for an object with one layer.
        roundness: radius of the shaded bevel, relative to the height.
        thickness: extent in depth, relative to the height.
        gloss: strength of the highlight, 0 to 1.
        width: width of the silhouette, relative to the height.
        points: (M, 2), the vertices of all outlines.
    """

    outline: tuple[Polygon, ...]
    holes: tuple[Polygon, ...] = ()
    details: tuple[Detail, ...] = ()
    front: tuple[Polygon, ...] = ()
    roundness: float = 0.1
    thickness: float = 0.3
    gloss: float = 0.0
    width: float = field(init=False)
    points: Polygon = field(init=False)

    def __post_init__(self) -> None:
        points = np.concatenate(self.outline)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "width", float(np.ptp(points[:, 0])))


def ellipse(
    cx: float, cy: float, rx: float, ry: float, *, begin: float = 0.0, end: float = 1.0, points=36
) -> Polygon:
    """Return an ellipse or arc; ``begin`` and ``end`` in turns, 0 = right, 0.25 = bottom."""
    unit = _arc(begin, end, points)
    return unit * (rx, ry) + (cx, cy)


@lru_cache(maxsize=256)
def _arc(begin: float, end: float, points: int) -> Polygon:
    turn = np.linspace(begin, end, points, endpoint=end - begin < 1.0) * (2.0 * math.pi)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """Return an axis-aligned rectangle."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def limb(a: tuple[float, float], b: tuple[float, float], width: float) -> Polygon:
    """Return a bar from a to b with round ends."""
    angle = math.atan2(b[1] - a[1], b[0] - a[0]) / (2.0 * math.pi)
    r = 0.5 * width
    return np.concatenate(
        [
            ellipse(b[0], b[1], r, r, begin=angle - 0.25, end=angle + 0.25, points=8),
            ellipse(a[0], a[1], r, r, begin=angle + 0.25, end=angle + 0.75, points=8),
        ]
    )


def blob(rng: np.random.Generator, cx: float, cy: float, r: float, *, wobble=0.12) -> Polygon:
    """Return a disc whose radius varies smoothly."""
    turn = np.linspace(0.0, 2.0 * math.pi, 40, endpoint=False)
    radius = np.full(40, r)
    for k in range(2, 6):
        amount, phase = wobble * r * rng.random() / (k - 1), 2.0 * math.pi * rng.random()
        radius += amount * np.cos(k * turn + phase)
    return np.stack([cx + radius * np.cos(turn), cy + radius * np.sin(turn)], axis=1)


def _ball(rng: np.random.Generator, px: float) -> Shape:
    ry = 0.5
    rx = ry * rng.uniform(0.92, 1.08)
    details: tuple[Detail, ...] = ()
    if rng.random() < 0.4:  # a band around it
        y = rng.uniform(-0.65, -0.35)
        band = np.concatenate(
            [
                ellipse(0, y, 0.98 * rx, 0.2, begin=0.0, end=0.5, points=18),
                ellipse(0, y - 0.12, 0.98 * rx, 0.18, begin=0.0, end=0.5, points=18)[::-1],
            ]
        )
        details = (Detail(band, gain=rng.uniform(0.5, 1.6), opacity=0.8),)
    return Shape(
        (ellipse(0, -ry, rx, ry),), details=details, roundness=0.5, thickness=1.0, gloss=0.7
    )


def _box(rng: np.random.Generator, px: float) -> Shape:
    lid = rng.uniform(0.1, 0.3)
    half = rng.uniform(0.35, 0.7)
    lean = rng.uniform(0.05, 0.35) * rng.choice([-1.0, 1.0])
    face = rectangle(-half, lid - 1.0, half, 0.0)
    top = np.array([[-half, lid - 1], [half, lid - 1], [half + lean, -1], [-half + lean, -1]])
    x = half if lean > 0 else -half
    side = np.array([[x, lid - 1], [x + lean, -1], [x + lean, -lid], [x, 0]])
    details = [Detail(top, gain=rng.uniform(1.2, 1.5)), Detail(side, gain=rng.uniform(0.5, 0.7))]
    if rng.random() < 0.5:  # adhesive tape
        w = rng.uniform(0.05, 0.12)
        details.append(Detail(rectangle(-w, lid - 1, w, 0), (200, 180, 140), opacity=0.6))
    return Shape(
        (face, top, side),
        details=tuple(details),
        roundness=0.04,
        thickness=rng.uniform(0.5, 1.0),
    )


def _star(rng: np.random.Generator, px: float) -> Shape:
    tips = int(rng.integers(5, 8))
    inner = rng.uniform(0.4, 0.58)
    turn = np.arange(2 * tips) * (math.pi / tips) - 0.5 * math.pi
    radius = np.where(np.arange(2 * tips) % 2 == 0, 0.5, 0.5 * inner)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn) - 0.5], axis=1)
    return Shape((points,), roundness=0.16, thickness=rng.uniform(0.1, 0.3), gloss=0.3)


def _car(rng: np.random.Generator, px: float) -> Shape:
    half = rng.uniform(0.85, 1.25)
    belt = rng.uniform(-0.62, -0.5)
    wheel = rng.uniform(0.17, 0.22)
    nose, tail = rng.uniform(0.25, 0.7), rng.uniform(0.05, 0.5)
    slope = rng.uniform(0.1, 0.3)
    body = np.array(
        [
            [-half, -0.2],
            [-half, belt + 0.08],
            [-half + 0.08, belt],
            [half - 0.12, belt + 0.02],
            [half, belt + 0.14],
            [half, -0.18],
            [half - 0.08, -0.12],
            [-half + 0.08, -0.12],
        ]
    )
    left, right = -half + tail, half - nose
    cabin = np.array(
        [[left - 0.1, belt + 0.02], [left + slope * 0.5, -1], [right - slope, -1], [right, belt]]
    )
    glass = 0.86 * (cabin - cabin.mean(axis=0)) + cabin.mean(axis=0) + (0, 0.03)
    middle = 0.5 * (left + right)
    pillar = rectangle(middle - 0.03, -0.97, middle + 0.03, belt + 0.02)
    axles = (-half + wheel + rng.uniform(0.1, 0.22), half - wheel - rng.uniform(0.1, 0.22))
    tyres = [ellipse(x, -wheel, wheel, wheel, points=24) for x in axles]
    hubs = [ellipse(x, -wheel, 0.5 * wheel, 0.5 * wheel, points=16) for x in axles]
    pane = (60 + 60 * rng.random(), 80 + 60 * rng.random(), 100 + 60 * rng.random())
    details = [Detail(glass, pane), Detail(pillar)]
    details += [Detail(t, (30, 30, 34)) for t in tyres] + [Detail(h, (150, 150, 155)) for h in hubs]
    details.append(Detail(ellipse(half - 0.07, belt + 0.18, 0.05, 0.06), (250, 235, 170)))
    details.append(Detail(ellipse(-half + 0.05, belt + 0.16, 0.04, 0.06), (190, 30, 30)))
    return Shape(
        (body, cabin, *tyres),
        details=tuple(details),
        roundness=0.1,
        thickness=rng.uniform(0.7, 1.6),
        gloss=0.6,
    )


def _person(rng: np.random.Generator, px: float, *, hug: bool = False) -> Shape:
    thin = max(0.06, _THINNEST / px)
    build = rng.uniform(0.16, 0.22)
    head = ellipse(0, -0.915, 0.07, 0.085, points=24)
    torso = limb((0, -0.75), (0, -0.5), build)
    stride = rng.uniform(0.03, 0.17)
    feet = (-stride - 0.02, stride * rng.uniform(0.3, 1.0) + 0.04)
    legs = [
        limb((0.04 * s, -0.46), (x, -0.04), 1.35 * thin) for s, x in zip((-1, 1), feet, strict=True)
    ]
    shoes = [limb((x - 0.01, -0.025), (x + 0.05, -0.025), 0.05) for x in feet]
    arms, front = [], []
    for s in (-1, 1):
        shoulder = (s * 0.5 * build * 0.85, -0.77)
        if hug:
            elbow, hand = (s * rng.uniform(0.2, 0.26), -0.6), (s * 0.01, rng.uniform(-0.58, -0.5))
        else:
            bend, fold = rng.uniform(-0.1, 0.75), rng.uniform(-0.9, 0.5)
            elbow = (shoulder[0] + s * 0.2 * math.sin(bend), shoulder[1] + 0.2 * math.cos(bend))
            bend += fold if rng.random() < 0.7 else rng.uniform(1.0, 2.5)
            hand = (elbow[0] + s * 0.2 * math.sin(bend), elbow[1] + 0.2 * math.cos(bend))
        arms += [limb(shoulder, elbow, thin), limb(elbow, hand, thin)]
        front.append(limb(elbow, hand, 1.6 * thin))
    skin = np.array([224, 172, 130]) * rng.uniform(0.4, 1.05)
    cloth = tuple(rng.uniform(20, 150, size=3))
    details = [Detail(leg, cloth, opacity=0.9) for leg in legs]
    details += [Detail(shoe, (35, 30, 30)) for shoe in shoes]
    details.append(Detail(head, tuple(skin)))
    hair = ellipse(0, -0.93, 0.075, 0.085, begin=0.5, end=1.0, points=16)
    details.append(Detail(hair, tuple(rng.uniform(15, 120) * np.array([1, 0.75, 0.5]))))
    return Shape(
        (head, torso, *legs, *shoes, *arms, limb((0, -0.84), (0, -0.78), 0.07)),
        details=tuple(details),
        front=tuple(front) if hug else (),
        roundness=0.055,
        thickness=rng.uniform(0.15, 0.35),
    )


def _tree(rng: np.random.Generator, px: float) -> Shape:
    trunk_half = max(rng.uniform(0.03, 0.06), 0.5 * _THINNEST / px)
    flare = np.array([[-1.5, 0], [-0.8, -0.6], [0.8, -0.6], [1.5, 0]]) * (trunk_half, 1)
    crown: list[Polygon] = []
    if rng.random() < 0.4:  # conifer
        tiers, low = int(rng.integers(3, 5)), rng.uniform(0.15, 0.3)
        for k in range(tiers):
            bottom = -low - (0.9 - low) * k / tiers
            half = rng.uniform(0.26, 0.34) * (1 - 0.75 * k / tiers)
            tip = max(bottom - 1.7 * (0.9 - low) / tiers, -1.0)
            crown.append(
                np.array([[-half, bottom], [0, tip if k < tiers - 1 else -1], [half, bottom]])
            )
    else:
        crown.append(blob(rng, 0, -0.7, 0.26))
        for turn in np.linspace(0, 2 * math.pi, int(rng.integers(4, 8)), endpoint=False):
            reach = rng.uniform(0.1, 0.2)
            x, y = 1.25 * reach * math.cos(turn), reach * math.sin(turn) - 0.7
            crown.append(blob(rng, x, max(y, -0.82), rng.uniform(0.12, 0.17), wobble=0.3))
    bark = tuple(rng.uniform(0.7, 1.2) * np.array([110, 80, 55]))
    below = max(float(c[:, 1].max()) for c in crown)  # the trunk shows only under the crown
    shown = np.array([[-1.5, 0], [-1, below - 0.06], [1, below - 0.06], [1.5, 0]])
    trunk = Detail(shown * (1.02 * trunk_half, 1), bark)
    leaves = tuple(Detail(c, gain=rng.uniform(0.85, 1.15), opacity=0.8) for c in crown)
    return Shape(
        (flare, *crown), details=(trunk, *leaves), roundness=0.12, thickness=rng.uniform(0.35, 0.6)
    )


def _pole(rng: np.random.Generator, px: float) -> Shape:
    half = max(rng.uniform(0.012, 0.035), 0.5 * _THINNEST / px)
    parts = [rectangle(-half, -0.97, half, 0)]
    details: list[Detail] = []
    head = int(rng.integers(0, 5))
    if head == 0:
        lamp = ellipse(0, -0.93, 0.07, 0.07)
        parts.append(lamp)
        details.append(Detail(lamp, (250, 240, 200)))
    elif head == 1:
        sign = ellipse(0, -0.87, 0.13, 0.13, points=8 if rng.random() < 0.5 else 36)
        parts.append(sign)
        details.append(Detail(sign, gain=1.3))
        details.append(Detail(0.6 * (sign - (0, -0.87)) + (0, -0.87), (240, 240, 235), opacity=0.8))
    elif head == 2:
        sign = rectangle(-half, -0.98, rng.uniform(0.2, 0.35), rng.uniform(-0.85, -0.75))
        parts.append(sign)
        details.append(Detail(sign, gain=1.25))
    elif head == 3:
        reach, w = rng.uniform(0.12, 0.25), max(0.03, _THINNEST / px)
        parts += [limb((0, -0.96), (reach, -0.96), w), ellipse(reach, -0.93, 0.06, 0.04)]
    parts.append(rectangle(-1.8 * half, -0.04, 1.8 * half, 0))
    return Shape(tuple(parts), details=tuple(details), roundness=half, thickness=0.08, gloss=0.3)


def _ring(rng: np.random.Generator, px: float, *, squash: float | None = None) -> Shape:
    """Return a ring seen at an angle; ``squash`` = height / width of its rim (1 = frontal)."""
    if squash is None:
        squash = rng.choice([1.0, rng.uniform(0.4, 0.9)], p=[0.5, 0.5])
    rx = 0.5 / squash
    tube = max(rng.uniform(0.14, 0.26) * rx, _THINNEST / px)
    thin = max(tube * (0.6 + 0.4 * squash), _THINNEST / px)
    outer = ellipse(0, -0.5, rx, 0.5, points=48)
    inner = ellipse(0, -0.5, rx - tube, max(0.5 - thin, 0.1), points=48)
    lower = rectangle(-rx - 1, -0.5, rx + 1, 1)
    return Shape(
        (outer,),
        holes=(inner,),
        front=(lower,),
        roundness=0.5 * tube,
        thickness=max(2 * rx * math.sqrt(1 - squash**2), tube),
        gloss=0.5,
    )


def _arch(rng: np.random.Generator, px: float) -> Shape:
    half = rng.uniform(0.4, 0.65)
    post = rng.uniform(0.28, 0.42) * half
    lintel = rng.uniform(0.14, 0.24)
    gap, style = half - post, int(rng.integers(0, 3))
    spring = -1 + lintel + (gap if style == 0 else 0.4 * gap if style == 2 else 0)
    if style == 0:  # round
        opening = ellipse(0, spring, gap, gap, begin=0.5, end=1.0, points=24)
    elif style == 1:  # flat
        opening = np.array([[-gap, spring], [gap, spring]])
    else:  # pointed
        opening = np.array([[-gap, spring], [0, -1 + lintel], [gap, spring]])
    opening = np.concatenate([[[-gap, 0.05]], opening, [[gap, 0.05]]])
    outer = rectangle(-half, -1, half, 0)
    if rng.random() < 0.4:
        outer = np.concatenate([[[-half, 0]], ellipse(0, half - 1, half, half, begin=0.5, end=1)])
        outer = np.concatenate([outer, [[half, 0]]])
    reveal = opening + (0.3 * post * rng.choice([-1.0, 1.0]), 0)
    cap = rectangle(-half, -1, half, -1 + 0.25 * lintel)
    details = (Detail(reveal, gain=0.55), Detail(cap, gain=1.2, opacity=0.7))
    right = rectangle(0, -2, half + 1, 1)
    return Shape(
        (outer,),
        holes=(opening,),
        details=details,
        front=(right,),
        roundness=0.04,
        thickness=rng.uniform(0.2, 0.5),
    )


def _cup(rng: np.random.Generator, px: float) -> Shape:
    top, bottom = rng.uniform(0.34, 0.46), rng.uniform(0.22, 0.36)
    dip = rng.uniform(0.07, 0.13)
    rim_y = dip - 1.0
    rim = ellipse(0, rim_y, top, dip, points=40)
    base = ellipse(0, -0.06, bottom, 0.06, begin=0.0, end=0.5, points=16)
    body = np.concatenate([[[-top, rim_y], [top, rim_y]], base])
    grip, bar = rng.uniform(0.2, 0.28), max(0.07, _THINNEST / px)
    x, y = 0.5 * (top + bottom) + 0.04, -0.48
    handle = ellipse(x, y, grip, 1.05 * grip)
    hole = ellipse(x, y, grip - bar, 1.05 * grip - bar)
    edge = 0.5 * (top + bottom) - 0.02  # the hole of the handle must not cut the body
    hole = hole[hole[:, 0] > edge]
    lower_rim = ellipse(0, rim_y, top, dip, begin=0.0, end=0.5, points=20)
    inside = Detail(ellipse(0, rim_y, 0.92 * top, 0.85 * dip, points=40), gain=0.45)
    lip = np.concatenate([lower_rim, (lower_rim + (0, 0.03))[::-1]])
    stripe = rectangle(-top, -0.6, top, -0.45)
    details = [inside, Detail(lip, gain=1.3)]
    if rng.random() < 0.4:
        keep = np.clip(stripe, (-bottom, -1), (bottom, 0))
        details.append(Detail(keep, gain=rng.uniform(0.5, 1.5), opacity=0.7))
    wall = np.concatenate([[[2, rim_y]], lower_rim, [[-2, rim_y], [-2, 1], [2, 1]]])
    return Shape(
        (rim, body, handle),
        holes=(hole,),
        details=tuple(details),
        front=(wall,),
        roundness=0.3,
        thickness=2 * top,
        gloss=0.5,
    )


def _leaf(rng: np.random.Generator, px: float) -> Shape:
    t = np.linspace(0.0, 1.0, 24)
    half = rng.uniform(0.16, 0.32) * np.sin(math.pi * t ** rng.uniform(0.7, 1.5)) ** 0.8
    if rng.random() < 0.4:  # lobes
        half = half * (1 - 0.35 * (np.arange(24) % 3 == 0))
    bend = rng.uniform(-0.2, 0.2) * t * (1 - t) * 4
    y = -0.12 - 0.88 * t
    blade = np.concatenate(
        [np.stack([bend + half, y], axis=1), np.stack([bend - half, y], axis=1)[::-1]]
    )
    stem_width = max(0.03, _THINNEST / px)
    stem = limb((0, -0.02), (float(bend[4]), float(y[4])), stem_width)
    vein = np.concatenate(
        [np.stack([bend + 0.012, y], axis=1), np.stack([bend - 0.012, y], axis=1)[::-1]]
    )
    gain = rng.choice([0.6, 1.5])
    veins = [Detail(vein, gain=gain)]
    for k in range(5, 20, 4):
        for s in (-1, 1):
            a, b = (bend[k], y[k]), (bend[k] + s * 0.75 * half[k], y[k] - 0.07)
            veins.append(Detail(limb(a, b, 0.014), gain=gain, opacity=0.8))
    return Shape(
        (blade, stem), details=tuple(veins), roundness=0.1, thickness=rng.uniform(0.05, 0.3)
    )


def _book(rng: np.random.Generator, px: float) -> Shape:
    half = rng.uniform(0.3, 0.42)
    edge = rng.uniform(0.05, 0.14)
    cover = rectangle(-half, -1, half - edge, 0) + (0, 0)
    lean = rng.uniform(0.02, 0.06)
    x = half - edge
    side = np.array([[x, -1], [half, -1 + lean], [half, -lean], [x, 0]])
    pages = np.array(
        [[x, -0.98], [half - 0.01, lean - 0.97], [half - 0.01, -lean - 0.02], [x, -0.02]]
    )
    spine = rectangle(-half, -1, -half + 0.08, 0)
    plate = rectangle(-0.6 * half, -0.85, 0.4 * half, rng.uniform(-0.75, -0.55))
    details = (
        Detail(pages, (232, 226, 208)),
        Detail(spine, gain=0.6),
        Detail(plate, (235, 230, 215) if rng.random() < 0.5 else None, gain=1.3, opacity=0.8),
        Detail(rectangle(-0.45 * half, -0.35, 0.25 * half, -0.3), gain=1.6, opacity=0.7),
    )
    return Shape((cover, side), details=details, roundness=0.02, thickness=rng.uniform(0.1, 0.4))


FACTORIES: dict[str, Callable[[np.random.Generator, float], Shape]] = {
    "ball": _ball,
    "box": _box,
    "star": _star,
    "car": _car,
    "person": _person,
    "tree": _tree,
    "pole": _pole,
    "ring": _ring,
    "arch": _arch,
    "cup": _cup,
    "leaf": _leaf,
    "book": _book,
}
CLASSES: tuple[str, ...] = tuple(FACTORIES)


def make(name: str, rng: np.random.Generator, px: float, **options) -> Shape:
    """Sample a random shape of class ``name`` for a height of ``px`` pixels."""
    return FACTORIES[name](rng, px, **options)
