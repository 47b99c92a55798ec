"""Layers: the photograph comes back from them, in the right order, and files say the same."""

import json
import os

import networkx as nx
import numpy as np
import pytest
from PIL import Image

from occ_order import scenes
from occ_order.formats.layered_image import (
    compose,
    cut_layers,
    export_image,
    front_to_back,
    layer_summary,
    layers_of,
    load_layers,
    save_layers,
    save_psd,
)
from occ_order.order.io import results_image


@pytest.fixture(scope="module")
def scene():
    return scenes.generate(57, size=(64, 80), num_instances=(4, 5), interlocked=0.5)


@pytest.fixture(scope="module")
def layers(scene):
    return cut_layers(
        scene.image, scene.modal, occlusion=scene.occlusion, depth=scene.depth, amodal=scene.amodal
    )


def results(scene, **options):
    count = len(scene.modal)
    return results_image(
        image_id=7,
        height=64,
        width=80,
        modal=scene.modal,
        classes=scene.classes.tolist(),
        scores=[0.5] * count,
        **options,
    )


def test_front_to_back_by_hand():
    # 2 occludes 0, 0 occludes 1; 3 touches nobody and is closer than 2, so it comes before 2.
    occlusion = np.zeros((4, 4), np.int8)
    occlusion[2, 0] = occlusion[0, 1] = 1
    depth = np.full((4, 4), -1, np.int8)
    depth[3, 2], depth[2, 3] = 1, 0
    order, layer = front_to_back(occlusion, depth)
    assert order.tolist() == [3, 2, 0, 1]
    assert layer.tolist() == [1, 2, 0, 0]
    assert front_to_back(occlusion)[0].tolist() == [2, 3, 0, 1]


def test_instances_in_a_cycle_share_a_layer():
    occlusion = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.int8)
    order, layer = front_to_back(occlusion)
    assert order.tolist() == [0, 1, 2] and layer.tolist() == [0, 0, 1]


def test_depth_alone_orders_and_no_order_is_refused():
    depth = np.array([[-1, 0, 2], [1, -1, -1], [2, -1, -1]], np.int8)
    assert front_to_back(None, depth)[0].tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="there is neither"):
        front_to_back(None, None)
    with pytest.raises(ValueError, match="occlusion has 2 instances, depth 3"):
        front_to_back(np.zeros((2, 2), np.int8), depth)


def test_layers_laid_over_each_other_are_the_photograph(scene, layers):
    whole = compose(layers)
    assert (whole[..., :3] == scene.image).all() and (whole[..., 3] == 255).all()


def test_an_occluder_stands_before_what_it_occludes(scene, layers):
    place = {layer.info["index"]: k for k, layer in enumerate(layers[:-1])}
    one_way = np.argwhere((scene.occlusion == 1) & (scene.occlusion.T != 1))
    assert len(one_way) > 0
    assert all(place[i] < place[j] for i, j in one_way.tolist())
    mutual = np.argwhere((scene.occlusion == 1) & (scene.occlusion.T == 1)).tolist()
    assert mutual and all(j in layers[place[i]].info["occludes"] for i, j in mutual)


def test_a_layer_shows_its_instance_and_nothing_else(scene, layers):
    for layer in layers[:-1]:
        k = layer.info["index"]
        assert ((layer.rgba[..., 3] == 255) == scene.modal[k]).all()
        assert (layer.amodal == scene.amodal[k]).all()
        x0, y0, x1, y1 = layer.info["box"]
        assert scene.modal[k][y0:y1, x0:x1].sum() == scene.modal[k].sum()


def test_overlapping_masks_still_compose():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    modal = np.zeros((2, 5, 6), bool)
    modal[0, 1:4, 1:4] = modal[1, 2:5, 2:5] = True
    cut = cut_layers(image, modal, occlusion=np.array([[0, 1], [0, 0]]))
    assert (compose(cut)[..., :3] == image).all()


def test_nothing_but_background():
    image = np.full((3, 4, 3), 9, np.uint8)
    (only,) = cut_layers(image, np.zeros((0, 3, 4), bool), occlusion=np.zeros((0, 0), np.int8))
    assert only.info == {"kind": "background"} and (only.rgba == [9, 9, 9, 255]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((64, 81, 3), np.uint8)}, r"must be uint8 \(64, 80, 3\)"),
        ({"image": np.zeros((64, 80, 3))}, "got float64"),
        ({"amodal": np.zeros((1, 64, 80), bool)}, "amodal must be"),
        ({"instances": [{}]}, "got 1 instances for"),
        ({"occlusion": np.zeros((1, 1), np.int8)}, "the order has 1 instances"),
    ],
)
def test_what_does_not_fit_is_refused(scene, change, message):
    arguments = {"image": scene.image, "modal": scene.modal, "occlusion": scene.occlusion}
    arguments |= change
    with pytest.raises(ValueError, match=message):
        cut_layers(arguments.pop("image"), arguments.pop("modal"), **arguments)


def test_a_folder_of_layers_comes_back(layers, tmp_path):
    files = save_layers(tmp_path / "out", layers)
    assert files[-1].name == "layers.json" and all(path.is_file() for path in files)
    back = load_layers(tmp_path / "out")
    assert [layer.info for layer in back] == [layer.info for layer in layers]
    for one, other in zip(back, layers, strict=True):
        assert (one.rgba == other.rgba).all()
        assert (one.amodal is None) == (other.amodal is None)
    assert (back[0].amodal == layers[0].amodal).all()


@pytest.mark.parametrize("name", ["../out.png", "/etc/x.png", "a\\b.png", "link.png"])
def test_a_layer_file_outside_the_folder_is_refused(layers, tmp_path, name):
    folder = tmp_path / "out"
    save_layers(folder, layers)
    (tmp_path / "secret.png").write_bytes(b"x")
    os.symlink(tmp_path / "secret.png", folder / "link.png")
    page = json.loads((folder / "layers.json").read_text())
    page["layers"][0]["file"] = name
    (folder / "layers.json").write_text(json.dumps(page))
    with pytest.raises(ValueError, match="layer 0: .*(forward slashes|stay inside|leads out)"):
        load_layers(folder)


def test_a_layer_of_another_size_or_kind_is_refused(layers, tmp_path):
    save_layers(tmp_path, layers)
    Image.new("RGB", (80, 64)).save(tmp_path / "layer_001.png")
    with pytest.raises(ValueError, match=r"layer 1: layer_001.png must be RGBA .* got RGB"):
        load_layers(tmp_path)
    (tmp_path / "layers.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="expected format 'occ_order/layers/1', got 'other'"):
        load_layers(tmp_path)


def test_layers_without_a_background_are_not_saved(layers, tmp_path):
    with pytest.raises(ValueError, match="end with one background"):
        save_layers(tmp_path, layers[:-1])
    assert list(tmp_path.iterdir()) == []


def test_psd_holds_the_layers_from_the_bottom_up(scene, layers, tmp_path):
    psd_tools = pytest.importorskip("psd_tools", reason="pip install psd-tools")
    layers[0].info["name"] = "cup \u4e2d\n\u00fc"
    save_psd(tmp_path / "a.psd", layers)
    document = psd_tools.PSDImage.open(tmp_path / "a.psd")
    names = [layer.name for layer in document]  # psd-tools lists the lowest layer first
    assert names[0] == "background" and names[-1] == "000 cup \u4e2d \u00fc"
    assert (np.asarray(document.topil())[..., :3] == scene.image).all()
    stack = np.zeros((64, 80, 4), np.uint8)
    for layer in document:
        left, top, right, bottom = layer.bbox
        part = np.asarray(layer.topil())
        shown = part[..., 3] > 0
        stack[top:bottom, left:right][shown] = part[shown]
    assert (stack[..., :3] == scene.image).all()


def test_psd_without_psd_tools_says_what_to_install(layers, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psd_tools", None)
    with pytest.raises(ImportError, match="pip install 'psd-tools"):
        save_psd(tmp_path / "a.psd", layers)


def test_export_of_results(scene, tmp_path):
    image = results(scene, occlusion=scene.occlusion, depth=scene.depth, amodal=scene.amodal)
    image["instances"][0]["category"] = 'a "cup"'
    files = {path.name for path in export_image(tmp_path / "e", image, scene.image)}
    assert {"layers.json", "background.png", "layer_000.png", "amodal_000.png"} <= files
    assert {"occlusion.graphml", "occlusion.dot", "depth.graphml", "depth.dot"} <= files
    graph = nx.read_graphml(tmp_path / "e" / "occlusion.graphml", node_type=int)
    assert sorted(graph.edges) == [tuple(e) for e in np.argwhere(scene.occlusion == 1).tolist()]
    assert graph.nodes[0]["name"] == 'a "cup" #0'
    named = [layer for layer in load_layers(tmp_path / "e") if layer.info.get("index") == 0]
    assert named[0].info["name"] == 'a "cup"'


def test_results_without_an_order_or_of_another_size_name_the_image(scene):
    with pytest.raises(ValueError, match="image 7: layers need an occlusion order"):
        layers_of(results(scene), scene.image)
    with pytest.raises(ValueError, match=r"image 7: .* the image has \(64, 79\)"):
        layers_of(results(scene, occlusion=scene.occlusion), scene.image[:, :79])


def test_the_summary_lists_front_to_back(layers):
    lines = layer_summary(layers).splitlines()
    assert lines[-1] == "background" and lines[1].startswith("001 instance ")
