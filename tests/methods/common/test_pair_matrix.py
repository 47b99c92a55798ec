"""PairMatrix keeps rows and columns together through everything that Instances do."""

import copy

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from occ_order.methods.common.pair_matrix import PairMatrix


def numbered(size):
    return PairMatrix(torch.arange(size * size).reshape(size, size))


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        (torch.tensor([True, False, True, False]), [0, 2]),
        (torch.tensor([3, 1]), [3, 1]),
        ([2, 0], [2, 0]),
        (slice(1, 3), [1, 2]),
        (1, [1]),
        (-1, [3]),
        (torch.zeros(4, dtype=torch.bool), []),
        ([], []),
    ],
)
def test_choosing_instances_chooses_rows_and_columns(item, rows):
    matrix = numbered(4)
    expected = matrix.tensor[rows][:, rows]
    assert torch.equal(matrix[item].tensor, expected)


@pytest.mark.parametrize("item", [4, -5])
def test_an_instance_that_is_not_there(item):
    with pytest.raises(IndexError, match="of 4"):
        numbered(4)[item]


def test_as_a_field_of_instances():
    instances = Instances((10, 10))
    instances.pred_boxes = Boxes(torch.rand(4, 4))
    instances.occlusion = numbered(4)
    kept = instances[torch.tensor([0, 3])]
    assert kept.occlusion.tensor.tolist() == [[0, 3], [12, 15]]
    joined = Instances.cat([kept, instances[[1]]])
    assert joined.occlusion.tensor.tolist() == [[0, 3, -1], [12, 15, -1], [-1, -1, 5]]
    assert torch.equal(copy.deepcopy(joined).occlusion.tensor, joined.occlusion.tensor)
    assert len(joined.to("cpu").occlusion) == 3


def test_more_values_for_each_pair():
    matrix = PairMatrix(torch.rand(3, 3, 2), fill=0.5)
    joined = PairMatrix.cat([matrix[[0]], matrix[[1, 2]]])
    assert joined.tensor.shape == (3, 3, 2)
    assert (joined.tensor[0, 1:] == 0.5).all()
    assert torch.equal(joined.tensor[1:, 1:], matrix.tensor[1:, 1:])


def test_no_instances():
    empty = PairMatrix.empty()
    assert len(empty) == 0 and empty.tensor.shape == (0, 0)
    assert len(PairMatrix.cat([empty, empty])) == 0
    assert PairMatrix.cat([empty, PairMatrix(torch.ones(1, 1, dtype=torch.int8))]).tensor == 1
    assert PairMatrix.empty(3).tensor.shape == (0, 0, 3)


@pytest.mark.parametrize("shape", [(2, 3), (4,), ()])
def test_what_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        PairMatrix(torch.zeros(shape))


def test_matrices_that_do_not_fit_are_not_joined():
    with pytest.raises(ValueError, match="cannot join"):
        PairMatrix.cat([PairMatrix(torch.zeros(1, 1)), PairMatrix(torch.zeros(1, 1, 2))])
    with pytest.raises(ValueError, match="at least one"):
        PairMatrix.cat([])


def test_dtype_and_device_keep_the_fill():
    moved = PairMatrix(torch.zeros(1, 1), fill=7).to(torch.int16)
    assert moved.tensor.dtype == torch.int16 and moved.fill == 7


def matrix(n=4):
    return PairMatrix(torch.arange(n * n).reshape(n, n))


ITEMS = [
    slice(1, 3), slice(None, None, 2), [2, 0], torch.tensor([3, 3, 1]),
    torch.tensor([True, False, True, True]), [], slice(0, 0),
]  # fmt: skip


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_rows_and_columns_move_together(item):
    chosen = np.arange(4)[item.numpy() if isinstance(item, torch.Tensor) else item].astype(int)
    expected = matrix().tensor.numpy()[np.ix_(chosen, chosen)]
    np.testing.assert_array_equal(matrix()[item].tensor.numpy(), expected)


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_rows_and_columns_move_together_in_instances(item):
    instances = Instances((5, 5))
    instances.gt_boxes, instances.order = Boxes(torch.zeros(4, 4)), matrix()
    if isinstance(item, list):
        item = torch.tensor(item, dtype=torch.long)
    part = instances[item]
    assert part.order.tensor.shape == (len(part), len(part))
    assert torch.equal(part.order.tensor, matrix()[item].tensor)


def test_integers_choose_copies_are_deep_and_joined_matrices_keep_their_blocks():
    assert matrix()[2].tensor.tolist() == [[10]] and matrix()[-1].tensor.tolist() == [[15]]
    with pytest.raises(IndexError):
        matrix()[4]
    copied = copy.deepcopy(matrix())
    copied.tensor[0, 0] = 77
    assert matrix().tensor[0, 0] == 0
    moved = matrix().to("cpu", torch.float32)
    assert moved.tensor.dtype == torch.float32 and moved.device.type == "cpu"
    joined = PairMatrix.cat([matrix(2), PairMatrix.empty(dtype=torch.int64), matrix(1)])
    assert joined.tensor.tolist() == [[0, 1, -1], [2, 3, -1], [-1, -1, 0]]
    both = [Instances((5, 5)), Instances((5, 5))]
    for part in both:
        part.order = matrix(2)
    assert Instances.cat(both).order.tensor.shape == (4, 4)
    assert (Instances.cat(both).order.tensor[:2, 2:] == -1).all()
    with pytest.raises(ValueError, match=r"\(N, N, ...\), got \(2, 3\)"):
        PairMatrix(torch.zeros(2, 3))
