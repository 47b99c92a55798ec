"""Dataset mapper of MaskOrderNet: images with instances, their order and depth maps."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable

from occ_order.methods.common.color import jittered_color
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_mapper import generator
from occ_order.methods.common.reading import (
    ORDER_KEYS,
    augmented_image,
    ground_truth_instances,
    modal_masks,
    read_depth_map,
    transform_masks,
)
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.order import UNKNOWN, set_into
from occ_order.scenes.photographs import annotator_noise


@MAPPER_REGISTRY.register()
class MaskOrderMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` with noisy masks, colour augmentation and depth maps.

    In training the result has at most `max_instances` instances and, if the record has a depth
    map, `depth_map` float32 (h, w), metres, 0 = unknown.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        max_instances: int = 20,
        set_into: bool = False,
        mask_noise: float = 0.0,
        color: float = 0.0,
        grey: float = 0.0,
        blur: float = 0.0,
        **options,
    ) -> None:
        """Initialise the mapper.

        Args:
            is_train: whether to augment the data.
            max_instances: maximum number of instances; of more, a neighbourhood is sampled.
            set_into: whether to fill in unknown occlusions of instances that stand on another one
                (`occ_order.order.set_into`).
            mask_noise: probability of simulated annotation errors of the masks of an image
                (`occ_order.scenes.annotator_noise`).
            color: probability of changed brightness, contrast, saturation and hue.
            grey: probability of conversion to grey.
            blur: probability of blur or reduced resolution.
            options: arguments of `InstanceOrderMapper`.
        """
        super().__init__(is_train, **options)
        self.max_instances, self.set_into = max_instances, set_into
        self.mask_noise = mask_noise
        self.color, self.grey, self.blur = color, grey, blur

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.* and INPUT.MASK_ORDER."""
        own = cfg.INPUT.MASK_ORDER
        return {
            **super().from_config(cfg, is_train),
            "max_instances": own.MAX_INSTANCES,
            "set_into": own.SET_INTO,
            "mask_noise": own.MASK_NOISE,
            "color": own.COLOR,
            "grey": own.GREY,
            "blur": own.BLUR,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record; None for a training image with fewer than two instances."""
        if not self.is_train:
            return self.read(record)
        rng = generator()
        record = chosen_instances(record, self.max_instances, rng)
        result, transforms = augmented_image(record, self.augmentations, self.image_format)
        size = result["image"].shape[1:]
        modal = transform_masks(modal_masks(record), transforms, size)
        if self.set_into:
            record = {**record, "occlusion": with_set_into(record.get("occlusion"), modal)}
        if rng.random() < self.mask_noise:
            modal = annotator_noise(modal, rng)
        found = ground_truth_instances(record, modal, None)
        found = found[found.gt_boxes.nonempty()]
        if len(found) < 2:
            return None
        result["instances"] = found
        result["image"] = self._recolored(result["image"], rng)
        if "depth_file_name" in record:
            moved = transforms.apply_segmentation(read_depth_map(record))
            result["depth_map"] = torch.from_numpy(np.ascontiguousarray(moved))
        return result

    def _recolored(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Randomly change colour and sharpness of an image, uint8 (3, H, W) RGB."""
        changed = image.permute(1, 2, 0).numpy()
        if rng.random() < self.color:
            changed = jittered_color(changed, rng)
        if rng.random() < self.grey:
            changed = np.repeat(changed.mean(2, keepdims=True).astype(np.uint8), 3, 2)
        if rng.random() < self.blur:
            changed = blurred(changed, rng)
        return torch.from_numpy(np.ascontiguousarray(changed.transpose(2, 0, 1)))


def with_set_into(occlusion: np.ndarray | None, modal: np.ndarray) -> np.ndarray:
    """Fill in unknown occlusions by `occ_order.order.set_into`.

    Args:
        occlusion: int8 (N, N), -1 = unknown; None = all unknown.
        modal: bool (N, H, W).

    Returns:
        int8 (N, N), a new array.
    """
    number = len(modal)
    if occlusion is None:
        result = np.full((number, number), UNKNOWN, np.int8)
        np.fill_diagonal(result, 0)
    else:
        result = np.array(occlusion, np.int8)
    unknown = (result == UNKNOWN) & (result.T == UNKNOWN)
    found = set_into(modal) & unknown
    result[found], result[found.T] = 1, 0
    return result


def chosen_instances(
    record: dict[str, Any], number: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Reduce a record to at most `number` instances: a random one and those nearest to it.

    The first one is sampled from the occluders, if there are any. Rows and columns of the other
    instances are removed from the matrices. The input record is not modified.
    """
    annotations = record["annotations"]
    if len(annotations) <= number:
        return record
    occlusion = record.get("occlusion")
    first = np.arange(len(annotations))
    if occlusion is not None:
        occluding = np.flatnonzero((np.asarray(occlusion) == 1).any(1))
        first = occluding if len(occluding) else first
    boxes = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64)
    seed = boxes[rng.choice(first)]
    gap = np.maximum(boxes[:, :2] - seed[2:], seed[:2] - boxes[:, 2:]).clip(0)
    # Random offsets include some distant instances, too: depth is annotated for all pairs.
    distance = np.hypot(*gap.T) + rng.exponential(0.1 * np.hypot(*(seed[2:] - seed[:2])), len(gap))
    keep = np.sort(np.argsort(distance, kind="stable")[:number])
    result = {**record, "annotations": [annotations[k] for k in keep]}
    for key in ORDER_KEYS:
        if record.get(key) is not None:
            result[key] = np.asarray(record[key])[np.ix_(keep, keep)]
    return result


def blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image, uint8 (H, W, 3), or reduce its resolution and resize it back."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    height, width = image.shape[:2]
    factor = rng.uniform(0.4, 0.9)
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
