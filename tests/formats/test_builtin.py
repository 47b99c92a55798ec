"""Registration with Detectron2."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from occ_order.cli import main
from occ_order.formats import builtin


@pytest.fixture
def name(request):
    """A fresh name; what the test registers under it is removed again."""
    name = f"test_{request.node.name}"
    yield name
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
        builtin._registered.pop(name, None)


def test_builtin_names():
    names = set(DatasetCatalog.list())
    expected = {f"instaorder_2017_{split}" for split in ("train", "val")}
    expected |= {f"cocoa_2014_{split}" for split in ("train", "val", "test")}
    expected |= {"cocoa_cls_train", "cocoa_cls_val", "d2sa_train", "d2sa_train_aug", "d2sa_val"}
    expected |= {"kins_2019_train", "kins_2019_val", "kins_2020_train", "kins_2020_test"}
    expected |= {"diw_test", "kitti_eigen_test"}
    kinds = ("instaorder", "cocoa", "cocoa_cls", "kins", "diw", "kitti")
    expected |= {f"scenes_{split}_{kind}" for split in ("train", "val") for kind in kinds}
    assert expected <= names


def test_builtin_metadata():
    assert MetadataCatalog.get("cocoa_2014_val").evaluator_type == "cocoa"
    kins = MetadataCatalog.get("kins_2019_train")
    assert kins.thing_dataset_id_to_contiguous_id == {1: 0, 2: 1, 4: 2, 5: 3, 6: 4, 7: 5, 8: 6}
    assert MetadataCatalog.get("kins_2020_train").thing_dataset_id_to_contiguous_id[4] == 3
    coco = MetadataCatalog.get("instaorder_2017_val")
    assert len(coco.thing_classes) == 80
    assert coco.thing_dataset_id_to_contiguous_id[90] == 79
    assert coco.json_file.endswith("coco/annotations/InstaOrder_val2017.json")
    assert coco.image_root.endswith("coco/val2017")


def test_registered_records(tiny, write, name, tmp_path):
    order, instances = write(tiny.instaorder(), "o.json"), write(tiny.instances(), "i.json")
    builtin.register_instaorder(name, order, instances, tmp_path / "Bilder 1")
    record = DatasetCatalog.get(name)[1]
    assert record["file_name"] == str(tmp_path / "Bilder 1" / "a.png")
    assert [a["category_id"] for a in record["annotations"]] == [1, 0, 0]
    assert {a["bbox_mode"] for a in record["annotations"]} == {BoxMode.XYXY_ABS}
    np.testing.assert_array_equal(record["occlusion"], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["cup", "tray"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 5: 1}
    assert (metadata.evaluator_type, metadata.instances_json) == ("instaorder", instances)


def test_records_pass_through_the_stock_mapper(tiny, write, name, tmp_path):
    """KINS 2019 with an uncompressed RLE, which Detectron2 itself cannot decode."""
    from detectron2.data import DatasetMapper
    from PIL import Image

    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    builtin.register_kins(name, write(tiny.kins_2019()), tmp_path)
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    instances = mapper(DatasetCatalog.get(name)[0])["instances"]
    assert instances.gt_masks.tensor.flatten(1).sum(dim=1).tolist() == [12, 12, 2]
    assert instances.gt_classes.tolist() == [0, 1, 0]
    assert instances.gt_boxes.tensor[1].tolist() == [3.0, 2.0, 7.0, 6.0]


def test_loading_twice_gives_equal_fresh_records(tiny, write, name):
    builtin.register_kins(name, write(tiny.kins_2020()), "")
    first = DatasetCatalog.get(name)
    first[0]["annotations"].clear()
    assert [a["category_id"] for a in DatasetCatalog.get(name)[0]["annotations"]] == [0, 1, 0]


def test_same_registration_is_no_error_another_is(tiny, write, name):
    path = write(tiny.cocoa())
    builtin.register_cocoa(name, path, "x")
    builtin.register_cocoa(name, path, "x")
    with pytest.raises(ValueError, match=f"{name}.*already registered"):
        builtin.register_cocoa(name, path, "y")
    with pytest.raises(ValueError, match="already registered"):
        builtin.register_cocoa(name, path, "x", max_occlude_rate=0.95)
    with pytest.raises(ValueError, match="already registered"):
        builtin.register_kins(name, path, "x")
    assert MetadataCatalog.get(name).image_root.endswith("x")


def test_registering_all_again_changes_nothing():
    before = dict(builtin._registered)
    root = builtin._registered["cocoa_2014_val"]["paths"][0]
    builtin.register_all(root[: root.index("/coco/annotations/")])
    assert builtin._registered == before


def test_names_of_other_packages_are_left_alone(tmp_path, monkeypatch, caplog):
    root = builtin._registered["diw_test"]["paths"][-1]
    monkeypatch.delitem(builtin._registered, "diw_test")
    with pytest.raises(ValueError, match="another package"):
        builtin.register_diw("diw_test", tmp_path / "x.csv", tmp_path)
    builtin.register_all(root[: root.rindex("/diw")])
    assert "diw_test is taken by another package" in caplog.text
    assert "diw_test" not in builtin._registered


def test_missing_file_says_where_it_belongs(name, tmp_path):
    builtin.register_coco_amodal(name, tmp_path / "absent.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="absent.json.*datasets/README.md"):
        DatasetCatalog.get(name)


def test_category_that_is_not_registered(tiny, write, name):
    builtin.register_kins(name, write(tiny.kins_2019()), "", categories=[{"id": 3, "name": "cup"}])
    with pytest.raises(ValueError, match="annotation 2: category_id 5"):
        DatasetCatalog.get(name)


def test_lists_get_image_ids(write, name):
    builtin.register_diw(name, write("./a.png\n1,1,6,8,<\n", "d.csv"), "root")
    (record,) = DatasetCatalog.get(name)
    assert (record["image_id"], record["relation"]) == (0, "<")
    assert MetadataCatalog.get(name).evaluator_type == "diw"


def test_validator_takes_names(tiny, write, name, capsys, tmp_path):
    builtin.register_coco_amodal(name, write(tiny.d2sa()), tmp_path)
    assert main(["validate", name]) == 1
    assert "image 7: no such image file" in capsys.readouterr().out
    assert main(["validate", "no_such_name"]) == 2
    assert "neither a file nor a data set" in capsys.readouterr().err


def test_photographs_are_looked_for_when_they_are_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.delenv("OCC_ORDER_PHOTOS", raising=False)
    builtin.register_photos(
        name, "$OCC_ORDER_PHOTOS/a/annotations.json", "$OCC_ORDER_PHOTOS/a", split="train"
    )
    for ask in (DatasetCatalog.get, builtin.validation_arguments):
        with pytest.raises(FileNotFoundError, match=f"{name}.*OCC_ORDER_PHOTOS is not set"):
            ask(name)
    monkeypatch.setenv("OCC_ORDER_PHOTOS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{name}.*OCC_ORDER_PHOTOS is {tmp_path}"):
        DatasetCatalog.get(name)
    image = {"id": 1, "file": "1.png", "width": 3, "height": 2, "split": "train"}
    instances = [
        {"id": k, "image_id": 1, "category": word, "amodal": None, "modal": rle}
        for k, word, rle in (
            (5, "tray", {"size": [2, 3], "counts": [0, 2, 4]}),
            (6, "cup", {"size": [2, 3], "counts": [2, 2, 2]}),
        )
    ]
    content = {"images": [image], "instances": instances, "occlusion": [], "depth_order": []}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "annotations.json").write_text(json.dumps(content))
    record = DatasetCatalog.get(name)[0]
    assert record["file_name"] == str(tmp_path / "a" / "1.png")
    assert [one["category_id"] for one in record["annotations"]] == [1, 0]
    assert isinstance(record["annotations"][0]["segmentation"]["counts"], str)
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["cup", "tray"]
    assert metadata.evaluator_type == "photos"
    assert builtin.validation_arguments(name)["options"] == {"split": "train"}


def test_sources_of_photographs_have_names_before_they_are_there():
    expected = {f"photos_{one}_{split}" for one in builtin.PHOTO_SOURCES for split in
                ("train", "val")}  # fmt: skip
    assert expected <= set(DatasetCatalog.list())
