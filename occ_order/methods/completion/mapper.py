"""Dataset mapper of the completion network: views of partly occluded instances."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetCatalog

from occ_order import masks as mask_tools
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_mapper import generator
from occ_order.methods.common.reading import modal_masks, order_matrix
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.completion import views
from occ_order.methods.completion.occluders import placed_occluder
from occ_order.scenes.photographs import annotator_noise

SMALLEST = 48
"""Minimum area of the modal mask of a training instance, in pixels."""

NEAR = 6
"""Maximum distance in pixels between the boxes of two instances for a simulated false occlusion."""

OCCLUDER_PROBABILITY, OTHER_PROBABILITY = (1.3, 0.5), (0.25, 1.8)
"""Parameters of beta distributions of simulated occlusion probabilities, of true occluders and of
other near instances. They approximate those of mask_order_photos on composed photographs.
"""

NUM_SHAPES = 4000
"""Maximum number of shapes from which pasted occluders are sampled."""


@dataclass
class Situation:
    """One instance, the others of its image, and the annotation of its occluded region.

    Attributes:
        modal: bool (N, H, W).
        boxes: (N, 4), x0, y0, x1, y1 around each instance, not always tight.
        index: index of the instance in `modal`.
        whole: bool (H, W), its amodal mask, valid behind the instances in `known`.
        hides: bool (N,), instances that occlude a part of it.
        known: bool (N,), instances behind which its amodal mask is known.
    """

    modal: np.ndarray
    boxes: np.ndarray
    index: int
    whole: np.ndarray
    hides: np.ndarray
    known: np.ndarray


@MAPPER_REGISTRY.register()
class MaskCompletionMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` whose training samples are views for the completion network.

    In training the result has `completion` float32 (K, `views.CHANNELS` + 2, S, S): the view, and
    `target` and `known` of `losses.hidden_part_loss`. Image files are not read. For a record
    without a suitable instance the result is None, and Detectron2's loader takes another one. An
    annotation without `amodal_segmentation` is used with pasted occluders only.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        datasets: Sequence[str] = (),
        size: int = 64,
        reach: float = 3.0,
        margin: float = 1.1,
        stride: int = 1,
        targets: int = 4,
        paste: float = 0.5,
        beside: float = 0.15,
        mask_noise: float = 0.7,
        order_noise: float = 0.6,
        shift: float = 0.1,
        scale: float = 1.25,
        **options,
    ) -> None:
        """Initialise the mapper.

        Args:
            is_train: whether to sample training views.
            datasets: registered data sets from which the shapes of pasted occluders are sampled;
                empty = the same image.
            size: S.
            reach, margin: see `views.view_square`.
            stride: subsampling factor of the masks in training.
            targets: maximum number of instances per image.
            paste: probability of a sample with an occluder pasted in front of any instance,
                instead of an instance that is occluded in the image and has an amodal annotation.
            beside: fraction of pasted instances that are behind the instance.
            mask_noise: probability of simulated annotation errors of the masks.
            order_noise: probability that occlusion probabilities are sampled like those of an order
                network; otherwise they are the ground truth.
            shift: maximum shift of a view relative to its side.
            scale: maximum scale factor of a view.
            options: arguments of `InstanceOrderMapper`.
        """
        super().__init__(is_train, **options)
        self.datasets, self.size, self.targets = tuple(datasets), size, targets
        self.reach, self.margin, self.shift, self.scale = reach, margin, shift, scale
        self.stride, self.paste, self.beside = stride, paste, beside
        self.mask_noise, self.order_noise = mask_noise, order_noise

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.*, INPUT.COMPLETION and MODEL.COMPLETION."""
        own, model = cfg.INPUT.COMPLETION, cfg.MODEL.COMPLETION
        return {
            **super().from_config(cfg, is_train),
            "datasets": own.OCCLUDERS,
            "size": model.VIEW_SIZE,
            "reach": model.REACH,
            "margin": model.MARGIN,
            "stride": own.STRIDE,
            "targets": own.TARGETS,
            "paste": own.PASTE,
            "beside": own.BESIDE,
            "mask_noise": own.MASK_NOISE,
            "order_noise": own.ORDER_NOISE,
            "shift": own.SHIFT,
            "scale": own.SCALE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record; None for a training image without a suitable instance."""
        if not self.is_train:
            return self.read(record)
        rng = generator()
        modal, amodal = self._masks(record, rng)
        if rng.random() < self.mask_noise:
            modal = annotator_noise(modal, rng, strength=1 / self.stride)
        boxes = np.array([mask_tools.bounding_box(mask) for mask in modal]).reshape(-1, 4)
        occlusion = order_matrix(record, "occlusion").numpy()
        samples = []
        for index, pasted in self._chosen(modal, amodal, rng):
            near = self._in_reach(boxes, index)
            found = situation_of(
                modal[near],
                boxes[near],
                amodal[index],
                occlusion[near, index] == 1,
                int(np.flatnonzero(near == index)[0]),
            )
            situation = self._with_occluder(found, record, rng) if pasted else found
            if situation is not None:
                samples.append(self._sample(situation, pasted, rng))
        samples = [sample for sample in samples if sample[-1].any()]
        if not samples:
            return None
        return {
            "image_id": record["image_id"],
            "completion": torch.from_numpy(np.stack(samples)),
        }

    def _masks(self, record, rng) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Return modal and known amodal masks, subsampled by `stride` at a random offset."""
        rows, columns = (slice(k, None, self.stride) for k in rng.integers(self.stride, size=2))
        size = record["height"], record["width"]
        whole = [one.get("amodal_segmentation") for one in record["annotations"]]
        whole = [None if mask is None else mask_tools.decode(mask, *size) for mask in whole]
        modal = np.ascontiguousarray(modal_masks(record)[:, rows, columns])
        return modal, [None if mask is None else mask[rows, columns] for mask in whole]

    @functools.cached_property
    def shapes(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(record, annotation) of up to `NUM_SHAPES` things, sampled with a fixed seed."""
        records = [record for name in self.datasets for record in DatasetCatalog.get(name)]
        places = [
            (record, one)
            for record in records
            for one in record["annotations"]
            if not one.get("is_stuff", 0)
        ]
        order = np.random.default_rng(0).permutation(len(places))[:NUM_SHAPES]
        return [places[k] for k in order]

    def _chosen(self, modal, amodal, rng) -> list[tuple[int, bool]]:
        """Sample instances to complete; return (index, whether to paste an occluder) of each."""
        large = modal.sum((1, 2)) >= SMALLEST
        hidden = np.array(
            [
                whole is not None and (whole & ~seen).sum() > 0
                for seen, whole in zip(modal, amodal, strict=True)
            ],
            bool,
        )
        exact = rng.permutation(np.flatnonzero(hidden & large)).tolist()
        any_one = rng.permutation(np.flatnonzero(large)).tolist()
        chosen = []
        for pasted in rng.random(self.targets) < self.paste:
            left = any_one if pasted else exact
            if left:
                chosen.append((left.pop(), bool(pasted)))
        return chosen

    def _in_reach(self, boxes: np.ndarray, index: int) -> np.ndarray:
        """Return the indices of the instances that a view of instance `index` could contain."""
        low, high = boxes[index, :2], boxes[index, 2:]
        half = self.reach * self.scale * (high - low).max() / 2
        centre = (low + high) / 2
        return np.flatnonzero(views.meets(boxes, np.concatenate([centre - half, centre + half])))

    def _with_occluder(self, situation: Situation, record, rng) -> Situation | None:
        """Append a pasted instance to a situation; None if it cannot be placed."""
        mask = placed_occluder(situation.modal[situation.index], self._shape(record, rng), rng)
        if mask is None:
            return None
        front = rng.random() >= self.beside
        modal = situation.modal.copy()
        if front:
            modal &= ~mask
        else:
            mask = mask & ~modal[situation.index]
            modal[np.arange(len(modal)) != situation.index] &= ~mask
        if modal[situation.index].sum() < SMALLEST or not mask.any():
            return None
        boxes = np.concatenate([situation.boxes, mask_tools.bounding_box(mask)[None]])
        boxes[situation.index] = mask_tools.bounding_box(modal[situation.index])
        return Situation(
            np.concatenate([modal, mask[None]]),
            boxes,
            situation.index,
            situation.whole,
            np.append(situation.hides, front),
            np.append(situation.known, True),
        )

    def _shape(self, record, rng) -> np.ndarray:
        """Return the mask of a random thing, cropped to its box, uint8 0/1 (h, w)."""
        places = self.shapes or [(record, one) for one in record["annotations"]]
        where, one = places[rng.integers(len(places))]
        mask = mask_tools.decode(one["segmentation"], where["height"], where["width"])
        x0, y0, x1, y1 = mask_tools.bounding_box(mask).astype(int)
        return mask[y0:y1, x0:x1].astype(np.uint8)

    def _sample(self, situation: Situation, pasted: bool, rng) -> np.ndarray:
        """Return a training sample, float32 (C + 2, S, S), randomly shifted, scaled and flipped."""
        modal, boxes, index = situation.modal, situation.boxes, situation.index
        weights = self._weights(situation, pasted, rng)
        square = views.view_square(
            boxes[index], boxes[weights > 0], reach=self.reach, margin=self.margin
        )
        square = self._jittered(square, rng)
        view = views.mask_view(modal, boxes, index, weights, square, self.size)
        asked = modal[(weights > 0) & situation.known].any(0) & ~modal[index]
        known = views.crop(asked, square, self.size)
        inside = views.crop(asked & situation.whole, square, self.size)
        share = np.clip(inside / np.maximum(known, 1e-6), 0, 1)
        sample = np.concatenate([view, share[None], known[None]])
        return np.ascontiguousarray(sample[:, :, ::-1] if rng.random() < 0.5 else sample)

    def _weights(self, situation: Situation, pasted: bool, rng) -> np.ndarray:
        """Sample the probabilities (N,) of each instance occluding this one, as network input.

        A pasted occluder is the last instance and never has weight 0: the loss is on the region
        behind it.
        """
        weights = situation.hides.astype(float)
        if rng.random() < self.order_noise:
            near = views.meets(situation.boxes, situation.boxes[situation.index], gap=NEAR)
            predicted = np.where(
                situation.hides,
                rng.beta(*OCCLUDER_PROBABILITY, len(near)),
                rng.beta(*OTHER_PROBABILITY, len(near)),
            )
            weights[near] = predicted[near]
        if pasted and not situation.hides[-1]:
            weights[-1] = rng.uniform(views.LEAST_WEIGHT, 1.0)
        weights[situation.index] = 0
        weights[weights < views.LEAST_WEIGHT] = 0
        return weights

    def _jittered(self, square: np.ndarray, rng) -> np.ndarray:
        x, y, side = square.astype(float)
        move = rng.uniform(-self.shift, self.shift, 2) * side
        larger = max(round(side * self.scale ** rng.uniform(-1, 1)), 1)
        corner = np.array([x, y]) + move + (side - larger) / 2
        return np.array([*np.floor(corner), larger], dtype=np.int64)


def situation_of(
    modal: np.ndarray,
    boxes: np.ndarray,
    amodal: np.ndarray | None,
    hides: np.ndarray,
    index: int,
) -> Situation:
    """Return the annotated situation of one instance.

    Args:
        modal: bool (N, H, W).
        boxes: (N, 4) around each instance.
        amodal: bool (H, W), amodal mask of the instance; None = unknown.
        hides: bool (N,), instances that occlude it.
        index: index of the instance in `modal`.
    """
    whole = modal[index].copy() if amodal is None else amodal | modal[index]
    return Situation(modal, boxes, index, whole, hides, np.full(len(modal), amodal is not None))
