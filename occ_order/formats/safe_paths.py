"""Files below a folder, whatever a data file calls them.

File names in data files are other people's text. Here they become paths that stay below the folder
they belong to: no "..", no absolute path, no drive letter, no backslash, and no symbolic link that
leads out of the folder. Only the standard library is needed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from occ_order.files import join_path

logger = logging.getLogger(__name__)

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Endings, in lower case, of files that count as pictures."""


def resolve_inside(root: str | os.PathLike, file_name: str) -> Path:
    """Path of a named file below a folder, to read it or to write it.

    The folder itself may be a symbolic link; a link below it is followed only if it stays inside.

    Args:
        root: the folder.
        file_name: name relative to it, with forward slashes.

    Returns:
        The path, not necessarily of an existing file.

    Raises:
        ValueError: empty, absolute, a drive letter, a backslash, a NUL, a ".." component, or a
            symbolic link that leads out of the folder.
    """
    if not isinstance(file_name, str):
        raise ValueError(f"a file name must be text, got {file_name!r:.60}")
    return Path(join_path(root, file_name))


def list_pictures(folder: str | os.PathLike) -> list[str]:
    """Names of the pictures in a folder and below it, sorted, relative, with forward slashes.

    Hidden files and folders are left out, and so are links: folders that are links are not entered,
    files that are links count if they stay inside. A name that is not UTF-8 is left out with a
    warning, because no file of results could hold it.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    found = []
    for here, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or not name.lower().endswith(PICTURE_ENDINGS):
                continue
            relative = (Path(here) / name).relative_to(root).as_posix()
            if not _is_utf8(relative):
                logger.warning("%s: left out, its name %a is not UTF-8", root, relative)
            elif _stays_inside(root, relative):
                found.append(relative)
    return sorted(found)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def picture_of(
    image: Mapping[str, Any],
    folder: str | os.PathLike,
    *,
    file_names: Mapping[int | str, str] | None = None,
    pictures: Iterable[str] | None = None,
) -> Path:
    """Finds the picture of one image of ``order_results.json``.

    Looked for in turn: the name that ``file_names`` gives, the key "file_name" of the image itself,
    and a picture whose name without its ending is the image id (COCO's leading zeros are fine).

    Args:
        image: dict with "image_id".
        folder: where the pictures are.
        file_names: file name by image id, relative to the folder, for instance of a COCO file.
        pictures: names in the folder, from :func:`list_pictures`, to search them only once.

    Returns:
        Path of an existing file.

    Raises:
        ValueError: the name leaves the folder, several pictures bear the id, or there is none.
    """
    image_id = image["image_id"]
    name = (file_names or {}).get(image_id) or image.get("file_name")
    if name is None:
        name = _named_by_id(image_id, list_pictures(folder) if pictures is None else pictures)
    if not isinstance(name, str):
        raise ValueError(f"image {image_id!r}: no picture in {folder} is named after the image id")
    path = resolve_inside(folder, name)
    if not path.is_file():
        raise ValueError(f"image {image_id!r}: no such picture: {path}")
    return path


def _named_by_id(image_id: int | str, pictures: Iterable[str]) -> str | None:
    wanted = str(image_id)
    found = []
    for name in pictures:
        stem = Path(name).stem
        number = stem.rsplit("_", 1)[-1]  # COCO_val2014_000000000042
        if stem == wanted or (number.isdecimal() and str(int(number)) == wanted):
            found.append(name)
    if len(found) > 1:
        raise ValueError(f"image {image_id!r}: several pictures bear its id: {found[:3]}")
    return found[0] if found else None


def _stays_inside(root: Path, name: str) -> bool:
    try:
        return resolve_inside(root, name).is_file()
    except ValueError:  # a link that leads out, or a backslash in the name
        return False
