from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T

from occ_order import masks
from occ_order.methods.build import build_mapper
from occ_order.methods.sln.mapper import LayeringMapper, LayeringPairMapper
from occ_order.targets import decode_sem_dist, visibility_levels


def bars(num: int, *, size: int = 40) -> np.ndarray:
    """Bool (N, H, W): bars that each reach over the next one."""
    amodal = np.zeros((num, size, size), bool)
    for k, mask in enumerate(amodal):
        left = k * (size - 12) // max(num - 1, 1)
        mask[2 + k % 20 : 20 + k % 20, left : left + 12] = True
    return amodal


@pytest.fixture
def record(tmp_path):
    """A record of bars, the first in front; `order=False` leaves the order out."""

    def record(amodal: np.ndarray, *, order: bool = True) -> dict:
        path = tmp_path / "image.png"
        cv2.imwrite(str(path), np.full((*amodal.shape[1:], 3), 90, np.uint8))
        front = np.triu(np.ones((len(amodal),) * 2, np.int8), 1)
        levels = visibility_levels(amodal, front)
        annotations = [
            {
                "id": k + 1,
                "category_id": 0,
                "segmentation": masks.encode(level == 0),
                "amodal_segmentation": masks.encode(whole),
            }
            for k, (level, whole) in enumerate(zip(levels, amodal, strict=True))
        ]
        size = {"height": amodal.shape[1], "width": amodal.shape[2]}
        result = {"image_id": 5, "file_name": str(path), "annotations": annotations, **size}
        return {**result, "occlusion": front} if order else result

    return record


def mapper(*augmentations, kind=LayeringMapper, is_train: bool = True):
    return kind(
        is_train,
        augmentations=list(augmentations),
        image_format="RGB",
        boxes="amodal",
        keep_ground_truth=True,
    )


def test_levels_are_those_of_masks_and_order(record) -> None:
    amodal = bars(4)
    found = mapper()(record(amodal))
    expected = visibility_levels(amodal, np.triu(np.ones((4, 4), np.int8), 1))
    np.testing.assert_array_equal(found["instances"].gt_levels.tensor, expected)
    assert found["image"].shape[1:] == expected.shape[1:]


def test_flip_and_crop_give_what_the_transform_gives_for_each_level(record) -> None:
    amodal = bars(4)
    levels = visibility_levels(amodal, np.triu(np.ones((4, 4), np.int8), 1))
    flipped = mapper(T.RandomFlip(prob=1.0))(record(amodal))["instances"]
    np.testing.assert_array_equal(flipped.gt_levels.tensor, levels[:, :, ::-1])
    crop = T.CropTransform(5, 3, 28, 30)
    cropped = mapper(Fixed(crop))(record(amodal))["instances"]
    window = levels[:, 3:33, 5:33]
    inside = (window >= 0).any(axis=(1, 2))
    np.testing.assert_array_equal(cropped.gt_levels.tensor, window[inside])
    boxes = [masks.bounding_box(level >= 0).tolist() for level in window[inside]]
    assert cropped.gt_boxes.tensor.tolist() == boxes


class Fixed(T.Augmentation):
    """An augmentation that is one given transform."""

    def __init__(self, transform):
        self.transform = transform

    def get_transform(self, image):
        return self.transform


def test_an_image_without_instances_has_every_field(record) -> None:
    found = mapper()(record(np.zeros((0, 40, 40), bool)))["instances"]
    assert len(found) == len(found.gt_boxes) == len(found.gt_classes) == len(found.gt_levels) == 0
    assert found.gt_levels.maps.shape == (0, 40, 40)


def test_an_object_of_which_nothing_is_visible_stays(record) -> None:
    amodal = np.zeros((2, 40, 40), bool)
    amodal[0, 5:30, 5:30], amodal[1, 10:20, 10:20] = True, True
    found = mapper()(record(amodal))["instances"]
    assert found.gt_boxes.tensor[1].tolist() == [10, 10, 20, 20]
    assert (found.gt_levels.tensor[1][10:20, 10:20] == 1).all()


def test_there_may_be_more_regions_than_any_fixed_count(record) -> None:
    amodal = np.concatenate([bars(35), np.ones((40, 40, 40), bool)])
    found = mapper()(record(amodal))["instances"]
    assert len(found) == 75
    assert found.gt_levels.tensor[-1].max() >= 39


def test_without_order_the_visible_masks_give_two_levels(record) -> None:
    amodal = bars(4)
    found = mapper()(record(amodal, order=False))["instances"].gt_levels.tensor
    expected = visibility_levels(amodal, np.triu(np.ones((4, 4), np.int8), 1))
    np.testing.assert_array_equal(found, np.minimum(expected, 1))


def test_data_without_amodal_masks_are_refused(record) -> None:
    bad = record(bars(2))
    del bad["annotations"][1]["amodal_segmentation"]
    with pytest.raises(ValueError, match="image 5: an annotation has no 'amodal_segmentation'"):
        mapper()(bad)
    with pytest.raises(ValueError, match="image 5"):
        mapper(kind=LayeringPairMapper, is_train=False)(bad)


def test_pairs_see_whole_masks_and_their_sem_dist_maps(record) -> None:
    amodal = bars(4)
    found = mapper(kind=LayeringPairMapper)(record(amodal))
    decoded = decode_sem_dist(found["instances"].sem_dist_maps.numpy())
    expected = visibility_levels(amodal, np.triu(np.ones((4, 4), np.int8), 1))
    np.testing.assert_array_equal(found["instances"].gt_masks.tensor, amodal)
    np.testing.assert_array_equal(decoded.levels, expected)
    assert found["pairs"].shape[1] == 2


def test_configured_mapper_reads_registered_scenes(tiny_cfg, scenes) -> None:
    read = build_mapper(tiny_cfg("sln_mini_scenes"), is_train=True)
    for record in DatasetCatalog.get(scenes):
        found = read(record)["instances"]
        assert isinstance(read, LayeringMapper)
        assert found.gt_boxes.nonempty().all()
        assert (found.gt_levels.tensor >= 0).any(dim=2).any(dim=1).all()
