"""Discovery of a user's own data sets by their location.

Below `$DETECTRON2_DATASETS` (default: `./datasets`), as written by ``occ-order convert
--copy-images``::

    own/kitchen/train/images/...           the images
    own/kitchen/train/instaorder.json      -> own_kitchen_train_instaorder (with instances.json)
    own/kitchen/train/cocoa.json           -> own_kitchen_train_cocoa
    own/kitchen/train/cocoa_cls.json       -> own_kitchen_train_cocoa_cls
    own/kitchen/train/kins2020.json        -> own_kitchen_train_kins
    own/kitchen/val/...

The names of the two folders may be anything made of letters, digits, "-" and "_".
`occ_order.formats.builtin` registers what is found.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from occ_order.formats.table import standard

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9A-Za-z_-]+")


def find_own(root: str | os.PathLike) -> list[tuple[str, str, list[Path]]]:
    """Find a user's own data sets.

    Args:
        root: the folder of all data sets.

    Returns:
        (name, format, input files of the reader and image folder), sorted by name; empty if there
        is no folder ``own``.
    """
    found = []
    for folder in sorted(Path(root, "own").glob("*/*/")):
        words = (folder.parent.name, folder.name)
        present = [row for row in standard() if row.paths_in(folder)[0].is_file()]
        if present and not all(map(_NAME.fullmatch, words)):
            logger.warning(
                "%s: not registered, its name has other letters than a-z 0-9 - _", folder
            )
            continue
        for row in present:
            paths = [*row.paths_in(folder)[: row.inputs], folder / "images"]
            found.append((f"own_{words[0]}_{words[1]}_{row.name}", row.name, paths))
    return found
