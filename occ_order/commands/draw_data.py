"""`occ-order report data`: draw the annotations of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.commands.progress import progress
from occ_order.draw.image_panels import panels
from occ_order.draw.sheets import safe_stem, save_panels
from occ_order.files import load_image
from occ_order.formats.command_line import read_input
from occ_order.formats.convert import DataSet
from occ_order.formats.results import results_of
from occ_order.instances import OrderedInstances


def registered(name: str) -> DataSet:
    """Load a registered data set.

    Raises:
        ValueError: there is no data set of that name, or Detectron2 is not installed.
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


def run(options: argparse.Namespace) -> int:
    """Draw every image; return the exit status."""
    data = registered(options.dataset) if options.dataset else read_input(options)
    written = 0
    for number, record in enumerate(progress(data.records[: options.limit], "report")):
        if "annotations" not in record:
            raise ValueError("this data set has no instances, only images and depth")
        parts = panels(
            OrderedInstances.from_dict(results_of(record, data.categories)),
            load_image(record["file_name"]),
            kinds=options.panels,
            palette=options.boundary_colors,
        )
        title = Path(record["file_name"]).name
        stem = Path(options.output) / safe_stem(number, title)
        written += len(save_panels(stem, parts, title=title, separate=options.separate))
    print(f"{written:,} images: {options.output}")
    return 0
