"""The mapper of OOSIS: targets are made from the augmented ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import HFlipTransform

from occ_order.formats.cocoa import load_cocoa
from occ_order.methods.build import build_mapper
from occ_order.methods.oosis.mapper import (
    OOSISMapper,
    RandomWindow,
    WarpTransform,
    build_oosis_augmentation,
    warp_ids,
)
from occ_order.methods.oosis.truth import instance_map
from occ_order.targets.oriented_boundary import flip_orientation

# The worked example: 1 occludes 2.
IDS = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 0, 0, 2, 2, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)
MASKS = IDS[None] == np.array([1, 2])[:, None, None]
ONE_OVER_TWO = [[0, 1], [0, 0]]


def mapper(*augmentations, **options) -> OOSISMapper:
    """With these augmentations, one class."""
    options = {"num_classes": 1, "max_label": 7, "image_format": "RGB", **options}
    return OOSISMapper(True, augmentations=list(augmentations), **options)


def test_targets_of_the_worked_example(record):
    mapped = mapper()(record(MASKS, ONE_OVER_TWO))
    assert mapped["sem_seg"].tolist() == (IDS > 0).astype(int).tolist()
    boundary, orientation = mapped["boundary"], mapped["orientation"]
    assert int(boundary.sum()) == 11 and int((orientation > 0).sum()) == 19
    assert orientation[:, 1, 1].tolist() == [0.5, 0, 0.5, 0]
    assert orientation[:, 2, 3].tolist() == [0, 0.5, 0, 0.5]
    assert torch.equal(orientation.sum(0), boundary.float())
    assert mapped["order_labels"].tolist() == np.array([0, 2, 1])[IDS].tolist()
    assert mapped["image"].shape == (3, 6, 6) and mapped["image"].dtype == torch.uint8


def test_mirroring_the_image_mirrors_the_targets_and_exchanges_left_and_right(record):
    written = record(MASKS, ONE_OVER_TWO)
    plain = mapper()(written)
    mirrored = mapper(T.RandomFlip(prob=1.0))(written)
    for key in ("image", "sem_seg", "boundary", "order_labels"):
        assert torch.equal(mirrored[key], plain[key].flip(-1))
    expected = flip_orientation(plain["orientation"].numpy())
    assert np.array_equal(mirrored["orientation"].numpy(), expected)


def test_the_targets_of_a_turned_image_are_those_of_the_turned_ids(record):
    turn = T.RandomRotation([90, 90], expand=False, sample_style="choice")
    turned = mapper(turn)(record(MASKS, ONE_OVER_TWO))
    stack = np.rot90(MASKS, axes=(1, 2))
    expected = mapper()(record(stack, ONE_OVER_TWO, image_id=2))
    for key in ("sem_seg", "boundary", "orientation", "order_labels"):
        assert torch.equal(turned[key], expected[key])


def test_an_image_without_instances_is_all_background(record):
    mapped = mapper()(record(np.zeros((0, 5, 7)), np.zeros((0, 0))))
    assert mapped["sem_seg"].shape == (5, 7) and not mapped["sem_seg"].any()
    assert not mapped["boundary"].any() and mapped["orientation"].shape == (4, 5, 7)


def test_unknown_order_gives_no_boundary_between_the_two(record):
    mapped = mapper()(record(MASKS, [[0, -1], [-1, 0]]))
    assert int(mapped["boundary"].sum()) == 10
    assert int((mapped["orientation"] > 0).sum()) == 16


def test_contacts_of_unknown_order_are_marked_on_both_sides(record):
    unknown = mapper(ignore_unknown=True)(record(MASKS, [[0, -1], [-1, 0]]))["unknown"]
    sides = [
        (y, x)
        for y, x in np.argwhere(IDS > 0).tolist()
        if any(
            {IDS[y, x], IDS[y + dy, x + dx]} == {1, 2}
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
        )
    ]
    assert sides and np.argwhere(unknown.numpy()).tolist() == [list(side) for side in sides]
    known = mapper(ignore_unknown=True)(record(MASKS, ONE_OVER_TWO))
    assert not known["unknown"].any() and "unknown" not in mapper()(record(MASKS, ONE_OVER_TWO))


def test_gaps_go_to_the_nearest_region_and_stuff_is_a_region(record):
    row = np.array([[1, 0, 0, 2, 2, 0, 0, 0, 0, 3]])
    stack = row[None] == np.array([1, 2, 3])[:, None, None]
    unknown = np.where(np.eye(3), 0, -1)
    written = record(stack, unknown, more=[{"is_stuff": k} for k in (0, 0, 1)])
    ids = instance_map(written, fill_gaps=1).ids
    assert ids.tolist() == [[1, 1, 2, 2, 2, 2, 0, 0, 0, 0]]
    ids = instance_map(written, fill_gaps=9).ids
    assert ids.tolist() == [[1, 1, 2, 2, 2, 2, 2, 0, 0, 0]]
    nothing = record(np.zeros((0, 5, 7)), np.zeros((0, 0)))
    assert not instance_map(nothing, fill_gaps=4).ids.any()


@pytest.mark.parametrize("use_stuff", [False, True])
def test_stuff_is_background_unless_asked_for(record, use_stuff):
    written = record(MASKS, ONE_OVER_TWO, more=[{"is_stuff": 0}, {"is_stuff": 1}])
    truth = instance_map(written, use_stuff=use_stuff)
    assert np.array_equal(truth.ids, IDS if use_stuff else np.where(IDS == 1, 1, 0))
    assert len(truth.classes) == len(truth.occlusion) == 1 + use_stuff


def test_crowd_is_void(record):
    written = record(MASKS, ONE_OVER_TWO, more=[{"iscrowd": 0}, {"iscrowd": 1}])
    mapped = mapper()(written)
    assert torch.equal(mapped["sem_seg"] == 255, torch.from_numpy(IDS == 2))
    assert not mapped["boundary"][torch.from_numpy(IDS == 2)].any()
    # Towards the void nothing is known: (2, 3) occludes neither its right nor its lower neighbour.
    assert mapped["orientation"][:, 2, 3].tolist() == [0, 0, 0, 0]


def test_what_is_outside_the_image_is_ignored_and_has_the_mean_colour(record):
    mapped = mapper(RandomWindow(9, (10.0, 20.0, 30.0)))(record(MASKS, ONE_OVER_TWO))
    outside = torch.ones(9, 9, dtype=torch.bool)
    outside[:6, :6] = False
    assert torch.equal(mapped["sem_seg"] == 255, outside)
    assert mapped["image"][:, 8, 8].tolist() == [10, 20, 30]
    assert torch.equal(mapped["image"][:, :6, :6], mapper()(record(MASKS, ONE_OVER_TWO))["image"])
    assert int(mapped["boundary"].sum()) == 11


def test_a_window_is_a_part_of_the_image(record):
    written = record(np.zeros((0, 12, 12)), np.zeros((0, 0)))
    whole, part = mapper()(written)["image"], mapper(RandomWindow(5, (0, 0, 0)))(written)["image"]
    assert any(
        torch.equal(whole[:, y : y + 5, x : x + 5], part) for y in range(8) for x in range(8)
    )


def test_ids_above_255_survive_every_transform():
    ids = np.arange(-1, 19 * 20 - 1).reshape(19, 20) * 170
    ids[0, 0] = -1
    for transform in (
        HFlipTransform(20),
        T.ResizeTransform(19, 20, 38, 40),
        WarpTransform(np.array([[1.0, 0, 2], [0, 1, 0]]), (19, 20), (0, 0, 0)),
    ):
        warped = warp_ids(ids, T.TransformList([transform]))
        assert set(np.unique(warped)) <= set(np.unique(ids)) | {-1}
    assert np.array_equal(warp_ids(ids, T.TransformList([HFlipTransform(20)])), ids[:, ::-1])
    with pytest.raises(ValueError, match="65535 instances, expected fewer"):
        warp_ids(np.full((1, 1), 65535), T.TransformList([]))


def test_points_move_with_the_pixels_of_a_warp():
    warp = WarpTransform(np.array([[0.0, -1, 9], [1, 0, 0]]), (10, 10), (0, 0, 0))
    image = np.zeros((10, 10), np.uint8)
    image[2, 7] = 200
    y, x = np.argwhere(warp.apply_segmentation(image) == 200)[0]
    assert warp.apply_coords(np.array([[7.5, 2.5]])).tolist() == [[x + 0.5, y + 0.5]]


def test_the_recipe_and_its_order(tiny_cfg):
    names = [type(step).__name__ for step in build_oosis_augmentation(tiny_cfg, False)]
    assert names == []
    tiny_cfg.INPUT.OOSIS.merge_from_list(
        ["SIZE", [10, 20], "SCALE", [0.5, 2.0], "ROTATION", 10.0, "BLUR", 0.5, "FLIP", 0.5]
    )
    tiny_cfg.INPUT.OOSIS.CROP_SIZE = 17
    names = [type(step).__name__ for step in build_oosis_augmentation(tiny_cfg, True)]
    expected = ["Resize", "RandomScale", "RandomTurn", "RandomBlur", "RandomFlip", "RandomWindow"]
    assert names == expected
    assert [type(s).__name__ for s in build_oosis_augmentation(tiny_cfg, False)] == ["Resize"]


def test_the_recipe_gives_windows_with_consistent_targets(tiny_cfg, record):
    tiny_cfg.INPUT.OOSIS.merge_from_list(["SCALE", [0.5, 2.0], "ROTATION", 10.0, "BLUR", 0.5])
    tiny_cfg.INPUT.OOSIS.merge_from_list(["FLIP", 0.5, "CROP_SIZE", 33])
    mapping = build_mapper(tiny_cfg, is_train=True)
    big = np.kron(IDS, np.ones((6, 6), int))
    written = record(big[None] == np.array([1, 2])[:, None, None], ONE_OVER_TWO)
    for _ in range(8):
        mapped = mapping(written)
        assert mapped["image"].shape == (3, 33, 33)
        assert torch.equal(mapped["orientation"].sum(0) > 0, mapped["boundary"])
        assert (mapped["sem_seg"][mapped["boundary"]] == 1).all()


def test_classes_and_the_two_ways_to_ask_for_them(record):
    written = record(MASKS, ONE_OVER_TWO, classes=[4, 2])
    assert mapper()(written)["sem_seg"].unique().tolist() == [0, 1]
    mapped = mapper(num_classes=5)(written)
    assert mapped["sem_seg"].tolist() == np.array([0, 5, 3])[IDS].tolist()
    with pytest.raises(ValueError, match="class 4 of the data set, but MODEL.OOSIS.NUM_CLASSES"):
        mapper(num_classes=3)(written)


def test_at_test_time_there_are_targets_only_on_request(tiny_cfg, record):
    written = record(MASKS, ONE_OVER_TWO)
    assert "sem_seg" not in build_mapper(tiny_cfg, is_train=False)(written)
    tiny_cfg.MODEL.OOSIS.MAPS = "ground_truth"
    assert "sem_seg" in build_mapper(tiny_cfg, is_train=False)(written)


def test_an_annotation_without_a_mask_is_named(record):
    written = record(MASKS, ONE_OVER_TWO)
    del written["annotations"][1]["segmentation"]
    with pytest.raises(ValueError, match="image 1: an annotation has no segmentation"):
        mapper()(written)


def test_boundary_of_real_photographs(cocoa_demo):
    """Five photographs with human annotation: a thin line, of things only, on every one."""
    records = load_cocoa(cocoa_demo / "COCO_amodal_demo5.json", cocoa_demo.resolve().parent)
    for one in records:
        mapped = mapper()(one)
        share = float(mapped["boundary"].float().mean())
        assert 0.005 < share < 0.02
        assert (mapped["sem_seg"][mapped["boundary"]] == 1).all()
        assert 0.3 < float((mapped["sem_seg"] == 1).float().mean()) < 0.65
