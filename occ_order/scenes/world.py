"""Backgrounds of the generated scenes: camera, disparity and image.

Four kinds: ``ground`` (outdoors, horizon), ``room`` (floor and wall), ``table`` (seen from above,
objects heaped) and ``wall`` (objects at any height before a wall). Depth is in arbitrary units
along the viewing axis, disparity = 1 / depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from occ_order.scenes.textures import hsv, pattern, texture, two_colours, value_noise

KINDS = ("ground", "room", "table", "wall")
_FLOOR_PATTERNS = ("checks", "bricks", "noise", "wood", "speckle", "stripes", "cloth")


@dataclass(frozen=True)
class World:
    """Camera and background geometry of one image.

    Attributes:
        kind: one of :data:`KINDS`.
        height, width: image size in pixels.
        base: reference length in pixels for object sizes; also the focal length.
        horizon: row of the horizon (unused for table and wall).
        camera: height of the camera above the floor times the focal length (depth units x pixels):
            the floor at depth Z is in row ``horizon + camera / Z``; 0 = no floor.
        nearest, farthest: depth range of the objects.
        back: depth of the wall, table top or sky.
        light: (3,) unit vector towards the light: right, down, towards the viewer.
        haze: amount of haze at the depth ``farthest``.
        texture: factor on the contrast of all patterns, in [0, 1].
    """

    kind: str
    height: int
    width: int
    base: float
    horizon: float
    camera: float
    nearest: float
    farthest: float
    back: float
    light: np.ndarray
    haze: float
    texture: float = 1.0

    def foot(self, depth: float) -> float:
        """Return the row in which an object at this depth stands on the floor."""
        return self.horizon + self.camera / depth

    def floor_disparity(self) -> np.ndarray:
        """Return the disparity of the background in each row, float32 (height, 1)."""
        rows = np.arange(self.height, dtype=np.float32)[:, None] + np.float32(0.5)
        far = np.float32(1.0 / self.back)
        if self.camera == 0.0:
            return np.full((self.height, 1), far, dtype=np.float32)
        return np.maximum((rows - np.float32(self.horizon)) / np.float32(self.camera), far)


def draw_world(
    rng: np.random.Generator, kind: str, height: int, width: int, *, texture: float = 1.0
) -> World:
    """Sample the camera and the light of an image."""
    base = min(1.25 * min(height, width), math.sqrt(height * width))
    side, lift = rng.uniform(-0.75, 0.75), rng.uniform(0.3, 0.7)
    light = np.array([side, -lift, 0.75])
    horizon, camera, haze = 0.0, 0.0, 0.0
    nearest, farthest, back = 2.2, 2.2 * rng.uniform(2.5, 4.5), 14.0
    if kind in ("ground", "room"):
        horizon = height * rng.uniform(0.08, 0.45)
        nearest = rng.uniform(2.0, 3.0)
        farthest = nearest * rng.uniform(2.5, 4.5)
        camera = nearest * (height * rng.uniform(0.86, 1.04) - horizon)
        back = 60.0 if kind == "ground" else farthest * rng.uniform(1.3, 2.0)
        haze = rng.uniform(0.0, 0.5) if kind == "ground" and rng.random() < 0.6 else 0.0
    elif kind == "table":
        nearest, farthest, back = 4.0, 7.9, 8.0
    light = light / math.sqrt(float(light @ light))
    return World(
        kind, height, width, base, horizon, camera, nearest, farthest, back, light, haze, texture
    )


def haze_colour(rng: np.random.Generator) -> np.ndarray:
    """Sample the colour of haze, RGB float32 (3,)."""
    return hsv(rng.uniform(0.5, 0.65), rng.uniform(0.02, 0.25), rng.uniform(0.7, 0.95))


def _plane(rng: np.random.Generator, world: World, kinds) -> np.ndarray:
    flat = texture(
        rng,
        world.height,
        world.width,
        hue=rng.uniform(0.0, 1.0),
        period=world.base * rng.uniform(0.04, 0.14),
        kinds=kinds,
        contrast=world.texture,
    )
    grey = np.float32(rng.uniform(0.35, 0.9))  # backgrounds are duller than objects
    level = flat[..., 1:2]
    return level + (flat - level) * (np.float32(1.0) - grey)


def _floor(rng: np.random.Generator, world: World) -> np.ndarray:
    """Render a floor in perspective, (height, width, 3), valid below the horizon."""
    size = 256
    tile_x = pattern(str(rng.choice(_FLOOR_PATTERNS)), rng, size, size, 256 / 8)
    rough = value_noise(rng, size, size, 32, 4)
    rows = np.arange(world.height, dtype=np.float32)[:, None] + np.float32(0.5)
    disparity = np.maximum((rows - np.float32(world.horizon)) / np.float32(world.camera), 1e-3)
    depth = np.float32(1.0) / disparity.astype(np.float32)
    x = np.arange(world.width, dtype=np.float32)[None, :] - np.float32(0.5 * world.width)
    zoom = np.float32(rng.uniform(30, 70))
    u = _mirror((x * depth / np.float32(world.base) + np.float32(rng.uniform(500, 600))) * zoom)
    v = np.broadcast_to(_mirror(depth * zoom), u.shape)
    first, second = two_colours(rng, rng.choice([0.08, 0.1, 0.28, 0.6]) + rng.normal(0, 0.04))
    dull = np.float32(rng.uniform(0.3, 0.75))
    first, second = (c + (c.mean() - c) * dull for c in (first, second))
    # Far away the pattern is finer than a pixel: fade to its mean to avoid aliasing.
    fade = np.clip(np.float32(1.4) - depth * zoom / np.float32(0.05 * world.base * zoom), 0, 1)
    grey = (np.float32(0.6) * tile_x[v, u] + np.float32(0.4) * rough[v, u] - 0.5) * fade + 0.5
    contrast = np.float32(world.texture * rng.uniform(0.25, 0.8))
    return first + (second - first) * (grey * contrast)[..., None].astype(np.float32)


def _mirror(position: np.ndarray) -> np.ndarray:
    """Return indices into a tile of 256 that is repeated by reflection, without seams."""
    index = position.astype(np.int32) & 511
    return np.where(index > 255, 511 - index, index)


def _sky(rng: np.random.Generator, world: World) -> np.ndarray:
    top = hsv(rng.uniform(0.52, 0.68), rng.uniform(0.1, 0.65), rng.uniform(0.5, 1.0))
    low = hsv(rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.25), rng.uniform(0.75, 1.0))
    rows = np.arange(world.height, dtype=np.float32)[:, None, None]
    t = np.clip(rows / np.float32(max(world.horizon, 1.0)), 0, 1)
    cloud = value_noise(rng, world.height, world.width, 0.3 * world.base, 4)[..., None]
    white = np.clip((cloud - np.float32(0.5)) * np.float32(rng.uniform(0, 3)), 0, 1)
    sky = top + (low - top) * t
    sky = sky + (np.float32(245.0) - sky) * white
    return _hills(rng, world, sky)


def _hills(rng: np.random.Generator, world: World, sky: np.ndarray) -> np.ndarray:
    """Paint distant hills on the horizon: edges that belong to no instance."""
    for _ in range(int(rng.integers(0, 3))):
        cell = world.base * rng.uniform(0.1, 0.4)
        crest = value_noise(rng, 1, world.width, cell, 3)[0]
        rows = np.arange(world.height, dtype=np.float32)[:, None]
        reach = np.float32(world.height * rng.uniform(0.05, 0.25))
        below = rows > np.float32(world.horizon) - crest[None, :] * reach
        tone = hsv(rng.uniform(0.2, 0.65), rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.75))
        sky = np.where(below[..., None], tone, sky)
    return sky


def paint_world(rng: np.random.Generator, world: World) -> np.ndarray:
    """Render the background: float32 (height, width, 3), RGB in [0, 255]."""
    height = world.height
    kinds: tuple[str, ...]
    if world.kind == "table":
        kinds = ("plain", "wood", "noise", "cloth", "speckle", "checks", "stripes", "gradient")
        return _plane(rng, world, kinds)
    if world.kind == "wall":
        kinds = ("plain", "noise", "gradient", "bricks", "stripes", "dots", "cloth")
        return _plane(rng, world, kinds)
    if world.kind == "ground":
        behind = _sky(rng, world)
        split = world.horizon
    else:
        behind = _plane(rng, world, ("plain", "stripes", "bricks", "noise"))
        split = world.foot(world.back)
        rows = np.arange(height, dtype=np.float32)[:, None, None]
        board = (rows > split - 0.03 * world.base) & (rows <= split)
        behind = np.where(board, behind * np.float32(rng.uniform(0.4, 1.5)), behind)
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    return np.where(rows + np.float32(0.5) > np.float32(split), _floor(rng, world), behind)
