"""Output folder of a run."""

from __future__ import annotations

import os

from occ_order.files import check_writable


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Create the folder and check that files can be written, before a long computation.

    Args:
        path: the folder; "" = no check.

    Raises:
        OSError: it cannot be created or written, or the disk is full; names it.
    """
    if os.fspath(path):
        check_writable(path, "OUTPUT_DIR")
