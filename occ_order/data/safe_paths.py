"""Files below a folder, whatever a data file calls them.

File names in data files are other people's text. Here they become paths that stay below the folder
they belong to: no "..", no absolute path, no drive letter, no backslash, and no symbolic link that
leads out of the folder. Only the standard library is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from occ_order.data.datasets.files import join_path

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
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
    path = Path(join_path(root, file_name))
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise ValueError(f"{file_name!r} is a link that leads out of the folder {os.fspath(root)}")
    return path


def list_pictures(folder: str | os.PathLike) -> list[str]:
    """Names of the pictures in a folder and below it, sorted, relative, with forward slashes.

    Folders that are links are not entered, and links to files outside are left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    found = []
    for here, _, names in os.walk(root):
        for name in names:
            relative = (Path(here) / name).relative_to(root).as_posix()
            if name.lower().endswith(PICTURE_ENDINGS) and _stays_inside(root, relative):
                found.append(relative)
    return sorted(found)


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
