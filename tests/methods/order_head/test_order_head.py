"""The order head: symmetry, shapes, empty input, losses."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import BitMasks, Instances

from occ_order.methods.common.contact_pooling import covers
from occ_order.methods.common.instance_pairs import pair_layout
from occ_order.methods.common.order_map import mask_cues
from occ_order.methods.common.order_matrices import order_losses, order_matrices, spread_orders
from occ_order.methods.common.order_relation import (
    INSTANCE_CUES,
    PAIR_CUES,
    instance_geometry,
    pair_geometry,
)
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.order_head.head import OrderHead, outward
from occ_order.methods.order_head.mask_noise import MaskNoise

SIZE = (32, 40)


@pytest.fixture
def make_head(on_device):
    def make_head(**changes):
        torch.manual_seed(0)
        options = {
            "in_feature": "p2",
            "stride": 2,
            "width": 4,
            "hidden": 8,
            "rounds": 2,
            "contact_radius": 1,
            "use_image": True,
            "map_norm": "BN",
        }
        head = OrderHead({"p2": ShapeSpec(channels=5, stride=4)}, **{**options, **changes})
        for layer in (head.relation.occlusion, head.relation.depth):
            torch.nn.init.normal_(layer.weight)  # so that answers differ
        return on_device(head.eval())

    return make_head


def random_masks(count, seed=0, size=SIZE):
    """Rectangles; later ones are in front."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros((count, *size), dtype=torch.bool)
    for k in range(count):
        y, x = (int(torch.randint(0, s - 12, (), generator=generator)) for s in size)
        masks[:k, y : y + 12, x : x + 12] = False
        masks[k, y : y + 12, x : x + 12] = True
    return masks


def answer(head, masks, seed=1, size=SIZE):
    """Logits of a batch whose images are random."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((len(masks), 3, *size), generator=generator)
    features = torch.randn((len(masks), 5, -(-size[0] // 4), -(-size[1] // 4)), generator=generator)
    with torch.no_grad():
        return head(images, [size] * len(masks), {"p2": features}, masks)


@pytest.mark.parametrize("stride", [2, 4])
def test_swapping_two_instances_gives_exactly_the_transposed_answer(stride, make_head):
    head, masks = make_head(stride=stride), random_masks(2)
    occlusion, depth, _ = answer(head, [masks])
    swapped, swapped_depth, _ = answer(head, [masks.flip(0)])
    assert torch.equal(swapped.reshape(2, 2), occlusion.reshape(2, 2).flip(0, 1))
    assert torch.equal(swapped_depth.reshape(2, 2, 3), depth.reshape(2, 2, 3).flip(0, 1))
    assert not torch.equal(occlusion[1], occlusion[2])


def test_depth_of_the_swapped_pair_is_exactly_closer_for_farther(make_head):
    _, depth, layout = answer(make_head(), [random_masks(5), random_masks(3)])
    assert torch.equal(depth[layout.swapped], depth[:, [1, 0, 2]])


def test_any_order_of_the_instances_gives_exactly_the_same_answers(make_head):
    head, masks, order = make_head(), random_masks(6), torch.tensor([3, 0, 5, 1, 4, 2])
    first = order_matrices(*answer(head, [masks]))[0]
    second = order_matrices(*answer(head, [masks[order]]))[0]
    assert {name for name in first if torch.equal(second[name], first[name][order][:, order])} == {
        "occlusion",
        "occlusion_probability",
        "depth",
        "depth_probability",
    }


def test_images_of_a_batch_do_not_see_one_another(make_head):
    head, masks = make_head(), [random_masks(4, 0), random_masks(0), random_masks(3, 2)]
    generator = torch.Generator().manual_seed(3)
    images = torch.randn((3, 3, *SIZE), generator=generator)
    features = torch.randn((3, 5, 8, 10), generator=generator)
    together = order_matrices(*head(images, [SIZE] * 3, {"p2": features}, masks))
    for k in (0, 2):
        alone = head(images[k : k + 1], [SIZE], {"p2": features[k : k + 1]}, masks[k : k + 1])
        for name, values in order_matrices(*alone)[0].items():
            torch.testing.assert_close(together[k][name], values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_any_number_of_instances(count, make_head):
    size = (64, 64)
    found = order_matrices(*answer(make_head(), [random_masks(count, size=size)], size=size))[0]
    shapes = {name: tuple(values.shape) for name, values in found.items()}
    pairs = (count, count)
    expected = dict.fromkeys(("occlusion", "occlusion_probability", "depth"), pairs)
    assert shapes == {**expected, "depth_probability": (*pairs, 3)}
    assert found["occlusion"].dtype == found["depth"].dtype == torch.int8
    assert not found["occlusion"].diagonal().any() and (found["depth"].diagonal() == -1).all()
    other = ~torch.eye(count, dtype=torch.bool)
    torch.testing.assert_close(found["depth_probability"].sum(2)[other], torch.ones(other.sum()))
    assert torch.isfinite(found["occlusion_probability"]).all()


def test_sizes_that_no_stride_divides_and_features_of_a_padded_batch(make_head):
    head = make_head(stride=4)
    images, features = torch.randn(1, 3, 33, 41), torch.randn(1, 5, 16, 16)
    occlusion, depth, _ = head(images, [(33, 41)], {"p2": features}, [random_masks(3)])
    assert torch.isfinite(occlusion).all() and torch.isfinite(depth).all()


def test_identical_masks_are_equally_far_and_an_empty_mask_is_no_trouble(make_head):
    masks = random_masks(1)
    same = order_matrices(*answer(make_head(), [masks.repeat(2, 1, 1)]))[0]
    assert same["depth"].tolist() == [[-1, 2], [2, -1]]
    over = same["occlusion_probability"]
    torch.testing.assert_close(over, over.T)
    nothing = torch.cat([masks, torch.zeros_like(masks)])
    assert torch.isfinite(answer(make_head(), [nothing])[0]).all()


def test_outlines_that_the_map_sees():
    masks = torch.zeros(2, 2, 4, dtype=torch.bool)
    masks[0, 0, :2], masks[1, :, 1:3] = True, True
    covered, twice, right, below = mask_cues(masks, [2, 0])[0].bool()
    assert covered.tolist() == [[True, True, True, False], [False, True, True, False]]
    assert twice.nonzero().tolist() == [[0, 1]]
    assert right.tolist() == [[True, True, True, False], [True, False, True, False]]
    assert below.tolist() == [[True, True, False, False], [False] * 4]
    assert not mask_cues(masks, [2, 0])[1].any()


def test_coarser_boxes_hold_the_finer_ones():
    boxes = torch.tensor([[3, 1, 6, 4], [4, 8, 8, 9], [0, 0, 0, 0]])
    assert outward(boxes, 2).tolist() == [[0, 0, 2, 1], [1, 2, 2, 3], [0, 0, 0, 0]]


def test_geometry_by_hand():
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 10]])
    layout = pair_layout([2])
    area, length = torch.tensor([16.0, 4.0]), torch.tensor([0.0, 2.0, 1.0, 0.0])
    single = instance_geometry(boxes, area, torch.tensor([[10.0, 20.0]] * 2))
    assert single.shape[1] == INSTANCE_CUES
    expected = [4 / 20 - 0.5, 0.1, 0.2, 0.8, 0.5, 0.1414, 4 / 32]
    torch.testing.assert_close(single[1], torch.tensor(expected), atol=1e-4, rtol=0)
    pairs = pair_geometry(boxes, area, length, layout)
    assert pairs.shape[1] == PAIR_CUES
    # union box 6 x 10; overlap of the boxes 4, the smaller has 16
    apart = [-2 / 6, -0.2, -2 / 6, -0.6, -2 / 6, -0.4, 0.0, -0.4, 0.6931]
    expected = [*apart, 4 / 16, 4 / 60, 1.0, 2 / 4, 1 / 2]
    torch.testing.assert_close(pairs[1], torch.tensor(expected), atol=1e-4, rtol=0)


def targets_of(occlusion, depth, overlap, masks=None):
    one = Instances(SIZE)
    for name, rows in (("occlusion", occlusion), ("depth", depth), ("overlap", overlap)):
        matrix = torch.tensor(rows, dtype=torch.int8).reshape(len(rows), len(rows))
        one.set(f"gt_{name}", PairMatrix(matrix))
    if masks is not None:
        one.gt_masks = BitMasks(masks)
    return one


def test_losses_of_confident_answers_and_of_their_reverse():
    target = targets_of([[0, 1], [0, 0]], [[-1, 1], [0, -1]], [[-1, 0], [0, -1]])
    layout = pair_layout([2])
    occlusion = torch.tensor([0.0, 50, -50, 0])
    depth = torch.tensor([[0.0, 0, 0], [50, -50, 0], [-50, 50, 0], [0, 0, 0]])
    right = order_losses(occlusion, depth, layout, [target])
    assert [float(x) for x in right] == pytest.approx([0, 0], abs=1e-6)
    wrong = order_losses(-occlusion, depth[:, [1, 0, 2]], layout, [target])
    assert [float(x) for x in wrong] == pytest.approx([50, 0.9 * 100])


def test_what_nobody_has_said_is_never_a_label():
    layout = pair_layout([2, 3])
    unknown2, unknown3 = [[-1] * 2] * 2, [[-1] * 3] * 3
    known = targets_of([[0, -1], [-1, 0]], unknown2, unknown2)
    other = targets_of(unknown3, unknown3, unknown3)
    logits = torch.randn(13, requires_grad=True), torch.randn(13, 3, requires_grad=True)
    losses = order_losses(*logits, layout, [known, other])
    assert [float(x.detach()) for x in losses] == [0, 0]
    sum(losses).backward()
    assert not logits[0].grad.any() and not logits[1].grad.any()


@pytest.mark.parametrize("count", [0, 1])
def test_losses_without_pairs_are_zero_and_have_a_gradient(count, make_head):
    head = make_head().train()
    empty = [[-1] * count] * count
    target = targets_of(empty, empty, empty)
    images, features = torch.randn(1, 3, *SIZE), torch.randn(1, 5, 8, 10, requires_grad=True)
    logits = head(images, [SIZE], {"p2": features}, [random_masks(count)])
    losses = order_losses(*logits, [target])
    assert [float(x.detach()) for x in losses] == [0, 0]
    sum(losses).backward()
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_every_parameter_learns(make_head):
    head, masks = make_head().train(), random_masks(4)
    images, features = torch.randn(2, 3, *SIZE), torch.randn(2, 5, 8, 10)
    occlusion, depth, _ = head(images, [SIZE] * 2, {"p2": features}, [masks, random_masks(3, 5)])
    (occlusion.square().sum() + (depth * torch.arange(3.0)).square().sum()).backward()
    assert [name for name, p in head.named_parameters() if not p.grad.any()] == []


def test_orders_of_chosen_instances_in_the_matrix_of_all():
    orders = {
        "occlusion": torch.tensor([[0, 1], [0, 0]], dtype=torch.int8),
        "depth_probability": torch.rand(2, 2, 3),
    }
    found = spread_orders(orders, torch.tensor([True, False, True]))
    assert found["occlusion"].tolist() == [[0, -1, 1], [-1, 0, -1], [0, -1, 0]]
    assert torch.equal(found["depth_probability"][0, 2], orders["depth_probability"][0, 1])
    assert not found["depth_probability"][1].any()


def test_mask_noise_moves_outlines_by_a_pixel_and_never_removes_one():
    torch.manual_seed(0)
    masks = torch.zeros(40, 9, 9, dtype=torch.bool)
    masks[:, 3:6, 3:6] = True
    masks[0] = False
    masks[0, 4, 4] = True  # would vanish
    assert MaskNoise(0.0)(masks) is masks
    sizes = set(MaskNoise(1.0)(masks).flatten(1).sum(1).tolist()[1:])
    assert sizes == {1, 25}
    assert all(MaskNoise(1.0)(masks)[0].any() for _ in range(5))


def test_dropped_instances_take_rows_and_columns_along():
    torch.manual_seed(1)
    size = 30
    index = torch.arange(size * size).reshape(size, size) % 2
    one = targets_of(index.tolist(), index.tolist(), index.tolist(), random_masks(size))
    left = MaskNoise(drop=0.5).drop(one)
    assert 5 < len(left) < 25
    assert left.gt_occlusion.tensor.shape == (len(left), len(left))
    assert MaskNoise(drop=0.0).drop(one) is one


def test_how_much_of_a_cell_is_filled():
    masks = torch.zeros(2, 8, 12, dtype=torch.bool)
    masks[0, 1:6, 2:11] = True
    masks[1] = True
    expected = torch.nn.functional.avg_pool2d(masks.float()[None], 4)[0]
    assert torch.equal(covers(masks, 4), expected)
    assert covers(masks[:0], 4).shape == (0, 2, 3)
