r"""Look through results in a browser: an HTML file that needs no server and no network.

    occ-order view --results output/inference --images photos --output view.html
    occ-order view --results order_results.json --images photos --output view.html \
        --gt cocoa.json --gt-format cocoa

Of more than 200 images, each lies in a file of its own in a folder beside the page (view_files),
which opens at once and reads them one by one.

Point at an instance to see what it hides and what hides it; slide through the layers; switch
between visible parts and whole objects; compare with annotation. Images are found by the
"file_name" of the results, by the annotation, or by the image id in their name.
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
        "--max-side", type=int, default=1280, help="images are made no larger than this"
    )
    parser.set_defaults(work="occ_order.commands.view")
