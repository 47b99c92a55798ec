"""Detectors whose instances are ordered by something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from torch import nn

import occ_order.engine.detector_order  # noqa: F401  (registers it)
from occ_order.config import load_cfg
from occ_order.methods.common.baseline import OrderBaseline
from occ_order.methods.oosis.detector_order import AddOrder, things_of

CONFIG = Path(__file__).resolve().parents[3] / "configs/OOSIS/scenes/maskrcnn_area_mini.yaml"


def two_masks() -> torch.Tensor:
    """A large mask above a small one that touches it."""
    masks = torch.zeros(2, 12, 16, dtype=torch.bool)
    masks[0, 1:6, 2:14], masks[1, 6:10, 4:9] = True, True
    return masks


class Detector(nn.Module):
    """Finds what it is told to find."""

    def __init__(self, masks: torch.Tensor, scores=(0.9, 0.4)) -> None:
        super().__init__()
        self.masks, self.scores = masks, scores

    def forward(self, inputs):
        """Losses, or the two masks."""
        if self.training:
            return {"loss": torch.zeros(())}
        found = Instances(tuple(self.masks.shape[1:]))
        found.pred_masks = self.masks
        found.scores = torch.tensor(self.scores)
        found.pred_classes = torch.zeros(len(self.masks), dtype=torch.int64)
        ids = torch.zeros(self.masks.shape[1:], dtype=torch.int32)
        segments = [{"id": 3, "isthing": False, "category_id": 7}]
        for k, mask in enumerate(self.masks):
            ids[mask] = k + 1
            segments.append({"id": k + 1, "isthing": True, "category_id": k, "score": 0.5 + k / 10})
        return [{"instances": found, "panoptic_seg": (ids, segments)} for _ in inputs]


def found_by(order: str, **options) -> Instances:
    """Instances of the detector with an order."""
    detector = Detector(two_masks()).eval()
    detector.register_forward_hook(AddOrder(OrderBaseline(name=order), **options))
    image = torch.zeros(3, 6, 8, dtype=torch.uint8)  # half the size of the result
    return detector([{"image": image, "height": 12, "width": 16}])[0]["instances"]


@pytest.mark.parametrize(
    ("order", "occlusion"), [("area", [[0, 1], [0, 0]]), ("y_axis", [[0, 0], [1, 0]])]
)
def test_the_order_is_added_to_what_was_found(order, occlusion):
    found = found_by(order)
    assert found.occlusion.tensor.tolist() == occlusion
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    assert torch.equal(found.pred_masks, two_masks())


def test_detections_below_a_score_are_dropped_first():
    found = found_by("area", min_score=0.5)
    assert len(found) == 1 and found.occlusion.tensor.tolist() == [[0]]


def test_things_of_a_panoptic_segmentation():
    found = found_by("y_axis", masks="panoptic")
    # The second has the larger score and comes first; stuff is left out.
    assert found.pred_classes.tolist() == [1, 0]
    assert found.occlusion.tensor.tolist() == [[0, 1], [0, 0]]
    assert found.pred_boxes.tensor[0].tolist() == [4, 6, 9, 10]
    nothing = things_of({"panoptic_seg": (torch.zeros(4, 5, dtype=torch.int32), [])})
    assert len(nothing) == 0 and nothing.pred_masks.shape == (0, 4, 5)


def test_training_is_the_detectors_own():
    detector = Detector(two_masks())
    detector.register_forward_hook(AddOrder(OrderBaseline(name="area")))
    assert set(detector([{}])) == {"loss"}


def test_an_order_network_gets_the_image_in_its_own_channels():
    seen = {}

    class Order(nn.Module):
        """Notes what it gets."""

        def forward(self, inputs):
            """Gives it back."""
            seen.update(inputs[0])
            return [{"instances": inputs[0]["instances"]}]

    detector = Detector(two_masks()).eval()
    detector.register_forward_hook(AddOrder(Order(), reverse_channels=True))
    image = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None].expand(3, 12, 16)
    detector([{"image": image, "height": 12, "width": 16}])
    assert seen["image"][:, 0, 0].tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="got 'boxes', expected one of"):
        AddOrder(Order(), masks="boxes")


def test_mask_rcnn_with_area_is_mask_rcnn_and_an_order(build_model):
    opts = ["MODEL.MINI_RESNET.WIDTH", 4, "MODEL.FPN.OUT_CHANNELS", 8]
    ordered = build_model(load_cfg(CONFIG, opts)).eval()
    plain = build_model(load_cfg(CONFIG, [*opts, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN"]))
    plain.load_state_dict(ordered.state_dict())  # the same checkpoint fits both
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8))
    one = {"image": image, "height": 64, "width": 64}
    found, expected = ordered([one])[0]["instances"], plain.eval()([one])[0]["instances"]
    assert torch.equal(found.scores, expected.scores) and not expected.has("occlusion")
    assert found.occlusion.tensor.shape == (len(found), len(found))


def test_both_parts_may_come_from_files_of_their_own(tmp_path, build_model):
    order, detector = tmp_path / "order.yaml", tmp_path / "detector.yaml"
    order.write_text(
        "MODEL: {META_ARCHITECTURE: OrderBaseline, ORDER_BASELINE: {NAME: y_axis}, WEIGHTS: ''}\n"
        "INPUT: {FORMAT: BGR}\n"
    )
    base = CONFIG.parents[2] / "Base-MaskRCNN-Mini-FPN.yaml"
    detector.write_text(f"_BASE_: {base}\nMODEL: {{MINI_RESNET: {{WIDTH: 4}}, WEIGHTS: ''}}\n")
    opts = ["MODEL.DETECTOR_ORDER.CONFIG", str(detector)]
    model = build_model(load_cfg(CONFIG, [*opts, "MODEL.DETECTOR_ORDER.ORDER_CONFIG", str(order)]))
    (hook,) = model._forward_hooks.values()
    assert hook.order.name == "y_axis" and hook.reverse_channels
    assert model.backbone.bottom_up.stem.conv1.out_channels == 4
