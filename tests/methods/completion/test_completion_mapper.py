"""Training samples of the completion network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from occ_order import masks as mask_tools
from occ_order.engine.checkpoint import seeded
from occ_order.methods.build import build_mapper
from occ_order.methods.completion import views
from occ_order.methods.completion.occluders import HIDDEN, placed_occluder
from tests.methods.completion.conftest import discs, record

CHANNELS = views.CHANNELS


def samples(cfg, one: dict, seed: int = 0, **options) -> np.ndarray | None:
    for name, value in options.items():
        setattr(cfg.INPUT.COMPLETION, name, value)
    mapper = build_mapper(cfg, is_train=True)
    with seeded(seed):
        result = mapper(one)
    return None if result is None else result["completion"].numpy()


def test_what_is_annotated_as_whole_is_asked_where_it_may_be_hidden(cfg):
    modal, amodal, occlusion = discs()
    found = samples(cfg, record(modal, amodal, occlusion), PASTE=0.0)
    assert found.shape == (2, CHANNELS + 2, 16, 16) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    squares = {
        k: views.view_square(
            mask_tools.bounding_box(modal[k]), mask_tools.bounding_box(modal[k - 1])[None]
        )
        for k in (1, 2)
    }
    for k, square in squares.items():
        # Which comes first, and which way round it is shown, is a matter of chance.
        own = views.crop(modal[k], square, 16)
        one = min(
            (v for sample in found for v in (sample, sample[:, :, ::-1])),
            key=lambda sample: np.abs(sample[0] - own).sum(),
        )
        assert np.abs(one[0] - own).max() < 1e-6
        share, known = one[CHANNELS:]
        assert np.allclose(known, views.crop(modal[k - 1], square, 16))
        hidden = views.crop(amodal[k] & modal[k - 1], square, 16)
        assert np.allclose(share * known, hidden, atol=1e-6) and hidden.sum() > 5
        # The front disc is said to hide it, with any chance above 0.8.
        inside = known == 1
        assert (one[1][inside] >= 0.8).all() and len(np.unique(one[1][inside])) == 1


def test_without_a_whole_mask_only_what_was_pasted_is_asked(cfg):
    modal, _, occlusion = discs()
    plain = record(modal, occlusion=occlusion)
    assert samples(cfg, plain, PASTE=0.0) is None
    seen = 0
    for seed in range(4):
        found = samples(cfg, plain, seed, PASTE=1.0, BESIDE=0.0, TARGETS=3)
        for own, *_, share, known in [] if found is None else found:
            seen += 1
            # Something of it was taken away, and is to be given back, nothing else.
            assert known.max() > 0.5 and (share * known).sum() > 0
            assert (own * known).max() < 0.6  # never where the instance itself is seen
    assert seen >= 6


def test_what_lies_behind_hides_nothing(cfg):
    modal, _, _ = discs()
    seen = 0
    for seed in range(4):
        found = samples(cfg, record(modal), seed, PASTE=1.0, BESIDE=1.0, TARGETS=3)
        for _, hiding, *_, share, known in [] if found is None else found:
            seen += 1
            assert not share.any() and known.any() and hiding.any()
    assert seen >= 6


def test_noise_leaves_all_in_range(cfg):
    modal, amodal, occlusion = discs()
    options = {"MASK_NOISE": 1.0, "ORDER_NOISE": 1.0, "SHIFT": 0.3, "SCALE": 2.0, "STRIDE": 2}
    found = samples(cfg, record(modal, amodal, occlusion), PASTE=0.5, **options)
    assert found.min() >= 0 and found.max() <= 1 and found[:, -1].any((1, 2)).all()


def test_the_same_seed_gives_the_same_samples(cfg):
    modal, amodal, occlusion = discs()
    one = record(modal, amodal, occlusion)
    first, again, other = (samples(cfg, one, seed, SHIFT=0.2) for seed in (1, 1, 2))
    assert (first == again).all() and (first.shape != other.shape or (first != other).any())


@pytest.mark.parametrize("count", [0, 1])
def test_an_image_with_nothing_to_complete_is_passed_over(cfg, count):
    one = record(np.zeros((count, 20, 30), bool))
    assert samples(cfg, one) is None


def test_at_test_time_the_image_and_its_instances_come_back(cfg):
    modal, amodal, occlusion = discs()
    result = build_mapper(cfg, is_train=False)(record(modal, amodal, occlusion))
    assert (result["instances"].gt_masks.tensor.numpy() == modal).all()
    assert torch.equal(
        result["instances"].gt_occlusion.tensor, torch.from_numpy(occlusion).to(torch.int8)
    )


def test_an_occluder_hides_a_part():
    rng = np.random.default_rng(0)
    target, shape = discs()[1][1], np.ones((5, 9), np.uint8)
    placed = [placed_occluder(target, shape, rng) for _ in range(20)]
    shares = [(mask & target).sum() / target.sum() for mask in placed if mask is not None]
    assert len(shares) > 15 and HIDDEN[0] <= min(shares) and max(shares) <= HIDDEN[1]
    assert len({round(share, 2) for share in shares}) > 10
    # Of a single pixel none or all is hidden.
    assert placed_occluder(np.eye(1, dtype=bool), shape, rng) is None
