"""Dataset mapper of PCNet-M: crops of instances with erasers."""

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
"""Minimum side of a target's crop in pixels."""
NUM_ERASERS = 2000
"""Maximum number of instances in the data from which erasers are drawn."""


@MAPPER_REGISTRY.register()
class PartialCompletionMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` that adds training samples of PCNet-M.

    The result contains `completion` uint8 (K, 3, S, S): erased mask, eraser, full target mask, and
    `completion_classes` int64 (K,). An eraser is another random instance of the data, with random
    scale and flip. To limit memory, erasers are drawn from a fixed subset of the data. Returns None
    for an image without a sufficiently large instance; the loader then takes another image.
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
        """Initialise the mapper.

        Args:
            is_train: add the samples.
            datasets: names of registered data sets from which erasers are drawn; empty = the image.
            size: S, side of the crops.
            num_targets: K, targets per image, drawn with replacement.
            erase_ratio: probability of case 1, in which pixels of the target are erased.
            expansion: ratio of the areas of a crop and of the target's box.
            shift, scale: random shift and scale of target crops; erasers are only scaled.
            options: arguments of `InstanceOrderMapper`.
        """
        super().__init__(is_train, **options)
        self.size, self.num_targets, self.erase_ratio = size, num_targets, erase_ratio
        self.expansion, self.shift, self.scale = expansion, shift, tuple(scale)
        self.datasets = tuple(datasets)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.* and MODEL.PCNET_M.*."""
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
        """Map a record; return None if it has no target."""
        result = self.read(record)
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
        """Return records of one annotation each, a subset that depends only on the data."""
        records = [record for name in self.datasets for record in DatasetCatalog.get(name)]
        places = [(i, k) for i, one in enumerate(records) for k in range(len(one["annotations"]))]
        order = np.random.default_rng(0).permutation(len(places))[:NUM_ERASERS]
        return [
            {**records[i], "annotations": [records[i]["annotations"][k]]}
            for i, k in (places[n] for n in order)
        ]

    def _eraser(self, record: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
        """Return a crop of another instance, randomly flipped, uint8 (S, S)."""
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
        """Return a crop with random shift and scale, uint8 (S, S)."""
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
