"""Results on disk: round trips, and files that must be refused."""

from __future__ import annotations

import copy
import json
import math
import os

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order import masks
from occ_order.order import io
from occ_order.order.encoding import empty_depth

SHAPE = (5, 6)


def stack(n):
    modal = np.zeros((n, *SHAPE), dtype=bool)
    for k in range(n):
        modal[k, k % 5, : k % 6 + 1] = True
    return modal


def build(n=3, **more):
    return io.results_image(
        **{
            "image_id": 7,
            "height": SHAPE[0],
            "width": SHAPE[1],
            "modal": stack(n),
            "classes": list(range(1, n + 1)),
            "scores": [0.5 + k for k in range(n)],
            **more,
        }
    )


OCC = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.int8)
DEPTH = np.array([[-1, 0, 2], [1, -1, -1], [2, -1, -1]], dtype=np.int8)
OVERLAP = np.array([[-1, 1, 0], [1, -1, -1], [0, -1, -1]], dtype=np.int8)
PROBABILITY = np.array([[0, 0.75, 0.5], [0, 0, 0.25], [0, 0, 0]])


@st.composite
def images(draw, image_id=7):
    n = draw(st.integers(0, 4))
    occ = draw(hnp.arrays(np.int8, (n, n), elements=st.sampled_from([-1, 0, 1])))
    np.fill_diagonal(occ, 0)
    depth, overlap, _ = empty_depth(n)
    for i in range(n):
        for j in range(i):
            depth[i, j] = draw(st.sampled_from([-1, 0, 1, 2]))
            depth[j, i] = {-1: -1, 0: 1, 1: 0, 2: 2}[int(depth[i, j])]
            if depth[i, j] >= 0:
                overlap[i, j] = overlap[j, i] = draw(st.sampled_from([-1, 0, 1]))
    prob = draw(hnp.arrays(np.float64, (n, n), elements=st.floats(0, 1)))
    image = build(
        n,
        image_id=image_id,
        occlusion=occ,
        occlusion_prob=prob,
        depth=depth,
        overlap=overlap,
        depth_prob=prob,
    )
    return image, occ, depth, overlap, prob


# --- one image -----------------------------------------------------------------------------


def test_known_image():
    image = build(
        occlusion=OCC, occlusion_prob=PROBABILITY, depth=DEPTH, overlap=OVERLAP, amodal=stack(3)
    )
    assert image["occlusion"] == [[0, 1, 0.75], [1, 2, 0.25]]
    assert image["depth"] == [[1, 0, "closer", "overlap", 1.0], [0, 2, "equal", "distinct", 1.0]]
    assert image["cycles"] == []
    assert "occlusion_unknown" not in image
    instance = image["instances"][1]
    rle = masks.encode(stack(3)[1])
    assert instance == {
        "id": 2,
        "category_id": 2,
        "score": 1.5,
        "segmentation": rle,
        "amodal_segmentation": rle,
        "layer": 1,
        "relative_depth": 2,
    }


def test_what_was_not_predicted_is_absent():
    image = build()
    assert image.keys() == {"image_id", "height", "width", "instances"}
    assert image["instances"][0].keys() == {"id", "category_id", "score", "segmentation"}
    assert io.matrices(image) == (None, None, None)
    assert io.probabilities(image) == (None, None)
    occ, depth, overlap = io.matrices(build(occlusion=OCC))
    np.testing.assert_array_equal(occ, OCC)
    assert depth is None
    assert overlap is None


def test_cycles_are_the_groups():
    ring = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert build(occlusion=ring)["cycles"] == [[0, 1, 2]]


def test_numpy_values_become_plain():
    image = build(
        image_id=np.int64(7),
        height=np.int32(5),
        width=np.int16(6),
        occlusion=OCC,
        classes=np.array([1, 2, 3]),
        scores=np.array([0.5, 1, 2], dtype=np.float32),
        ids=np.array([30, 10, 20]),
    )
    assert json.loads(json.dumps(image, allow_nan=False)) == image
    assert [instance["id"] for instance in image["instances"]] == [30, 10, 20]


@given(images())
def test_matrices_round_trip(built):
    image, occ, depth, overlap, prob = built
    for expected, found in zip((occ, depth, overlap), io.matrices(image), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int8
    occ_prob, depth_prob = io.probabilities(image)
    np.testing.assert_array_equal(occ_prob, np.where(occ == 1, prob, np.nan))
    upper = np.triu(np.where(depth >= 0, prob, 0), 1)
    np.testing.assert_array_equal(depth_prob, np.where(depth >= 0, upper + upper.T, np.nan))


@pytest.mark.parametrize(
    "more, message",
    [
        ({"classes": [1]}, "got 1 classes for 3 instances"),
        ({"scores": [1.0]}, "got 1 scores"),
        ({"ids": [1]}, "got 1 ids"),
        ({"ids": [1, 2, 1]}, "instances 0 and 2 have the id 1"),
        ({"ids": [1, 2, None]}, "instance 2: id must be"),
        ({"scores": [1.0, math.nan, 2.0]}, "instance 1: score must be a finite number"),
        ({"scores": [1.0, 2.0, math.inf]}, "instance 2: score must be a finite number"),
        ({"classes": [1, 2.5, 3]}, "instance 1: category_id must be an integer"),
        ({"modal": stack(3)[:, :4]}, "modal must be"),
        ({"amodal": stack(2)}, "amodal must be"),
        ({"occlusion": OCC[:2, :2]}, "order matrix must be"),
        ({"occlusion": OCC * 2}, "image 7: occlusion: expected values"),
        ({"occlusion": OCC, "occlusion_prob": PROBABILITY * 2}, r"\[0, 1\], got 1.5"),
        ({"occlusion": OCC, "occlusion_prob": PROBABILITY * np.nan}, "got nan"),
        ({"occlusion": OCC, "occlusion_prob": PROBABILITY[0]}, "occlusion_prob must be"),
        ({"depth": OCC}, "image 7: depth: the diagonal"),
        ({"depth": DEPTH, "depth_prob": -PROBABILITY}, "probability must be in"),
        ({"image_id": None}, "image_id must be"),
        ({"image_id": ""}, "image_id must be"),
    ],
)
def test_bad_arrays(more, message):
    with pytest.raises(ValueError, match=message):
        build(**more)


# --- the JSON file -------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(images(4), images("b"))
def test_file_round_trip(tmp_path, first, second):
    path = tmp_path / "order_results.json"
    io.save_results(path, [first[0], second[0]])
    assert io.load_results(path) == [first[0], second[0]]
    assert list(tmp_path.iterdir()) == [path]


def test_no_images(tmp_path):
    io.save_results(tmp_path / "r.json", [])
    assert io.load_results(tmp_path / "r.json") == []
    assert json.loads((tmp_path / "r.json").read_text()) == {"format": "occ_order/1", "images": []}


def test_no_instances(tmp_path):
    empty = np.zeros((0, 0))
    image = build(0, occlusion=empty, depth=empty)
    io.save_results(tmp_path / "r.json", [image])
    assert [m.shape for m in io.matrices(io.load_results(tmp_path / "r.json")[0])] == [(0, 0)] * 3


def test_extra_keys_and_odd_paths_survive(tmp_path):
    image = {**build(occlusion=OCC), "note": "größer", "more": np.arange(3)}
    path = tmp_path / "mit Leerzeichen ü.json"
    io.save_results(path, [image])
    loaded = io.load_results(str(path))[0]
    assert loaded["note"] == "größer"
    assert loaded["more"] == [0, 1, 2]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_writes_leave_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "r.json"
    io.save_results(path, [build()])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="twice"):
        io.save_results(path, [build(), build()])
    with pytest.raises(ValueError):
        io.save_results(path, [{**build(), "extra": math.nan}])

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        io.save_results(path, [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def damaged(change):
    image = build(occlusion=OCC, depth=DEPTH, overlap=OVERLAP)
    change(image)
    return image


def replace(*place, value):
    def change(image):
        *parents, last = place
        target = image
        for key in parents:
            target = target[key]
        target[last] = value

    return change


def remove(*place):
    def change(image):
        *parents, last = place
        target = image
        for key in parents:
            target = target[key]
        del target[last]

    return change


RLE = masks.encode(stack(1)[0])
BAD_IMAGES = {
    "no height": (remove("height"), "image 7: lacks 'height'"),
    "no instances": (remove("instances"), "image 7: lacks 'instances'"),
    "height text": (replace("height", value="5"), "image 7: height must be a positive integer"),
    "other height": (replace("height", value=6), "instance 0: segmentation: RLE size is [5, 6]"),
    "id true": (replace("image_id", value=True), "image_id must be an integer or a string"),
    "instances dict": (replace("instances", value={}), "instances must be a list"),
    "instance text": (replace("instances", 1, value="x"), "image 7: instance 1: must be an object"),
    "no score": (remove("instances", 2, "score"), "image 7: instance 2: lacks 'score'"),
    "score text": (replace("instances", 2, "score", value="1"), "instance 2: score must be"),
    "no mask": (remove("instances", 0, "segmentation"), "instance 0: lacks 'segmentation'"),
    "short mask": (
        replace("instances", 1, "segmentation", value={"size": [5, 6], "counts": "12"}),
        "image 7: instance 1: segmentation: RLE runs sum to 3",
    ),
    "amodal mask": (
        replace("instances", 1, "amodal_segmentation", value={"size": [9, 9], "counts": "1"}),
        "image 7: instance 1: amodal_segmentation: RLE size",
    ),
    "layer text": (replace("instances", 1, "layer", value="0"), "instance 1: layer must be"),
    "id twice": (replace("instances", 1, "id", value=1), "instances 0 and 1 have the id 1"),
    "edge too long": (replace("occlusion", 0, value=[0, 1, 2, 3]), "occlusion [0, 1, 2, 3] must"),
    "edge out of range": (replace("occlusion", 0, 1, value=3), "3 is not an index into 3"),
    "edge negative": (replace("occlusion", 0, 1, value=-1), "-1 is not an index"),
    "edge float": (replace("occlusion", 0, 1, value=1.0), "1.0 is not an index"),
    "edge to itself": (replace("occlusion", 0, 1, value=0), "names an instance twice"),
    "edge twice": (replace("occlusion", 1, value=[0, 1, 0.5]), "is given twice"),
    "known and unknown": (replace("occlusion_unknown", value=[[0, 1]]), "is given twice"),
    "probability": (replace("occlusion", 0, 2, value=1.01), "must be in [0, 1], got 1.01"),
    "probability text": (replace("occlusion", 0, 2, value="1"), "must be in [0, 1], got '1'"),
    "depth short": (replace("depth", 0, value=[0, 1, 0.5]), "depth [0, 1, 0.5] must be"),
    "relation": (replace("depth", 0, 2, value="farther"), "relation must be 'closer' or 'equal'"),
    "range": (replace("depth", 0, 3, value="none"), "range must be 'distinct' or 'overlap'"),
    "depth twice": (replace("depth", 1, value=[0, 1, "closer", 1.0]), "pair is given twice"),
    "cycle of one": (replace("cycles", value=[[1]]), "cycle [1] must be a list of two or more"),
    "cycle out of range": (replace("cycles", value=[[1, 9]]), "cycle [1, 9]: 9 is not an index"),
    "cycle twice": (replace("cycles", value=[[1, 1]]), "names an instance twice"),
    "depth null": (replace("depth", value=None), "depth must be a list"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_on_both_ways(tmp_path, case):
    change, message = BAD_IMAGES[case]
    image, good = damaged(change), build(image_id=1)
    path = tmp_path / "r.json"
    with pytest.raises(ValueError) as error:
        io.save_results(path, [good, image])
    assert message in str(error.value)
    assert not path.exists()
    path.write_text(json.dumps({"format": "occ_order/1", "images": [good, image]}))
    with pytest.raises(ValueError) as error:
        io.load_results(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a readable JSON file"),
        ("<html>", "not a readable JSON file"),
        ('{"format": "occ_order/1", "images": [', "not a readable JSON file"),
        ("[" * 100_000, "not a readable JSON file"),
        ("[]", "expected format 'occ_order/1', got 'list'"),
        ('{"images": []}', "expected format 'occ_order/1', got None"),
        ('{"format": "occ_order/2", "images": []}', "got 'occ_order/2'"),
        ('{"format": "occ_order/1"}', "'images' must be a list"),
        ('{"format": "occ_order/1", "images": [3]}', "images[0]: must be an object, got int"),
        ('{"format": "occ_order/1", "images": [{}]}', "images[0]: lacks 'image_id', 'height'"),
        ('{"format": "occ_order/1", "images": [NaN]}', "NaN is not allowed"),
        ('{"format": "occ_order/1", "images": [-Infinity]}', "-Infinity is not allowed"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        io.load_results(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="not a readable JSON file"):
        io.load_results(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError):
        io.load_results(tmp_path / "absent.json")
    with pytest.raises(FileNotFoundError):
        io.save_results(tmp_path / "absent" / "r.json", [])


def test_duplicate_image_ids(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"format": "occ_order/1", "images": [build(), build()]}))
    with pytest.raises(ValueError, match="image 7: the image id is used twice"):
        io.load_results(path)


def test_polygons_written_by_hand_are_accepted(tmp_path):
    image = copy.deepcopy(build(1))
    image["instances"][0]["segmentation"] = [[0, 0, 4, 0, 4, 4]]
    io.save_results(tmp_path / "r.json", [image])
    assert io.load_results(tmp_path / "r.json") == [image]


# --- graphs --------------------------------------------------------------------------------


def full_image():
    return build(
        occlusion=OCC, occlusion_prob=PROBABILITY, depth=DEPTH, overlap=OVERLAP, ids=["a", 2, 3]
    )


def test_graphml_is_read_back_by_networkx(tmp_path):
    path = tmp_path / "g.graphml"
    names = ['<car & "bus">', "zug\x00", "ü\n"]
    io.save_graphml(path, full_image(), names=names)
    graph = nx.read_graphml(path, node_type=int)
    assert sorted(graph.edges(data=True)) == [
        (0, 1, {"relation": "occludes", "probability": 0.75}),
        (1, 2, {"relation": "occludes", "probability": 0.25}),
    ]
    assert graph.nodes[0]["name"] == names[0]
    assert graph.nodes[1]["name"] == "zug\ufffd"
    assert graph.nodes[2]["layer"] == 2
    assert [graph.nodes[k]["category_id"] for k in range(3)] == [1, 2, 3]
    io.save_graphml(path, full_image(), order="depth")
    graph = nx.read_graphml(path, node_type=int)
    assert {(i, j): d["relation"] for i, j, d in graph.edges(data=True)} == {
        (1, 0): "closer",
        (0, 2): "equal",
    }


def test_dot_known_text(tmp_path):
    path = tmp_path / "g.dot"
    io.save_dot(path, full_image(), names=['a "car"', "back\\slash", "two\nlines"])
    assert path.read_text() == (
        'digraph "image 7" {\n'
        '  0 [label="a \\"car\\""];\n'
        '  1 [label="back\\\\slash"];\n'
        '  2 [label="two\\nlines"];\n'
        "  { rank=same; 0; }\n"
        "  { rank=same; 1; }\n"
        "  { rank=same; 2; }\n"
        '  0 -> 1 [label="0.75"];\n'
        '  1 -> 2 [label="0.25"];\n'
        "}\n"
    )
    io.save_dot(path, full_image(), order="depth")
    text = path.read_text()
    assert '1 -> 0 [label="1.00"];' in text
    assert '0 -> 2 [label="1.00", dir=none];' in text
    assert '0 [label="1 #0"];' in text


def test_graphs_without_instances(tmp_path):
    image = build(0, occlusion=np.zeros((0, 0)))
    io.save_dot(tmp_path / "g.dot", image)
    io.save_graphml(tmp_path / "g.graphml", image)
    assert (tmp_path / "g.dot").read_text() == 'digraph "image 7" {\n}\n'
    assert len(nx.read_graphml(tmp_path / "g.graphml")) == 0


@pytest.mark.parametrize("save", [io.save_dot, io.save_graphml])
def test_graph_arguments(tmp_path, save):
    with pytest.raises(ValueError, match="image 7 has no depth order"):
        save(tmp_path / "g", build(occlusion=OCC), order="depth")
    with pytest.raises(ValueError, match="order must be"):
        save(tmp_path / "g", full_image(), order="both")
    with pytest.raises(ValueError, match="1 names for 3"):
        save(tmp_path / "g", full_image(), names=["a"])
    assert not list(tmp_path.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(images(4), images('odd, "id"'))
def test_edge_table_round_trip(tmp_path, first, second):
    path = tmp_path / "edges.csv"
    chosen = [first[0], second[0]]
    io.save_edges(path, chosen)
    expected = {
        image["image_id"]: {"occlusion": image["occlusion"], "depth": image["depth"]}
        for image in chosen
        if image["occlusion"] or image["depth"]
    }
    assert io.load_edges(path) == expected


def test_edge_table_known_text(tmp_path):
    path = tmp_path / "edges.csv"
    io.save_edges(path, [full_image()])
    assert path.read_text().splitlines() == [
        "image_id,relation,first,second,range,probability",
        "7,occludes,0,1,,0.75",
        "7,occludes,1,2,,0.25",
        "7,closer,1,0,overlap,1.0",
        "7,equal,0,2,distinct,1.0",
    ]
    io.save_edges(path, [])
    assert io.load_edges(path) == {}


HEADER = "image_id,relation,first,second,range,probability\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected the header"),
        ("a,b\n", "expected the header"),
        (HEADER + "7,occludes,0,1,\n", "line 2: expected 6 columns, got 5"),
        (HEADER + "7,occludes,0,1,,0.5\n7,over,0,1,,0.5\n", "line 3: unknown relation 'over'"),
        (HEADER + "7,closer,0,1,near,0.5\n", "line 2: unknown .* range 'near'"),
        (HEADER + "7,occludes,0,x,,0.5\n", "line 2: expected two different indices"),
        (HEADER + "7,occludes,1,1,,0.5\n", "line 2: expected two different indices"),
        (HEADER + "7,occludes,0,1,,nan\n", "line 2: .*probability"),
        (HEADER + "7,occludes,0,1,,high\n", "line 2: could not convert"),
    ],
)
def test_bad_edge_tables(tmp_path, text, message):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        io.load_edges(path)


def grown(path, images):
    with io.growing_results(path) as add:
        for image in images:
            add(image)


def test_growing_results_are_those_that_are_saved_at_once(tmp_path):
    images = [image_of(number) for number in range(3)]
    grown(tmp_path / "new" / "r.json", images)
    io.save_results(tmp_path / "r.json", images)
    assert (tmp_path / "new" / "r.json").read_bytes() == (tmp_path / "r.json").read_bytes()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["r.json"]


def test_lines_that_a_killed_program_leaves_are_results(tmp_path):
    """Each line is in the file before the next image; the last one may be cut off."""
    with io.growing_results(tmp_path / "r.json") as add:
        add(image_of(0))
        add(image_of(1))
        (lines,) = tmp_path.glob("r.*.jsonl")
        left = lines.read_bytes()
    file = tmp_path / "left.jsonl"
    for cut in (len(left), len(left) - 1):
        file.write_bytes(left[:cut])
        found = io.load_results(file)
        assert [image["image_id"] for image in found] == [0, 1][: 2 if cut == len(left) else 1]


def test_a_full_disk_costs_one_image_and_is_told(tmp_path, full_disk):
    """The file of lines keeps whole ones, so what was predicted before and later can be read."""
    with full_disk(1000), io.growing_results(tmp_path / "r.json") as add:
        add(image_of(0))
        with pytest.raises(OSError, match=r"r\..*\.jsonl"):
            add(image_of("x" * 5000))
        add(image_of(2))
    assert [image["image_id"] for image in io.load_results(tmp_path / "r.json")] == [0, 2]


def test_a_wrong_image_does_not_take_the_others_with_it(tmp_path):
    images = [image_of(0), {"image_id": 1, "width": 3, "instances": []}]
    with pytest.raises(ValueError, match="image 1: lacks 'height'"):
        grown(tmp_path / "r.json", images)
    assert [image["image_id"] for image in io.load_results(tmp_path / "r.json")] == [0]


def image_of(number):
    return {"image_id": number, "height": 4, "width": 5, "instances": []}


RELATIONS = {
    "a relation that is a list": [0, 1, ["closer"], 1.0],
    "a range that is an object": [0, 1, "closer", {}, 1.0],
}


@pytest.mark.parametrize("key", ["file_name", "category", "name"])
def test_a_name_that_is_no_text_is_refused(tmp_path, key):
    """Viewer, scores and annotation look images and classes up by them."""
    image = build(2)
    (image if key == "file_name" else image["instances"][1])[key] = 3
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"format": "occ_order/1", "images": [image]}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"image 7.*'{key}' must be a string, got 3"):
        io.load_results(path)


@pytest.mark.parametrize("case", RELATIONS)
def test_a_relation_or_range_that_is_no_text_is_refused(tmp_path, case):
    image = {**build(2), "depth": [RELATIONS[case]]}
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"format": "occ_order/1", "images": [image]}), encoding="utf-8")
    with pytest.raises(ValueError, match="must be '(closer|distinct)'"):
        io.load_results(path)
