r"""Write an HTML viewer of results, which needs no server and no network.

    occ-order view --results output/inference --images photos --output view.html
    occ-order view --results order_results.json --images photos --output view.html \
        --gt cocoa.json --gt-format cocoa

With more than 200 images, each is written to its own file in a folder beside the page (view_files)
and loaded on demand.

Point at an instance to see which ones it occludes and which occlude it; step through the layers;
switch between modal and amodal masks; compare with the ground truth. Image files are found by the
"file_name" of the results, by the ground truth, or by the image id in their name.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_results_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_results_options(parser)
    parser.add_argument("--output", default="view.html", help="page to write")
    parser.add_argument("--title", default="Who is in front of whom?", help="heading of the page")
    parser.add_argument(
        "--max-side", type=int, default=1280, help="maximum longest side of the images in pixels"
    )
    parser.set_defaults(work="occ_order.commands.view")
