"""Dataset mapper of images with instances and their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from occ_order.methods.common.reading import (
    augmented_image,
    ground_truth_instances,
    modal_masks,
    read_masks,
    transform_masks,
)
from occ_order.methods.common.registry import MAPPER_REGISTRY


@MAPPER_REGISTRY.register()
class InstanceOrderMapper:
    """Reads and augments an image with its masks and order matrices.

    Returns a dict with `image` (uint8 (C, H, W)), `height`, `width`, `image_id`, `file_name` and,
    in training or with `keep_ground_truth`, `instances` with all fields of
    `occ_order.methods.common.reading.ground_truth_instances`, also for an image without instances.
    In training, instances that are cropped away by the augmentation are removed, together with
    their rows and columns of the matrices.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation],
        image_format: str,
        boxes: str = "modal",
        keep_ground_truth: bool = False,
        output_size: Sequence[int] = (),
    ) -> None:
        """Initialise the mapper.

        Args:
            is_train: whether to remove instances outside the augmented image.
            augmentations: augmentations of Detectron2, applied in order.
            image_format: "RGB" or "BGR".
            boxes: "modal" or "amodal": masks that the boxes enclose; in training, instances with
                an empty box are removed.
            keep_ground_truth: whether to return `instances` at test time, too.
            output_size: height and width of the network's results; empty = those of the record.

        Raises:
            ValueError: invalid `boxes`.
        """
        if boxes not in ("modal", "amodal"):
            raise ValueError(f"boxes must be 'modal' or 'amodal', got {boxes!r}")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.boxes = boxes
        self.keep_ground_truth = keep_ground_truth
        self.output_size = tuple(output_size)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.*; the augmentations are Detectron2's (resize, crop if enabled, flip)."""
        augmentations = detection_utils.build_augmentation(cfg, is_train)
        if cfg.INPUT.CROP.ENABLED and is_train:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "boxes": cfg.INPUT.BOXES,
            "keep_ground_truth": cfg.INPUT.KEEP_GROUND_TRUTH,
            "output_size": () if is_train else cfg.INPUT.OUTPUT_SIZE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record, which is not modified.

        Returns:
            The dict of the class; None, from mappers that sample in training, for an image without
            a sample: Detectron2's loader then takes another image.

        Raises:
            ValueError: image or annotation is damaged, or they do not match.
        """
        return self.read(record)

    def read(self, record: dict[str, Any]) -> dict[str, Any]:
        """Read and augment one record, as the class says.

        Raises:
            ValueError: image or annotation is damaged, or they do not match.
        """
        result, transforms = augmented_image(
            record, self.augmentations, self.image_format, output_size=self.output_size
        )
        if self.is_train or self.keep_ground_truth:
            result["instances"] = self._instances(record, transforms, result["image"].shape[1:])
        return result

    def _instances(self, record, transforms, size):
        modal, amodal = modal_masks(record), read_masks(record, "amodal_segmentation")
        modal = transform_masks(modal, transforms, size)
        if amodal is not None:
            amodal = transform_masks(amodal, transforms, size)
        found = ground_truth_instances(record, modal, amodal, boxes=self.boxes)
        return found[found.gt_boxes.nonempty()] if self.is_train else found
