"""What the orders of a data set are like: a table, and a picture (InstaOrder's Figures 4 and 5).

Example:
    python tools/dataset_statistics.py instaorder_2017_val --picture statistics.png

The data set is any registered one (datasets/README.md), below $DETECTRON2_DATASETS.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detectron2.data import DatasetCatalog  # noqa: E402

import occ_order.formats.builtin  # noqa: E402, F401
from occ_order.formats.statistics import format_statistics, order_statistics  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; 2 where the data set cannot be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="registered name")
    parser.add_argument("--limit", type=int, help="look at the first so many images only")
    parser.add_argument("--no-masks", action="store_true", help="do not decode masks (faster)")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write all numbers there")
    parser.add_argument("--picture", metavar="OUT", type=Path, help="write a PNG there")
    options = parser.parse_args(arguments)
    try:
        if options.dataset not in DatasetCatalog:
            raise ValueError(f"no data set {options.dataset!r}; there are {sorted(DatasetCatalog)}")
        records = DatasetCatalog.get(options.dataset)[: options.limit]
        found = order_statistics(records, look_at_masks=not options.no_masks)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(format_statistics(found, title=options.dataset), end="")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if options.picture:
        from occ_order.draw import png_bytes
        from occ_order.draw.order_statistics import draw_statistics

        options.picture.write_bytes(png_bytes(draw_statistics(found, title=options.dataset)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
