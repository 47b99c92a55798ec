#!/usr/bin/env python
"""Draw results: instances, order graph, relative depth, and the annotated orders they get right.

    python tools/visualize_results.py --results output/inference --images pictures --output out
    python tools/visualize_results.py --results order_results.json --images pictures --output out \
        --gt cocoa.json --gt-format cocoa --layers --psd

OUTPUT gets one PNG sheet for each image, or with --separate one file for each panel; with --layers
also a folder for each image with its layers front to back (numbered RGBA files, layers.json), its
graphs as GraphML and DOT, and with --psd a layered Photoshop file. tools/view.py is the same for a
browser.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from occ_order.draw.sheets import add_panel_options, panels, safe_stem, save_panels
from occ_order.files import load_image
from occ_order.formats.command_line import add_results_options, check_results_options, found_results
from occ_order.formats.layered_image import export_image


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
    add_results_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the pictures")
    add_panel_options(parser)
    parser.add_argument("--layers", action="store_true", help="write layers and graphs, too")
    parser.add_argument("--psd", action="store_true", help="with --layers, a Photoshop file, too")
    options = parser.parse_args(arguments)
    check_results_options(parser, options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read or does not fit.
    """
    options = parse_arguments(arguments)
    written = 0
    try:
        for number, found in enumerate(tqdm(found_results(options), disable=None)):
            picture = load_image(found.path)
            stem = Path(options.output) / safe_stem(number, found.path.name)
            parts = panels(
                found.image,
                picture,
                truth=found.truth,
                class_names=found.class_names,
                kinds=options.panels,
                palette=options.boundary_colors,
            )
            written += len(
                save_panels(stem, parts, title=found.path.name, separate=options.separate)
            )
            if options.layers:
                written += len(export_image(stem, found.image, picture, psd=options.psd))
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{written:,} files: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
