"""Order from partial completion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from occ_order.methods.build import build_mapper
from occ_order.methods.common.pair_crops import mask_boxes, on_pixels, square_around
from occ_order.methods.instaorder.erasers import ERASED, completion_sample, place_eraser, shifted
from occ_order.methods.instaorder.pcnet_m import PCNetM, dilate, order_of
from occ_order.methods.instaorder.unet import UNet


def test_the_published_network_has_the_published_size():
    assert sum(p.numel() for p in UNet(2, width=32).parameters()) == 3_352_002


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (37, 53)])
def test_the_output_has_the_size_of_the_input(size, on_device):
    assert on_device(UNet(2, width=4)).eval()(torch.zeros(1, 2, *size)).shape == (1, 2, *size)


# --- order


def test_the_one_that_grows_more_lies_behind():
    growth = torch.tensor([[0.0, 30, 5], [10, 0, 0], [5, 0, 0]])
    occlusion, share = order_of(growth)
    # 0 grows 30 into 1, 1 grows 10 into 0: 1 occludes 0. 0 and 2 grow alike: no occlusion.
    assert occlusion.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(share[1, 0], torch.tensor(0.75))
    torch.testing.assert_close(share[0, 1], torch.tensor(0.25))
    assert share[1, 2] == 0 and share[0, 2] == 0.5


class Filling(torch.nn.Module):
    """Completes a disc-like hole: whatever is erased and lies in the box of the erased mask."""

    def forward(self, x):
        boxes = mask_boxes(x[:, 0])
        logits = torch.full((len(x), 2, *x.shape[2:]), 0.0)
        for one, (x0, y0, x1, y1) in zip(logits, boxes.long().tolist(), strict=True):
            one[0], one[1] = 9, -9
            one[0, y0:y1, x0:x1], one[1, y0:y1, x0:x1] = -9, 9
        return logits


def instances_of(masks):
    """Instances of class 0 with these masks, bool (N, H, W)."""
    found = Instances(tuple(masks.shape[1:]))
    found.pred_masks = masks
    found.pred_classes = torch.zeros(len(masks), dtype=torch.long)
    found.scores = torch.ones(len(masks))
    return found


def notched(gap=0):
    """A square 0 with a notch that the square 1 fills, but for `gap` pixels on each side."""
    masks = torch.zeros((2, 40, 40), dtype=torch.bool)
    masks[0, 8:32, 8:32] = True
    masks[0, 14:26, 20:32] = False
    masks[1, 14 + gap : 26 - gap, 20 + gap : 36] = True
    return instances_of(masks)


@pytest.fixture
def complete(on_device, moved):
    def complete(given, **options):
        options.setdefault("order_threshold", 0.1)
        given = moved(given)
        net = on_device(PCNetM(net=Filling(), size=64, **options)).eval()
        squares = on_pixels(square_around(mask_boxes(given.pred_masks), area=3.0))
        return net, squares, net.growth(given, squares)

    return complete


def test_growth_is_the_area_behind_the_other(complete):
    _, squares, growth = complete(notched())
    # The box of 0 holds 12 x 12 pixels of 1; 1 is a whole rectangle and does not grow into 0.
    assert growth[0, 1].item() == pytest.approx(144, rel=0.1)
    assert growth[1, 0].item() == 0 and squares.shape == (2, 3)
    occlusion, _ = order_of(growth)
    assert occlusion.tolist() == [[0, 0], [1, 0]]


def test_the_completed_mask_is_the_union_with_what_lies_behind_the_occluder(on_device):
    given = notched()
    inputs = {"image": torch.zeros(3, 40, 40), "instances": given}
    found = on_device(PCNetM(net=Filling(), size=64)).eval()([inputs])[0]["instances"]
    whole = given.pred_masks[0].clone()
    whole[14:26, 20:32] = True
    assert torch.equal(found.pred_amodal_masks[1], given.pred_masks[1])
    missing = found.pred_amodal_masks[0] ^ whole
    assert missing.sum() <= 24  # the crop is scaled, so the rim may move by a pixel
    assert torch.equal(found.pred_masks, given.pred_masks)


def test_a_gap_between_the_masks_is_bridged_on_request(complete, moved):
    given = notched(gap=2)
    without, _, plain = complete(given)
    with_gap, squares, bridged = complete(given, gap=2)
    # What the eraser of 1 covers grows from its 8 x 10 pixels in the box of 0 to 12 x 12.
    assert plain[0, 1].item() == pytest.approx(80, rel=0.15)
    assert bridged[0, 1].item() == pytest.approx(144, rel=0.1)
    occlusion, _ = order_of(bridged)
    assert occlusion.tolist() == [[0, 0], [1, 0]]
    whole = with_gap.amodal(moved(given), squares, occlusion)[0]
    holes = without.amodal(moved(given), squares, occlusion)[0]
    assert whole[14:26, 20:32].float().mean() > 0.9 > holes[14:26, 20:32].float().mean()


def test_separated_masks_border_once_they_are_dilated(complete):
    given = notched(gap=2)
    assert not complete(given, pairs="bordering")[2].any()
    assert complete(given, pairs="bordering", gap=2)[2][0, 1] > 0


def test_dilation_is_a_square():
    masks = torch.zeros((1, 7, 7), dtype=torch.bool)
    masks[0, 3, 3] = True
    assert dilate(masks, 2)[0].nonzero().tolist() == [
        [y, x] for y in range(1, 6) for x in range(1, 6)
    ]
    assert dilate(masks, 0) is masks


def test_a_cycle_completes_every_member_behind_the_others(complete, moved):
    masks = torch.zeros((3, 40, 40), dtype=torch.bool)
    masks[0, 5:15, 5:20], masks[1, 15:25, 5:20], masks[2, 25:35, 5:20] = True, True, True
    given = instances_of(masks)
    occlusion = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.int8)
    net, squares, _ = complete(given)
    whole = net.amodal(moved(given), squares, moved(occlusion)).cpu()
    assert (whole & masks).sum() == masks.sum() and not (whole & ~masks.any(0)).any()


@pytest.mark.parametrize("count", [0, 1, 30])
def test_any_number_of_instances(cfg, annotated, count, on_device):
    found = on_device(PCNetM(cfg)).eval()([annotated(count)])[0]["instances"]
    assert found.occlusion.tensor.shape == (count, count)
    assert not (found.occlusion.tensor & found.occlusion.tensor.T).any()
    assert (found.pred_amodal_masks | found.pred_masks).equal(found.pred_amodal_masks)


def test_an_empty_mask_has_no_order(cfg, annotated, on_device):
    one = annotated(3)
    one["instances"].gt_masks.tensor[1] = False
    found = on_device(PCNetM(cfg)).eval()([one])[0]["instances"]
    assert not found.occlusion.tensor[1].any() and not found.occlusion.tensor[:, 1].any()


def test_category_values_reach_the_network(cfg, on_device, moved):
    cfg.MODEL.PCNET_M.CATEGORY_VALUES = True
    cfg.MODEL.PAIRWISE.CATEGORY_IDS = [1, 4]
    net = on_device(PCNetM(cfg))
    mask, classes = torch.ones(2, 4, 4), torch.tensor([0, 1])
    found = net._input(moved(mask), moved(mask), moved(classes))
    assert found[:, :, 0, 0].tolist() == [[1, 1], [4, 1]]


# --- training


def test_case_1_erases_the_target_and_case_2_erases_around_it():
    target, eraser = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    target[:, :2], eraser[1:3, 1:3] = 1, 1
    erased, shown, whole = completion_sample(target, eraser, erase=True)
    assert erased.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert np.array_equal(shown, eraser) and np.array_equal(whole, target)
    erased, shown, whole = completion_sample(target, eraser, erase=False)
    assert np.array_equal(erased, target) and np.array_equal(whole, target)
    assert np.argwhere(shown).tolist() == [[1, 2], [2, 2]]


def test_an_eraser_takes_a_sensible_part():
    rng = np.random.default_rng(0)
    target, eraser = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    target[20:50, 22:40], eraser[5:25, 40:60] = 1, 1
    for _ in range(50):
        placed = place_eraser(target, eraser, rng)
        share = (placed & target).sum() / target.sum()
        assert ERASED[0] <= share < ERASED[1]


def test_a_shift_moves_whole_pixels():
    mask = np.arange(12).reshape(3, 4)
    assert shifted(mask, 1, 0).tolist() == [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]]
    assert shifted(mask, 0, -2).tolist() == [[8, 9, 10, 11], [0] * 4, [0] * 4]
    assert not shifted(mask, 4, 0).any()


@pytest.fixture
def samples(cfg, records):
    """Samples of the mapper, uint8 (K, 3, S, S)."""
    cfg.INPUT.MAPPER, cfg.DATASETS.TRAIN = "PartialCompletionMapper", ()
    cfg.MODEL.PCNET_M.INSTANCES_PER_IMAGE = 200
    mapper = build_mapper(cfg, is_train=True)
    return torch.cat([mapper(record)["completion"] for record in records(2, instances=6)]).numpy()


def test_share_of_the_cases(samples):
    erased, eraser, target = samples.swapaxes(0, 1)
    assert ((erased | target) == target).all() and not (erased & eraser).any()
    # In case 1 the eraser covers a part of the target, in case 2 none.
    case_1 = (eraser & target).any((1, 2)).mean()
    assert case_1 == pytest.approx(0.8, abs=0.06)


def test_training_has_a_loss_and_gradients_everywhere(cfg, samples, on_device):
    net = on_device(PCNetM(cfg)).train()
    batch = [
        {"completion": torch.from_numpy(samples[:8]), "completion_classes": torch.zeros(8).long()}
    ]
    loss = net(batch)["loss_completion"]
    loss.backward()
    assert loss > 0
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.ndim > 1)


def test_training_without_samples(cfg, on_device):
    empty = {"completion": torch.zeros((0, 3, 32, 32)), "completion_classes": torch.zeros(0).long()}
    loss = on_device(PCNetM(cfg)).train()([empty])["loss_completion"]
    loss.backward()
    assert loss.item() == 0


def test_a_negative_gap_is_refused(cfg, on_device):
    cfg.MODEL.PCNET_M.GAP = -1
    with pytest.raises(ValueError, match="GAP must be at least 0, got -1"):
        on_device(PCNetM(cfg))
