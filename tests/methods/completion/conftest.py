"""Settings of a network small enough for tests, and instances that hide one another."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.structures import BoxMode

from occ_order import masks as mask_tools
from occ_order.config import get_cfg

SIZE = (60, 80)


@pytest.fixture
def cfg(device) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.META_ARCHITECTURE = "MaskCompletionNet"
    cfg.MODEL.COMPLETION.VIEW_SIZE, cfg.MODEL.COMPLETION.WIDTHS = 16, [4, 6, 8]
    cfg.INPUT.MAPPER, cfg.INPUT.FORMAT = "MaskCompletionMapper", "RGB"
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = [0], 0
    own = cfg.INPUT.COMPLETION
    own.STRIDE, own.MASK_NOISE, own.ORDER_NOISE, own.SHIFT, own.SCALE = 1, 0.0, 0.0, 0.0, 1.0
    return cfg


def discs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return modal and amodal bool (3, H, W) of discs in a row, each in front of the next, and
    occlusion int8 (3, 3).
    """
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    amodal = np.stack([(rows - 30) ** 2 + (columns - x) ** 2 < 196 for x in (20, 38, 56)])
    modal = amodal.copy()
    modal[1] &= ~amodal[0]
    modal[2] &= ~amodal[1]
    occlusion = np.zeros((3, 3), np.int8)
    occlusion[0, 1] = occlusion[1, 2] = 1
    return modal, amodal, occlusion


def record(modal: np.ndarray, amodal=None, occlusion: np.ndarray | None = None) -> dict:
    """Return a record of a black image; `amodal` may have None for some."""
    annotations = [
        {
            "id": k + 1,
            "category_id": 0,
            "bbox": mask_tools.bounding_box(mask).tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": mask_tools.encode(mask),
            "iscrowd": 0,
        }
        for k, mask in enumerate(modal)
    ]
    for one, whole in zip(annotations, amodal if amodal is not None else [], strict=False):
        if whole is not None:
            one["amodal_segmentation"] = mask_tools.encode(whole)
    size = modal.shape[1:]
    result = {"image_id": 5, "height": size[0], "width": size[1], "annotations": annotations}
    result["pixels"] = np.zeros((*size, 3), np.uint8)
    if occlusion is not None:
        result["occlusion"] = occlusion
    return result
