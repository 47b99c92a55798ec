"""Dataset mapper of the class-agnostic detector, for partially labelled images."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Instances

from occ_order.methods.common.color import jittered_color
from occ_order.methods.common.image_area import ImageArea
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_mapper import generator
from occ_order.methods.common.reading import (
    ORDER_KEYS,
    ground_truth_instances,
    modal_masks,
    transform_masks,
)
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.segmenter.augmentations import LargeScaleJitter

MIN_PIXELS = 16
"""Minimum visible pixels of a training instance; smaller ones become unlabelled area."""


@MAPPER_REGISTRY.register()
class PartlyLabelledMapper(InstanceOrderMapper):
    """InstanceOrderMapper for class-agnostic instances, with the unlabelled area of the image.

    Orders are not loaded (-1).

    `instances` has the additional ImageArea field `unlabelled`: pixels of no instance, including
    those of crowd regions and of instances that are too small for training.
    """

    @configurable
    def __init__(self, is_train: bool, *, stuff_is_unlabelled: bool, **rest: Any) -> None:
        """Initialise the mapper.

        Args:
            is_train: augment the image and drop very small instances.
            stuff_is_unlabelled: stuff regions of the data (wall, sky) count as unlabelled area;
                otherwise as background.
            **rest: arguments of InstanceOrderMapper.
        """
        super().__init__(is_train, **rest)
        self.stuff_is_unlabelled = stuff_is_unlabelled

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.*; training uses large-scale jitter, colour and flip, else a resize."""
        return {
            **super().from_config(cfg, is_train),
            "augmentations": _augmentations(cfg)
            if is_train
            else detection_utils.build_augmentation(cfg, is_train=False),
            "stuff_is_unlabelled": cfg.INPUT.STUFF_IS_UNLABELLED,
        }

    def _instances(self, record, transforms, size) -> Instances:
        annotations = [a for a in record["annotations"] if not a.get("iscrowd")]
        things = [a for a in annotations if not a.get("is_stuff")]
        found, labelled = self._things(self._with(record, things), transforms, size)
        if not self.stuff_is_unlabelled and len(things) < len(annotations):
            stuff = [a for a in annotations if a.get("is_stuff")]
            labelled |= self._masks(self._with(record, stuff), transforms, size).any(axis=0)
        found.unlabelled = ImageArea(torch.from_numpy(~labelled), len(found))
        return found

    def _things(self, record, transforms, size) -> tuple[Instances, np.ndarray]:
        """Return the instances of sufficient size, and their union as bool (h, w)."""
        modal = self._masks(record, transforms, size)
        least = MIN_PIXELS if self.is_train else 0
        large = [k for k, mask in enumerate(modal) if np.count_nonzero(mask) >= least]
        chosen = [record["annotations"][k] for k in large]
        if len(large) < len(modal):
            modal = modal[large]
        found = ground_truth_instances(self._with(record, chosen), modal, None)
        found.gt_classes.zero_()
        return found, np.any(modal, axis=0)

    @staticmethod
    def _masks(record, transforms, size) -> np.ndarray:
        return transform_masks(modal_masks(record), transforms, size)

    @staticmethod
    def _with(record, annotations) -> dict[str, Any]:
        """Return the record with a subset of its annotations and without order matrices."""
        kept = {key: value for key, value in record.items() if key not in ORDER_KEYS}
        return {**kept, "annotations": annotations}


class ColorJitter(T.Augmentation):
    """Randomly change brightness, contrast, saturation and hue of an RGB image."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw the changes."""
        return T.ColorTransform(functools.partial(jittered_color, rng=generator()))


def _augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    jitter = cfg.INPUT.LARGE_SCALE_JITTER
    _, *flip = detection_utils.build_augmentation(cfg, is_train=True)  # replace its resizing
    return [
        LargeScaleJitter(jitter.SIZE, jitter.SCALE),
        T.RandomApply(ColorJitter(), cfg.INPUT.COLOR_JITTER),
        *flip,
    ]
