"""The mapper of MaskOrderNet: what a damaged depth map does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from occ_order import masks, model_zoo
from occ_order.engine.loader import TrainLoader
from occ_order.methods.build import build_mapper
from occ_order.methods.mask_order.mapper import with_set_into

SIZE = (24, 32)


@pytest.fixture
def records(tmp_path):
    """Two photographs with two instances and a depth map each; the second map is cut off."""
    made = []
    for number in (1, 2):
        image, depth = tmp_path / f"{number}.png", tmp_path / f"depth{number}.png"
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(image)
        Image.fromarray(np.full(SIZE, 40, np.uint8)).save(depth)
        annotations = []
        for left in (2, 14):
            mask = np.zeros(SIZE, bool)
            mask[4:20, left : left + 12] = True
            annotations.append(
                {
                    "id": left,
                    "category_id": 0,
                    "bbox": masks.bounding_box(mask).tolist(),
                    "bbox_mode": 0,
                    "segmentation": masks.encode(mask),
                    "iscrowd": 0,
                }
            )
        unknown = np.full((2, 2), -1, np.int8)
        made.append(
            {
                "file_name": str(image),
                "image_id": number,
                "height": SIZE[0],
                "width": SIZE[1],
                "depth_file_name": str(depth),
                "depth_unit": 10 / 255,
                "annotations": annotations,
                "occlusion": np.array([[0, 1], [0, 0]], np.int8),
                "depth": unknown,
                "overlap": unknown,
                "count": unknown.astype(np.int16),
            }
        )
    damaged = tmp_path / "depth2.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    return made


@pytest.mark.parametrize("skip", [False, True])
def test_a_damaged_depth_map_is_an_image_that_cannot_be_read(records, skip):
    """It stops the training by name, or is passed over and counted where that is asked for."""
    cfg = model_zoo.get_cfg("mask_order_photos")
    loader = TrainLoader(
        records, build_mapper(cfg, is_train=True), batch_size=2, seed=1, skip_unreadable=skip
    )
    batches = iter(loader)
    if not skip:
        with pytest.raises(ValueError, match=r"image 2: cannot read .*depth map .*depth2\.png"):
            [next(batches) for _ in range(3)]
        return
    seen = [sample for _ in range(3) for sample in next(batches)]
    assert {sample["image_id"] for sample in seen} == {1} and loader.skipped > 0
    assert all((sample["depth_map"] > 0).any() for sample in seen)


def test_what_is_known_of_a_pair_stays_and_what_is_set_into_another_comes_to_it():
    """A cup on a table, of which no list tells; a list that tells of another pair."""
    modal = np.zeros((3, 60, 80), bool)
    modal[0, 16:42, 30:46] = True
    modal[1, 30:55, 5:75] = ~modal[0, 30:55, 5:75]
    modal[2, 2:12, 2:12] = True
    known = np.full((3, 3), -1, np.int8)
    known[1, 2], known[2, 1] = 1, 0
    found = with_set_into(known, modal)
    assert found.tolist() == [[-1, 1, -1], [0, -1, 1], [-1, 0, -1]]
    assert (known[:2, :2] == -1).all()  # the record's own matrix is not written to
    known[0, 1], known[1, 0] = 0, 1
    assert (with_set_into(known, modal) == known).all()
    assert with_set_into(None, modal).tolist() == [[0, 1, -1], [0, 0, -1], [-1, -1, 0]]


@pytest.mark.parametrize("asked", [False, True])
def test_set_into_is_a_setting(records, asked):
    cfg = model_zoo.get_cfg("mask_order_photos")
    cfg.INPUT.MASK_ORDER.SET_INTO, cfg.INPUT.CROP.ENABLED = asked, False
    cfg.INPUT.MASK_ORDER.MASK_NOISE = 0.0
    record = {**records[0], "occlusion": np.full((2, 2), -1, np.int8)}
    cup, table = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    cup[4:16, 12:18] = True
    table[8:22, 2:30] = True
    for annotation, mask in zip(record["annotations"], (cup, table & ~cup), strict=True):
        annotation["segmentation"] = masks.encode(mask)
    found = build_mapper(cfg, is_train=True)(record)["instances"].gt_occlusion.tensor
    assert found[0, 1] == (1 if asked else -1) and found[1, 0] == (0 if asked else -1)
