"""`occ-order export`: export the network of a model as a PyTorch program and as ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from occ_order import model_zoo
from occ_order.cli.export import FORMATS
from occ_order.config import load_cfg
from occ_order.engine import export as networks
from occ_order.lite.graph import runtime

TOLERANCE = 1e-3  # relative to the largest value: the order of summation differs


def graph_of(options: argparse.Namespace) -> networks.Graph:
    """Return the network to export, on the CPU."""
    if options.model:
        cfg, model = model_zoo.get_cfg(options.model), model_zoo.get(options.model)
    else:
        cfg = load_cfg(options.config_file, [*options.opts, "MODEL.DEVICE", "cpu"])
        model = model_zoo.build(cfg)
    return networks.graph_of(model, size=options.size, part=options.part, cfg=cfg)


def outputs_of(
    kind: str, path: Path, graph: networks.Graph, given: tuple[torch.Tensor, ...]
) -> list[np.ndarray] | None:
    """Run an exported file and return its outputs as arrays; None without onnxruntime."""
    if kind == "program":
        with torch.no_grad():
            return [one.numpy() for one in torch.export.load(path).module()(*given)]
    try:
        onnxruntime = runtime()
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.inputs]
    return session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})


def compare(kind: str, path: Path, graph: networks.Graph) -> str:
    """Run an exported file and describe its difference from the network.

    Raises:
        ValueError: the outputs differ.
    """
    given = graph.example(5)
    found = outputs_of(kind, path, graph, given)
    if found is None:
        return "not run: onnxruntime is not installed (pip install onnxruntime)"
    with torch.no_grad():
        expected = [one.numpy() for one in graph.module(*given)]
    worst = 0.0
    for tensor, one, other in zip(graph.outputs, found, expected, strict=True):
        # Whole numbers as well: int8 matrices of order.
        apart = np.abs(one.astype(float) - other).max() / max(np.abs(other).max(), 1.0)
        if not apart <= TOLERANCE:
            raise ValueError(f"{path}: {tensor.name} differs from the network's by {apart:.2g}")
        worst = max(worst, apart)
    return f"largest difference {worst:.1e}"


def run(options: argparse.Namespace) -> int:
    """Write the files and compare them with the network; return the exit status."""
    folder = Path(options.output)
    graph = graph_of(options)
    folder.mkdir(parents=True, exist_ok=True)
    formats = options.formats or [k for k in FORMATS if k == "onnx" or not graph.no_program]
    for kind in formats:
        path = folder / FORMATS[kind]
        if kind == "onnx":
            networks.save_onnx(graph, path, half=options.half)
        else:
            networks.save_program(graph, path)
        print(f"{path}: {compare(kind, path, graph)}")
    networks.save_description(graph, folder / "network.json")
    for side in ("inputs", "outputs"):
        for tensor in getattr(graph, side):
            print(f"{side[:-1]:6} {tensor.name} {tensor.shape}: {tensor.meaning}")
    return 0
