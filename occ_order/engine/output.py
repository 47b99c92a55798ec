"""The folder that a run writes to."""

from __future__ import annotations

import os
import tempfile


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Makes the folder, and makes sure before hours of work that files can be written there.

    Args:
        path: the folder; "" is none, and nothing is checked.

    Raises:
        OSError: it cannot be made or written, or the disk is full; the message names it.
    """
    path = os.fspath(path)
    if not path:
        return
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".", suffix=".part") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            f"OUTPUT_DIR {path!r} cannot be written: {error.strerror or error}; "
            "choose another folder or free some space"
        ) from error
