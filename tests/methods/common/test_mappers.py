"""Images, masks and orders stay together on their way from the file to the network."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from occ_order import masks
from occ_order.instances import OrderedInstances
from occ_order.methods.build import build_mapper
from occ_order.methods.common.input_masks import input_instances
from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.ordered import model_input
from occ_order.methods.common.reading import read_image
from occ_order.scenes import generate, to_record

from occ_order.config import get_cfg  # isort: skip

SIZE = (20, 30)
OCCLUSION = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.int8)


def square(y, x, side=6):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


MODAL = np.stack([square(0, 0), square(4, 12), square(12, 22)])
AMODAL = np.stack([square(0, 0, 8), square(4, 12, 8), square(12, 22, 7)])


@pytest.fixture
def record(tmp_path):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[MODAL[1]] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    annotations = [
        {
            "id": k + 1,
            "category_id": k,
            "bbox": masks.bounding_box(MODAL[k]).tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": masks.encode(MODAL[k]),
            "amodal_segmentation": masks.encode(AMODAL[k]),
        }
        for k in range(3)
    ]
    return {
        "file_name": str(tmp_path / "a.png"),
        "image_id": 7,
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": annotations,
        "occlusion": OCCLUSION,
    }


@pytest.mark.parametrize("short", [0, 13, 47])
def test_input_masks_are_resized_as_the_mapper_resizes_those_of_a_record(record, short):
    cfg = get_cfg()
    cfg.INPUT.MAPPER, cfg.INPUT.MASK_FORMAT = "InstanceOrderMapper", "bitmask"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.KEEP_GROUND_TRUTH = short, True
    expected = build_mapper(cfg, is_train=False)(record)
    cfg.INPUT.KEEP_GROUND_TRUTH = False
    pixels = read_image(record, "RGB")
    told = OrderedInstances(7, SIZE, MODAL, classes=np.arange(3), occlusion=OCCLUSION)
    found = model_input(build_mapper(cfg, is_train=False), pixels, told)
    assert torch.equal(found["image"], expected["image"])
    assert found["image"].shape[1] == (short or SIZE[0])
    found, expected = (input_instances(one, torch.device("cpu")) for one in (found, expected))
    assert torch.equal(found.pred_masks, expected.pred_masks)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    assert "instances" not in model_input(build_mapper(cfg, is_train=False), pixels)


def mapper(is_train=True, augmentations=(), **more):
    return InstanceOrderMapper(
        is_train, augmentations=list(augmentations), image_format="RGB", **more
    )


def test_everything_as_it_is(record):
    item = mapper()(record)
    found = item["instances"]
    assert item["image"].shape == (3, *SIZE) and item["image_id"] == 7
    assert item["image"][:, 5, 13].tolist() == [200, 100, 50]
    assert torch.equal(found.gt_masks.tensor, torch.from_numpy(MODAL))
    assert torch.equal(found.gt_amodal_masks.tensor, torch.from_numpy(AMODAL))
    assert found.gt_boxes.tensor.tolist()[1] == [12, 4, 18, 10]
    assert found.gt_occlusion.tensor.tolist() == OCCLUSION.tolist()
    assert found.gt_depth.tensor.tolist() == [[-1] * 3] * 3
    assert found.gt_classes.tolist() == [0, 1, 2]


def test_a_flip_moves_masks_with_the_image(record):
    item = mapper(augmentations=[T.RandomFlip(prob=1.0)])(record)
    assert np.array_equal(item["instances"].gt_masks.tensor.numpy(), MODAL[:, :, ::-1])
    assert item["image"][:, 5, 29 - 13].tolist() == [200, 100, 50]


def test_what_a_crop_leaves_out_takes_its_rows_with_it(record):
    left = T.CropTransform(0, 0, 20, 20)

    class Left(T.Augmentation):
        def get_transform(self, image):
            return left

    found = mapper(augmentations=[Left()])(record)["instances"]
    assert found.gt_classes.tolist() == [0, 1]
    assert found.gt_occlusion.tensor.tolist() == [[0, 1], [0, 0]]
    assert len(mapper(False, [Left()], keep_ground_truth=True)(record)["instances"]) == 3


def test_boxes_around_whole_objects(record):
    found = mapper(boxes="amodal")(record)["instances"]
    assert found.gt_boxes.tensor.tolist()[1] == [12, 4, 20, 12]
    with pytest.raises(ValueError, match="'modal' or 'amodal', got 'both'"):
        mapper(boxes="both")
    del record["annotations"][0]["amodal_segmentation"]
    with pytest.raises(ValueError, match="image 7: INPUT.BOXES is 'amodal'"):
        mapper(boxes="amodal")(record)


def test_no_instances_have_every_field(record):
    empty = mapper()({**record, "annotations": [], "occlusion": np.zeros((0, 0), np.int8)})
    full = mapper()(record)
    assert len(empty["instances"]) == 0
    assert set(empty["instances"].get_fields()) == set(full["instances"].get_fields())
    assert empty["instances"].gt_masks.tensor.shape == (0, *SIZE)


def test_ground_truth_at_test_time_only_if_asked_for(record):
    assert "instances" not in mapper(False)(record)
    assert len(mapper(False, keep_ground_truth=True)(record)["instances"]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 21}, r"image 7: the annotation has height and width \(21, 30\), .* \(20, 30\)"),
        ({"annotations": [{"id": 5, "category_id": 0}]}, "image 7: an annotation has no"),
        (
            {
                "annotations": [
                    {"id": 5, "segmentation": {"size": [2, 2], "counts": [4]}, "category_id": 0}
                ]
            },
            "image 7: annotation 5: segmentation",
        ),
    ],
)
def test_damage_is_named(record, change, message):
    with pytest.raises(ValueError, match=message):
        mapper()({**record, **change})


@pytest.mark.parametrize("content", [b"", b"<html>not an image</html>", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image(tmp_path, content):
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="bad.png: not a readable image"):
        read_image({"file_name": str(file)}, "RGB")


def test_a_truncated_photograph_is_named(record, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.jpg")
    data = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"b.jpg: not a readable image"):
        read_image({"file_name": str(tmp_path / "b.jpg")}, "RGB")


def test_by_configuration(record):
    cfg = get_cfg()
    cfg.INPUT.MAPPER = "InstanceOrderMapper"
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TEST = 40
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    item = build_mapper(cfg, is_train=False)(record)
    assert item["image"].shape == (3, 40, 60)
    assert item["instances"].gt_masks.tensor.shape == (3, 40, 60)
    cfg.INPUT.MAPPER = "NoSuchMapper"
    with pytest.raises(KeyError, match="NoSuchMapper"):
        build_mapper(cfg, is_train=True)


# --- order and masks together


def scene_record(seed=0):
    return to_record(generate(seed, size=(40, 56), num_instances=(4, 4)), image_id=1, file_name="")


def mapped(flip, crop=False, boxes="modal"):
    cfg = get_cfg()
    cfg.INPUT.MAPPER, cfg.INPUT.BOXES = "InstanceOrderMapper", boxes
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (40,), "none"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop, "absolute", [12, 12]
    mapper = build_mapper(cfg, is_train=True)
    if flip:
        mapper.augmentations.augs.append(T.RandomFlip(prob=1.0))
    np.random.seed(0)
    record = scene_record()
    record["pixels"] = np.zeros((40, 56, 3), np.uint8)
    for number, annotation in enumerate(record["annotations"]):
        annotation["category_id"] = number
    return mapper({key: value for key, value in record.items() if key != "file_name"})["instances"]


def test_a_flip_moves_masks_and_leaves_the_order():
    plain, flipped = mapped(False), mapped(True)
    assert torch.equal(flipped.gt_masks.tensor, plain.gt_masks.tensor.flip(2))
    assert torch.equal(flipped.gt_amodal_masks.tensor, plain.gt_amodal_masks.tensor.flip(2))
    for key in ("gt_occlusion", "gt_depth", "gt_overlap", "gt_count"):
        assert torch.equal(flipped.get(key).tensor, plain.get(key).tensor)


def test_a_crop_drops_rows_and_columns_together():
    whole, part = mapped(False), mapped(False, crop=True)
    assert 0 < len(part) < len(whole)
    # The class is the instance's number here, so it says which ones were kept.
    kept = part.gt_classes
    for key in ("gt_occlusion", "gt_depth", "gt_overlap", "gt_count"):
        assert torch.equal(part.get(key).tensor, whole.get(key).tensor[kept][:, kept])
