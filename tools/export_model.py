#!/usr/bin/env python
r"""Write the network inside a model as TorchScript and ONNX, with a description of its tensors.

    python tools/export_model.py --model NAME --output OUT
    python tools/export_model.py --config-file C --opts MODEL.WEIGHTS w.pth --size 480 640 --output OUT
    python tools/export_model.py --model NAME --part disparity --formats onnx --output OUT

OUT gets `network.pt`, `network.onnx` and `network.json`. What can be exported: MaskOrderNet (what
`occ_order.lite` prepares of an image and masks to the logits of all pairs), InstaOrderNet and
OrderNet (inputs of pairs to logits), the order head (a picture and masks to the logits of all
pairs), InstaDepthNet (a picture, and the masks of pairs, to a disparity map and logits). The CRF of
OOSIS is not exported, nor is the detector under the order head. Each file is run once and compared
with the network. ONNX needs the extra `export`.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from occ_order import model_zoo  # noqa: E402
from occ_order.config import load_cfg  # noqa: E402
from occ_order.engine import export as networks  # noqa: E402

FORMATS = {"torchscript": "network.pt", "onnx": "network.onnx"}
TOLERANCE = 1e-3  # of the largest value: sums are taken in another order


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="name in the model zoo")
    which.add_argument("--config-file", help="YAML file of a model")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="settings")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--size", nargs=2, type=int, default=[], metavar=("H", "W"), help="of the pictures"
    )
    parser.add_argument(
        "--part", choices=networks.PARTS, default=networks.PARTS[0], help="of an InstaDepthNet"
    )
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--half", action="store_true", help="ONNX: weights as float16 in the file")
    return parser.parse_args(arguments)


def graph_of(options: argparse.Namespace) -> networks.Graph:
    """The network that is asked for, on the CPU."""
    if options.model:
        cfg, model = model_zoo.get_cfg(options.model), model_zoo.get(options.model)
    else:
        cfg = load_cfg(options.config_file, [*options.opts, "MODEL.DEVICE", "cpu"])
        model = model_zoo.build(cfg)
    return networks.graph_of(model, size=options.size, part=options.part, cfg=cfg)


def run(kind: str, path: Path, graph: networks.Graph, given: tuple[torch.Tensor, ...]):
    """What a written file makes of an input, as arrays; None for ONNX without onnxruntime."""
    if kind == "torchscript":
        with torch.no_grad():
            return [one.numpy() for one in torch.jit.load(str(path))(*given)]
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.inputs]
    return session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})


def compare(kind: str, path: Path, graph: networks.Graph) -> str:
    """Runs a written file and says how far it is from the network.

    Raises:
        ValueError: it says something else.
    """
    given = graph.example(5)
    found = run(kind, path, graph, given)
    if found is None:
        return "not run: onnxruntime is not installed"
    with torch.no_grad():
        expected = [one.numpy() for one in graph.module(*given)]
    worst = 0.0
    for tensor, one, other in zip(graph.outputs, found, expected, strict=True):
        apart = np.abs(one - other).max() / max(np.abs(other).max(), 1.0)
        if not apart <= TOLERANCE:
            raise ValueError(f"{path}: {tensor.name} differs from the network's by {apart:.2g}")
        worst = max(worst, apart)
    return f"largest difference {worst:.1e}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where the model cannot be exported.
    """
    options = parse_arguments(arguments)
    folder = Path(options.output)
    try:
        graph = graph_of(options)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in options.formats:
            path = folder / FORMATS[kind]
            if kind == "onnx":
                networks.save_onnx(graph, path, half=options.half)
            else:
                networks.save_torchscript(graph, path)
            print(f"{path}: {compare(kind, path, graph)}")
        networks.save_description(graph, folder / "network.json")
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for side in ("inputs", "outputs"):
        for tensor in getattr(graph, side):
            print(f"{side[:-1]:6} {tensor.name} {tensor.shape}: {tensor.meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
