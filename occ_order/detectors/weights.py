"""Weights from the network, or one sentence that says how to get them without it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError


def fetched(url: str, path: str | os.PathLike[str], download: Callable[[], object]) -> Path:
    """Return a file that a library keeps, downloaded if it is not there yet.

    Args:
        url: where it comes from.
        path: where the library keeps it.
        download: makes the library put it there.

    Raises:
        FileNotFoundError: it cannot be had. One sentence: which file, from where, where to put it.
    """
    path = Path(path)
    if not path.is_file():
        try:
            download()
        except (URLError, OSError) as error:  # no network, no such file there, no room here
            reason = getattr(error, "reason", None) or error
            raise FileNotFoundError(
                f"the weights {path.name} cannot be downloaded ({reason}): get {url} where there "
                f"is a network and put it at {path}, or name the file as the detector's weights"
            ) from error
    return path
