"""Every place of a file replaced by every kind of nonsense: an answer or a ValueError."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.formats.convert import DataSet, read_dataset, write_dataset
from occ_order.formats.layered_image import cut_layers, load_layers, save_layers
from occ_order.formats.user_masks import load_masks

NONSENSE = (None, True, -1, 0.5, 2**70, 1e308, "", "x", [], [[]], {}, {"a": 1}, [1, "2"])


def places(value, path=()):
    """Paths to every value inside a parsed JSON file."""
    if path:
        yield path
    if not isinstance(value, (dict, list)):
        return
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in items if len(items) < 12 else items[:3]:
        yield from places(inner, (*path, key))


def damaged(page):
    """The page with one place replaced, or its key missing."""
    for path in places(page):
        for nonsense in (*NONSENSE, "missing"):
            copied = copy.deepcopy(page)
            parent = copied
            for key in path[:-1]:
                parent = parent[key]
            if nonsense == "missing":
                del parent[path[-1]]
            else:
                parent[path[-1]] = nonsense
            yield copied


def check_refusals(path, page, read):
    """Reads every damaged page; gives how many were read and how many refused."""
    read_well = refused = 0
    for wrong in damaged(page):
        path.write_text(json.dumps(wrong))
        try:
            read()
            read_well += 1
        except (ValueError, FileNotFoundError) as error:
            assert str(error)
            refused += 1
    return read_well, refused


@pytest.fixture
def box():
    mask = np.zeros((10, 12), bool)
    mask[2:6, 3:9] = True
    return mask


def test_labelme(tmp_path, box):
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    ring = box.copy()
    ring[3:5, 5:7] = False
    annotations = [
        {"id": k + 1, "category_id": 1, "segmentation": masks.encode(mask), "iscrowd": 0,
         "bbox": [3.0, 2.0, 9.0, 6.0]}
        for k, mask in enumerate((box, ring))
    ]  # fmt: skip
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 10, "width": 12,
              "annotations": annotations}  # fmt: skip
    data = DataSet([record], [{"id": 1, "name": "cup"}], str(tmp_path))
    (path,) = write_dataset("labelme", data, tmp_path)
    read_well, refused = check_refusals(
        path, json.loads(path.read_text()), lambda: read_dataset("labelme", tmp_path)
    )
    assert read_well > 50 and refused > 100


def test_own_masks(tmp_path, box):
    page = {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 12}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": masks.encode(box)},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 8, 1, 8, 8]]},
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }
    path = tmp_path / "m.json"
    read_well, refused = check_refusals(path, page, lambda: load_masks(path, (10, 12)))
    assert read_well > 50 and refused > 100


def test_layers(tmp_path, box):
    image = np.zeros((10, 12, 3), np.uint8)
    layers = cut_layers(image, box[None], occlusion=np.zeros((1, 1), np.int8), amodal=box[None])
    *_, path = save_layers(tmp_path, layers)
    read_well, refused = check_refusals(
        path, json.loads(path.read_text()), lambda: load_layers(tmp_path)
    )
    assert read_well > 50 and refused > 50
