"""Exported networks say what the networks themselves say: row 29 of the table of bad input."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

import occ_order.methods.build  # noqa: F401
from occ_order.cli import main
from occ_order.commands import export
from occ_order.config import load_cfg
from occ_order.engine import export as networks

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MINI = {"MODEL.DEVICE": "cpu", "MODEL.MINI_RESNET.WIDTH": 4}
BLOCKS = {"MODEL.MINI_RESNET.BLOCKS": [1, 1, 1, 1]}
HEAD = {
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ORDER_HEAD.WIDTH": 8,
    "MODEL.ORDER_HEAD.HIDDEN": 16,
    "MODEL.ORDER_HEAD.ROUNDS": 1,
}
DEPTH = {
    "MODEL.DISPARITY.INPUT_SIZE": [64, 64],
    "MODEL.DISPARITY.FEATURES": 8,
    "MODEL.DISPARITY.OUTPUT_CHANNELS": [8, 4],
}
NETWORKS = {
    "pairs": (
        "InstaOrder/instaorder_net_od.yaml",
        {
            "MODEL.BACKBONE.NAME": "build_mini_resnet_backbone",
            "MODEL.RESNETS.OUT_FEATURES": ["res5"],
            "MODEL.PAIRWISE.INPUT_SIZE": 32,
            "MODEL.PAIRWISE.MODE": "crop",
            "MODEL.WEIGHTS": "",
            **BLOCKS,
        },
        {},
    ),
    "order head": ("OrderHead/scenes/order_head.yaml", {**HEAD, **BLOCKS}, {"size": (64, 96)}),
    "depth": (
        "InstaDepthNet/instadepthnet_od_mini_scenes.yaml",
        {**DEPTH, **BLOCKS},
        {},
    ),
    "disparity": (
        "InstaDepthNet/instadepthnet_od_mini_scenes.yaml",
        {**DEPTH, **BLOCKS},
        {"part": "disparity"},
    ),
}
NETWORKS["mask order"] = (
    "Photos/mask_order.yaml",
    {
        "MODEL.BACKBONE.NAME": "build_mini_resnet_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.MASK_ORDER.WIDTH": 8,
        "MODEL.MASK_ORDER.HIDDEN": 16,
        "MODEL.MASK_ORDER.VIEW_SIZES": [16, 12],
        "MODEL.MASK_ORDER.VIEW_WIDTHS": [[8, 12], [6, 8]],
        "MODEL.MASK_ORDER.VIEW_CHANNELS": 10,
        "INPUT.MIN_SIZE_TEST": 64,
        "INPUT.MAX_SIZE_TEST": 96,
        **BLOCKS,
    },
    {},
)
NUMBERS = (0, 1, 3, 7)
TOLERANCE = 1e-4


def cfg_of(name, other=None):
    file, settings, _ = NETWORKS[name]
    opts = [str(part) for pair in {**MINI, **settings, **(other or {})}.items() for part in pair]
    return load_cfg(CONFIGS / file, opts)


def model_of(name, other=None):
    """A tiny model whose batch statistics are not those of the start."""
    torch.manual_seed(1)
    model = build_model(cfg_of(name, other)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):  # so that answers differ
            torch.nn.init.kaiming_normal_(module.weight)
    return model.requires_grad_(False)


def difference(graph, run):
    """Largest difference of a run to the module, over several numbers of instances or pairs.

    As a share of the largest value: sums are taken in another order.
    """
    worst = 0.0
    for number in NUMBERS:
        if number < graph.least:
            continue
        given = graph.example(number)
        expected = graph.module(*given)
        found = run(given)
        assert [tuple(x.shape) for x in found] == [tuple(x.shape) for x in expected]
        for one, other in zip(found, expected, strict=True):
            if not other.numel():
                continue
            largest = float(other.abs().max())
            assert number == 1 or largest > 1e-3  # there is something to compare
            apart = np.abs(np.asarray(one, float) - other.double().numpy()).max()
            worst = max(worst, float(apart) / (largest or 1.0))
    return worst


def exported(name):
    return networks.graph_of(model_of(name), cfg=cfg_of(name), **NETWORKS[name][2])


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"mask order"}))
def test_programs_agree_with_the_network(name, tmp_path):
    """With none and one, too, which is where a program may take a side for fixed."""
    graph = exported(name)
    networks.save_program(graph, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    assert difference(graph, lambda given: loaded(*given)) < TOLERANCE


def test_a_network_that_no_program_holds_says_why(tmp_path):
    with pytest.raises(ValueError, match="use ONNX: .* one instance has one pair"):
        networks.save_program(exported("mask order"), tmp_path / "net.pt2")
    assert not (tmp_path / "net.pt2").exists()


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_agrees_with_the_network(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # PyTorch's other exporter needs it
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = exported(name)
    run = run_of(graph, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    assert [one.name for one in session.get_inputs()] == [one.name for one in graph.inputs]
    assert [one.name for one in session.get_outputs()] == [one.name for one in graph.outputs]
    assert difference(graph, run) < TOLERANCE


def test_the_exporter_that_traces_is_deprecated_and_still_there(tmp_path):
    """Fails once PyTorch removes it or changes what it says of that: see the module's docstring."""
    given = (torch.zeros(1, 1),)
    with pytest.warns(DeprecationWarning, match="using the legacy TorchScript-based ONNX export"):
        torch.onnx.export(torch.nn.Linear(1, 1), given, tmp_path / "net.onnx", dynamo=False)
    assert (tmp_path / "net.onnx").exists()


def test_a_full_disk_names_the_file_and_leaves_none(tmp_path, full_disk):
    """Of any network: 16 KB of weights stand for it."""
    vectors = (networks.Tensor("given", (networks.FREE, 64), ""),)
    graph = networks.Graph(torch.nn.Linear(64, 64), vectors, vectors)
    for name, save in (("net.onnx", networks.save_onnx), ("net.pt2", networks.save_program)):
        with full_disk(1000), pytest.raises(OSError, match=re.escape(name)):
            save(graph, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(ValueError, match="Linear cannot be exported.*the CRF of OOSIS"):
        networks.graph_of(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"part must be one of .* got 'both'"):
        networks.graph_of(torch.nn.Linear(1, 1), part="both")
    model = model_of("order head")
    for size in ((), (64,), (64, 70), (0, 64)):
        with pytest.raises(ValueError, match="multiples of 32, got"):
            networks.graph_of(model, size=size)


@pytest.mark.parametrize(
    ("shortest", "size"), [(0, (480, 640)), (800, (800, 1088)), (65, (96, 96))]
)
def test_the_size_has_a_default(shortest, size):
    cfg = cfg_of("order head", {"INPUT.MIN_SIZE_TEST": shortest})
    image, masks = networks.graph_of(model_of("order head"), cfg=cfg).inputs
    assert image.shape[2:] == masks.shape[1:] == size


def test_without_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    graph = networks.graph_of(model_of("disparity"), part="disparity")
    with pytest.raises(ImportError, match=r'pip install "\.\[export\]"'):
        networks.save_onnx(graph, tmp_path / "net.onnx")


def test_the_exported_order_head_says_what_the_model_says():
    """One image through the whole model with input masks, and through the graph."""
    model = model_of("order head")
    model.given_masks = True
    graph = networks.graph_of(model, size=(64, 96))
    image, masks = graph.example(5)
    masks[4] = 0  # an empty mask is an answer, too
    instances = Instances((64, 96))
    instances.pred_masks = masks.bool()
    output = model([{"image": image[0], "instances": instances}])[0]["instances"]
    occlusion, depth = graph.module(image, masks)
    other = ~torch.eye(5, dtype=torch.bool)
    expected = output.occlusion_probability.tensor
    assert torch.allclose(occlusion.sigmoid()[other], expected[other], atol=1e-4)
    expected = output.depth_probability.tensor
    assert torch.allclose(depth.softmax(2)[other], expected[other], atol=1e-4)
    assert expected[other].std() > 0.05


PAIRS = {
    "crops of masks and image": {},
    "crops of masks": {"MODEL.PAIRWISE.INPUTS": "['masks']"},
    "whole images": {"MODEL.PAIRWISE.MODE": "resize"},
    "crops of expanded boxes": {"MODEL.PAIRWISE.COMPAT.DOUBLE_EXPANSION": True},
    "category ids": {"MODEL.PAIRWISE.CATEGORY_ENCODING": "raw"},
    "embedded categories, maps, one task": {
        "MODEL.PAIRWISE.CATEGORY_ENCODING": "embedding",
        "MODEL.PAIRWISE.INPUTS": "['masks', 'maps']",
        "MODEL.PAIRWISE.TASKS": "['relation']",
    },
}


def run_of(graph, path):
    """The written ONNX file as a function of tensors."""
    onnxruntime = pytest.importorskip("onnxruntime")
    networks.save_onnx(graph, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.inputs]
    return lambda given: session.run(
        None, {key: value.numpy() for key, value in zip(names, given, strict=True)}
    )


@pytest.mark.parametrize("kind", PAIRS)
def test_the_exported_pair_network_says_what_the_model_says(kind, tmp_path):
    """Image and masks into the file, on images of several sizes, against the model's matrices."""
    model = model_of("pairs", PAIRS[kind])
    graph = networks.graph_of(model)
    run = run_of(graph, tmp_path / "net.onnx")
    for number in (0, 1, 2, 6):
        given = graph.example(number)
        named = dict(zip([one.name for one in graph.inputs], given, strict=True))
        instances = Instances(tuple(named["masks"].shape[1:]))
        instances.pred_masks = named["masks"] != 0
        instances.pred_classes = named.get("classes", torch.zeros(number, dtype=torch.int64))
        if "maps" in named:
            instances.maps = named["maps"]
        image = named["image"][0] if "image" in named else None
        expected = model.orders(image, instances)
        found = dict(zip([one.name for one in graph.outputs], run(given), strict=True))
        assert found.keys() == expected.keys()
        for name, values in found.items():
            torch.testing.assert_close(
                torch.from_numpy(values), expected[name], atol=TOLERANCE, rtol=0
            )
    assert expected.popitem()[1].std() > 0.01  # probabilities that differ


def test_pairs_selected_by_masks_are_not_exported():
    model = model_of("pairs", {"MODEL.PAIRWISE.TEST_PAIRS": "bordering"})
    with pytest.raises(ValueError, match="TEST_PAIRS 'bordering' cannot be exported"):
        networks.graph_of(model)


def test_the_command_writes_compares_and_describes(tmp_path, monkeypatch, capsys):
    model = model_of("disparity")
    monkeypatch.setattr(
        export,
        "graph_of",
        lambda options: networks.graph_of(model, size=options.size, part=options.part),
    )
    wanted = [
        "export",
        "--model",
        "oosis_mini_scenes",
        "--output",
        str(tmp_path),
        "--part",
        "disparity",
    ]
    assert main([*wanted, "--formats", "program"]) == 0
    assert "largest difference" in capsys.readouterr().out
    described = json.loads((tmp_path / "network.json").read_text())
    assert described["inputs"][0]["shape"] == ["number", 3, 64, 64]
    assert described["outputs"][0]["name"] == "disparity"
    assert described["number"].startswith("any length >= 1")
    assert {one["dtype"] for one in described["inputs"] + described["outputs"]} == {"float32"}
    assert described["normalisation"].startswith("inside") and described["thresholds"] == {}
    assert main([*wanted, "--size", "50", "50"]) == 2
    assert "multiples of 32" in capsys.readouterr().err
