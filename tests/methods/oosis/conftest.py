"""Tiny scenes on disk and networks that see them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from occ_order.config import get_cfg
from occ_order.masks import encode


@pytest.fixture
def record(tmp_path) -> Callable[..., dict]:
    """Writes an image and gives its record.

    The function takes bool masks (N, H, W), an occlusion matrix and, if wanted, the image
    uint8 (H, W, 3) RGB, classes and further keys of annotations.
    """

    def write(masks, occlusion, *, image=None, classes=None, more=None, image_id=1) -> dict:
        masks = np.asarray(masks, bool)
        if image is None:
            rng = np.random.default_rng(image_id)
            image = rng.integers(0, 256, (*masks.shape[1:], 3), dtype=np.uint8)
        path = tmp_path / f"{image_id}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        annotations = [
            {
                "id": k + 1,
                "category_id": 0 if classes is None else int(classes[k]),
                "segmentation": encode(mask),
                **(more[k] if more else {}),
            }
            for k, mask in enumerate(masks)
        ]
        return {
            "file_name": str(path),
            "image_id": image_id,
            "height": masks.shape[1],
            "width": masks.shape[2],
            "annotations": annotations,
            "occlusion": np.asarray(occlusion, np.int8).reshape(len(masks), len(masks)),
        }

    return write


@pytest.fixture
def tiny_cfg():
    """Settings of a very narrow network on the mini ResNet."""
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "OOSIS", "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""),
            *("MODEL.BACKBONE.NAME", "build_mini_resnet_backbone", "MODEL.BACKBONE.FREEZE_AT", 0),
            *("MODEL.MINI_RESNET.WIDTH", 8, "MODEL.MINI_RESNET.BLOCKS", [1, 1, 1, 1]),
            *("MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.OUT_FEATURES", ["res2", "res4", "res5"]),
            *("MODEL.RESNETS.RES4_DILATION", 2, "MODEL.RESNETS.RES5_DILATION", 4),
            *("MODEL.SEM_SEG_HEAD.NAME", "OOSISHead", "MODEL.OOSIS.CHANNELS", 16),
            *("MODEL.OOSIS.PPM_CHANNELS", 4, "MODEL.OOSIS.AUX_CHANNELS", 4),
            *("MODEL.OOSIS.DROPOUT", 0.0, "MODEL.OOSIS.WORKERS", 0),
            *("INPUT.MAPPER", "OOSISMapper", "INPUT.FORMAT", "RGB"),
            *("INPUT.OOSIS.SCALE", [1.0, 1.0], "INPUT.OOSIS.ROTATION", 0.0),
            *("INPUT.OOSIS.BLUR", 0.0, "INPUT.OOSIS.FLIP", 0.0, "INPUT.OOSIS.CROP_SIZE", 0),
        ]
    )
    return cfg
