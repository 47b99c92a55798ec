from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from occ_order import masks
from occ_order.engine.evaluation import build_evaluator
from occ_order.formats.builtin import register_cocoa
from occ_order.formats.sem_dist import load_sem_dist
from occ_order.methods.sln.decode import decode_instances
from occ_order.methods.sln.evaluator import AmodalEvaluator, wanted_scores
from occ_order.metrics.amodal import (
    invisible_counts,
    invisible_scores,
    invisible_summary,
    matched_order_counts,
    region_order_counts,
)
from occ_order.targets import ordinal_targets, visibility_levels


def perfect(record, *, num_levels: int = 4, noise: float = 0.0, seed: int = 0) -> Instances:
    """Predictions that know the annotation: its layers as probabilities, on the whole image."""
    size = record["height"], record["width"]
    modal, amodal = (
        masks.decode_all([a[key] for a in record["annotations"]], *size)
        for key in ("segmentation", "amodal_segmentation")
    )
    levels = visibility_levels(amodal, record["occlusion"], modal=modal & amodal)
    found = Instances(size)
    box = [0.0, 0.0, size[1], size[0]]
    found.pred_boxes = Boxes(torch.tensor([box] * len(levels)).reshape(-1, 4))
    rng = np.random.default_rng(seed)
    found.scores = torch.from_numpy(rng.uniform(0.5, 1, len(levels)))
    found.pred_classes = torch.zeros(len(levels), dtype=torch.int64)
    prob = torch.from_numpy(ordinal_targets(levels, num_levels=4)).float() * 0.98 + 0.01
    if noise:
        shift = torch.from_numpy(rng.normal(0, noise, prob.shape)).float()
        prob = (prob + shift).cummax(dim=1).values.clamp(0, 1)
    found.pred_level_prob = prob if num_levels == 4 else prob[:, -1:]
    return decode_instances(found, *size)


def evaluate(cfg, name, folder, predict, evaluator=None):
    evaluator = evaluator or AmodalEvaluator(cfg, name, str(folder))
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        inputs = {"image_id": record["image_id"]}
        evaluator.process([inputs], [{"instances": predict(record)}])
    return evaluator, evaluator.evaluate()


def test_the_annotation_as_a_prediction_scores_all(tiny_cfg, scenes, tmp_path) -> None:
    evaluator, found = evaluate(tiny_cfg("sln_mini_scenes"), scenes, tmp_path, perfect)
    for task in ("amodal", "modal"):
        assert found[task]["AP"] == found[task]["AR100"] == pytest.approx(100)
    assert found["invisible"]["invisible_iou"] == pytest.approx(100)
    assert found["order"] == {
        "order_accuracy": 100,
        "order_coverage": 100,
        "order_accuracy_decided": 100,
    }
    assert math.isnan(found["amodal"]["stuff/AP"])  # scenes have no stuff
    again = evaluator.evaluate()
    assert all(again[task] == pytest.approx(found[task], nan_ok=True) for task in found)


def test_a_network_without_levels_has_no_modal_scores_and_no_order(
    tiny_cfg, scenes, tmp_path
) -> None:
    _, found = evaluate(tiny_cfg("ARCNN"), scenes, tmp_path, lambda r: perfect(r, num_levels=1))
    assert found["amodal"]["AP"] == pytest.approx(100)
    for task in ("modal", "invisible", "order"):
        assert found[task]
        assert all(math.isnan(value) for value in found[task].values())


def test_keys_do_not_depend_on_the_predictions(tiny_cfg, scenes, tmp_path) -> None:
    cfg = tiny_cfg("sln_mini_scenes")
    keys = []
    for predict in (perfect, lambda r: perfect(r, num_levels=1), lambda r: perfect(r)[:0]):
        _, found = evaluate(cfg, scenes, tmp_path, predict)
        keys.append({task: set(scores) for task, scores in found.items()})
    assert keys[0] == keys[1] == keys[2]


def test_no_prediction_scores_nothing_but_is_scored(tiny_cfg, scenes, tmp_path) -> None:
    _, found = evaluate(tiny_cfg("sln_mini_scenes"), scenes, tmp_path, lambda r: perfect(r)[:0])
    assert found["amodal"]["AR100"] == found["order"]["order_accuracy"] == 0
    assert found["order"]["order_coverage"] == 0


def test_reversed_levels_turn_every_order_around(tiny_cfg, scenes, tmp_path) -> None:
    def turned(record):
        found = perfect(record)
        found.occlusion.tensor = found.occlusion.tensor.T
        return found

    _, found = evaluate(tiny_cfg("sln_mini_scenes"), scenes, tmp_path, turned)
    assert found["order"]["order_accuracy"] == 0
    assert found["order"]["order_coverage"] == 100


def test_results_file_is_what_pycocotools_scores_the_same(tiny_cfg, scenes, tmp_path) -> None:
    def noisy(record):
        return perfect(record, noise=0.3, seed=record["image_id"])

    _, found = evaluate(tiny_cfg("sln_mini_scenes"), scenes, tmp_path, noisy)
    entries = json.loads((tmp_path / "coco_amodal_results.json").read_text())
    assert {entry["category_id"] for entry in entries} == {1}
    records = DatasetCatalog.get(scenes)
    annotations = [
        {
            "id": annotation["id"],
            "image_id": record["image_id"],
            "category_id": 1,
            "segmentation": masks.encode(
                masks.decode(annotation["amodal_segmentation"], record["height"], record["width"])
            ),
            "area": 1.0,
            "iscrowd": 0,
        }
        for record in records
        for annotation in record["annotations"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": r["image_id"], "height": 64, "width": 64} for r in records],
            "categories": [{"id": 1}],
            "annotations": annotations,
        }
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(entries), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert 0 < found["amodal"]["AP"] < 100
    names = ("AP", "AP50", "AP75", None, None, None, "AR1", "AR10", "AR100")
    for name, value in zip(names, run.stats, strict=False):
        assert name is None or found["amodal"][name] == pytest.approx(100 * value)


def test_sem_dist_maps_are_written_on_request(tiny_cfg, scenes, tmp_path) -> None:
    cfg = tiny_cfg("sln_mini_scenes", "TEST.AMODAL.EXPORT_SEM_DIST", "npz")
    evaluate(cfg, scenes, tmp_path, perfect)
    record = DatasetCatalog.get(scenes)[0]
    maps = load_sem_dist(tmp_path / "sem_dist" / f"{record['image_id']}.npz")
    assert maps.shape == (len(record["annotations"]), 64, 64)


# ------------------------------------------------------------------------------ missing fields


@pytest.fixture
def without(scenes):
    """Registers the scenes without one field; returns the name."""
    names = []

    def without(key: str, kind: str = "cocoa") -> str:
        name = f"tests_sln_without_{key}"

        def load():
            records = [dict(record) for record in DatasetCatalog.get(scenes)]
            for record in records:
                record.pop(key, None)
                record["annotations"] = [
                    {k: v for k, v in a.items() if k != key} for a in record["annotations"]
                ]
            return records

        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(evaluator_type=kind)
        names.append(name)
        return name

    yield without
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("key, score", [("is_stuff", "things_stuff"), ("occlusion", "order")])
def test_a_missing_field_is_named_instead_of_scored(
    key, score, without, scenes, tiny_cfg, tmp_path
) -> None:
    name = without(key)
    record = DatasetCatalog.get(scenes)[0]
    evaluator = AmodalEvaluator(tiny_cfg("sln_mini_scenes"), name, str(tmp_path))
    with pytest.raises(ValueError, match=f"{name}.*has no '{key}', which the score '{score}'"):
        evaluator.process([record], [{"instances": perfect(record)}])
    others = [s for s in ("regions", "modal", "invisible")]
    cfg = tiny_cfg("sln_mini_scenes", "TEST.AMODAL.SCORES", others)
    _, found = evaluate(cfg, name, tmp_path, lambda r: perfect({"occlusion": record, **_full(r)}))
    assert found["amodal"]["AP"] == pytest.approx(100)


def _full(record):
    size = len(record["annotations"])
    return {"occlusion": np.full((size, size), -1, np.int8), **record}


def test_masks_that_are_missing_are_named(without, scenes, tiny_cfg, tmp_path) -> None:
    name = without("amodal_segmentation")
    record = DatasetCatalog.get(scenes)[0]
    evaluator = AmodalEvaluator(tiny_cfg("sln_mini_scenes"), name, str(tmp_path))
    with pytest.raises(ValueError, match=f"{name}.*has no 'amodal_segmentation'"):
        evaluator.process([record], [{"instances": perfect(record)}])


def test_scores_by_format() -> None:
    assert wanted_scores([], "kins", "x")[1] == "classes"
    assert wanted_scores(["order"], None, "x") == ("order",)
    with pytest.raises(ValueError, match="'x' has the format 'instaorder', which holds no amodal"):
        wanted_scores([], "instaorder", "x")
    with pytest.raises(ValueError, match="got \\['depth'\\]"):
        wanted_scores(["order", "depth"], "cocoa", "x")


# -------------------------------------------------------------------------- counts of one image


def two_squares():
    amodal = np.zeros((2, 8, 8), bool)
    amodal[0, 1:5, 1:5], amodal[1, 3:8, 3:8] = True, True
    return amodal, visibility_levels(amodal, np.array([[0, 1], [0, 0]]))


def test_invisible_counts_by_hand_and_as_a_part_of_the_scores() -> None:
    amodal, levels = two_squares()
    truth = {"image_id": 1, "masks": amodal, "modal_masks": levels == 0}
    guess = {**truth, "scores": [0.9, 0.8], "modal_masks": (levels == 0).copy()}
    guess["modal_masks"][1, 3, 3] = True  # half of the two hidden rows is called visible
    guess["modal_masks"][1, 3, 4] = True
    counts = invisible_counts(truth, guess)
    assert counts.tolist() == [0.5, 1, 1]
    assert invisible_summary([counts]) == invisible_scores([truth], [guess])
    assert all(math.isnan(value) for value in invisible_summary([]).values())


def test_order_of_a_matrix_counts_as_that_of_the_levels_it_was_made_from() -> None:
    amodal, levels = two_squares()
    truth = {"masks": amodal, "occlusion": np.array([[0, 1], [0, 0]])}
    guess = {"masks": amodal[::-1], "scores": [0.5, 0.6], "levels": levels[::-1]}
    guess["occlusion"] = np.array([[0, 0], [1, 0]])
    assert matched_order_counts(truth, guess).tolist() == [1, 1, 1]
    assert region_order_counts(truth, guess).tolist() == [1, 1, 1]
    guess["occlusion"] = guess["occlusion"].T
    assert matched_order_counts(truth, guess).tolist() == [1, 1, 0]
    guess["occlusion"] = np.array([[0, 1], [1, 0]])  # each other: no decision
    assert matched_order_counts(truth, guess).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="2 predicted masks, occlusion \\(1, 1\\)"):
        matched_order_counts(truth, {**guess, "occlusion": np.zeros((1, 1))})
    with pytest.raises(ValueError, match="prediction has no 'occlusion'"):
        matched_order_counts(truth, {**guess, "occlusion": None})


# ------------------------------------------------------------------------------ order networks


def test_an_order_network_orders_what_was_found(tiny_cfg, scenes, tmp_path, monkeypatch) -> None:
    asked = []

    class Net:
        def __call__(self, inputs):
            (one,) = inputs
            found = one["instances"]
            asked.append((one["image"].shape, found.sem_dist_maps.shape))
            levels = [m[m > -9].floor().min().item() for m in found.sem_dist_maps]
            nearer = torch.tensor([[a > b for b in levels] for a in levels])
            return [{"instances": _with_occlusion(found, nearer)}]

    monkeypatch.setattr("occ_order.model_zoo.build", lambda cfg: Net())
    maps = str(tiny_cfg.__globals__["CONFIGS"] / "order_net_maps_mini_scenes.yaml")
    cfg = tiny_cfg("sln_mini_scenes", "TEST.AMODAL.ORDER_NETS", [["maps", maps, "none.pth"]])
    cfg.TEST.EVALUATORS = ["AmodalEvaluator"]
    built = build_evaluator(cfg, scenes, tmp_path)
    _, found = evaluate(cfg, scenes, tmp_path, perfect, built)
    assert asked
    assert all(image == (3, 64, 64) and shape[1:] == (64, 64) for image, shape in asked)
    assert found["order_maps"]["order_coverage"] > 0
    _, found = evaluate(cfg, scenes, tmp_path, lambda r: perfect(r, num_levels=1), built)
    assert math.isnan(found["order_maps"]["order_accuracy"])


def _with_occlusion(found: Instances, matrix: torch.Tensor) -> Instances:
    from occ_order.methods.common.pair_matrix import PairMatrix

    found.occlusion = PairMatrix(matrix.to(torch.int8))
    return found


# ---------------------------------------------------------------------------------- photographs


def test_photographs_sem_dist_maps_of_the_annotation_order_50_of_50_pairs(
    cocoa_demo, tiny_cfg, tmp_path
) -> None:
    name = "tests_sln_photographs"
    register_cocoa(name, cocoa_demo / "COCO_amodal_demo5.json", cocoa_demo)
    cfg = tiny_cfg("sln_mini_scenes", "TEST.AMODAL.SCORES", ["order"])
    try:
        _, found = evaluate(cfg, name, tmp_path, perfect)
        pairs = sum(int((r["occlusion"] == 1).sum()) for r in DatasetCatalog.get(name))
    finally:
        DatasetCatalog.remove(name)
    assert pairs == 50
    assert found["order"]["order_accuracy"] == 100
