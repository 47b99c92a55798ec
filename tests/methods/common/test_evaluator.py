"""Ground truth of the evaluators: read once for all evaluators of a data set."""

from __future__ import annotations

import gc

import pytest
from detectron2.data import DatasetCatalog

from occ_order.methods.common.evaluator import OrderEvaluator


@pytest.fixture
def register():
    """Registers records as the data set "shared_records", and removes it at the end."""

    def one(records: list) -> list:
        read = []
        if "shared_records" in DatasetCatalog:
            DatasetCatalog.remove("shared_records")
        DatasetCatalog.register("shared_records", lambda: read.append(1) or records)
        return read

    yield one
    DatasetCatalog.remove("shared_records")


def test_evaluators_of_a_data_set_share_its_records(register):
    read = register([{"image_id": 1}, {"image_id": "b"}])
    first, second = (OrderEvaluator(None, "shared_records", "") for _ in range(2))
    assert first.records == {1: {"image_id": 1}, "b": {"image_id": "b"}}
    assert second.records is first.records and len(read) == 1
    del first, second
    gc.collect()
    assert len(OrderEvaluator(None, "shared_records", "").records) == 2 and len(read) == 2


def test_other_data_of_the_same_name_are_read_anew(register):
    register([{"image_id": 1}])
    first = OrderEvaluator(None, "shared_records", "")
    assert [*first.records] == [1]
    register([{"image_id": 2}])
    assert [*OrderEvaluator(None, "shared_records", "").records] == [2] and [*first.records] == [1]
