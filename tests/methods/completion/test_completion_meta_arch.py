"""MaskCompletionNet as a Detectron2 model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances

from occ_order.engine.checkpoint import seeded
from occ_order.methods.build import build_mapper
from occ_order.methods.common.pair_matrix import PairMatrix
from tests.methods.completion.conftest import SIZE, discs, record


@pytest.fixture
def model(cfg, build_model):
    """A network with random weights that completes something and leaves something out."""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.network.last.weight.mul_(20)
    return model


def given(masks: np.ndarray, occlusion: np.ndarray | None = None, **fields) -> dict:
    """Return an input with ground truth."""
    found = Instances(masks.shape[1:], gt_masks=BitMasks(torch.from_numpy(masks)))
    if occlusion is not None:
        found.gt_occlusion = PairMatrix(torch.from_numpy(np.asarray(occlusion, np.int8)))
    for name, value in fields.items():
        found.set(name, PairMatrix(torch.from_numpy(np.asarray(value)), fill=0))
    return {"image_id": 5, "instances": found}


def completed(model, *inputs) -> np.ndarray:
    return model([given(*inputs)])[0]["instances"].pred_amodal_masks.numpy()


def test_losses_of_the_mapper_s_samples_train_every_weight(cfg, build_model):
    modal, amodal, occlusion = discs()
    with seeded(0):
        one = build_mapper(cfg, is_train=True)(record(modal, amodal, occlusion))
    model = build_model(cfg).train()
    losses = model([one, one])
    assert sorted(losses) == ["loss_hidden", "loss_overlap"]
    sum(losses.values()).backward()
    assert all(value > 0 and torch.isfinite(value) for value in losses.values())
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_an_amodal_mask_is_the_modal_mask_and_something_behind_its_occluders(model):
    modal, _, occlusion = discs()
    amodal = completed(model, modal, occlusion)
    assert (amodal[0] == modal[0]).all()  # nothing is in front of it
    for k in (1, 2):
        added = amodal[k] & ~modal[k]
        assert (amodal[k] & modal[k] == modal[k]).all()
        assert (added <= modal[k - 1]).all()
        assert added.any() and (modal[k - 1] & ~added).any()


def test_the_threshold_decides_how_much(model):
    modal, _, occlusion = discs()
    areas = []
    for threshold in (0.0, 0.5, 1.0):
        model.settings = dataclasses.replace(model.settings, threshold=threshold)
        areas.append((completed(model, modal, occlusion)[1] & ~modal[1]).sum())
    assert areas[0] > areas[1] > areas[2] == 0


def test_an_unlikely_occluder_hides_nothing_and_is_seen(model):
    modal, _, occlusion = discs()
    chances = occlusion.astype(np.float32)
    found = given(modal)
    found["instances"].occlusion = PairMatrix(torch.from_numpy(occlusion))
    found["instances"].occlusion_probability = PairMatrix(torch.from_numpy(chances * 0.6))
    (likely,) = model([found])
    assert (likely["instances"].pred_amodal_masks.numpy()[1] != modal[1]).any()
    found["instances"].occlusion_probability = PairMatrix(torch.from_numpy(chances * 0.4))
    (unlikely,) = model([found])
    assert (unlikely["instances"].pred_amodal_masks.numpy() == modal).all()


def test_the_sequence_of_the_masks_shows_in_no_bit(model):
    modal, _, occlusion = discs()
    modal = np.concatenate([modal, modal[:1], np.roll(modal, 9, 1)])
    rng = np.random.default_rng(1)
    occlusion = (rng.random((7, 7)) < 0.5).astype(np.int8)
    expected = completed(model, modal, occlusion)
    assert (expected != modal).any((1, 2)).sum() >= 5
    for _ in range(3):
        order = rng.permutation(7)
        found = completed(model, modal[order], occlusion[np.ix_(order, order)])
        assert (found == expected[order]).all()


def test_masks_that_are_empty_full_equal_or_one_pixel(model):
    modal = np.zeros((6, *SIZE), bool)
    modal[1] = True
    modal[2, 10:30, 10:30] = modal[3, 10:30, 10:30] = True
    modal[4, 0, 0] = modal[5, -1, -1] = True
    amodal = completed(model, modal, 1 - np.eye(6))
    assert not amodal[0].any()
    assert (amodal & modal == modal).all()
    assert (amodal[1] == modal[1]).all()  # it fills the image
    assert (amodal[2] == amodal[3]).all()


@pytest.mark.parametrize("size", [SIZE, (0, 5)])
def test_no_instances(model, size):
    found = completed(model, np.zeros((0, *size), bool), np.zeros((0, 0)))
    assert found.shape == (0, *size) and found.dtype == bool


def test_two_images_at_once_are_two_images(model):
    modal, _, occlusion = discs()
    one, other = given(modal, occlusion), given(modal[:, ::-1].copy(), occlusion.T)
    both = model([one, other])
    for alone, found in zip((one, other), both, strict=True):
        expected = model([alone])[0]["instances"].pred_amodal_masks
        assert torch.equal(found["instances"].pred_amodal_masks, expected)


def test_an_input_without_any_order_is_refused(model):
    with pytest.raises(ValueError, match="image 5: the instances have no occlusion"):
        model([given(discs()[0])])


def test_another_network_can_tell_the_order(model):
    modal, _, occlusion = discs()
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    depth = np.full((3, 3), -1, np.int8)
    asked = []

    def order(shown, masks):
        asked.append((shown, masks))
        found = Instances(SIZE)
        found.occlusion = PairMatrix(torch.from_numpy(occlusion))
        found.depth = PairMatrix(torch.from_numpy(depth))
        return {"instances": found, "log_depth": 7}

    model.order = order
    (result,) = model([{**given(modal, occlusion.T), "image": image}])
    assert (asked[0][0] == image.permute(1, 2, 0).numpy()).all() and (asked[0][1] == modal).all()
    found = result["instances"]
    assert result["log_depth"] == 7  # what else it says is passed on
    assert (found.occlusion.tensor.numpy() == occlusion).all()
    assert (found.depth.tensor.numpy() == depth).all()
    model.order = None
    assert (found.pred_amodal_masks.numpy() == completed(model, modal, occlusion)).all()
