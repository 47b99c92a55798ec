"""Rendering of placed objects: masks, disparity and image."""

from __future__ import annotations

import cv2
import numpy as np

from occ_order.scenes import textures
from occ_order.scenes.layout import FRONT, WHOLE, Board, Item, window
from occ_order.scenes.shapes import CLASSES
from occ_order.scenes.world import World, haze_colour, paint_world


def masks_and_overlaps(board: Board, *, min_overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute amodal masks with the layer rank of every pixel, and the pairwise occluded areas.

    Where one object covers fewer than ``min_overlap`` pixels of another, these pixels are removed
    from the covered object's amodal mask, so that an overlap of a few pixels is no occlusion.

    Returns:
        rank: int16 (N, H, W), 0 outside the amodal mask, otherwise the layer, larger = nearer
            (unique at each pixel).
        covered: int64 (N, N), number of pixels at which i is in front of j, 0 or at least
            ``min_overlap``.
    """
    height, width = board.world.height, board.world.width
    items = board.items
    rank = np.zeros((len(items), height, width), dtype=np.int16)
    for level, (index, item, part) in enumerate(board.layers(), start=1):
        seen, inside = window(item.box, height, width)
        rank[index][seen][item.layer_mask(part)[inside]] = level
    covered = np.zeros((len(items), len(items)), dtype=np.int64)
    boxes = [window(item.box, height, width)[0] for item in items]
    while True:  # terminates: every iteration but the last removes pixels
        for i in range(len(items)):
            for j in range(i + 1, len(items)):
                covered[i, j], covered[j, i] = _overlap(rank[i], rank[j], boxes[i], boxes[j])
        slivers = np.argwhere((covered > 0) & (covered < min_overlap))
        if len(slivers) == 0:
            break
        for i, j in slivers:
            rank[j][(rank[i] > rank[j])] = 0
    return rank, covered


def _overlap(a: np.ndarray, b: np.ndarray, box_a: tuple, box_b: tuple) -> tuple[int, int]:
    rows = slice(max(box_a[0].start, box_b[0].start), min(box_a[0].stop, box_b[0].stop))
    cols = slice(max(box_a[1].start, box_b[1].start), min(box_a[1].stop, box_b[1].stop))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return 0, 0
    first, second = a[rows, cols], b[rows, cols]
    both = (first > 0) & (second > 0)
    total, front = int(both.sum()), int((both & (first > second)).sum())
    return front, total - front


def levels_from_rank(rank: np.ndarray) -> np.ndarray:
    """Return int8 (N, H, W): number of instances in front, -1 outside the amodal mask."""
    levels = np.full(rank.shape, -1, dtype=np.int8)
    inside = rank > 0
    for i in range(len(rank)):
        rows, cols = np.flatnonzero(inside[i].any(axis=1)), np.flatnonzero(inside[i].any(axis=0))
        if len(rows) == 0:
            continue
        part = (slice(None), slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        ahead = (rank[part] > rank[i][part[1:]]).sum(axis=0)
        levels[i][part[1:]] = np.where(inside[i][part[1:]], ahead, -1)
    return levels


def surface(item: Item, height_map: np.ndarray) -> np.ndarray:
    """Compute the depth of the front surface of an item in the raster of its box, float32.

    The surface is a tilted plane plus the relief. It starts at the item's nearest depth and extends
    over a part of its depth range, or over all of it for an object with two layers.
    """
    rows, cols = item.alpha.shape
    y = np.arange(rows, dtype=np.float32)[:, None]
    x = np.arange(cols, dtype=np.float32)[None, :]
    tx, ty = (np.float32(v) for v in item.tilt)
    plane = -(x * tx + y * ty)
    mask = item.alpha >= 128
    inside = plane[mask]
    low, high = (inside.min(), inside.max()) if inside.size else (np.float32(0), np.float32(1))
    plane = (plane - low) / np.maximum(high - low, np.float32(1e-3))
    threaded = item.front is not None
    bulge = np.float32(0.1 if threaded else 0.45)
    depth = bulge * (np.float32(1.0) - height_map) + (np.float32(1.0) - bulge) * plane
    if item.front is not None and CLASSES[item.kind] == "person":  # the arms reach forward
        depth = np.where(item.front, np.float32(0.1) * depth, np.float32(0.5) + depth * 0.5)
    reach = np.float32(1.0 if threaded else 0.8)
    return np.float32(item.near) + np.float32(item.far - item.near) * reach * np.clip(depth, 0, 1)


class Painter:
    """Paints the layers of a board over its background, from back to front.

    Attributes:
        canvas: float32 (H, W, 3), RGB in [0, 255].
        disparity: float32 (H, W), disparity of the surfaces painted so far.
        owner: int16 (H, W), index of the visible instance so far, -1 = background.
    """

    def __init__(self, rng: np.random.Generator, board: Board) -> None:
        self.rng = rng
        self.world: World = board.world
        self.board = board
        self.air = haze_colour(rng)
        self.canvas = paint_world(rng, self.world).astype(np.float32)
        shape = (self.world.height, self.world.width)
        self.floor = np.broadcast_to(self.world.floor_disparity(), shape)
        self.disparity = np.array(self.floor)
        self.owner = np.full(shape, -1, dtype=np.int16)
        self.hardness = rng.uniform(0.25, 0.75)  # of the shadows
        if self.world.haze:
            share = self._haze(self.disparity)[..., None]
            self.canvas += (self.air - self.canvas) * share

    def run(self, rank: np.ndarray) -> None:
        """Paint all layers; ``rank`` (N, H, W), see :func:`masks_and_overlaps`."""
        looks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for index, item, part in self.board.layers():
            if index not in looks:
                looks[index] = self._look(item)
            colour, depth = looks[index]
            self._cast_shadow(item, part, index)
            self._lay(item, part, colour, depth, rank[index])
            self._claim(item, part, index)

    def _haze(self, disparity: np.ndarray) -> np.ndarray:
        share = np.float32(self.world.haze) / (disparity * np.float32(self.world.farthest))
        return np.clip(share * share / (share * share + np.float32(1.0)), 0, np.float32(0.8))

    def _look(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Return colour (h, w, 3) and depth (h, w) of an item, for its box clipped to the image."""
        rng, name = self.rng, CLASSES[item.kind]
        seen, inside = window(item.box, self.world.height, self.world.width)
        rows, cols = seen[0].stop - seen[0].start, seen[1].stop - seen[1].start
        period = max(2.5, item.px * min(1.0, item.shape.width) * rng.uniform(0.08, 0.35))
        colour = textures.texture(
            rng,
            rows,
            cols,
            hue=class_hue(rng, item.kind),
            period=period,
            kinds=_kinds(rng, name),
            contrast=self.world.texture,
        )
        _paint_details(colour, item, seen)
        radius = item.shape.roundness * item.px
        height_map = textures.relief(item.alpha >= 128, radius)
        depth = surface(item, height_map)[inside]
        diffuse, spot = textures.shade(
            height_map[inside], radius, self.world.light, item.shape.gloss
        )
        colour *= diffuse[..., None]
        colour += (spot * np.float32(200.0))[..., None]
        return colour, depth

    def _cast_shadow(self, item: Item, part: int, index: int) -> None:
        """Darken surfaces closely behind a layer, opposite of the light, and the ground.

        The shadow gets weaker with the distance to the surface behind.
        """
        world = self.world
        gap_limit = np.float32(0.35)
        spread = max(2, round(0.035 * world.base * min(1.5, 3 * item.px / world.base)))
        dx = round(-float(world.light[0]) * spread)
        dy = round(-float(world.light[1]) * spread * 0.8)
        box = item.box
        pad = 2 * spread + max(abs(dx), abs(dy)) + 1
        mask = item.layer_mask(part).astype(np.uint8) * 255
        grown = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        size = 2 * spread + 1
        soft = cv2.blur(cv2.blur(grown, (size, size)), (size, size))
        where = (box[0] - pad + dy, box[1] - pad + dx, box[2] + pad + dy, box[3] + pad + dx)
        seen, inside = window(where, world.height, world.width)
        behind = self.disparity[seen]
        nearest = np.float32(1.0 / item.middle)
        gap = np.maximum(nearest - behind, np.float32(0.0)) / nearest
        amount = np.clip(np.float32(1.0) - gap / gap_limit, 0, 1)
        amount = amount * soft[inside].astype(np.float32) * np.float32(self.hardness / 255.0)
        amount *= self.owner[seen] != index  # no shadow on the item's own other layer
        self.canvas[seen] *= (np.float32(1.0) - amount)[..., None]
        if item.standing and part == WHOLE:
            self._ground_shadow(item)

    def _claim(self, item: Item, part: int, index: int) -> None:
        seen, inside = window(item.box, self.world.height, self.world.width)
        self.owner[seen][item.layer_mask(part)[inside]] = index

    def _ground_shadow(self, item: Item) -> None:
        world = self.world
        rx = max(0.55 * item.shape.width * item.px, 2.0)
        ry = max(0.25 * rx, 1.5)
        cx, cy = item.x - 0.5 * float(world.light[0]) * rx, item.y - 0.2 * ry
        box = (int(cy - ry), int(cx - rx), int(cy + ry) + 1, int(cx + rx) + 1)
        seen, _ = window(box, world.height, world.width)
        if seen[0].start >= seen[0].stop or seen[1].start >= seen[1].stop:
            return
        y = (np.arange(seen[0].start, seen[0].stop, dtype=np.float32) - np.float32(cy))[:, None]
        x = (np.arange(seen[1].start, seen[1].stop, dtype=np.float32) - np.float32(cx))[None, :]
        y, x = y / np.float32(ry), x / np.float32(rx)
        amount = np.clip(np.float32(1.0) - x * x - y * y, 0, 1) * np.float32(1.1 * self.hardness)
        on_floor = self.disparity[seen] == self.floor[seen]
        self.canvas[seen] *= np.where(on_floor, np.float32(1.0) - amount, np.float32(1.0))[
            ..., None
        ]

    def _lay(self, item: Item, part: int, colour, depth, rank: np.ndarray) -> None:
        """Blend one layer over the canvas and write its surface to the disparity map."""
        world = self.world
        seen, inside = window(item.box, world.height, world.width)
        cover = item.alpha[inside].astype(np.float32) / np.float32(255.0)
        region = np.ones(cover.shape, dtype=bool)
        if part != WHOLE and item.front is not None:
            region = item.front[inside] if part == FRONT else ~item.front[inside]
            cover = cover * region
        mask = (rank[seen] > 0) & region
        behind, floor = self.disparity[seen], self.floor[seen]
        disparity = np.float32(1.0) / depth
        # A surface must not be farther than what it covers: move it forward if necessary, together
        # with the near end of its depth range.
        needed = np.where(mask, behind, np.float32(0.0))
        lack = np.where(needed > floor, needed - disparity, np.float32(0.0))
        lift = max(float(lack.max(initial=0.0)), 0.0)
        item.near = min(item.near, 0.999 / max(float(needed.max(initial=0.0)), 1e-6))
        nearest = np.float32(1.0) / np.float32(item.near)
        farthest = np.float32(1.0) / np.float32(item.far)
        disparity = np.clip(np.maximum(disparity + np.float32(lift), floor), farthest, nearest)
        paint = colour
        if world.haze:
            paint = paint + (self.air - paint) * self._haze(disparity)[..., None]
        self.canvas[seen] += (paint - self.canvas[seen]) * cover[..., None]
        self.disparity[seen] = np.where(mask, disparity, self.disparity[seen])


def class_hue(rng: np.random.Generator, kind: int) -> float:
    """Sample the hue of an object in turns, a weak cue to its class.

    Normal around the hue of the class (classes are 1 / len(CLASSES) turns apart) with a standard
    deviation of 0.07 turns; uniform for one object in seven.
    """
    if rng.random() < 1.0 / 7.0:
        return float(rng.random())
    return float((5 * kind % len(CLASSES)) / len(CLASSES) + rng.normal(0.0, 0.07))


def _kinds(rng: np.random.Generator, name: str) -> tuple[str, ...]:
    typical = {
        "tree": ("noise", "speckle", "noise"),
        "box": ("wood", "plain", "checks", "stripes"),
        "arch": ("bricks", "noise", "plain", "speckle"),
        "leaf": ("noise", "gradient", "plain"),
        "car": ("plain", "gradient", "stripes"),
    }
    return typical[name] if name in typical and rng.random() < 0.6 else textures.KINDS


def _paint_details(colour: np.ndarray, item: Item, seen: tuple[slice, slice]) -> None:
    """Paint the details of a shape over its texture, in place; ``seen`` is the texture's window."""
    y0, y1, x0, x1 = seen[0].start, seen[0].stop, seen[1].start, seen[1].stop
    for detail in item.shape.details:
        points = item.to_image(detail.polygon)
        low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 2
        box = (
            min(max(int(low[1]), y0), y1), min(max(int(low[0]), x0), x1),
            min(max(int(high[1]), y0), y1), min(max(int(high[0]), x0), x1),
        )  # fmt: skip
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        canvas = np.zeros((box[2] - box[0], box[3] - box[1]), dtype=np.uint8)
        shifted = np.rint((points - (box[1], box[0])) * 16.0).astype(np.int32)
        cv2.fillPoly(canvas, [shifted], 255, cv2.LINE_AA, 4)
        cover = (canvas.astype(np.float32) * np.float32(detail.opacity / 255.0))[..., None]
        part = colour[box[0] - y0 : box[2] - y0, box[1] - x0 : box[3] - x0]
        goal = part if detail.colour is None else np.asarray(detail.colour, dtype=np.float32)
        part += (goal * np.float32(detail.gain) - part) * cover


def develop(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Simulate a camera: white balance, vignetting, blur and sensor noise; uint8 (H, W, 3)."""
    height, width = canvas.shape[:2]
    balance = np.float32(rng.uniform(0.8, 1.1)) * (
        1 + rng.normal(0, 0.04, size=3).astype(np.float32)
    )
    y = (np.arange(height, dtype=np.float32) / np.float32(height) - np.float32(0.5))[:, None, None]
    x = (np.arange(width, dtype=np.float32) / np.float32(width) - np.float32(0.5))[None, :, None]
    dark = np.float32(1.0) - np.float32(rng.uniform(0.0, 0.6)) * (x * x + y * y)
    image = np.clip(canvas * balance * dark, 0, 255).astype(np.uint8)
    sigma = rng.uniform(0.0, min(0.9, 0.35 + 0.003 * min(height, width)))
    if sigma > 0.35:
        image = cv2.GaussianBlur(image, (5, 5), sigma)
    strength = rng.uniform(0.5, 7.0)
    # the sum of two random bytes approximates a normal variate: sd = 73.9 * sqrt(2) = 104.5
    grain = np.frombuffer(rng.bytes(2 * image.size), dtype=np.uint8).reshape(2, *image.shape)
    noise = grain[0].astype(np.float32)
    noise += grain[1]
    noise -= np.float32(255.0)
    noise *= np.float32(strength / 104.5)
    noise += image
    noise += np.float32(0.5)
    return np.clip(noise, 0, 255).astype(np.uint8)
