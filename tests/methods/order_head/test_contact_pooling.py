"""Pooling over masks, boxes and the places where two instances meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from occ_order.methods.common.contact_pooling import (
    dilate,
    find_contacts,
    pool_boxes,
    pool_contacts,
    pool_masks,
)
from occ_order.methods.common.instance_pairs import pair_layout


def random_covers(counts, size=(9, 11), seed=0):
    generator = torch.Generator().manual_seed(seed)
    cover = torch.rand((sum(counts), *size), generator=generator)
    return torch.where(cover > 0.6, cover, torch.zeros(()))


def test_layout_of_three_images_one_of_them_empty():
    layout = pair_layout([2, 0, 1])
    assert layout.image.tolist() == [0, 0, 2]
    assert layout.row.tolist() == [0, 0, 1, 1, 2]
    assert layout.col.tolist() == [0, 1, 0, 1, 2]
    assert layout.swapped.tolist() == [0, 2, 1, 3, 4]
    assert layout.off_diagonal.tolist() == [False, True, True, False, False]
    assert layout.place(torch.tensor([1, 2]), torch.tensor([0, 2])).tolist() == [2, 4]


def test_split_gives_a_matrix_for_each_image_with_row_first():
    layout = pair_layout([2, 0, 3])
    matrices = layout.split(10 * layout.row + layout.col)
    assert [tuple(matrix.shape) for matrix in matrices] == [(2, 2), (0, 0), (3, 3)]
    assert matrices[0].tolist() == [[0, 1], [10, 11]]
    assert matrices[2][0].tolist() == [22, 23, 24]


@pytest.mark.parametrize("counts", [[], [0], [0, 0], [1], [4, 0, 2, 1]])
def test_swapping_twice_gives_the_pair_again(counts):
    layout = pair_layout(counts)
    assert len(layout.row) == sum(n * n for n in counts)
    assert torch.equal(layout.swapped[layout.swapped], torch.arange(len(layout.row)))
    assert torch.equal(layout.row[layout.swapped], layout.col)


def test_dilation_is_a_square_and_stops_at_the_border():
    cover = torch.zeros(1, 4, 5)
    cover[0, 0, 3] = 0.1
    near = dilate(cover, 1)
    assert near[0].nonzero().tolist() == [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]
    assert torch.equal(dilate(cover, 0), cover > 0)
    assert torch.equal(dilate(cover, 2), dilate(near.float(), 1))


def test_contact_of_two_halves_is_the_column_on_either_side():
    # Columns 0-2 are a, columns 3-5 are b and fill their cells by half.
    cover = torch.zeros(2, 2, 6)
    cover[0, :, :3] = 1
    cover[1, :, 3:] = 0.5
    contacts = find_contacts(cover, pair_layout([2]), 1)
    assert contacts.length.tolist() == [0, 2, 1, 0]
    assert contacts.cell.tolist() == [2, 8, 3, 9]
    values = torch.arange(12.0).reshape(1, 1, 2, 6)
    assert pool_contacts(values, contacts)[:, 0].tolist() == [0, 5, 6, 0]


def test_a_gap_as_wide_as_the_radius_is_bridged():
    cover = torch.zeros(2, 1, 6)
    cover[0, 0, 0], cover[1, 0, 3] = 1, 1
    layout = pair_layout([2])
    assert find_contacts(cover, layout, 2).length.sum() == 0
    assert find_contacts(cover, layout, 3).length.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("counts", [[3], [2, 0, 4], [1, 5]])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_contacts_agree_with_a_loop_over_pairs(counts, radius):
    cover, layout = random_covers(counts), pair_layout(counts)
    values = torch.randn(len(counts), 3, *cover.shape[1:])
    pooled = pool_contacts(values, find_contacts(cover, layout, radius))
    near = dilate(cover, radius)
    for k, (a, b) in enumerate(zip(layout.row.tolist(), layout.col.tolist(), strict=True)):
        weight = cover[a] * near[b] * (a != b)
        expected = (values[layout.image[a]] * weight).sum((1, 2)) / weight.sum().clamp(min=1e-6)
        torch.testing.assert_close(pooled[k], expected)


def test_masks_and_boxes_agree_with_means_of_slices():
    counts = [2, 0, 1]
    cover, layout = random_covers(counts), pair_layout(counts)
    values = torch.randn(3, 2, 9, 11)
    pooled = pool_masks(values, cover, layout)
    for k, image in enumerate(layout.image.tolist()):
        expected = (values[image] * cover[k]).sum((1, 2)) / cover[k].sum()
        torch.testing.assert_close(pooled[k], expected)
    boxes = torch.tensor([[0, 0, 11, 9], [2, 3, 5, 4], [4, 4, 4, 4]])
    means = pool_boxes(values, torch.tensor([0, 2, 1]), boxes)
    torch.testing.assert_close(means[0], values[0].mean((1, 2)))
    torch.testing.assert_close(means[1], values[2, :, 3:4, 2:5].mean((1, 2)))
    assert means[2].tolist() == [0, 0]


@pytest.mark.parametrize("counts", [[0, 0], [1]])
def test_without_a_pair_there_is_no_contact(counts):
    cover, layout = torch.ones(sum(counts), 3, 4), pair_layout(counts)
    values = torch.randn(len(counts), 2, 3, 4)
    pooled = pool_contacts(values, find_contacts(cover, layout, 1))
    assert pooled.shape == (sum(counts), 2) and not pooled.any()
    assert pool_masks(values, cover, layout).shape == (sum(counts), 2)


def test_an_empty_mask_has_means_of_zero():
    layout = pair_layout([2])
    cover = torch.zeros(2, 3, 4)
    cover[0] = 1
    values = torch.randn(1, 2, 3, 4)
    assert pool_masks(values, cover, layout)[1].tolist() == [0, 0]
    assert not pool_contacts(values, find_contacts(cover, layout, 1)).any()


def test_gradients_of_contacts_agree_with_differences():
    cover, layout = random_covers([3], size=(3, 4)), pair_layout([3])
    contacts = find_contacts(cover, layout, 1)
    weights = torch.randn(9, 2)
    values = torch.randn(1, 2, 3, 4, requires_grad=True)
    (pool_contacts(values, contacts) * weights).sum().backward()
    step = np.zeros((1, 2, 3, 4), np.float32)
    step[0, 1, 1, 2] = 0.5
    moved = (values + torch.from_numpy(step)).detach()
    change = ((pool_contacts(moved, contacts) - pool_contacts(values, contacts)) * weights).sum()
    torch.testing.assert_close(values.grad[0, 1, 1, 2], change.detach() / 0.5, rtol=1e-3, atol=1e-4)
