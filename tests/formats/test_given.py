"""Masks as other programs hold them: every kind gives the same two, and what is none says why."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from occ_order.formats.arrays import inside
from occ_order.formats.given import as_instances
from occ_order.instances import OrderedInstances
from occ_order.masks import encode

SIZE = (12, 16)
TWO = np.zeros((2, *SIZE), bool)
TWO[0, 2:6, 3:9] = TWO[1, 7:11, 1:5] = True
OUTLINES = [[3, 2, 9, 2, 9, 6, 3, 6], [1, 7, 5, 7, 5, 11, 1, 11]]
SOFT = np.where(TWO, 0.93, 0.03).astype(np.float32)
LABELS = TWO[0] * 4 + TWO[1] * 9


class Tensor:
    """Has what a tensor on a GPU has: no array until it is asked for twice."""

    def __init__(self, values):
        self._values = np.asarray(values)
        self.shape, self.dtype = self._values.shape, self._values.dtype

    def detach(self):
        return self

    def cpu(self):
        return self._values


class Detectron2Instances:
    """The part of Detectron2's Instances that is looked at."""

    image_size = SIZE

    def __init__(self, **fields):
        self._fields = fields

    def get_fields(self):
        return self._fields


def detectron2(**more):
    kinds = Tensor([7, 8])
    return Detectron2Instances(pred_masks=Tensor(TWO), pred_classes=kinds, scores=kinds, **more)


class Masks:
    """ultralytics' Masks, with a size but without an array's type."""

    def __init__(self, data):
        self.data, self.shape = Tensor(data), data.shape


def letterboxed(masks, side):
    """Masks as a network with an input of side x side returns them: enlarged, padded."""
    gain = side // max(masks.shape[1:])
    large = masks.repeat(gain, 1).repeat(gain, 2)
    missing = [side - length for length in large.shape[1:]]
    pads = [(length // 2, length - length // 2) for length in missing]
    return np.pad(large, [(0, 0), *pads]).astype(np.float32)


def ultralytics(**changes):
    known = {
        "orig_shape": SIZE,
        "masks": Masks(letterboxed(TWO, 640)),
        "boxes": SimpleNamespace(cls=Tensor([7.0, 8.0]), conf=Tensor([0.9, 0.8]), id=None),
        "names": {7: "cup", 8: "tray"},
    }
    return SimpleNamespace(**{**known, **changes})


class Detections(SimpleNamespace):
    """supervision's, with the fields that are looked at."""

    def __init__(self, **fields):
        known = {"mask": None, "class_id": np.array([7, 8]), "confidence": None, "data": {}}
        super().__init__(**{**known, **fields})

    def __len__(self):
        return len(self.class_id)


KINDS = {
    "bool": TWO,
    "0 and 255": TWO.astype(np.uint8) * 255,
    "floats 0 and 1": TWO.astype(float),
    "probabilities": SOFT,
    "probabilities (N, 1, H, W)": SOFT[:, None],
    "a tensor": Tensor(TWO),
    "a label map": LABELS,
    "a label map of bytes": LABELS.astype(np.uint8),
    "an image of labels": Image.fromarray(LABELS.astype(np.uint8)),
    "a list of masks": list(TWO),
    "a list of soft masks": list(SOFT),
    "a list of masks (1, H, W)": list(TWO[:, None]),
    "arrays of a batch": [Tensor(TWO[:, None])],
    "run lengths": [encode(mask) for mask in TWO],
    "polygons": [[line] for line in OUTLINES],
    "flat polygons": OUTLINES,
    "SAM": [{"segmentation": mask, "predicted_iou": 0.9, "area": 1} for mask in TWO],
    "SAM, run lengths": [{"segmentation": encode(mask), "predicted_iou": 0.9} for mask in TWO],
    "torchvision": {"masks": Tensor(SOFT[:, None]), "labels": Tensor([7, 8]), "boxes": None},
    "transformers": {
        "segmentation": Tensor(LABELS),
        "segments_info": [{"id": 4, "label_id": 7, "score": 0.9}, {"id": 9, "label_id": 8}],
    },
    "transformers, a map for each": {
        "segmentation": Tensor(TWO.astype(np.float32)),
        "segments_info": [{"id": 0, "label_id": 7}, {"id": 1, "label_id": 8}],
    },
    "transformers, -1 where nothing is": {
        "segmentation": Tensor(TWO[0] + TWO[1] * 2.0 - 1),
        "segments_info": [{"id": 0, "label_id": 7}, {"id": 1, "label_id": 8}],
    },
    "transformers, pipeline": [
        {"label": "cup", "score": None, "mask": Image.fromarray(TWO[0].astype(np.uint8) * 255)},
        {"label": "tray", "score": 0.5, "mask": Image.fromarray(TWO[1].astype(np.uint8) * 255)},
    ],
    "transformers, mask generation": {"masks": list(TWO), "scores": Tensor([0.9, 0.8])},
    "SA-1B": {
        "image": {"image_id": 1, "width": 16, "height": 12, "file_name": "sa_1.jpg"},
        "annotations": [{"id": k, "segmentation": encode(mask)} for k, mask in enumerate(TWO)],
    },
    "COCO": {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 16, "height": 12}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1, "segmentation": encode(mask)}
            for k, mask in enumerate(TWO)
        ],
        "categories": [{"id": 1, "name": "cup"}],
    },
    "Detectron2": detectron2(),
    "Detectron2, output": {"instances": detectron2(), "sem_seg": None},
    "Detectron2, outputs of a batch": [{"instances": detectron2()}],
    "Detectron2, annotation": Detectron2Instances(gt_masks=SimpleNamespace(tensor=Tensor(TWO))),
    "Detectron2, annotated polygons": Detectron2Instances(
        gt_masks=SimpleNamespace(polygons=[[np.array(line, float)] for line in OUTLINES])
    ),
    "Detectron2, panoptic": {
        "panoptic_seg": (
            Tensor(LABELS + 1),
            [{"id": 1, "isthing": False, "category_id": 0}]
            + [{"id": k, "isthing": True, "category_id": k, "score": 0.5} for k in (5, 10)],
        )
    },
    "ultralytics": ultralytics(),
    "ultralytics, results of a batch": [ultralytics()],
    "ultralytics, retina masks": ultralytics(masks=Masks(TWO)),
    "supervision": Detections(mask=TWO, data={"id": np.array([4, 9])}),
    "instances": OrderedInstances("x", SIZE, TWO),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_masks(kind):
    found = as_instances(KINDS[kind], SIZE)
    assert np.array_equal(found.modal, TWO) and found.modal.dtype == bool
    assert found.occlusion is None and found.depth is None


def test_ids_classes_scores_and_names_come_along():
    assert as_instances(LABELS, SIZE).ids == (4, 9)
    found = as_instances(KINDS["transformers"], SIZE)
    assert found.ids == (4, 9) and found.classes.tolist() == [7, 8]
    assert found.scores.tolist() == [0.9, 1.0]
    assert as_instances(KINDS["SAM"], SIZE).scores.tolist() == [0.9, 0.9]
    assert as_instances(KINDS["supervision"], SIZE).ids == (4, 9)
    for kind in ("torchvision", "Detectron2", "ultralytics", "supervision"):
        assert as_instances(KINDS[kind], SIZE).classes.tolist() == [7, 8], kind
    assert as_instances(ultralytics(), SIZE).names == ("cup", "tray")
    tracked = SimpleNamespace(
        cls=Tensor([7.0, 8.0]), conf=Tensor([0.9, 0.8]), id=Tensor([3.0, 5.0])
    )
    assert as_instances(ultralytics(boxes=tracked), SIZE).ids == (3, 5)
    named = {**KINDS["transformers"], "id2label": {7: "cup", 8: "tray"}}
    assert as_instances(named, SIZE).names == ("cup", "tray")
    named = {**KINDS["torchvision"], "categories": [*"abcdefg", "cup", "tray"]}
    assert as_instances(named, SIZE).names == ("cup", "tray")
    found = as_instances(KINDS["transformers, pipeline"], SIZE)
    assert found.names == ("cup", "tray") and found.classes.tolist() == [1, 2]
    assert found.scores.tolist() == [1.0, 0.5]
    found = as_instances(KINDS["Detectron2, panoptic"], SIZE)
    assert found.ids == (5, 10) and found.scores.tolist() == [0.5, 0.5]
    assert as_instances(KINDS["COCO"], SIZE).names == ("cup", "cup")
    entries = [{**entry, "id": f"m{k}", "category": "cup"} for k, entry in enumerate(KINDS["SAM"])]
    assert as_instances(entries, SIZE).ids == ("m0", "m1")
    assert as_instances(entries, SIZE).names == ("cup", "cup")


def test_visible_parts_are_taken_where_both_are_there():
    whole = np.ones((2, *SIZE), bool)
    found = Detectron2Instances(pred_masks=Tensor(whole), pred_modal_masks=Tensor(TWO))
    assert np.array_equal(as_instances(found, SIZE).modal, TWO)


def test_a_file_is_read(tmp_path):
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "photo.png")
    found = as_instances(tmp_path / "photo.png", SIZE)
    assert found.ids == (4, 9) and found.image_id == "photo"
    assert as_instances(str(tmp_path), SIZE, image_name="photo.jpg").ids == (4, 9)


@pytest.mark.parametrize(
    "nothing",
    [[], np.zeros((0, *SIZE)), np.zeros(SIZE, int), {"masks": np.zeros((0, 1, *SIZE))},
     ultralytics(masks=None, boxes=())],
    ids=["list", "array", "label map", "torchvision", "ultralytics"],
)  # fmt: skip
def test_no_instances_are_none(nothing):
    assert len(as_instances(nothing, SIZE)) == 0


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (TWO[:, 1:], r"must be \(N, 12, 16\) as the image is, got \(2, 11, 16\)"),
        (SOFT[:, None].repeat(2, 1), r"got \(2, 2, 12, 16\)"),
        (LABELS.T, "label map: "),
        (LABELS.astype(float), r"whole numbers, got float64 .* probabilities is \(1, H, W\)"),
        (SOFT * 3 - 1, "neither probabilities nor two-valued"),
        (np.stack([LABELS, LABELS]), "numbers from 0 to 9 are neither"),
        (SOFT * np.nan, "finite numbers"),
        ([encode(TWO[0].T)], "mask 0: "),
        ([TWO[0], TWO[0][:3]], "mask 1: "),
        ([TWO[0], None], "mask 1: has no 'segmentation'$"),
        (Masks(TWO), "masks may be an array .*; got Masks"),
        ([{"x": 1}], r"mask 0: has no 'segmentation', its keys are \['x'\]"),
        ([[1, 2, 3]], "mask 0: "),
        ({"boxes": 1}, r"got the keys \['boxes'\]"),
        (LABELS - 1, r"a label map has 0 where nothing is .*, got -1"),
        ({"segmentation": [[1, 2]], "segments_info": [{}]}, "return_coco_annotation=False"),
        ({"segmentation": TWO, "segments_info": [{}]}, "2 maps, but 1 entries"),
        ({"panoptic_seg": (LABELS, None)}, "does not say what are things"),
        ({"panoptic_seg": (LABELS.T, [])}, "'panoptic_seg': "),
        ({"annotations": 3, "images": []}, "masks: there is no image in it|'annotations' must be"),
        (ultralytics(orig_shape=(640, 640)), r"results: has height and width \(640, 640\)"),
        (Detectron2Instances(scores=1), r"no pred_masks, only \['scores'\]"),
        (Detections(), "detections without masks"),
        (ultralytics(masks=None, boxes=(1,)), "results without masks"),
        (3, "masks may be an array .*; got int"),
        (OrderedInstances(1, (2, 2), np.ones((1, 2, 2), bool)), "masks: "),
    ],
)
def test_what_is_none_of_these_says_why(masks, message):
    with pytest.raises(ValueError, match=message):
        as_instances(masks, SIZE)


def test_probabilities_are_cut_at_a_half():
    values = np.array([0.0, 0.03, 0.5, 0.51, 1.0], np.float32)
    assert inside(values).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(("size", "side"), [((13, 16), 32), ((16, 13), 48), ((13, 13), 26)])
def test_masks_of_a_padded_input_keep_their_holes_and_parts(size, side):
    """A ring around a cup, and a plate in two parts; an odd padding is larger at the end."""
    masks = np.zeros((2, *size), bool)
    masks[0, 1:9, 1:9], masks[0, 3:6, 3:6] = True, False
    masks[1, 10:12, 1:4] = masks[1, 10:12, 8:12] = True
    found = ultralytics(orig_shape=size, masks=Masks(letterboxed(masks, side)))
    assert np.array_equal(as_instances(found, size).modal, masks)


def test_a_task_of_label_studio_is_read_from_memory():
    result = OrderedInstances(1, SIZE, TWO, occlusion=np.array([[0, 1], [0, 0]]), ids=(4, 9))
    for task in (result.to_label_studio(), [result.to_label_studio()]):
        found = as_instances(task, SIZE)
        assert np.array_equal(found.modal, TWO) and found.ids == (4, 9)
        assert np.array_equal(found.occlusion, result.occlusion)


def test_objects_of_the_libraries_themselves():
    """Those of them that are installed."""
    found = []
    try:
        import torch
        from detectron2.structures import Instances

        real = Instances(SIZE, pred_masks=torch.from_numpy(TWO), scores=torch.tensor([0.5, 1.0]))
        found.append(as_instances({"instances": real}, SIZE))
        found.append(as_instances(torch.from_numpy(SOFT)[:, None], SIZE))
    except ImportError:
        pass
    try:
        import supervision

        boxes = np.zeros((2, 4))
        found.append(as_instances(supervision.Detections(xyxy=boxes, mask=TWO), SIZE))
    except ImportError:
        pass
    if not found:
        pytest.skip("neither Detectron2 nor supervision is installed")
    assert all(np.array_equal(one.modal, TWO) for one in found)
