"""Data sets of one's own, found by where they lie.

Below `$DETECTRON2_DATASETS` (default: `./datasets`), as ``tools/convert_dataset.py --copy-images``
writes them::

    own/kitchen/train/images/...           the pictures
    own/kitchen/train/instaorder.json      -> own_kitchen_train_instaorder (with instances.json)
    own/kitchen/train/cocoa.json           -> own_kitchen_train_cocoa
    own/kitchen/train/cocoa_cls.json       -> own_kitchen_train_cocoa_cls
    own/kitchen/train/kins2020.json        -> own_kitchen_train_kins
    own/kitchen/val/...

The names of the two folders may be anything made of letters, digits, "-" and "_". Only the standard
library is needed; `occ_order.formats.builtin` registers what is found.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9A-Za-z_-]+")
_FILES = {
    "instaorder": "instaorder.json",
    "cocoa": "cocoa.json",
    "cocoa_cls": "cocoa_cls.json",
    "kins": "kins2020.json",
}


def find_own(root: str | os.PathLike) -> list[tuple[str, str, dict[str, Any]]]:
    """Looks for data sets of one's own.

    Args:
        root: the folder of all data sets.

    Returns:
        (name, format, arguments of the function that registers it), sorted by name; format is one
        of "instaorder", "cocoa", "cocoa_cls", "kins". Nothing if there is no folder ``own``.
    """
    found = []
    for folder in sorted(Path(root, "own").glob("*/*/")):
        words = (folder.parent.name, folder.name)
        files = {kind: folder / name for kind, name in _FILES.items()}
        present = {kind: path for kind, path in files.items() if path.is_file()}
        if present and not all(map(_NAME.fullmatch, words)):
            logger.warning(
                "%s: not registered, its name has other letters than a-z 0-9 - _", folder
            )
            continue
        for kind, path in present.items():
            arguments: dict[str, Any] = {"json_file": path}
            if kind == "instaorder":
                arguments = {"order_json": path, "instances_json": folder / "instances.json"}
            arguments["image_root"] = folder / "images"
            found.append((f"own_{words[0]}_{words[1]}_{kind}", kind, arguments))
    return found
