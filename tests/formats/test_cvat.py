"""CVAT's XML: masks, polygons, z-order, and the order as attributes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from occ_order.formats.cvat import document_of
from occ_order.formats.user_masks import load_masks
from occ_order.formats.validate import validate
from occ_order.instances import OrderedInstances
from tests.formats.boxes import CUP, SIZE, TRAY, box

POLYGON = '<polygon label="cup" points="2.0,2.0;10.0,2.0;10.0,6.0;2.0,6.0" z_order="{}"/>'
# The box of TRAY, 5 rows of 8, all inside: no pixel outside first, then 40 inside.
MASK = '<mask label="tray" rle="0, 40" left="8" top="4" width="8" height="5" z_order="{}"/>'


def document(*shapes, name="a.jpg", head="", more=""):
    inside = "".join(shapes)
    image = f'<image id="3" name="{name}" width="20" height="10">{inside}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations>{image}{more}</annotations>'


def write(folder, text):
    path = folder / "annotations.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_masks_and_polygons(tmp_path):
    path = write(tmp_path, document(POLYGON.format(0), MASK.format(0)))
    found = load_masks(path, SIZE, image_name="a.jpg")
    assert np.array_equal(found.modal, [CUP, TRAY])
    assert found.names == ("cup", "tray") and found.ids == (1, 2) and found.image_id == 3
    assert found.occlusion is None


def test_run_lengths_go_along_rows_and_begin_outside(tmp_path):
    text = '<mask label="x" rle="1,2,4,1" left="3" top="1" width="4" height="2"/>'
    (mask,) = load_masks(write(tmp_path, document(text)), SIZE).modal
    assert np.argwhere(mask).tolist() == [[1, 4], [1, 5], [2, 6]]


def test_what_lies_on_top_occludes_and_hides(tmp_path):
    found = load_masks(write(tmp_path, document(POLYGON.format(0), MASK.format(1))), SIZE)
    assert found.occlusion.tolist() == [[0, 0], [1, 0]]
    assert np.array_equal(found.modal, [CUP & ~TRAY, TRAY])
    apart = '<polygon label="x" points="17,0;20,0;20,3;17,3" z_order="5"/>'
    found = load_masks(write(tmp_path, document(POLYGON.format(0), MASK.format(1), apart)), SIZE)
    assert found.occlusion[2].tolist() == [-1, -1, 0]


def test_grouped_shapes_are_one_instance(tmp_path):
    halves = [
        f'<polygon label="cup" group_id="{group}" points="{x},2;{x + 3},2;{x + 3},6;{x},6"/>'
        for group, x in ((4, 2), (4, 7), (0, 12), (0, 16))
    ]
    found = load_masks(write(tmp_path, document(*halves)), SIZE)
    assert len(found) == 3
    assert np.array_equal(found.modal[0], box(2, 6, 2, 5) | box(2, 6, 7, 10))


def test_an_ellipse_is_an_instance_and_a_box_is_none(tmp_path, caplog):
    shapes = ['<ellipse label="x" cx="10" cy="5" rx="4" ry="4"/>',
              '<box label="x" xtl="0" ytl="0" xbr="3" ybr="3"/>']  # fmt: skip
    found = load_masks(write(tmp_path, document(*shapes, more='<track id="0"/>')), SIZE)
    assert len(found) == 1 and found.modal[0, 5, 10] and not found.modal[0, 0, 0]
    assert "annotations.xml: image a.jpg: a box, left out" in caplog.text
    assert "annotations.xml: 1 tracks of a video left out" in caplog.text


def test_a_file_of_boxes_alone_is_told(tmp_path, caplog):
    path = write(tmp_path, document('<box label="x" xtl="0" ytl="0" xbr="3" ybr="3"/>'))
    assert len(load_masks(path, SIZE)) == 0
    assert "annotations.xml: no instances of image 3" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations>", "not an XML file"),
        ("", "not an XML file"),
        ("<svg/>", "expected CVAT's <annotations>"),
        (document(head="<!DOCTYPE a [<!ENTITY b 'c'>]>"), "has a DTD"),
        ('<annotations><image id="3" name="a.jpg" width="20"/></annotations>', "no 'height'"),
        ('<annotations><image id="3" width="20" height="10"/></annotations>', "no 'name'"),
        (document(MASK.format(0).replace("0, 40", "0, 39")), "image a.jpg: shape 1: .* got 39"),
        (document(MASK.format(0).replace("0, 40", "-1, 41")), "shape 1: its runs"),
        (document(MASK.format(0).replace("0, 40", "x")), "shape 1: expected numbers"),
        (document(MASK.format(0).replace('left="8"', 'left="13"')), "shape 1: .* is not inside"),
        (document('<polygon label="x" points="1,1;2,2"/>'), "shape 1: a polygon needs three"),
        (document('<polygon label="x" points="1,1;2"/>'), "shape 1: expected 2 finite numbers"),
        (document('<polygon points="1,1;2,2;3,3"/>'), "shape 1: <polygon> has no 'label'"),
        (document(POLYGON.format("x"), MASK.format(0)), "image a.jpg: expected numbers, got 'x'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"annotations.xml: .*{message}"):
        load_masks(write(tmp_path, text), SIZE)


def test_entities_of_utf_16_are_refused_too(tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_text(document(head="<!DOCTYPE a [<!ENTITY b 'c'>]>"), encoding="utf-16")
    with pytest.raises(ValueError, match="annotations.xml: has a DTD"):
        load_masks(path, SIZE)


# --- there and back


@pytest.fixture
def result():
    ring = box(0, 4, 15, 20) & ~box(1, 3, 16, 18)
    return OrderedInstances(
        3, SIZE, np.stack([CUP & ~TRAY, TRAY, ring]), ids=(4, 8, 15),
        names=("cup", "tray", "a & b"),
        classes=[2, 3, 1], occlusion=np.array([[0, 0, -1], [1, 0, 0], [0, 0, 0]]),
        file_name="photos/a.jpg",
    )  # fmt: skip


def test_a_document_says_the_same_as_the_result(tmp_path, result):
    path = write(tmp_path, result.to_cvat())
    found = load_masks(path, SIZE, image_name="photos/a.jpg")
    for key in ("modal", "occlusion", "classes"):
        assert np.array_equal(getattr(found, key), getattr(result, key)), key
    assert (found.ids, found.names, found.image_id) == (result.ids, result.names, 3)


def test_z_order_and_occluded_say_what_is_on_top(tmp_path, result):
    from xml.etree import ElementTree

    masks = ElementTree.fromstring(result.to_cvat().encode()).findall("image/mask")
    levels = [int(mask.get("z_order")) for mask in masks]
    assert levels[1] > levels[0]
    assert [mask.get("occluded") for mask in masks] == ["1", "0", "0"]
    labels = ElementTree.fromstring(result.to_cvat().encode()).findall("meta/task/labels/label")
    assert [label.findtext("name") for label in labels] == ["a & b", "cup", "tray"]
    names = [a.findtext("name") for a in labels[0].findall("attributes/attribute")]
    assert names == ["id", "occludes", "unknown"]


def test_ids_that_stand_there_twice_are_refused(tmp_path, result):
    path = write(tmp_path, result.to_cvat().replace(">8<", ">4<"))
    with pytest.raises(ValueError, match="shape 4: its id stands there twice"):
        load_masks(path, SIZE)


def test_what_cvat_cannot_hold_is_said(result, caplog):
    hidden = result.replace(modal=result.modal & np.array([0, 1, 1], bool)[:, None, None])
    assert hidden.to_cvat().count("<mask ") == 2
    assert "image 3: instance 4 has no pixel, left out" in caplog.text


def test_images_named_by_strings_are_numbered(tmp_path, result):
    named = [result.replace(image_id=key, file_name=f"{key}.jpg") for key in ("x", "y")]
    path = write(tmp_path, document_of(named))
    assert [load_masks(path, SIZE, image_name=f"{key}.jpg").image_id for key in "xy"] == [1, 2]
    path = write(tmp_path, result.replace(image_id="x", file_name=None).to_cvat())
    assert load_masks(path, SIZE, image_name="x.png").image_id == 1


def test_it_is_validated_by_its_ending(tmp_path):
    report = validate(write(tmp_path, document(POLYGON.format(0), MASK.format(0))))
    assert report.errors == [] and report.counts == {"images": 1, "instances": 2}
    Image.new("RGB", (20, 11)).save(tmp_path / "a.jpg")
    (error,) = validate(tmp_path / "annotations.xml", images=tmp_path).errors
    assert "height and width (10, 20), but the image has (11, 20)" in error
    (error,) = validate(write(tmp_path, "<a/>")).errors
    assert "annotations.xml: expected CVAT's" in error
