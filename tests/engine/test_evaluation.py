"""Every evaluator: in several processes, of nothing, and of data that lack a field."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from occ_order import metrics
from occ_order.engine.evaluation import EVALUATOR_REGISTRY, build_evaluator
from occ_order.order.io import load_results

NAMES = sorted(EVALUATOR_REGISTRY._obj_map)
WITHOUT_SCORES = {"OrderResults"}


@pytest.fixture(scope="module")
def everywhere(ask, tmp_path_factory):
    """number of processes -> what each of them answers, for every evaluator."""
    return {n: ask("evaluations", str(tmp_path_factory.mktemp(f"p{n}")), n) for n in (1, 2, 3)}


@pytest.mark.parametrize("name", NAMES)
def test_one_two_and_three_processes_give_the_same(everywhere, name):
    """Uneven shards out of order, a process without any image."""
    (alone,) = everywhere[1]
    results, files = alone[name]["results"], alone[name]["files"]
    assert results[0] == results[1]  # evaluate() twice
    assert ("nan" not in results[0] or "." in results[0]) or name in WITHOUT_SCORES
    for number in (2, 3):
        first, *others = everywhere[number]
        assert first[name]["results"] == results, number
        assert first[name]["files"] == files, number
        assert all(other[name]["results"][0] in ("None", "{}", "OrderedDict()") for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_counts_once_or_is_refused(toy, tmp_path, name, monkeypatch):
    records = toy.rich_records(tmp_path)
    evaluator = toy.evaluator_of(name, tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"image 3 was processed before: call reset\(\)"):
        toy.feed(evaluator, name, [records[3], records[4], records[3]])
    toy.feed(evaluator, name, records[3:])
    monkeypatch.setattr("occ_order.methods.common.evaluator.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(
        "occ_order.methods.common.evaluator.comm.gather",
        lambda own: [own, ({records[3]["image_id"]}, None)],
    )
    with pytest.raises(ValueError, match=r"1 images were processed by several processes.*\[3\]"):
        evaluator.evaluate()


def test_evaluators_write_their_files(everywhere):
    (alone,) = everywhere[1]
    assert "order_results.json" in alone["OrderResults"]["files"]
    assert len([name for name in NAMES if alone[name]["files"]]) >= 3


def test_the_results_file_gives_the_same_numbers(toy, tmp_path):
    records = toy.rich_records(tmp_path)
    for name in ("OrderResults", "GivenMaskOrder"):
        evaluator = toy.evaluator_of(name, tmp_path, tmp_path / "out")
        toy.feed(evaluator, "GivenMaskOrder", records)
        direct = evaluator.evaluate()
    images = load_results(tmp_path / "out" / "order_results.json")
    assert [image["image_id"] for image in images] == [r["image_id"] for r in records]
    again = metrics.evaluate_results(records, images, match="id")["scalars"]
    flat = {f"{t}/{k}": v for t, scores in direct.items() for k, v in scores.items()}
    shared = flat.keys() & again.keys()
    assert {"occlusion/recall", "occlusion/f1", "depth/whdr_all"} <= shared
    for key in shared:
        assert again[key] == pytest.approx(flat[key], nan_ok=True), key


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_score_that_is_not_finite_is_refused(toy, tmp_path, name, value):
    record = toy.rich_records(tmp_path)[3]
    answer = toy.rich_answer(record)
    answer["instances"] = answer["instances"][: len(record["annotations"])]
    answer["instances"].scores[1] = value
    evaluator = toy.evaluator_of(name, tmp_path, tmp_path / "out")
    evaluator.reset()
    with pytest.raises(ValueError, match="image 3: scores of instances are not finite"):
        evaluator.process([record], [answer])
        evaluator.evaluate()


def test_images_of_the_same_name_in_two_folders_stay_apart(toy, tmp_path):
    records = toy.rich_records(tmp_path)[:3]
    for k, record in enumerate(records):
        record["file_name"] = str(tmp_path / f"folder{k}" / "same.png")
    evaluator = toy.evaluator_of("OrderResults", tmp_path, tmp_path / "out")
    toy.feed(evaluator, "OrderResults", records)
    evaluator.evaluate()
    images = load_results(tmp_path / "out" / "order_results.json")
    assert [image["image_id"] for image in images] == [0, 1, 2]


def test_an_image_of_another_data_set_and_ids_used_twice_are_refused(toy, tmp_path):
    record = toy.rich_records(tmp_path)[3]
    evaluator = toy.evaluator_of("OrderResults", tmp_path, tmp_path / "out")
    evaluator.reset()
    with pytest.raises(ValueError, match="image 99 is not in the data set 'rich'"):
        evaluator.process([{**record, "image_id": 99}], [toy.rich_answer(record)])
    DatasetCatalog.pop("rich")
    DatasetCatalog.register("rich", lambda: [record, record])
    evaluator = toy.evaluator_of("OrderResults", tmp_path, tmp_path / "out")
    DatasetCatalog.pop("rich")
    DatasetCatalog.register("rich", lambda: [record, record])
    with pytest.raises(ValueError, match="2 records have only 1 different image ids"):
        evaluator.process([record], [toy.rich_answer(record)])


# --- the same keys whatever the data


def keys(results):
    return {(task, metric) for task, scores in (results or {}).items() for metric in scores}


@pytest.mark.parametrize("name", NAMES)
def test_no_images_no_instances_no_pairs_have_all_keys(toy, tmp_path, name):
    records = toy.rich_records(tmp_path)
    found = {}
    for case, those in {
        "all": records,
        "none": [],
        "empty": records[:1],
        "one": records[1:2],
    }.items():
        evaluator = toy.evaluator_of(name, tmp_path, tmp_path / case)
        toy.feed(evaluator, name, those)
        found[case] = evaluator.evaluate()
    assert len(keys(found["all"])) > 0 or name in WITHOUT_SCORES
    for case, results in found.items():
        assert keys(results) == keys(found["all"]), case
        for scores in results.values():
            assert all(type(value) is float for value in scores.values()), case
    nothing = {
        v for scores in found["none"].values() for k, v in scores.items() if "instance" not in k
    }
    assert all(math.isnan(v) or v == 0 for v in nothing)


# --- fields that the data do not have


LACKING = {
    "AmodalEvaluator": "amodal_segmentation",
    "DisparityOrderEvaluator": "depth",
    "GivenMaskOrder": "occlusion",
    "HolisticOrder": "occlusion",
    "OAIR": "occlusion",
    "OrientedBoundary": "occlusion",
}


@pytest.mark.parametrize("name", LACKING)
def test_without_the_field_it_refuses_or_says_nan_but_never_0(toy, tmp_path, name):
    records = toy.rich_records(tmp_path)
    for record in records:
        for part in (record, *record["annotations"]):
            part.pop(LACKING[name], None)
    evaluator = toy.evaluator_of(name, tmp_path, tmp_path / "out")
    DatasetCatalog.pop("rich")
    DatasetCatalog.register("rich", lambda: records)
    try:
        toy.feed(evaluator, name, records)
        results = evaluator.evaluate()
    except ValueError as error:
        assert "rich" in str(error) or "image" in str(error)
        return
    occlusion = [
        value
        for task, scores in results.items()
        for metric, value in scores.items()
        if "occlusion" in task and not metric.startswith(("gt", "predicted"))
    ]
    assert occlusion and all(math.isnan(value) for value in occlusion)


@pytest.mark.parametrize("lacking", ["amodal_segmentation", "is_stuff", "occlusion"])
def test_amodal_scores_name_what_is_missing(toy, tmp_path, lacking):
    records = toy.rich_records(tmp_path)
    for record in records:
        for part in (record, *record["annotations"]):
            part.pop(lacking, None)
    evaluator = toy.evaluator_of("AmodalEvaluator", tmp_path, tmp_path / "out")
    DatasetCatalog.pop("rich")
    DatasetCatalog.register("rich", lambda: records)
    with pytest.raises(ValueError, match=lacking):
        toy.feed(evaluator, "AmodalEvaluator", records)


def test_files_of_results_hold_no_nan(toy, tmp_path):
    for name in NAMES:
        evaluator = toy.evaluator_of(name, tmp_path, tmp_path / name)
        toy.feed(evaluator, name, [])
        evaluator.evaluate()
        for path in (tmp_path / name).glob("*.json"):
            text = path.read_text(encoding="utf-8")
            assert "NaN" not in text
            json.loads(text)
    assert np.isnan(metrics.occlusion_scores([], [])["f1"])


def test_ids_are_kept_in_results(toy, tmp_path):
    cfg = toy.config(tmp_path, tmp_path / "out", "TEST.EVALUATORS", ["OrderResults"])
    MetadataCatalog.get("toy").set(thing_dataset_id_to_contiguous_id={900: 0})
    evaluator = build_evaluator(cfg, "toy")
    evaluator.reset()
    toy.answer_all(evaluator, tmp_path)
    evaluator.evaluate()
    images = load_results(tmp_path / "out" / "inference" / "order_results.json")
    assert [image["image_id"] for image in images] == list(range(10))
    assert {i["category_id"] for image in images for i in image["instances"]} == {900}
