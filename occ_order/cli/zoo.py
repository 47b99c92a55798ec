r"""List, evaluate, add and convert models of the zoo, and write its document.

    occ-order zoo list
    occ-order zoo check NAME     # evaluate again and compare with the listed scores
    occ-order zoo add --name NAME --config InstaOrder/x.yaml --run OUTPUT_DIR --scene-seed 1 \
        --data "occ-order scenes ..." --command "occ-order ..."
    occ-order zoo graph NAME     # write its ONNX file, for prediction without PyTorch
    occ-order zoo write          # write MODEL_ZOO.md
    occ-order zoo weights InstaOrder_InstaOrderNet_o.pth.tar instaorder_net_o.pth

`add` reads `model_final.pth` and `training_time.json` from the folder of a training run, converts
the weights to float16, evaluates the written file on the test data of the configuration and lists
those scores: they are the scores of the released file, not of the training run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.cli.common import add_check, existing, existing_path, zoo_model

WEIGHTS = """Convert checkpoints of the papers' authors or ResNets of torchvision, or reduce a
checkpoint to float16 weights.

    occ-order zoo weights InstaOrder_InstaOrderNet_o.pth.tar instaorder_net_o.pth \\
        --config-file configs/InstaOrder/instaorder_net_o.yaml
    occ-order zoo weights output/model_final.pth small.pth --half
    occ-order zoo weights outlines.pth both.pth --half --join image.pth
    occ-order zoo weights segmenter.pth calibrated.pth --half --calibrate 1.1 -2.2

Supported checkpoints of the authors: InstaOrderNet, OrderNet, PCNet-M, InstaDepthNet and MiDaS
v2.1. For torchvision's ResNets the first convolution is widened for the two masks of a pair, and
the last layer is dropped and trained from scratch. Files are read without executing pickled code.
With a configuration, names and shapes of all weights are checked against its network; without one,
--three-classes distinguishes InstaOrderNet^d (depth) from OrderNet (relation).

With --half the input is a checkpoint trained with this package, or any other whose weights keep
their names: the weights are written without the trainer's state, floating-point ones as float16.
Models load them as float32. --calibrate applies Platt scaling to the classifier of a detector with
one class: scores become expit(SCALE * logit(score) + SHIFT); with TEST.OOSIS.CALIBRATION True an
evaluation prints both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.set_defaults(work="occ_order.commands.zoo")
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = kinds.add_parser("list", help="list the models and their configurations")
    listed.set_defaults(work="occ_order.commands.zoo_list")
    again = kinds.add_parser("check", help="evaluate models again and compare the scores")
    again.add_argument("names", nargs="*", type=zoo_model, metavar="NAME")
    new = kinds.add_parser("add", help="add a model")
    new.add_argument("--name", required=True)
    new.add_argument("--config", required=True, help="below configs/")
    new.add_argument("--run", required=True, type=existing, help="folder of the training run")
    new.add_argument("--data", required=True, help="command that generated the data")
    new.add_argument("--scene-seed", type=int, required=True)
    new.add_argument("--command", required=True, help="command that trained it")
    new.add_argument("--device", default="one thread of a CPU")
    new.add_argument("--trained-on", help="short description of the data; default: as listed")
    new.add_argument(
        "--expect",
        help='short description of its performance, scores as "{task/metric:.0f}"; default: as '
        "listed",
    )
    new.add_argument(
        "--score-threshold", type=float, help="detectors: minimum score; default: as listed"
    )
    graph = kinds.add_parser("graph", help="write the ONNX file, for prediction without PyTorch")
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
    parser.add_argument("input", type=existing_path, help="checkpoint (.pth.tar, .pt, .pth)")
    parser.add_argument("output", type=Path, help="file to write (.pth)")
    parser.add_argument(
        "--config-file", type=existing_path, metavar="YAML", help="configuration of the network"
    )
    parser.add_argument("--three-classes", choices=("depth", "relation"))
    parser.add_argument("--half", action="store_true", help="write only the weights, as float16")
    parser.add_argument(
        "--join", type=existing_path, help="with --half: more weights of the same network"
    )
    parser.add_argument(
        "--calibrate",
        nargs=2,
        type=float,
        metavar=("SCALE", "SHIFT"),
        help="with --half: Platt scaling of the scores of a detector with one class",
    )
    add_check(parser, check_weights)
    parser.set_defaults(work="occ_order.commands.weights")


def check_weights(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of arguments of `zoo weights`, or None."""
    for name in ("join", "calibrate"):
        if getattr(options, name) and not options.half:
            return f"--{name} is for our checkpoints, with --half"
    if options.half and options.three_classes:
        return "--three-classes is for the authors' checkpoints, --half for ours"
    return None
