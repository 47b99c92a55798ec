"""Crops of instances with erasers, on which PCNet-M is trained."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetCatalog

from occ_order import masks
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_crops import crop_masks, jittered, on_pixels, square_around
from occ_order.methods.common.pair_mapper import generator
from occ_order.methods.common.pair_samplers import draw_jitter
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.instaorder.erasers import completion_sample, place_eraser

SMALLEST_SIDE = 5
"""Least side in pixels of a target's crop."""
NUM_ERASERS = 2000
"""Most instances of the data that erasers are drawn from."""


@MAPPER_REGISTRY.register()
class PartialCompletionMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` that, in training, adds samples of PCNet-M.

    The result has `completion` uint8 (K, 3, S, S): erased mask, eraser, whole target, and
    `completion_classes` int64 (K,). An eraser is another random instance of the data, with a scale
    and flip of its own, drawn from a fixed choice of them so that memory stays small. An image
    without an instance that is large enough gives None, and the loader takes another.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        datasets: Sequence[str] = (),
        size: int = 256,
        num_targets: int = 1,
        erase_ratio: float = 0.8,
        expansion: float = 3.0,
        shift: float = 0.2,
        scale: tuple[float, float] = (0.8, 1.2),
        **options,
    ) -> None:
        """Keep the arguments.

        Args:
            is_train: whether samples are made.
            datasets: registered names, where erasers come from; without any, from the image.
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
        self.datasets = tuple(datasets)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """INPUT.* and MODEL.PCNET_M.*."""
        own = cfg.MODEL.PCNET_M
        return {
            **super().from_config(cfg, is_train),
            "datasets": cfg.DATASETS.TRAIN,
            "size": own.INPUT_SIZE,
            "num_targets": own.INSTANCES_PER_IMAGE,
            "erase_ratio": own.CASE_1_RATIO,
            "expansion": own.EXPANSION,
            "shift": own.SHIFT,
            "scale": own.SCALE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record; None if it has no target."""
        result = super().__call__(record)
        if not self.is_train:
            return result
        rng = generator()
        found = result["instances"]
        boxes = found.gt_boxes.tensor
        squares = on_pixels(square_around(boxes, area=self.expansion))
        large = np.flatnonzero((squares[:, 2] >= SMALLEST_SIDE).numpy())
        if len(large) == 0:
            return None
        chosen = large[rng.integers(len(large), size=self.num_targets)]
        images = found.gt_masks.tensor.to(torch.uint8)
        targets = [self._crop(images[k], boxes[k], rng, shift=self.shift) for k in chosen]
        keep = [k for k, target in enumerate(targets) if target.any()]
        if not keep:
            return None
        samples = [self._sample(targets[k], self._eraser(record, rng), rng) for k in keep]
        result["completion"] = torch.from_numpy(np.stack(samples))
        result["completion_classes"] = found.gt_classes[torch.from_numpy(chosen[keep])]
        return result

    @functools.cached_property
    def erasers(self) -> list[dict[str, Any]]:
        """Records of one annotation each: a choice that depends on the data only."""
        records = [record for name in self.datasets for record in DatasetCatalog.get(name)]
        places = [(i, k) for i, one in enumerate(records) for k in range(len(one["annotations"]))]
        order = np.random.default_rng(0).permutation(len(places))[:NUM_ERASERS]
        return [
            {**records[i], "annotations": [records[i]["annotations"][k]]}
            for i, k in (places[n] for n in order)
        ]

    def _eraser(self, record: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
        """uint8 (S, S) crop of another instance, turned or not."""
        records = self.erasers or [record]
        chosen = records[rng.integers(len(records))]
        annotation = chosen["annotations"][rng.integers(len(chosen["annotations"]))]
        mask = masks.decode(annotation["segmentation"], chosen["height"], chosen["width"])
        box = torch.from_numpy(masks.bounding_box(mask)).float()
        crop = self._crop(torch.from_numpy(mask).to(torch.uint8), box, rng, shift=0.0)
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _crop(
        self, mask: torch.Tensor, box: torch.Tensor, rng: np.random.Generator, *, shift: float
    ) -> np.ndarray:
        """uint8 (S, S) with random shift and scale."""
        square = square_around(box[None], area=self.expansion)
        jitter = draw_jitter(1, rng, shift=shift, scale=self.scale)
        place = on_pixels(jittered(square, torch.from_numpy(jitter)))
        return crop_masks(mask[None], torch.zeros(1, dtype=torch.int64), place, self.size)[
            0
        ].numpy()

    def _sample(
        self, target: np.ndarray, eraser: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        placed = place_eraser(target, eraser, rng) if eraser.any() else eraser
        return completion_sample(target, placed, erase=rng.random() < self.erase_ratio)
