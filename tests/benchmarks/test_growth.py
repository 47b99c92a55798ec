"""Made-up data sets for benchmarks are valid, and every function that grows gives its rows."""

from __future__ import annotations

import argparse
import math

import pytest

pytest.importorskip("onnxruntime")

from occ_order.benchmarks import growth
from occ_order.benchmarks.like_coco import write_like_coco
from occ_order.benchmarks.many_images import PER_IMAGE, many_images
from occ_order.formats.statistics import order_statistics
from occ_order.formats.validate import validate
from occ_order.metrics.report import evaluate_results
from occ_order.order.io import check_image


def test_many_images_are_valid_and_have_every_score():
    records, results = many_images(3)
    for image in results:
        check_image(image)
    report = evaluate_results(records, results)
    assert report["notes"] == []
    for name in ("amodal/AP", "modal/AP", "occlusion/f1", "depth/whdr_all", "cycles/instances"):
        assert not math.isnan(report["scalars"][name]), name
    found = order_statistics(records)
    assert found["pairs"] == found["occlusion_pairs"] == found["depth_pairs"] == 3 * 45
    assert found["instances_per_image"] == {PER_IMAGE: 3}


def test_files_like_those_of_coco_are_valid(tmp_path):
    order, instances = write_like_coco(tmp_path, 4)
    found = validate(order, instances=instances)
    assert not found.errors and found.counts["images"] == 4 and found.counts["instances"] == 29
    assert found.counts["closer/farther pairs"] == 3 * math.comb(7, 2) + math.comb(8, 2)


def test_rows_of_images_and_pairs():
    sizes = {"instances": [], "megapixels": [], "nodes": []}
    sizes |= {"images": [2, 1], "pairs": [45], "listed": [3]}
    rows = list(growth.rows(argparse.Namespace(**sizes, repeats=1)))
    assert [row["case"] for row in rows] == [
        "score/1 images",
        "score/2 images",
        "stats, without masks/45 pairs",
        "stats, with masks/45 pairs",
        "read/3 images",
        "convert/3 images",
    ]
    assert "power" in rows[1] and "power" not in rows[0]
