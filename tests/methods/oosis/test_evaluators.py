"""Evaluators of OOSIS: perfect and empty predictions, several processes, files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from occ_order.config import get_cfg
from occ_order.crf import InstanceMap
from occ_order.engine.evaluation import EVALUATOR_REGISTRY, build_evaluator
from occ_order.methods.build import build_mapper
from occ_order.methods.common import evaluator as base
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.oosis.oair_evaluator import accuracy_at
from occ_order.methods.oosis.truth import ground_truth, instance_map
from occ_order.metrics import BoundaryScorer
from occ_order.targets import oriented_boundary

NAMES = ("OAIR", "WeightedCoverage", "InstanceAP", "OrientedBoundary")
DATA = "oosis_evaluator_test"


@pytest.fixture
def data(record):
    """Three registered images: a chain of three, a pair, and one without instances."""
    chain = np.zeros((3, 20, 30), bool)
    chain[0, 2:10, 2:10], chain[1, 4:14, 10:18], chain[2, 6:18, 18:28] = True, True, True
    pair = np.zeros((2, 20, 30), bool)
    pair[0, 3:15, 4:12], pair[1, 8:19, 12:24] = True, True
    records = [
        record(chain, [[0, 1, 0], [0, 0, 1], [0, 0, 0]], image_id=1),
        record(pair, [[0, 0], [1, 0]], image_id=2),
        record(np.zeros((0, 20, 30)), np.zeros((0, 0)), image_id=3),
    ]
    DatasetCatalog.register(DATA, lambda: records)
    MetadataCatalog.get(DATA).set(evaluator_type="cocoa", thing_classes=["thing"])
    yield records
    DatasetCatalog.remove(DATA)
    MetadataCatalog.remove(DATA)


def as_output(masks, occlusion, *, scores=None, boundary=None) -> dict:
    """A network's answer."""
    masks = np.asarray(masks, bool)
    found = Instances(masks.shape[1:])
    found.pred_masks = torch.from_numpy(masks)
    found.pred_boxes = Boxes(torch.zeros(len(masks), 4))
    found.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    found.scores = torch.ones(len(masks)) if scores is None else torch.tensor(scores)
    occlusion = np.asarray(occlusion, np.int8).reshape(len(masks), len(masks))
    found.occlusion = PairMatrix(torch.from_numpy(occlusion))
    if boundary is None:
        boundary = np.concatenate([np.zeros((4, *masks.shape[1:])), np.ones((1, *masks.shape[1:]))])
    return {"instances": found, "occ_boundary": torch.from_numpy(boundary.astype(np.float32))}


def perfect(record) -> dict:
    """What the annotation says."""
    truth = ground_truth(record)
    ids = (truth["masks"] * np.arange(1, len(truth["masks"]) + 1)[:, None, None]).sum(0)
    edge, orientation = oriented_boundary(ids.astype(np.int64), truth["occlusion"])
    boundary = np.concatenate([orientation * edge, 1.0 - edge[None]])
    return as_output(truth["masks"], truth["occlusion"], boundary=boundary)


def nothing(record) -> dict:
    """No instance and no boundary."""
    shape = (0, record["height"], record["width"])
    return as_output(np.zeros(shape), np.zeros((0, 0)))


def evaluator(name: str, folder, **options):
    """One evaluator."""
    cfg = get_cfg()
    cfg.TEST.OOSIS.update(options)
    return EVALUATOR_REGISTRY.get(name)(cfg, DATA, str(folder))


def run(name: str, records, answer, folder, **options) -> dict:
    """Its scores when ``answer`` is the network."""
    judge = evaluator(name, folder, **options)
    judge.reset()
    for one in records:
        judge.process([{"image_id": one["image_id"]}], [answer(one)])
    return judge.evaluate()


def test_the_annotation_scores_full_marks(data, tmp_path):
    found = {}
    for name in NAMES:
        found |= run(name, data, perfect, tmp_path)
    oair = found["oair"]
    assert oair["recall"] == oair["accuracy"] == oair["accuracy_recall_80"] == 100
    assert oair["accuracy_decycled"] == 100 and oair["in_cycles"] == 0
    assert found["coverage"]["wc"] == 100
    # 168 + 80 + 36... of 600 pixels: the mean share of the two images with instances.
    share = [one["masks"].any(0).mean() for one in map(ground_truth, data[:2])]
    assert found["coverage"]["wc_pixels"] == pytest.approx(100 * np.mean(share))
    assert found["instances"]["AP"] == 100
    # One threshold of 33 after another gives the same; the ramp at the border costs nothing here.
    assert found["boundary"]["ods"] > 99 and found["boundary"]["boundary_ap"] > 99


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images", [0, 3])
def test_keys_are_the_same_whatever_the_data(data, tmp_path, name, images):
    expected = run(name, data, perfect, tmp_path)
    got = run(name, data[:images], nothing, tmp_path)
    assert {task: set(scores) for task, scores in got.items()} == {
        task: set(scores) for task, scores in expected.items()
    }
    values = [value for scores in got.values() for value in scores.values()]
    assert all(isinstance(value, float) for value in values)
    # Found nothing: 0 where something could have been found, else undefined.
    assert all(math.isnan(value) or value == 0 for value in values if value != values[-1])


@pytest.mark.parametrize("name", NAMES)
def test_several_processes_give_what_one_gives(data, tmp_path, name, monkeypatch):
    def wrong(record):
        truth = ground_truth(record)
        return as_output(truth["masks"][:, ::-1].copy(), truth["occlusion"].T, boundary=None)

    answers = {1: perfect, 2: wrong, 3: nothing}
    alone = run(name, data, lambda r: answers[r["image_id"]](r), tmp_path)
    halves = [evaluator(name, tmp_path) for _ in range(2)]
    for k, judge in enumerate(halves):
        judge.reset()
        for one in ((data[2], data[0]), (data[1],))[k]:
            output = answers[one["image_id"]](one)
            judge.process([{"image_id": one["image_id"]}], [output])
    monkeypatch.setattr(base.comm, "get_world_size", lambda: 2)
    parts = [(half._seen, half._scorers) for half in reversed(halves)]
    monkeypatch.setattr(base.comm, "gather", lambda own: parts)
    together = halves[0].evaluate()
    for task, scores in alone.items():
        assert together[task] == pytest.approx(scores, nan_ok=True)


def test_a_cycle_costs_accuracy_and_decycling_gives_some_of_it_back(data, tmp_path):
    cycle = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # and two chains of the true order inside

    def cyclic(record):
        truth = ground_truth(record)
        occlusion = cycle if record["image_id"] == 1 else truth["occlusion"]
        return as_output(truth["masks"], occlusion)

    found = run("OAIR", data, cyclic, tmp_path, DECYCLE_SEEDS=20)["oair"]
    # Three edges: two of the chain, wrong because a path leads back, and the right one of the pair.
    assert found["recall"] == 100
    assert found["accuracy"] == pytest.approx(100 / 3)
    assert found["in_cycles"] == pytest.approx(100 * 3 / 5)
    # Broken at the false edge both are right, elsewhere one of them: 1, 2/3 or 2/3.
    assert 100 * 2 / 3 < found["accuracy_decycled"] < 100


def test_curves_are_written(data, tmp_path):
    run("OAIR", data, perfect, tmp_path / "new")
    run("OrientedBoundary", data, perfect, tmp_path / "new")
    curves = json.loads((tmp_path / "new" / "oair.json").read_text())["curves"]
    assert curves["by_iou"]["recall"] == [1.0] * 10 and len(curves["by_confidence"]["recall"]) == 6
    boundary = json.loads((tmp_path / "new" / "boundary.json").read_text())
    assert len(boundary["recall"]) == len(boundary["threshold"]) == 33
    for name in ("oair.png", "boundary.png"):
        assert (tmp_path / "new" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_accuracy_at_a_recall():
    recalls, accuracies = [0.2, 0.4, float("nan")], [1.0, 0.5, 0.9]
    assert accuracy_at(recalls, accuracies, 0.3) == pytest.approx(0.75)
    assert accuracy_at(recalls, accuracies, 0.1) == 1.0
    assert math.isnan(accuracy_at(recalls, accuracies, 0.41))
    assert math.isnan(accuracy_at([], [], 0.1))


def test_lower_scored_instances_do_not_count_at_low_recall(data, tmp_path):
    """The pair's order is wrong but little trusted, the chain's is right."""

    def answer(record):
        truth = ground_truth(record)
        flipped = record["image_id"] == 2
        occlusion = truth["occlusion"].T if flipped else truth["occlusion"]
        return as_output(
            truth["masks"], occlusion, scores=[0.1 if flipped else 0.9] * len(occlusion)
        )

    found = run("OAIR", data, answer, tmp_path)["oair"]
    assert found["accuracy"] == pytest.approx(200 / 3)
    assert found["accuracy_recall_60"] == 100


def test_instances_without_an_order_field_occlude_nobody(data, tmp_path):
    def unordered(record):
        output = perfect(record)
        output["instances"].remove("occlusion")
        return output

    found = run("OAIR", data, unordered, tmp_path)["oair"]
    assert found["recall"] == 100 and found["accuracy"] == 0


def test_boundary_of_another_resolution_is_compared_at_its_own(data, tmp_path):
    def doubled(record):
        big = np.kron(ground_truth(record)["masks"], np.ones((1, 2, 2), bool)).astype(bool)
        occlusion = ground_truth(record)["occlusion"]
        ids = (big * np.arange(1, len(big) + 1)[:, None, None]).sum(0).astype(np.int64)
        edge, orientation = oriented_boundary(ids, occlusion)
        boundary = np.concatenate([orientation * edge, 1.0 - edge[None]])
        return {**perfect(record), "occ_boundary": torch.from_numpy(boundary)}

    assert run("OrientedBoundary", data, doubled, tmp_path)["boundary"]["ods"] > 99


@pytest.mark.parametrize("side", [12, 20, 40])
def test_a_map_of_the_network_comes_back_to_the_stored_size_whole(side):
    """Section 5.3 and supplement 4: KINS is tested at 2048 x 615; its images are smaller."""
    ids = np.zeros((375, 1242), np.int32)
    for k, (y, x) in enumerate([(3, 5), (101, 333), (250, 1000)], 1):
        ids[y : y + side, x : x + side] = k
    large = np.asarray(Image.fromarray(ids).resize((2048, 615), Image.Resampling.NEAREST))
    found = InstanceMap(large, np.zeros(3, np.int64), np.zeros((3, 3), np.int8))
    assert np.array_equal(found.resized(ids.shape).ids, ids)


def test_evaluation_at_another_size_than_the_stored_one(data, tmp_path):
    """Section 5.3: all methods are evaluated at one resolution, whatever the images' own."""

    def enlarged(record):
        size = 3 * record["height"], 5 * record["width"]
        truth = ground_truth(record, size=size)
        assert truth["masks"].shape[1:] == size
        return as_output(truth["masks"], truth["occlusion"])

    size = [3 * data[0]["height"], 5 * data[0]["width"]]
    same = [one for one in data if [3 * one["height"], 5 * one["width"]] == size]
    for name, task, score in (
        ("OAIR", "oair", "recall"),
        ("WeightedCoverage", "coverage", "wc"),
        ("InstanceAP", "instances", "AP"),
    ):
        cfg = get_cfg()
        cfg.INPUT.OUTPUT_SIZE = size
        judge = EVALUATOR_REGISTRY.get(name)(cfg, DATA, str(tmp_path))
        judge.process([{"image_id": one["image_id"]} for one in same], map(enlarged, same))
        assert judge.evaluate()[task][score] == 100
        with pytest.raises(ValueError, match="masks|size"):
            run(name, same, enlarged, tmp_path)


def test_the_mappers_ask_for_results_of_that_size(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 4, "width": 6}
    cfg = get_cfg()
    cfg.INPUT.OUTPUT_SIZE = [8, 18]
    for name in ("OOSISMapper", "InstanceOrderMapper"):
        cfg.INPUT.MAPPER = name
        result = build_mapper(cfg, is_train=False)(record)
        assert (result["height"], result["width"]) == (8, 18)
        result = build_mapper(cfg, is_train=True)({**record, "annotations": []})
        assert (result["height"], result["width"]) == (4, 6)


def test_boundary_truth_of_a_smaller_resolution_is_that_of_the_mapper(data, tmp_path, monkeypatch):
    """The truth that training sees is resized by Pillow, between pixel centres."""
    seen = []
    monkeypatch.setattr(BoundaryScorer, "update", lambda self, truth, _: seen.append(truth))
    judge = EVALUATOR_REGISTRY.get("OrientedBoundary")(get_cfg(), DATA, str(tmp_path))
    for record in data:
        truth = instance_map(record)
        ids, occlusion = truth.ids, truth.occlusion
        size = ids.shape[0] * 2 // 3, ids.shape[1] * 2 // 3
        output = as_output(np.zeros((0, *size)), np.zeros((0, 0)))
        judge.update(judge.scorers(), record, output)
        image = Image.fromarray(ids.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
        expected = oriented_boundary(np.asarray(image).astype(np.int64), occlusion)
        assert all(map(np.array_equal, seen.pop(), expected))


def test_they_are_built_by_name(data, tmp_path):
    cfg = get_cfg()
    cfg.TEST.EVALUATORS = list(NAMES)
    cfg.OUTPUT_DIR = str(tmp_path)
    judges = build_evaluator(cfg, DATA)
    judges.reset()
    for one in data:
        judges.process([{"image_id": one["image_id"]}], [perfect(one)])
    assert set(judges.evaluate()) == {"oair", "coverage", "instances", "boundary"}
