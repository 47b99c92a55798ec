"""Tiny networks and tiny scenes for the tests of SLN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

import occ_order.methods.build  # noqa: F401  (fills the registries)
from occ_order.config import load_cfg
from occ_order.formats.builtin import register_cocoa
from occ_order.formats.write_scenes import make, scene_parameters
from occ_order.masks import bounding_box
from occ_order.methods.sln.level_maps import LevelMaps
from occ_order.targets import visibility_levels

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "SLN"
TINY = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.MINI_RESNET.WIDTH", 4),
    *("MODEL.FPN.OUT_CHANNELS", 8),
    *("MODEL.SLN.GLOBAL_LAYERING.CONV_DIM", 8),
    *("MODEL.SLN.REFINEMENT.CONV_DIM", 8),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 16),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 20),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", 10),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8),
]


@pytest.fixture(scope="session")
def tiny_cfg(row_cfg):
    """Settings of one of the project's mini networks, narrowed: name, KEY, VALUE, ...

    The name is a file's, or a row's of configs/tables/sln.yaml; weights and order networks that
    the row takes from others are left out.
    """
    alone = ("MODEL.WEIGHTS", "", "TEST.AMODAL.ORDER_NETS", [])

    def tiny_cfg(name: str, *opts):
        file = CONFIGS / f"{name}.yaml"
        if file.is_file():
            return load_cfg(file, [*TINY, *opts])
        return row_cfg("sln", name, *alone, *TINY, *opts)

    return tiny_cfg


@pytest.fixture
def tiny_net(tiny_cfg, build_model):
    """A narrowed network, seeded."""

    def tiny_net(name: str, *opts):
        torch.manual_seed(0)
        return build_model(tiny_cfg(name, *opts))

    return tiny_net


@pytest.fixture
def layered_input():
    """An input of the network: 64 px, rectangles, the first in front; `num` may be 0."""

    def layered_input(num: int = 3, seed: int = 0, size: int = 64):
        rng = np.random.default_rng(seed)
        amodal = np.zeros((num, size, size), bool)
        for mask in amodal:
            y, x = rng.integers(4, size - 30, 2)
            mask[y : y + rng.integers(12, 26), x : x + rng.integers(12, 26)] = True
        levels = visibility_levels(amodal, np.triu(np.ones((num, num), np.int8), 1))
        image = torch.full((3, size, size), 40.0)
        for mask, shade in zip(amodal[::-1], (220.0, 160.0, 100.0), strict=False):
            image[:, torch.from_numpy(mask)] = shade
        instances = Instances((size, size))
        boxes = np.array([bounding_box(mask) for mask in amodal], np.float32).reshape(-1, 4)
        instances.gt_boxes = Boxes(torch.from_numpy(boxes))
        instances.gt_classes = torch.zeros(num, dtype=torch.int64)
        instances.gt_levels = LevelMaps(torch.from_numpy(levels))
        return {"image": image, "height": size, "width": size, "instances": instances}

    return layered_input


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Registered name of four generated scenes of 64 px, as COCOA."""
    folder = tmp_path_factory.mktemp("scenes")
    made = scene_parameters(train=4, val=0, seed=5, size=(64, 64), instances=(2, 4))
    make(folder, made)
    name = "tests_sln_scenes"
    register_cocoa(name, folder / "annotations" / "cocoa_train.json", folder / "train" / "images")
    yield name
    DatasetCatalog.remove(name)
