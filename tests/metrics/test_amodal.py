from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from occ_order import masks as mask_tools
from occ_order.metrics.amodal import (
    OCCLUSION_BANDS,
    amodal_scores,
    class_scores,
    invisible_iou,
    invisible_scores,
    occlude_rate,
    region_order_accuracy,
    region_order_counts,
    region_order_summary,
)
from occ_order.targets.layering import visibility_levels

SIZE = (24, 30)


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def random_images(seed: int, num_images: int = 8, num_classes: int = 3):
    """Ground truth and predictions with crowding, ties, duplicates, misses and false alarms."""
    rng = np.random.default_rng(seed)
    gt, pred = [], []
    for image_id in range(num_images):
        num = int(rng.integers(0, 6))
        corners = rng.integers(0, 18, (num, 2))
        sides = rng.integers(3, 12, (num, 2))
        masks = np.array(
            [box(y, x, y + h, x + w) for (y, x), (h, w) in zip(corners, sides, strict=True)], bool
        ).reshape(num, *SIZE)
        classes = rng.integers(1, num_classes + 1, num)
        gt.append(
            {
                "image_id": image_id,
                "masks": masks,
                "classes": classes,
                "occlude_rate": rng.choice([0.0, 1e-5, 0.1, 0.25, 0.6, 1.0], num),
                "is_stuff": rng.random(num) < 0.3,
                "is_crowd": rng.random(num) < 0.1,
            }
        )
        if image_id == 3:
            continue  # an image without any prediction
        picked = rng.integers(0, max(num, 1), int(rng.integers(0, 9)) if num else 0)
        moved = [np.roll(masks[k], tuple(rng.integers(-1, 2, 2)), axis=(0, 1)) for k in picked] + [
            box(20, 0, 24, 4)
        ]
        guessed = np.append(classes[picked], 1)
        pred.append(
            {
                "image_id": image_id,
                "masks": np.stack(moved),
                "classes": guessed,
                "scores": rng.choice([0.2, 0.5, 0.8, 0.9], len(moved)),
                "occlude_rate": rng.random(len(moved)),
            }
        )
    return gt, pred


def plain_coco(gt, pred, inside, *, use_classes: bool, max_dets=(1, 10, 100)) -> dict[str, float]:
    """pycocotools as it comes; what is not `inside` gets an area out of range."""
    annotations, results = [], []
    for image in gt:
        for k, mask in enumerate(image["masks"]):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["image_id"],
                    "category_id": int(image["classes"][k]) if use_classes else 1,
                    "segmentation": rle,
                    "area": 1.0 if inside(image, k) else 9.0,
                    "iscrowd": int(image["is_crowd"][k]),
                }
            )
    for image in pred:
        for k, mask in enumerate(image["masks"]):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            results.append(
                {
                    "id": len(results) + 1,
                    "image_id": image["image_id"],
                    "category_id": int(image["classes"][k]) if use_classes else 1,
                    "segmentation": rle,
                    "score": float(image["scores"][k]),
                    "area": 1.0,
                    "iscrowd": 0,
                }
            )
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for instances in (annotations, results):
            coco = COCO()
            coco.dataset = {
                "images": [
                    {"id": image["image_id"], "height": SIZE[0], "width": SIZE[1]} for image in gt
                ],
                "categories": [{"id": k} for k in (range(1, 4) if use_classes else [1])],
                "annotations": copy.deepcopy(instances),
            }
            coco.createIndex()
            sides.append(coco)
        evaluation = COCOeval(*sides, "segm")
        evaluation.params.useCats = int(use_classes)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 2]], ["all"]
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][..., 0, -1], evaluation.eval["recall"]

    def mean(values):
        return 100 * values[values > -1].mean() if (values > -1).any() else math.nan

    scores = {"AP": mean(precision), "AP50": mean(precision[0]), "AP75": mean(precision[5])}
    return scores | {f"AR{n}": mean(recall[..., 0, m]) for m, n in enumerate(max_dets)}


# ------------------------------------------------------------- agreement with plain pycocotools


@pytest.mark.parametrize("seed", range(6))
def test_every_subset_agrees_with_a_plain_run(seed: int) -> None:
    gt, pred = random_images(seed)
    found = amodal_scores(gt, pred)
    for kind in ("", "things", "stuff"):
        for band in ("", *OCCLUSION_BANDS):

            def inside(image, k, kind=kind, band=band):
                low, high = OCCLUSION_BANDS.get(band, (0, 1))
                right_kind = not kind or image["is_stuff"][k] == (kind == "stuff")
                return right_kind and low <= image["occlude_rate"][k] <= high

            expected = plain_coco(gt, pred, inside, use_classes=False)
            for name, value in expected.items():
                key = (f"{kind}/" if kind else "") + name + (f"_{band}" if band else "")
                assert found[key] == pytest.approx(value, nan_ok=True), key


@pytest.mark.parametrize("seed", range(6))
def test_class_scores_agree_with_a_plain_run(seed: int) -> None:
    gt, pred = random_images(seed)
    without_rate = [{k: v for k, v in p.items() if k != "occlude_rate"} for p in pred]
    found = class_scores(gt, without_rate, min_occlusion=(0.25,))
    everything = plain_coco(gt, pred, lambda image, k: True, use_classes=True)
    occluded = plain_coco(
        gt, pred, lambda image, k: image["occlude_rate"][k] >= 0.25, use_classes=True
    )
    for name, value in everything.items():
        assert found[name] == pytest.approx(value, nan_ok=True), name
        assert found[f"{name}_occ25"] == pytest.approx(occluded[name], nan_ok=True), name


def test_numbers_of_detections_are_honoured() -> None:
    gt, pred = random_images(1)
    found = amodal_scores(gt, pred, bands={}, things_and_stuff=False, max_detections=(2, 3))
    expected = plain_coco(gt, pred, lambda image, k: True, use_classes=False, max_dets=(2, 3))
    assert found == pytest.approx(expected)


def test_encodings_arrays_and_shuffled_images_give_the_same() -> None:
    gt, pred = random_images(2)
    expected = amodal_scores(gt, pred)
    encoded = [
        [image | {"masks": [mask_tools.encode(m) for m in image["masks"]]} for image in side]
        for side in (gt, pred)
    ]
    before = copy.deepcopy(encoded)
    for found in (
        amodal_scores(*encoded),
        amodal_scores(encoded[0], pred),
        amodal_scores(gt[::-1], pred[::-1]),
        amodal_scores(*encoded),
    ):
        assert found == pytest.approx(expected, nan_ok=True)
    # Nothing was written into the caller's dictionaries.
    for image, untouched in zip(encoded[0] + encoded[1], before[0] + before[1], strict=True):
        assert image.keys() == untouched.keys()
        assert image["masks"] == untouched["masks"]


def test_nothing_is_printed(capsys) -> None:
    gt, pred = random_images(0)
    amodal_scores(gt, pred)
    class_scores(gt, pred)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------ by hand


def one_image(**extra):
    """A free thing, a heavily occluded thing and a piece of stuff, side by side."""
    masks = np.stack([box(0, 0, 10, 10), box(0, 10, 10, 20), box(10, 0, 20, 20)])
    return {
        "image_id": 7,
        "masks": masks,
        "occlude_rate": np.array([0.0, 0.5, 0.2]),
        "is_stuff": np.array([False, False, True]),
    } | extra


def test_perfect_prediction_is_100_in_every_subset_that_exists() -> None:
    gt = one_image()
    scores = amodal_scores([gt], [gt | {"scores": [0.9, 0.8, 0.7]}])
    for name in ("AP", "AR10", "things/AP_heavy", "stuff/AR100_partial"):
        assert scores[name] == pytest.approx(100), name
    assert scores["AR1"] == pytest.approx(100 / 3)
    assert math.isnan(scores["stuff/AP_heavy"]) and math.isnan(scores["things/AR100_partial"])
    assert len(scores) == 6 * 3 * 4


def test_unmatched_prediction_lowers_ap_of_every_subset_and_matched_ones_do_not() -> None:
    gt = one_image()
    masks = np.concatenate([gt["masks"], box(20, 20, 24, 30)[None]])
    scores = amodal_scores([gt], [{"image_id": 7, "masks": masks, "scores": [0.7, 0.6, 0.5, 0.9]}])
    # First comes the false alarm; then the only object of the band: precision 1/2.
    assert scores["AP_heavy"] == scores["AP_none"] == pytest.approx(50)
    assert scores["AR100_heavy"] == pytest.approx(100)
    # All three after the false alarm: 1/2, 2/3, 3/4, each raised to the best that follows.
    assert scores["AP50"] == pytest.approx(75)


def test_a_miss_counts_only_where_it_belongs() -> None:
    gt = one_image()
    pred = {"image_id": 7, "masks": gt["masks"][[0, 2]], "scores": [0.9, 0.8]}
    scores = amodal_scores([gt], [pred])
    assert scores["AR100"] == pytest.approx(200 / 3)
    assert scores["AR100_heavy"] == scores["AP_heavy"] == 0
    assert scores["AR100_none"] == pytest.approx(100)
    assert scores["stuff/AP"] == pytest.approx(100)
    assert scores["things/AR100"] == pytest.approx(50)


def test_band_ends_belong_to_both_neighbours() -> None:
    gt = one_image(occlude_rate=np.array([1e-5, 0.25, 0.25]))
    pred = {"image_id": 7, "masks": gt["masks"][:2], "scores": [0.9, 0.8]}
    scores = amodal_scores([gt], [pred], things_and_stuff=False)
    assert scores["AR100_none"] == pytest.approx(100)
    assert scores["AR100_partial"] == pytest.approx(200 / 3)
    assert scores["AR100_heavy"] == pytest.approx(50)
    wide = amodal_scores([gt], [pred], bands={"any": (0, 1)}, things_and_stuff=False)
    assert wide["AP_any"] == wide["AP"]


def test_image_without_predictions_stays_in_the_denominator_unless_compatible() -> None:
    first, second, last = one_image(image_id=1), one_image(image_id=2), one_image(image_id=3)
    pred = [first | {"scores": [0.9, 0.8, 0.7]}, last | {"scores": [0.9, 0.8, 0.7]}]
    assert amodal_scores([first, second, last], pred)["AR100"] == pytest.approx(200 / 3)
    # The published evaluation forgets the second (nothing predicted) and the last image.
    last_wrong = last | {"masks": last["masks"][:, ::-1, ::-1], "scores": [0.9, 0.8, 0.7]}
    published = amodal_scores([first, second, last], [pred[0], last_wrong], compat="sln")
    assert published["AR100"] == pytest.approx(100)


def test_nothing_at_all() -> None:
    for gt, pred in (([], []), ([one_image(masks=np.zeros((0, *SIZE), bool))], [])):
        for image in gt:
            image.update(occlude_rate=[], is_stuff=[], classes=np.zeros(0, int))
        scores = amodal_scores(gt, pred) | class_scores(gt, pred)
        assert len(scores) == 72 + 18 and all(math.isnan(value) for value in scores.values())
    missed = amodal_scores([one_image()], [])
    assert missed["AP"] == missed["AR100_heavy"] == missed["stuff/AP"] == 0


def test_occlusion_bands_of_classes_by_hand() -> None:
    gt = one_image(classes=np.array([1, 1, 2]))
    pred = {
        "image_id": 7,
        "masks": np.concatenate([gt["masks"], box(20, 20, 24, 30)[None]]),
        "classes": np.array([1, 1, 1, 1]),
        "scores": np.array([0.7, 0.6, 0.5, 0.9]),
    }
    scores = class_scores([gt], [pred], min_occlusion=(0.4,))
    # Class 1: false alarm, hit, hit; class 2: its object was called class 1.
    assert scores["AP50"] == pytest.approx((200 / 3 + 0) / 2)
    assert scores["AP50_occ40"] == pytest.approx(50)  # false alarm, hit; class 2 has no object
    implied = pred | {"occlude_rate": np.array([0, 0.5, 0, 0.1])}
    ignored = class_scores([gt], [implied], min_occlusion=(0.4,))
    assert ignored["AP50_occ40"] == pytest.approx(100)  # the false alarm claims no occlusion
    assert ignored["AP50"] == scores["AP50"]


# --------------------------------------------------------------------------- invisible parts


def test_invisible_part_by_hand() -> None:
    amodal = np.stack([box(0, 0, 4, 10), box(10, 0, 14, 10)])
    modal = np.stack([box(0, 0, 4, 5), box(10, 0, 14, 10)])
    pred_amodal = np.stack([box(0, 0, 4, 8), box(10, 0, 14, 12)])
    assert occlude_rate(amodal, modal).tolist() == [0.5, 0.0]
    assert np.isnan(occlude_rate(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool))).all()
    # Truth columns 5..9; guess columns 5..7: 3 / 5. The second object hides nothing.
    values = invisible_iou(amodal, modal, pred_amodal, modal)
    assert values[0] == pytest.approx(0.6) and np.isnan(values[1])


def test_invisible_scores_count_unmatched_objects_as_zero() -> None:
    amodal = np.stack([box(0, 0, 4, 10), box(10, 0, 14, 10), box(20, 0, 24, 10)])
    modal = np.stack([box(0, 0, 4, 5), box(10, 0, 14, 8), box(20, 0, 24, 10)])
    gt = {"image_id": 1, "masks": amodal, "modal_masks": modal}
    guess = {
        "image_id": 1,
        "masks": np.stack([amodal[2], box(0, 0, 4, 8)]),
        "modal_masks": np.stack([modal[2], modal[0]]),
        "scores": [0.9, 0.4],
    }
    scores = invisible_scores([gt], [guess])
    assert scores["invisible_iou"] == pytest.approx(100 * 0.6 / 2)
    assert scores["invisible_iou_matched"] == pytest.approx(60)
    assert scores["invisible_matched"] == pytest.approx(50)
    nothing = invisible_scores([gt], [])
    assert nothing["invisible_iou"] == 0 and math.isnan(nothing["invisible_iou_matched"])
    assert all(math.isnan(value) for value in invisible_scores([], []).values())


# ------------------------------------------------------------------------------ order of pairs


def layered() -> tuple[dict, dict]:
    """Three bars, 0 over 1 over 2 (0 and 2 apart), and their layering as the prediction."""
    masks = np.stack([box(0, 0, 10, 10), box(5, 5, 15, 15), box(12, 12, 22, 22)])
    occ = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.int8)
    gt = {"image_id": 5, "masks": masks, "occlusion": occ}
    levels = visibility_levels(masks, occ)
    return gt, {"image_id": 5, "masks": masks, "levels": levels, "scores": [0.5, 0.6, 0.7]}


def test_true_layering_orders_every_pair_and_the_reverse_none() -> None:
    gt, pred = layered()
    assert region_order_counts(gt, pred).tolist() == [2, 2, 2]
    reverse = pred | {"levels": visibility_levels(gt["masks"], gt["occlusion"].T)}
    assert region_order_counts(gt, reverse).tolist() == [2, 2, 0]


def test_undecided_pairs_are_wrong_and_lower_the_coverage() -> None:
    gt, pred = layered()
    flat = pred | {"levels": np.where(gt["masks"], 0, -1).astype(np.int8)}
    assert region_order_counts(gt, flat).tolist() == [2, 0, 0]
    without_last = {key: value[:2] for key, value in pred.items() if key != "image_id"}
    # The last object overlaps the prediction of the second, which then stands for both.
    assert region_order_counts(gt, without_last).tolist() == [2, 1, 1]
    assert region_order_counts(gt, without_last, min_iou=0.5).tolist() == [2, 1, 1]
    scores = region_order_accuracy([gt], [without_last | {"image_id": 5}])
    assert scores == {
        "order_accuracy": 50.0,
        "order_coverage": 50.0,
        "order_accuracy_decided": 100.0,
    }
    nothing = region_order_accuracy([gt], [])
    assert nothing["order_accuracy"] == 0 and math.isnan(nothing["order_accuracy_decided"])
    assert all(math.isnan(value) for value in region_order_accuracy([], []).values())


def test_best_overlap_then_better_score_stands_for_an_object() -> None:
    gt, pred = layered()
    double = {
        "masks": np.concatenate([pred["masks"], pred["masks"][:1]]),
        "levels": np.concatenate([pred["levels"], np.where(pred["masks"][:1], 3, -1)]),
        "scores": [0.5, 0.6, 0.7, 0.9],
    }
    # The duplicate of object 0 claims to lie behind and is the surer one.
    assert region_order_counts(gt, double).tolist() == [2, 2, 1]
    assert region_order_counts(gt, double | {"scores": [0.9, 0.6, 0.7, 0.5]}).tolist() == [2, 2, 2]


def test_mutual_and_unknown_pairs_are_left_out() -> None:
    gt, pred = layered()
    both = gt["occlusion"].copy()
    both[1, 0] = 1
    both[1, 2] = -1
    assert region_order_counts(gt | {"occlusion": both}, pred).tolist() == [0, 0, 0]


def test_confidence_decides_where_objects_share_pixels() -> None:
    gt, pred = layered()
    confidence = np.where(gt["masks"], 0.9, 0.0)
    confidence[2] = np.where(gt["masks"][2], 0.2, 0.0)
    counts = region_order_counts(gt, pred | {"confidence": confidence})
    assert counts.tolist() == [2, 1, 1]


def test_photographs_order_of_all_50_pairs(cocoa_demo: Path) -> None:
    data = json.loads((cocoa_demo / "COCO_amodal_demo5.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    gt, pred = [], []
    for annotation in data["annotations"]:
        size = sizes[annotation["image_id"]]
        masks = mask_tools.decode_all([r["segmentation"] for r in annotation["regions"]], *size)
        occ = np.zeros((len(masks),) * 2, dtype=np.int8)
        for pair in annotation["depth_constraint"].split(","):
            front, back = (int(part) - 1 for part in pair.split("-"))
            occ[front, back] = 1
        image_id = annotation["image_id"]
        rate = np.array([r["occlude_rate"] for r in annotation["regions"]])
        is_stuff = np.array([bool(r["isStuff"]) for r in annotation["regions"]])
        gt.append({"image_id": image_id, "masks": masks, "occlusion": occ})
        gt[-1] |= {"occlude_rate": rate, "is_stuff": is_stuff}
        levels = visibility_levels(masks, occ)
        scores = np.linspace(1, 0.5, len(masks))
        pred.append({"image_id": image_id, "masks": masks, "levels": levels, "scores": scores})
    counts = sum(region_order_counts(g, p) for g, p in zip(gt, pred, strict=True))
    assert counts.tolist() == [50, 50, 50]
    assert region_order_accuracy(gt, pred)["order_accuracy"] == 100
    scores = amodal_scores(gt, pred)
    assert scores["AP"] == scores["AR100_heavy"] == scores["things/AR100"] == pytest.approx(100)


# ----------------------------------------------------------------------------- damaged input


def without(image: dict, key: str) -> dict:
    return {name: value for name, value in image.items() if name != key}


GT = one_image(classes=np.array([1, 1, 2]))
PRED = {"image_id": 7, "masks": GT["masks"], "scores": [0.9, 0.8, 0.7]}
RLES = [mask_tools.encode(mask) for mask in GT["masks"]]
SHORT = {"size": [24, 30], "counts": [100]}
OTHER_SIZE = {"size": [24, 31], "counts": [24 * 31]}


@pytest.mark.parametrize(
    ("gt", "pred", "message"),
    [
        (without(GT, "occlude_rate"), PRED, "image 7: ground truth has no 'occlude_rate'"),
        (without(GT, "is_stuff"), PRED, "image 7: ground truth has no 'is_stuff'"),
        (without(GT, "masks"), PRED, "image 7: ground truth has no 'masks'"),
        (without(GT, "image_id"), PRED, "entry 0 has no 'image_id'"),
        (GT, without(PRED, "scores"), "image 7: prediction has no 'scores'"),
        (GT, PRED | {"scores": [0.9, 0.8]}, r"scores must have shape \(3,\), got \(2,\)"),
        (GT, PRED | {"scores": [0.9, np.nan, 0.8]}, "finite"),
        (GT, PRED | {"image_id": 8}, r"without ground truth: \[8\]"),
        (GT, PRED | {"masks": GT["masks"] * 2}, "only 0 and 1"),
        (GT, PRED | {"masks": GT["masks"][:, :-1]}, r"predictions \(23, 30\)"),
        (GT | {"occlude_rate": [0.1, 0.2]}, PRED, r"\(3,\), got \(2,\)"),
        (GT | {"occlude_rate": [0.1, 0.2, np.nan]}, PRED, "NaN"),
        (GT | {"occlude_rate": [0.1, 0.2, 50]}, PRED, r"\[0, 1\]"),
        (GT, PRED | {"masks": [*RLES[:2], SHORT]}, "mask 2"),
        (GT, PRED | {"masks": [*RLES[:2], OTHER_SIZE]}, "mask 2"),
        (GT, PRED | {"masks": [*RLES[:2], [0, 1, 2]]}, "mask 2: not a run-length"),
    ],
)
def test_damaged_images_are_refused(gt, pred, message) -> None:
    with pytest.raises(ValueError, match=message):
        amodal_scores([gt], [pred])


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="duplicated"):
        amodal_scores([GT, GT], [])
    with pytest.raises(ValueError, match="duplicated"):
        amodal_scores([GT], [PRED, PRED])
    with pytest.raises(ValueError, match="compat"):
        amodal_scores([GT], [PRED], compat="SLN")
    for bad in ((), (10, 1), (0, 1)):
        with pytest.raises(ValueError, match="max_detections"):
            amodal_scores([GT], [PRED], max_detections=bad)
    with pytest.raises(ValueError, match="prediction has no 'classes'"):
        class_scores([GT], [PRED])
    with pytest.raises(ValueError, match="ground truth has no 'classes'"):
        class_scores([without(GT, "classes")], [PRED])
    with pytest.raises(ValueError, match="integers"):
        class_scores([GT | {"classes": [0.5, 1, 2]}], [])
    with pytest.raises(ValueError, match="'modal_masks'"):
        invisible_scores([GT], [PRED])
    with pytest.raises(ValueError, match="share one shape"):
        invisible_scores([GT | {"modal_masks": GT["masks"][:2]}], [])
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        occlude_rate(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    gt, pred = layered()
    with pytest.raises(ValueError, match="image 5: prediction has no 'levels'"):
        region_order_accuracy([gt], [without(pred, "levels")])
    with pytest.raises(ValueError, match="occlusion must be"):
        region_order_counts(gt | {"occlusion": np.zeros((2, 2))}, pred)
    with pytest.raises(ValueError, match="3 predicted masks, 2 levels"):
        region_order_counts(gt, pred | {"levels": pred["levels"][:2]})
    with pytest.raises(ValueError, match=r"\(I, 3\)"):
        region_order_summary(np.zeros(3))
