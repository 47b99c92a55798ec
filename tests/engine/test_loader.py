"""The loader of training images: the same sequence again, whatever interrupts it."""

from __future__ import annotations

import json
import logging
import random

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from occ_order.config import get_cfg
from occ_order.engine import loader


def records(number=11):
    return [
        {"file_name": f"{k}.png", "image_id": k, "width": 3 + k % 2, "height": 3, "annotations": []}
        for k in range(number)
    ]


def sample(record):
    """The image and three random numbers, as an augmentation would draw them."""
    draws = (random.random(), float(np.random.rand()), torch.rand(1).item())
    return {"image_id": record["image_id"], "draws": draws}


def batches(number, *, skip=None, **options):
    made = loader.TrainLoader(records(), sample, batch_size=3, seed=5, **options)
    if skip is not None:
        made.load_state_dict(skip)
    found = iter(made)
    return [next(found) for _ in range(number)], made.state_dict()


@pytest.mark.parametrize("grouping", [False, True])
def test_the_loader_goes_on_where_it_stopped(grouping):
    options = {"aspect_ratio_grouping": grouping}
    whole, _ = batches(20, **options)
    for stop in (0, 1, 7, 13):
        _, state = batches(stop, **options)
        rest, _ = batches(20 - stop, skip=json.loads(json.dumps(state)), **options)
        assert rest == whole[stop:]
    if grouping:
        assert all(len({item["image_id"] % 2 for item in batch}) == 1 for batch in whole)
    assert {item["image_id"] for batch in whole for item in batch} == set(range(11))


def test_samples_do_not_depend_on_the_number_of_workers():
    assert batches(6)[0] == batches(6, num_workers=2)[0]


def test_the_loader_leaves_the_global_generators_alone():
    torch.manual_seed(1), np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1), np.random.seed(1)
    batches(4)
    assert (torch.rand(1), np.random.rand()) == expected


def test_another_batch_size_goes_on_after_as_many_images(caplog):
    state = {"seed": 5, "batches": 8, "batch_size": 6, "num_images": 11}
    _, after = batches(0, skip=state)
    assert after["batches"] == 16
    assert "batch_size was 6 and is 3" in caplog.text


def test_unreadable_images_are_skipped_and_counted_when_asked_for(caplog):
    def broken(record):
        if record["image_id"] in (2, 5):
            raise OSError(f"{record['file_name']}: image file is truncated")
        return sample(record)

    def run(**options):
        made = loader.TrainLoader(records(), broken, batch_size=3, seed=5, **options)
        found = iter(made)
        return [next(found) for _ in range(11)], made.skipped

    with pytest.raises(ValueError, match=r"image (\d): cannot read \1.png .*truncated"):
        run()
    seen, skipped = run(skip_unreadable=True)
    assert skipped >= 6
    assert not {2, 5} & {item["image_id"] for batch in seen for item in batch}
    assert "Skipped an image, the 1. one: image " in caplog.text
    assert run(skip_unreadable=True, num_workers=2) == (seen, skipped)


def test_a_folder_without_any_readable_image_is_an_error():
    def broken(record):
        raise OSError(record["file_name"])

    made = loader.TrainLoader(records(), broken, batch_size=1, seed=5, skip_unreadable=True)
    with pytest.raises(ValueError, match="100 images in a row could not be used"):
        next(iter(made))


def test_the_loader_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no images"):
        loader.TrainLoader([], sample, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="batch size 0"):
        loader.TrainLoader(records(), sample, batch_size=0, seed=0)
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    with pytest.raises(ValueError, match="must be TrainingSampler.*got 'RandomSubsetTraining"):
        loader._sampler_maker(cfg, {"all": records()})


def test_images_come_as_often_as_their_data_set_is_weighted():
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "WeightedTrainingSampler"
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [["few", 3.0]]
    parts = {"many": records()[:8], "few": records()[:2]}
    sampler = loader._sampler_maker(cfg, parts)(5)
    drawn = [index for index, _ in zip(sampler, range(14), strict=False)]  # one round: 8 + 3 * 2
    assert sorted(drawn) == [*range(8), *([8] * 3), *([9] * 3)]
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [["fw", 3.0]]
    with pytest.raises(ValueError, match=r"names \['fw'\], but DATASETS.TRAIN is"):
        loader._sampler_maker(cfg, parts)


def test_data_sets_of_other_classes_are_named(caplog):
    for name, classes in (("same_a", ["cup"]), ("same_b", ["cup"]), ("other_c", ["dog"])):
        MetadataCatalog.get(name).thing_classes = classes
    caplog.set_level(logging.WARNING)
    loader._compare_classes(["same_a", "same_b"])
    assert not caplog.records
    loader._compare_classes(["same_a", "same_b", "other_c"])
    assert "same_a and other_c differ in classes" in caplog.text


def test_records_in_blocks_are_those_of_the_data_set(monkeypatch):
    """In the order of the data set, without images that show nothing, counted by class."""
    kinds = [[(0, 0)], [], [(2, 0), (0, 0)], [(1, 1)], [(1, 0), (1, 1)]]
    known = [
        {"image_id": k, "annotations": [{"category_id": c, "iscrowd": i} for c, i in kind]}
        for k, kind in enumerate(kinds)
    ]
    DatasetCatalog.register("five_in_blocks", lambda: known)
    MetadataCatalog.get("five_in_blocks").thing_classes = ["cup", "dog", "hat"]
    monkeypatch.setattr(loader, "BLOCK", 2)
    try:
        for filtered, left in ((True, [0, 2, 4]), (False, [0, 1, 2, 3, 4])):
            found, counted = loader.serialized("five_in_blocks", filter_empty=filtered)
            assert [found[k] for k in range(len(found))] == [known[k] for k in left]
            assert [c["annotations"] for c in counted] == [known[k]["annotations"] for k in left]
        known[:] = known[1:2]
        with pytest.raises(ValueError, match="'five_in_blocks' has no images to train on"):
            loader.serialized("five_in_blocks", filter_empty=True)
    finally:
        DatasetCatalog.remove("five_in_blocks")
        MetadataCatalog.remove("five_in_blocks")
