"""`occ-order view`: write an HTML viewer of results."""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.apps.viewer import MOST_INSIDE, save_viewer, viewer_image
from occ_order.commands.progress import progress
from occ_order.files import load_image
from occ_order.formats.command_line import found_results


def run(options: argparse.Namespace) -> int:
    """Write the page; return the exit status."""
    pages = (
        viewer_image(
            found.image,
            load_image(found.path),
            truth=found.truth,
            class_names=found.class_names,
            max_side=options.max_side,
        )
        for found in progress(found_results(options), "view")
    )
    count = save_viewer(options.output, pages, title=options.title)
    size = Path(options.output).stat().st_size / 1e6
    beside = f", and a folder of {count:,} files beside it" if count > MOST_INSIDE else ""
    print(f"{count:,} images, {size:.1f} MB: {options.output}{beside}")
    return 0
