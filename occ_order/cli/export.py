"""Write the network inside a model as a PyTorch program and ONNX, with what its tensors are.

    occ-order export --model NAME --output OUT
    occ-order export --config-file C --opts MODEL.WEIGHTS w.pth --size 480 640 --output OUT
    occ-order export --model NAME --part disparity --formats onnx --output OUT

OUT gets `network.pt2` (for `torch.export.load`), `network.onnx` and `network.json`. What can be
exported: MaskOrderNet (what `occ_order.lite` prepares of an image and masks to the logits of all
pairs), MaskCompletionNet (views of instances to logits of their cells), Mask R-CNN of one class (an
image to boxes, scores and small masks), InstaOrderNet and OrderNet (inputs of pairs to logits), the
order head (an image and masks to the logits of all pairs), InstaDepthNet (an image, and masks of
pairs, to a disparity map and logits). The CRF of OOSIS is not exported, nor is the detector under
the order head; MaskOrderNet and Mask R-CNN become ONNX alone. Each file is run once and compared
with the network. ONNX needs the extra `export`.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_model_options

FORMATS = {"program": "network.pt2", "onnx": "network.onnx"}
"""Format -> name of the file."""

PARTS = ("orders", "disparity")
"""Parts of an InstaDepthNet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_model_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--size", nargs=2, type=int, default=[], metavar=("H", "W"), help="of the images"
    )
    parser.add_argument("--part", choices=PARTS, default=PARTS[0], help="of an InstaDepthNet")
    parser.add_argument(
        "--formats", nargs="+", choices=tuple(FORMATS), help="default: all that the model has"
    )
    parser.add_argument("--half", action="store_true", help="ONNX: weights as float16 in the file")
    parser.set_defaults(work="occ_order.commands.export")
