"""One picture in, an ordered answer out, for every way a model deals with masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occ_order import order
from occ_order.config import get_cfg
from occ_order.engine.predictor import OrderPredictor, as_annotations, load_picture
from occ_order.methods.common.baseline import OrderBaseline
from occ_order.methods.common.results import image_result
from occ_order.methods.instadepth.meta_arch import InstaDepthNet

ROOT = Path(__file__).parents[2]
SIZE = (40, 60)
MASKS = np.zeros((3, *SIZE), bool)
MASKS[0, 5:35, 5:25] = True
MASKS[1, 10:20, 25:40] = True
MASKS[2, 30:38, 45:55] = True
PICTURE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def area_predictor(**changes):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "OrderBaseline"
    cfg.INPUT.MAPPER = "InstanceOrderMapper"
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.merge_from_list([x for pair in changes.items() for x in pair])
    return OrderPredictor(OrderBaseline(cfg), cfg)


def test_given_masks_come_back_in_their_order():
    found = area_predictor()(PICTURE, MASKS, classes=[4, 5, 6])["instances"]
    assert np.array_equal(found.pred_masks.numpy(), MASKS)
    assert found.pred_classes.tolist() == [4, 5, 6]
    expected = order.area_order(MASKS, order="occlusion", pairs="bordering")
    assert found.occlusion.tensor.tolist() == expected.tolist()
    assert image_result(found, image_id="a")["occlusion"] == [[0, 1, 1.0]]


def test_the_answer_has_the_size_of_the_picture_whatever_the_network_sees():
    predictor = area_predictor(**{"INPUT.MIN_SIZE_TEST": 80, "INPUT.MAX_SIZE_TEST": 200})
    found = predictor(PICTURE, MASKS)["instances"]
    assert found.image_size == SIZE
    assert np.array_equal(found.pred_masks.numpy(), MASKS)  # enlarged and shrunk again


def test_no_masks_give_no_instances():
    found = area_predictor()(PICTURE, np.zeros((0, *SIZE), bool))["instances"]
    assert len(found) == 0 and found.occlusion.tensor.shape == (0, 0)


def test_a_file_and_an_array_are_the_same(tmp_path):
    file = tmp_path / "Bild mit Ä.png"
    Image.fromarray(PICTURE).save(file)
    assert np.array_equal(load_picture(file), PICTURE)
    assert np.array_equal(load_picture(PICTURE), PICTURE)


def test_a_model_that_needs_masks_says_so():
    with pytest.raises(ValueError, match="OrderBaseline orders given masks"):
        area_predictor()(PICTURE)


@pytest.mark.parametrize(
    ("masks", "classes", "message"),
    [
        (MASKS[:, :-1], None, r"\(N, 40, 60\) as the picture is, got \(3, 39, 60\)"),
        (MASKS[0], None, r"got \(40, 60\)"),
        (MASKS, [1], "1 classes for 3 masks"),
    ],
)
def test_masks_that_do_not_fit(masks, classes, message):
    with pytest.raises(ValueError, match=message):
        as_annotations(masks, SIZE, classes)


@pytest.mark.parametrize(
    "picture", [PICTURE.astype(float), PICTURE[..., 0], PICTURE[:0], np.zeros((4, 4, 4), np.uint8)]
)
def test_what_is_no_picture(picture):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        load_picture(picture)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture .*none.png"):
        load_picture(tmp_path / "none.png")


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_the_network_gets_its_order_of_channels(channels, monkeypatch):
    predictor = area_predictor(**{"INPUT.FORMAT": channels})
    seen = []
    monkeypatch.setattr(predictor, "_run", lambda item, given: seen.append(item) or {})
    predictor(PICTURE, MASKS)
    expected = PICTURE if channels == "RGB" else PICTURE[..., ::-1]
    assert np.array_equal(seen[0]["image"].numpy(), expected.transpose(2, 0, 1))


def test_disparity_needs_no_masks_and_does_not_depend_on_them():
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/InstaDepthNet/instadepthnet_od_mini_scenes.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    predictor = OrderPredictor(InstaDepthNet(cfg), cfg)
    assert predictor.takes_masks and not predictor.needs_masks
    alone, given = predictor(PICTURE), predictor(PICTURE, MASKS)
    assert alone["disparity"].shape == SIZE and "instances" not in alone
    assert torch.equal(alone["disparity"], given["disparity"])
    assert given["instances"].depth.tensor.shape == (3, 3)
