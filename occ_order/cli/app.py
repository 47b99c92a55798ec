"""A page to drop a photograph on: masks from files or clicked outlines, and who occludes whom.

    occ-order app                              # prints the address to open in a browser
    occ-order app --open --detector torchvision

The page takes a photograph and, if there are any, its masks: a file such as `occ-order predict`
takes as --masks, or a PNG for each instance; or things are outlined by clicks. Without masks a
detector finds the instances. The page shows panels and sentences, and gives order_results.json,
the layers as a PSD file (where psd-tools is installed), and a ZIP file with all that
`occ-order predict` writes.

The page can be reached from this machine only. What is dropped lies in a temporary folder that is
removed when the program ends (Ctrl+C). Needs Gradio: pip install "occ_order[app]".
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_backend_options, detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("--port", type=int, default=8322, help="0 takes any free port (8322)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--detector",
        type=detector,
        metavar="WHAT",
        help="finds instances where there are no masks: what occ-order predict takes; the page "
        "offers it beside its own",
    )
    add_backend_options(parser)
    parser.set_defaults(work="occ_order.commands.app")
