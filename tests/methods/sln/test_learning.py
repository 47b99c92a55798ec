"""The whole network learns four images by heart: whole, visible and hidden parts, levels, order.

What random guesses or one number would hide: levels are counted one by one, the hidden parts for
themselves, and orders both by what is found and by what is right of it.
"""

from __future__ import annotations

import numpy as np
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from occ_order.methods.build import build_mapper
from occ_order.scenes import generate, to_record
from occ_order.targets import order_from_levels

ROOMIER = [
    *("MODEL.MINI_RESNET.WIDTH", 8, "MODEL.MINI_RESNET.BLOCKS", [1, 1, 1, 1]),
    *("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16),
    *("MODEL.SLN.GLOBAL_LAYERING.CONV_DIM", 16, "MODEL.SLN.REFINEMENT.CONV_DIM", 16),
    # The heads learn on the annotated boxes, on which they are tested: it is about the layers.
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.95], "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4),
    *("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", [0]),
]
STEPS, RATE = 120, 1e-2


def hidden_pixels(scene) -> int:
    return int((scene.amodal & ~scene.modal).sum())


def training_inputs(cfg, first: int) -> list[dict]:
    """Of 24 scenes of four textured shapes the four in which most is hidden, as the mapper does."""
    made = (generate(first + k, size=(64, 64), num_instances=4, interlocked=0) for k in range(24))
    mapper, inputs = build_mapper(cfg, is_train=True), []
    for number, scene in enumerate(sorted(made, key=hidden_pixels)[-4:]):
        record = to_record(scene, image_id=number, file_name="")
        for annotation in record["annotations"]:
            annotation["category_id"] = 0
        del record["file_name"]
        inputs.append(mapper({**record, "pixels": scene.image}))
    return inputs


def learn(net, inputs: list[dict]) -> list[dict[str, float]]:
    """Trains; the losses of every step."""
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    history = []
    with EventStorage():
        for _ in range(STEPS):
            losses = net(inputs)
            sum(losses.values()).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            history.append({name: loss.item() for name, loss in losses.items()})
    return history


def given_boxes(truth: Instances) -> Instances:
    """The annotated boxes as detections, so that a test of layers needs no good detector."""
    given = Instances(truth.image_size, pred_boxes=truth.gt_boxes.clone())
    given.pred_classes, given.scores = truth.gt_classes, torch.ones(len(truth))
    return given


def scores(inputs: list[dict], found: list[dict]) -> dict[str, float]:
    """Over all images, each a fraction: IoU of masks, pixels of the right level, orders."""
    counts: dict[str, np.ndarray] = {}

    def add(name: str, part: np.ndarray, whole: np.ndarray) -> None:
        counts[name] = counts.get(name, np.zeros(2, int)) + (part.sum(), whole.sum())

    for item, answer in zip(inputs, found, strict=True):
        levels = item["instances"].gt_levels.tensor.numpy()
        answer = answer["instances"]
        guess = answer.pred_levels.numpy()
        for name, true, predicted in (
            ("amodal", levels >= 0, answer.pred_masks.numpy()),
            ("modal", levels == 0, answer.pred_modal_masks.numpy()),
            ("invisible", levels > 0, guess > 0),
        ):
            add(name, true & predicted, true | predicted)
        for level in range(levels.max() + 1):
            add(f"level {level}", (levels == level) & (guess == level), levels == level)
        order = order_from_levels(levels) == 1
        predicted = answer.occlusion.tensor.numpy() == 1
        add("order found", order & predicted, order)
        add("order right", order & predicted, predicted)
    return {name: part / whole for name, (part, whole) in counts.items()}


def test_four_scenes_are_learnt_by_heart(tiny_cfg, build_model) -> None:
    """Starts of four seeds, with and without AVX-512, were at least 0.05 above each bound.

    Of level 3 there are a few pixels, which are not learnt in so short a time.
    """
    cfg = tiny_cfg("sln_mini_scenes", *ROOMIER)
    inputs = training_inputs(cfg, first=0)
    torch.manual_seed(0)
    net = build_model(cfg)
    history = learn(net, inputs)
    for name in ("loss_global_layering", "loss_instance_layering", "loss_refinement"):
        assert history[-1][name] < 0.35 * history[0][name], name
    net.eval()
    with torch.no_grad():
        found = net.inference(inputs, [given_boxes(one["instances"]) for one in inputs])
    got = scores(inputs, found)
    bounds = {
        "amodal": 0.88,
        "modal": 0.79,
        "invisible": 0.75,
        "level 0": 0.83,
        "level 1": 0.77,
        "level 2": 0.7,
        "order found": 0.85,
        "order right": 0.85,
    }
    assert {name: got[name] for name, bound in bounds.items() if got[name] < bound} == {}
    assert sum(len(one["instances"]) for one in inputs) == 16


STAGES = {
    "glm": {"backbone", "global_layering"},
    "rpn": {"layer_fusion", "proposal_generator"},
    "ilm": {"roi_heads"},
}


def test_stages_freeze_and_thaw_in_two_processes(ask, tmp_path):
    """One stage after the other under DistributedDataParallel: only its parts learn, in step."""
    first, second = ask("staged_together", str(tmp_path), 2)
    assert first == second  # stages, what changed, and every weight after every step
    every = set().union(*STAGES.values())
    assert [step["stage"] for step in first] == ["glm"] * 2 + ["rpn"] + ["ilm"] * 2 + ["joint"] * 5
    for step in first:
        parts = STAGES.get(step["stage"], every)
        assert set(step["changed"]) == parts
        assert set(step["still"]) == every - parts
