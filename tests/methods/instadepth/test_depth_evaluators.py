"""Evaluators of disparity maps on generated scenes: perfect, reversed and useless maps."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog  # noqa: E402
from PIL import Image  # noqa: E402

from occ_order.draw.disparity import draw_disparity, save_disparity  # noqa: E402
from occ_order.engine.evaluation import build_evaluator  # noqa: E402
from occ_order.formats import read_depth_png, write_depth_png  # noqa: E402
from occ_order.methods.build import build_mapper  # noqa: E402
from occ_order.methods.instadepth.evaluators import pair_violations  # noqa: E402
from occ_order.methods.instadepth.losses import closer_sign, erode, order_violation  # noqa: E402
from occ_order.metrics import DEPTH_ERRORS, aligned_depth, disparity_correlation  # noqa: E402


def truth_of(record: dict) -> np.ndarray:
    """Disparity of a generated scene, from the depth map beside the image."""
    path = record["file_name"].replace("/images/", "/depth/")
    return 1.0 / read_depth_png(path).astype(np.float64)


def scores(cfg, name: str, folder, predict, *, twice: bool = False) -> dict:
    """Evaluates `predict(record) -> disparity`."""
    evaluator = build_evaluator(cfg, name, folder)
    evaluator.reset()
    mapper = build_mapper(cfg, is_train=False)
    for record in DatasetCatalog.get(name):
        x = mapper(record)
        disparity = torch.from_numpy(np.array(predict(record), dtype=np.float32))
        output = {"disparity": disparity}
        if "instances" in x:  # no order heads
            found = x["instances"]
            found.pred_masks = found.gt_masks.tensor
            output["instances"] = found
        evaluator.process([x], [output])
    found = evaluator.evaluate()
    if twice:
        again = evaluator.evaluate()
        assert repr(again) == repr(found)  # NaN is not equal to itself
    return found


@pytest.fixture
def cfg(tiny_cfg):
    return tiny_cfg("TEST.EVALUATORS", "['DisparityEvaluator']")


# --- order of instances


def test_true_disparity_has_the_order_of_distinct_pairs(cfg, scenes, tmp_path):
    found = scores(cfg, "tiny_instaorder", tmp_path, truth_of, twice=True)
    for statistic in ("mean", "median"):
        assert found[f"disparity_{statistic}"]["whdr_distinct"] == 0
    assert found["disparity"]["violation"] < 2.5
    assert math.isnan(found["depth_per_image"]["whdr_all"])  # no head has answered


def test_reversed_disparity_is_always_wrong(cfg, scenes, tmp_path):
    found = scores(cfg, "tiny_instaorder", tmp_path, lambda record: 1.0 / truth_of(record))
    assert found["disparity_mean"]["whdr_distinct"] == 100
    assert found["disparity"]["violation"] > 47.5


def test_a_constant_map_says_equal_everywhere(cfg, scenes, tmp_path):
    found = scores(cfg, "tiny_instaorder", tmp_path, lambda record: np.ones((64, 64)))
    assert found["disparity_mean"]["whdr_distinct"] == 100
    assert found["disparity"]["violation"] == 50


def test_violations_by_hand():
    """Eroded, A is columns 1 to 2 and B columns 5 to 6 of row 1: 2 and 2 pixels."""
    masks = np.zeros((2, 3, 8), bool)
    masks[0, :, :4] = masks[1, :, 4:] = True
    disparity = np.tile(np.array([0.0, 3, 5, 0, 0, 4, 1, 0]), (3, 1))
    depth, overlap = np.array([[-1, 1], [0, -1]]), np.array([[-1, 0], [0, -1]])
    # A closer: the 3 is not above the 4, the 4 not below the 3: two of four.
    assert pair_violations(disparity, masks, depth, overlap).tolist() == [0.25]
    # A farther: 3 and 5 must be below 1, 4 and 1 above 5: all wrong.
    assert pair_violations(disparity, masks, depth.T, overlap).tolist() == [0.5]
    for nothing in (np.where(depth == -1, -1, 2), np.full((2, 2), -1)):
        assert pair_violations(disparity, masks, nothing, overlap).tolist() == []
    assert pair_violations(disparity, masks, depth, np.abs(overlap) + 1).tolist() == []


# --- Depth in the Wild


def test_points_of_true_and_reversed_maps(cfg, scenes, tmp_path):
    count = float(len(DatasetCatalog.get("tiny_diw")))
    found = scores(cfg, "tiny_diw", tmp_path, truth_of, twice=True)
    assert found == {"diw": {"correct": count, "wrong": 0.0, "whdr": 0.0}}
    reverse = scores(cfg, "tiny_diw", tmp_path, lambda record: 1.0 / truth_of(record))
    assert reverse == {"diw": {"correct": 0.0, "wrong": count, "whdr": 100.0}}


# --- KITTI


def test_true_disparity_has_no_error_after_the_best_scale_and_shift(cfg, scenes, tmp_path):
    found = scores(cfg, "tiny_kitti", tmp_path, lambda r: 7 * truth_of(r) + 2, twice=True)
    assert found["kitti_aligned"]["abs_rel"] == pytest.approx(0, abs=1e-4)
    assert found["kitti_aligned"]["d1"] == 1
    assert found["disparity_truth"]["correlation"] == pytest.approx(1, abs=1e-6)
    assert set(found["kitti"]) == set(DEPTH_ERRORS)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_maps_have_finite_errors(cfg, scenes, tmp_path, value):
    found = scores(cfg, "tiny_kitti", tmp_path, lambda record: np.full((64, 64), value))
    assert all(math.isfinite(error) for error in found["kitti"].values())
    assert all(math.isfinite(error) for error in found["kitti_aligned"].values())
    assert found["disparity_truth"]["correlation"] == 0


def test_reversed_maps_are_no_better_than_the_mean(cfg, scenes, tmp_path):
    """A fit with a negative scale would make them perfect."""
    backward = scores(cfg, "tiny_kitti", tmp_path, lambda record: 5 - truth_of(record))
    constant = scores(cfg, "tiny_kitti", tmp_path, lambda record: np.ones((64, 64)))
    assert backward["kitti_aligned"] == pytest.approx(constant["kitti_aligned"])
    assert backward["disparity_truth"]["correlation"] == pytest.approx(-1)


def test_alignment_by_hand():
    """Depths 1, 2, 4 are disparities 1, .5, .25; predicted 4, 2, 1 is four times these."""
    gt, pred = np.array([[1.0, 2, 4, 0]]), np.array([[4.0, 2, 1, 100]])
    aligned = aligned_depth(pred, gt, max_depth=10)
    assert aligned[0, :3] == pytest.approx([1, 2, 4])
    assert aligned[0, 3] == pytest.approx(1 / 25)
    assert disparity_correlation(pred, gt) == pytest.approx(1)
    assert np.isnan(aligned_depth(pred, np.zeros((1, 4)))).all()
    assert math.isnan(disparity_correlation(pred, np.zeros((1, 4))))
    assert math.isnan(disparity_correlation(pred, np.ones((1, 4))))


def test_maps_of_another_size_are_refused_by_name(cfg, scenes, tmp_path):
    with pytest.raises(ValueError, match=r"000001.png: the depth map is \(64, 64\).*\(8, 8\)"):
        scores(cfg, "tiny_kitti", tmp_path, lambda record: np.ones((8, 8)))
    with pytest.raises(ValueError, match="image 0: the disparity is not finite"):
        scores(cfg, "tiny_kitti", tmp_path, lambda record: np.full((64, 64), np.nan))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        aligned_depth(np.ones((3, 2)), np.ones((2, 3)))


def test_the_benchmark_crop_is_taken_of_image_and_truth(tiny_cfg, scenes, tmp_path, monkeypatch):
    cfg = tiny_cfg("INPUT.KB_CROP", "True", "TEST.EVALUATORS", "['KITTIDepthEvaluator']")
    image, depth = tmp_path / "image.png", tmp_path / "depth.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (375, 1242, 3), np.uint8)).save(image)
    gt = np.random.default_rng(1).uniform(1, 60, (375, 1242))
    gt[:23] = 0
    write_depth_png(depth, gt)
    record = {"file_name": str(image), "depth_file_name": str(depth), "image_id": 0}
    x = build_mapper(cfg, is_train=False)(record)
    assert x["image"].shape == (3, 352, 1216) and (x["height"], x["width"]) == (352, 1216)
    evaluator = build_evaluator(cfg, "tiny_kitti", tmp_path)._evaluators[0]
    disparity = torch.from_numpy((1 / gt[23:, 13:1229]).astype(np.float32))
    scorers = evaluator.scorers()
    evaluator.update(scorers, record, {"disparity": disparity})
    assert evaluator.scores(scorers)["kitti_aligned"]["d1"] == 1
    small = {"file_name": str(tmp_path / "small.png"), "image_id": 1}
    Image.new("RGB", (100, 50)).save(small["file_name"])
    with pytest.raises(ValueError, match="small.png: the KITTI benchmark crop needs"):
        build_mapper(cfg, is_train=False)(small)


def test_depth_of_photographs_has_the_unit_of_its_record(tiny_cfg, scenes, tmp_path):
    cfg = tiny_cfg("TEST.EVALUATORS", "['KITTIDepthEvaluator']")
    values = np.random.default_rng(1).integers(1000, 60000, (6, 8)).astype(np.uint16)
    values[0] = 0
    Image.fromarray(values).save(tmp_path / "depth.png")
    record = {
        "image_id": 0,
        "file_name": "1.png",
        "height": 12,
        "width": 16,
        "depth_file_name": str(tmp_path / "depth.png"),
        "depth_unit": 1e-4,
    }
    metres = np.kron(values, np.ones((2, 2))) * 1e-4
    disparity = torch.from_numpy((1 / np.maximum(metres, 0.1)).astype(np.float32))
    evaluator = build_evaluator(cfg, "tiny_kitti", tmp_path)._evaluators[0]
    scorers = evaluator.scorers()
    evaluator.update(scorers, record, {"disparity": disparity})
    scores = evaluator.scores(scorers)
    assert scores["kitti_aligned"]["rmse"] == pytest.approx(0, abs=1e-3)
    assert scores["disparity_truth"]["correlation"] == pytest.approx(1)


# --- no image, no network's answer, another data set


@pytest.mark.parametrize("name", ["tiny_instaorder", "tiny_diw", "tiny_kitti"])
def test_no_image_gives_the_same_keys_with_nan(cfg, scenes, tmp_path, name):
    evaluator = build_evaluator(cfg, name, tmp_path)
    evaluator.reset()
    empty, full = evaluator.evaluate(), scores(cfg, name, tmp_path, truth_of)
    assert {task: set(part) for task, part in empty.items()} == {
        task: set(part) for task, part in full.items()
    }
    own = [part for task, part in empty.items() if task.startswith(("disp", "diw", "kitti"))]
    counts = {key: part[key] for part in own for key in ("correct", "wrong") if key in part}
    assert counts == ({"correct": 0, "wrong": 0} if name == "tiny_diw" else {})
    rates = [value for part in own for key, value in part.items() if key not in counts]
    assert rates and all(map(math.isnan, rates))


def test_outputs_without_a_map_are_refused(cfg, scenes, tmp_path):
    evaluator = build_evaluator(cfg, "tiny_diw", tmp_path)
    evaluator.reset()
    with pytest.raises(ValueError, match="image 0: the network returned no 'disparity'"):
        evaluator.process([{"image_id": 0}], [{}])


# --- files


def test_maps_are_written_as_grey_and_in_colours(tiny_cfg, scenes, tmp_path):
    opts = ("TEST.EVALUATORS", "['DisparityEvaluator']", "TEST.DISPARITY.SAVE", "True")
    scores(tiny_cfg(*opts), "tiny_diw", tmp_path, truth_of)
    files = sorted(path.name for path in (tmp_path / "disparity").iterdir())
    assert len(files) == 2 * len(DatasetCatalog.get("tiny_diw"))
    assert files[:2] == ["0_000001.png", "0_000001_color.png"]
    with Image.open(tmp_path / "disparity" / files[0]) as grey:
        assert grey.mode.startswith("I") and grey.size == (64, 64)


def test_grey_values_are_the_disparity_up_to_scale_and_offset(tmp_path):
    disparity = np.array([[3.0, 5.0], [4.0, 3.5]])
    grey, color = save_disparity(tmp_path / "deep" / "map", disparity)
    with Image.open(grey) as file:
        values = np.array(file)
    assert values.tolist() == [[0, 65535], [32768, 16384]]
    with Image.open(color) as file:
        image = np.array(file.convert("RGB")).astype(int)
    assert np.array_equal(image, draw_disparity(disparity))
    brightness = image.sum(-1)
    assert brightness[0, 1] > brightness[1, 0] > brightness[1, 1] > brightness[0, 0]


def test_constant_and_damaged_maps(tmp_path):
    grey, _ = save_disparity(tmp_path / "flat", np.full((2, 3), 7.0))
    with Image.open(grey) as file:
        assert not np.array(file).any()
    for wrong in (np.zeros((2, 2, 1)), np.array([[np.inf, 0]])):
        with pytest.raises(ValueError, match="finite and of shape"):
            draw_disparity(wrong)
    with pytest.raises(ValueError, match="empty disparity map"):
        save_disparity(tmp_path / "none", np.zeros((0, 4)))


def test_violations_of_pairs_are_those_of_equation_1():
    """Counted in sorted pixels, they equal what the network logs, also where masks overlap."""
    rng = np.random.default_rng(0)
    disparity = rng.integers(0, 9, (30, 40)).astype(np.float32)  # with ties
    masks = np.zeros((6, 30, 40), bool)
    for k, mask in enumerate(masks[:5]):
        mask[3 * k : 3 * k + 14, 5 * k : 5 * k + 18] = True
    depth = rng.integers(0, 2, (6, 6)).astype(np.int8)
    depth[0, 1] = 2
    overlap = np.zeros((6, 6), np.int8)
    overlap[1, 2] = 1
    expected = []
    eroded = erode(torch.from_numpy(masks))
    for i, j in zip(*np.triu_indices(6, 1), strict=True):
        if (i, j) not in ((0, 1), (1, 2)):
            sign = closer_sign(torch.tensor([depth[i, j]]), torch.tensor([0]))
            one = torch.from_numpy(disparity)[None], eroded[i][None], eroded[j][None], sign
            expected.append(order_violation(*one).item())
    found = pair_violations(disparity, masks, depth, overlap)
    assert found == pytest.approx(expected, abs=1e-6) and len(found) == 13 and found.max() > 0.2
