"""`occ-order stats`: print statistics of the orders of a registered data set."""

from __future__ import annotations

import argparse

from detectron2.data import DatasetCatalog

import occ_order.formats.builtin  # noqa: F401  (registers the names)
from occ_order.commands.progress import progress
from occ_order.files import write_bytes, write_json
from occ_order.formats.statistics import format_statistics, order_statistics


def run(options: argparse.Namespace) -> int:
    """Compute the statistics and print a table; return the exit status."""
    if options.dataset not in DatasetCatalog:
        raise ValueError(f"no data set {options.dataset!r}; there are {sorted(DatasetCatalog)}")
    records = DatasetCatalog.get(options.dataset)[: options.limit]
    found = order_statistics(progress(records, "stats"), look_at_masks=not options.no_masks)
    print(format_statistics(found, title=options.dataset), end="")
    if options.json:
        write_json(options.json, found, indent=1)
    if options.plot:
        from occ_order.draw import png_bytes
        from occ_order.draw.order_statistics import draw_statistics

        write_bytes(options.plot, png_bytes(draw_statistics(found, title=options.dataset)))
    return 0
