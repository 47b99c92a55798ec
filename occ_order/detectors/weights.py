"""Download of weights, with an error message that explains how to get them offline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError


def fetched(url: str, path: str | os.PathLike[str], download: Callable[[], object]) -> Path:
    """Return a file in the cache of a library, downloaded if it is missing.

    Args:
        url: URL of the file.
        path: path in the cache of the library.
        download: function that downloads the file to `path`.

    Raises:
        FileNotFoundError: the download failed; the message names the file, its URL and where to
            put it.
    """
    path = Path(path)
    if not path.is_file():
        try:
            download()
        except (URLError, OSError) as error:  # offline, 404, disk full
            reason = getattr(error, "reason", None) or error
            raise FileNotFoundError(
                f"the weights {path.name} cannot be downloaded ({reason}): get {url} where there "
                f"is a network and put it at {path}, or name the file as the detector's weights"
            ) from error
    return path
