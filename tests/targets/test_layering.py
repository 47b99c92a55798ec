from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from occ_order.targets.layering import (
    decode_level_set,
    decode_ordinal,
    decode_sem_dist,
    global_layers,
    instance_layers,
    level_set,
    mask_boxes,
    object_order,
    order_from_levels,
    ordinal_targets,
    regional_order,
    sem_dist,
    split_sem_dist,
    visibility_levels,
)


def order_matrix(pairs: str, num: int) -> np.ndarray:
    """COCOA's "1-2,1-5" (1-based, first in front) as an occlusion matrix."""
    occ = np.zeros((num, num), dtype=np.int8)
    for pair in pairs.split(","):
        front, back = (int(part) - 1 for part in pair.split("-"))
        occ[front, back] = 1
    return occ


def total_order(num: int) -> np.ndarray:
    """Object 0 in front of 1 in front of 2 ..."""
    return np.triu(np.ones((num, num), dtype=np.int8), 1)


def mean_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over objects of the intersection over union of their masks."""
    shared, both = (first & second).sum(axis=(1, 2)), (first | second).sum(axis=(1, 2))
    return float((shared / both).mean())


AMODAL = hnp.arrays(bool, st.tuples(st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)))


# ----------------------------------------------------------------------------- hand-made cases


def test_three_bars_by_hand() -> None:
    amodal = np.array([[[1, 1, 0, 0, 0]], [[0, 1, 1, 1, 0]], [[0, 1, 1, 0, 0]]], dtype=bool)
    levels = visibility_levels(amodal, total_order(3))
    assert levels.dtype == np.int8
    assert levels[:, 0].tolist() == [
        [0, 0, -1, -1, -1],
        [-1, 1, 0, 0, -1],
        [-1, 2, 1, -1, -1],
    ]
    assert visibility_levels(amodal, total_order(3), num_levels=2)[2, 0, 1] == 1
    counts = global_layers(amodal, num_levels=4)[:, 0].sum(axis=0)
    assert counts.tolist() == [1, 3, 2, 1, 0]


def test_cocoa_train_image_321() -> None:
    # One column per cell "visible | hidden" that occurs in the image; region 5 is a table.
    cells = [
        (5, ()),
        (1, (5,)),
        (4, (5,)),
        (1, (4, 5)),
        (2, (4, 5)),
        (3, (4, 5)),
        (0, (1, 4, 5)),
        (2, (3, 4, 5)),
    ]
    amodal = np.zeros((6, 1, len(cells)), dtype=bool)
    for column, (visible, hidden) in enumerate(cells):
        amodal[[visible, *hidden], 0, column] = True
    occ = order_matrix("1-2,1-5,1-6,2-5,2-6,3-4,3-5,3-6,4-5,4-6,5-6", 6)
    levels = visibility_levels(amodal, occ)[:, 0]
    for column, (visible, hidden) in enumerate(cells):
        assert levels[visible, column] == 0
        # Hidden regions are listed front to back, so the k-th one lies behind k + 1 objects.
        assert levels[list(hidden), column].tolist() == list(range(1, len(hidden) + 1))
    assert levels.max() == 3 and levels[5].max() == 3
    assert (order_from_levels(levels[:, None]) <= occ).all()


def test_pairs_without_order_are_not_in_front_of_each_other() -> None:
    amodal = np.ones((2, 1, 2), dtype=bool)
    for order in (np.zeros((2, 2)), np.array([[0, -1], [-1, 0]]), np.array([[0, 1], [1, 0]])):
        assert not visibility_levels(amodal, order).any()


def test_mutual_occlusion_is_settled_by_the_modal_masks() -> None:
    # Two objects share three pixels; 0 is in front at the first, 1 at the second, and a third
    # object hides both at the last one.
    amodal = np.ones((3, 1, 3), dtype=bool)
    amodal[2, 0, :2] = False
    modal = np.array([[[1, 0, 0]], [[0, 1, 0]], [[0, 0, 1]]], dtype=bool)
    order = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]])
    levels = visibility_levels(amodal, order, modal=modal)
    assert levels[:, 0].tolist() == [[0, 1, 1], [1, 0, 1], [-1, -1, 0]]


def test_modal_masks_alone_give_two_levels() -> None:
    amodal = np.array([[[1, 1, 0]], [[1, 1, 1]]], dtype=bool)
    modal = np.array([[[1, 1, 0]], [[0, 0, 1]]], dtype=bool)
    levels = visibility_levels(amodal, np.full((2, 2), -1), modal=modal)
    assert levels[:, 0].tolist() == [[0, 0, -1], [1, 1, 0]]


def test_more_objects_than_int8_can_count_stay_at_the_last_level() -> None:
    levels = visibility_levels(np.ones((300, 1, 1), dtype=bool), total_order(300))
    assert levels[:, 0, 0].tolist() == [min(i, 127) for i in range(300)]
    assert global_layers(np.ones((300, 1, 1), dtype=bool), num_levels=128).all()
    assert decode_sem_dist(sem_dist(levels)).levels[:, 0, 0].tolist() == levels[:, 0, 0].tolist()


@pytest.mark.parametrize("shape", [(0, 3, 4), (0, 0, 0), (2, 0, 5), (2, 3, 4)])
def test_nothing_there(shape: tuple[int, int, int]) -> None:
    amodal = np.zeros(shape, dtype=bool)
    levels = visibility_levels(amodal, np.zeros((shape[0], shape[0])))
    assert levels.shape == shape and (levels == -1).all()
    assert not global_layers(amodal).any() and global_layers(amodal).shape == (4, *shape[1:])
    assert instance_layers(levels)[:, 0].all()
    assert not decode_sem_dist(sem_dist(levels)).amodal.any()
    assert not decode_level_set(level_set(levels)).amodal.any()
    assert not decode_ordinal(ordinal_targets(levels).astype(float)).amodal.any()
    assert order_from_levels(levels).tolist() == np.zeros((shape[0], shape[0])).tolist()


# ---------------------------------------------------------------------------------- invariants


@settings(max_examples=60, deadline=None)
@given(AMODAL)
def test_levels_of_the_objects_covering_a_pixel_are_all_different(amodal) -> None:
    levels = visibility_levels(amodal, total_order(len(amodal)))
    count = amodal.sum(axis=0)
    for y, x in np.ndindex(*count.shape):
        found = sorted(levels[amodal[:, y, x], y, x].tolist())
        assert found == list(range(count[y, x]))
    for level in range(1, len(amodal)):
        assert (~(levels == level).any(axis=0) | (levels == level - 1).any(axis=0)).all()
    assert np.array_equal(global_layers(amodal, num_levels=8)[0], amodal.any(axis=0))
    assert np.array_equal(global_layers(amodal, num_levels=8).sum(axis=0), count)


@settings(max_examples=40, deadline=None)
@given(AMODAL, st.integers(1, 5))
def test_every_view_decodes_to_the_clipped_levels(amodal, num_levels) -> None:
    levels = visibility_levels(amodal, total_order(len(amodal)), num_levels=num_levels)
    full = visibility_levels(amodal, total_order(len(amodal)))
    assert np.array_equal(levels, np.minimum(full, num_levels - 1))
    layers = instance_layers(full, num_levels=num_levels)
    assert layers.shape[1] == num_levels + 1 and (layers.sum(axis=1) == 1).all()
    assert np.array_equal(layers.argmax(axis=1) - 1, levels)
    decoded = (
        decode_level_set(level_set(full, num_levels=num_levels), num_levels=num_levels),
        decode_ordinal(ordinal_targets(full, num_levels=num_levels).astype(np.float32)),
        decode_sem_dist(sem_dist(levels)),
    )
    for found in decoded:
        assert np.array_equal(found.levels, levels)
        assert np.array_equal(found.amodal, amodal)
        assert np.array_equal(found.modal, levels == 0)


@settings(max_examples=40, deadline=None)
@given(AMODAL, st.sampled_from(["product", "min"]), st.sampled_from(["component", "area"]))
def test_order_is_read_back_from_any_view(amodal, overlap, vote) -> None:
    num = len(amodal)
    levels = visibility_levels(amodal, total_order(num))
    meets = (amodal[:, None] & amodal[None]).any(axis=(2, 3)) if num else np.zeros((0, 0), bool)
    expected = np.where(meets, total_order(num), 0)
    assert np.array_equal(order_from_levels(levels, overlap=overlap, vote=vote), expected)
    maps = sem_dist(levels)
    for i in range(num):
        for j in range(num):
            decided = object_order(regional_order(maps[i], maps[j], overlap=overlap), vote=vote)
            assert decided == int(expected[i, j]) - int(expected[j, i])


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, (2, 3, 4, 4), elements=st.floats(0, 1)))
def test_ordinal_decode_never_lets_the_modal_leave_the_amodal_mask(prob) -> None:
    found = decode_ordinal(prob)
    assert not (found.modal & ~found.amodal).any()
    assert np.array_equal(found.levels >= 0, found.amodal)


# ------------------------------------------------------------------------------------- details


def test_sem_dist_values_and_range() -> None:
    levels = np.array([[-1, 0, 1, 3]], dtype=np.int8)
    assert np.allclose(sem_dist(levels), [[0, 0.999, -0.001, -2.001]], atol=1e-6)
    confidence = np.array([[0.2, 0.6, 1.0, 0.75]])
    values = sem_dist(levels, confidence)
    assert values.dtype == np.float32
    assert np.allclose(values, [[0.2, 0.6, -0.001, -2.25]], atol=1e-6)
    conf, level = split_sem_dist(values)
    assert level.tolist() == [[0, 0, 1, 3]]
    assert np.allclose(conf, [[0.2, 0.6, 0.999, 0.75]], atol=1e-6)
    found = decode_sem_dist(values)
    assert found.levels.tolist() == [[-1, 0, 1, 3]]
    assert decode_sem_dist(values, threshold=0.7).levels.tolist() == [[-1, -1, 1, 3]]


def test_floor_goes_towards_minus_infinity_and_a_whole_confidence_is_nothing() -> None:
    # int() would read -0.2 as level 0. Exactly -1 has C = 0: the object is not there.
    assert split_sem_dist(np.array([-0.2]))[1].tolist() == [1]
    assert decode_sem_dist(np.array([-0.2, -1.0, 1.0, 7.5])).levels.tolist() == [1, -1, 0, 0]


def test_level_set_thresholds_lie_halfway() -> None:
    values = np.array([1.4, 0.6, 0.4, -0.4, -0.6, -2.4, -2.6, -9.0])
    assert decode_level_set(values).levels.tolist() == [0, 0, 1, 1, 2, 3, -1, -1]
    assert level_set(np.array([[-1, 0, 1, 9]])).tolist() == [[-3, 1, 0, -2]]


def test_regional_order_sign_and_both_overlap_rules() -> None:
    level_a, level_b = np.array([[0, 0, 1, 0]]), np.array([[1, 3, 0, 0]])
    conf_a, conf_b = np.array([[0.9, 0.9, 0.9, 0.9]]), np.array([[0.9, 0.3, 0.9, 0.2]])
    product = regional_order((conf_a, level_a), (conf_b, level_b))
    minimum = regional_order((conf_a, level_a), (conf_b, level_b), overlap="min")
    assert product.tolist() == [[1, 3, -1, 0]]  # .9 x .3 = .27 > .25 passes, .9 x .2 does not
    assert minimum.tolist() == [[1, 0, -1, 0]]
    assert (regional_order((conf_b, level_b), (conf_a, level_a)) == -product).all()


def test_largest_region_and_area_can_disagree() -> None:
    regional = np.array([[2, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [-1, -1, 0, 0, 0, 0]])
    assert object_order(regional) == -1
    assert object_order(regional, vote="area") == 1
    assert object_order(-regional) == 1
    assert object_order(np.eye(3, dtype=int) - np.eye(3, dtype=int)[::-1]) == 0
    assert object_order(np.zeros((0, 0), int)) == 0


def test_boxes_are_tight() -> None:
    masks = np.zeros((2, 6, 7), dtype=bool)
    masks[0, 2:4, 3:7] = True
    assert mask_boxes(masks).tolist() == [[2, 4, 3, 7], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: visibility_levels(np.ones((1, 2, 2)), np.zeros((1, 1))), "bool"),
        (lambda: visibility_levels(np.ones((1, 2, 2), bool), np.zeros((2, 2))), r"\(1, 1\)"),
        (lambda: visibility_levels(np.ones((1, 2, 2), bool), np.full((1, 1), 3)), "-1, 0 and 1"),
        (
            lambda: visibility_levels(
                np.ones((1, 2, 2), bool), np.zeros((1, 1)), modal=np.ones((1, 2, 3), bool)
            ),
            r"\(1, 2, 3\)",
        ),
        (lambda: global_layers(np.ones((1, 2, 2), bool), num_levels=0), "1..128"),
        (lambda: global_layers(np.ones((1, 2, 2), bool), num_levels=200), "1..128"),
        (lambda: instance_layers(np.ones((1, 2, 2))), "integer"),
        (lambda: sem_dist(np.ones((1, 2, 2))), "integer"),
        (lambda: sem_dist(np.ones((2, 2), int), np.full((2, 2), 1.5)), r"\[0, 1\]"),
        (lambda: sem_dist(np.ones((2, 2), int), np.full((2, 2), np.nan)), "NaN"),
        (lambda: sem_dist(np.ones((2, 2), int), np.ones(2)), "shape"),
        (lambda: sem_dist(np.ones((2, 2), int), eps=0), "eps"),
        (lambda: split_sem_dist(np.ones((2, 2), np.float16)), "float16"),
        (lambda: split_sem_dist(np.full((2, 2), np.nan)), "finite"),
        (lambda: decode_level_set(np.full((2, 2), np.inf)), "finite"),
        (lambda: decode_ordinal(np.ones((1, 0, 2, 2))), "K >= 1"),
        (lambda: regional_order(np.ones((2, 2)), np.ones((2, 3))), r"\(2, 3\)"),
        (lambda: regional_order(np.ones((2, 2)), np.ones((2, 2)), overlap="max"), "'max'"),
        (lambda: object_order(np.ones((2, 2)), vote="best"), "'best'"),
        (lambda: object_order(np.ones(2)), r"\(H, W\)"),
        (lambda: order_from_levels(np.ones((2, 2), int)), "integer"),
        (lambda: order_from_levels(np.ones((1, 2, 2), int), np.ones((1, 2, 3))), "confidence"),
    ],
)
def test_bad_input_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -------------------------------------------------------------------------------- photographs


@pytest.fixture(scope="module")
def photographs(cocoa_demo: Path) -> list[dict[str, np.ndarray]]:
    """Amodal masks, visible masks and annotated order of the COCOA demo photographs."""
    data = json.loads((cocoa_demo / "COCO_amodal_demo5.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    found = []
    for annotation in data["annotations"]:
        height, width = sizes[annotation["image_id"]]
        regions = annotation["regions"]
        amodal, modal = [], []
        for region in regions:
            whole = coco_mask.merge(coco_mask.frPyObjects([region["segmentation"]], height, width))
            amodal.append(coco_mask.decode(whole).astype(bool))
            visible = region.get("visible_mask")
            modal.append(coco_mask.decode(visible).astype(bool) if visible else amodal[-1])
        occ = order_matrix(annotation["depth_constraint"], len(regions))
        found.append({"amodal": np.stack(amodal), "modal": np.stack(modal), "occ": occ})
    return found


def test_photographs_levels_agree_with_the_annotated_visible_masks(photographs) -> None:
    for image in photographs:
        levels = visibility_levels(image["amodal"], image["occ"])
        assert np.array_equal(levels == 0, image["modal"])
        count = image["amodal"].sum(axis=0)
        assert np.array_equal(
            np.where(levels >= 0, levels, 0).sum(axis=0), count * (count - 1) // 2
        )
        with_modal = visibility_levels(image["amodal"], image["occ"], modal=image["modal"])
        assert np.array_equal(with_modal, levels)


@pytest.mark.parametrize("vote", ["component", "area"])
def test_photographs_order_is_read_back_for_all_50_pairs(photographs, vote) -> None:
    right = total = 0
    for image in photographs:
        levels = visibility_levels(image["amodal"], image["occ"])
        found = order_from_levels(*reversed(split_sem_dist(sem_dist(levels))), vote=vote)
        right += int((found == 1)[image["occ"] == 1].sum())
        total += int((image["occ"] == 1).sum())
    assert (right, total) == (50, 50)


def test_photographs_noise_breaks_the_fraction(photographs) -> None:
    image = photographs[1]
    levels = visibility_levels(image["amodal"], image["occ"], num_levels=3)
    noise = np.random.default_rng(0).standard_normal(levels.shape, dtype=np.float32)
    found = decode_sem_dist(sem_dist(levels) + np.float32(0.01) * noise)
    assert mean_iou(found.amodal, image["amodal"]) < 0.2


def test_photographs_noise_ten_times_stronger_leaves_the_level_set(photographs) -> None:
    rng, pairs = np.random.default_rng(0), 0
    for image in photographs:
        levels = visibility_levels(image["amodal"], image["occ"], num_levels=3)
        noise = rng.standard_normal(levels.shape, dtype=np.float32)
        values = level_set(levels, num_levels=3) + np.float32(0.1) * noise
        found = decode_level_set(values, num_levels=3)
        assert mean_iou(found.amodal, image["amodal"]) > 0.999
        pairs += int((order_from_levels(found.levels) == 1)[image["occ"] == 1].sum())
    assert pairs == 50
