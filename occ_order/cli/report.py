r"""Draw results, data sets and curves as figures, as in the papers.

occ-order report results --results output/inference --images photos --output out
occ-order report results --results order_results.json --images photos --output out \
        --gt cocoa.json --gt-format cocoa --layers --psd
occ-order report data --dataset scenes_val_cocoa --output out --limit 10
occ-order report data --from labelme --input my_folder --output out
occ-order report curves --run "Joint-Labeling=output/oosis/inference/oair.json" \
        --run "M-RCNN + OrderNet=output/order_net/inference/oair.json" --output curves.png
occ-order report methods --image photo.jpg --image-id 7 \
        --result "Joint-Labeling=output/oosis/inference/order_results.json" --output methods.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.cli.common import (
    add_check,
    add_input_options,
    add_panel_options,
    add_results_options,
    at_least_one,
    existing_path,
    named_file,
)

RESULTS = """Draw results: instances, order graph, relative depth, and a comparison with the ground
truth.

Writes one PNG sheet per image, or with --separate one file per panel; with --layers also a folder
per image with its layers front to back (numbered RGBA files, layers.json) and its graphs as GraphML
and DOT, and with --psd a layered Photoshop file. See `occ-order view` for an HTML viewer."""

DATA = """Draw a data set: modal and amodal masks, oriented boundaries, order graphs, relative
depth.

--dataset names a registered data set (datasets/README.md), which needs Detectron2; --from and
--input read files of any format that `occ-order convert` reads. Writes one PNG sheet per image, or
with --separate one file per panel."""

CURVES = """Plot the OAIR curves of several runs with a legend (OOSIS, Fig. 9 to 11). Runs of the
same NAME, such as several seeds, are lines of one colour with one entry."""

METHODS = """Compare the results of several methods on one photograph: relative depth maps drawn
from results (OOSIS, Fig. 8), or disparity maps read from PNG files (InstaOrder, Fig. 6)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    _add_results(
        kinds.add_parser(
            "results", help="an order_results.json", description=RESULTS, formatter_class=raw
        )
    )
    _add_data(kinds.add_parser("data", help="a data set", description=DATA, formatter_class=raw))
    _add_curves(
        kinds.add_parser("curves", help="curves of several runs in one plot", description=CURVES)
    )
    _add_methods(
        kinds.add_parser(
            "methods", help="methods side by side for one photograph", description=METHODS
        )
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    add_results_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the drawings")
    add_panel_options(parser)
    parser.add_argument("--layers", action="store_true", help="also write layers and graphs")
    parser.add_argument("--psd", action="store_true", help="with --layers: also a Photoshop file")
    parser.set_defaults(work="occ_order.commands.draw_results")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="a registered data set")
    add_input_options(parser, required=False)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the drawings")
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="the first N images only")
    add_panel_options(parser)
    add_check(parser, check_data)
    parser.set_defaults(work="occ_order.commands.draw_data")


def check_data(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of options of `report data`, or None."""
    if (options.dataset is None) == (options.format is None):
        return "give either --dataset NAME or --from FORMAT --input PATH"
    if options.format is not None and options.input is None:
        return "--from needs --input"
    return None


def _add_curves(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", action="append", type=named_file, required=True, metavar="NAME=FILE"
    )
    parser.add_argument("--curve", choices=("by_iou", "by_confidence", "fine"), default="by_iou")
    parser.add_argument("--decycled", action="store_true", help="also after random decycling")
    _add_figure_options(parser)


def _add_methods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=existing_path, required=True, metavar="FILE")
    parser.add_argument("--image-id", default="", help="image id of the photograph in the results")
    parser.add_argument(
        "--result",
        action="append",
        type=named_file,
        required=True,
        metavar="NAME=FILE",
        help="order_results.json, or a PNG file of a disparity map",
    )
    parser.add_argument("--columns", type=at_least_one, default=4)
    _add_figure_options(parser)


def _add_figure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--title", default="")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="file to write")
    parser.set_defaults(work="occ_order.commands.figures")
