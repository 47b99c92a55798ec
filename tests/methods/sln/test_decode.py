from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.structures import Boxes, Instances

from occ_order.formats.sem_dist import load_sem_dist, save_sem_dist
from occ_order.methods.sln.decode import (
    decode_instances,
    level_nms,
    paste_layers,
    same_level_iou,
    sem_dist_maps,
)
from occ_order.targets import decode_sem_dist, ordinal_targets, sem_dist, visibility_levels


def random_regions(num: int, num_levels: int = 4, side: int = 14):
    """Nested probabilities float (N, K, S, S) and boxes float (N, 4) in 40 x 60 pixels."""
    prob = torch.rand(num, num_levels, side, side).cummax(dim=1).values
    corner = torch.rand(num, 2) * 25
    return prob, torch.cat([corner, corner + 4 + torch.rand(num, 2) * 20], dim=1)


def test_each_level_is_pasted_as_detectron2_pastes_a_mask() -> None:
    prob, boxes = random_regions(6)
    pasted = paste_layers(prob, boxes, (40, 60))
    there = pasted.confidence > 0.5
    for level in range(4):
        expected = paste_masks_in_image(prob[:, level], Boxes(boxes), (40, 60), threshold=0.5)
        found = there & (pasted.levels <= level)
        # Detectron2 rounds ">=" where we have ">"; random values do not meet the threshold.
        assert found.equal(expected)


def test_no_level_appears_between_two_others_where_probabilities_are_interpolated() -> None:
    # Left half of the region visible, right half outside: an interpolated M or level-set value
    # passes through the hidden levels on the way, probabilities do not.
    levels = np.full((1, 4, 4), -1)
    levels[:, :, :2] = 0
    prob = torch.from_numpy(ordinal_targets(levels)).float()
    pasted = paste_layers(prob, torch.tensor([[0.0, 0.0, 40.0, 40.0]]), (40, 40))
    there = pasted.confidence[0] > 0.5
    assert there[5:35, 5:20].all()  # half a cell of 10 pixels from the border inwards
    assert not there[:, 20:].any()
    assert (pasted.levels[0][there] == 0).all()


def test_levels_where_the_object_is_unlikely_are_those_it_would_have() -> None:
    # C = .4, and of that .3 visible: if it is there, it is visible.
    prob = torch.tensor([0.3, 0.4, 0.4, 0.4]).reshape(1, 4, 1, 1).expand(1, 4, 2, 2)
    pasted = paste_layers(prob, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (2, 2))
    assert pasted.levels.max() == 0
    hidden = torch.tensor([0.1, 0.4, 0.4, 0.4]).reshape(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert paste_layers(hidden, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (2, 2)).levels.max() == 1


def test_boxes_outside_the_image_paste_nothing() -> None:
    prob, _ = random_regions(2)
    boxes = torch.tensor([[-20.0, -20.0, -5.0, -5.0], [70.0, 3.0, 80.0, 9.0]])
    assert not paste_layers(prob, boxes, (40, 60)).confidence.any()


def predicted(amodal: np.ndarray, order: np.ndarray) -> Instances:
    """Predictions before decoding that are sure of given objects, on the whole image."""
    num, height, width = amodal.shape
    levels = visibility_levels(amodal, order)
    result = Instances((height, width))
    result.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, width, height]] * num).reshape(-1, 4))
    result.scores = torch.ones(num)
    result.pred_level_prob = torch.from_numpy(ordinal_targets(levels)).float() * 0.98 + 0.01
    return result


def crossing(size: int = 16) -> np.ndarray:
    """Three bars that cross."""
    amodal = np.zeros((3, size, size), bool)
    amodal[0, 3:8, 1:15], amodal[1, 1:15, 3:8], amodal[2, 5:15, 5:15] = True, True, True
    return amodal


@pytest.mark.parametrize("vote", ["component", "area"])
@pytest.mark.parametrize("overlap", ["product", "min"])
def test_the_nearer_object_occludes(overlap, vote) -> None:
    order = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0]], np.int8)  # 1 before 0 before 2
    found = decode_instances(predicted(crossing(), order), 16, 16, overlap=overlap, vote=vote)
    assert found.occlusion.tensor.tolist() == order.tolist()


def test_decoded_masks_and_levels_are_those_of_the_objects() -> None:
    amodal, order = crossing(), np.triu(np.ones((3, 3), np.int8), 1)
    levels = visibility_levels(amodal, order)
    found = decode_instances(predicted(amodal, order), 16, 16)
    np.testing.assert_array_equal(found.pred_masks, amodal)
    np.testing.assert_array_equal(found.pred_levels, levels)
    np.testing.assert_array_equal(found.pred_modal_masks, levels == 0)


def test_sem_dist_maps_are_exported_and_say_the_same() -> None:
    amodal, order = crossing(), np.triu(np.ones((3, 3), np.int8), 1)
    found = decode_instances(predicted(amodal, order), 16, 16)
    maps = sem_dist_maps(found)
    assert maps.dtype == np.float32
    assert -3 <= maps.min() <= maps.max() < 1
    again = decode_sem_dist(maps)
    np.testing.assert_array_equal(again.levels, found.pred_levels)
    np.testing.assert_array_equal(again.modal, found.pred_modal_masks)


def test_a_network_without_levels_has_no_sem_dist_map() -> None:
    result = predicted(crossing(), np.zeros((3, 3), np.int8))
    result.pred_level_prob = result.pred_level_prob[:, :1]
    found = decode_instances(result, 16, 16)
    assert not found.has("occlusion")
    with pytest.raises(ValueError, match="predicts amodal masks only"):
        sem_dist_maps(found)


# -------------------------------------------------------------------- suppression of repetitions


def one_behind_another() -> torch.Tensor:
    """Levels of a bar of 4 x 6, of one that is hidden except for its last column, and of no one."""
    levels = torch.full((3, 6, 8), -1, dtype=torch.int8)
    levels[0, 1:5, 0:6] = 0
    levels[1, 1:5, 1:6], levels[1, 1:5, 6] = 1, 0
    return levels


def test_objects_behind_one_another_share_no_level() -> None:
    levels = one_behind_another()
    assert same_level_iou(levels).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    seen_alike = levels.clone()
    seen_alike[1, 1:5, 4:6] = 0  # eight of the 28 pixels of the two
    assert same_level_iou(seen_alike)[0, 1].item() == pytest.approx(8 / 28)
    assert same_level_iou(levels[:0]).shape == (0, 0)


def test_large_maps_are_compared_in_parts_and_in_full(monkeypatch) -> None:
    levels = torch.randint(-1, 4, (5, 40, 30), dtype=torch.int8)
    whole = same_level_iou(levels)
    there, alike = levels >= 0, levels[:, None] == levels
    union = (there[:, None] | there).sum(dim=(2, 3))
    expected = (alike & there).sum(dim=(2, 3)) / union
    assert torch.allclose(whole, expected)
    monkeypatch.setattr("occ_order.methods.sln.decode._PIXELS_AT_ONCE", 7)
    assert same_level_iou(levels).equal(whole)


def test_a_repetition_goes_and_the_object_behind_stays() -> None:
    levels = one_behind_another()[[0, 1, 0, 1]]
    levels[3, 1:5, 6] = -1  # the hidden bar again, without its visible column: 20 of 24 pixels
    scores, classes = torch.tensor([0.7, 0.5, 0.9, 0.6]), torch.zeros(4, dtype=torch.int64)
    assert level_nms(levels, scores, classes, 0.5).tolist() == [2, 3]
    assert level_nms(levels, scores, classes, 0.9).tolist() == [1, 2, 3]
    assert level_nms(levels, scores, torch.tensor([0, 0, 1, 1]), 0.5).tolist() == [0, 1, 2, 3]
    assert level_nms(levels[:0], scores[:0], classes[:0], 0.5).tolist() == []


def test_what_is_suppressed_suppresses_nothing() -> None:
    levels = torch.full((3, 1, 8), -1, dtype=torch.int8)
    levels[0, :, :4], levels[1, :, 1:6], levels[2, :, 3:] = 0, 0, 0
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    assert (same_level_iou(levels) > 0.3).tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert level_nms(levels, scores, classes, 0.3).tolist() == [0, 2]


@pytest.mark.parametrize("num_levels", [1, 4])
def test_decoding_leaves_out_repetitions_in_every_field(num_levels) -> None:
    amodal, order = crossing(), np.triu(np.ones((3, 3), np.int8), 1)
    result = predicted(amodal, order)[[0, 1, 1, 2, 0]]
    result.scores = torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6])
    result.pred_classes = torch.zeros(5, dtype=torch.int64)
    if num_levels == 1:
        result.pred_level_prob = result.pred_level_prob[:, -1:]
    found = decode_instances(result, 16, 16, nms=0.5)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    np.testing.assert_array_equal(found.pred_masks, amodal[[1, 2, 0]])
    assert len(decode_instances(result, 16, 16)) == 5
    if num_levels == 4:
        np.testing.assert_array_equal(found.occlusion.tensor, order[[1, 2, 0]][:, [1, 2, 0]])


@pytest.mark.parametrize("suffix", ["npz", "png"])
def test_sem_dist_files_keep_every_level(suffix, tmp_path) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(-1, 5, (3, 7, 9)).astype(np.int8)
    # Close to 1 and just above c, where a value that is rounded up or down changes its meaning.
    confidence = np.where(levels >= 0, rng.choice([0.51, 0.8, 1.0], levels.shape), 0.2)
    values = sem_dist(levels, confidence)
    path = tmp_path / "new" / f"5.{suffix}"
    save_sem_dist(path, values)
    again = load_sem_dist(path, height=7)
    assert np.abs(again - values).max() <= (1 / 256 if suffix == "png" else 0)
    np.testing.assert_array_equal(decode_sem_dist(again).levels, levels)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["npz", "png"])
def test_sem_dist_file_without_objects(suffix, tmp_path) -> None:
    path = tmp_path / f"none.{suffix}"
    save_sem_dist(path, np.zeros((0, 7, 9), np.float32))
    assert load_sem_dist(path, height=7).shape == (0, 7, 9)


def test_bad_sem_dist_files_are_refused(tmp_path) -> None:
    good = np.zeros((2, 4, 5), np.float32)
    with pytest.raises(ValueError, match=r"must be \(N, H, W\), got shape \(4, 5\)"):
        save_sem_dist(tmp_path / "a.npz", good[0])
    with pytest.raises(ValueError, match="must lie in"):
        save_sem_dist(tmp_path / "a.npz", good + 1)
    with pytest.raises(ValueError, match="must lie in"):
        save_sem_dist(tmp_path / "a.png", np.full_like(good, np.nan))
    with pytest.raises(ValueError, match="end in .npz or .png, got 'a.jpg'"):
        save_sem_dist(tmp_path / "a.jpg", good)
    save_sem_dist(tmp_path / "a.png", good)
    with pytest.raises(ValueError, match="needs the height of one map, got None"):
        load_sem_dist(tmp_path / "a.png")
    with pytest.raises(ValueError, match="8 rows do not hold maps of 3 rows"):
        load_sem_dist(tmp_path / "a.png", height=3)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="b.png: not a 16-bit grey PNG"):
        load_sem_dist(tmp_path / "b.png", height=4)
    np.savez(tmp_path / "b.npz", other=good)
    with pytest.raises(ValueError, match="no array 'sem_dist'"):
        load_sem_dist(tmp_path / "b.npz")
