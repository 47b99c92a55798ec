"""`occ-order report results`: draw results, optionally with ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.commands.progress import progress
from occ_order.draw.image_panels import panels
from occ_order.draw.sheets import safe_stem, save_panels
from occ_order.files import load_image
from occ_order.formats.command_line import found_results
from occ_order.formats.layered_image import export_image
from occ_order.instances import OrderedInstances


def run(options: argparse.Namespace) -> int:
    """Draw every image; return the exit status."""
    written = 0
    for number, found in enumerate(progress(found_results(options), "report")):
        drawing = load_image(found.path)
        stem = Path(options.output) / safe_stem(number, found.path.name)
        parts = panels(
            OrderedInstances.from_dict(found.image, class_names=found.class_names),
            drawing,
            None if found.truth is None else OrderedInstances.from_dict(found.truth),
            kinds=options.panels,
            palette=options.boundary_colors,
        )
        written += len(save_panels(stem, parts, title=found.path.name, separate=options.separate))
        if options.layers:
            written += len(export_image(stem, found.image, drawing, psd=options.psd))
    print(f"{written:,} files: {options.output}")
    return 0
