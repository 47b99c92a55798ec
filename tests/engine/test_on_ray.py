"""`--engine ray` on Ray's own simulated cluster of three machines, of which one is killed.

The models are a toy that takes its time and notes what it was asked, and where. All else is what
the command does: reading, masks, parts, merging.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray.data", reason="--engine ray needs Ray: pip install 'occ_order[ray]'")

import ray
from ray.cluster_utils import Cluster

from occ_order.cli import main
from occ_order.commands import predict, predict_collection, score
from occ_order.engine import collection
from occ_order.engine.on_ray import spread
from occ_order.order import area_order
from occ_order.order.io import load_results, save_results

IMAGES = 24
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # workers are as important as this process
    "RAY_enable_worker_prestart": "0",  # those that are needed start when they are
    "RAY_prestart_worker_first_driver": "0",
}

# Workers cannot import the module of a test.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Toy:
    """Orders input masks by their area, after a pause; notes each image and its machine."""

    def __init__(self, notes="", pause=0.0):
        self.notes, self.pause = notes, pause

    def __call__(self, image, given, *, file):
        if self.notes:
            where = ray.get_runtime_context().get_node_id()
            with open(self.notes, "a", encoding="utf-8") as notes:
                notes.write(f"{where} {Path(file).name}\n")
        time.sleep(self.pause)
        occlusion = area_order(given.modal, order="occlusion", pairs="bordering")
        probability = occlusion * (0.5 + image.mean() / 512)
        return given.replace(occlusion=occlusion, occlusion_prob=probability, image=image)

    def about(self, *, masks):
        return "a toy"


def toy_work(notes, options, folder):
    """What a worker is built by, with the toy in place of models."""
    predict_collection.build_predict = lambda options: Toy(notes, 0.3)
    return predict_collection.build_work(options, folder)


def noted(notes):
    """Of every image that was begun the machine and the name, in this order."""
    return [tuple(line.split()) for line in notes.read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster():
    """Three machines: this process is at the first, and each of the others has one worker."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "include_dashboard": False,
            "include_log_monitor": False,
            **NODE,
            "num_cpus": 0,
        },
    )
    try:
        others = [found.add_node(**NODE) for _ in range(2)]
        ray.init(address=found.address, log_to_driver=False)
        yield found, others
    finally:
        ray.shutdown()
        found.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images with label maps; of one the image is damaged, of another the masks are missing."""
    place = tmp_path_factory.mktemp("ray")
    (place / "images").mkdir()
    (place / "labels").mkdir()
    for k in range(IMAGES):
        Image.new("RGB", (40, 30), (9 * k, 80, 120)).save(place / "images" / f"{k:02d}.png")
        labels = np.zeros((30, 40), np.uint8)
        labels[2:15, 2 : 10 + k], labels[10:28, 8:30] = 1, 2
        Image.fromarray(labels).save(place / "labels" / f"{k:02d}.png")
    (place / "images" / "03.png").write_bytes(b"<html>")
    (place / "labels" / "11.png").unlink()
    return place


def words(place, output, *more):
    found = ["predict", str(place / "images"), "--masks", str(place / "labels"), "--json-only"]
    return [*found, "--output", str(place / output), *more]


def by_ray(place):
    return words(place, "out", "--engine", "ray", "--part-size", "2")


@pytest.fixture(scope="module")
def alone(place):
    """What one process writes."""
    real = predict.build_predict
    predict.build_predict = lambda options: Toy()
    try:
        assert main(words(place, "alone")) == 1
    finally:
        predict.build_predict = real
    return (place / "alone" / "order_results.json").read_bytes()


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Workers have the toy; the file of its notes."""
    notes = tmp_path / "notes"

    def build_work(options, folder, notes=str(notes)):
        return toy_work(notes, options, folder)

    monkeypatch.setattr(predict_collection, "build_work", build_work)
    return notes


def test_a_machine_that_is_killed_loses_nothing(cluster, place, alone, toys, monkeypatch, capsys):
    found, others = cluster
    killed, written = [], []
    real = collection.write_part

    def write_part(output, index, entries, **more):
        real(output, index, entries, **more)
        written.append(index)
        busy = {machine for machine, _ in noted(toys)}
        hit = next((node for node in others if node.node_id in busy), None)
        if hit is not None and not killed:
            found.remove_node(hit, allow_graceful=False)
            killed.append(len(written))

    monkeypatch.setattr(collection, "write_part", write_part)
    assert main(by_ray(place)) == 1
    shown = capsys.readouterr()
    assert killed[0] < IMAGES // 4  # with most parts still to come
    assert sorted(written) == list(range(IMAGES // 2))
    assert (place / "out" / "order_results.json").read_bytes() == alone
    assert "a toy\n" in shown.out and f"{IMAGES - 2} images, 2 failed" in shown.out
    assert "03.png: not a readable image" in shown.err
    begun = Counter(name for _, name in noted(toys))
    assert set(begun) == {f"{k:02d}.png" for k in range(IMAGES) if k not in (3, 11)}
    assert len({machine for machine, _ in noted(toys)}) > 1


def test_only_parts_that_are_missing_are_made(cluster, place, alone, toys):
    assert (place / "out" / "parts").is_dir(), "the test before made them"
    (place / "out" / "order_results.json").unlink()
    for k in (2, 7):
        (place / "out" / "parts" / f"{k:06d}.json").unlink()
    assert main(by_ray(place)) == 1
    assert (place / "out" / "order_results.json").read_bytes() == alone
    assert sorted(name for _, name in noted(toys)) == ["04.png", "05.png", "14.png", "15.png"]


def test_scores_are_those_of_one_process(cluster, place, alone, monkeypatch, capsys):
    monkeypatch.setattr(score, "PART", 5)
    results = load_results(place / "alone" / "order_results.json")
    for image in results[::3]:
        image["occlusion"] = [[j, i, p] for i, j, p in image["occlusion"]]
    save_results(place / "truth.json", results)
    found = ["score", "--format", "results", "--gt", str(place / "truth.json")]
    found += ["--images", str(place / "images")]
    found += ["--predictions", str(place / "alone" / "order_results.json")]
    shown = []
    for more in ([], ["--engine", "ray"]):
        report = place / f"report{len(more)}.json"
        assert main([*found, "--json", str(report), *more]) == 0
        shown.append((capsys.readouterr().out, report.read_bytes()))
    assert shown[0] == shown[1]
    assert 0 < json.loads(shown[0][1])["scalars"]["occlusion/f1"] < 100


def refused(number):
    raise ValueError(f"part {number} is refused")


def not_built():
    raise FileNotFoundError("there is no /nowhere")


def test_an_error_of_a_worker_is_raised_as_it_was(cluster):
    with pytest.raises(ValueError, match="part 7 is refused"):
        list(spread([7], lambda: refused))
    with pytest.raises(FileNotFoundError, match="there is no /nowhere"):
        list(spread([7], not_built))
    with pytest.raises(ValueError, match="has no GPU"):
        list(spread([7], lambda: refused, gpu=True))
    assert list(spread([], lambda: refused)) == []
