"""Instances that are set into others, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.order import set_into

SIZE = (60, 80)


def box(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def table_with(thing: np.ndarray) -> np.ndarray:
    """A table of which the thing hides a part: bool (2, H, W), the thing first."""
    return np.stack([thing, box(30, 55, 5, 75) & ~thing])


def test_a_cup_on_a_table_is_set_into_it():
    cup = box(16, 42, 30, 46)  # its lower part, rows 34 to 41, has the table below and beside it
    assert set_into(table_with(cup)).tolist() == [[False, True], [False, False]]


def test_the_sequence_does_not_matter():
    assert set_into(table_with(box(16, 42, 30, 46))[::-1]).tolist() == [
        [False, False],
        [True, False],
    ]


def test_what_the_back_edge_of_a_table_cuts_off_is_not():
    """It ends where the table begins: it may well stand behind."""
    assert not set_into(table_with(box(10, 30, 30, 46))).any()


def test_neither_is_what_stands_at_the_side():
    assert not set_into(table_with(box(20, 50, 1, 8))).any()  # the table is on one side alone


def test_an_image_is_set_into_its_wall():
    image = box(20, 30, 20, 40)
    wall = box(0, 60, 0, 80) & ~image
    assert set_into(np.stack([image, wall])).tolist() == [[False, True], [False, False]]


def test_gaps_of_annotation_are_bridged_up_to_the_radius():
    cup = box(16, 42, 30, 46)
    gap = box(15, 43, 29, 47)
    table = box(30, 55, 5, 75) & ~gap
    assert set_into(np.stack([cup, table]), radius=6)[0, 1]
    assert not set_into(np.stack([cup, table]), radius=1).any()


def test_the_lower_edge_of_the_image_shows_nothing():
    cup = box(40, 60, 30, 46)
    table = box(45, 60, 5, 75) & ~cup
    assert not set_into(np.stack([cup, table])).any()


def test_two_that_are_set_into_each_other_are_left_out():
    """Two masks that say the same say nothing of who is in front."""
    same = box(16, 42, 30, 46)
    assert not set_into(np.stack([same, same])).any()
    assert not set_into(np.stack([box(10, 50, 10, 50), box(11, 49, 11, 49)])).T[0, 1]


def test_no_mask_an_empty_one_and_one_pixel():
    assert set_into(np.zeros((0, *SIZE), bool)).shape == (0, 0)
    assert not set_into(np.stack([np.zeros(SIZE, bool), box(10, 20, 10, 20)])).any()
    assert set_into(table_with(box(40, 41, 40, 41))).tolist() == [[False, True], [False, False]]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, H, W\), got an array of shape \(60, 80\)"):
        set_into(np.zeros(SIZE, bool))
