"""Images with the level maps of their objects, for amodal instance segmentation by layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import TransformList
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order import masks
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_mapper import PairMapper
from occ_order.methods.common.reading import read_masks, transform_masks
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.sln.level_maps import LevelMaps
from occ_order.targets import sem_dist, visibility_levels


def layering_instances(record: dict[str, Any], modal: np.ndarray, amodal: np.ndarray) -> Instances:
    """Return the objects of an image with amodal boxes and level maps; every field, also for none.

    Levels follow from the masks and the order (`visibility_levels`). Without order, or where it
    says nothing, the visible masks still tell what is hidden: level 1.

    Args:
        record: with `annotations` and, where known, `occlusion`.
        modal: bool (N, H, W), visible masks, already transformed.
        amodal: bool (N, H, W), whole masks, likewise.

    Returns:
        Instances with gt_boxes (around amodal masks, XYXY, pixels), gt_classes int64 and gt_levels
        (`LevelMaps`). Objects of which nothing is visible are there as well.
    """
    size = len(record["annotations"])
    order = record.get("occlusion")
    order = np.full((size, size), -1, np.int8) if order is None else np.asarray(order)
    levels = visibility_levels(amodal, order.reshape(size, size), modal=modal)
    result = Instances(tuple(amodal.shape[1:]))
    corners = np.array([masks.bounding_box(mask) for mask in amodal], np.float32).reshape(-1, 4)
    result.gt_boxes = Boxes(torch.from_numpy(corners))
    classes = [annotation["category_id"] for annotation in record["annotations"]]
    result.gt_classes = torch.tensor(classes, dtype=torch.int64)
    result.gt_levels = LevelMaps(torch.from_numpy(levels))
    return result


@MAPPER_REGISTRY.register()
class LayeringMapper(InstanceOrderMapper):
    """Augments an image with its masks and makes the level maps of what is left.

    As `InstanceOrderMapper`, with the fields of `layering_instances` in `instances`. Masks are
    moved first and levels taken afterwards, so that crops and flips cannot tear them apart. An
    object is dropped when nothing of its whole mask is in the image any more, not when nothing
    of it is visible. At test time the modal masks are there as well, `gt_masks`, for networks with
    input masks.
    """

    def _instances(
        self, record: dict[str, Any], transforms: TransformList, size: tuple[int, int]
    ) -> Instances:
        stacks = []
        for key in ("segmentation", "amodal_segmentation"):
            stack = read_masks(record, key)
            if stack is None:
                raise ValueError(
                    f"image {record.get('image_id')!r}: an annotation has no {key!r}; layers need "
                    "visible and whole masks"
                )
            stacks.append(transform_masks(stack, transforms, size))
        modal, amodal = stacks
        found = layering_instances(record, modal & amodal, amodal)
        if self.is_train:
            return found[found.gt_boxes.nonempty()]
        found.gt_masks = BitMasks(torch.from_numpy(modal))
        return found


@MAPPER_REGISTRY.register()
class LayeringPairMapper(PairMapper):
    """`PairMapper` for OrderNet on whole objects (Table 2): amodal masks and sem-dist maps.

    The masks of the pairs (`gt_masks`) are amodal, and `sem_dist_maps` float32 (N, H, W) holds
    ``M = C - L`` of each object, made from the annotation. INPUT.BOXES must be "amodal".
    """

    def _instances(
        self, record: dict[str, Any], transforms: TransformList, size: tuple[int, int]
    ) -> Instances:
        found = super()._instances(record, transforms, size)
        if not found.has("gt_amodal_masks"):
            raise ValueError(f"image {record.get('image_id')!r}: no 'amodal_segmentation'")
        modal, amodal = (m.tensor.numpy() for m in (found.gt_masks, found.gt_amodal_masks))
        order = found.gt_occlusion.tensor.numpy()
        levels = visibility_levels(amodal, order, modal=modal & amodal)
        found.gt_masks = BitMasks(torch.from_numpy(amodal))
        found.sem_dist_maps = torch.from_numpy(sem_dist(levels))
        return found
