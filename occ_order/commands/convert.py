"""`occ-order convert`: convert a data set from one annotation format to another."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from occ_order.commands.progress import progress
from occ_order.formats.command_line import read_input
from occ_order.formats.convert import check_images, convert, copy_images
from occ_order.formats.table import FORMATS


def _check_output(options: argparse.Namespace) -> None:
    """Check that no file of the input would be overwritten, which may hold more than is read.

    Raises:
        ValueError: names the file or folder.
    """
    beside = options.input if Path(options.input).is_dir() else Path(options.input).parent
    given = [options.input, options.instances, options.order]
    read = {Path(path).resolve() for path in given if path is not None}
    read |= {Path(beside, name).resolve() for name in FORMATS[options.format].files[1:]}
    row = FORMATS[options.to]
    for path in row.paths_in(Path(options.output)) if row.files else [Path(options.output)]:
        if path.resolve() in read:
            raise ValueError(
                f"{path}: is the input, which would be overwritten; choose another folder"
            )


def run(options: argparse.Namespace) -> int:
    """Convert, and print what was lost; return the exit status."""
    _check_output(options)
    data = read_input(options, stream=True)
    images, instances = check_images(data, watch=functools.partial(progress, what="check"))
    if options.copy_images:
        copied = functools.partial(progress, what="copy", total=images)
        data = copy_images(data, options.output, watch=copied)
    files, differences = convert(
        data,
        options.to,
        options.output,
        allow_changes=options.allow_changes,
        assume_whole=options.assume_whole,
        assume_none=options.assume_none,
        watch=functools.partial(progress, total=images),
    )
    for line in differences.lines():
        print(line, file=sys.stderr)
    shown = ", ".join(str(path) for path in files[-2:])
    print(f"{images:,} images, {instances:,} instances -> {shown}")
    return 0
