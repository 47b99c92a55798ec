from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

from occ_order.masks import encode
from occ_order.metrics import evaluate_results, oair, occlusion_scores, weighted_coverage, whdr
from occ_order.metrics.report import format_report, without_nan
from occ_order.order.io import results_image
from occ_order.scenes import generate, to_record

SIZE = (64, 80)


def data_set(num_images=4):
    """Generated scenes: records, and predictions that are exactly right."""
    records, images = [], []
    for image_id in range(num_images):
        scene = generate(image_id, size=SIZE, num_instances=5)
        name = f"{image_id}.png"
        records.append(to_record(scene, image_id=image_id, file_name=name))
        images.append(predicted(scene, image_id))
    return records, images


def predicted(scene, image_id, **changes):
    num = len(scene.classes)
    arrays = {
        "modal": scene.modal,
        "classes": scene.classes + 1,
        "scores": np.linspace(0.9, 0.1, num),
        "occlusion": scene.occlusion,
        "depth": scene.depth,
        "overlap": scene.overlap,
        "amodal": scene.amodal,
    }
    arrays.update(changes)
    return results_image(image_id=image_id, height=SIZE[0], width=SIZE[1], **arrays)


def columns(*spans, size=(4, 20)):
    masks = np.zeros((len(spans), *size), bool)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[:, start:stop] = True
    return masks


def record(masks, occlusion, image_id=1, categories=None):
    """A record by hand; annotation ids are 11, 12, ..."""
    categories = categories or [1] * len(masks)
    return {
        "file_name": "a.png",
        "image_id": image_id,
        "height": masks.shape[1],
        "width": masks.shape[2],
        "annotations": [
            {"id": 11 + k, "category_id": c, "segmentation": encode(m), "bbox": [0, 0, 1, 1]}
            for k, (m, c) in enumerate(zip(masks, categories, strict=True))
        ],
        "occlusion": np.asarray(occlusion, np.int8),
    }


def results(masks, occlusion, image_id=1, **options):
    options = {"classes": [1] * len(masks), "scores": [0.5] * len(masks), **options}
    height, width = masks.shape[1:]
    return results_image(
        image_id=image_id, height=height, width=width, modal=masks, occlusion=occlusion, **options
    )


CHAIN = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
MASKS = columns((0, 5), (5, 10), (10, 15))


def test_perfect_predictions():
    records, images = data_set()
    report = evaluate_results(records, images)
    scalars = report["scalars"]
    best = ("occlusion", "pair_accuracy", "oair", "modal/AP", "modal/AR100", "amodal/")
    worst = ("depth/", "depth_per_image/")
    found = {name: value for name, value in scalars.items() if not re.search("AR1(_|$)", name)}
    for groups, expected in ((best, 100), (worst, 0)):
        values = [value for name, value in found.items() if name.startswith(groups)]
        defined = [value for value in values if not np.isnan(value)]
        assert len(defined) > len(values) / 2 and set(defined) == {expected}
    assert scalars["amodal/AR100_heavy"] == scalars["region_order/order_accuracy_decided"] == 100
    assert scalars["coverage/weighted"] == 100 and scalars["depth/whdr_all"] == 0
    assert report["counts"]["unmatched_gt_instances"] == 0 and report["notes"] == []


def test_numbers_are_those_of_the_single_metrics():
    records, images = data_set()
    rng = np.random.default_rng(0)
    scenes = [generate(image_id, size=SIZE, num_instances=5) for image_id in range(4)]
    images, gts, preds = [], [], []
    for image_id, scene in enumerate(scenes):
        order = rng.permutation(5)  # predictions stand in another order
        occlusion = scene.occlusion.T[np.ix_(order, order)]
        depth = scene.depth.T[np.ix_(order, order)]
        scores = rng.random(5)
        fields = {"modal": scene.modal[order], "classes": scene.classes[order] + 1}
        fields.update(occlusion=occlusion, depth=depth, overlap=None, scores=scores, amodal=None)
        images.append(predicted(scene, image_id, **fields))
        gts.append({"masks": scene.modal, "classes": scene.classes, "occlusion": scene.occlusion})
        preds.append({**fields, "masks": fields["modal"], "classes": scene.classes[order]})
    scalars = evaluate_results(records, images)["scalars"]
    gt_occ, reverse = [s.occlusion for s in scenes], [s.occlusion.T for s in scenes]
    for group, average in (("occlusion", "global"), ("occlusion_per_image", "image")):
        for name, value in occlusion_scores(gt_occ, reverse, average=average).items():
            assert scalars[f"{group}/{name}"] == pytest.approx(value)
    depth = [[getattr(s, name) for s in scenes] for name in ("depth", "overlap", "count")]
    found = whdr(*depth, [s.depth.T for s in scenes], average="image")
    for name, value in found.items():
        assert scalars[f"depth_per_image/whdr_{name}"] == pytest.approx(value, nan_ok=True)
    curve = oair(gts, preds)
    assert scalars["oair/accuracy_50"] == pytest.approx(100 * curve["accuracy"][0])
    assert scalars["oair/recall_75"] == pytest.approx(100 * curve["recall"][5])


def test_unmatched_instances_cost_recall_and_are_counted():
    gt = record(MASKS, CHAIN)
    pred = results(columns((0, 5), (5, 10), (16, 20)), CHAIN)
    report = evaluate_results([gt], [pred])
    assert report["scalars"]["occlusion/recall"] == 50
    assert report["scalars"]["occlusion/precision"] == 100
    assert (
        report["scalars"]["oair/recall_50"] == 50 and report["scalars"]["oair/accuracy_50"] == 100
    )
    assert report["scalars"]["coverage/weighted"] == pytest.approx(
        100 * weighted_coverage(MASKS, columns((0, 5), (5, 10), (16, 20)))
    )
    counts = report["counts"]
    assert counts["unmatched_gt_instances"] == counts["unmatched_predictions"] == 1
    assert (counts["occlusion_pairs"], counts["occlusion_pairs_unmatched"]) == (2, 1)
    assert "1 of 3 ground-truth instances" in report["notes"][-1]


def test_match_by_id_pairs_what_masks_would_not():
    gt = record(MASKS, CHAIN)
    pred = results(MASKS[[1, 0, 2]], CHAIN, ids=[11, 12, 13])
    by_id = evaluate_results([gt], [pred], match="id")["scalars"]
    assert by_id["occlusion/recall"] == 100
    by_mask = evaluate_results([gt], [pred])["scalars"]
    assert by_mask["occlusion/recall"] == 0  # 0 and 1 swapped: 1-0, 0-2 against 0-1, 1-2
    assert (
        evaluate_results([gt], [results(MASKS, CHAIN)], match="id")["counts"][
            "unmatched_gt_instances"
        ]
        == 3
    )  # default ids 1, 2, 3 are no annotation ids


def test_classes_count_unless_told_otherwise():
    gt, pred = record(MASKS, CHAIN, categories=[2, 2, 2]), results(MASKS, CHAIN)
    assert evaluate_results([gt], [pred])["scalars"]["occlusion/recall"] == 0
    scalars = evaluate_results([gt], [pred], class_agnostic=True)["scalars"]
    assert scalars["occlusion/recall"] == scalars["oair/recall_50"] == scalars["modal/AP"] == 100


def test_stuff_can_be_left_out():
    gt, pred = record(MASKS, CHAIN), results(MASKS[1:], CHAIN[1:, 1:])
    gt["annotations"][0]["is_stuff"] = 1
    assert evaluate_results([gt], [pred])["scalars"]["occlusion/recall"] == 50
    report = evaluate_results([gt], [pred], things_only=True)
    assert report["scalars"]["occlusion/recall"] == 100
    assert report["counts"]["gt_instances"] == 2
    assert len(gt["annotations"]) == 3  # the record is not changed


def test_images_without_predictions_count_as_empty_predictions():
    records, images = data_set()
    report = evaluate_results(records, images[:3])
    empty = predicted(generate(3, size=SIZE, num_instances=5), 3)
    empty.update(instances=[], occlusion=[], depth=[], cycles=[])
    explicit = evaluate_results(records, [*images[:3], empty])
    assert report["scalars"] == pytest.approx(explicit["scalars"], nan_ok=True)
    assert report["counts"]["images_without_predictions"] == 1
    assert (
        report["notes"][0].startswith("1 of 4 images have no predictions")
        and "3" in report["notes"][0]
    )


def test_what_one_side_lacks_is_nan_and_said():
    records, images = data_set(2)
    everything = evaluate_results(records, images)
    for part in ("depth", "occlusion"):  # amodal masks: next test
        for side, items in (("ground truth", records), ("predictions", images)):
            fewer = [{k: v for k, v in one.items() if k != part} for one in items]
            arguments = (fewer, images) if items is records else (records, fewer)
            report = evaluate_results(*arguments)
            assert report["scalars"].keys() == everything["scalars"].keys()
            lost = [k for k, v in report["scalars"].items() if k.startswith(part)]
            assert lost and np.isnan([report["scalars"][k] for k in lost]).all()
            assert any(f"the {side} ha" in n and f"no {part} order" in n for n in report["notes"])
    assert np.isnan(report["scalars"]["oair/recall_50"])


@pytest.mark.parametrize("side", ["ground truth has", "predictions have"])
def test_amodal_masks_are_needed_on_both_sides(side):
    records, images = data_set(2)
    keys = evaluate_results(records, images)["scalars"].keys()
    one = (records[1]["annotations"] if side.startswith("ground") else images[1]["instances"])[0]
    del one["amodal_segmentation"]
    report = evaluate_results(records, images)
    assert report["scalars"].keys() == keys
    lost = [k for k in keys if k.startswith(("amodal/", "region_order/"))]
    assert lost and np.isnan([report["scalars"][k] for k in lost]).all()
    assert report["notes"] == [
        f"amodal AP and order by regions: not computed, not all {side} amodal masks"
    ]


def test_amodal_masks_by_hand():
    """Object 0 (columns 0-9) hides half of object 1 (columns 5-14)."""
    whole, seen = columns((0, 10), (5, 15)), columns((0, 10), (10, 15))
    gt = record(seen, [[0, 1], [0, 0]])
    for annotation, mask in zip(gt["annotations"], whole, strict=True):
        annotation["amodal_segmentation"] = encode(mask)
    pred = results(seen, [[0, 1], [0, 0]], amodal=whole)
    scalars = evaluate_results([gt], [pred])["scalars"]
    for name in ("AP", "AR100_none", "AR100_heavy", "things/AP"):
        assert scalars[f"amodal/{name}"] == 100
    assert np.isnan(scalars["amodal/AR100_partial"]) and np.isnan(scalars["amodal/stuff/AP"])
    assert scalars["region_order/order_accuracy"] == 100
    # Without the hidden half, IoU 1/2 passes only the first of the ten thresholds.
    scalars = evaluate_results([gt], [results(seen, [[0, 1], [0, 0]], amodal=seen)])["scalars"]
    assert scalars["amodal/AR100_heavy"] == pytest.approx(10)
    assert scalars["amodal/AR100_none"] == 100
    assert scalars["region_order/order_accuracy"] == 0  # the masks no longer overlap: undecided


@pytest.mark.parametrize("num_records", [0, 1])
def test_nothing_at_all_has_the_same_keys_and_no_zeros(num_records):
    nothing = [record(MASKS[:0], np.zeros((0, 0)))] * num_records
    report = evaluate_results(nothing, [])
    full = evaluate_results(*data_set(1))
    for part in ("scalars", "curves", "counts"):
        assert report[part].keys() == full[part].keys()
    per_image = ("occlusion_per_image/recall",) * num_records  # 100: nothing there, nothing said
    undefined = [v for k, v in report["scalars"].items() if not k.startswith("occlusion_per_image")]
    assert np.isnan(undefined).all()
    assert [report["scalars"][name] for name in per_image] == [100.0] * num_records
    assert "-" in format_report(report)


def test_order_of_images_does_not_matter():
    records, images = data_set()
    images[0]["occlusion"] = images[0]["occlusion"][:-1]
    expected = evaluate_results(records, images)
    found = evaluate_results(records[::-1], images)
    assert found["scalars"] == pytest.approx(expected["scalars"], nan_ok=True)
    assert found["counts"] == expected["counts"]


@pytest.mark.parametrize("cuts", [[], [1], [1, 1, 3], [2, 4]])
def test_images_that_are_scored_in_other_processes_give_the_same(cuts):
    """What goes there and comes back, in any order, is pickled, and nothing else is shared."""
    records, images = data_set()
    for image in images[::2]:
        image["occlusion"] = [[j, i, p] for i, j, p in image["occlusion"]]

    def copied(value):
        return pickle.loads(pickle.dumps(value))

    def spread(function, items):
        listed = list(items)
        parts = [listed[i:j] for i, j in zip([0, *cuts], [*cuts, None], strict=True)]
        return [copied(copied(function)(copied(part))) for part in reversed(parts)]

    for k, image in enumerate(images):  # not the same numbers in all of them, but some ties
        image["instances"] = image["instances"][: 3 + k % 3]
        number = len(image["instances"])
        for key in ("occlusion", "depth"):
            image[key] = [edge for edge in image[key] if max(edge[:2]) < number]
    apart = evaluate_results(records, images, spread=spread)
    assert repr(apart) == repr(evaluate_results(records, images))
    assert 0 < apart["scalars"]["occlusion/f1"] < 100


def test_predictions_on_files_are_found_by_their_names():
    """`occ-order predict photo.jpg` names the image "photo"; a data set has an id of its own."""
    gt = [{**record(MASKS, CHAIN, k), "file_name": f"photos/{k}.jpg"} for k in (1, 2)]
    named = {**results(MASKS, CHAIN), "image_id": "2", "file_name": "elsewhere/2.jpg"}
    report = evaluate_results(gt, [named])
    assert report["counts"]["images_without_predictions"] == 1
    assert report["counts"]["unmatched_gt_instances"] == len(MASKS)
    assert any("matched to images by file name" in note for note in report["notes"])
    with pytest.raises(ValueError, match=r"two predictions for image 2 \(2.jpg\)"):
        evaluate_results(gt, [named, {**named, "image_id": 2}])
    same = [{**one, "file_name": "a.jpg"} for one in gt]
    with pytest.raises(ValueError, match="1 images that are not in the ground truth: 'x'"):
        evaluate_results(same, [{**named, "image_id": "x", "file_name": "a.jpg"}])


def test_bad_input_is_named():
    gt, pred = record(MASKS, CHAIN), results(MASKS, CHAIN)
    with pytest.raises(ValueError, match="2 images that are not in the ground truth: 8, 9"):
        evaluate_results([gt], [pred, {**pred, "image_id": 8}, {**pred, "image_id": 9}])
    with pytest.raises(ValueError, match="duplicate image ids in the ground truth: 1"):
        evaluate_results([gt, gt], [pred])
    with pytest.raises(ValueError, match=r"image 1: predicted for size \(4, 21\).*\(4, 20\)"):
        evaluate_results([gt], [results(columns((0, 5), size=(4, 21)), np.zeros((1, 1)))])
    broken = record(MASKS, CHAIN)
    broken["annotations"][1]["segmentation"] = {"size": [4, 20], "counts": [3]}
    with pytest.raises(ValueError, match="image 1: .*annotation 12"):
        evaluate_results([broken], [pred])
    with pytest.raises(ValueError, match="'box'"):
        evaluate_results([gt], [pred], match="box")


def test_nan_becomes_null():
    value = {"a": float("nan"), "b": [1, float("nan")], "c": (0.5, "x")}
    assert without_nan(value) == {"a": None, "b": [1, None], "c": [0.5, "x"]}


def test_text_is_aligned():
    report = evaluate_results([record(MASKS, CHAIN)], [results(MASKS, CHAIN)])
    lines = format_report(report).splitlines()
    table = lines[1 : lines.index("")]
    assert len({len(line) for line in table}) == 1
    assert any(line.split() == ["occlusion/recall", "100.00"] for line in table)
    assert any(line.split() == ["depth/...", "-"] for line in table)


def test_text_has_one_line_for_an_amodal_subset():
    lines = format_report(evaluate_results(*data_set(2))).splitlines()
    row = next(line.split() for line in lines if line.split()[:1] == ["amodal/things_heavy"])
    assert len(row) == 7 and row[1] == row[6] == "100.00"
    assert not any(line.split()[:1] == ["amodal/AP"] for line in lines)
