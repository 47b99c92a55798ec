"""Links are followed inside their folder alone: read, copied and served."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from occ_order.apps.annotate.project import Project
from occ_order.formats import load_cocoa_cls, load_kins
from occ_order.formats.convert import DataSet, copy_images, read_dataset
from occ_order.formats.user_masks import masks_file

GREY = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)


@pytest.fixture
def linked(tiny, write):
    """Makes a link to an image, and COCO instances of it; gives their file."""

    def linked(root, name, target):
        (root / name).symlink_to(target)
        data = tiny.cocoa_cls()
        data["images"][0]["file_name"] = name
        return write(data, root / "instances.json")

    return linked


def test_an_image_that_is_a_link_out_is_neither_read_nor_copied_nor_served(tmp_path, linked):
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (tmp_path / "secret").write_text("SECRET")
    path = linked(root, "p.png", tmp_path / "secret")
    for load in (load_cocoa_cls, load_kins):
        with pytest.raises(ValueError, match=r"image 7: .*p\.png is a link that leads out"):
            load(path, root)
    with pytest.raises(ValueError, match=r"image 7: .*p\.png is a link that leads out"):
        read_dataset("cocoa_cls", path)
    (root / "p.png").unlink()
    Image.fromarray(GREY).save(root / "q.png")
    data = read_dataset("cocoa_cls", linked(root, "p.png", "q.png"))  # which stays inside
    copied = copy_images(data, out)
    assert copied.records[0]["file_name"] == str(out / "images" / "p.png")
    (out / "images" / "p.png").unlink()
    (out / "images").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="images is a link that leads out of the folder"):
        copy_images(data, out)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (out / "answers.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"answers\.jsonl is a link that leads out"):
        Project(DataSet(data.records, data.categories, None), out)


def test_masks_that_are_links_out_are_not_read(tmp_path, caplog):
    root = tmp_path / "root"
    root.mkdir()
    Image.fromarray(GREY).save(root / "p.png")
    np.save(tmp_path / "secret.npy", np.ones((1, *GREY.shape[:2]), bool))
    (root / "p.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(FileNotFoundError, match=r"no \.npy file of npy"):
        read_dataset("npy", root)
    assert "p.npy is a link that leads out of the folder" in caplog.text
    (root / "p.png").unlink()
    with pytest.raises(ValueError, match=r"p\.npy is a link that leads out of the folder"):
        masks_file(root, "p.png")
