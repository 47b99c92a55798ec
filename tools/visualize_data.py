#!/usr/bin/env python
"""Draw a data set: visible parts, whole objects, oriented boundaries, order graphs, relative depth.

    python tools/visualize_data.py --dataset scenes_val_cocoa --output out --limit 10
    python tools/visualize_data.py --from labelme --input my_folder --output out

The first names a registered data set (datasets/README.md), which needs Detectron2; the second reads
files of any format that tools/convert_dataset.py knows. OUTPUT gets one PNG sheet for each image,
or with --separate one file for each panel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from occ_order.draw.sheets import add_panel_options, panels, safe_stem, save_panels
from occ_order.files import load_image
from occ_order.formats.command_line import add_input_options, read_input
from occ_order.formats.convert import DataSet
from occ_order.formats.results import results_of


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
    parser.add_argument("--dataset", metavar="NAME", help="a registered data set")
    add_input_options(parser, required=False)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images only")
    add_panel_options(parser)
    options = parser.parse_args(arguments)
    if (options.dataset is None) == (options.format is None):
        parser.error("give either --dataset NAME or --from FORMAT --input PATH")
    if options.format is not None and options.input is None:
        parser.error("--from needs --input")
    return options


def registered(name: str) -> DataSet:
    """A registered data set.

    Raises:
        ValueError: there is none of that name, or Detectron2 is not installed.
    """
    try:
        from detectron2.data import DatasetCatalog, MetadataCatalog

        from occ_order.formats import builtin  # noqa: F401 registers the names
    except ImportError as error:
        raise ValueError(f"names of data sets need Detectron2 ({error}); see INSTALL.md") from None
    if name not in DatasetCatalog.list():
        raise ValueError(f"no data set is called {name!r}; datasets/README.md lists the names")
    records = DatasetCatalog.get(name)
    classes = MetadataCatalog.get(name).get("thing_classes", [])
    return DataSet(records, [{"id": k, "name": word} for k, word in enumerate(classes)])


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read.
    """
    options = parse_arguments(arguments)
    try:
        data = registered(options.dataset) if options.dataset else read_input(options)
        written = 0
        for number, record in enumerate(tqdm(data.records[: options.limit], disable=None)):
            if "annotations" not in record:
                raise ValueError("this data set has no instances, only pictures and depth")
            parts = panels(
                results_of(record, data.categories),
                load_image(record["file_name"]),
                kinds=options.panels,
                palette=options.boundary_colors,
            )
            title = Path(record["file_name"]).name
            stem = Path(options.output) / safe_stem(number, title)
            written += len(save_panels(stem, parts, title=title, separate=options.separate))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{written:,} pictures: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
