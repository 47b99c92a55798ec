"""Networks, losses, pair matrices: rows 6, 13, 14, 15, 28 and 29 of the table of bad input."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from detectron2.modeling import build_model  # noqa: E402
from detectron2.structures import Boxes, Instances  # noqa: E402

import occ_order.methods.build  # noqa: E402, F401  (fills the registries)
from occ_order.config import get_cfg  # noqa: E402
from occ_order.methods.build import build_mapper  # noqa: E402
from occ_order.methods.common import pair_labels as labels  # noqa: E402
from occ_order.methods.common import pair_losses as pairwise  # noqa: E402
from occ_order.methods.common.pair_matrix import PairMatrix  # noqa: E402
from occ_order.methods.instadepth import losses as disparity  # noqa: E402
from occ_order.methods.oosis import losses as oosis  # noqa: E402
from occ_order.methods.sln import losses as layering  # noqa: E402

# --- row 6: losses of nothing


def nothing():
    """(name, loss, its input) where there is no pair, no pixel or no region to look at."""

    def grad(*shape):
        return torch.zeros(shape, requires_grad=True)

    ones = torch.full((4,), -1)
    x = grad(0, 2)
    yield "no pairs", pairwise.occlusion_loss(x, torch.zeros(0, 2)), x
    x = grad(4, 2)
    yield "all unknown", pairwise.occlusion_loss(x, torch.full((4, 2), -1.0)), x
    x = grad(4, 3)
    yield "unknown relations", pairwise.class_loss(x, ones), x
    x = grad(0, 3)
    none = torch.zeros(0, dtype=torch.long)
    yield "no depth pairs", pairwise.depth_loss(x, none, none), x
    x = grad(4, 3)
    yield "unknown depth", pairwise.depth_loss(x, ones, ones), x
    x = grad(1, 3, 4, 5)
    semantic = torch.full((1, 4, 5), oosis.IGNORE)
    yield "all void", oosis.semantic_loss(x, semantic), x
    x, off = grad(1, 4, 5), torch.zeros(1, 4, 5)
    yield "no boundary pixel counts", oosis.boundary_loss(x, off, off > 0), x
    x = grad(1, 4, 4, 5)
    yield "no direction", oosis.orientation_loss(x, off, torch.zeros(1, 4, 4, 5), off > 0), x
    x = grad(0, 4, 6, 6)
    yield "no region", layering.instance_layering_loss(x, torch.zeros(0, 6, 6).long()), x
    x, empty = grad(0, 4, 5), torch.zeros(0, 4, 5, dtype=torch.bool)
    loss = disparity.instance_disparity_loss(x, empty, empty, torch.zeros(0).long())
    yield "no pair of instances", loss.sum(), x
    x = grad(0, 4, 5)
    yield "no image", disparity.smoothness_loss(x, torch.zeros(0, 3, 4, 5)), x


@pytest.mark.parametrize("case", [case[0] for case in nothing()])
def test_row_06_a_loss_of_nothing_is_a_zero_with_a_gradient(case):
    loss, x = next(rest for name, *rest in nothing() if name == case)
    assert loss.item() == 0 and loss.requires_grad
    loss.backward()
    assert x.grad is not None and torch.equal(x.grad, torch.zeros_like(x))


def test_row_06_only_negatives_and_only_positives_are_no_special_case():
    logits = torch.tensor([[3.0, -3.0]], requires_grad=True)
    for target in ([[0.0, 0.0]], [[1.0, 1.0]], [[1.0, -1.0]]):
        loss = pairwise.occlusion_loss(logits, torch.tensor(target))
        assert loss.isfinite() and loss > 0


# --- row 13: the mapper keeps order and masks together


def scene_record(seed=0):
    from occ_order.scenes import generate, to_record

    return to_record(generate(seed, size=(40, 56), num_instances=(4, 4)), image_id=1, file_name="")


def mapped(flip, crop=False, boxes="modal"):
    cfg = get_cfg()
    cfg.INPUT.MAPPER, cfg.INPUT.BOXES = "InstanceOrderMapper", boxes
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (40,), "none"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop, "absolute", [12, 12]
    mapper = build_mapper(cfg, is_train=True)
    if flip:
        from detectron2.data import transforms as T

        mapper.augmentations.augs.append(T.RandomFlip(prob=1.0))
    np.random.seed(0)
    record = scene_record()
    record["pixels"] = np.zeros((40, 56, 3), np.uint8)
    for number, annotation in enumerate(record["annotations"]):
        annotation["category_id"] = number
    return mapper({key: value for key, value in record.items() if key != "file_name"})["instances"]


def test_row_13_a_flip_moves_masks_and_leaves_the_order():
    plain, flipped = mapped(False), mapped(True)
    assert torch.equal(flipped.gt_masks.tensor, plain.gt_masks.tensor.flip(2))
    assert torch.equal(flipped.gt_amodal_masks.tensor, plain.gt_amodal_masks.tensor.flip(2))
    for key in ("gt_occlusion", "gt_depth", "gt_overlap", "gt_count"):
        assert torch.equal(flipped.get(key).tensor, plain.get(key).tensor)


def test_row_13_a_crop_drops_rows_and_columns_together():
    whole, part = mapped(False), mapped(False, crop=True)
    assert 0 < len(part) < len(whole)
    # The class is the instance's number here, so it says which ones were kept.
    kept = part.gt_classes
    for key in ("gt_occlusion", "gt_depth", "gt_overlap", "gt_count"):
        assert torch.equal(part.get(key).tensor, whole.get(key).tensor[kept][:, kept])


# --- row 14: PairMatrix


def matrix(n=4):
    return PairMatrix(torch.arange(n * n).reshape(n, n))


ITEMS = [
    slice(1, 3), slice(None, None, 2), [2, 0], torch.tensor([3, 3, 1]),
    torch.tensor([True, False, True, True]), [], slice(0, 0),
]  # fmt: skip


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_row_14_rows_and_columns_move_together(item):
    chosen = np.arange(4)[item.numpy() if isinstance(item, torch.Tensor) else item].astype(int)
    expected = matrix().tensor.numpy()[np.ix_(chosen, chosen)]
    np.testing.assert_array_equal(matrix()[item].tensor.numpy(), expected)


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_row_14_and_so_they_do_in_instances(item):
    instances = Instances((5, 5))
    instances.gt_boxes, instances.order = Boxes(torch.zeros(4, 4)), matrix()
    if isinstance(item, list):
        item = torch.tensor(item, dtype=torch.long)
    part = instances[item]
    assert part.order.tensor.shape == (len(part), len(part))
    assert torch.equal(part.order.tensor, matrix()[item].tensor)


def test_row_14_integers_copies_devices_and_joining():
    assert matrix()[2].tensor.tolist() == [[10]] and matrix()[-1].tensor.tolist() == [[15]]
    with pytest.raises(IndexError):
        matrix()[4]
    copied = copy.deepcopy(matrix())
    copied.tensor[0, 0] = 77
    assert matrix().tensor[0, 0] == 0
    moved = matrix().to("cpu", torch.float32)
    assert moved.tensor.dtype == torch.float32 and moved.device.type == "cpu"
    joined = PairMatrix.cat([matrix(2), PairMatrix.empty(dtype=torch.int64), matrix(1)])
    assert joined.tensor.tolist() == [[0, 1, -1], [2, 3, -1], [-1, -1, 0]]
    both = [Instances((5, 5)), Instances((5, 5))]
    for part in both:
        part.order = matrix(2)
    assert Instances.cat(both).order.tensor.shape == (4, 4)
    assert (Instances.cat(both).order.tensor[:2, 2:] == -1).all()
    with pytest.raises(ValueError, match=r"\(N, N, ...\), got \(2, 3\)"):
        PairMatrix(torch.zeros(2, 3))


# --- row 15: a pair and its mirror


@pytest.mark.parametrize("seed", range(5))
def test_row_15_both_directions_give_transposed_matrices(seed):
    """Swapping which instance is asked first, for every pair, changes nothing at all."""
    torch.manual_seed(seed)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
    back = torch.cat([torch.arange(3, 6), torch.arange(3)])
    for channels, average, matrices in (
        (2, labels.average_occlusion, labels.occlusion_matrices),
        (3, labels.average_depth, labels.depth_matrices),
        (3, labels.average_relation, labels.relation_matrices),
        (4, labels.average_relation, labels.relation_matrices),
    ):
        logits = torch.randn(6, channels)
        one = matrices(average(logits), pairs, 3)
        other = matrices(average(logits[back]), pairs.flip(1), 3)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_row_15_equal_depth_is_symmetric_and_closer_is_not():
    logits = torch.randn(6, 3)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
    depth, probability = labels.depth_matrices(labels.average_depth(logits), pairs, 3)
    off = ~torch.eye(3, dtype=torch.bool)
    assert torch.equal((depth == 2), (depth == 2).T)
    assert torch.equal((depth == 1) & off, ((depth == 0) & off).T)
    assert torch.equal(probability[..., 0], probability[..., 1].T)
    assert torch.equal(probability[..., 2], probability[..., 2].T)


# --- row 28: many instances


def small_pair_net(pairs_per_batch):
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "PairwiseOrderNet"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.RESNETS.NORM = "build_mini_resnet_backbone", "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    cfg.MODEL.MINI_RESNET.WIDTH, cfg.MODEL.MINI_RESNET.BLOCKS = 2, [1, 1, 1, 1]
    cfg.MODEL.PAIRWISE.INPUT_SIZE = 32
    cfg.MODEL.PAIRWISE.PAIRS_PER_BATCH = pairs_per_batch
    return build_model(cfg).eval()


def crowd(count, size):
    instances = Instances((size, size))
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for k in range(count):
        y, x = k * 7 % (size - 6), k * 13 % (size - 6)
        masks[k, y : y + 5, x : x + 5] = True
    instances.pred_masks, instances.pred_classes = masks, torch.zeros(count, dtype=torch.long)
    instances.scores = torch.ones(count)
    return {"image": torch.zeros(3, size, size), "height": size, "width": size,
            "instances": instances}  # fmt: skip


def test_row_28_pairs_go_through_the_network_in_batches():
    model = small_pair_net(pairs_per_batch=150)
    calls = []
    model.classifier.register_forward_hook(
        lambda module, inputs, output: calls.append(len(inputs[0]))
    )
    (answer,) = model([crowd(25, 64)])
    assert answer["instances"].occlusion.tensor.shape == (25, 25)
    assert sum(calls) in (300, 600)  # one direction or both
    assert len(calls) == 2 and max(calls) <= 300  # not one call per pair, and not all at once


def test_row_28_batches_do_not_change_the_answer():
    torch.manual_seed(0)
    one, other = small_pair_net(7), small_pair_net(64)
    other.load_state_dict(one.state_dict())
    (a,), (b,) = one([crowd(9, 64)]), other([crowd(9, 64)])
    first, second = (x["instances"].occlusion_probability.tensor for x in (a, b))
    torch.testing.assert_close(first, second)


# --- row 29: export


class Plain(torch.nn.Module):
    """A classifier whose answer is a tuple, which every format can hold."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, x):
        answers = self.classifier(x)
        return tuple(answers[key] for key in sorted(answers))


def test_row_29_the_traced_network_is_the_network_at_other_sizes():
    model = Plain(small_pair_net(32).classifier).eval()
    channels = next(model.parameters()).shape[1]
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.rand(2, channels, 32, 32))
        for shape in ((1, channels, 32, 32), (7, channels, 32, 32), (3, channels, 48, 64)):
            x = torch.rand(shape)
            for ours, theirs in zip(model(x), traced(x), strict=True):
                torch.testing.assert_close(ours, theirs)
