"""The network for input masks, end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances, PolygonMasks

import occ_order.methods.build  # noqa: F401  (fills the registries)
from occ_order.config import get_cfg
from occ_order.methods.build import build_mapper
from occ_order.methods.common.input_masks import input_instances
from occ_order.methods.common.input_masks_evaluator import GivenMaskOrder
from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.methods.instaorder.order_net import PairwiseOrderNet

FIELDS = ("occlusion", "occlusion_probability", "depth", "depth_probability")
ALL_TASKS = [["occlusion"], ["depth"], ["occlusion", "depth"], ["relation"], ["relation", "depth"]]


@pytest.fixture
def build(on_device):
    def build(cfg, **settings):
        cfg = cfg.clone()
        for key, value in settings.items():
            setattr(cfg.MODEL.PAIRWISE, key, value)
        return on_device(PairwiseOrderNet(cfg))

    return build


@pytest.mark.parametrize("tasks", ALL_TASKS)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_instance_comes_back_with_its_order(cfg, annotated, tasks, count, build):
    one = annotated(count)
    found = build(cfg, TASKS=tasks).eval()([{**one, "height": 40, "width": 50}])[0]["instances"]
    assert len(found) == count
    assert torch.equal(found.pred_masks, one["instances"].gt_masks.tensor)
    assert torch.equal(found.pred_classes, one["instances"].gt_classes)
    names = {"depth": "depth"}.get(tasks[0], "occlusion")
    assert found.has(names) and found.has("depth") == ("depth" in tasks)
    for name in FIELDS:
        if found.has(name):
            assert isinstance(found.get(name), PairMatrix) and len(found.get(name)) == count
    kept = found[torch.arange(count) % 2 == 0]
    assert len(kept.get(names)) == (count + 1) // 2


def test_a_hundred_instances_in_batches(cfg, annotated, build):
    net = build(cfg, INPUT_SIZE=16, PAIRS_PER_BATCH=1000).eval()
    found = net([annotated(100)])[0]["instances"]
    assert found.occlusion.tensor.shape == (100, 100)
    depth = found.depth.tensor
    assert (depth.fill_diagonal_(0) >= 0).all() and depth.dtype == torch.int8


def check_same(found, expected):
    """Orders are equal; probabilities up to rounding, which the place in a batch may change."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype == torch.int8:
            assert torch.equal(found[name], value)
        else:
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tasks", ALL_TASKS)
@pytest.mark.parametrize("mode", ["crop", "resize"])
def test_reordering_the_instances_reorders_the_matrices(cfg, given, tasks, mode, build, moved):
    net, instances = build(cfg, TASKS=tasks, MODE=mode).eval(), moved(given(5))
    image = torch.randint(0, 256, (3, 40, 50))
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        straight = net.orders(moved(image), instances)
        turned = net.orders(moved(image), instances[moved(order)])
    check_same(turned, {name: value[order][:, order] for name, value in straight.items()})


@pytest.mark.parametrize("tasks", [["occlusion", "depth"], ["relation"]])
def test_swapping_two_instances_transposes_the_answer(cfg, given, tasks, build, moved):
    net, instances = build(cfg, TASKS=tasks).eval(), moved(given(2))
    image = torch.randint(0, 256, (3, 40, 50))
    with torch.no_grad():
        straight = net.orders(moved(image), instances)
        turned = net.orders(moved(image), instances[[1, 0]])
    check_same(turned, {name: value.transpose(0, 1) for name, value in straight.items()})


def test_the_size_of_batches_changes_nothing(cfg, given, build, moved):
    net, instances, image = build(cfg).eval(), moved(given(6)), torch.randint(0, 256, (3, 40, 50))
    with torch.no_grad():
        expected = net.orders(moved(image), instances)
        net.pairs_per_batch = 1
        found = net.orders(moved(image), instances)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_two_identical_masks_are_equal(cfg, given, build, moved):
    net, instances = build(cfg).eval(), moved(given(2))
    instances.pred_masks[1] = instances.pred_masks[0]
    with torch.no_grad():
        found = net.orders(moved(torch.randint(0, 256, (3, 40, 50))), instances)
    assert found["depth"].tolist() == [[-1, 2], [2, -1]]
    probability = found["occlusion_probability"]
    torch.testing.assert_close(probability[0, 1], probability[1, 0])


def test_bordering_pairs_only(cfg, given, build, moved):
    instances = moved(given(3))
    masks = instances.pred_masks
    masks[:] = False
    masks[0, :5, :5] = masks[1, 5:9, :5] = masks[2, 20:, 20:] = True
    net = build(cfg, TEST_PAIRS="bordering", OCCLUSION_THRESHOLD=-1.0).eval()
    with torch.no_grad():
        found = net.orders(moved(torch.zeros(3, 40, 50)), instances)
    assert (found["depth"] >= 0).tolist() == [
        [False, True, False],
        [True, False, False],
        [False] * 3,
    ]
    assert not found["occlusion_probability"][2].any()


def test_predicted_instances_and_another_size(cfg, given, build):
    made = given(3)
    found = Instances((40, 50))
    found.pred_masks, found.pred_classes = made.pred_masks, made.pred_classes
    found.scores = torch.tensor([0.9, 0.5, 0.7])
    inputs = {"image": torch.zeros(3, 40, 50), "instances": found, "height": 80, "width": 100}
    result = build(cfg).eval()([inputs])[0]["instances"]
    assert result.pred_masks.shape == (3, 80, 100) and torch.equal(result.scores, found.scores)
    assert torch.equal(result.pred_masks[:, ::2, ::2], made.pred_masks)


def test_an_input_without_instances_is_refused(cfg, build):
    with pytest.raises(
        ValueError, match="image 3: the input has no 'instances'.*KEEP_GROUND_TRUTH"
    ):
        build(cfg).eval()([{"image": torch.zeros(3, 8, 8), "image_id": 3}])


def test_maps_are_read_from_the_named_field(cfg, annotated, build):
    net = build(cfg, INPUTS=["maps", "masks"], MAP_FIELD="height_map").eval()
    one = annotated(3)
    with pytest.raises(ValueError, match="image 7: instances have no field 'height_map'"):
        net([one])
    one["instances"].height_map = torch.rand(3, 40, 50)
    assert net([one])[0]["instances"].has("occlusion")


@pytest.mark.parametrize("tasks", [[], ["occlusion", "relation"], ["height"]])
def test_tasks_that_do_not_go_together(cfg, tasks, build):
    with pytest.raises(ValueError, match="must be some of"):
        build(cfg, TASKS=tasks)


# --- training


KNOWN = {
    "occlusion": [[0, 1, 0], [0, 0, 0], [0, 1, 0]],
    "depth": [[-1, 1, 2], [0, -1, 0], [2, 1, -1]],
    "overlap": [[-1, 0, 1], [0, -1, 0], [1, 0, -1]],
}


@pytest.mark.parametrize("tasks", ALL_TASKS)
@pytest.mark.parametrize("encoding", ["none", "embedding"])
def test_every_parameter_gets_a_gradient(cfg, annotated, tasks, encoding, build):
    net = build(cfg, TASKS=tasks, CATEGORY_ENCODING=encoding, NUM_RELATIONS=4).train()
    losses = net([annotated(3, **KNOWN), annotated(3, **KNOWN)])
    assert set(losses) == {f"loss_{task}" for task in tasks}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("counts", [[0], [1], [0, 1], [1, 3]])
def test_losses_of_images_without_pairs(cfg, annotated, counts, build):
    net = build(cfg).train()
    made = [annotated(count, **(KNOWN if count == 3 else {})) for count in counts]
    losses = net(made)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert (3 in counts) == bool(sum(losses.values()) > 0)


def test_what_nobody_has_said_is_never_a_label(cfg, annotated, build):
    net = build(cfg, TASKS=["relation", "depth"]).train()
    losses = net([annotated(4)])
    assert [loss.item() for loss in losses.values()] == [0, 0]


def test_the_loss_is_the_sum_over_both_directions(cfg, annotated, build, moved):
    net = build(cfg).train()
    one = {**annotated(3, **KNOWN), "pairs": torch.tensor([[0, 1]])}
    with torch.no_grad():
        losses = net([one])
        scene = net.inputs.scene(moved(one["image"]), input_instances(one, net.device))
        logits = net.classifier(net.inputs(scene, moved(one["pairs"])))
    there, back = logits["occlusion"].cpu()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(there, torch.tensor([0.0, 1])) + bce(back, torch.tensor([1.0, 0]))
    torch.testing.assert_close(losses["loss_occlusion"], expected)
    depth = -logits["depth"].cpu().log_softmax(1)
    torch.testing.assert_close(losses["loss_depth"], 0.9 * (depth[0, 0] + depth[1, 1]))


def test_pairs_may_be_asked_as_they_were_drawn(cfg, annotated, build, moved):
    one = {**annotated(3, **KNOWN), "pairs": torch.tensor([[0, 1], [2, 1]])}
    net = build(cfg, TRAIN_BOTH_DIRECTIONS=False).train()
    with torch.no_grad():
        loss = net([one])["loss_occlusion"]
        scene = net.inputs.scene(moved(one["image"]), input_instances(one, net.device))
        logits = net.classifier(net.inputs(scene, moved(one["pairs"]), reversed_too=False))
    logits = logits["occlusion"].cpu()
    assert logits.shape == (2, 2)
    target = torch.tensor([[0.0, 1], [0, 1]])  # 0 and 2 occlude 1
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(loss, 2 * bce(logits, target))


def test_double_softmax_reaches_the_loss(cfg, annotated, build):
    one = annotated(3, **KNOWN)
    cfg.MODEL.PAIRWISE.COMPAT.DOUBLE_SOFTMAX = True
    net = build(cfg, TASKS=["depth"]).train()
    torch.nn.init.zeros_(net.classifier.heads["depth"].weight)
    net.classifier.heads["depth"].bias.data.copy_(torch.tensor([100.0, -100, -100]))
    # Closer is said of both directions: right for one, wrong for the other of every pair but 0-2.
    right, wrong = 0.55144, 1.55144
    expected = 2 * (0.9 * (right + wrong) / 2 + 0.1 * wrong)
    assert net([one])["loss_depth"].item() == pytest.approx(expected, abs=1e-3)


def test_four_scenes_are_learned_by_heart(cfg, records, build):
    """Sums in another order train another network: a few of the 48 answers may be wrong.

    After 60 steps some seeds still have three wrong depth orders, after 100 none of six had any.
    """
    cfg.MODEL.PAIRWISE.SAMPLER.NAME = "all"
    cfg.MODEL.PAIRWISE.SAMPLER.SHIFT = 0.0
    cfg.MODEL.PAIRWISE.SAMPLER.SCALE = [1.0, 1.0]
    cfg.MODEL.MINI_RESNET.WIDTH = 8
    cfg.INPUT.MAPPER, cfg.INPUT.RANDOM_FLIP = "PairMapper", "none"
    scenes = records(4)
    net, mapper = build(cfg), build_mapper(cfg, is_train=True)
    batch = [mapper(record) for record in scenes]
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        sum(net(batch).values()).backward()
        optimizer.step()
    mapper = build_mapper(cfg, is_train=False)
    evaluator = GivenMaskOrder(cfg, "unused", "")
    scorers = evaluator.scorers()
    for record, output in zip(scenes, net.eval()([mapper(r) for r in scenes]), strict=True):
        evaluator.update(scorers, record, output)
    scores = evaluator.scores(scorers)
    assert scores["occlusion"]["f1"] >= 90 and scores["depth"]["whdr_all"] <= 8


@pytest.mark.parametrize(
    ("tasks", "inputs", "parameters"),
    [
        (["occlusion"], ["masks", "image"], 23_518_402),
        (["depth"], ["masks", "image"], 23_520_451),
        (["occlusion", "depth"], ["masks", "image"], 23_524_549),
        (["occlusion"], ["masks"], 23_508_994),
    ],
)
def test_the_published_networks_have_the_published_size(cfg, tasks, inputs, parameters, build):
    cfg.MODEL.BACKBONE.NAME = "build_torchvision_resnet_backbone"
    cfg.MODEL.RESNETS.DEPTH = 50
    with torch.device("meta"):
        net = build(cfg, TASKS=tasks, INPUTS=inputs)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_the_published_start(cfg, build):
    net = build(cfg, INIT="xavier", INPUTS=["masks", "image"])
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 5 and first.weight.std().item() == pytest.approx(5e-4, rel=0.1)
    head = net.classifier.heads["occlusion"]
    fan = sum(head.weight.shape)
    assert not head.bias.any()
    assert head.weight.std().item() == pytest.approx(0.02 * (2 / fan) ** 0.5, rel=0.25)


def test_the_registry_has_it():
    assert META_ARCH_REGISTRY.get("PairwiseOrderNet") is PairwiseOrderNet


def test_polygons_are_drawn(cfg, build):
    found = Instances((40, 50))
    outline = np.array([4.0, 5, 20, 5, 20, 30, 4, 30])
    found.gt_masks, found.gt_classes = PolygonMasks([[outline], [outline + 9]]), torch.zeros(2)
    result = build(cfg).eval()([{"image": torch.zeros(3, 40, 50), "instances": found}])[0]
    assert result["instances"].pred_boxes.tensor.tolist() == [[4, 5, 20, 30], [13, 14, 29, 39]]


# --- many instances, and as a graph


@pytest.fixture
def small_pair_net(build_model):
    def small_pair_net(pairs_per_batch):
        cfg = get_cfg()
        cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "PairwiseOrderNet"
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.RESNETS.NORM = "build_mini_resnet_backbone", "BN"
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
        cfg.MODEL.MINI_RESNET.WIDTH, cfg.MODEL.MINI_RESNET.BLOCKS = 2, [1, 1, 1, 1]
        cfg.MODEL.PAIRWISE.INPUT_SIZE = 32
        cfg.MODEL.PAIRWISE.PAIRS_PER_BATCH = pairs_per_batch
        return build_model(cfg).eval()

    return small_pair_net


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


def test_pairs_go_through_the_network_in_batches(small_pair_net):
    model = small_pair_net(pairs_per_batch=150)
    calls = []
    model.classifier.register_forward_hook(
        lambda module, inputs, output: calls.append(len(inputs[0]))
    )
    (answer,) = model([crowd(25, 64)])
    assert answer["instances"].occlusion.tensor.shape == (25, 25)
    assert sum(calls) in (300, 600)  # one direction or both
    assert len(calls) == 2 and max(calls) <= 300  # not one call per pair, and not all at once


def test_batches_do_not_change_the_answer(small_pair_net):
    torch.manual_seed(0)
    one, other = small_pair_net(7), small_pair_net(64)
    other.load_state_dict(one.state_dict())
    (a,), (b,) = one([crowd(9, 64)]), other([crowd(9, 64)])
    first, second = (x["instances"].occlusion_probability.tensor for x in (a, b))
    torch.testing.assert_close(first, second)


class Plain(torch.nn.Module):
    """A classifier whose answer is a tuple, which every format can hold."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, x):
        answers = self.classifier(x)
        return tuple(answers[key] for key in sorted(answers))


def test_the_traced_network_is_the_network_at_other_sizes(small_pair_net, moved):
    model = Plain(small_pair_net(32).classifier).eval()
    channels = next(model.parameters()).shape[1]
    with torch.no_grad():
        traced = torch.jit.trace(model, moved(torch.rand(2, channels, 32, 32)))
        for shape in ((1, channels, 32, 32), (7, channels, 32, 32), (3, channels, 48, 64)):
            x = moved(torch.rand(shape))
            for ours, theirs in zip(model(x), traced(x), strict=True):
                torch.testing.assert_close(ours, theirs)
