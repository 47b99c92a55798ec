"""The order of input masks without PyTorch says what PyTorch says."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from occ_order.lite import Graph, LitePredictor
from occ_order.lite import mask_order as lite
from occ_order.lite.graph import metadata_of
from occ_order.lite.image import resized_shape
from occ_order.methods.common import contact_pooling as pooling
from occ_order.methods.common.instance_pairs import canonical_order, pair_layout
from occ_order.methods.common.order_map import mask_cues
from occ_order.methods.mask_order import views
from occ_order.methods.mask_order.disparity import cell_weights, disparity_map
from occ_order.methods.mask_order.network import _lowest_cells, mask_batch

SIZE = (96, 128)
SETTINGS = lite.Settings(
    min_size=96,
    max_size=128,
    channels="RGB",
    mean=(127.0, 127.0, 127.0),
    radius=2,
    view_sizes=(32, 24),
    contact_margin=views.CONTACT_MARGIN,
    contact_share=views.CONTACT_SHARE,
    threshold=0.5,
)


def random_masks(seed: int, number: int = 6) -> np.ndarray:
    """Boxes and discs, some of them cut by the image, one of them empty."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SIZE)
    found = np.zeros((number, *SIZE), bool)
    for k, mask in enumerate(found[1:]):
        cy, cx = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1])
        radius = rng.uniform(4, 30)
        far = np.hypot(y - cy, x - cx) if k % 2 else np.maximum(abs(y - cy), abs(x - cx))
        mask[:] = far < radius
    return found


@pytest.fixture(params=range(4))
def masks(request) -> np.ndarray:
    return random_masks(request.param)


@pytest.fixture
def batch(masks):
    return mask_batch([torch.from_numpy(masks)], [SIZE], SIZE, SETTINGS.radius)


def test_the_sequence_of_the_instances(masks):
    cover = torch.from_numpy(lite.covered(masks, 4))
    expected = canonical_order(cover, pair_layout([len(masks)]))
    assert lite.canonical_order(cover.numpy()).tolist() == expected.tolist()


def test_contacts(batch):
    cells, weight, offsets, length = lite.find_contacts(batch.cover.numpy(), SETTINGS.radius)
    expected = batch.contacts
    assert length.ravel() == pytest.approx(expected.length.numpy(), abs=1e-4)
    assert offsets[:-1].tolist() == expected.offsets.tolist()
    for start, end in itertools.pairwise(offsets):  # within a pair in any sequence
        part = slice(start, end)
        assert sorted(zip(cells[part], weight[part], strict=True)) == sorted(
            zip(expected.cell[part].tolist(), expected.weight[part].tolist(), strict=True)
        )


def test_views(batch):
    """Squares and what they show, also beyond the image."""
    cells, _, offsets, length = lite.find_contacts(batch.cover.numpy(), SETTINGS.radius)
    near = np.argwhere(np.triu(length + length.T > 0, 1))
    assert near.tolist() == batch.layout.pairs[batch.near].tolist() and len(near) > 0
    contact = lite.contact_boxes(cells, offsets, near, batch.cover.shape)
    theirs = views.contact_boxes(
        batch.contacts, batch.layout, batch.near, tuple(batch.cover.shape[1:]), 4
    )
    assert (contact == theirs.numpy()).all()
    squares = lite.pair_squares(batch.boxes.numpy(), contact, near, SETTINGS)
    expected = views.pair_squares(batch.boxes, theirs, torch.from_numpy(near))
    masks = batch.masks.numpy()
    rival = lite.rivals(batch.cover.numpy())
    expected_rivals = views.rivals(batch.cover, batch.layout)
    assert (rival == expected_rivals.numpy()).all()
    for square, other, size, stride in zip(
        squares, expected, SETTINGS.view_sizes, (2, 1), strict=True
    ):
        assert np.abs(square - other.numpy()).max() < 1e-4
        shown = lite.mask_views(lite.covered(masks, stride), stride, near, square, size, rival)
        maps = pooling.covers(batch.masks, stride)
        seen = views.mask_views(
            maps, stride, batch.layout, torch.from_numpy(near), other, size, expected_rivals
        )
        assert np.abs(shown - seen.flatten(0, 1).numpy()).max() < 1e-4


def test_geometry_and_cues(batch):
    instances, pairs = batch.geometry()
    boxes, cover = batch.boxes.numpy(), batch.cover.numpy()
    area = cover.sum(axis=(1, 2))
    length = batch.contacts.length.numpy().reshape(len(cover), -1)
    assert np.abs(lite.instance_geometry(boxes, area * 16, SIZE) - instances.numpy()).max() < 1e-6
    assert np.abs(lite.pair_geometry(boxes / 4, area, length) - pairs.numpy()).max() < 1e-5
    assert (lite.lowest_cells(cover) == _lowest_cells(batch.cover).numpy()).all()
    expected = mask_cues(batch.masks, [len(cover)]).numpy()
    assert (lite.mask_cues(batch.masks.numpy()) == expected).all()


def test_means_over_contacts(batch):
    features = torch.randn((1, 5, *batch.cover.shape[1:]), generator=torch.manual_seed(0))
    expected = pooling.pool_contacts(features, batch.contacts)
    parts = lite.find_contacts(batch.cover.numpy(), SETTINGS.radius)
    pairs = batch.layout.pairs.numpy()
    weights = lite.meeting_weights(*parts, pairs, batch.cover.shape)
    found = weights @ features[0].flatten(1).T.numpy()
    assert np.abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (100, 1000), (333, 334), (20, 20)])
def test_images_are_resized_as_detectron2_does(shape):
    from detectron2.data.transforms import ResizeShortestEdge

    expected = ResizeShortestEdge.get_output_shape(*shape, 288, 384)
    assert resized_shape(shape, 288, 384) == expected


@pytest.mark.parametrize(("length", "inner"), [(61, 32), (24, 24), (17, 30), (1, 4)])
def test_cells_become_pixels_by_bilinear_interpolation(length, inner):
    """As torch.nn.functional.interpolate, which takes the whole of the last cell."""
    weights = cell_weights(length, inner, 4)
    assert weights.shape == (length, -(-inner // 4))
    assert weights.sum(1) == pytest.approx(1)
    # Where the centre of a pixel is, in cells from the centre of the first one.
    where = np.clip((np.arange(length) + 0.5) * inner / length / 4 - 0.5, 0, weights.shape[1] - 1)
    assert weights @ np.arange(weights.shape[1]) == pytest.approx(where, abs=1e-5)
    if inner % 4 == 0:
        cells = torch.rand(weights.shape[1])
        options = {"size": length, "mode": "linear", "align_corners": False}
        expected = torch.nn.functional.interpolate(cells[None, None], **options)[0, 0]
        assert weights @ cells.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_disparity_of_a_plane():
    """Cells twice as far to the right of the middle: half the disparity, and no padding."""
    log_depth = np.zeros((4, 8), np.float32)  # an input of 12 x 20 pixels, padded
    log_depth[:, 2:], log_depth[3], log_depth[:, 5:] = np.log(2), 50, 50
    found = disparity_map(log_depth, (12, 20), (24, 40))
    assert found.shape == (24, 40)
    assert found[:, :12] == pytest.approx(1) and found[:, 20:] == pytest.approx(0.5)
    assert (np.diff(found, axis=1) <= 1e-6).all()


def test_settings_survive_the_metadata():
    graph = Graph.__new__(Graph)
    graph.name, graph.metadata = "x.onnx", metadata_of(SETTINGS, lite.SETTINGS)
    assert graph.settings(lite.Settings, lite.SETTINGS, "orders masks") == SETTINGS
    for wrong in ({}, {lite.SETTINGS: "{"}, {lite.SETTINGS: json.dumps({"radius": 2})}):
        graph.metadata = wrong
        with pytest.raises(ValueError, match=r"x\.onnx: not a graph that orders masks"):
            lite.MaskOrderer(graph)


# --- the whole way


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The zoo's model with PyTorch, and as a graph in a file with weights as float16."""
    pytest.importorskip("onnxruntime")
    from occ_order import model_zoo
    from occ_order.engine import export as networks
    from occ_order.engine.predictor import OrderPredictor

    cfg = model_zoo.get_cfg(model_zoo.ORDERS_MASKS)
    model = model_zoo.get(model_zoo.ORDERS_MASKS)
    path = tmp_path_factory.mktemp("graph") / "network.onnx"
    networks.save_onnx(networks.graph_of(model, cfg=cfg), path, half=True)
    assert path.stat().st_size < 10e6
    return OrderPredictor(model, cfg), lite.MaskOrderer(Graph(path, threads=1))


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_it_says_what_the_predictor_says(both, number):
    predictor, orderer = both
    masks = random_masks(11, number) if number else np.zeros((0, *SIZE), bool)
    image = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    expected = predictor(image, masks)
    found = LitePredictor(orderer)(image, masks)
    for name in ("occlusion", "depth"):
        assert (getattr(found, name) == getattr(expected, name)).all()
        apart = np.abs(getattr(found, f"{name}_prob") - getattr(expected, f"{name}_prob"))
        assert apart.shape == (number, number) and apart.max(initial=0) < 1e-4
    assert found.ids == expected.ids and (found.modal == expected.modal).all()
    assert found.disparity.shape == SIZE and found.disparity.min() > 0
    assert found.disparity == pytest.approx(expected.disparity, rel=1e-4)


def test_another_sequence_changes_no_bit(both):
    _, orderer = both
    masks = random_masks(5, 7)
    image = np.random.default_rng(4).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    found, order = orderer(image, masks), np.random.default_rng(0).permutation(7)
    other = orderer(image, masks[order])
    assert (found.pop("disparity") == other["disparity"]).all()  # of the image alone
    for name, values in found.items():
        assert (values[np.ix_(order, order)] == other[name]).all()


@pytest.mark.parametrize(
    ("image", "masks", "message"),
    [
        (np.zeros((4, 5, 3)), np.zeros((1, 4, 5), bool), r"uint8 \(H, W, 3\), got float64"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((1, 5, 4), bool), r"\(N, 4, 5\) as the image is"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), bool), r"expected \(N, H, W\)"),
    ],
)
def test_bad_input_is_refused(both, image, masks, message):
    with pytest.raises(ValueError, match=message):
        both[1](image, masks)


def test_another_graph_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", 1, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [result])
    opset = [onnx.helper.make_opsetid("", 20)]
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    with pytest.raises(ValueError, match=r"other\.onnx: not a graph that orders masks"):
        lite.MaskOrderer(Graph(path))
