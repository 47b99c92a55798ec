"""What the network sees of a pair."""

from __future__ import annotations

import pytest
import torch

from occ_order.methods.common.pair_crops import crop_masks, mask_boxes, pair_squares
from occ_order.methods.instaorder.inputs import PairInputs
from occ_order.order.pairs import all_pairs

MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]


@pytest.fixture
def make(on_device, moved):
    """Makes the module, ready to predict unless `train`."""

    def inputs(train: bool = False, **options) -> PairInputs:
        settings = {
            "planes": ("masks", "image"),
            "mode": "crop",
            "size": 32,
            "category_encoding": "none",
            "category_ids": [1, 7, 13, 44, 90],
            "embedding_dim": 3,
            "pixel_mean": MEAN,
            "pixel_std": STD,
        }
        module = on_device(PairInputs(**{**settings, **options})).train(train)
        scene = module.scene
        module.scene = lambda image, instances: scene(moved(image), moved(instances))
        return module

    return inputs


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)


PAIRS = torch.from_numpy(all_pairs(4))


@pytest.mark.parametrize(
    ("planes", "encoding", "channels"),
    [
        (("masks", "image"), "none", 5),
        (("masks",), "none", 2),
        (("masks",), "raw", 2),
        (("masks", "image"), "raw", 5),
        (("masks",), "embedding", 8),
        (("masks", "image"), "embedding", 11),
        (("maps",), "none", 2),
        (("masks", "maps", "image"), "none", 7),
    ],
)
@pytest.mark.parametrize("mode", ["crop", "resize"])
def test_channels_of_every_input(make, given, pixels, planes, encoding, channels, mode):
    module, instances = make(planes=planes, category_encoding=encoding, mode=mode), given(4)
    instances.maps = torch.rand(4, 40, 50)
    scene = module.scene(pixels, instances)
    found = module(scene, PAIRS)
    assert module.channels == channels
    assert found.shape == (2 * len(PAIRS), channels, 32, 32)
    assert found.isfinite().all()


def test_the_order_of_channels(make, given, pixels):
    module, instances = make(), given(4)
    found = module(module.scene(pixels, instances), PAIRS)
    squares = pair_squares(mask_boxes(instances.pred_masks), PAIRS)
    masks = instances.pred_masks.float()
    torch.testing.assert_close(found[:6, 0], crop_masks(masks, PAIRS[:, 0], squares, 32))
    torch.testing.assert_close(found[:6, 1], crop_masks(masks, PAIRS[:, 1], squares, 32))
    # Outside the image: black, then normalised.
    corner = squares[:, 0] < 0
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    assert corner.any()
    torch.testing.assert_close(found[:6][corner][:, 2:, 0, 0], black.expand(corner.sum(), 3))


@pytest.mark.parametrize("encoding", ["none", "raw", "embedding"])
@pytest.mark.parametrize("mode", ["crop", "resize"])
def test_the_reversed_pair_is_asked_with_its_masks_swapped(make, given, pixels, mode, encoding):
    module, instances = make(mode=mode, category_encoding=encoding), given(4)
    scene = module.scene(pixels, instances)
    straight, turned = module(scene, PAIRS), module(scene, PAIRS.flip(1))
    assert torch.equal(straight[6:], turned[:6])
    assert torch.equal(straight[:6], turned[6:])
    assert not torch.equal(straight[:6], straight[6:])


def test_raw_ids_are_the_value_of_the_mask(make, given, pixels):
    instances = given(4)
    plain, raw = make(mode="resize"), make(mode="resize", category_encoding="raw")
    plain = plain(plain.scene(pixels, instances), PAIRS)
    coded = raw(raw.scene(pixels, instances), PAIRS)
    ids = torch.tensor([1.0, 7, 13, 44, 90])[instances.pred_classes]
    torch.testing.assert_close(coded[:6, 0], plain[:6, 0] * ids[PAIRS[:, 0], None, None])
    torch.testing.assert_close(coded[:6, 1], plain[:6, 1] * ids[PAIRS[:, 1], None, None])
    assert torch.equal(coded[:, 2:], plain[:, 2:])


def test_an_embedding_fills_the_mask_and_is_trained(make, moved, given, pixels):
    module, instances = make(category_encoding="embedding", train=True), given(4)
    found = module(module.scene(pixels, instances), PAIRS)
    vector = module.embedding(moved(instances.pred_classes[PAIRS[:, 0]])).cpu()
    expected = found[:6, :1] * vector[:, :, None, None]
    torch.testing.assert_close(found[:6, 2:8:2], expected)
    found.sum().backward()
    assert module.embedding.weight.grad.any()


def test_crops_agree_in_training_and_test(make, given, pixels):
    module, instances = make(train=True), given(4)
    train = module(module.scene(pixels, instances), PAIRS)
    module.eval()
    assert torch.equal(train, module(module.scene(pixels, instances), PAIRS))


def test_double_expansion_is_for_test_only(make, given, pixels):
    module, instances = make(double_expansion=True), given(4)
    test = module(module.scene(pixels, instances), PAIRS)
    plain = make()
    assert not torch.equal(test, plain(plain.scene(pixels, instances), PAIRS))
    boxes = mask_boxes(instances.pred_masks)
    squares = pair_squares(boxes, PAIRS, expand_first=True)
    expected = crop_masks(instances.pred_masks.float(), PAIRS[:, 0], squares, 32)
    assert torch.equal(test[:6, 0], expected)
    module.train()
    train = module(module.scene(pixels, instances), PAIRS)
    assert torch.equal(train, plain(plain.scene(pixels, instances), PAIRS))


def test_cubic_resize_is_for_test_only(make, given, pixels):
    module, instances = make(mode="resize", cubic_resize=True), given(2)
    test = module.scene(pixels, instances).image
    module.train()
    train = module.scene(pixels, instances).image
    assert not torch.equal(test, train)
    assert test.min() >= 0 and test.max() <= 255 and torch.equal(test, test.round())


def test_maps_are_those_of_the_instances(make, given, pixels):
    module, instances = make(planes=("maps",), mode="resize", size=40), given(3)
    instances.maps = torch.arange(3.0)[:, None, None].expand(3, 40, 50)
    found = module(module.scene(None, instances), torch.tensor([[0, 2]]))
    assert found.mean((2, 3)).tolist() == [[0, 2], [2, 0]]


def test_no_pair_and_no_instance(make, given, pixels):
    for mode in ("crop", "resize"):
        module = make(mode=mode, category_encoding="embedding")
        for count in (0, 1):
            scene = module.scene(pixels, given(count))
            assert module(scene, torch.from_numpy(all_pairs(count))).shape == (0, 11, 32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planes": ("image",)}, "inputs must be"),
        ({"planes": ("masks", "depth")}, "inputs must be"),
        ({"mode": "patch"}, "mode must be one of"),
        ({"category_encoding": "onehot"}, "category encoding must be one of"),
    ],
)
def test_unknown_choices(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_class_without_an_id(make, given, pixels):
    module, instances = make(category_encoding="raw"), given(2)
    instances.pred_classes[1] = 5
    with pytest.raises(ValueError, match="classes must be 0 .. 4"):
        module.scene(pixels, instances)
