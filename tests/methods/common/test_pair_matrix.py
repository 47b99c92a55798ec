"""PairMatrix keeps rows and columns together through everything that Instances do."""

import copy

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
