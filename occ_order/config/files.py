"""Config files are other people's files: what may run code, reach out, or never end is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import yaml

BASE = "_BASE_"
"""Key of a config file that names the file (or files) it starts from."""


def check_config_file(path: str | os.PathLike[str]) -> list[str]:
    """Refuses a config file that cannot be loaded safely, and so every file that it starts from.

    Args:
        path: a YAML file.

    Returns:
        The files that were looked at, `path` first.

    Raises:
        ValueError: names the file. It is missing or no YAML, has a tag (which could run code), is
            no mapping, or has a `_BASE_` that is missing, leads back to itself, or is an address
            instead of a file.
    """
    return _check(os.fspath(path), ())


def _check(path: str, above: Sequence[str]) -> list[str]:
    real = os.path.realpath(path)
    if real in map(os.path.realpath, above):
        raise ValueError(f"{above[0]}: {BASE} leads in a circle: {' -> '.join([*above, path])}")
    seen = [path]
    for base in _bases(_read(path, above), path):
        seen += _check(base, (*above, path))
    return seen


def _read(path: str, above: Sequence[str]) -> dict[str, Any]:
    if not os.path.isfile(path):
        named = f"{above[-1]}: {BASE} names a file that does not exist" if above else "no such file"
        raise ValueError(f"{named}: {path}")
    try:
        with open(path, encoding="utf-8") as file:
            data = yaml.safe_load(file)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{path}: YAML tags could run code and are refused ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must hold settings (KEY: value), got {type(data).__name__}")
    return data


def _bases(data: dict[str, Any], path: str) -> list[str]:
    """Paths of the files that a config starts from, as fvcore finds them."""
    named = data.get(BASE, [])
    bases = [named] if isinstance(named, str) else named
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: {BASE} must be a file name or a list of them, got {named!r}")
    for base in bases:
        if "://" in base:
            raise ValueError(f"{path}: {BASE} must be a file on this machine, got {base!r}")
    folder = os.path.dirname(path)
    return [os.path.join(folder, os.path.expanduser(base)) for base in bases]
