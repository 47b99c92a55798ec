r"""List the trained models, evaluate them again, add one, or write what stands beside the list.

    occ-order zoo list
    occ-order zoo check NAME     # evaluates it again and compares
    occ-order zoo add --name NAME --config InstaOrder/x.yaml --run OUTPUT_DIR --scene-seed 1 \
        --data "occ-order scenes ..." --command "occ-order ..."
    occ-order zoo graph NAME     # its ONNX file, with which it predicts without PyTorch
    occ-order zoo write          # MODEL_ZOO.md
    occ-order zoo weights InstaOrder_InstaOrderNet_o.pth.tar instaorder_net_o.pth

`add` takes `model_final.pth` and `training_time.json` out of the folder of a training run, shrinks
the weights to float16, evaluates what it has written on the config's data and keeps those scores:
the row says what the shipped file does, not what the training run said.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.cli.common import add_check, existing, existing_path, zoo_model

WEIGHTS = """Turn the authors' checkpoints, or torchvision's ResNets, into ours, or ours into small
ones.

    occ-order zoo weights InstaOrder_InstaOrderNet_o.pth.tar instaorder_net_o.pth \\
        --config-file configs/InstaOrder/instaorder_net_o.yaml
    occ-order zoo weights output/model_final.pth small.pth --half
    occ-order zoo weights outlines.pth both.pth --half --join image.pth
    occ-order zoo weights segmenter.pth calibrated.pth --half --calibrate 1.1 -2.2

Of the authors' it knows InstaOrderNet, OrderNet, PCNet-M, InstaDepthNet and MiDaS v2.1. Of
torchvision's ResNets it widens the first convolution for the masks of a pair, and leaves out the
last layer: the network's own learns from scratch. Files are read without running what they hold.
With a configuration it also checks that every weight has its place there; without one,
--three-classes tells InstaOrderNet^d (depth) from OrderNet (relation).

With --half the input is a checkpoint of a training here, or any other whose names stay: its weights
are written without the trainer's state, floating-point ones as float16. Models load them into
float32. --calibrate puts Platt scaling into the classifier of a detector of one class: scores
become expit(SCALE * logit(score) + SHIFT); with TEST.OOSIS.CALIBRATION True an evaluation prints
both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.set_defaults(work="occ_order.commands.zoo")
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = kinds.add_parser("list", help="names of the models and their settings")
    listed.set_defaults(work="occ_order.commands.zoo_list")
    again = kinds.add_parser("check", help="evaluate again")
    again.add_argument("names", nargs="*", type=zoo_model, metavar="NAME")
    new = kinds.add_parser("add", help="add a model")
    new.add_argument("--name", required=True)
    new.add_argument("--config", required=True, help="below configs/")
    new.add_argument("--run", required=True, type=existing, help="folder of the training run")
    new.add_argument("--data", required=True, help="command that made the data")
    new.add_argument("--scene-seed", type=int, required=True)
    new.add_argument("--command", required=True, help="command that trained it")
    new.add_argument("--device", default="one thread of a CPU")
    new.add_argument("--trained-on", help="the data in a few words; default: as listed before")
    new.add_argument(
        "--expect",
        help='how well it does, in a few words with scores as "{task/metric:.0f}"; likewise',
    )
    new.add_argument(
        "--score-threshold", type=float, help="of a detector: the least score to keep; likewise"
    )
    graph = kinds.add_parser("graph", help="write the ONNX file that predicts without PyTorch")
    graph.add_argument("names", nargs="+", type=zoo_model, metavar="NAME")
    written = kinds.add_parser("write", help="write MODEL_ZOO.md")
    written.add_argument("--output", type=Path, default=Path("MODEL_ZOO.md"), metavar="FILE")
    _add_weights(
        kinds.add_parser(
            "weights",
            help="convert checkpoints",
            description=WEIGHTS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=existing_path, help="theirs (.pth.tar, .pt, .pth), or ours")
    parser.add_argument("output", type=Path, help="file to write (.pth)")
    parser.add_argument(
        "--config-file", type=existing_path, metavar="YAML", help="the network that it is for"
    )
    parser.add_argument("--three-classes", choices=("depth", "relation"))
    parser.add_argument("--half", action="store_true", help="ours: its weights alone, as float16")
    parser.add_argument(
        "--join", type=existing_path, help="with --half: more weights of the same network"
    )
    parser.add_argument(
        "--calibrate",
        nargs=2,
        type=float,
        metavar=("SCALE", "SHIFT"),
        help="with --half: of the scores of a detector of one class",
    )
    add_check(parser, check_weights)
    parser.set_defaults(work="occ_order.commands.weights")


def check_weights(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the arguments of `zoo weights` together."""
    for name in ("join", "calibrate"):
        if getattr(options, name) and not options.half:
            return f"--{name} is for our checkpoints, with --half"
    if options.half and options.three_classes:
        return "--three-classes is for the authors' checkpoints, --half for ours"
    return None
