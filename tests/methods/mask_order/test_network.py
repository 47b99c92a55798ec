"""The order of input masks: symmetry, sequence, growth, degenerate masks, learning."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from occ_order.methods.common.contact_pooling import covers, find_contacts
from occ_order.methods.common.instance_pairs import pair_layout
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.mask_order import views
from occ_order.methods.mask_order.network import FAR, STRIDE, MaskOrderNetwork
from tests.methods.mask_order.conftest import CHAIN, discs

SIZE = (64, 96)


def orders(network, image, masks):
    """Occlusion (n, n) and depth (n, n, 3) logits of one image."""
    with torch.no_grad():
        found = network(image[None], [tuple(masks.shape[1:])], [masks])
    count = len(masks)
    return found.occlusion.view(count, count), found.depth.view(count, count, 3)


@pytest.fixture
def image():
    return torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("branches", [(), ("outlines",), ("image",)])
def test_another_sequence_of_the_masks_changes_no_bit(build, image, branches):
    network, masks = build(*branches).eval(), discs(*CHAIN)
    order = torch.tensor([2, 0, 3, 1])
    occlusion, depth = orders(network, image, masks)
    moved_occlusion, moved_depth = orders(network, image, masks[order])
    assert torch.equal(moved_occlusion, occlusion[order][:, order])
    assert torch.equal(moved_depth, depth[order][:, order])


def test_depth_of_a_pair_and_of_its_reverse_agree(network, image):
    _, depth = orders(network, image, discs(*CHAIN))
    closer, farther, equal = depth.unbind(2)
    assert torch.equal(closer, farther.T) and torch.equal(equal, equal.T)


def test_images_of_a_batch_do_not_see_each_other(network, image):
    masks = [discs(*CHAIN), discs(*CHAIN[1:3])]
    images = torch.stack([image, image.flip(2)])
    with torch.no_grad():
        found = network(images, [SIZE, SIZE], masks)
    for number, values in enumerate(found.layout.split(found.occlusion)):
        alone, _ = orders(network, images[number], masks[number])
        torch.testing.assert_close(values, alone, atol=1e-5, rtol=1e-5)


def test_only_pairs_that_meet_can_occlude(network, image):
    occlusion, _ = orders(network, image, discs(*CHAIN))
    near = occlusion > FAR / 2
    expected = torch.zeros(4, 4, dtype=torch.bool)
    for a, b in ((0, 1), (1, 2)):
        expected[a, b] = expected[b, a] = True
    assert torch.equal(near, expected)


@pytest.mark.parametrize(
    "masks",
    [
        torch.zeros(0, *SIZE).bool(),
        torch.zeros(2, *SIZE).bool(),
        torch.ones(2, *SIZE).bool(),
        discs((30, 40, 20))[[0, 0, 0]],
        torch.stack([torch.ones(SIZE).bool(), discs((30, 40, 5))[0]]),
        F.one_hot(torch.tensor([5, 700]), SIZE[0] * SIZE[1]).view(2, *SIZE).bool(),
    ],
    ids=["none", "empty", "full", "identical", "nested", "one pixel"],
)
def test_degenerate_masks_have_a_finite_answer(network, image, masks):
    occlusion, depth = orders(network, image, masks)
    assert torch.isfinite(occlusion).all() and torch.isfinite(depth).all()
    assert occlusion.shape == (len(masks), len(masks))


def test_identical_masks_are_told_nothing_apart(network, image):
    occlusion, depth = orders(network, image, discs((30, 40, 20))[[0, 0]])
    torch.testing.assert_close(occlusion, occlusion.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(depth[..., 0], depth[..., 1], atol=1e-5, rtol=0)


def test_the_number_of_pairs_at_once_changes_nothing(network, image):
    masks = discs(*CHAIN)
    whole, _ = orders(network, image, masks)
    network.outlines.pairs_at_once = 1
    torch.testing.assert_close(orders(network, image, masks)[0], whole, atol=1e-5, rtol=1e-5)


def test_answers_of_the_two_branches_are_added(network, on_device, image):
    masks = discs(*CHAIN)
    both, depth = orders(network, image, masks)
    parts = []
    for name in ("outlines", "image"):
        alone = MaskOrderNetwork(
            network.outlines if name == "outlines" else None,
            network.image if name == "image" else None,
        )
        parts.append(orders(on_device(alone), image, masks))
    near = both > FAR / 2
    assert near.any()
    total = parts[0][0] + parts[1][0]
    torch.testing.assert_close(both[near], total[near], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(depth, parts[0][1] + parts[1][1], atol=1e-5, rtol=1e-5)


def test_every_parameter_learns(build, image):
    network, masks = build().train(), discs(*CHAIN)
    found = network(torch.stack([image, image.flip(1)]), [SIZE] * 2, [masks, masks])
    loss = found.occlusion.sigmoid().sum() + found.depth.softmax(1)[:, 0].square().sum()
    (loss + found.log_depth.square().mean()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_a_network_without_any_input_is_refused():
    with pytest.raises(ValueError, match="neither outlines nor the image"):
        MaskOrderNetwork(None, None)


def test_which_of_two_discs_has_a_bite_taken_out_is_learned_from_outlines(build):
    """The disc that keeps its round outline is in front: one lesson for both ways round."""
    network = build("outlines")
    rng = torch.Generator().manual_seed(0)

    def batch():
        masks, targets = [], []
        for _ in range(8):
            y, x = torch.randint(24, 40, (2,), generator=rng).tolist()
            pair = discs((y, x, 12), (y + 2, x + 16, 12))
            swap = bool(torch.randint(2, (1,), generator=rng))
            masks.append(pair.flip(0) if swap else pair)
            masks[-1] = masks[-1].flip(2) if torch.rand(1, generator=rng) < 0.5 else masks[-1]
            targets.append(torch.tensor([0.0, 0, 1, 0] if swap else [0.0, 1, 0, 0]))
        return masks, torch.cat(targets)

    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    images = torch.zeros(8, 3, *SIZE)
    for _ in range(60):
        masks, target = batch()
        found = network.train()(images, [SIZE] * 8, masks)
        loss = F.binary_cross_entropy_with_logits(found.occlusion[found.near], target[found.near])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    masks, target = batch()
    with torch.no_grad():
        found = network.eval()(images, [SIZE] * 8, masks)
    right = (found.occlusion[found.near] > 0) == (target[found.near] > 0.5)
    assert right.float().mean() > 0.85


def test_contact_boxes_lie_around_the_common_border():
    masks = torch.zeros(3, 32, 48).bool()
    masks[0, 8:24, 4:20] = True
    masks[1, 12:20, 20:40] = True
    masks[2, 28:32, 44:48] = True
    layout, cover = pair_layout([3]), covers(masks, STRIDE)
    contacts = find_contacts(cover, layout, 1)
    near = views.near_pairs(contacts, layout)
    assert layout.pairs[near].tolist() == [[0, 1]]
    box = views.contact_boxes(contacts, layout, near, cover.shape[1:], STRIDE)
    # One cell of 4 pixels at either side of the border at x = 20, along the rows of the second.
    assert box.tolist() == [[16.0, 8.0, 24.0, 24.0]]
    whole, close = views.pair_squares(mask_boxes(masks), box, layout.pairs[near])
    assert ((whole[:, :2] + whole[:, 2:]) / 2).tolist() == [[22.0, 16.0]]
    assert ((close[:, :2] + close[:, 2:]) / 2).tolist() == [[20.0, 16.0]]
    assert (close[:, 2] - close[:, 0]).item() == 24.0


def test_who_claims_a_place_that_another_claims_is_its_rival():
    masks = torch.zeros(5, 16, 16, dtype=torch.bool)
    masks[0, :, :8] = True
    masks[1, 2:14, 2:8] = True  # within the first
    masks[2, :, 6:16] = True  # shares a quarter of the first's pixels
    masks[3, :, 8:] = True  # most of the third, beside the first
    masks[4, :, :8] = True  # the first's pixels, but of another image
    found = views.rivals(covers(masks, 1), pair_layout([4, 1]))
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[[0, 1, 2, 3], [1, 0, 3, 2]] = True
    assert torch.equal(found, expected)


def test_rivals_of_either_are_not_among_the_others():
    masks = torch.zeros(4, 16, 16)
    masks[0, :, :6], masks[1, :, 6:11], masks[2, :, :11], masks[3, :, 11:] = 1, 1, 1, 1
    layout, squares = pair_layout([4]), torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    pairs, rival = torch.tensor([[0, 1]]), views.rivals(masks, layout)
    assert rival.nonzero().tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    shown = views.mask_views(masks, 1, layout, pairs, squares, 16, rival)
    alone = views.mask_views(
        masks[[0, 1, 3]], 1, pair_layout([3]), pairs, squares, 16, torch.zeros(3, 3).bool()
    )
    torch.testing.assert_close(shown, alone)


def test_views_exchange_the_two_and_tell_the_image_from_what_lies_beyond():
    masks = torch.zeros(3, 16, 16)
    masks[0, :, :8], masks[1, :, 8:12], masks[2, :, 12:] = 1, 1, 1
    layout = pair_layout([3])
    squares = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    pairs = torch.tensor([[0, 1]])
    rival = torch.zeros(3, 3, dtype=torch.bool)
    shown = views.mask_views(masks, 1, layout, pairs, squares, 32, rival)
    assert shown.shape == (2, 1, 4, 32, 32)
    assert torch.equal(shown[0, :, [0, 1]], shown[1, :, [1, 0]])
    assert torch.equal(shown[0, :, 2:], shown[1, :, 2:])
    first, second, others, area = shown[0, 0]
    middle = (slice(2, 14), 4), (slice(2, 14), 10), (slice(2, 14), 14)
    assert (first[middle[0]] == 1).all() and (second[middle[1]] == 1).all()
    assert (others[middle[2]] == 1).all() and (others[middle[0]] == 0).all()
    assert (area[2:14, 2:14] == 1).all() and (area[18:, 18:] == 0).all()
