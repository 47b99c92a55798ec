"""Serve a local web page that predicts the order of instances in photographs.

    occ-order app                              # prints the address to open in a browser
    occ-order app --open --detector torchvision

Upload a photograph and, optionally, its masks: a file as for `occ-order predict --masks`, or one
PNG per instance; or outline instances by clicks. Without masks a detector is run. The page shows
panels and sentences; for download it offers order_results.json, the layers as a PSD file (if
psd-tools is installed), and a ZIP file with everything that `occ-order predict` writes.

The page can be reached from this machine only. Uploads are kept in a temporary folder that is
removed when the program ends (Ctrl+C). Needs Gradio: pip install "occ_order[app]".
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_backend_options, detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("--port", type=int, default=8322, help="TCP port; 0 = a free one (8322)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--detector",
        type=detector,
        metavar="WHAT",
        help="detector for photographs without masks, as for occ-order predict, in addition to the "
        "built-in ones",
    )
    add_backend_options(parser)
    parser.set_defaults(work="occ_order.commands.app")
