"""One image in, an ordered answer out, for every way a model deals with masks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occ_order import order
from occ_order.config import get_cfg
from occ_order.engine.predictor import OrderPredictor
from occ_order.files import as_image
from occ_order.instances import OrderedInstances
from occ_order.methods.common.baseline import OrderBaseline
from occ_order.methods.instadepth.meta_arch import InstaDepthNet

ROOT = Path(__file__).parents[2]
SIZE = (40, 60)
MASKS = np.zeros((3, *SIZE), bool)
MASKS[0, 5:35, 5:25] = True
MASKS[1, 10:20, 25:40] = True
MASKS[2, 30:38, 45:55] = True
IMAGE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def area_predictor(device):
    """Orders masks by their area; settings may be changed."""

    def area_predictor(**changes):
        cfg = get_cfg()
        cfg.MODEL.DEVICE = device
        cfg.MODEL.META_ARCHITECTURE = "OrderBaseline"
        cfg.INPUT.MAPPER = "InstanceOrderMapper"
        cfg.INPUT.MIN_SIZE_TEST = 0
        cfg.merge_from_list([x for pair in changes.items() for x in pair])
        return OrderPredictor(OrderBaseline(cfg).to(device), cfg)

    return area_predictor


def test_input_masks_come_back_in_their_order(area_predictor):
    found = area_predictor()(IMAGE, MASKS, classes=[4, 5, 6])
    assert np.array_equal(found.modal, MASKS) and found.image is IMAGE
    assert found.image_id == 0 and found.ids == (1, 2, 3)
    expected = order.area_order(MASKS, order="occlusion", pairs="bordering")
    assert found.occlusion.tolist() == expected.tolist()
    assert found.to_dict()["occlusion"] == [[0, 1, 1.0]]


def test_input_instances_keep_what_the_user_said_of_them(area_predictor):
    given = OrderedInstances(
        "a photo", SIZE, MASKS, ids=("x", 7, "z"), names=("cup", "", "tray"),
        classes=np.array([3, 1, 9]), scores=np.array([0.5, 1.0, 0.25]), file_name="a.jpg",
    )  # fmt: skip
    found = area_predictor()(IMAGE, given)
    assert found.ids == given.ids and found.names == given.names
    assert found.classes.tolist() == [3, 1, 9] and found.scores.tolist() == [0.5, 1.0, 0.25]
    assert (found.image_id, found.file_name) == ("a photo", "a.jpg")
    assert found.relations() == ["cup x occludes instance 7 (1.00)"]


def test_what_it_was_told_of_overlap_and_workers_belongs_to_another_order(area_predictor):
    told = np.full((3, 3), -1)
    given = OrderedInstances(1, SIZE, MASKS, depth=told, overlap=told, count=told)
    found = area_predictor()(IMAGE, given)
    assert found.overlap is None and found.count is None and (found.depth != -1).any()


def test_the_answer_has_the_size_of_the_image_whatever_the_network_sees(area_predictor):
    predictor = area_predictor(**{"INPUT.MIN_SIZE_TEST": 80, "INPUT.MAX_SIZE_TEST": 200})
    found = predictor(IMAGE, MASKS)
    assert found.size == SIZE
    assert np.array_equal(found.modal, MASKS)  # not enlarged and shrunk again


def test_no_masks_give_no_instances(area_predictor):
    found = area_predictor()(IMAGE, np.zeros((0, *SIZE), bool))
    assert len(found) == 0 and found.occlusion.shape == (0, 0)


def test_a_file_and_an_array_are_the_same(tmp_path):
    file = tmp_path / "Bild mit Ä.png"
    Image.fromarray(IMAGE).save(file)
    assert np.array_equal(as_image(file), IMAGE)
    assert np.array_equal(as_image(IMAGE), IMAGE)


def test_a_model_that_needs_masks_says_so(area_predictor):
    with pytest.raises(ValueError, match="OrderBaseline orders input masks"):
        area_predictor()(IMAGE)


@pytest.mark.parametrize(
    ("masks", "classes", "message"),
    [
        (MASKS[:, :-1], None, r"\(N, 40, 60\) as the image is, got \(3, 39, 60\)"),
        (MASKS[None], None, r"got \(1, 3, 40, 60\)"),
        (MASKS, [1], "1 classes for 3 instances"),
    ],
)
def test_masks_that_do_not_fit(masks, classes, message, area_predictor):
    with pytest.raises(ValueError, match=message):
        area_predictor()(IMAGE, masks, classes=classes)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(float), IMAGE[..., 0], IMAGE[:0], np.zeros((4, 4, 4), np.uint8)]
)
def test_what_is_no_image(image):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        as_image(image)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image .*none.png"):
        as_image(tmp_path / "none.png")


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_the_network_gets_its_order_of_channels(channels, monkeypatch, area_predictor):
    predictor = area_predictor(**{"INPUT.FORMAT": channels})
    seen = []
    monkeypatch.setattr(predictor, "_run", lambda item, given: seen.append(item) or {})
    with pytest.raises(KeyError):  # the answer, which is not there
        predictor(IMAGE, MASKS)
    expected = IMAGE if channels == "RGB" else IMAGE[..., ::-1]
    assert np.array_equal(seen[0]["image"].numpy(), expected.transpose(2, 0, 1))


def test_disparity_needs_no_masks_and_does_not_depend_on_them(device):
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/InstaDepthNet/instadepthnet_od_mini_scenes.yaml"))
    cfg.MODEL.DEVICE = device
    torch.manual_seed(0)
    predictor = OrderPredictor(InstaDepthNet(cfg).to(device), cfg)
    assert predictor.takes_masks and not predictor.needs_masks
    alone, given = predictor(IMAGE), predictor(IMAGE, MASKS)
    assert alone.disparity.shape == SIZE and len(alone) == 0 and alone.depth is None
    assert np.array_equal(alone.disparity, given.disparity)
    assert given.depth.shape == (3, 3) and given.ids == (1, 2, 3)


def test_nothing_that_comes_out_carries_gradients_or_is_a_tensor(area_predictor):
    found = area_predictor()(IMAGE, MASKS)
    values = [getattr(found, field.name) for field in dataclasses.fields(found)]
    assert not [value for value in values if isinstance(value, torch.Tensor)]
    assert isinstance(found.occlusion, np.ndarray) and isinstance(found.depth, np.ndarray)


def test_a_file_gives_its_name(tmp_path, area_predictor):
    Image.fromarray(IMAGE).save(tmp_path / "cups.png")
    found = area_predictor()(tmp_path / "cups.png", MASKS)
    assert (found.image_id, found.file_name) == ("cups", "cups.png")
