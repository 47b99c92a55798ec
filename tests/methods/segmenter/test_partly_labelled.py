"""What is unlabelled is neither a thing nor background: anchors, proposals, mapper, whole model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

import occ_order.methods.build  # noqa: F401  (fills the registries)
from occ_order import masks
from occ_order.config import get_cfg, load_cfg
from occ_order.methods.build import build_mapper
from occ_order.methods.common.image_area import ImageArea
from occ_order.methods.segmenter.partly_labelled import Unlabelled

CONFIG = Path(__file__).resolve().parents[3] / "configs/Photos/segmenter_lite0_fpn.yaml"


# --- ImageArea


def area(num_instances=2):
    """The right half of an image of 4 x 8 pixels."""
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:, 4:] = True
    return ImageArea(mask, num_instances)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 4, 4), 0.0),
        ((4, 0, 8, 4), 1.0),
        ((2, 0, 6, 4), 0.5),
        ((3, 1, 7, 2), 0.75),
        ((0, 0, 8, 4), 0.5),
        ((-5, -5, 8, 9), 0.5),  # what lies outside does not count
        ((6, 2, 90, 90), 1.0),
        ((20, 0, 30, 4), 1.0),  # outside altogether: nothing is known there
        ((5, 1, 5, 3), 1.0),  # no pixel
        ((0.4, 0.2, 4.4, 3.6), 0.0),  # corners are rounded
    ],
)
def test_part_of_a_box_in_the_area(box, expected):
    assert area().fractions(torch.tensor([box], dtype=torch.float32)).tolist() == [expected]


def test_part_of_a_box_against_counting_pixels():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.random((30, 40)) < 0.3)
    corners = np.sort(rng.integers(0, 31, (50, 2, 2)), axis=1).reshape(50, 4)
    corners[:, 2:] += 1
    found = ImageArea(mask, 0).fractions(torch.from_numpy(corners).float())
    counted = [mask[y0:y1, x0:x1].float().mean() for x0, y0, x1, y1 in corners]
    torch.testing.assert_close(found, torch.stack(counted))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (torch.tensor([True, False]), 1),
        (torch.tensor([1, 1, 0]), 3),
        (slice(0), 0),
        (1, 1),
        ([], 0),
    ],
)
def test_it_goes_along_with_any_instances(chosen, expected):
    instances = Instances((4, 8), unlabelled=area())
    part = instances.unlabelled[chosen]
    assert len(part) == expected and part.mask is instances.unlabelled.mask
    assert len(instances.to("cpu").unlabelled) == 2


@pytest.mark.parametrize("wrong", [torch.zeros(4, 8), torch.zeros(1, 4, 8, dtype=torch.bool)])
def test_an_area_of_another_kind_is_refused(wrong):
    with pytest.raises(ValueError, match=r"an area must be bool \(H, W\)"):
        ImageArea(wrong, 1)


# --- which boxes are trained on

MATCHER = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)


def truth(unlabelled=None):
    """A thing in the left half of an image of 40 x 80, of which the right half is unlabelled."""
    if unlabelled is None:
        unlabelled = torch.zeros(40, 80, dtype=torch.bool)
        unlabelled[:, 40:] = True
    found = Instances((40, 80), gt_boxes=Boxes(torch.tensor([[10.0, 10.0, 30.0, 30.0]])))
    found.gt_classes = torch.tensor([0])
    mask = torch.zeros(1, *unlabelled.shape, dtype=torch.bool)
    mask[0, 10:30, 10:30] = True
    found.gt_masks = BitMasks(mask)
    found.unlabelled = ImageArea(unlabelled, 1)
    return found


BOXES = {
    "the thing": (10, 10, 30, 30),
    "background that is known": (0, 0, 8, 40),
    "unlabelled": (50, 5, 70, 35),
    "mostly known": (30, 0, 48, 40),
    "mostly unlabelled": (36, 0, 60, 40),
}


@pytest.mark.parametrize(
    ("rule", "left_out"),
    [
        (Unlabelled(), ["unlabelled", "mostly unlabelled"]),
        (Unlabelled(fraction=0.9), ["unlabelled"]),
        (Unlabelled(fraction=0.2), ["unlabelled", "mostly known", "mostly unlabelled"]),
        (Unlabelled(background_chance=1.0), []),
    ],
)
def test_background_on_unlabelled_area_is_left_out(rule, left_out):
    boxes = Boxes(torch.tensor(list(BOXES.values()), dtype=torch.float32))
    kept = rule.trained_on(boxes, truth(), MATCHER)
    assert [name for name, keep in zip(BOXES, kept, strict=True) if not keep] == left_out


def test_a_thing_counts_however_much_of_its_box_is_unlabelled():
    """A bicycle's box is mostly what is seen through it."""
    everything = truth(torch.ones(40, 80, dtype=torch.bool))
    boxes = Boxes(torch.tensor([[10.0, 10.0, 30.0, 30.0], [10.0, 10.0, 30.0, 20.0]]))
    assert Unlabelled().trained_on(boxes, everything, MATCHER).tolist() == [True, True]


def test_a_share_of_it_is_background_nevertheless():
    torch.manual_seed(0)
    boxes = [BOXES["the thing"], *[BOXES["unlabelled"]] * 4000]
    rule = Unlabelled(background_chance=0.25)
    first, *kept = rule.trained_on(Boxes(torch.tensor(boxes).float()), truth(), MATCHER).tolist()
    assert first and abs(np.mean(kept) - 0.25) < 0.03  # four standard deviations


def test_images_of_another_mapper_are_refused():
    plain = truth()
    plain.remove("unlabelled")
    with pytest.raises(ValueError, match="INPUT.MAPPER must be PartlyLabelledMapper"):
        Unlabelled().trained_on(Boxes(torch.zeros(1, 4)), plain, MATCHER)


# --- in Mask R-CNN


@pytest.fixture
def small_model(build_model):
    def small_model(chance=0.0):
        cfg = load_cfg(CONFIG)
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.TIMM.NAME = "mobilenetv3_small_050"
        cfg.MODEL.TIMM.NORM = "BN"
        cfg.MODEL.FPN.OUT_CHANNELS = 8
        cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
        cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
        cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
        cfg.MODEL.UNLABELLED.BACKGROUND_CHANCE = chance
        torch.manual_seed(0)
        return build_model(cfg)

    return small_model


def anchors_of(size=(40, 80)):
    """Anchors of 20 pixels every 4."""
    ys, xs = torch.meshgrid(*(torch.arange(0, s, 4.0) for s in size), indexing="ij")
    centres = torch.stack([xs, ys, xs, ys], dim=-1).reshape(-1, 4)
    return Boxes(centres + torch.tensor([-10.0, -10.0, 10.0, 10.0]))


def test_anchors_on_unlabelled_area_are_ignored_before_sampling(small_model):
    model = small_model()
    anchors = anchors_of()
    half = len(anchors) // 2
    labels, matched = model.proposal_generator.label_and_sample_anchors(
        [anchors[:half], anchors[half:]], [truth(), truth()]
    )
    for own, boxes in zip(labels, matched, strict=True):
        assert own.shape == (len(anchors),) and boxes.shape == (len(anchors), 4)
        assert (truth().unlabelled.fractions(anchors.tensor[own == 0]) <= 0.5).all()
        assert (own == 0).sum() > 50  # others than those are there, and sampled
        assert boxes[own == 1].tolist() == [[10.0, 10.0, 30.0, 30.0]] and (own == 1).sum() == 1


def test_with_every_chance_the_labels_are_detectron2s(small_model):
    from detectron2.modeling.proposal_generator import RPN

    rpn = small_model(chance=1.0).proposal_generator
    rpn.batch_size_per_image = 10**6  # all are sampled
    anchors = anchors_of()
    ours = rpn.label_and_sample_anchors([anchors], [truth()])
    theirs = RPN.label_and_sample_anchors(rpn, [anchors], [truth()])
    assert torch.equal(ours[0][0], theirs[0][0]) and torch.equal(ours[1][0], theirs[1][0])


def test_proposals_on_unlabelled_area_are_not_sampled(small_model):
    heads = small_model().roi_heads
    proposals = Instances((40, 80), proposal_boxes=anchors_of())
    proposals.objectness_logits = torch.zeros(len(proposals))
    with EventStorage() as storage:
        (found,) = heads.label_and_sample_proposals([proposals], [truth()])
        assert storage.latest()["roi_head/num_bg_samples"][0] > 0
    background = found[found.gt_classes == 1].proposal_boxes.tensor
    assert len(background) and (truth().unlabelled.fractions(background) <= 0.5).all()
    assert (found.gt_classes == 0).any()


def sample(unlabelled=True, empty=False):
    instances = truth(torch.full((40, 80), unlabelled))
    if empty:
        instances = instances[:0]
    return {"image": torch.zeros(3, 40, 80, dtype=torch.uint8), "instances": instances}


@pytest.mark.parametrize("empty", [False, True])
def test_nothing_known_but_the_things_is_no_error(empty, small_model):
    """All of the image is unlabelled; where nothing is labelled either, losses are 0."""
    model = small_model()
    with EventStorage():
        losses = model([sample(empty=empty), sample(empty=empty)])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    if empty:
        assert total.item() == 0


def test_an_object_without_label_is_not_taught_to_be_background(small_model):
    """The gradient of the objectness loss is zero where nothing is labelled."""

    def negatives(chance):
        model = small_model(chance)
        with EventStorage() as storage:
            model([sample(), sample()])
            return storage.latest()["rpn/num_neg_anchors"][0]

    assert negatives(0.0) == 0 and negatives(1.0) > 100


# --- the mapper


def record(image=None):
    """Two things, one of 3 pixels, a wall and a crowd in an image of 60 x 80."""
    parts = np.zeros((4, 60, 80), bool)
    parts[0, 10:30, 10:40] = True
    parts[1, 50, 50:53] = True
    parts[2, :8] = True
    parts[3, 40:60, :20] = True
    kinds = [{}, {}, {"is_stuff": 1}, {"iscrowd": 1}]
    return {
        "pixels": np.zeros((60, 80, 3), np.uint8) if image is None else image,
        "image_id": 3,
        "height": 60,
        "width": 80,
        "annotations": [
            {"id": k, "category_id": 5 + k, "segmentation": masks.encode(part), **kind}
            for k, (part, kind) in enumerate(zip(parts, kinds, strict=True))
        ],
        "occlusion": np.zeros((4, 4), np.int8),
    }, parts


def mapper(is_train=True, scale=(1.0, 1.0), size=(60, 80), flip="none", **more):
    cfg = get_cfg()
    cfg.INPUT.MAPPER = "PartlyLabelledMapper"
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    cfg.INPUT.RANDOM_FLIP = flip
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE = list(size)
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = list(scale)
    cfg.INPUT.MIN_SIZE_TEST = 0
    for key, value in more.items():
        cfg.INPUT[key] = value
    return build_mapper(cfg, is_train=is_train)


def test_things_are_of_one_class_and_the_rest_is_unlabelled():
    entry, parts = record()
    found = mapper()(entry)["instances"]
    assert len(found) == 1 and found.gt_classes.tolist() == [0]
    assert found.gt_boxes.tensor.tolist() == [[10.0, 10.0, 40.0, 30.0]]
    assert np.array_equal(found.gt_masks.tensor[0], parts[0])
    assert np.array_equal(found.unlabelled.mask, ~parts[0])


def test_stuff_may_be_background_but_crowds_never_are():
    entry, parts = record()
    found = mapper(STUFF_IS_UNLABELLED=False)(entry)["instances"]
    assert np.array_equal(found.unlabelled.mask, ~(parts[0] | parts[2]))


def test_small_things_are_kept_where_nothing_is_learned():
    found = mapper(is_train=False)(record()[0])["instances"]
    assert len(found) == 2 and len(found.unlabelled) == 2


@pytest.mark.parametrize("annotations", [[], [2, 3]])
def test_an_image_without_things(annotations):
    entry, _ = record()
    entry["annotations"] = [entry["annotations"][k] for k in annotations]
    del entry["occlusion"]
    found = mapper()(entry)["instances"]
    assert len(found) == 0 and found.unlabelled.mask.all() and found.gt_masks.tensor.shape[0] == 0


def test_the_record_stays_as_it_is():
    entry, _ = record()
    mapper()(entry)
    assert len(entry["annotations"]) == 4 and "occlusion" in entry


def test_an_annotation_without_a_mask_is_named():
    entry, _ = record()
    del entry["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match="image 3: an annotation has no segmentation"):
        mapper()(entry)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_masks_move_together(seed):
    """A thing that is the only white in the image stays where the image is white."""
    entry, parts = record()
    entry["pixels"][parts[0]] = 255
    np.random.seed(seed)
    result = mapper(scale=(0.5, 2.0), flip="horizontal", COLOR_JITTER=0.0)(entry)
    assert result["image"].shape[1] <= 60 and result["image"].shape[2] <= 80
    white = result["image"][0].numpy() > 127
    for mask in result["instances"].gt_masks.tensor.numpy():
        assert (mask ^ white).sum() <= 0.1 * white.sum()  # its rim


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_colors_change_as_often_as_asked_for_and_the_record_does_not(probability):
    noise = np.random.default_rng(0).integers(60, 180, (60, 80, 3), dtype=np.uint8)
    entry, parts = record(noise.copy())
    np.random.seed(0)
    result = mapper(COLOR_JITTER=probability)(entry)
    changed = not np.array_equal(result["image"].permute(1, 2, 0), noise)
    assert changed == (probability == 1.0) and np.array_equal(entry["pixels"], noise)
    assert np.array_equal(result["instances"].gt_masks.tensor[0], parts[0])


# --- training


def test_the_shipped_settings_train_every_weight(build_model):
    cfg = load_cfg(CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE, cfg.INPUT.MIN_SIZE_TEST = [96, 128], 96
    torch.manual_seed(0)
    model = build_model(cfg)
    entry, _ = record()
    batch = [build_mapper(cfg, is_train=True)(entry) for _ in range(2)]
    with EventStorage():
        sum(model(batch).values()).backward()
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    size = sum(value.numel() for value in model.state_dict().values())
    assert 2 * size < 15e6  # bytes in float16
    with torch.no_grad():
        (found,) = model.eval()([build_mapper(cfg, is_train=False)(entry)])
    assert found["instances"].image_size == (60, 80)
