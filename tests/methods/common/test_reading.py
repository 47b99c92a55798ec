"""What a mapper reads of a record: its image and its masks, in the sizes that it says."""

from __future__ import annotations

import pytest

from occ_order.methods.common.reading import read_image, read_masks


def test_an_image_of_another_size_than_the_record_says_is_refused(toy, tmp_path):
    toy.write_images(tmp_path)
    record = {**toy.records(tmp_path)[4], "height": 17}
    with pytest.raises(ValueError) as error:
        read_image(record, "RGB")
    text = str(error.value)
    assert "4.png" in text and "image 4" in text and "(16, 24)" in text and "(17, 24)" in text


def test_a_mask_of_another_size_than_the_image_is_refused(toy, tmp_path):
    record = toy.records(tmp_path)[4]
    record["annotations"][1]["segmentation"]["size"] = [24, 16]
    message = r"image 4: annotation 41: .*RLE size is \[24, 16\], expected \[16, 24\]"
    with pytest.raises(ValueError, match=message):
        read_masks(record)


def test_an_image_of_which_one_instance_lacks_its_mask_has_no_masks(toy, tmp_path):
    record = toy.records(tmp_path)[4]
    del record["annotations"][0]["segmentation"]
    assert read_masks(record) is None
    assert read_masks({**record, "annotations": []}).shape == (0, 16, 24)
