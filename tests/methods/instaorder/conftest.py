"""Small networks and images for the tests of pairwise order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances

from occ_order.config import get_cfg
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.scenes import generate, to_record


@pytest.fixture
def cfg(device):
    """A network of 30,000 parameters on 32-pixel crops."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.META_ARCHITECTURE = "PairwiseOrderNet"
    cfg.MODEL.BACKBONE.NAME = "build_mini_resnet_backbone"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    cfg.MODEL.MINI_RESNET.WIDTH = 4
    cfg.MODEL.MINI_RESNET.BLOCKS = [1, 1, 1, 1]
    cfg.MODEL.PAIRWISE.INPUT_SIZE = 32
    cfg.MODEL.PAIRWISE.NUM_CLASSES = 5
    cfg.MODEL.PCNET_M.INPUT_SIZE = 32
    cfg.MODEL.PCNET_M.WIDTH = 4
    cfg.INPUT.MIN_SIZE_TRAIN = [0]
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    return cfg


@pytest.fixture
def given():
    """Makes N instances: random boxes as masks, with classes."""

    def make(count: int, *, size: tuple[int, int] = (40, 50), classes: int = 5, seed: int = 0):
        rng = np.random.default_rng(seed)
        masks = torch.zeros((count, *size), dtype=torch.bool)
        for mask in masks:
            y, x = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
            height, width = rng.integers(4, 20, 2)
            mask[y : y + height, x : x + width] = True
        kinds = torch.from_numpy(rng.integers(0, classes, count))
        found = Instances(size)
        found.pred_masks, found.pred_classes, found.scores = masks, kinds, torch.ones(count)
        return found

    return make


@pytest.fixture
def annotated(given):
    """Makes a training input with N annotated instances; matrices may be given."""

    def make(count: int, **matrices):
        made = given(count)
        found = Instances(made.image_size)
        found.gt_masks, found.gt_classes = BitMasks(made.pred_masks), made.pred_classes
        for key in ("occlusion", "depth", "overlap"):
            value = matrices.get(key, torch.full((count, count), -1))
            found.set(f"gt_{key}", PairMatrix(torch.as_tensor(value, dtype=torch.int8)))
        image = torch.randint(0, 256, (3, *made.image_size), dtype=torch.uint8)
        return {"image": image, "instances": found, "image_id": 7}

    return make


@pytest.fixture
def records(tmp_path):
    """Makes records of generated scenes, with images on disk."""

    def make(count: int, *, size: tuple[int, int] = (48, 64), instances: int = 4, seed: int = 3):
        found = []
        for k in range(count):
            scene = generate(seed + k, size=size, num_instances=instances)
            file = str(tmp_path / f"{k}.png")
            cv2.imwrite(file, scene.image[:, :, ::-1])
            record = to_record(scene, image_id=k, file_name=file)
            for annotation in record["annotations"]:
                annotation["category_id"] %= 5
            found.append(record)
        return found

    return make
