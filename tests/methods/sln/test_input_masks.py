from __future__ import annotations

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances

from occ_order.methods.build import build_mapper
from occ_order.methods.common.pair_matrix import PairMatrix

ARCH = ["MODEL.META_ARCHITECTURE", "InputMaskLayering"]


def with_masks(one: dict, boxes) -> dict:
    """Return the input with rectangles x0, y0, x1, y1 as input masks; later ones are in front."""
    masks = torch.zeros((len(boxes), *one["image"].shape[1:]), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        masks[:, y0:y1, x0:x1] = False
        mask[y0:y1, x0:x1] = True
    given = Instances(tuple(masks.shape[1:]))
    given.pred_masks = masks
    return {**one, "instances": given}


@pytest.mark.parametrize("name", ["sln_mini_scenes", "ARCNN", "ARCNN + visible"])
def test_what_is_hidden_of_input_masks_lies_behind_other_ones(
    name, tiny_net, layered_input
) -> None:
    # A threshold near 0: everything in the box of an instance belongs to it.
    net = tiny_net(name, *ARCH, "MODEL.SLN.THRESHOLD", 1e-6).eval()
    one = with_masks(layered_input(), [(4, 4, 30, 30), (20, 10, 44, 40), (50, 50, 60, 60)])
    found = net([one])[0]["instances"]
    modal, amodal = one["instances"].pred_masks, found.pred_amodal_masks
    assert torch.equal(found.pred_masks, modal)
    assert not (modal & ~amodal).any()
    assert (amodal[0] & modal[1]).any()
    assert not (amodal & ~modal.any(0)).any()
    order = found.occlusion.tensor
    assert order.shape == (3, 3)
    assert not order.diagonal().any()
    unknown = order[~torch.eye(3, dtype=torch.bool)] == -1
    assert unknown.all() if name == "ARCNN" else not unknown.any()


def test_the_region_of_an_instance_is_the_box_that_the_box_head_makes_of_its_mask(
    tiny_net, layered_input
) -> None:
    net = tiny_net("ARCNN", *ARCH, "MODEL.SLN.THRESHOLD", 1e-6).eval()
    box = net.roi_heads.box_predictor.bbox_pred
    with torch.no_grad():
        box.weight.zero_()
        # Twice as wide, by Detectron2's weights of box deltas (10, 10, 5, 5).
        box.bias.copy_(torch.tensor([0.0, 0, 5 * torch.log(torch.tensor(2.0)), 0]))
    one = with_masks(layered_input(), [(0, 0, 64, 64), (20, 20, 30, 30)])
    amodal = net([one])[0]["instances"].pred_amodal_masks[1]
    rows, columns = amodal.nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (20, 29)
    assert (columns.min(), columns.max()) == (15, 34)


def test_no_input_masks_give_no_instances_and_empty_ones_stay_empty(
    tiny_net, layered_input
) -> None:
    net = tiny_net("sln_mini_scenes", *ARCH).eval()
    none, empty = with_masks(layered_input(), []), with_masks(layered_input(), [(0, 0, 0, 0)])
    first, second = (one["instances"] for one in net([none, empty]))
    assert len(first) == 0
    assert first.pred_amodal_masks.shape == (0, 64, 64)
    assert len(second) == 1
    assert not second.pred_amodal_masks.any()


def test_results_have_the_size_of_the_original_image(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", *ARCH).eval()
    one = with_masks(layered_input(), [(4, 4, 30, 30), (20, 9, 60, 50)])
    found = net([{**one, "height": 48, "width": 80}])[0]["instances"]
    assert found.pred_amodal_masks.shape == found.pred_masks.shape == (2, 48, 80)
    assert not (found.pred_masks & ~found.pred_amodal_masks).any()


def test_with_an_order_network_masks_are_extended_behind_its_occluders_alone(
    tiny_net, layered_input
) -> None:
    net = tiny_net("ARCNN + visible", *ARCH, "MODEL.SLN.THRESHOLD", 1e-6).eval()
    one = with_masks(layered_input(), [(4, 4, 30, 30), (20, 10, 44, 40), (10, 20, 18, 34)])
    modal = one["instances"].pred_masks
    seen = []

    def order(image, masks):
        seen.append((image.shape, masks.shape))
        found = Instances((64, 64))
        matrix = torch.zeros((3, 3), dtype=torch.int8)
        matrix[1, 0] = 1
        found.occlusion = PairMatrix(matrix)
        return {"instances": found}

    net.order = order
    found = net([one])[0]["instances"]
    assert seen == [((64, 64, 3), (3, 64, 64))]
    assert found.occlusion.tensor.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    hidden = found.pred_amodal_masks & ~modal
    assert hidden[0].any() and not (hidden[0] & ~modal[1]).any()
    assert not hidden[1:].any()


def test_detections_of_others_are_refused(tiny_net, layered_input) -> None:
    net = tiny_net("sln_mini_scenes", *ARCH).eval()
    with pytest.raises(ValueError, match="those of its inputs"):
        net.inference([layered_input()], [Instances((64, 64))])


def test_it_reads_the_masks_of_a_data_set(tiny_net, tiny_cfg, scenes) -> None:
    cfg = tiny_cfg("sln_mini_scenes", *ARCH, "INPUT.KEEP_GROUND_TRUTH", True)
    read = build_mapper(cfg, is_train=False)
    record = DatasetCatalog.get(scenes)[0]
    found = tiny_net("sln_mini_scenes", *ARCH).eval()([read(record)])[0]["instances"]
    assert len(found) == len(record["annotations"])
    assert found.pred_amodal_masks.any((1, 2)).all()
