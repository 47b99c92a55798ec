"""Amodal masks of input masks without PyTorch are those of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from occ_order import model_zoo
from occ_order.config import get_cfg
from occ_order.engine import export as networks
from occ_order.lite import Graph, MaskCompleter
from occ_order.methods.completion import amodal, views

SIZE = (60, 80)
CHANCES = np.array([[0, 0.9, 0.3], [0, 0, 0.8], [0, 0, 0]])


def discs() -> np.ndarray:
    """Three discs in a row, each in front of the next: bool (3, H, W), visible parts."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    whole = np.stack([(rows - 30) ** 2 + (columns - x) ** 2 < 196 for x in (20, 38, 56)])
    return whole & ~np.stack([whole[0] & False, whole[0], whole[0] | whole[1]])


def settings():
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "MaskCompletionNet"
    cfg.MODEL.COMPLETION.VIEW_SIZE, cfg.MODEL.COMPLETION.WIDTHS = 16, [8, 12, 16]
    return cfg


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A small network that completes something and leaves something out, and its graph."""
    pytest.importorskip("onnxruntime")
    cfg = settings()
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.network.last.weight.mul_(20)
    path = tmp_path_factory.mktemp("graph") / "completion.onnx"
    networks.save_onnx(networks.graph_of(model, cfg=cfg), path)
    return model, MaskCompleter(Graph(path, threads=1))


def test_the_network_s_logits(both):
    model, completer = both
    assert completer.settings.size == 16 and completer.settings.order == ""
    view = np.random.default_rng(0).random((views.CHANNELS, 16, 16), dtype=np.float32)
    with torch.no_grad():
        expected = model.logits(view)
    assert np.abs(expected).max() > 1
    assert np.abs(completer.logits(view) - expected).max() < 1e-4


def test_the_masks(both):
    model, completer = both
    modal = discs()
    with torch.no_grad():
        expected = model.complete(modal, CHANCES)
    found = completer.complete(modal, CHANCES)
    assert (found == expected).all()
    assert (found & modal == modal).all() and (found[1:] != modal[1:]).any((1, 2)).all()
    assert completer.complete(modal[:0], CHANCES[:0, :0]).shape == (0, *SIZE)


def test_a_program_of_pytorch_says_the_same(both, tmp_path):
    model, completer = both
    graph = networks.graph_of(model, cfg=settings())
    networks.save_program(graph, tmp_path / "net.pt2")
    view = np.random.default_rng(1).random((1, views.CHANNELS, 16, 16), dtype=np.float32)
    with torch.no_grad():
        (found,) = torch.export.load(tmp_path / "net.pt2").module()(torch.from_numpy(view))
    assert np.abs(found[0].numpy() - completer.logits(view[0])).max() < 1e-4


def test_only_what_something_hides_is_shown_to_a_network():
    asked = []

    def network(view):
        asked.append(view[0].sum())
        return np.full((64, 64), 9.0, np.float32)

    modal = discs()
    settings = amodal.Settings()
    found = amodal.complete(modal, CHANCES, network, settings)
    assert len(asked) == 2  # nothing is in front of the first
    # Whatever is certain is taken, behind occluders and nowhere else.
    for k in (1, 2):
        x, y, side = views.view_square(
            *_boxes(modal, k, CHANCES), reach=settings.reach, margin=settings.margin
        )
        inside = np.zeros(SIZE, bool)
        inside[max(y, 0) : y + side, max(x, 0) : x + side] = True
        assert (found[k] == modal[k] | (modal[k - 1] & inside)).all()
    asked.clear()
    assert (amodal.complete(modal, np.eye(3), network, settings) == modal).all() and not asked


def _boxes(modal: np.ndarray, index: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = []
    for mask in modal:
        y, x = np.nonzero(mask)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return np.array(boxes[index]), np.array(boxes)[chances[:, index] >= views.LEAST_WEIGHT]


def test_a_graph_of_the_order_completes_nothing():
    pytest.importorskip("onnxruntime")
    graph = Graph(model_zoo.graph_file(model_zoo.ORDERS_MASKS))
    with pytest.raises(ValueError, match=r"mask_order_photos\.onnx: not a graph that completes"):
        MaskCompleter(graph)
