"""The shipped model that orders and completes input masks."""

from __future__ import annotations

import numpy as np
import pytest

import occ_order
from occ_order import model_zoo
from occ_order.engine.predictor import OrderPredictor
from tests.methods.completion.conftest import SIZE, discs

NAME = "mask_completion_photos"


@pytest.fixture(scope="module")
def predictor(device) -> OrderPredictor:
    return OrderPredictor.from_zoo(NAME, device=device)


def test_it_is_small():
    assert model_zoo.checkpoint_file(NAME).stat().st_size < 5e6


def test_a_user_s_masks_are_ordered_and_completed(predictor, device):
    modal, whole, _ = discs()
    image = np.full((*SIZE, 3), 90, np.uint8)
    found = predictor(image, modal)
    # The order is that of the model that is named in the settings.
    order = OrderPredictor.from_zoo(model_zoo.get_cfg(NAME).MODEL.COMPLETION.ORDER, device=device)
    expected = order(image, modal)
    for field in ("occlusion", "occlusion_prob", "depth"):
        assert (getattr(found, field) == getattr(expected, field)).all()
    assert expected.amodal is None
    assert (found.modal == modal).all() and (found.amodal & modal == modal).all()
    for k in range(3):
        behind = modal[found.occlusion[:, k] == 1].any(0)
        assert not (found.amodal[k] & ~modal[k] & ~behind).any()
    # Discs come back about as they are.
    assert found.occlusion[0, 1] == 1 and found.occlusion[1, 2] == 1
    for k in (1, 2):
        iou = (found.amodal[k] & whole[k]).sum() / (found.amodal[k] | whole[k]).sum()
        assert iou > 0.9 > (modal[k] & whole[k]).sum() / whole[k].sum()


def test_the_results_on_disk_have_the_amodal_masks(predictor, tmp_path):
    modal, _, _ = discs()
    found = predictor(np.zeros((*SIZE, 3), np.uint8), modal)
    found.save(tmp_path / "order.json")
    assert (occ_order.load(tmp_path / "order.json").amodal == found.amodal).all()


def test_no_masks(predictor):
    found = predictor(np.zeros((8, 9, 3), np.uint8), np.zeros((0, 8, 9), bool))
    assert found.amodal.shape == (0, 8, 9)
