"""Crops of instances with erasers, on which PCNet-M is trained."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances

from occ_order.data.erasers import completion_sample, place_eraser
from occ_order.data.mappers import MAPPER_REGISTRY
from occ_order.data.mappers.instances import InstanceOrderMapper
from occ_order.data.mappers.pairs import generator
from occ_order.data.pair_samplers import draw_jitter
from occ_order.layers.pair_crops import crop_masks, on_pixels, square_around

SMALLEST_SIDE = 5
"""Least side in pixels of a target's crop."""
POOL = 64
"""Instances of earlier pictures that erasers are drawn from."""


@MAPPER_REGISTRY.register()
class PartialCompletionMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` that, in training, adds samples of PCNet-M.

    The result has `completion` uint8 (K, 3, S, S): erased mask, eraser, whole target, and
    `completion_classes` int64 (K,). An eraser is an instance of a picture that this process has
    seen before, with a scale and flip of its own; the first picture serves itself. A picture
    without an instance that is large enough gives None, and the loader takes another.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        size: int = 256,
        num_targets: int = 1,
        erase_ratio: float = 0.8,
        expansion: float = 3.0,
        shift: float = 0.2,
        scale: tuple[float, float] = (0.8, 1.2),
        **options,
    ):
        """Keeps the arguments.

        Args:
            is_train: whether samples are made.
            size: S.
            num_targets: K, drawn with replacement.
            erase_ratio: share of case 1, in which the target loses pixels.
            expansion: area of a crop in areas of the target's box.
            shift, scale: random crop of the targets; erasers only get the scale.
            options: of `InstanceOrderMapper`.
        """
        super().__init__(is_train, **options)
        self.size, self.num_targets, self.erase_ratio = size, num_targets, erase_ratio
        self.expansion, self.shift, self.scale = expansion, shift, tuple(scale)
        self.pool: deque[np.ndarray] = deque(maxlen=POOL)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """INPUT.* and MODEL.PCNET_M.*."""
        own = cfg.MODEL.PCNET_M
        return {
            **super().from_config(cfg, is_train),
            "size": own.INPUT_SIZE,
            "num_targets": own.INSTANCES_PER_IMAGE,
            "erase_ratio": own.CASE_1_RATIO,
            "expansion": own.EXPANSION,
            "shift": own.SHIFT,
            "scale": own.SCALE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Maps one record; None if it has no target."""
        result = super().__call__(record)
        if not self.is_train:
            return result
        rng = generator()
        found = result["instances"]
        squares = on_pixels(square_around(found.gt_boxes.tensor, area=self.expansion))
        large = np.flatnonzero((squares[:, 2] >= SMALLEST_SIDE).numpy())
        if len(large) == 0:
            return None
        chosen = torch.from_numpy(large[rng.integers(len(large), size=self.num_targets)])
        targets = self._crops(found, chosen, rng, shift=self.shift)
        # Erasers of later pictures; they are not shifted, the placement does that.
        self.pool.extend(mask for mask in self._crops(found, chosen, rng, shift=0) if mask.any())
        keep = [k for k, target in enumerate(targets) if target.any()]
        if not keep or not self.pool:
            return None
        samples = np.stack([self._sample(targets[k], rng) for k in keep])
        result["completion"] = torch.from_numpy(samples)
        result["completion_classes"] = found.gt_classes[chosen[keep]]
        return result

    def _crops(
        self, found: Instances, chosen: torch.Tensor, rng: np.random.Generator, *, shift: float
    ) -> np.ndarray:
        """uint8 (K, S, S) with random shift and scale."""
        squares = square_around(found.gt_boxes.tensor[chosen], area=self.expansion)
        jitter = draw_jitter(len(chosen), rng, shift=shift, scale=self.scale)
        jitter = torch.from_numpy(jitter).double()
        centre = squares[:, :2] + jitter[:, :2] * squares[:, 2:]
        moved = on_pixels(torch.cat([centre, squares[:, 2:] / jitter[:, 2:]], dim=1))
        masks = found.gt_masks.tensor.to(torch.uint8)
        return crop_masks(masks, chosen, moved, self.size).numpy()

    def _sample(self, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        eraser = self.pool[rng.integers(len(self.pool))]
        if rng.random() < 0.5:
            eraser = eraser[:, ::-1]
        placed = place_eraser(target, eraser, rng)
        return completion_sample(target, placed, erase=rng.random() < self.erase_ratio)
