"""Exact sums and records of images: the same whatever the order, the parts and the processes."""

from __future__ import annotations

import math
import pickle
import sys

import numpy as np
import pytest

from occ_order.metrics.matrices import mean_or_nan
from occ_order.metrics.sums import ExactSums, ImageRecords, sorted_ids

NASTY = [
    [1e16, 1.0, -1e16],  # 0 or 1 in float64, whichever is added first
    [0.1] * 10,
    [5e-324, 1.0, -1.0],
    [sys.float_info.max, -sys.float_info.max, 2.5],
    [2 / 3, 2 / 7, -1 / 3],
    [0.0, -0.0],
]


@pytest.mark.parametrize("values", NASTY)
def test_sums_are_correctly_rounded_in_any_order(values):
    for order in (values, values[::-1], sorted(values)):
        sums = ExactSums(1)
        for value in order:
            sums.add([value])
        assert sums.totals()[0] == math.fsum(values)
        assert sums.means()[0] == math.fsum(values) / len(values) == mean_or_nan(values)


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_merged_in_any_order_and_grouping(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, 3)) * 10.0 ** rng.integers(-200, 200, (40, 3))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    parts = []
    for some in np.split(rng.permutation(rows), sorted(rng.integers(0, 41, 4))):
        parts.append(ExactSums(3))
        for row in some:
            parts[-1].add(row)
    copies = pickle.loads(pickle.dumps(parts))
    left, right = ExactSums(3), copies[-1]
    for part in parts:  # ((a + b) + c) + d
        left += part
    for part in copies[-2::-1]:  # d + c + b + a, the first in place
        right += part
    assert vars(left) == vars(right)
    expected = [math.fsum(column[~np.isnan(column)]) for column in rows.T]
    assert left.totals().tolist() == expected


def test_nothing_and_nan():
    sums = ExactSums(2)
    assert sums.totals().tolist() == [0, 0] and np.isnan(sums.means()).all()
    sums.add([np.nan, 3])
    assert np.isnan(sums.means()[0]) and sums.means()[1] == 3
    with pytest.raises(ValueError, match="zip"):
        sums += ExactSums(3)


def test_records_are_sorted_by_image_and_keep_their_order_within():
    found, other = (ImageRecords(scores=[("score", np.float32)]) for _ in range(2))
    found.add(10, scores={"score": [3, 1]})
    found.add(2)
    other.add(5, scores={"score": []})
    other.add(1, scores={"score": [4]})
    found += pickle.loads(pickle.dumps(other))
    rows = found.sorted("scores")
    assert rows["image"].tolist() == [0, 3, 3] and rows["score"].tolist() == [4, 3, 1]
    assert ImageRecords(scores=[("score", np.float32)]).sorted("scores").shape == (0,)
    found += other
    with pytest.raises(ValueError, match="image 1 is duplicated"):
        found.sorted("scores")


def test_ids_are_numbers_before_names():
    assert sorted_ids([10, "b", 9, "a"]) == [2, 0, 3, 1]
