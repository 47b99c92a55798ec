"""Export the network of a model as a PyTorch program and ONNX, with a description of its tensors.

    occ-order export --model NAME --output OUT
    occ-order export --config-file C --opts MODEL.WEIGHTS w.pth --size 480 640 --output OUT
    occ-order export --model NAME --part disparity --formats onnx --output OUT

Writes `network.pt2` (for `torch.export.load`), `network.onnx` and `network.json`. Supported
networks: MaskOrderNet (image and masks prepared by `occ_order.lite` -> logits of all pairs),
MaskCompletionNet (views of instances -> logits of their cells), Mask R-CNN with one class (image ->
boxes, scores and small masks), InstaOrderNet and OrderNet (image and masks -> matrices of all
pairs), the order head (image and masks -> logits of all pairs), InstaDepthNet (image and masks of
pairs -> disparity map and logits). The CRF of OOSIS and the detector of the order head are not
exported; MaskOrderNet and Mask R-CNN are exported as ONNX only. Each file is run once and its
outputs are compared with the network's. ONNX needs the extra `export`.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_model_options

FORMATS = {"program": "network.pt2", "onnx": "network.onnx"}
"""Format -> file name."""

PARTS = ("orders", "disparity")
"""Parts of an InstaDepthNet that can be exported."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_model_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=[],
        metavar=("H", "W"),
        help="image size, where the network fixes it; default: that of the model, or 4 : 3 with "
        "INPUT.MIN_SIZE_TEST, or 480, as height",
    )
    parser.add_argument("--part", choices=PARTS, default=PARTS[0], help="part of an InstaDepthNet")
    parser.add_argument(
        "--formats", nargs="+", choices=tuple(FORMATS), help="default: all that the model supports"
    )
    parser.add_argument("--half", action="store_true", help="ONNX: weights as float16 in the file")
    parser.set_defaults(work="occ_order.commands.export")
