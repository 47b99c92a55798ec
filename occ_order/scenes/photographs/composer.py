"""Composition of photographs, and the ground truth of the result.

The order of a pair of instances (pasted objects and regions of the photograph):

* two pasted objects, or a pasted object and a region that was pasted again in place: exact, from
  the layers;
* a pasted object and another region: the object occludes the region if it covers a part of it;
  otherwise there is no occlusion;
* two regions: the photograph's own annotation; without one, 0 if they do not touch and -1 (unknown)
  if they do.
"""

from __future__ import annotations

import numpy as np

from occ_order.scenes.photographs.background import REGION, Background, draw_background
from occ_order.scenes.photographs.layers import PASTED, Layer, common
from occ_order.scenes.photographs.library import Library
from occ_order.scenes.photographs.painting import Brush, develop
from occ_order.scenes.photographs.planning import Planner
from occ_order.scenes.scene import Scene

COMPOSER = 3  # increased whenever the output for the same arguments changes
SMALLEST, LARGEST = 64, 4096  # allowed longer side in pixels
_EQUAL_BASES = 0.02  # minimum distance of bottom edges for a depth order, relative to the height
REGION_NAME = "region"


def compose(
    library: Library,
    seed: int,
    *,
    size: int = 480,
    count: int | None = None,
    perspective: float = 0.4,
    repaste: float = 0.5,
    max_hidden: float = 0.9,
) -> Scene:
    """Compose one image, bitwise reproducible for the same library and arguments.

    Args:
        library: objects and photographs.
        seed: non-negative integer.
        size: longer side in pixels; the aspect ratio is that of the photograph.
        count: number of objects to paste; None = 2 to 8 at random.
        perspective: probability that objects stand on a ground plane, where lower is nearer.
        repaste: probability that some regions of the photograph are pasted again in place, with the
            same processing as pasted objects, so that blending seams are no cue to the order.
        max_hidden: maximum occluded fraction of a pasted object; others are removed.

    Returns:
        The scene. ``classes`` are indices into ``names``; the last name is that of unnamed regions.
        ``disparity`` and ``depth_range`` are None, since they are unknown.

    Raises:
        ValueError: an argument is outside its range, or a photograph cannot be read.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size must be in [{SMALLEST}, {LARGEST}] pixels, got {size!r}")
    for name, value in (("perspective", perspective), ("repaste", repaste)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    if not 0.0 <= max_hidden < 1.0:
        raise ValueError(f"max_hidden must be in [0, 1), got {max_hidden!r}")
    if count is not None and count < 0:
        raise ValueError(f"count must not be negative, got {count!r}")
    streams = np.random.SeedSequence(int(seed)).spawn(4)
    ground, places, look, film = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    background = draw_background(library, ground, size)
    planner = Planner(
        library, background, places, perspective=perspective, repaste=repaste, count=count
    )
    plan = planner.plan()
    truth = _Truth(background, plan.layers, max_hidden=max_hidden)
    brush = Brush(background.image.copy(), look)
    for layer, over in truth.sheets:
        (brush.paint_over if over else brush.paint)(layer)
    return truth.scene(
        develop(brush.canvas, film), (*library.categories, REGION_NAME), plan.perspective, film
    )


def _part(layer: Layer, view: tuple[slice, slice], over: bool) -> np.ndarray:
    """Return the mask of a layer, or of its part in front of another one, in a view, bool."""
    inside = layer.mask[view] > 0
    if not over:
        return inside
    assert layer.over is not None  # `_sheets` repeats only layers with such a part
    return inside & layer.over[view]


class _Truth:
    """Layer order and visibility of all instances at every pixel.

    Instance e < R is region e of the background, R + k is the k-th pasted layer.

    Args:
        background: the photograph.
        layers: from back to front; those with too few visible pixels are removed.
        max_hidden: maximum occluded fraction of a pasted object.
    """

    def __init__(self, background: Background, layers: list[Layer], *, max_hidden: float) -> None:
        self.background = background
        self.shape = background.labels.shape
        pixels = background.labels.size
        self.min_visible = max(12, int(0.0004 * pixels))
        self.min_overlap = max(4, int(0.0001 * pixels))
        self.layers = [layer for layer in layers if self._seen(layer)]
        self._separate()
        hidden = self._hidden(max_hidden)
        while hidden:
            self.layers = [layer for layer in self.layers if layer not in hidden]
            hidden = self._hidden(max_hidden)
        self.sheets = self._sheets()

    # --- layers

    def _window(self, layer: Layer) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return slices of the part of a layer inside the image: (in the image, in the layer)."""
        height, width = self.shape
        y0, x0 = max(layer.y, 0), max(layer.x, 0)
        y1 = max(min(layer.y + layer.mask.shape[0], height), y0)
        x1 = max(min(layer.x + layer.mask.shape[1], width), x0)
        own = np.s_[y0 - layer.y : y1 - layer.y, x0 - layer.x : x1 - layer.x]
        return np.s_[y0:y1, x0:x1], own

    def _seen(self, layer: Layer) -> bool:
        _, own = self._window(layer)
        return int(np.count_nonzero(layer.mask[own])) >= self.min_visible

    def _separate(self) -> None:
        """Remove overlaps that are too small from the layer behind."""
        for k, behind in enumerate(self.layers):
            for front in self.layers[k + 1 :]:
                views = common(behind, front)
                if views is None:
                    continue
                both = (behind.mask[views[0]] > 0) & (front.mask[views[1]] > 0)
                if 0 < int(both.sum()) < self.min_overlap:
                    behind.mask[views[0]][both] = 0

    def _sheets(self) -> list[tuple[Layer, bool]]:
        """Return (layer, paint only `layer.over`) in painting order, from back to front."""
        sheets: list[tuple[Layer, bool]] = []
        for k, layer in enumerate(self.layers):
            sheets.append((layer, False))
            for earlier in self.layers[:k]:
                if earlier.over is not None and earlier.above is layer:
                    sheets.append((earlier, True))
        return sheets

    def _hidden(self, max_hidden: float) -> list[Layer]:
        """Return the layers with too few visible pixels."""
        cover = np.zeros(self.shape, bool)
        seen = {id(layer): 0 for layer in self.layers}
        area = {}
        for layer, over in reversed(self._sheets()):
            there, own = self._window(layer)
            part = _part(layer, own, over)
            area[id(layer)] = int(np.count_nonzero(layer.mask[own]))
            seen[id(layer)] += int(np.count_nonzero(part & ~cover[there]))
            cover[there] |= part
        return [
            layer
            for layer in self.layers
            if seen[id(layer)]
            < max(
                self.min_visible,
                (1.0 - max_hidden) * area[id(layer)] if layer.region == PASTED else 0,
            )
        ]

    # --- ground truth

    def scene(
        self, image: np.ndarray, names: tuple[str, ...], perspective: bool, rng: np.random.Generator
    ) -> Scene:
        """Return the ground truth of all visible instances, in random order."""
        background, regions = self.background, len(self.background.classes)
        pasted = [layer for layer in self.layers if layer.region == PASTED]
        number = {id(layer): regions + k for k, layer in enumerate(pasted)}
        number.update({id(ly): ly.region for ly in self.layers if ly.region != PASTED})
        levels = self._levels(number, regions + len(pasted))
        occlusion = self._occlusion(number, regions + len(pasted), levels)
        depth, overlap = self._depth(number, occlusion, perspective)
        visible = np.array([int(np.count_nonzero(level == 0)) for level in levels], dtype=np.int64)
        kept = rng.permutation(np.flatnonzero(visible >= self.min_visible))
        classes = np.concatenate(
            [background.classes, np.array([layer.category for layer in pasted], np.int64)]
        )
        classes[classes == REGION] = len(names) - 1
        whole = np.concatenate([background.whole, np.array([ly.whole for ly in pasted], bool)])
        stuff = np.concatenate([background.stuff, np.zeros(len(pasted), bool)])
        square = np.ix_(kept, kept)
        levels = levels[kept]
        known = np.where(depth[square] == -1, -1, 2).astype(np.int16)
        return Scene(
            image=image,
            modal=levels == 0,
            amodal=levels >= 0,
            levels=levels,
            classes=classes[kept],
            occlusion=occlusion[square],
            depth=depth[square],
            overlap=overlap[square],
            count=known,
            disparity=None,
            depth_range=None,
            kind=f"photograph: {background.source}",
            names=names,
            amodal_known=whole[kept],
            stuff=stuff[kept],
        )

    def _levels(self, number: dict[int, int], total: int) -> np.ndarray:
        """Return int8 (total, H, W): number of instances in front, -1 outside the amodal mask."""
        levels = np.full((total, *self.shape), -1, np.int8)
        cover = np.zeros(self.shape, np.int8)
        done = np.zeros(total, bool)
        for layer, over in reversed(self.sheets):
            there, own = self._window(layer)
            level = levels[number[id(layer)]][there]
            part = _part(layer, own, over)
            part = part & (level < 0)
            level[part] = cover[there][part]
            cover[there] += part
            done[number[id(layer)]] = True
        for region in np.flatnonzero(~done):
            own = self.background.labels == region + 1
            levels[region][own] = cover[own]
        return levels

    def _occlusion(self, number: dict[int, int], total: int, levels: np.ndarray) -> np.ndarray:
        regions = len(self.background.classes)
        occlusion = np.zeros((total, total), np.int8)
        occlusion[:regions, :regions] = self.background.occlusion
        for layer in self.layers:
            own = number[id(layer)]
            if layer.region == PASTED:
                there, part = self._window(layer)
                covered = self.background.labels[there][layer.mask[part] > 0]
                areas = np.bincount(covered, minlength=regions + 1)[1:]
                occlusion[own, :regions][areas >= self.min_overlap] = 1
                few = (areas > 0) & (areas < self.min_overlap)
                occlusion[own, :regions][few] = occlusion[:regions, own][few] = -1
        for k, behind in enumerate(self.layers):
            for front in self.layers[k + 1 :]:
                if PASTED in (behind.region, front.region):
                    self._pair(occlusion, behind, front, number, levels)
        return occlusion

    def _pair(
        self,
        occlusion: np.ndarray,
        behind: Layer,
        front: Layer,
        number: dict[int, int],
        levels: np.ndarray,
    ) -> None:
        """Set both entries of two layers from their common pixels inside the image."""
        i, j = number[id(behind)], number[id(front)]
        window, _ = self._window(front)
        a, b = levels[i][window], levels[j][window]
        both = (a >= 0) & (b >= 0)
        occlusion[j, i] = int(np.count_nonzero(both & (b < a))) >= self.min_overlap
        occlusion[i, j] = int(np.count_nonzero(both & (a < b))) >= self.min_overlap

    def _depth(
        self, number: dict[int, int], occlusion: np.ndarray, perspective: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return depth and overlap matrices, -1 = unknown."""
        total, regions = len(occlusion), len(self.background.classes)
        nearer = (occlusion == 1) & (occlusion.T == 0)
        nearer[:regions, :regions] = False
        rows = np.array([number[id(layer)] for layer in self.layers], np.int64)
        reach = nearer[np.ix_(rows, rows)]
        for k in range(len(rows)):
            reach |= reach[:, k : k + 1] & reach[k]
        if perspective:
            bases = np.array([layer.base for layer in self.layers], float)
            gap = bases[:, None] - bases[None, :] > _EQUAL_BASES * self.shape[0]
            pasted = np.array([layer.region == PASTED for layer in self.layers], bool)
            reach |= gap & pasted[:, None] & pasted[None, :]
        for k, layer in enumerate(self.layers):
            for other in layer.beside:
                if other in self.layers:
                    reach[k, self.layers.index(other)] = False
        nearer[np.ix_(rows, rows)] |= reach
        nearer &= ~nearer.T
        depth = np.full((total, total), -1, np.int8)
        depth[nearer], depth[nearer.T] = 1, 0
        overlap = np.full((total, total), -1, np.int8)
        pasted_rows = np.arange(regions, total)
        inner = np.ix_(pasted_rows, pasted_rows)
        overlap[inner] = np.where(depth[inner] == -1, -1, 0)
        real = np.s_[:regions, :regions]
        depth[real], overlap[real] = self.background.depth, self.background.overlap
        return depth, overlap
