"""`OrderedInstances`: what it says, keeps, writes and gives back."""

from __future__ import annotations

import json
import sys

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import occ_order
from occ_order.instances import OrderedInstances, load, load_all
from occ_order.order import io, layers, relative_depth
from occ_order.scenes import generate

SIZE = (20, 30)
MASKS = np.zeros((3, *SIZE), bool)
MASKS[0, 2:10, 2:10] = MASKS[1, 6:14, 10:20] = MASKS[2, 15:19, 5:25] = True
OCCLUSION = np.array([[0, 1, 0], [0, 0, 1], [0, 1, 0]])
CERTAINTY = np.array([[0, 0.93, 0.1], [0.2, 0, 0.8], [0.0, 0.7, 0]])
DEPTH = np.array([[-1, 1, 2], [0, -1, 0], [2, 1, -1]])
SURE = np.array([[0, 0.9, 0.6], [0.9, 0, 0.75], [0.6, 0.75, 0]])


def three(**changes) -> OrderedInstances:
    """Two cups and a plate, all known."""
    known = {
        "image_id": "photo",
        "size": SIZE,
        "modal": MASKS,
        "ids": (3, 7, 9),
        "names": ("cup", "plate", "cup"),
        "classes": np.array([5, 6, 5]),
        "scores": np.array([0.5, 1.0, 0.25]),
        "occlusion": OCCLUSION,
        "occlusion_prob": CERTAINTY,
        "depth": DEPTH,
        "depth_prob": SURE,
    }
    return OrderedInstances(**{**known, **changes})


def same(one: OrderedInstances, other: OrderedInstances) -> bool:
    """Whether everything that a file holds is equal; matrices of doubt only where an edge is."""
    return one.to_dict() == other.to_dict()


def test_each_relation_is_a_sentence_with_names_ids_and_probabilities():
    assert three().relations() == [
        "cup 3 occludes plate 7 (0.93)",
        "plate 7 and cup 9 occlude each other (0.80, 0.70)",
    ]
    assert three().relations("depth") == [
        "cup 3 is closer than plate 7 (0.90)",
        "cup 3 and cup 9 are equally far (0.60)",
        "cup 9 is closer than plate 7 (0.75)",
    ]


def test_printing_tells_every_instance_and_every_relation_in_a_line():
    lines = str(three()).splitlines()
    assert lines[:4] == [
        "image photo: 3 instances",
        "  cup 3 (0.50), 64 pixels",
        "  plate 7 (1.00), 80 pixels",
        "  cup 9 (0.25), 80 pixels",
    ]
    assert lines[4:6] == ["occlusion: 2 relations", "  cup 3 occludes plate 7 (0.93)"]
    assert len(lines) == 4 + 1 + 2 + 1 + 3
    alone = str(OrderedInstances(1, SIZE, MASKS[:1]))
    assert alone == "image 1: 1 instance\n  instance 1 (1.00), 64 pixels"
    assert "photo" in repr(three()) and "3 instances" in repr(three())


def test_cycles_are_said_and_the_least_probable_occlusion_can_be_left_out():
    ring = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.int8)
    chance = np.array([[0, 0.9, 0], [0, 0, 0.8], [0.6, 0, 0]])
    round_ = three().replace(occlusion=ring, occlusion_prob=chance)
    assert round_.cycles() == [round_.ids]
    named = ", ".join(round_.label(k) for k in range(3))
    last = str(round_).splitlines()[-2:]
    assert last == ["cycles: 1 group", f"  {named} form a cycle"]
    straight = round_.without_cycles()
    assert straight.cycles() == [] and "cycles" not in str(straight)
    assert straight.occlusion.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert (straight.occlusion_prob == chance).all()
    # Two that occlude each other are told so among the relations.
    both = round_.replace(occlusion=ring | ring.T)[[0, 1]]
    assert both.cycles() == [both.ids] and "cycles" not in str(both)


def test_choosing_keeps_rows_and_columns():
    whole = np.ones((3, *SIZE), bool)
    kept = three(amodal=whole)[[2, 0]]
    assert kept.ids == (9, 3) and kept.names == ("cup", "cup")
    assert kept.depth.tolist() == [[-1, 2], [2, -1]]
    assert kept.occlusion_prob.tolist() == [[0, 0], [0.1, 0]]
    assert kept.amodal.shape == (2, *SIZE) and (kept.modal[0] == MASKS[2]).all()
    assert three()[three().scores > 0.4].ids == (3, 7)
    assert three()[1:].ids == (7, 9) and three()[-1].ids == (9,)
    assert len(three()[[]]) == 0 and three()[[]].occlusion.shape == (0, 0)
    assert [one.ids for one in three()] == [(3,), (7,), (9,)]
    with pytest.raises(IndexError):
        three()[3]


def test_it_does_not_change():
    with pytest.raises(AttributeError):
        three().ids = (1, 2, 3)
    assert three().replace(image_id=4).image_id == 4


def test_layers_and_relative_depth_are_those_of_the_order():
    assert three().layers().tolist() == layers(OCCLUSION).tolist()
    assert three().relative_depth().tolist() == relative_depth(OCCLUSION).tolist()
    for ask in ("layers", "relative_depth", "graph", "relations"):
        with pytest.raises(ValueError, match="image 'photo' has no occlusion order"):
            getattr(three(occlusion=None), ask)()
    with pytest.raises(ValueError, match="order must be"):
        three().relations("size")


def test_nodes_of_the_graph_are_the_users_ids():
    graph = three().graph()
    assert set(graph.edges) == {(3, 7), (7, 9), (9, 7)}
    assert graph.edges[3, 7] == {"relation": "occludes", "probability": 0.93}
    assert graph.nodes[7] == {"name": "plate", "category_id": 6, "score": 1.0}
    depth = three().graph("depth")
    assert {(i, j): e["relation"] for i, j, e in depth.edges(data=True)} == {
        (3, 7): "closer", (9, 7): "closer", (3, 9): "equal",
    }  # fmt: skip
    assert nx.is_directed_acyclic_graph(depth)


def test_what_is_saved_is_loaded(tmp_path):
    result = three(amodal=np.ones((3, *SIZE), bool), file_name="sub/a.jpg")
    result.save(tmp_path / "order.json")
    back = occ_order.load(tmp_path / "order.json")
    assert same(back, result)
    assert (back.image_id, back.size, back.ids, back.names) == (
        "photo", SIZE, (3, 7, 9), ("cup", "plate", "cup"),
    )  # fmt: skip
    assert (back.occlusion == OCCLUSION).all() and (back.depth == DEPTH).all()
    assert (back.modal == MASKS).all() and back.amodal.all()
    assert back.file_name == "sub/a.jpg"
    assert json.loads(result.to_json()) == json.loads((tmp_path / "order.json").read_text())


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 6), st.booleans(), st.booleans())
def test_random_scenes_come_back_from_their_text(seed, number, whole, ordered):
    scene = generate(seed, size=(40, 48), num_instances=number)
    result = OrderedInstances(
        seed,
        (40, 48),
        scene.modal,
        amodal=scene.amodal if whole and len(scene.modal) else None,
        classes=scene.classes,
        occlusion=scene.occlusion if ordered else None,
        depth=scene.depth if ordered else None,
        overlap=scene.overlap if ordered else None,
    )
    (image,) = json.loads(result.to_json())["images"]
    assert same(OrderedInstances.from_dict(image), result)


def test_names_of_classes_and_names_of_instances_are_told_apart():
    """Two names for one class are names of the instances; a data set has one for each class."""
    entries = three().to_dict()["instances"]
    assert [(e["category"], e.get("name")) for e in entries] == [
        ("cup", None), ("plate", None), ("cup", None),
    ]  # fmt: skip
    entries = three(classes=None).to_dict()["instances"]
    assert [(e.get("category"), e["name"]) for e in entries] == [
        (None, "cup"), (None, "plate"), (None, "cup"),
    ]  # fmt: skip
    assert "category" not in three(names=None).to_dict()["instances"][0]


def test_of_several_images_the_one_that_is_named_is_loaded(tmp_path):
    images = [three().to_dict(), three(ids=None).replace(image_id=2).to_dict()]
    io.save_results(tmp_path / "two.json", images)
    assert load(tmp_path / "two.json", image_id=2).ids == (1, 2, 3)
    assert [one.image_id for one in load_all(tmp_path / "two.json")] == ["photo", 2]
    with pytest.raises(ValueError, match=r"expected one image; it has 2: 'photo', 2"):
        load(tmp_path / "two.json")
    with pytest.raises(ValueError, match="expected the image 5"):
        load(tmp_path / "two.json", image_id=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modal": MASKS[:, 1:]}, r"modal must be \(3, 20, 30\), got \(3, 19, 30\)"),
        ({"modal": MASKS * 0.5}, "modal: a mask of floats must be 0 and 1"),
        ({"amodal": MASKS[:2]}, r"amodal must be \(3, 20, 30\)"),
        ({"ids": (1, 1, 2)}, r"an id stands twice in \[1, 1, 2\]"),
        ({"ids": (1, 2)}, "got 2 ids for 3 instances"),
        ({"names": ("a",)}, "got 1 names for 3 instances"),
        ({"scores": np.ones(4)}, "got 4 scores for 3 instances"),
        ({"occlusion": OCCLUSION[:2, :2]}, r"occlusion must be \(3, 3\), got \(2, 2\)"),
        ({"occlusion": OCCLUSION * 3}, "occlusion"),
        ({"depth": OCCLUSION}, "depth"),
    ],
)
def test_what_does_not_fit_names_the_image(changes, message):
    with pytest.raises(ValueError, match=f"image 'photo': .*{message}|image 'photo': {message}"):
        three(**changes)


def test_coco_holds_the_masks_and_their_classes():
    data = three(file_name="a.jpg", image_id=4).to_coco()
    assert data["images"] == [{"id": 4, "file_name": "a.jpg", "height": 20, "width": 30}]
    assert data["categories"] == [{"id": 5, "name": "cup"}, {"id": 6, "name": "plate"}]
    first = data["annotations"][0]
    assert (first["id"], first["area"], first["bbox"]) == (3, 64, [2, 2, 8, 8])


def test_coco_numbers_an_image_that_is_named_by_a_string():
    data = three().to_coco()
    assert data["images"] == [{"id": 1, "file_name": "photo.png", "height": 20, "width": 30}]
    assert {entry["image_id"] for entry in data["annotations"]} == {1}
    assert three(file_name="a.jpg").to_coco()["images"][0]["file_name"] == "a.jpg"
    texts = three(ids=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"ids of COCO are integers, got 'a'; .*ids=None"):
        texts.to_coco()
    assert [entry["id"] for entry in texts.replace(ids=None).to_coco()["annotations"]] == [1, 2, 3]


def test_detectron2_gets_fields_that_keep_rows_and_columns():
    pytest.importorskip("detectron2")
    from occ_order.methods.common.ordered import from_instances

    found = three().to_detectron2()[[2, 1]]
    assert found.occlusion.tensor.tolist() == [[0, 1], [1, 0]]
    assert found.pred_boxes.tensor.tolist() == [[5, 15, 25, 19], [10, 6, 20, 14]]
    back = from_instances(three().to_detectron2(), image_id="photo")
    assert (back.modal == MASKS).all() and (back.depth == DEPTH).all()
    assert np.allclose(back.occlusion_prob, CERTAINTY)
    assert back.ids == three().ids and found.ids.tolist() == [three().ids[2], three().ids[1]]
    assert not three(ids=("a", "b", 3)).to_detectron2().has("ids")


def test_without_detectron2_an_error_names_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "occ_order.methods.common.ordered", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"this needs torch: see INSTALL.md"):
        three().to_detectron2()


def test_without_matplotlib_there_is_text(monkeypatch):
    result = three(image=np.zeros((*SIZE, 3), np.uint8))
    assert result._repr_html_().startswith("<img ")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install .occ_order\[report\]"):
        result.plot()
    assert result._repr_html_() == three()._repr_html_()
    assert three()._repr_html_().startswith("<pre>image photo: 3 instances")


def test_maps_and_image_are_not_saved(tmp_path):
    """The JSON file holds masks and order."""
    full = three(
        disparity=np.ones(SIZE, np.float32),
        image=np.zeros((*SIZE, 3), np.uint8),
        sem_dist=np.zeros((3, *SIZE), np.float32),
        levels=np.zeros((3, *SIZE), np.int8),
    )
    full.save(tmp_path / "order.json")
    assert json.loads(full.to_json()) == json.loads(three().to_json())
    back = load(tmp_path / "order.json")
    assert (back.disparity, back.image, back.levels, back.sem_dist, back.count) == (None,) * 5
    assert str(back) == str(full)


def test_a_dict_gets_its_image_and_names_of_classes():
    page = three(names=None).to_dict()
    image = np.zeros((*SIZE, 3), np.uint8)
    back = OrderedInstances.from_dict(page, image=image, class_names={5: "cup"})
    assert back.image is image and back.names == ("cup", "", "cup")
    assert OrderedInstances.from_dict(page).names is None


def test_supervision_gets_detections():
    pytest.importorskip("supervision")
    found = three().to_supervision()
    assert found.data["occludes"] == [[7], [9], [7]] and found.class_id.tolist() == [5, 6, 5]


def test_it_is_drawn_on_its_image_or_on_white(tmp_path):
    pytest.importorskip("matplotlib")
    image = np.zeros((*SIZE, 3), np.uint8)
    figure = three(image=image).plot()
    assert [axis.get_title() for axis in figure.axes[:2]] == ["image", "instances"]
    figure.savefig(tmp_path / "order.png")
    assert (tmp_path / "order.png").stat().st_size > 1000
    assert len(three(occlusion=None, depth=None).plot().axes) == 1
    with pytest.raises(ValueError, match="but the image has"):
        three().plot(np.zeros((5, 5, 3), np.uint8))


def test_a_notebook_shows_a_drawing_and_escaped_lines():
    pytest.importorskip("matplotlib")
    shown = three(names=("<b>", "plate", "cup"))._repr_html_()
    assert shown.startswith("<pre>") and "&lt;b&gt; 3 occludes plate 7" in shown
    drawn = three(image=np.zeros((*SIZE, 3), np.uint8))._repr_html_()
    assert drawn.startswith('<img alt="3 arrows on the image') and "png;base64,iVBOR" in drawn


def test_it_needs_neither_pytorch_nor_matplotlib(run_bare):
    code = (
        "import numpy as np, occ_order\n"
        "r = occ_order.OrderedInstances(1, (2, 2), np.ones((1, 2, 2), bool))\n"
        "print(r, len(r.to_json()) > 10)"
    )
    assert run_bare(code).stdout.endswith("instance 1 (1.00), 4 pixels True\n")
