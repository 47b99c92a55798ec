"""The folder that a run writes to."""

from __future__ import annotations

import os

from occ_order.files import check_writable


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder, and make sure before hours of work that files can be written there.

    Args:
        path: the folder; "" is none, and nothing is checked.

    Raises:
        OSError: it cannot be made or written, or the disk is full; the message names it.
    """
    if os.fspath(path):
        check_writable(path, "OUTPUT_DIR")
