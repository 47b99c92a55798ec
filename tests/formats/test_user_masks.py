"""Masks as users have them."""

import json

import numpy as np
import pytest
from PIL import Image

from occ_order import masks
from occ_order.files import list_images, load_image, resolve_inside
from occ_order.formats import user_masks
from occ_order.formats.convert import DataSet, write_dataset
from occ_order.formats.results import image_of
from occ_order.formats.user_masks import load_masks

SIZE = (6, 8)


def mask(y0, y1, x0, x1):
    result = np.zeros(SIZE, bool)
    result[y0:y1, x0:x1] = True
    return result


ONE, TWO = mask(0, 3, 0, 4), mask(2, 6, 5, 8)


def save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


# --- images of masks


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "32 bit", "palette", "colours", "alpha"])
def test_label_maps(tmp_path, kind):
    labels = np.where(ONE, 3, np.where(TWO, 200, 0))
    expected = [3, 200]
    if kind == "8 bit":
        array = labels.astype(np.uint8)
    elif kind == "16 bit":
        array, expected = (labels * 300).astype(np.uint16), [900, 60000]
    elif kind == "32 bit":
        array, expected = (labels * 1000).astype(np.int32), [3000, 200000]
    elif kind == "palette":
        array = labels.astype(np.uint8)
    else:
        array = np.stack([labels, 0 * labels, labels * 0 + (labels > 0)], -1).astype(np.uint8)
        expected = [3 + 65536, 200 + 65536]
    pixels = Image.fromarray(array)
    if kind == "palette":
        pixels.putpalette([k % 256 for k in range(768)])
    if kind == "alpha":
        pixels.putalpha(Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8)))
    ending = "tif" if kind == "32 bit" else "png"
    pixels.save(tmp_path / f"labels.{ending}")
    found = load_masks(tmp_path / f"labels.{ending}", SIZE)
    assert found.ids == tuple(expected) and (found.modal == [ONE, TWO]).all()
    assert found.classes.tolist() == [1, 1] and found.names is None


def test_a_black_label_map_has_no_instances(tmp_path):
    found = load_masks(save(tmp_path / "a.png", np.zeros(SIZE, np.uint8)), SIZE)
    assert len(found) == 0 and found.modal.shape == (0, *SIZE)


def test_a_folder_of_masks_is_sorted_as_people_count(tmp_path):
    save(tmp_path / "10.png", ONE)
    save(tmp_path / "2.png", TWO.astype(np.uint8))
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[ONE, 3] = 255
    save(tmp_path / "b.PNG", rgba)
    (tmp_path / "notes.txt").write_text("not a mask")
    found = load_masks(tmp_path, SIZE)
    assert found.names == ("2", "10", "b") and found.ids == (1, 2, 3)
    assert (found.modal == [TWO, ONE, ONE]).all()


def test_layers_as_they_are_exported_are_masks(tmp_path):
    """RGBA layers read back as the masks that they were cut by."""
    rgba = np.full((*SIZE, 4), 7, np.uint8)
    rgba[..., 3] = np.where(TWO, 255, 0)
    save(tmp_path / "layer_000.png", rgba)
    assert (load_masks(tmp_path, SIZE).modal[0] == TWO).all()


def test_masks_of_photographs_and_other_sizes_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="a.png: .* different values; .* Is this a photograph"):
        load_masks(save(tmp_path / "a.png", photo), (60, 80))
    with pytest.raises(ValueError, match=r"height and width \(60, 80\), but .* \(6, 8\)"):
        load_masks(tmp_path / "a.png", SIZE)
    with pytest.raises(ValueError, match="a.jpg: JPEG blurs the edges of masks"):
        load_masks(save(tmp_path / "a.jpg", ONE.astype(np.uint8)), SIZE)
    (tmp_path / "b.png").write_text("<html>")
    with pytest.raises(ValueError, match="b.png: not a readable image"):
        load_masks(tmp_path / "b.png", SIZE)


def test_empty_masks_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no masks"):
        load_masks(tmp_path, SIZE)
    save(tmp_path / "1.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(ValueError, match="mask 1 covers no pixel"):
        load_masks(tmp_path, SIZE)
    assert len(load_masks(tmp_path, SIZE, allow_empty=True)) == 1
    with pytest.raises(FileNotFoundError):
        load_masks(tmp_path / "none.png", SIZE)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "secret.png", ONE)
    (tmp_path / "in" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="leads out of the folder"):
        load_masks(tmp_path / "in", SIZE)


WHOLE = ONE | mask(0, 4, 0, 6)


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([0, 1, 2, 255], [1, 2]),  # Pascal VOC's rim
        ([0, 1, 255], [1]),
        ([0, 255], [255]),  # a mask
        ([0, 85, 170, 255], [85, 170, 255]),  # grey levels that were chosen by hand
        ([0, 1, 3, 255], [1, 3]),  # the second instance lies outside of a crop
        ([0, 15, 255], [15]),  # classes of Pascal VOC
        ([0, 50, 100, 254, 255], [50, 100, 254, 255]),
        ([0, 25, 50, 255], [25, 50, 255]),
        (range(256), list(range(1, 256))),  # so many instances
    ],
)
@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_the_void_rim_is_no_instance(tmp_path, caplog, values, ids, kind):
    values = np.resize(np.array(values, np.uint8), (16, 16))
    pixels = Image.fromarray(values)
    if kind == "palette":
        pixels.putpalette([k % 256 for k in range(768)])
    pixels.save(tmp_path / "a.png")
    assert load_masks(tmp_path / "a.png", (16, 16)).ids == tuple(ids)
    assert ("a.png: the value 255 is void" in caplog.text) == (255 in values and 255 not in ids)


def test_void_of_sixteen_bits_and_of_colours(tmp_path):
    save(tmp_path / "a.png", np.where(ONE, 1, np.where(TWO, 65535, 0)).astype(np.uint16))
    assert load_masks(tmp_path / "a.png", SIZE).ids == (1,)
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[ONE], colours[TWO] = (128, 0, 0), (224, 224, 192)
    save(tmp_path / "b.png", colours)
    found = load_masks(tmp_path / "b.png", SIZE)
    assert found.ids == (128,) and (found.modal == [ONE]).all()


@pytest.mark.parametrize("kind", ["grey", "colours", "alpha", "16 bit"])
def test_of_a_soft_mask_half_is_inside(tmp_path, caplog, kind):
    soft = np.where(ONE, 255, np.where(WHOLE, 60, 0)).astype(np.uint8)
    if kind == "colours":
        soft = np.repeat(soft[..., None], 3, axis=2)
    elif kind == "alpha":
        soft = np.dstack([np.full((*SIZE, 3), 9, np.uint8), soft])
    elif kind == "16 bit":
        soft = soft.astype(np.uint16) * 257
    save(tmp_path / "1.png", soft)
    assert (load_masks(tmp_path, SIZE).modal == [ONE]).all()
    assert "1.png: a soft mask of 2 levels" in caplog.text


def test_label_maps_and_floats_are_no_masks_of_one_instance(tmp_path):
    (tmp_path / "m").mkdir()
    save(tmp_path / "m" / "1.png", np.where(ONE, 1, np.where(TWO, 2, 0)).astype(np.uint8))
    with pytest.raises(ValueError, match=r"1\.png: has 2 grey levels up to 2 of 255; a mask has"):
        load_masks(tmp_path / "m", SIZE)
    save(tmp_path / "f.tif", ONE.astype(np.float32) / 2)
    with pytest.raises(ValueError, match=r"f\.tif: pixels are floats"):
        load_masks(tmp_path / "f.tif", SIZE)


def test_hidden_files_are_no_masks(tmp_path):
    save(tmp_path / "1.png", ONE)
    (tmp_path / "._1.png").write_bytes(b"of a disk from macOS")
    assert len(load_masks(tmp_path, SIZE)) == 1


# --- JSON


@pytest.mark.parametrize("key", ["visible_mask", "inmodal_seg", "i_segm"])
def test_of_amodal_formats_the_visible_part_is_taken(tmp_path, key):
    whole = "a_segm" if key == "i_segm" else "segmentation"
    page = coco()
    page["annotations"] = [
        {"id": 1, "image_id": 5, "category_id": 2, whole: masks.encode(WHOLE)},
        {"id": 2, "image_id": 5, "category_id": 2, whole: masks.encode(TWO)},
    ]
    for entry, visible in zip(page["annotations"], (ONE, TWO), strict=True):
        if key != "visible_mask" or visible is ONE:  # COCOA-cls leaves it out of open objects
            entry[key] = masks.encode(visible)
    found = load_masks(write(tmp_path, page), SIZE, image_name="a.jpg")
    assert (found.modal == [ONE, TWO]).all()


def test_crowds_are_said_and_can_be_kept(tmp_path, caplog):
    page = coco()
    assert load_masks(write(tmp_path, page), SIZE, image_name="a.jpg").ids == (11, 13)
    assert "m.json: 1 crowd annotations ('iscrowd' 1) left out" in caplog.text
    for entry in page["annotations"]:  # as CVAT writes what is drawn with a brush
        entry.update(iscrowd=1, segmentation=masks.encode(ONE))
    with pytest.raises(ValueError, match="m.json: all 3 annotations have 'iscrowd' 1, as CVAT"):
        load_masks(write(tmp_path, page), SIZE, image_name="a.jpg")
    found = load_masks(write(tmp_path, page), SIZE, image_name="a.jpg", keep_crowds=True)
    assert found.ids == (11, 13, 14) and (found.modal == [ONE] * 3).all()


def test_every_damaged_entry_is_named_at_once_and_can_be_left_out(tmp_path, caplog):
    page = coco()
    stray = [[5, 2, 8, 2, 8, 6, 5, 6], [1, 1, 2, 2]]  # a part of two points beside a good one
    wrong = [[], [[1, 1, 5, 5]], [{"size": [6, 8], "counts": [48]}], stray, masks.encode(ONE * 0)]
    page["annotations"] = [
        {"id": k, "image_id": 5, "category_id": 2, "segmentation": segmentation}
        for k, segmentation in enumerate(wrong)
    ]
    with pytest.raises(ValueError) as caught:
        load_masks(write(tmp_path, page), SIZE, image_name="a.jpg")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"annotation {k}" for k in range(3)]
    found = load_masks(write(tmp_path, page), SIZE, image_name="a.jpg", skip_damaged=True)
    assert found.ids == (3,) and (found.modal == [TWO]).all()
    assert "m.json: 3 damaged entries left out" in caplog.text
    assert "mask 4 covers no pixel" in caplog.text


def test_a_file_name_of_windows_is_the_same_image(tmp_path):
    page = coco()
    page["images"][0]["file_name"] = "..\\label-studio\\a.jpg"
    for name in ("a.jpg", "x/a.jpg", "x\\a.jpg", "a.png"):
        assert load_masks(write(tmp_path, page), SIZE, image_name=name).ids == (11, 13)


def coco(**changes):
    page = {
        "images": [{"id": 5, "file_name": "sub/a.jpg", "height": 6, "width": 8},
                   {"id": 6, "file_name": "b.jpg", "height": 6, "width": 8}],
        "annotations": [
            {"id": 11, "image_id": 5, "category_id": 2, "segmentation": masks.encode(ONE)},
            {"id": 12, "image_id": 6, "category_id": 2, "segmentation": masks.encode(TWO)},
            {"id": 13, "image_id": 5, "category_id": 4, "segmentation": [[5, 2, 8, 2, 8, 6, 5, 6]]},
            {"id": 14, "image_id": 5, "category_id": 4, "iscrowd": 1, "segmentation": []},
        ],
        "categories": [{"id": 2, "name": "cup"}, {"id": 4, "name": "tray"}],
    }  # fmt: skip
    return {**page, **changes}


def write(tmp_path, page):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(page))
    return path


@pytest.mark.parametrize("name", ["sub/a.jpg", "a.jpg", "elsewhere/a.jpg", "a.png", "x\\a.jpg"])
def test_coco_instances_of_a_named_image(tmp_path, name):
    found = load_masks(write(tmp_path, coco()), SIZE, image_name=name)
    assert found.ids == (11, 13) and found.names == ("cup", "tray")
    assert (found.modal == [ONE, TWO]).all() and found.scores.tolist() == [1.0, 1.0]


def test_a_file_about_one_image_needs_no_name(tmp_path):
    page = coco()
    page["images"] = page["images"][:1]
    assert load_masks(write(tmp_path, page), SIZE).ids == (11, 13)
    page["annotations"] = []
    assert len(load_masks(write(tmp_path, page), SIZE)) == 0


def test_a_coco_results_list(tmp_path):
    entries = [{"image_id": 3, "category_id": 7, "score": 0.5, "segmentation": masks.encode(ONE)}]
    found = load_masks(write(tmp_path, entries), SIZE)
    assert found.ids == (1,) and found.scores.tolist() == [0.5] and found.classes.tolist() == [7]
    entries.append({**entries[0], "image_id": 4})
    with pytest.raises(ValueError, match="results of several images"):
        load_masks(write(tmp_path, entries), SIZE)


def test_order_results_and_labelme(tmp_path, records, categories):
    data = DataSet(records, categories, str(tmp_path / "images"))
    (results,) = write_dataset("results", data, tmp_path / "r")
    pages = write_dataset("labelme", data, tmp_path / "l")
    expected = masks.decode_all([a["segmentation"] for a in records[0]["annotations"]], 64, 80)
    names = {c["id"]: c["name"] for c in categories}
    labels = [names[a["category_id"]] for a in records[0]["annotations"]]
    found = load_masks(results, (64, 80), image_name="image 1.jpg")
    assert (found.modal == expected).all()
    found = load_masks(pages[0], (64, 80))
    assert (found.modal == expected).all() and list(found.names) == labels


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("x", "expected a list or an object, got str"),
        ({"a": 1}, r"expected COCO instances .* got the keys \['a'\]"),
        (coco(images=[]), "there is no image in it"),
        (coco(), "2 images; name the one that is meant"),
        ([1], "entry 1: must have a 'segmentation', got 1"),
        ([{"segmentation": {"size": [6, 8], "counts": [1]}}], "m.json: entry 1: .*sum"),
        (
            [{"segmentation": masks.encode(ONE), "score": "x"}],
            "entry 1: wrong id, category_id",
        ),
        (coco(annotations=3), "'annotations' must be a list of objects"),
        ({"shapes": [], "imageHeight": 9, "imageWidth": 8}, r"has height and width \(9, 8\)"),
    ],
)
def test_damaged_json_is_named(tmp_path, page, message):
    name = "b.jpg" if isinstance(page, dict) and page.get("annotations") == 3 else None
    with pytest.raises(ValueError, match=message):
        load_masks(write(tmp_path, page), SIZE, image_name=name)


def test_text_that_is_no_json_and_names_that_do_not_fit(tmp_path):
    (tmp_path / "m.json").write_text("[" * 9000)
    with pytest.raises(ValueError, match="m.json: nested too deeply"):
        load_masks(tmp_path / "m.json", SIZE)
    with pytest.raises(ValueError, match="no image is called 'c.jpg'; there are"):
        load_masks(write(tmp_path, coco()), SIZE, image_name="c.jpg")
    page = coco()
    page["images"][1]["file_name"] = "other/a.jpg"
    with pytest.raises(ValueError, match="2 images are called 'a.jpg'"):
        load_masks(write(tmp_path, page), SIZE, image_name="a.jpg")
    with pytest.raises(ValueError, match=r"image 5 has height and width \(6, 8\), but .* \(7, 8\)"):
        load_masks(write(tmp_path, coco()), (7, 8), image_name="sub/a.jpg")


# --- images and paths


def test_images_of_every_kind(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(SIZE)
    deep = grey.astype(np.uint16) * 256 + 17
    rgb = np.stack([grey, grey + 1, grey + 2], -1)
    rgba = np.dstack([rgb, np.where(ONE, 255, 0).astype(np.uint8)])
    three = np.repeat(grey[..., None], 3, 2)
    for name, array, expected in (("g", grey, three), ("d", deep, three), ("c", rgb, rgb),
                                  ("a", rgba, rgb)):  # fmt: skip
        assert (load_image(save(tmp_path / f"{name}.png", array)) == expected).all()
    turned = Image.Exif()
    turned[0x0112] = 6
    save(tmp_path / "r.png", rgb, exif=turned)
    assert (load_image(tmp_path / "r.png") == np.rot90(rgb, -1)).all()


@pytest.mark.parametrize("content", [b"", b"<html>", "half"])
def test_damaged_images_are_named(tmp_path, content):
    path = save(tmp_path / "a b\u00fc.png", np.zeros((50, 50, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match="a b\u00fc.png: not a readable image"):
        load_image(path)
    with pytest.raises(ValueError, match="none.png: no such image"):
        load_image(tmp_path / "none.png")


def test_names_stay_in_their_folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    save(tmp_path / "in" / "sub" / "a.png", ONE)
    save(tmp_path / "out.png", ONE)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in" / "fine.png").symlink_to(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    assert list_images(tmp_path / "in") == ["fine.png", "sub/a.png"]
    assert resolve_inside(tmp_path / "alias", "sub/a.png").is_file()
    for name in ("../out.png", "/out.png", "sub\\a.png", "C:a.png", "link.png", "a\0b", ""):
        with pytest.raises(ValueError, match="inside|forward slashes|leads out"):
            resolve_inside(tmp_path / "in", name)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_images(tmp_path / "none")


def test_images_are_found_by_id(tmp_path):
    for name in ("COCO_val2014_000000000042.jpg", "7.png", "x_0007.png"):
        save(tmp_path / name, ONE.astype(np.uint8))
    found = image_of({"image_id": 42}, tmp_path)
    assert found.name == "COCO_val2014_000000000042.jpg"
    with pytest.raises(ValueError, match="image 7: several images bear its id"):
        image_of({"image_id": 7}, tmp_path)
    assert image_of({"image_id": 7, "file_name": "7.png"}, tmp_path).name == "7.png"
    assert image_of({"image_id": 7}, tmp_path, file_names={7: "7.png"}).name == "7.png"
    with pytest.raises(ValueError, match="image 7: no such image"):
        image_of({"image_id": 7, "file_name": "8.png"}, tmp_path)


def test_a_file_about_many_images_is_parsed_once_and_again_when_it_changes(tmp_path, monkeypatch):
    parsed = []
    real = user_masks.parse_json
    monkeypatch.setattr(user_masks, "parse_json", lambda path: parsed.append(path) or real(path))
    path = write(tmp_path, coco())
    for _ in range(3):
        assert load_masks(path, SIZE, image_name="a.jpg").ids == (11, 13)
    assert len(parsed) == 1
    page = coco()
    page["annotations"] = page["annotations"][:1]
    write(tmp_path, page)
    assert len(load_masks(path, SIZE, image_name="a.jpg")) == 1 and len(parsed) == 2
