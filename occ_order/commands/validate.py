"""`occ-order validate`: check a data file and list its errors, entry by entry."""

from __future__ import annotations

import argparse
import functools
import os

from occ_order.commands.progress import progress
from occ_order.formats.validate import registered, validate


def run(options: argparse.Namespace) -> int:
    """Check a file or a registered data set; return exit status 1 if it has errors."""
    keys = ("format", "images", "instances", "limit")
    arguments = {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    path = options.data
    if not os.path.isfile(path):
        arguments = {**registered(path), **arguments}
        path = arguments.pop("path")
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{options.data} should be in {path}: no such file "
                "(data sets are looked for below $DETECTRON2_DATASETS, ./datasets if unset)"
            )
    watch = functools.partial(progress, what="validate", unit="annotation")
    result = validate(path, **arguments, watch=watch)
    print(result.text())
    return 1 if result.errors else 0
