"""A tiny InstaDepthNet, images with instances, and data sets on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog, MetadataCatalog  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402

from occ_order.config import load_cfg  # noqa: E402
from occ_order.formats import builtin  # noqa: E402
from occ_order.formats.write_scenes import make, scene_parameters  # noqa: E402
from occ_order.methods.common.pair_matrix import PairMatrix  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "InstaDepthNet"
TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.MINI_RESNET.WIDTH", "8", "MODEL.MINI_RESNET.BLOCKS"),
    *("[1, 1, 1, 1]", "MODEL.DISPARITY.INPUT_SIZE", "[64, 64]", "MODEL.DISPARITY.FEATURES", "8"),
    *("MODEL.DISPARITY.OUTPUT_CHANNELS", "[8, 4]", "SOLVER.IMS_PER_BATCH", "4"),
]


@pytest.fixture
def tiny_cfg():
    """Makes settings of the tiny network from KEY, VALUE, ... on top."""
    return lambda *opts: load_cfg(CONFIGS / "instadepthnet_od_mini_scenes.yaml", [*TINY, *opts])


@pytest.fixture
def make_input():
    """Makes an input with a random image and disjoint random rectangles."""

    def make_one(count: int = 3, size: tuple[int, int] = (48, 56), seed: int = 0) -> dict:
        rng = np.random.default_rng(seed)
        masks = np.zeros((count, *size), bool)
        for k in range(count):  # side by side
            left = k * size[1] // max(count, 1)
            masks[k, rng.integers(0, 9) : rng.integers(30, size[0]), left : left + 10] = True
        instances = Instances(size)
        instances.gt_masks = BitMasks(torch.from_numpy(masks))
        instances.gt_boxes = Boxes(torch.zeros(count, 4))
        instances.gt_classes = torch.zeros(count, dtype=torch.int64)
        for key, low, high in (("depth", 0, 3), ("overlap", 0, 2), ("occlusion", 0, 2)):
            values = np.triu(rng.integers(low, high, (count, count)), 1)
            other = np.where(values < 2, 1 - values, 2) if key == "depth" else values
            values = (values + np.tril(other.T, -1)).astype(np.int8)
            np.fill_diagonal(values, 0 if key == "occlusion" else -1)
            instances.set(f"gt_{key}", PairMatrix(torch.from_numpy(values)))
        image = torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
        return {"image": image, "instances": instances, "image_id": seed}

    return make_one


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Data sets `tiny_instaorder`, `tiny_diw` and `tiny_kitti`: six scenes of 64 pixels."""
    root = tmp_path_factory.mktemp("scenes")
    make(root, scene_parameters(train=0, val=6, seed=3, size=[64, 64], instances=[3, 4]))
    notes, images = root / "annotations", root / "val"
    builtin.register_instaorder(
        "tiny_instaorder",
        notes / "instaorder_val.json",
        notes / "instances_val.json",
        images / "images",
    )
    builtin.register_diw("tiny_diw", notes / "diw_val.csv", images)
    folders = {"rgb_dir": "images", "depth_dir": "depth"}
    builtin.register_kitti_depth("tiny_kitti", notes / "kitti_val.txt", images, **folders)
    names = ("tiny_instaorder", "tiny_diw", "tiny_kitti")
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
        builtin._registered.pop(name)
