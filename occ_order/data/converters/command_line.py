"""Options by which commands are told which data set to read."""

from __future__ import annotations

import argparse

from occ_order.data.converters.convert import READABLE, DataSet, read_dataset


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what to read; :func:`read_input` reads it."""
    parser.add_argument(
        "--from", dest="format", required=True, choices=READABLE, help="format to read"
    )
    parser.add_argument("--input", required=True, metavar="PATH", help="its file or folder")
    parser.add_argument("--images", metavar="DIR", help="pictures; default: beside the input")
    parser.add_argument("--instances", metavar="FILE", help="instaorder: the COCO instances file")
    parser.add_argument("--order", metavar="FILE", help="coco: the order table (CSV)")
    parser.add_argument(
        "--classes", metavar="A,B,...", help="labelme: class names in the order of their ids"
    )
    parser.add_argument(
        "--whole", action="store_true", help="labelme: shapes outline whole objects"
    )
    parser.add_argument(
        "--names-from", metavar="FILE", help="results: COCO-style file with file names and classes"
    )


def read_input(options: argparse.Namespace) -> DataSet:
    """Reads the data set that the options of :func:`add_input_options` name.

    Raises:
        ValueError: names file and entry of what is wrong.
        OSError: a file cannot be read.
    """
    classes = options.classes
    return read_dataset(
        options.format,
        options.input,
        images=options.images,
        instances=options.instances,
        order=options.order,
        classes=None if classes is None else [name.strip() for name in classes.split(",")],
        whole=options.whole,
        names_from=options.names_from,
    )
