"""Pairs and crops that come out of the mapper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from occ_order.methods.build import build_mapper


@pytest.fixture
def mapper(cfg):
    """Makes the mapper."""

    def make(is_train: bool = True, **sampler):
        cfg.INPUT.MAPPER = "PairMapper"
        for key, value in sampler.items():
            setattr(cfg.MODEL.PAIRWISE.SAMPLER, key, value)
        return build_mapper(cfg, is_train=is_train)

    return make


def test_training_samples_pairs_with_jitter(mapper, records):
    found = mapper(PAIRS_PER_IMAGE=6)(records(1)[0])
    assert found["pairs"].shape == (6, 2) and found["pairs"].dtype == torch.int64
    assert found["jitter"].shape == (6, 3) and (found["jitter"][:, 2] >= 0.8).all()
    assert found["image"].shape == (3, 48, 64) and len(found["instances"]) == 4


def test_every_annotated_pair(mapper, records):
    pairs = mapper(NAME="all")(records(1)[0])["pairs"]
    assert np.sort(pairs, 1).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_an_image_without_occlusion_is_passed_over(mapper, records):
    record = records(1)[0]
    record["occlusion"] = np.zeros((4, 4), np.int8)
    assert mapper()(record) is None
    assert mapper(NAME="depth")(record)["pairs"].shape == (1, 2)


def test_training_without_bidirectional_pairs(mapper, records, cfg):
    """InstaOrder, Table A1: the upper half is trained and tested without bidirectional pairs."""
    record = records(1)[0]
    record["occlusion"] = np.array(
        [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.int8
    )
    before = record["occlusion"].copy()
    cfg.MODEL.PAIRWISE.BIDIRECTIONAL = False
    without = mapper(PAIRS_PER_IMAGE=200)
    found = without(record)
    pairs = np.sort(found["pairs"], 1)
    assert not (pairs == [0, 1]).all(1).any() and (pairs == [1, 2]).all(1).any()
    assert found["instances"].gt_occlusion.tensor[0, 1] == -1
    assert np.array_equal(record["occlusion"], before)
    record["occlusion"][1, 2] = 0
    assert without(record) is None  # there was only the bidirectional pair
    cfg.MODEL.PAIRWISE.BIDIRECTIONAL = True
    both = mapper(PAIRS_PER_IMAGE=200)(record)
    assert (np.sort(both["pairs"], 1) == [0, 1]).all(1).any()


def test_tests_keep_bidirectional_pairs(mapper, records, cfg):
    """The scores without them are taken beside those with them, of one run."""
    cfg.MODEL.PAIRWISE.BIDIRECTIONAL = False
    record = records(1)[0]
    record["occlusion"] = 1 - np.eye(4, dtype=np.int8)
    found = mapper(is_train=False)(record)
    assert (found["instances"].gt_occlusion.tensor >= 0).all()


def test_nothing_is_sampled_at_test_time(mapper, records):
    found = mapper(is_train=False)(records(1)[0])
    assert "pairs" not in found and len(found["instances"]) == 4


def test_unknown_sampler_is_refused(mapper):
    with pytest.raises(ValueError, match="SAMPLER.NAME must be one of"):
        mapper(NAME="some")
